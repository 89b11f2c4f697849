//! How a refusal is told: as a problem (RFC 9457), or to a client of MCP or of an agent in the words of its protocol, so
//! that a model cannot take it for success (FAILURES 24).

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use mandate_decide::enforce::{Addressee, Denial, McpFault, Pending, Unclassifiable};
use mandate_policy::decl::{McpSettings, RPC, ServerWorkload};
use serde::Serialize;
use serde_json::{Value, json};

use super::refusal::Refusal;
use crate::body::OutBody;

/// The form of a refusal.
#[derive(Default)]
pub(super) enum Form {
    /// Of plain HTTP.
    #[default]
    Problem,
    /// Of a message to an MCP server, or of a call of an agent.
    Message {
        denial_code: i64,
        /// The first word of what is asked for.
        protocol: &'static str,
        /// As far as it was read. Looked into where a refusal is told, and never before.
        body: Option<Bytes>,
    },
}

impl Form {
    /// What who asks for something of `server` understands, as far as it is known what that is.
    pub(super) fn of(server: &ServerWorkload, asked: Option<&Pending<'_>>) -> Self {
        let is_message = asked.is_some_and(Pending::is_message);
        match (&server.mcp, &server.a2a) {
            (Some(McpSettings { denial_code, .. }), _) => Form::Message {
                denial_code: *denial_code,
                protocol: "mcp",
                body: None,
            },
            (None, Some(_)) if is_message => Form::Message {
                denial_code: DENIED,
                protocol: RPC,
                body: None,
            },
            (None, _) => Form::Problem,
        }
    }

    /// From now on it is known whom a refusal is for.
    pub(super) fn read(&mut self, read: Option<Bytes>) {
        if let Form::Message { body, .. } = self {
            *body = read;
        }
    }

    /// What was asked for, in words.
    pub(super) fn words(&self) -> Option<String> {
        match self {
            Form::Message {
                body: Some(body),
                protocol,
                ..
            } => {
                let words = Addressee::of(body).words?;
                let words = words.strip_prefix("mcp").unwrap_or(&words);
                Some(format!("{protocol}{words}"))
            }
            Form::Message { body: None, .. } | Form::Problem => None,
        }
    }

    /// The reply that tells of `refusal`.
    pub(super) fn response(
        &self,
        refusal: &Refusal,
        nonce: Option<HeaderValue>,
    ) -> Response<OutBody> {
        let mut response = refusal.response(nonce);
        let Form::Message {
            denial_code, body, ..
        } = self
        else {
            return response;
        };
        let to = body.as_deref().map(Addressee::of).unwrap_or_default();
        let told = Told::of(refusal, *denial_code, to);
        *response.status_mut() = told.status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        // What has text keys alone is always written.
        let message = serde_json::to_vec(&told.message).unwrap_or_default();
        *response.body_mut() = OutBody::Own(Some(Bytes::from(message)));
        response
    }
}

/// A reply, and what is in it.
struct Told {
    status: StatusCode,
    message: Message,
}

/// A JSON-RPC response (JSON-RPC 2.0 §5). Without an id where the request's cannot be told.
#[derive(Serialize)]
struct Message {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Value>,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Result(FailedCall),
    Error {
        code: i64,
        message: String,
        data: Value,
    },
}

/// A tool's result that says that it has failed, for the model to read.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FailedCall {
    content: [Value; 1],
    is_error: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_type: Option<&'static str>,
}

/// Status and code of what is wrong with a message in its protocol's own terms, and what those say more on it.
fn fault(refusal: &Refusal) -> (Option<(u16, Option<i64>)>, Option<Value>) {
    let Refusal::Denied(Denial::Unclassifiable(why)) = refusal else {
        return (None, None);
    };
    if let Unclassifiable::A2a(fault) = why {
        return (Some((fault.status(), Some(fault.code()))), None);
    }
    let Unclassifiable::Mcp(fault) = why else {
        return (None, None);
    };
    let version =
        |requested| json!({"supported": McpFault::supported(requested), "requested": requested});
    let data = if let McpFault::Version { requested } = fault {
        Some(version(requested))
    } else {
        let extension = fault.required_extension();
        extension.map(|name| json!({"requiredCapabilities": {"extensions": {name: {}}}}))
    };
    (Some((fault.status(), fault.code())), data)
}

