//! The operators' side of the authority (`docs/authority-api.md`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::Full;
use mandate_model::Secret;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::form;
use super::http::{Answer, CALL, Door, HttpError};
use crate::context::{Context, DataDir};
use crate::failure::Failure;

/// An operator: as whom the kernel names this user, or with a session at a server elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    door: Door,
    session: Option<Arc<Secret<String>>>,
}

/// Why the authority did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OperatorError {
    /// It refused, and says by which rule.
    #[error("{detail}")]
    Refused {
        /// The status.
        status: u16,
        /// The rule.
        rule: String,
        /// What was refused, and the mend.
        detail: String,
        /// The whole problem document.
        body: Value,
    },
    /// There is no answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The answer is none that this release understands.
    #[error("the authority's answer is not understood: {0}")]
    Answer(String),
}

impl From<OperatorError> for Failure {
    fn from(error: OperatorError) -> Failure {
        match error {
            OperatorError::Refused { rule, detail, .. } if rule.is_empty() => {
                Failure::failed(detail, "")
            }
            OperatorError::Refused { rule, detail, .. } => {
                Failure::failed(format!("{detail} ({rule})"), mend(&rule))
            }
            OperatorError::Http(error) => error.into(),
            OperatorError::Answer(why) => Failure::failed(
                format!("the authority's answer is not understood: {why}"),
                "use a command of the server's own release",
            ),
        }
    }
}

/// What an operator can do about a refusal by `rule`.
fn mend(rule: &str) -> &'static str {
    match rule {
        "operator.none" => {
            "run this as a user whom the live bundle declares as an `Operator`; the server's own user is one while it declares none"
        }
        "session.none" | "session.stopped" => "log in again: `mandate login`",
        "operator.no_right" | "operator.gives" => "let an operator do it who has the right",
        "resume.second_operator" => "let another operator resume it",
        "bundle" => "look again with `mandate plan`, then apply",
        "versions" => {
            "look at `mandate suspensions` and `mandate status`, then do it again if it is still right"
        }
        "not_suspended" => "`mandate suspensions` lists what is",
        _ => "the refusal says what has to be different; `mandate status` shows what is live",
    }
}

impl Operator {
    /// Speaks with the server that the command line names: through its operators' socket on this
    /// machine, or with this user's session.
    pub(crate) fn of(context: &Context) -> Result<Self, Failure> {
        let Some(elsewhere) = &context.elsewhere else {
            return Ok(Self::on_this_machine(&context.data));
        };
        let session = elsewhere.session()?;
        Ok(Self {
            door: elsewhere.door()?,
            session: Some(Arc::new(session.secret())),
        })
    }

    /// Speaks through the operators' socket of a server.
    pub(crate) fn on_this_machine(data: &DataDir) -> Self {
        Self {
            door: Door::Unix(data.operator_socket()),
            session: None,
        }
    }

    async fn call(
        &self,
        mut request: Request<Full<Bytes>>,
        limit: Duration,
    ) -> Result<Answer, HttpError> {
        if let Some(session) = &self.session {
            let value = HeaderValue::try_from(format!("Bearer {}", session.expose()));
            let mut value = value.map_err(http::Error::from)?;
            value.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        self.door.call(request, limit).await
    }

    /// `GET`, with a query.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, Option<&str>)],
    ) -> Result<T, OperatorError> {
        let query = form::encode(query);
        let target = if query.is_empty() {
            format!("{PREFIX}{path}")
        } else {
            format!("{PREFIX}{path}?{query}")
        };
        parsed(&self.call(self.door.get(&target)?, CALL).await?)
    }

    /// `GET` of a text that is not JSON, from the root.
    pub(crate) async fn text(&self, target: &str) -> Result<String, OperatorError> {
        let bytes = self.bytes(target).await?;
        String::from_utf8(bytes.to_vec()).map_err(|e| OperatorError::Answer(e.to_string()))
    }

    /// `GET` of what is no text at all, from the root.
    pub(crate) async fn bytes(&self, target: &str) -> Result<Bytes, OperatorError> {
        let answer = self.call(self.door.get(target)?, CALL).await?;
        if !answer.status.is_success() {
            return Err(refusal(&answer));
        }
        Ok(answer.body)
    }

    /// `POST` of a JSON body.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<T, OperatorError> {
        self.post_within(path, body, CALL).await
    }

    /// `POST` that may take longer: a suspension waits for leases to end.
    pub(crate) async fn post_within<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        limit: Duration,
    ) -> Result<T, OperatorError> {
        let request = self.door.json(&format!("{PREFIX}{path}"), body)?;
        parsed(&self.call(request, limit).await?)
    }
}

pub(crate) fn parsed<T: DeserializeOwned>(answer: &Answer) -> Result<T, OperatorError> {
    if !answer.status.is_success() {
        return Err(refusal(answer));
    }
    let body: &[u8] = if answer.body.is_empty() {
        b"null"
    } else {
        &answer.body
    };
    serde_json::from_slice(body).map_err(|e| OperatorError::Answer(e.to_string()))
}

/// RFC 9457.
fn refusal(answer: &Answer) -> OperatorError {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    OperatorError::Refused {
        status: answer.status.as_u16(),
        rule: text("rule").unwrap_or_default(),
        detail: text("detail")
            .or_else(|| text("title"))
            .unwrap_or_else(|| format!("the authority answered {}", answer.status)),
        body,
    }
}

const PREFIX: &str = "/operator/v1";
