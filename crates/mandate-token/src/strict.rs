//! JSON that means one thing: a member that appears twice is an error at every level (FAILURES 12).
//!
//! `serde` notices a repeated member of a struct, but not of a map, a `Value` or a flattened
//! struct; two parsers may then read two different documents. So each document is walked once
//! for repeated members and depth, and only then read.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess};

/// What is wrong with a JSON document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonProblem {
    /// It is no JSON, or something follows it.
    #[error("it is no JSON document, or something follows it")]
    Syntax,
    /// A member appears twice.
    #[error("member `{0}` appears twice")]
    Duplicate(String),
    /// It is nested more than 32 levels deep.
    #[error("it is nested more than {MAX_JSON_DEPTH} levels deep")]
    TooDeep,
    /// A member is missing, unknown or of another type.
    #[error("{0}")]
    Shape(String),
}

/// Reads `bytes` as a `T`, refusing repeated members at every level.
pub(crate) fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonProblem> {
    check_json(bytes)?;
    serde_json::from_slice(bytes).map_err(|error| JsonProblem::Shape(shape_text(&error)))
}

/// Checks that `bytes` are one JSON document in which no member stands twice, at most 32 levels
/// deep. Who reads it afterwards, by whatever parser, reads the same document.
pub fn check_json(bytes: &[u8]) -> Result<(), JsonProblem> {
    let found = RefCell::new(None);
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let walk = Walk {
        levels: MAX_JSON_DEPTH,
        found: &found,
    };
    match walk.deserialize(&mut json).and_then(|()| json.end()) {
        Ok(()) => Ok(()),
        Err(_) => Err(found.into_inner().unwrap_or(JsonProblem::Syntax)),
    }
}

/// What `serde` says, where it only names members: its other messages repeat values.
fn shape_text(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let names_only = ["missing field", "unknown field", "duplicate field"];
    if names_only.iter().any(|start| text.starts_with(start)) {
        text.split(" at line").next().unwrap_or_default().to_owned()
    } else {
        "a member has another type or form than it must have".to_owned()
    }
}

#[derive(Clone, Copy)]
struct Walk<'a> {
    levels: usize,
    found: &'a RefCell<Option<JsonProblem>>,
}

impl Walk<'_> {
    fn stop<E: Error>(self, problem: JsonProblem) -> E {
        self.found.replace(Some(problem));
        E::custom("refused")
    }

    fn deeper<E: Error>(self) -> Result<Self, E> {
        match self.levels.checked_sub(1) {
            Some(levels) => Ok(Self { levels, ..self }),
            None => Err(self.stop(JsonProblem::TooDeep)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> serde::de::Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut seen = BTreeSet::new();
        while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
            if seen.contains(&name) {
                let name = name.chars().take(64).collect();
                return Err(self.stop(JsonProblem::Duplicate(name)));
            }
            seen.insert(name);
            map.next_value_seed(inner)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while seq.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A member's name, borrowed where it has no escapes. Compared after unescaping: `"a"` and
/// `"\u0061"` are the same member.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

const MAX_JSON_DEPTH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn refuses_members_that_appear_twice_at_any_level() {
        for twice in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"b":{"a":1,"c":[],"a":2}}"#,
            r#"[{"x":[{"a":1,"a":null}]}]"#,
        ] {
            let refused = from_slice::<Value>(twice.as_bytes());
            assert_eq!(refused, Err(JsonProblem::Duplicate("a".into())), "{twice}");
        }
        assert!(from_slice::<Value>(br#"[{"a":1},{"a":1,"b":{"a":1}}]"#).is_ok());
    }

    #[test]
    fn refuses_depth_and_what_follows() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(from_slice::<Value>(nested(32).as_bytes()).is_ok());
        assert_eq!(
            from_slice::<Value>(nested(33).as_bytes()),
            Err(JsonProblem::TooDeep)
        );
        for bad in [
            &b"{} {}"[..],
            b"{}x",
            b"",
            b"{",
            b"\xef\xbb\xbf{}",
            b"{\"\xff\":1}",
        ] {
            assert_eq!(
                from_slice::<Value>(bad),
                Err(JsonProblem::Syntax),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn messages_name_members_and_never_repeat_values() {
        let error = |text: &str| from_slice::<mandate_model::Host>(text.as_bytes()).unwrap_err();
        assert_eq!(error("{}").to_string(), "missing field `sub`");
        assert!(
            !error(r#"{"sub":"hunter2"}"#)
                .to_string()
                .contains("hunter2")
        );
    }
}
