//! Names of query parameters that are one name to some servers and two to others.

use mandate_policy::fold;
use percent_encoding::percent_decode;

/// Whether some servers would take `found` for `parameter`, or for a part of it, or the other way
/// round. Names that are equal byte for byte are twins as well.
///
/// Frameworks match names without letter case, without spaces around them, and with `.`, ` ` and an
/// unclosed `[` read as `_`; they take `customer[]` and `customer.id` for parts of `customer`, and
/// `customerId` for `customer_id`.
pub(super) fn is_twin(found: &str, parameter: &str) -> bool {
    let (found, parameter) = (beginnings(found), beginnings(parameter));
    let is_part = |part: &[String], of: &[String]| of.last().is_some_and(|of| part.contains(of));
    is_part(&found, &parameter) || is_part(&parameter, &found)
}

/// Whether some frameworks take the request for one of another method because of this parameter.
///
/// They skip white space and control characters around a name (Java), brackets before it (Rack, qs) and a
/// byte order mark (Express); end it at a zero byte or a bracket (PHP, Rails); and read `.`, ` ` and an
/// unclosed `[` as `_` (PHP).
pub(super) fn overrides_method(name: &str) -> bool {
    let name = fold(name.trim_start_matches(is_passed_over));
    let whole = name.replace('[', "_");
    let begins = name.split(['\0', '[', ']']).next().unwrap_or_default();
    [whole.as_str(), begins].into_iter().any(|name| {
        let name = name.split('\0').next().unwrap_or_default();
        let name = name.trim_end_matches(is_passed_over);
        let name = name.replace(['.', ' ', '-'], "_");
        METHOD_OVERRIDES.contains(&name.trim_end_matches('_'))
    })
}

/// The same of a name as it stands in a form or query.
pub(super) fn encoded_overrides_method(name: &[u8]) -> bool {
    // Decoding never makes it longer, and folding none so short: bodies have a pair for every two bytes.
    name.len() >= SHORTEST && overrides_method(&decoded(name))
}

/// Whether `encoded` is nothing but what some servers pass over before a name.
pub(super) fn is_skipped(encoded: &[u8]) -> bool {
    !encoded.is_empty() && decoded(encoded).chars().all(is_passed_over)
}

fn is_passed_over(c: char) -> bool {
    c <= ' ' || c.is_whitespace() || matches!(c, '[' | ']' | '\u{feff}')
}

/// `%XX`, `+`, and `%uXXXX` as ASP.NET and old `unescape` have it.
fn decoded(name: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, unit(after)) {
            (b'%', Some((character, after))) => {
                bytes.extend(character.encode_utf8(&mut [0; 4]).bytes());
                rest = after;
            }
            (b'+', _) => bytes.push(b' '),
            (_, _) => bytes.push(*first),
        }
    }
    percent_decode(&bytes).decode_utf8_lossy().into_owned()
}

/// The character of `uXXXX`, and what follows.
fn unit(text: &[u8]) -> Option<(char, &[u8])> {
    let digits = text.strip_prefix(b"u").or(text.strip_prefix(b"U"))?;
    let (digits, after) = digits.split_at_checked(4)?;
    let digits = std::str::from_utf8(digits).ok()?;
    let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
    let number = u32::from_str_radix(digits, 16).ok().filter(|_| plain)?;
    Some((char::from_u32(number)?, after))
}

/// `filter[customer].id` as `filter`, `filtercustomer`, `filtercustomerid`; never empty.
fn beginnings(name: &str) -> Vec<String> {
    let plain = |part: &str| -> String {
        let kept = |c: &char| !c.is_whitespace() && !matches!(c, '_' | '-');
        fold(part).chars().filter(kept).collect()
    };
    let mut whole = String::new();
    let mut all = Vec::new();
    for part in name.split(['[', ']', '.']).map(plain) {
        whole.push_str(&part);
        all.push(whole.clone());
    }
    all.dedup();
    all
}

/// `_method`.
const SHORTEST: usize = 7;
const METHOD_OVERRIDES: [&str; 8] = [
    "_http_method",
    // Salesforce.
    "_httpmethod",
    "_method",
    "_method_override",
    "http_method_override",
    "x_http_method",
    "x_http_method_override",
    "x_method_override",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_some_framework_takes_for_one_another_are_twins() {
        for (found, parameter) in [
            ("customer", "customer"),
            ("Customer", "customer"),
            ("CU\u{17f}TOMER", "customer"),
            (" customer", "customer"),
            ("customer ", "customer"),
            ("customer[]", "customer"),
            ("customer[0]", "customer"),
            ("customer.id", "customer"),
            ("customer", "customer[]"),
            ("customer.id", "customer_id"),
            ("customer id", "customer_id"),
            ("customer[id", "customer_id"),
            ("customer_id", "customer.id"),
            ("customerId", "customer_id"),
            ("customer-id", "customer_id"),
            ("filter", "filter[customer]"),
            ("filter[customer][]", "filter[customer]"),
        ] {
            assert!(is_twin(found, parameter), "{found:?} {parameter:?}");
        }
        for (found, parameter) in [
            ("customers", "customer"),
            ("custom", "customer"),
            ("id", "customer_id"),
            ("filter[status]", "filter[customer]"),
            ("", "customer"),
        ] {
            assert!(!is_twin(found, parameter), "{found:?} {parameter:?}");
        }
    }

    #[test]
    fn method_overrides_are_known_in_every_spelling() {
        for name in [
            "_method",
            " _METHOD",
            ".method",
            "_method[]",
            "_method[x]",
            "[_method]",
            "][_method",
            "\u{feff}_method",
            "\0\n_method\t",
            "_method\0",
            "_method\0s",
            "_method\0[x]",
            "X-HTTP-Method-Override",
            "x[http_method",
            "X-HTTP-Method",
            "X-Method-Override",
            "_HttpMethod",
        ] {
            assert!(overrides_method(name), "{name:?}");
        }
        for name in [
            "method",
            "payment_method",
            "_methods",
            "",
            "x[_method]",
            "x\0_method",
        ] {
            assert!(!overrides_method(name), "{name:?}");
        }
    }

    #[test]
    fn method_overrides_are_known_in_every_encoding() {
        for name in [
            "%5fmethod",
            "%5FMETHOD",
            "+_method",
            "_meth%6Fd",
            "%u005Fmethod",
            "%U005fmethod",
            "_method%00x",
            "%5B_method%5D",
            "%EF%BB%BF_method",
            "\u{feff}_method",
        ] {
            assert!(encoded_overrides_method(name.as_bytes()), "{name}");
        }
        for name in [
            "%255fmethod",
            "%u005method",
            "%u5fmethod",
            "%ud800_method",
            "%",
        ] {
            assert!(!encoded_overrides_method(name.as_bytes()), "{name}");
        }
    }
}
