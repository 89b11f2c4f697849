//! What a claim of a workload's token must be.

use std::fmt;

use serde_json::{Map, Value};

use crate::table::quoted;

/// Which claim: the name of a top-level one, or a JSON pointer (RFC 6901) to a nested one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimPath {
    text: String,
    names: Vec<String>,
}

/// Why text names no claim.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no claim: say a top-level claim by its name, a nested one as `/a/b` (RFC 6901)"
)]
pub struct MalformedClaimPath(String);

impl ClaimPath {
    /// Reads `sub` or `/kubernetes.io/pod/uid`. In the latter `~1` is a slash and `~0` a tilde.
    pub fn parse(text: &str) -> Result<Self, MalformedClaimPath> {
        let malformed = || MalformedClaimPath(text.chars().take(80).collect());
        let names = match text.strip_prefix('/') {
            None => vec![text.to_owned()],
            Some(rest) => {
                let names: Option<Vec<String>> = rest.split('/').map(unescape).collect();
                names.ok_or_else(malformed)?
            }
        };
        let fits = |name: &String| !name.is_empty() && !name.chars().any(char::is_control);
        if text.len() > MAX_TEXT || names.len() > MAX_NAMES || !names.iter().all(fits) {
            return Err(malformed());
        }
        let text = text.to_owned();
        Ok(Self { text, names })
    }

    /// What the claims have there. Lists are not walked into.
    pub fn find<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        let (first, rest) = self.names.split_first()?;
        let top = claims.get(first)?;
        rest.iter()
            .try_fold(top, |at, name| at.as_object()?.get(name))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn unescape(name: &str) -> Option<String> {
    let mut found = String::new();
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        match c {
            '~' => found.push(match chars.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            }),
            other => found.push(other),
        }
    }
    Some(found)
}

/// Text with `*` in it. Each `*` is one or more characters of one segment: it never crosses
/// `/ : @ | , ; # ? %` or white space. There is a letter or digit before the first one, so no
/// pattern fits everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    literals: Vec<String>,
}

/// Why text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedPattern {
    /// It has no `*`.
    #[error("it has no `*`; say it as plain text")]
    Plain,
    /// It could fit what somebody else chooses.
    #[error("there is no letter or digit before its first `*`, so it could fit anybody's")]
    Open,
    /// `**`.
    #[error("`**` is not known here: each `*` stays within one segment")]
    Double,
    /// It is too long, or has too many.
    #[error("it has more than {MAX_TEXT} bytes, or more than {MAX_STARS} `*`")]
    TooLong,
}

impl Pattern {
    /// The one way to make a pattern.
    pub fn parse(text: &str) -> Result<Self, MalformedPattern> {
        let literals: Vec<String> = text.split('*').map(str::to_owned).collect();
        if text.len() > MAX_TEXT || literals.len() > MAX_STARS + 1 {
            return Err(MalformedPattern::TooLong);
        }
        if literals.len() == 1 {
            return Err(MalformedPattern::Plain);
        }
        if text.contains("**") {
            return Err(MalformedPattern::Double);
        }
        let open = |head: &String| !head.chars().any(char::is_alphanumeric);
        if literals.first().is_none_or(open) {
            return Err(MalformedPattern::Open);
        }
        Ok(Self { literals })
    }

    /// Whether `text` as a whole fits. Takes time in proportion to both lengths.
    pub fn fits(&self, text: &str) -> bool {
        let Some((head, tail)) = self.literals.split_first() else {
            return false;
        };
        let Some(rest) = text.strip_prefix(head.as_str()) else {
            return false;
        };
        let mut starts = vec![rest];
        for literal in tail {
            starts = after_star(&starts, literal);
        }
        starts.iter().any(|rest| rest.is_empty())
    }
}

/// What is left after one `*` and `literal`, from each of `starts`; each rest once.
fn after_star<'a>(starts: &[&'a str], literal: &str) -> Vec<&'a str> {
    let mut found: Vec<&str> = Vec::new();
    for start in starts {
        for (at, c) in start.char_indices() {
            if !is_within_segment(c) {
                break;
            }
            let rest = start.get(at + c.len_utf8()..).unwrap_or_default();
            found.extend(rest.strip_prefix(literal));
        }
    }
    // All are ends of one text, so their lengths tell them apart.
    found.sort_by_key(|rest| rest.len());
    found.dedup_by_key(|rest| rest.len());
    found
}

