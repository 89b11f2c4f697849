//! Messages to MCP servers: what was decided on must be what every server finds in them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use mandate_decide::enforce::{Addressee, Classified, Era, RequestHead, classify};
use mandate_model::{AttributeName, AttributeValue};
use serde_json::Value;

use crate::classify::headers;
use crate::world::desk;

/// Reads `data`: header fields, one a line, then after an empty line the message.
///
/// - Every server finds the same method, name and arguments in it: one that keeps the last of two members, or that
///   ignores letter case; and one that believes the header fields.
/// - The action is the one that names the tool or prompt, and an attribute is, item by item, what stands at its
///   pointer.
/// - It is of the revision that it says, in the head as in the body.
/// - Whom a refusal would be for is who sent it.
pub fn mcp(data: &[u8]) -> bool {
    let Some(end) = data.windows(2).position(|two| two == b"\n\n") else {
        return false;
    };
    let (head, body) = data.split_at(end);
    let body = body.get(2..).unwrap_or_default();
    let Ok(head) = std::str::from_utf8(head) else {
        return false;
    };
    let fields = headers(head.split('\n'));
    let addressee = Addressee::of(body);
    let request = RequestHead {
        method: "POST",
        path_and_query: "/mcp",
        headers: &fields,
    };
    let pending = classify(desk(), &request).expect("the head says only that it is a message");
    let Ok(classified) = pending.with_body(&fields, body) else {
        return false;
    };
    let message: Value = serde_json::from_slice(body).expect("it was read");
    let era = classified.era().expect("it is a message");
    only(
        &message,
        &["jsonrpc", "id", "method", "params", "result", "error"],
    );
    let Some(method) = message.get("method").and_then(Value::as_str) else {
        assert!(classified.action().is_none() && era == Era::Sessions);
        return true;
    };
    assert_eq!(addressee.is_tool_call, method == "tools/call");
    let nothing = Value::Null;
    let params = message.get("params").unwrap_or(&nothing);
    check_head(&fields, era, method, params);
    if matches!(method, "tools/call" | "prompts/get") {
        check_use(&classified, method, params);
    }
    true
}

/// That no other member is one of `known` for a reader that ignores letter case.
fn only(object: &Value, known: &[&str]) {
    for name in object
        .as_object()
        .into_iter()
        .flat_map(|members| members.keys())
    {
        let lower = name.to_lowercase();
        let twin = known.iter().any(|known| lower == known.to_lowercase());
        assert!(!twin || known.contains(&name.as_str()), "{name}");
    }
}

fn check_head(fields: &HeaderMap, era: Era, method: &str, params: &Value) {
    let said = |name: &str| {
        let text = fields.get(name).map(|value| value.to_str().unwrap().trim());
        assert!(fields.get_all(name).iter().count() < 2, "{name} twice");
        text
    };
    let claim = params.pointer("/_meta/io.modelcontextprotocol~1protocolVersion");
    match era {
        Era::Stateless => {
            assert!(said("mcp-protocol-version").unwrap() >= "2026-07-28");
            let claimed = claim.and_then(Value::as_str);
            let is_request = said("mcp-method").is_some() && claim.is_some();
            assert!(!is_request || claimed == said("mcp-protocol-version"));
        }
        Era::Sessions => {
            assert!(claim.is_none());
            assert!(said("mcp-protocol-version").is_none_or(|version| version < "2026-07-28"));
        }
    }
    assert!(said("mcp-method").is_none_or(|said| said == method));
    let named = match method {
        "tools/call" | "prompts/get" => params.get("name"),
        "resources/read" => params.get("uri"),
        _ => return,
    };
    if let Some(said) = said("mcp-name") {
        let inner = said
            .strip_prefix("=?base64?")
            .and_then(|s| s.strip_suffix("?="));
        let bytes = inner.map_or(said.as_bytes().to_vec(), |inner| {
            STANDARD.decode(inner).unwrap()
        });
        assert_eq!(
            named.and_then(Value::as_str).map(str::as_bytes),
            Some(&*bytes)
        );
    }
}

fn check_use(classified: &Classified, method: &str, params: &Value) {
    only(params, &["name", "arguments", "_meta"]);
    let kind = if method == "tools/call" {
        "tool"
    } else {
        "prompt"
    };
    let name = params.get("name").and_then(Value::as_str).unwrap();
    assert_eq!(classified.shape(), format!("{kind} {name}"));
    let nothing = Value::Null;
    let arguments = params.get("arguments").unwrap_or(&nothing);
    let action = classified.action().expect("it is used").as_str();
    let declared: &[(&str, &str)] = match action {
        "look" => &[("customer", "/customer_id")],
        "repay" => &[
            ("customer", "/order/customer"),
            ("amount_cents", "/amount_cents"),
        ],
        other => panic!("{other} is of no tool or prompt"),
    };
    for (attribute, pointer) in declared {
        only(arguments, &[pointer.split('/').nth(1).unwrap()]);
        let name = AttributeName::parse(attribute).unwrap();
        let found: Vec<Value> = classified
            .attributes()
            .values(&name)
            .iter()
            .map(json)
            .collect();
        let there = arguments.pointer(pointer);
        let items = there.map_or(&[][..], |there| {
            let one = std::slice::from_ref(there);
            there.as_array().map_or(one, Vec::as_slice)
        });
        assert_eq!(found, items, "{attribute}");
    }
}

fn json(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::Integer(n) => Value::from(*n),
        AttributeValue::Text(text) => Value::from(text.clone()),
    }
}
