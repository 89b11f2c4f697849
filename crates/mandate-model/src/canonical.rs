//! One encoding per value: what is hashed must not depend on who wrote it down.

mod name;
mod serializer;

use serde::Serialize;
use serde_json::Value;

use serializer::Writer;
pub use serializer::{MemberPlace, NotCanonical};

/// What [`canonical_json`] gives for the tree of `value`, written at once, to the end of `out`.
///
/// # Errors
/// If `value` has floating-point numbers, a member twice, or a member whose name is no text. `out` then
/// ends with whatever was written until then.
pub fn write_canonical_json<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), NotCanonical> {
    value.serialize(Writer::new(out))
}

/// The same, telling where the members of `value` stand in `out`, in their order; none if it is no object.
///
/// # Errors
/// As those of [`write_canonical_json`].
pub fn write_canonical_members<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Vec<u8>,
) -> Result<Vec<MemberPlace>, NotCanonical> {
    let mut places = Vec::new();
    value.serialize(Writer::telling(out, &mut places))?;
    Ok(places)
}

/// `value` as JSON with members sorted by their bytes and no white space.
///
/// For values without floating-point numbers this is also what RFC 8785 (JCS) gives for ASCII
/// member names. Sorting is done here and not left to `serde_json`, whose order of members is a
/// feature that any crate of a build can switch.
pub fn canonical_json(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by(|a, b| a.0.cmp(b.0));
            write_list(out, (b'{', b'}'), sorted, |(name, value), out| {
                write_scalar(name, out);
                out.push(b':');
                write(value, out);
            });
        }
        Value::Array(items) => write_list(out, (b'[', b']'), items, write),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            write_scalar(value, out);
        }
    }
}

fn write_list<T>(
    out: &mut Vec<u8>,
    (open, close): (u8, u8),
    items: impl IntoIterator<Item = T>,
    mut each: impl FnMut(T, &mut Vec<u8>),
) {
    out.push(open);
    for (n, item) in items.into_iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        each(item, out);
    }
    out.push(close);
}

fn write_scalar(value: &(impl serde::Serialize + ?Sized), out: &mut Vec<u8>) {
    // INVARIANT: a string, a number, a boolean and null have a JSON form, and a vector takes every byte.
    #[expect(
        clippy::expect_used,
        reason = "writing a scalar into memory cannot fail"
    )]
    serde_json::to_writer(out, value).expect("a scalar is written into memory");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(serde::Serialize)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    enum Tagged {
        Unit,
        Some { z: u8, a: Option<u8> },
        New(Inner),
    }

    #[derive(serde::Serialize)]
    struct Inner {
        b: (u8, char),
        a: Vec<Plain>,
        #[serde(skip_serializing_if = "Option::is_none")]
        none: Option<u8>,
        #[serde(flatten)]
        more: BTreeMap<String, bool>,
    }

    #[derive(serde::Serialize)]
    enum Plain {
        Unit,
        New(u8),
        Pair(u8, u8),
        Some { z: i64, a: () },
    }

    fn written<T: Serialize>(value: &T) -> Result<Vec<u8>, NotCanonical> {
        let mut out = b"before".to_vec();
        write_canonical_json(value, &mut out)?;
        Ok(out.split_off("before".len()))
    }

    fn inner() -> Inner {
        let more = [("", true), ("\"\n", false), ("a!", true), ("zz", true)];
        Inner {
            b: (1, '\u{e9}'),
            a: vec![
                Plain::Unit,
                Plain::New(2),
                Plain::Pair(3, 4),
                Plain::Some { z: -1, a: () },
            ],
            none: None,
            more: more.map(|(name, is)| (name.to_owned(), is)).into(),
        }
    }

    #[test]
    fn every_shape_is_written_as_its_tree_is() {
        let all = [
            Tagged::Unit,
            Tagged::Some { z: 1, a: None },
            Tagged::New(inner()),
        ];
        let tree = serde_json::to_value(&all).unwrap();
        assert_eq!(written(&all).unwrap(), canonical_json(&tree));
    }

    #[test]
    fn the_members_of_an_object_are_told_by_their_places() {
        let mut out = b"before".to_vec();
        let places = write_canonical_members(&inner(), &mut out).unwrap();
        let text = |place: &MemberPlace| String::from_utf8_lossy(&out[place.text.clone()]);
        let texts: Vec<_> = places.iter().map(text).collect();
        let whole = String::from_utf8_lossy(&out["before".len()..]);
        assert_eq!(format!("{{{}}}", texts.join(",")), whole);
        let names: Vec<_> = places.iter().map(|place| &*place.name).collect();
        assert_eq!(names, ["", "\"\n", "a", "a!", "b", "zz"]);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_not_written() {
        let mut twice = inner();
        twice.more.insert("b".to_owned(), true);
        assert!(written(&twice).is_err(), "a member twice");
        assert!(
            written(&BTreeMap::from([(1_u8, 2)])).is_err(),
            "a number as a name"
        );
        assert!(written(&1.5_f64).is_err(), "a floating-point number");
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map(".{0,3}", inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_tree_is_written_as_before(tree in tree()) {
            prop_assert_eq!(written(&tree).unwrap(), canonical_json(&tree));
        }
    }

    #[test]
    fn members_are_sorted_at_every_level() {
        let value = serde_json::json!({"b": [1, {"z": null, "a": "\n"}], "a": true, "A": -1});
        let text = String::from_utf8(canonical_json(&value)).unwrap();
        assert_eq!(text, r#"{"A":-1,"a":true,"b":[1,{"a":"\n","z":null}]}"#);
    }
}
