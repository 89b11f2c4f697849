//! `application/x-www-form-urlencoded`, as RFC 6749 Appendix B writes it.

/// Pairs as one body. A pair without a value is left out.
pub(crate) fn encode(pairs: &[(&str, Option<&str>)]) -> String {
    let mut body = String::new();
    for (key, value) in pairs {
        let Some(value) = value else { continue };
        if !body.is_empty() {
            body.push('&');
        }
        escape(key, &mut body);
        body.push('=');
        escape(value, &mut body);
    }
    body
}

fn escape(text: &str, into: &mut String) {
    use std::fmt::Write;
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            into.push(char::from(byte));
        } else {
            let _ = write!(into, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_all_but_unreserved_and_leaves_absent_values_out() {
        let pairs = [("a b", Some("1&2=é")), ("none", None), ("empty", Some(""))];
        assert_eq!(encode(&pairs), "a%20b=1%262%3D%C3%A9&empty=");
    }
}
