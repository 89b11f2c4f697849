//! What a server wants back with the next round of a request (MCP 2026-07-28, "Multi Round-Trip Requests").
//!
//! Servers may decide by it, and an agent holds it in between: it is good for whom it was given to, and for the same
//! request (FAILURES 37).

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::raw::{Members, PRIVATE, SCOPE, check_spelling, member, read, rewritten};
use super::{McpFault, UnreadableAnswer};

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

/// The request `body` with `state` in the place of what the agent has brought back.
pub fn with_state(body: &[u8], state: &str) -> Result<Vec<u8>, UnreadableAnswer> {
    let changed = changed(body, "params", |_| state.to_owned())?;
    Ok(changed.unwrap_or_else(|| body.to_vec()))
}

/// The answer `message` with what `bind` makes of the state that the server wants back, and private to who asked;
/// `None` where nothing of it changes.
pub fn with_bound_state(
    message: &[u8],
    bind: impl Fn(&str) -> String,
) -> Result<Option<Vec<u8>>, UnreadableAnswer> {
    changed(message, "result", bind)
}

fn changed(
    message: &[u8],
    within: &str,
    change: impl Fn(&str) -> String,
) -> Result<Option<Vec<u8>>, UnreadableAnswer> {
    let Members(message) = read(message)?;
    check_spelling(&message, &[within])?;
    let inner = member(&message, within).filter(|inner| inner.get().starts_with('{'));
    let Some(inner) = inner else { return Ok(None) };
    let Members(inner) = read(inner.get().as_bytes())?;
    check_spelling(&inner, &[STATE, SCOPE])?;
    let state = member(&inner, STATE);
    if state.or(member(&inner, SCOPE)).is_none() {
        return Ok(None);
    }
    let inner = rewritten(&inner, |name, value| {
        if name == SCOPE {
            return Ok(Some(PRIVATE.to_owned()));
        }
        if name != STATE {
            return Ok(None);
        }
        let state: String = serde_json::from_str(value.get()).map_err(|_| UnreadableAnswer)?;
        Ok(Some(Value::String(change(&state)).to_string()))
    })?;
    let message = rewritten(&message, |name, _| {
        Ok((name == within).then(|| inner.clone()))
    })?;
    Ok(Some(message.into_bytes()))
}

const STATE: &str = "requestState";
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

    #[test]
    fn only_the_state_changes_in_a_message() {
        let body = br#"{"id":1, "params":{"requestState":"s\u007eM", "arguments":{"n":1.50}}}"#;
        let sent = with_state(body, "s\"").unwrap();
        assert_eq!(
            String::from_utf8(sent).unwrap(),
            r#"{"id":1,"params":{"requestState":"s\"","arguments":{"n":1.50}}}"#
        );
        let bound = |message: &str| {
            let bound = with_bound_state(message.as_bytes(), |state| format!("{state}~M"));
            bound.map(|bound| bound.map(|bytes| String::from_utf8(bytes).unwrap()))
        };
        assert_eq!(
            bound(r#"{"result":{"resultType":"input_required","requestState":"s"}}"#),
            Ok(Some(
                r#"{"result":{"resultType":"input_required","requestState":"s~M"}}"#.to_owned()
            ))
        );
        assert_eq!(
            bound(r#"{"result":{"contents":[],"cacheScope":"public"}}"#),
            Ok(Some(
                r#"{"result":{"contents":[],"cacheScope":"private"}}"#.to_owned()
            ))
        );
        for without in [
            r#"{"result":{"content":[]}}"#,
            r#"{"error":{"code":1}}"#,
            r#"{"method":"x"}"#,
        ] {
            assert_eq!(bound(without), Ok(None));
        }
        for bad in [
            r#"{"result":{"requestState":"s","requestState":"t"}}"#,
            r#"{"result":{"RequestState":"s"}}"#,
            r#"{"result":{"requestState":7}}"#,
            r#"[]"#,
        ] {
            assert_eq!(bound(bad), Err(UnreadableAnswer), "{bad}");
        }
    }
}