fn is_within_segment(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !"/:@|,;#?%".contains(c)
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.literals.join("*"))
    }
}

/// What a claim must be. Types are exact: the text `1` is not the number 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// This text.
    Text(String),
    /// One of these texts.
    OneOf(Vec<String>),
    /// A text that fits.
    Like(Pattern),
    /// A list that has this text.
    Has(String),
    /// This number.
    Integer(i64),
    /// This truth value.
    Bool(bool),
    /// Any text that is not empty: it has to be there.
    AnyText,
    /// A SPIFFE ID below this one, by whole path segments.
    Under(String),
}

impl Wanted {
    fn fits(&self, value: &Value) -> bool {
        match (self, value) {
            (Wanted::Text(text), Value::String(s)) => s == text,
            (Wanted::OneOf(texts), Value::String(s)) => texts.contains(s),
            (Wanted::Like(pattern), Value::String(s)) => pattern.fits(s),
            (Wanted::Has(text), Value::Array(list)) => list.iter().any(|v| v == text),
            (Wanted::Integer(n), Value::Number(found)) => found.as_i64() == Some(*n),
            (Wanted::Bool(b), Value::Bool(found)) => found == b,
            (Wanted::AnyText, Value::String(s)) => !s.is_empty(),
            (Wanted::Under(parent), Value::String(s)) => s
                .strip_prefix(parent.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.starts_with('/')),
            (
                Wanted::Text(_)
                | Wanted::OneOf(_)
                | Wanted::Like(_)
                | Wanted::Has(_)
                | Wanted::Integer(_)
                | Wanted::Bool(_)
                | Wanted::AnyText
                | Wanted::Under(_),
                _,
            ) => false,
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Text(text) => write!(f, "is {}", quoted(text)),
            Wanted::OneOf(texts) => {
                let list: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
                write!(f, "is {}", list.join(" or "))
            }
            Wanted::Like(pattern) => write!(f, "is like {}", quoted(&pattern.to_string())),
            Wanted::Has(text) => write!(f, "has {}", quoted(text)),
            Wanted::Integer(n) => write!(f, "is {n}"),
            Wanted::Bool(b) => write!(f, "is {b}"),
            Wanted::AnyText => f.write_str("is there"),
            Wanted::Under(id) => write!(f, "is below {}", quoted(id)),
        }
    }
}

/// One claim and what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimTest {
    /// Which claim.
    pub path: ClaimPath,
    /// What it must be.
    pub wanted: Wanted,
    /// Whether a token without the claim fits too.
    pub may_lack: bool,
}

impl ClaimTest {
    /// Whether the claims fit.
    pub fn fits(&self, claims: &Map<String, Value>) -> bool {
        match self.path.find(claims) {
            Some(value) => self.wanted.fits(value),
            None => self.may_lack,
        }
    }
}

impl fmt::Display for ClaimTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.wanted)?;
        if self.may_lack {
            f.write_str(" where it is there")?;
        }
        Ok(())
    }
}

