//! One encoding per value: what is hashed must not depend on who wrote it down.

use serde_json::Value;

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
    use super::*;

    #[test]
    fn members_are_sorted_at_every_level() {
        let value = serde_json::json!({"b": [1, {"z": null, "a": "\n"}], "a": true, "A": -1});
        let text = String::from_utf8(canonical_json(&value)).unwrap();
        assert_eq!(text, r#"{"A":-1,"a":true,"b":[1,{"a":"\n","z":null}]}"#);
    }
}
