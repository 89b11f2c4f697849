//! Calls of agents by other agents (Agent2Agent, JSON-RPC binding): which action one is, and its attributes.
//!
//! The method is decided on, under the name that it has: `SendMessage` (1.0) and `message/send` (0.3) are two. What is
//! not named is denied. What is called answers for the rest.

use std::fmt;

use mandate_model::{AttributeName, RequestAttributes};
use mandate_policy::decl::{A2aSettings, Attribute, AttributeSource, RPC, ServerWorkload};
use mandate_policy::fold;
use serde_json::{Map, Value};

use super::body::{UnreadableBody, has_at_most, strict_json};
use super::classify::{
    Classified, Unclassifiable, add, check_content_type, found, json_scalars, typed,
};
use super::target::Target;

/// Why a message is no call that is decided on. It is denied, and forwarded nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum A2aFault {
    /// It is not JSON, or JSON with more than one meaning.
    #[error("{0}")]
    Unreadable(#[from] UnreadableBody),
    /// It is sent as something else than JSON.
    #[error("a call is `application/json`, in UTF-8 and without a content encoding")]
    ContentType,
    /// It is no one JSON-RPC request.
    #[error("{0}")]
    NotACall(&'static str),
    /// `params` is no object.
    #[error("`params` must be an object")]
    Params,
    /// No action names the method.
    #[error("no action of this server workload names this method")]
    Method,
}

impl A2aFault {
    /// The rule's name in records, metrics and replies.
    pub fn rule(&self) -> &'static str {
        match self {
            A2aFault::Unreadable(_) | A2aFault::ContentType | A2aFault::NotACall(_) => {
                "a2a.message"
            }
            A2aFault::Params => "a2a.params",
            A2aFault::Method => "a2a.method",
        }
    }

    /// The status of the reply.
    pub fn status(&self) -> u16 {
        match self {
            A2aFault::ContentType => 415,
            A2aFault::Method => 200,
            A2aFault::Unreadable(_) | A2aFault::NotACall(_) | A2aFault::Params => 400,
        }
    }

    /// The `code` of the reply's error (JSON-RPC 2.0 §5.1).
    pub fn code(&self) -> i64 {
        match self {
            A2aFault::Unreadable(_) => -32700,
            A2aFault::ContentType | A2aFault::NotACall(_) => -32600,
            A2aFault::Params => -32602,
            A2aFault::Method => -32601,
        }
    }
}

/// Whether a request with this method and target is a call, whatever actions there are.
pub(super) fn is_call(a2a: &A2aSettings, method: &str, target: &Target<'_>) -> bool {
    let path = a2a.path.strip_prefix('/').unwrap_or(&a2a.path);
    let endpoint = path.split('/').filter(|_| !path.is_empty());
    method == "POST" && endpoint.eq(target.segments().iter().map(AsRef::as_ref))
}

/// Which action a call is, and its attributes.
pub(super) fn by_message(
    server: &ServerWorkload,
    headers: &http::HeaderMap,
    body: &[u8],
) -> Result<Classified, Unclassifiable> {
    check_content_type(headers).map_err(|_| A2aFault::ContentType)?;
    let call = Call::read(body)?;
    let (action, shape, _) = found(server, RPC, &[&call.method]).map_err(|_| A2aFault::Method)?;
    let mut attributes = RequestAttributes::new();
    for (name, attribute) in &action.attributes {
        // No call has an attribute from elsewhere; one that had would be denied.
        let AttributeSource::Argument(pointer) = &attribute.source else {
            return Err(Unclassifiable::NoAction);
        };
        let found = call.argument((name, attribute), pointer)?;
        add(
            &mut attributes,
            name,
            attribute,
            found.iter().map(String::as_str),
        )?;
    }
    Ok(Classified {
        action: Some(action.name.clone()),
        effect: action.effect,
        attributes,
        shape,
        said: None,
    })
}

/// One request of JSON-RPC (§4).
struct Call {
    method: String,
    params: Value,
}

impl fmt::Debug for Call {
    /// Without what is said in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}

impl Call {
    fn read(bytes: &[u8]) -> Result<Self, A2aFault> {
        let refused = |why| Err(A2aFault::NotACall(why));
        if !has_at_most(bytes, MOST_VALUES) {
            return refused("a call has at most 50,000 values");
        }
        let Value::Object(mut members) = strict_json(bytes)? else {
            return refused("a call is one JSON object; batches are none");
        };
        if has_twin(&members, MEMBERS) {
            return refused("a member differs from one that is decided on in its spelling only");
        }
        if members.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return refused("`jsonrpc` must be \"2.0\"");
        }
        match members.get("id") {
            Some(Value::String(_)) => {}
            Some(Value::Number(number)) if number.is_i64() => {}
            _ => return refused("a call has an `id`, a text or a whole number"),
        }
        if members.contains_key("result") || members.contains_key("error") {
            return refused("a call has no `result` and no `error`");
        }
        let Some(Value::String(method)) = members.remove("method") else {
            return refused("`method` must be text");
        };
        match members.remove("params") {
            None => Ok(Value::Object(Map::new())),
            Some(params @ Value::Object(_)) => Ok(params),
            Some(_) => Err(A2aFault::Params),
        }
        .map(|params| Self { method, params })
    }

    /// The values at `pointer` into `params`.
    fn argument(
        &self,
        (name, attribute): (&AttributeName, &Attribute),
        pointer: &str,
    ) -> Result<Vec<String>, Unclassifiable> {
        let mut here = &self.params;
        for token in pointer.split('/').skip(1) {
            let member = token.replace("~1", "/").replace("~0", "~");
            if let Value::Object(members) = here
                && has_twin(members, &[&member])
            {
                return Err(Unclassifiable::BodyCase(name.clone()));
            }
            match here.pointer(&format!("/{token}")) {
                Some(next) => here = next,
                None => return Ok(Vec::new()),
            }
        }
        let found = json_scalars(&self.params, pointer, name)?;
        let texts = found.iter().map(|scalar| typed(scalar, name, attribute));
        texts.map(|text| text.map(str::to_owned)).collect()
    }
}

/// Whether some server would take another member for one of `known`: one that differs in letter case, or in `_` alone,
/// since the JSON form of protocol buffers has two spellings of each name (`contextId`, `context_id`).
fn has_twin(members: &Map<String, Value>, known: &[&str]) -> bool {
    let spelling = |name: &str| fold(name).replace('_', "");
    members.keys().any(|name| {
        let is_other = |known: &&str| *known != name && spelling(known) == spelling(name);
        !known.contains(&name.as_str()) && known.iter().any(is_other)
    })
}

const MEMBERS: &[&str] = &["jsonrpc", "id", "method", "params", "result", "error"];
const MOST_VALUES: usize = 50_000;