const MAX_TEXT: usize = 512;
const MAX_STARS: usize = 8;
const MAX_NAMES: usize = 8;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn fits(path: &str, wanted: Wanted, value: &Value) -> bool {
        let path = ClaimPath::parse(path).unwrap();
        let may_lack = false;
        ClaimTest {
            path,
            wanted,
            may_lack,
        }
        .fits(&claims(value))
    }

    #[test]
    fn a_star_stays_within_its_segment() {
        let fits = |pattern, text| Pattern::parse(pattern).unwrap().fits(text);
        assert!(fits("refs/heads/release-*", "refs/heads/release-1.2"));
        assert!(!fits("refs/heads/release-*", "refs/heads/release-1/evil"));
        assert!(!fits("refs/heads/release-*", "refs/heads/release-"));
        assert!(!fits("refs/heads/release-*", "xrefs/heads/release-1"));
        assert!(fits("acme/*/deploy@*", "acme/ops/deploy@v1"));
        assert!(!fits("acme/*/deploy@*", "acme/ops/x/deploy@v1"));
        assert!(!fits("acme/*/deploy@*", "acme/ops/deploy@v1:x"));
        assert!(
            fits("a*b*c", "aXbbXbc"),
            "the first way need not be the one"
        );
        assert!(!fits("a*b*c", "aXbc"));
        assert!(fits("ä*", "äöü"));
    }

    #[test]
    fn a_pattern_that_could_fit_anybody_is_none() {
        let refused = |text| Pattern::parse(text).unwrap_err();
        assert_eq!(refused(""), MalformedPattern::Plain);
        assert_eq!(refused("acme"), MalformedPattern::Plain);
        for open in ["*", "*/*", "/*", "-*", "*@acme.example"] {
            assert_eq!(refused(open), MalformedPattern::Open, "{open}");
        }
        assert_eq!(refused("acme/**"), MalformedPattern::Double);
        assert_eq!(refused(&"a*".repeat(9)), MalformedPattern::TooLong);
        assert!(Pattern::parse(&"a*".repeat(8)).is_ok());
    }

    #[test]
    fn a_pattern_takes_time_in_proportion_to_both_lengths() {
        let pattern = Pattern::parse("a*a*a*a*a*a*a*a*").unwrap();
        assert!(!pattern.fits(&format!("{}/", "a".repeat(2000))));
        assert!(pattern.fits(&"a".repeat(2000)));
    }

    #[test]
    fn types_of_claims_are_exact() {
        let token = json!({"n": 1, "t": "1", "b": true, "l": ["x", 1], "z": null});
        let text = |t: &str| Wanted::Text(t.to_owned());
        let has = |t: &str| Wanted::Has(t.to_owned());
        assert!(fits("t", text("1"), &token) && !fits("n", text("1"), &token));
        assert!(fits("n", Wanted::Integer(1), &token) && !fits("t", Wanted::Integer(1), &token));
        assert!(fits("b", Wanted::Bool(true), &token) && !fits("b", text("true"), &token));
        assert!(fits("l", has("x"), &token) && !fits("l", has("1"), &token));
        assert!(!fits("t", has("1"), &token), "a text is no list");
        assert!(!fits("l", text("x"), &token), "a list is no text");
        assert!(!fits("z", Wanted::AnyText, &token) && !fits("no", Wanted::AnyText, &token));
    }

    #[test]
    fn nested_claims_are_found_by_pointer_and_dots_mean_nothing() {
        let token =
            json!({"kubernetes.io": {"pod": {"uid": "u1"}}, "a/b": {"~": "x"}, "a": {"b": "y"}});
        let text = |t: &str| Wanted::Text(t.to_owned());
        assert!(fits("/kubernetes.io/pod/uid", text("u1"), &token));
        assert!(fits("/a~1b/~0", text("x"), &token));
        assert!(fits("/a/b", text("y"), &token));
        assert!(!fits("a.b", text("y"), &token));
        for bad in ["", "/", "/a//b", "/a~2", "/a~"] {
            assert!(ClaimPath::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_id_is_below_another_by_whole_segments() {
        let under = || Wanted::Under("spiffe://acme.example/ns/agents".to_owned());
        let is = |id: &str| fits("sub", under(), &json!({ "sub": id }));
        assert!(is("spiffe://acme.example/ns/agents/retriever"));
        assert!(!is("spiffe://acme.example/ns/agents-evil/retriever"));
        assert!(!is("spiffe://acme.example/ns/agents"));
    }

    #[test]
    fn a_claim_that_may_lack_must_fit_where_it_is_there() {
        let test = ClaimTest {
            path: ClaimPath::parse("/google/compute_engine/project_id").unwrap(),
            wanted: Wanted::OneOf(vec!["acme".to_owned()]),
            may_lack: true,
        };
        assert!(test.fits(&claims(&json!({}))));
        let with =
            |project: &str| claims(&json!({"google": {"compute_engine": {"project_id": project}}}));
        assert!(test.fits(&with("acme")));
        assert!(!test.fits(&with("evil")));
    }
}
