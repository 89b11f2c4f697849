//! Calls of agents: what was decided on must be what every agent finds in them.

use http::{HeaderMap, HeaderValue, header};
use mandate_decide::enforce::{RequestHead, classify};
use mandate_model::{AttributeName, AttributeValue};
use serde_json::Value;

use crate::world::helper;

/// Reads `data` as the body of a call.
///
/// - Every agent finds the same method in it, and the same at the pointers that are decided on: one that keeps the last
///   of two members, that ignores letter case, or that takes `context_id` for `contextId`.
/// - The action is the one that names the method; an attribute is, item by item, what stands at its pointer.
pub fn calls(data: &[u8]) -> bool {
    let json = HeaderValue::from_static("application/json");
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
    let request = RequestHead {
        method: "POST",
        path_and_query: "/",
        headers: &headers,
    };
    let pending = classify(helper(), &request).expect("the head says only that it is a call");
    assert!(pending.is_message());
    let Ok(classified) = pending.with_body(&headers, data) else {
        return false;
    };
    let call: Value = serde_json::from_slice(data).expect("it was read");
    let id = call.get("id").expect("it is answered");
    assert!(id.is_string() || id.is_i64(), "{id}");
    let method = only(&call, "method").and_then(Value::as_str).unwrap();
    assert_eq!(classified.shape(), format!("rpc {method}"));
    let expected = match method {
        "SendMessage" | "message/send" => "ask",
        "GetTask" => "follow",
        other => panic!("{other} is no method"),
    };
    assert_eq!(classified.action().unwrap().as_str(), expected);
    if expected == "follow" {
        assert!(classified.attributes().iter().next().is_none());
        return true;
    }
    for (attribute, way) in [
        (
            "customer",
            &["params", "message", "metadata", "customer"][..],
        ),
        ("context", &["params", "message", "contextId"]),
    ] {
        let there = way.iter().try_fold(&call, |here, name| only(here, name));
        let items = there.map_or(&[][..], |there| {
            let one = std::slice::from_ref(there);
            there.as_array().map_or(one, Vec::as_slice)
        });
        let name = AttributeName::parse(attribute).unwrap();
        let found: Vec<Value> = classified
            .attributes()
            .values(&name)
            .iter()
            .map(|value| match value {
                AttributeValue::Integer(n) => Value::from(*n),
                AttributeValue::Text(text) => Value::from(text.clone()),
            })
            .collect();
        assert_eq!(found, items, "{attribute}");
    }
    true
}

/// The member `name` of an object, which has no other that some reader would take for it.
fn only<'v>(object: &'v Value, name: &str) -> Option<&'v Value> {
    let plain = |name: &str| name.to_lowercase().replace('_', "");
    let members = object.as_object()?;
    let same = members.keys().filter(|other| plain(other) == plain(name));
    assert!(same.clone().all(|other| other == name), "{object}");
    members.get(name)
}
