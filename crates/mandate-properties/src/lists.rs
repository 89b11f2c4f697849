//! Lists of MCP servers: whatever a client finds in what is shown, it is nothing that is not.

use mandate_decide::enforce::shown;
use serde_json::Value;

/// Reads `data` as an answer of an MCP server, in whose lists names that begin with `ok` are shown.
///
/// - A client finds no other name in a list of what is left: one that keeps the last of two members, or that ignores
///   letter case.
/// - What is shown is there as it was, in its order.
/// - What has a list is nobody else's to see.
pub fn lists(data: &[u8]) -> bool {
    let Ok(changed) = shown(data, |_, named, _| named.starts_with("ok")) else {
        return false;
    };
    // What stays as it was may have numbers that no double holds.
    let Ok(before) = serde_json::from_slice::<Value>(data) else {
        return false;
    };
    let after = changed.as_deref().map_or(before.clone(), |changed| {
        serde_json::from_slice(changed).expect("it is written as JSON")
    });
    let mut any = false;
    for (name, value) in result(&after) {
        let lower = name.to_lowercase();
        if lower == "cachescope" {
            assert!(changed.is_none() || value == "private", "{value}");
        }
        let Some((_, naming)) = LISTS.iter().find(|(list, _)| *list == lower) else {
            continue;
        };
        any = true;
        let items = value.as_array().expect("a list");
        for item in items {
            for (member, named) in item.as_object().expect("an object") {
                let is_name = member.to_lowercase() == naming.to_lowercase();
                let is_shown = named.as_str().is_some_and(|named| named.starts_with("ok"));
                assert!(!is_name || is_shown, "{item}");
            }
        }
        let shown = before
            .pointer(&format!("/result/{name}"))
            .and_then(Value::as_array);
        let mut shown = shown.into_iter().flatten();
        assert!(items.iter().all(|item| shown.any(|other| other == item)));
    }
    any
}

fn result(message: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let members = message.as_object().into_iter().flatten();
    let results = members.filter(|(name, _)| name.to_lowercase() == "result");
    results
        .filter_map(|(_, result)| result.as_object())
        .flatten()
}

/// In lower case, with the member that names an item.
const LISTS: [(&str, &str); 4] = [
    ("tools", "name"),
    ("prompts", "name"),
    ("resources", "uri"),
    ("resourcetemplates", "uriTemplate"),
];
