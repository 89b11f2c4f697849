//! Bodies: what a pointer finds must be what every reader of the body finds.

use http::{HeaderMap, HeaderValue, header};
use mandate_decide::enforce::{Classified, RequestHead, classify, strict_json};
use mandate_model::{AttributeName, AttributeValue};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::world::records;

/// Reads `data` as the body of a refund.
///
/// - What is read strictly is what serde_json reads, to the last value.
/// - An attribute that was found is the only member of its name, in whatever letter case, for a reader
///   that keeps the first as for one that keeps the last, and has exactly the value that stands there.
/// - A list counts with every item.
pub fn body(data: &[u8]) -> bool {
    if let Ok(strict) = strict_json(data) {
        let lenient: Value = serde_json::from_slice(data).expect("strict is stricter");
        assert_eq!(strict, lenient);
    }
    let Some(classified) = refund(data) else {
        return false;
    };
    let members: Members = serde_json::from_slice(data).expect("an object, or nothing was found");
    let expected = |name: &str| members.only(name);
    if let Some(amount) = expected("amount_cents") {
        check(&classified, "amount_cents", &amount);
    }
    if let Some(id) = expected("order").as_ref().and_then(|order| order.get("id")) {
        check(&classified, "order", id);
    }
    if let Some(tags) = expected("tags") {
        check(&classified, "tags", &tags);
    }
    true
}

fn refund(data: &[u8]) -> Option<Classified> {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    let head = RequestHead {
        method: "POST",
        path_and_query: "/customers/acme/refunds",
        headers: &headers,
    };
    let pending = classify(records(), &head).expect("the head is fine");
    let classified = pending.with_body(&headers, data).ok()?;
    // Something other than an object has no members, so that nothing was found.
    let found = ["amount_cents", "order", "tags"]
        .iter()
        .any(|name| !values(&classified, name).is_empty());
    found.then_some(classified)
}

fn values<'a>(classified: &'a Classified, name: &str) -> &'a [AttributeValue] {
    let name = AttributeName::parse(name).unwrap();
    classified.attributes().values(&name)
}

/// That the attribute has what stands in the body, item by item.
fn check(classified: &Classified, name: &str, there: &Value) {
    let one = std::slice::from_ref(there);
    let items = there.as_array().map_or(one, Vec::as_slice);
    let found: Vec<Value> = values(classified, name)
        .iter()
        .map(|value| match value {
            AttributeValue::Integer(n) => Value::from(*n),
            AttributeValue::Text(text) => Value::from(text.clone()),
        })
        .collect();
    assert_eq!(found, items, "{name}");
}

/// All members of an object in their order, those that stand twice twice.
struct Members(Vec<(String, Value)>);

impl Members {
    fn only(&self, name: &str) -> Option<Value> {
        let is_it = |other: &str| other.to_lowercase() == name;
        let mut all = self.0.iter().filter(|(other, _)| is_it(other));
        let (found, value) = all.next()?;
        assert_eq!(found, name, "a twin was taken for {name}");
        assert!(all.next().is_none(), "{name} stands twice");
        Some(value.clone())
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut all = Vec::new();
                while let Some(member) = map.next_entry()? {
                    all.push(member);
                }
                Ok(Members(all))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}