impl Told {
    fn of(refusal: &Refusal, denial_code: i64, to: Addressee) -> Self {
        let status = refusal.status();
        let (fault, data) = fault(refusal);
        // A decision, before anything was forwarded. What is cut later may have been carried out, and what is no
        // request gets no answer that a client would take for one.
        let before = matches!(refusal, Refusal::Denied(_) | Refusal::Exchange(_));
        let decided = fault.is_none() && before && status == StatusCode::FORBIDDEN;
        let is_request = to.id.is_some();
        if decided && to.is_tool_call && is_request {
            return Self::failed_call(refusal, to);
        }
        let (status, code) = if let Some((said, code)) = fault {
            let said = StatusCode::from_u16(said).unwrap_or(status);
            let said = if is_request || said.is_client_error() {
                said
            } else {
                StatusCode::BAD_REQUEST
            };
            (said, code.unwrap_or(denial_code))
        } else if decided && is_request {
            (StatusCode::OK, denial_code)
        } else if decided || status == StatusCode::UNAUTHORIZED {
            (status, denial_code)
        } else if status.is_client_error() && !matches!(refusal, Refusal::Cut(_)) {
            (status, INVALID_REQUEST)
        } else {
            (status, INTERNAL_ERROR)
        };
        let data = data.unwrap_or_else(|| json!({"rule": refusal.rule()}));
        let outcome = Outcome::Error {
            code,
            message: refusal.to_string(),
            data,
        };
        let message = Message {
            jsonrpc: "2.0",
            id: to.id,
            outcome,
        };
        Self { status, message }
    }

    fn failed_call(refusal: &Refusal, to: Addressee) -> Self {
        let rule = refusal.rule();
        let text = format!("Denied by policy, and not carried out: {refusal} (rule `{rule}`).");
        let outcome = Outcome::Result(FailedCall {
            content: [json!({"type": "text", "text": text})],
            is_error: true,
            result_type: to.is_stateless.then_some("complete"),
        });
        let message = Message {
            jsonrpc: "2.0",
            id: to.id,
            outcome,
        };
        Self {
            status: StatusCode::OK,
            message,
        }
    }
}

/// Outside of what JSON-RPC and A2A keep for themselves.
const DENIED: i64 = 403;
const INVALID_REQUEST: i64 = -32600;
const INTERNAL_ERROR: i64 = -32603;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Cut;

    fn told(refusal: &Refusal) -> (u16, Value) {
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"refund"}}"#;
        let form = Form::Message {
            denial_code: 403,
            protocol: "mcp",
            body: Some(Bytes::from(call)),
        };
        let response = form.response(refusal, None);
        let status = response.status().as_u16();
        let OutBody::Own(Some(body)) = response.into_body() else {
            panic!("it is this gateway's own");
        };
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// FAILURES 24. What is cut may have been carried out, whatever cut it.
    #[test]
    fn only_what_was_never_forwarded_is_told_as_not_carried_out() {
        let (status, denied) = told(&Refusal::Denied(Denial::NothingToUse));
        assert_eq!((status, &denied["result"]["isError"]), (200, &json!(true)));
        let cut = Refusal::Cut(Cut::new("token.expired", "the access token has expired"));
        let (status, cut) = told(&cut);
        assert_eq!(
            (status, &cut["error"]["code"]),
            (403, &json!(INTERNAL_ERROR))
        );
        let (status, broke) = told(&Refusal::UpstreamBroke);
        assert_eq!(
            (status, &broke["error"]["code"]),
            (502, &json!(INTERNAL_ERROR))
        );
    }
}
