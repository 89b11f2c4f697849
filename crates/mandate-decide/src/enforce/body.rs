//! Values at JSON pointers (RFC 6901) of a request's body, read strictly.
//!
//! A body in which a member stands twice means one thing to a parser that keeps the first and
//! another to one that keeps the last, so it has no meaning here.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Why a body yields no attributes. The request is denied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the body is not JSON with one meaning: {0}")]
pub struct UnreadableBody(String);

/// Reads `bytes` as JSON without duplicate members and at most 32 levels deep.
pub fn strict_json(bytes: &[u8]) -> Result<Value, UnreadableBody> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0 }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|why| UnreadableBody(describe(&why)))?;
    Ok(value)
}

/// Where and of what kind, never the content.
fn describe(why: &serde_json::Error) -> String {
    let text = why.to_string();
    match text.strip_prefix("duplicate member") {
        Some(_) => format!(
            "a member stands twice, at line {} column {}",
            why.line(),
            why.column()
        ),
        None => format!("malformed at line {} column {}", why.line(), why.column()),
    }
}

#[derive(Clone, Copy)]
struct Strict {
    depth: u8,
}

impl Strict {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom("too deep"));
        }
        Ok(Self {
            depth: self.depth + 1,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Number::from_f64(v).map_or(Value::Null, Value::Number))
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(inner)?;
            if members.insert(name, value).is_some() {
                return Err(de::Error::custom("duplicate member"));
            }
        }
        Ok(Value::Object(members))
    }
}

/// One value found in a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar {
    /// A JSON string.
    Text(String),
    /// A JSON number that is a whole one, in decimal.
    Integer(String),
}

/// Whether some member on the way to `pointer` has a sibling whose name differs in letter case
/// alone. Upstreams that match names without case would read that one (FAILURES 33).
pub(super) fn has_case_twin(body: &Value, pointer: &str) -> bool {
    let mut here = body;
    for token in pointer.split('/').skip(1) {
        let name = token.replace("~1", "/").replace("~0", "~");
        if let Value::Object(members) = here
            && members
                .keys()
                .any(|other| *other != name && fold(other) == fold(&name))
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

/// Letter case taken away as generously as any upstream does: `ſ` and `K` (the Kelvin sign) too.
fn fold(text: &str) -> String {
    text.to_uppercase().to_lowercase()
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

const MAX_DEPTH: u8 = 32;

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
