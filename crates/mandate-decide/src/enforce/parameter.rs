//! Names of query parameters that are one name to some servers and two to others.

use mandate_policy::fold;

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
pub(super) fn overrides_method(name: &str) -> bool {
    let name = fold(name.trim()).replace(['.', ' ', '[', '-'], "_");
    METHOD_OVERRIDES.contains(&name.trim_end_matches(['_', ']']))
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

const METHOD_OVERRIDES: [&str; 4] = [
    "_method",
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
        let override_header = "X-HTTP-Method-Override";
        for name in [
            "_method",
            " _METHOD",
            ".method",
            "_method[]",
            override_header,
        ] {
            assert!(overrides_method(name), "{name}");
        }
        for name in ["method", "payment_method", "_methods", ""] {
            assert!(!overrides_method(name), "{name}");
        }
    }
}
