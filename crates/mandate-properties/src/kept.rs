//! What MCP servers give agents to bring back: no client finds it in an answer without its code.

use mandate_decide::enforce::{Kept, with_kept};
use serde_json::Value;

/// Reads `data` as an answer of an MCP server, of which what is brought back gets `~K` behind it.
///
/// - A client finds no state and no task without that: one that keeps the last of two members, or that ignores letter
///   case.
/// - Without it the answer is what it was.
pub fn kept(data: &[u8]) -> bool {
    let give = |kept: Kept<'_>| match kept {
        Kept::State(text) | Kept::Task(text) => Some(format!("{text}{CODE}")),
    };
    let Ok(changed) = with_kept(data, Some(&Value::from(1)), give) else {
        return false;
    };
    // What stays as it was may have numbers that no double holds.
    let Ok(mut before) = serde_json::from_slice::<Value>(data) else {
        return false;
    };
    let after = changed.as_deref().map_or(before.clone(), |changed| {
        serde_json::from_slice(changed).expect("it is written as JSON")
    });
    for name in ["requestState", "taskId"] {
        let found = after.get("result").into_iter().flat_map(members);
        for (_, value) in found.filter(|(found, _)| twins(found, name)) {
            let text = value.as_str().expect("it was read as text");
            assert!(text.ends_with(CODE), "{name}: {text}");
        }
    }
    for place in PLACES {
        // The client's own task, which a server asks after, is none of the server's.
        let tells = before.get("method").and_then(Value::as_str);
        let tells = tells.is_some_and(|method| method.starts_with("notifications/tasks"));
        if place == "/params/taskId" && !tells {
            continue;
        }
        if let Some(value) = before.pointer_mut(place) {
            let text = value.as_str().expect("it was read as text");
            *value = Value::from(format!("{text}{CODE}"));
        }
    }
    if let Some(scope) = before.pointer_mut("/result/cacheScope") {
        *scope = Value::from("private");
    }
    assert_eq!(after, before);
    changed.is_some()
}

fn members(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

fn twins(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

const CODE: &str = "~K";
const PLACES: [&str; 6] = [
    "/result/requestState",
    "/result/taskId",
    "/result/task/taskId",
    "/result/_meta/io.modelcontextprotocol~1related-task/taskId",
    "/params/taskId",
    "/params/_meta/io.modelcontextprotocol~1related-task/taskId",
];
