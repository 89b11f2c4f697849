//! Resource attributes: named values taken from the request itself, in one canonical form each (A7).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::AttributeName;

/// What an action does to its resource.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It only reads.
    Read,
    /// It changes something; access tokens for it are single use.
    Write,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Effect::Read => "read",
            Effect::Write => "write",
        })
    }
}

/// The declared type of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttributeType {
    /// Any text of 1 to 1024 bytes without control characters; compared byte for byte.
    String,
    /// A decimal integer that fits 64 bits: no sign `+`, no leading zeros, no exponent.
    Integer,
    /// A UUID in lower-case hyphenated form.
    Uuid,
    /// A text whose segments between slashes lead nowhere else than they say: so one that begins with
    /// a folder's path and a slash is below that folder.
    Path,
    /// One of the listed words.
    Enum(BTreeSet<String>),
}

/// A value that does not fit the declared type of its attribute.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value is no {expected} in canonical form")]
pub struct UnfitAttribute {
    expected: &'static str,
}

impl AttributeType {
    /// Reads `text` as a value of this type. Only the canonical form is accepted: what has two
    /// spellings could mean one thing here and another thing upstream.
    pub fn parse(&self, text: &str) -> Result<AttributeValue, UnfitAttribute> {
        let as_text = || AttributeValue::Text(text.to_owned());
        let (value, expected) = match self {
            AttributeType::String => (is_plain_text(text).then(as_text), "text"),
            AttributeType::Integer => (
                canonical_integer(text).map(AttributeValue::Integer),
                "integer",
            ),
            AttributeType::Uuid => (is_canonical_uuid(text).then(as_text), "UUID"),
            AttributeType::Path => (is_canonical_path(text).then(as_text), "path"),
            AttributeType::Enum(words) => (words.contains(text).then(as_text), "declared word"),
        };
        value.ok_or(UnfitAttribute { expected })
    }

    /// Its name in bundles: `string`, `integer`, `uuid`, `path` or `enum`.
    pub fn name(&self) -> &'static str {
        match self {
            AttributeType::String => "string",
            AttributeType::Integer => "integer",
            AttributeType::Uuid => "uuid",
            AttributeType::Path => "path",
            AttributeType::Enum(_) => "enum",
        }
    }
}

fn is_plain_text(text: &str) -> bool {
    (1..=1024).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn canonical_integer(text: &str) -> Option<i64> {
    let n: i64 = text.parse().ok()?;
    (n.to_string() == text).then_some(n)
}

fn is_canonical_uuid(text: &str) -> bool {
    uuid::Uuid::try_parse(text).is_ok_and(|u| u.hyphenated().to_string() == text)
}

/// No dot segments, and nothing that some server takes for one or for a separator: backslashes,
/// percent-encoding, dots and spaces at the end of a segment (Windows leaves them out). No segment is
/// empty but what is before the first slash and after the last.
fn is_canonical_path(text: &str) -> bool {
    let mut segments = text.strip_prefix('/').unwrap_or(text).split('/');
    let leads_on = |segment: &str| !segment.is_empty() && !segment.ends_with(['.', ' ']);
    let last = segments.next_back().unwrap_or_default();
    is_plain_text(text)
        && !text.contains(['\\', '%'])
        && segments.all(leads_on)
        && (last.is_empty() || leads_on(last))
}

/// One value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum AttributeValue {
    /// A whole number.
    Integer(i64),
    /// Text, a UUID or a word.
    Text(String),
}

impl fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttributeValue::Integer(n) => write!(f, "{n}"),
            AttributeValue::Text(t) => f.write_str(t),
        }
    }
}

/// The attributes of one request: for each name the values found, at least one, in the order found.
///
/// A request can yield several values for one name (a repeated query parameter, an array in the
/// body); a constraint holds only if *all* of them fit (A7).
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct RequestAttributes(BTreeMap<AttributeName, Vec<AttributeValue>>);

impl RequestAttributes {
    /// No attributes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one more value found for `name`.
    pub fn add(&mut self, name: AttributeName, value: AttributeValue) {
        self.0.entry(name).or_default().push(value);
    }

    /// All values found for `name`; empty if there are none.
    pub fn values(&self, name: &AttributeName) -> &[AttributeValue] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// Every name with its values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&AttributeName, &[AttributeValue])> {
        self.0
            .iter()
            .map(|(name, values)| (name, values.as_slice()))
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_one_spelling_per_value() {
        use AttributeType::*;
        let words = Enum(["open".to_owned(), "closed".to_owned()].into());
        let uuid = "0190a5b4-7e6c-7a11-8a11-0123456789ab";
        assert_eq!(Integer.parse("-42"), Ok(AttributeValue::Integer(-42)));
        assert_eq!(Uuid.parse(uuid), Ok(AttributeValue::Text(uuid.into())));
        assert!(words.parse("open").is_ok());
        for path in ["/", "/a", "/a/", "a/b.txt", "/a/.git/c d", "/a/..b"] {
            assert!(Path.parse(path).is_ok(), "{path}");
        }
        for (ty, bad) in [
            (&Integer, "042"),
            (&Integer, "+1"),
            (&Integer, "1e3"),
            (&Integer, "-0"),
            (&Integer, ""),
            (&Integer, "9223372036854775808"),
            (&Uuid, "0190A5B4-7E6C-7A11-8A11-0123456789AB"),
            (&Uuid, "{0190a5b4-7e6c-7a11-8a11-0123456789ab}"),
            (&Path, "/a/../b"),
            (&Path, "/a/.."),
            (&Path, ".."),
            (&Path, "./a"),
            (&Path, "/a/./b"),
            (&Path, "//a"),
            (&Path, "/a//b"),
            (&Path, "/a//"),
            (&Path, "/a\\..\\b"),
            (&Path, "/a/%2e%2e/b"),
            (&Path, "/a/.. /b"),
            (&Path, ""),
            (&words, "Open"),
            (&String, ""),
            (&String, "a\nb"),
        ] {
            assert!(ty.parse(bad).is_err(), "{} {bad:?}", ty.name());
        }
    }
}
