//! Values at JSON pointers (RFC 6901) of a request's body, read strictly.
//!
//! A body in which a member stands twice means one thing to a parser that keeps the first and
//! another to one that keeps the last, so it has no meaning here.

use mandate_policy::fold;
use mandate_token::JsonProblem;
use serde_json::Value;

/// Why a body yields no attributes. The request is denied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the body is not JSON with one meaning: {0}")]
pub struct UnreadableBody(&'static str);

/// Reads `bytes` as JSON without duplicate members and at most 32 levels deep.
pub fn strict_json(bytes: &[u8]) -> Result<Value, UnreadableBody> {
    mandate_token::check_json(bytes).map_err(|why| UnreadableBody(describe(&why)))?;
    serde_json::from_slice(bytes).map_err(|_| UnreadableBody(MALFORMED))
}

/// Whether `json` has at most `most` values, about: what is read of it takes many times the room of its bytes where
/// it is made of small ones.
pub(super) fn has_at_most(json: &[u8], most: usize) -> bool {
    let (mut values, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' | b'[' | b'{' if !quoted => values += 1,
            _ => {}
        }
    }
    values <= most
}

/// A body that attributes are read from, of no more values than a list of tokens to embed has.
pub(super) fn strict_body(bytes: &[u8]) -> Result<Value, UnreadableBody> {
    if !has_at_most(bytes, MOST_VALUES) {
        return Err(UnreadableBody("it has too many values"));
    }
    strict_json(bytes)
}

/// Of what kind, never the content.
fn describe(why: &JsonProblem) -> &'static str {
    match why {
        JsonProblem::Duplicate(_) => "a member stands twice",
        JsonProblem::TooDeep => "it is nested too deep",
        JsonProblem::Syntax | JsonProblem::Shape(_) => MALFORMED,
    }
}

const MALFORMED: &str = "it is malformed";
const MOST_VALUES: usize = 500_000;

/// One value found in a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar {
    /// A JSON string.
    Text(String),
    /// A JSON number that is a whole one, in decimal.
    Integer(String),
}

/// Whether some member on the way to `pointer` has a sibling whose name differs in letter case or in `_` alone.
/// Upstreams that match names without case would read that one (FAILURES 33), and those that read protocol buffers'
/// JSON have two spellings of each name.
pub(super) fn has_case_twin(body: &Value, pointer: &str) -> bool {
    let mut here = body;
    for token in pointer.split('/').skip(1) {
        let name = token.replace("~1", "/").replace("~0", "~");
        let spelling = |name: &str| fold(name).replace('_', "");
        if let Value::Object(members) = here
            && members
                .keys()
                .any(|other| *other != name && spelling(other) == spelling(&name))
        {
            return true;
        }
        match here.pointer(&format!("/{token}")) {
            Some(next) => here = next,
            None => return false,
        }
    }
    false
}

/// The scalars at `pointer`: one, or each item of an array. `None` if there is anything else there,
/// which is not the same as nothing there.
pub fn scalars_at(body: &Value, pointer: &str) -> Option<Vec<Scalar>> {
    match body.pointer(pointer) {
        None => Some(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(scalar).collect(),
        Some(value) => scalar(value).map(|text| vec![text]),
    }
}

fn scalar(value: &Value) -> Option<Scalar> {
    match value {
        Value::String(text) => Some(Scalar::Text(text.clone())),
        Value::Number(number) if !number.is_f64() => Some(Scalar::Integer(number.to_string())),
        Value::Number(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_and_arrays_of_scalars_are_read() {
        let body = strict_json(br#"{"a":{"n":42,"s":"x","list":["x",7]}}"#).unwrap();
        let (text, integer) = (Scalar::Text("x".to_owned()), |n: &str| {
            Scalar::Integer(n.to_owned())
        });
        assert_eq!(scalars_at(&body, "/a/n"), Some(vec![integer("42")]));
        assert_eq!(scalars_at(&body, "/a/s"), Some(vec![text.clone()]));
        assert_eq!(scalars_at(&body, "/a/list"), Some(vec![text, integer("7")]));
        assert_eq!(scalars_at(&body, "/a/none"), Some(vec![]));
    }

    #[test]
    fn what_is_no_scalar_is_not_taken_for_absent() {
        let body =
            strict_json(br#"{"a":null,"b":1.5,"c":{"d":1},"e":[[1]],"f":true,"g":1e2}"#).unwrap();
        for pointer in ["/a", "/b", "/c", "/e", "/f", "/g"] {
            assert_eq!(scalars_at(&body, pointer), None, "{pointer}");
        }
    }

    #[test]
    fn a_member_that_differs_in_case_alone_is_seen() {
        let twin =
            |text: &str, pointer| has_case_twin(&strict_json(text.as_bytes()).unwrap(), pointer);
        assert!(!twin(r#"{"amount_cents":1,"note":"x"}"#, "/amount_cents"));
        assert!(twin(
            r#"{"amount_cents":1,"Amount_Cents":9}"#,
            "/amount_cents"
        ));
        assert!(twin(r#"{"AMOUNT_CENTS":9}"#, "/amount_cents"));
        assert!(twin(r#"{"a":{"kind":1},"A":{"kind":2}}"#, "/a/kind"));
        assert!(
            twin(r#"{"a":{"kind":1,"\u212Aind":2}}"#, "/a/kind"),
            "the Kelvin sign"
        );
        assert!(!twin(r#"{"a":[{"x":1},{"X":1}]}"#, "/a/0/x"));
    }

    #[test]
    fn a_body_has_a_number_of_values() {
        let many = |n: usize| format!("[\"a,[\\\",{{\"{}]", ",0".repeat(n));
        assert!(has_at_most(many(9).as_bytes(), 10));
        assert!(!has_at_most(many(10).as_bytes(), 10));
        assert!(strict_body(many(MOST_VALUES - 1).as_bytes()).is_ok());
        assert!(strict_body(many(MOST_VALUES).as_bytes()).is_err());
    }

    #[test]
    fn a_body_with_two_meanings_is_refused() {
        for bad in [
            &br#"{"a":1,"a":2}"#[..],
            br#"{"x":{"a":1,"\u0061":2}}"#,
            br#"{"a":1} {}"#,
            br#"{"a":1"#,
            b"",
            b"\xff",
        ] {
            assert!(
                strict_json(bad).is_err(),
                "{}",
                String::from_utf8_lossy(bad)
            );
        }
        let deep = |n: usize| [vec![b'['; n], vec![b']'; n]].concat();
        assert!(strict_json(&deep(32)).is_ok());
        assert!(strict_json(&deep(33)).is_err());
    }
}
