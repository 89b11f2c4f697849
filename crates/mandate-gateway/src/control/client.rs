//! Requests to the authority, HTTP/1.1 over a socket that is handed in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection to the authority.
pub trait ControlIo: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> ControlIo for T {}

/// Opens connections to the authority. What it connects to is trusted: it says what is live.
#[async_trait]
pub trait ControlSocket: Send + Sync {
    /// A new connection.
    async fn connect(&self) -> std::io::Result<Box<dyn ControlIo>>;
}

/// The authority on the same machine.
#[derive(Debug, Clone)]
pub struct UnixControl {
    path: PathBuf,
}

impl UnixControl {
    /// The authority behind the Unix socket at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

#[async_trait]
impl ControlSocket for UnixControl {
    async fn connect(&self) -> std::io::Result<Box<dyn ControlIo>> {
        let stream = tokio::net::UnixStream::connect(&self.path).await?;
        Ok(Box::new(stream))
    }
}

/// Why a request has no good answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ControlError {
    /// No connection, no answer in time, or an answer that is none.
    #[error("the authority did not answer: {0}")]
    NoAnswer(String),
    /// What the authority sent down the stream is no message of this protocol.
    #[error("the authority sent what cannot be read: {0}")]
    Unreadable(String),
    /// The authority refused.
    #[error("the authority refused ({status} {name}): {detail}")]
    Refused {
        status: u16,
        name: String,
        detail: String,
        /// With `gap`: the first record that it lacks.
        next: Option<u64>,
    },
}

#[derive(serde::Deserialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    next: Option<u64>,
}

/// Speaks to the authority; each request takes a connection of its own.
#[derive(Clone)]
pub(crate) struct Client {
    socket: Arc<dyn ControlSocket>,
}

impl Client {
    pub(crate) fn new(socket: Arc<dyn ControlSocket>) -> Self {
        Self { socket }
    }

    /// Opens the stream of `gateway`.
    pub(crate) async fn stream(&self, gateway: &str) -> Result<Incoming, ControlError> {
        let gateway = percent(gateway);
        let request = Request::get(format!("/control/v1/stream?gateway={gateway}"))
            .header(http::header::HOST, HOST)
            .body(Full::new(Bytes::new()))
            .map_err(no_answer)?;
        let response = within(SHORT, self.send(request)).await?;
        if response.status() == StatusCode::OK {
            Ok(response.into_body())
        } else {
            Err(within(SHORT, refusal(response)).await?)
        }
    }

    /// Posts `body` and reads the answer within `limit`.
    pub(crate) async fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        limit: Duration,
    ) -> Result<A, ControlError> {
        let bytes = within(limit, self.post_bytes(path, body)).await?;
        serde_json::from_slice(&bytes).map_err(no_answer)
    }

    /// Posts the bytes of `kind` and reads the answer within `limit`.
    pub(crate) async fn post_as<A: DeserializeOwned>(
        &self,
        path: &str,
        kind: &'static str,
        body: Bytes,
        limit: Duration,
    ) -> Result<A, ControlError> {
        let bytes = within(limit, self.post_body(path, kind, body)).await?;
        serde_json::from_slice(&bytes).map_err(no_answer)
    }

    /// Posts `body`, whose answer is empty.
    pub(crate) async fn tell(&self, path: &str, body: &impl Serialize) -> Result<(), ControlError> {
        within(SHORT, self.post_bytes(path, body)).await.map(|_| ())
    }

    /// Posts a form with one more field in the head, and gives the whole answer, whatever it says. How long
    /// that may take is for the caller.
    pub(crate) async fn post_form(
        &self,
        path: &str,
        (name, value): (HeaderName, String),
        form: String,
    ) -> Result<Response<Bytes>, ControlError> {
        let request = Request::post(path)
            .header(http::header::HOST, HOST)
            .header(
                http::header::CONTENT_TYPE,
                "application/x-www-form-urlencoded",
            )
            .header(name, value)
            .body(Full::new(Bytes::from(form)))
            .map_err(no_answer)?;
        let (head, body) = self.send(request).await?.into_parts();
        let body = answer_bytes(Response::from_parts(head.clone(), body)).await?;
        Ok(Response::from_parts(head, body))
    }

    async fn post_bytes(&self, path: &str, body: &impl Serialize) -> Result<Bytes, ControlError> {
        let body = serde_json::to_vec(body).map_err(no_answer)?;
        self.post_body(path, "application/json", body.into()).await
    }

    async fn post_body(
        &self,
        path: &str,
        kind: &'static str,
        body: Bytes,
    ) -> Result<Bytes, ControlError> {
        let request = Request::post(path)
            .header(http::header::HOST, HOST)
            .header(http::header::CONTENT_TYPE, kind)
            .body(Full::new(body))
            .map_err(no_answer)?;
        let response = self.send(request).await?;
        if response.status().is_success() {
            answer_bytes(response).await
        } else {
            Err(refusal(response).await?)
        }
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ControlError> {
        let io = self.socket.connect().await.map_err(no_answer)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io))
            .await
            .map_err(no_answer)?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(no_answer)
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, ControlError>>,
) -> Result<T, ControlError> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_| Err(ControlError::NoAnswer("not in time".to_owned())))
}

async fn answer_bytes(response: Response<Incoming>) -> Result<Bytes, ControlError> {
    Limited::new(response.into_body(), MAX_ANSWER)
        .collect()
        .await
        .map(|body| body.to_bytes())
        .map_err(|why| ControlError::NoAnswer(why.to_string()))
}

async fn refusal(response: Response<Incoming>) -> Result<ControlError, ControlError> {
    let status = response.status().as_u16();
    let bytes = answer_bytes(response).await?;
    let problem: Problem = serde_json::from_slice(&bytes).map_err(no_answer)?;
    let name = problem.kind.strip_prefix("urn:mandate:problem:");
    Ok(ControlError::Refused {
        status,
        name: name.unwrap_or(&problem.kind).to_owned(),
        detail: problem.detail,
        next: problem.next,
    })
}

fn no_answer(why: impl std::fmt::Display) -> ControlError {
    ControlError::NoAnswer(why.to_string())
}

/// The pairs as `application/x-www-form-urlencoded`.
pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    let pairs = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", percent(name), percent(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Percent-encodes what is not unreserved (RFC 3986 §2.3).
fn percent(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(b).to_string()
            }
            _ => format!("%{b:02X}"),
        })
        .collect()
}

const HOST: &str = "control";
pub(super) const SHORT: Duration = Duration::from_secs(5);
const MAX_ANSWER: usize = 64 * 1024;
