//! One request to the authority: through a door, beside a proof where there is a key.

use std::sync::Arc;

use http::HeaderValue;
use serde_json::Value;

use super::agent::AgentError;
use super::holder::{Possession, Wanted};
use super::http::{Answer, CALL, Door, HttpError};
use super::members::Members;

/// A door, and the key that is proved there, if there is one.
#[derive(Debug, Clone)]
pub(super) struct Way {
    pub(super) door: Door,
    pub(super) key: Option<Arc<Possession>>,
}

/// The answer to a form, as JSON.
pub(super) async fn post(
    way: &Way,
    path: &str,
    form: &[(&str, Option<&str>)],
) -> Result<Value, AgentError> {
    let answer = send(way, path, form).await?;
    if answer.status.is_success() {
        if answer.body.is_empty() {
            return Ok(Value::Null);
        }
        return serde_json::from_slice(&answer.body).map_err(|e| AgentError::Answer(e.to_string()));
    }
    Err(refusal(&answer))
}

/// Sends a form, with a proof where there is a key; once more with the server's nonce where it asks
/// for that (RFC 9449 §8).
async fn send(way: &Way, path: &str, form: &[(&str, Option<&str>)]) -> Result<Answer, AgentError> {
    let door = &way.door;
    let Some(key) = &way.key else {
        return Ok(door.call(door.form(path, form)?, CALL).await?);
    };
    let mut wanted = Wanted {
        method: "POST".to_owned(),
        url: key.address(door, path).await?,
        access_token: None,
        task_token: None,
        nonce: None,
    };
    let proved = async |wanted: &Wanted| {
        let proof = key.prover.prove(wanted).await?;
        let mut request = door.form(path, form)?;
        let proof = HeaderValue::from_str(&proof).map_err(http::Error::from);
        request
            .headers_mut()
            .insert("dpop", proof.map_err(HttpError::from)?);
        Ok::<Answer, AgentError>(door.call(request, CALL).await?)
    };
    let first = proved(&wanted).await?;
    let asked = asks_for_nonce(&first);
    match first.nonce.clone().filter(|_| asked) {
        None => Ok(first),
        Some(nonce) => {
            wanted.nonce = Some(nonce);
            proved(&wanted).await
        }
    }
}

fn asks_for_nonce(answer: &Answer) -> bool {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    body.text("error") == Some("use_dpop_nonce")
}

/// RFC 6749 §5.2 from the token endpoint, RFC 9457 from the others.
fn refusal(answer: &Answer) -> AgentError {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    let text = |names: [&str; 2]| {
        names
            .iter()
            .find_map(|name| body.get(name).and_then(Value::as_str))
            .map(str::to_owned)
    };
    AgentError::Refused {
        error: text(["error", "rule"]).unwrap_or_else(|| answer.status.to_string()),
        description: text(["error_description", "detail"])
            .unwrap_or_else(|| "the authority gave no reason".to_owned()),
    }
}
