//! What a server wants back with the next round of a request (MCP 2026-07-28, "Multi Round-Trip Requests").
//!
//! Servers may decide by it, and an agent holds it in between: it is good for whom it was given to, and for the same
//! request (FAILURES 37).

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::McpFault;
use super::kept::STATE;

/// A request that may be answered by a question, and made again with the answer to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round(Box<Asked>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    digest: [u8; 32],
    state: Option<String>,
}

impl Round {
    pub(super) fn of(method: &str, params: &Map<String, Value>) -> Result<Self, McpFault> {
        let state = match params.get(STATE) {
            None => None,
            Some(Value::String(state)) => Some(state.clone()),
            Some(_) => return Err(McpFault::Params("`requestState` must be text")),
        };
        let asked = params
            .iter()
            .filter(|(name, _)| !OF_A_ROUND.contains(&name.as_str()));
        let mut digest = Sha256::new().chain_update(method);
        add_members(&mut digest, asked);
        Ok(Self(Box::new(Asked {
            digest: digest.finalize().into(),
            state,
        })))
    }

    /// The digest of what is asked for, which is the same in every round.
    pub fn digest(&self) -> &[u8; 32] {
        &self.0.digest
    }

    /// What the agent has brought back.
    pub fn state(&self) -> Option<&str> {
        self.0.state.as_deref()
    }
}

/// Whatever the order of an object's members, and however the JSON is written.
fn add_members<'v>(digest: &mut Sha256, members: impl Iterator<Item = (&'v String, &'v Value)>) {
    let mut members: Vec<_> = members.collect();
    members.sort_by_key(|(name, _)| *name);
    digest.update(b"{");
    for (name, value) in members {
        add(digest, &Value::from(name.as_str()));
        add(digest, value);
    }
    digest.update(b"}");
}

fn add(digest: &mut Sha256, value: &Value) {
    match value {
        Value::Object(members) => add_members(digest, members.iter()),
        Value::Array(items) => {
            digest.update(b"[");
            items.iter().for_each(|item| add(digest, item));
            digest.update(b"]");
        }
        // Each ends where JSON ends it, so that no two are one.
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            digest.update(value.to_string());
            digest.update(b"\n");
        }
    }
}

/// What differs from one round to the next.
const OF_A_ROUND: [&str; 3] = ["_meta", "inputResponses", STATE];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn round(params: Value) -> Round {
        Round::of("tools/call", params.as_object().unwrap()).unwrap()
    }

    #[test]
    fn every_round_of_a_request_has_one_digest_and_no_other_request_has_it() {
        let first = round(json!({
            "name": "refund", "arguments": {"a": {"y": [2], "x": 1}, "id": 1}, "_meta": {"a": 1},
        }));
        let second = json!({
            "requestState": "s", "inputResponses": {"ok": {"action": "accept"}},
            "arguments": {"id": 1, "a": {"x": 1, "y": [2]}}, "_meta": {"b": 2}, "name": "refund",
        });
        let second = round(second);
        assert_eq!(first.digest(), second.digest());
        assert_eq!((first.state(), second.state()), (None, Some("s")));
        for other in [
            json!({"name": "refund", "arguments": {"id": 2}}),
            json!({"name": "refund2", "arguments": {"id": 1}}),
            json!({"name": "refund"}),
            json!({"name": "refund", "arguments": {"id": 1}, "more": null}),
        ] {
            assert_ne!(round(other.clone()).digest(), first.digest(), "{other}");
        }
        let params = json!({"name": "refund", "arguments": {"id": 1, "a": {"x": 1, "y": [2]}}});
        let other = Round::of("prompts/get", params.as_object().unwrap()).unwrap();
        assert_ne!(other.digest(), first.digest());
        assert!(
            Round::of(
                "tools/call",
                json!({"requestState": 7}).as_object().unwrap()
            )
            .is_err()
        );
    }
}
