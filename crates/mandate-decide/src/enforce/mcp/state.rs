//! What a server wants back with the next round of a request (MCP 2026-07-28, "Multi Round-Trip Requests").
//!
//! Servers may decide by it, and an agent holds it in between: it is good for whom it was given to, and for the same
//! request (FAILURES 37).

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::raw::{Members, check_spelling, member, read, rewritten};
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
        let mut digest = Sha256::new().chain_update(method);
        let asked = params
            .iter()
            .filter(|(name, _)| !OF_A_ROUND.contains(&name.as_str()));
        for (name, value) in asked {
            let value = value.to_string();
            let lengths = [name.len(), value.len()].map(|length| length.to_string());
            digest.update(format!("\n{} {}\n", lengths[0], lengths[1]));
            digest.update(name);
            digest.update(value);
        }
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

/// The request `body` with `state` in the place of what the agent has brought back.
pub fn with_state(body: &[u8], state: &str) -> Result<Vec<u8>, UnreadableAnswer> {
    changed(body, "params", |_| Some(state.to_owned()))
        .map(|changed| changed.unwrap_or_else(|| body.to_vec()))
}

/// The answer `message` with what `bind` makes of the state that the server wants back; `None` if it wants none.
pub fn with_bound_state(
    message: &[u8],
    bind: impl Fn(&str) -> String,
) -> Result<Option<Vec<u8>>, UnreadableAnswer> {
    changed(message, "result", |state| Some(bind(state)))
}

fn changed(
    message: &[u8],
    within: &str,
    change: impl Fn(&str) -> Option<String>,
) -> Result<Option<Vec<u8>>, UnreadableAnswer> {
    let Members(message) = read(message)?;
    check_spelling(&message, &[within])?;
    let inner = member(&message, within).filter(|inner| inner.get().starts_with('{'));
    let Some(inner) = inner else { return Ok(None) };
    let Members(inner) = read(inner.get().as_bytes())?;
    check_spelling(&inner, &[STATE])?;
    let Some(state) = member(&inner, STATE) else {
        return Ok(None);
    };
    let state: String = serde_json::from_str(state.get()).map_err(|_| UnreadableAnswer)?;
    let state = change(&state).map(|state| Value::String(state).to_string());
    let inner = rewritten(&inner, |name, _| {
        Ok(state.clone().filter(|_| name == STATE))
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
        let first = round(json!({"name": "refund", "arguments": {"id": 1}, "_meta": {"a": 1}}));
        let second = json!({
            "name": "refund", "arguments": {"id": 1}, "_meta": {"b": 2},
            "requestState": "s", "inputResponses": {"ok": {"action": "accept"}},
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
        let params = json!({"name": "refund", "arguments": {"id": 1}});
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
