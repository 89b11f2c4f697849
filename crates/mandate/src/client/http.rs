//! One request, one connection: enough for a command line, and nothing to keep open.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::tls::Tls;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Door {
    /// A Unix socket.
    Unix(PathBuf),
    /// `host:port`, without TLS: loopback, on this machine.
    Tcp(String),
    /// `host:port`, with TLS.
    Tls(Tls),
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Door::Unix(path) => write!(f, "{}", path.display()),
            Door::Tcp(authority) => write!(f, "http://{authority}"),
            Door::Tls(tls) => write!(f, "https://{}", tls.authority()),
        }
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    /// The nonce for the next proof (RFC 9449 §8), where there is one.
    pub(crate) nonce: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// Nobody listens there, or the door is shut for this user.
    #[error("nothing answers at {door}: {error}")]
    Connect {
        /// Where.
        door: Door,
        /// Why.
        error: std::io::Error,
    },
    /// The answer is not HTTP, breaks off or is too long.
    #[error("the answer of {door} broke off: {why}")]
    Broken {
        /// Where.
        door: Door,
        /// Why.
        why: String,
    },
    /// It took too long.
    #[error("{0} did not answer in time")]
    Slow(Door),
    /// The request itself cannot be written.
    #[error("the request cannot be written: {0}")]
    Request(#[from] http::Error),
}

impl Door {
    /// Sends one request and reads the answer whole, within `limit`.
    pub(crate) async fn call(
        &self,
        request: Request<Full<Bytes>>,
        limit: Duration,
    ) -> Result<Answer, HttpError> {
        tokio::time::timeout(limit, self.exchange(request))
            .await
            .map_err(|_| HttpError::Slow(self.clone()))?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, HttpError> {
        let (head, body) = self.stream(request).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER)
            .collect()
            .await
            .map_err(|e| self.broken(&e))?;
        let nonce = head.headers.get("dpop-nonce").and_then(|v| v.to_str().ok());
        Ok(Answer {
            nonce: nonce.map(str::to_owned),
            status: head.status,
            body: body.to_bytes(),
        })
    }

    /// Sends one request; the answer's body comes as it comes. The connection ends with the body.
    pub(crate) async fn stream(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<http::Response<Incoming>, HttpError> {
        match self {
            Door::Unix(path) => {
                let io = UnixStream::connect(path).await;
                self.converse(io.map_err(|e| self.shut(e))?, request).await
            }
            Door::Tcp(authority) => {
                let io = TcpStream::connect(authority).await;
                self.converse(io.map_err(|e| self.shut(e))?, request).await
            }
            Door::Tls(tls) => {
                let io = tls.connect().await;
                self.converse(io.map_err(|e| self.shut(e))?, request).await
            }
        }
    }

    async fn converse<I>(
        &self,
        io: I,
        request: Request<Full<Bytes>>,
    ) -> Result<http::Response<Incoming>, HttpError>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io))
            .await
            .map_err(|e| self.broken(&e))?;
        // Ends with the connection; what goes wrong on it is told by the answer.
        tokio::spawn(connection);
        sender
            .send_request(request)
            .await
            .map_err(|e| self.broken(&e))
    }

    /// `Host` of requests through this door.
    pub(crate) fn host(&self) -> &str {
        match self {
            Door::Unix(_) => "mandate",
            Door::Tcp(authority) => authority,
            Door::Tls(tls) => tls.authority(),
        }
    }

    fn shut(&self, error: std::io::Error) -> HttpError {
        HttpError::Connect {
            door: self.clone(),
            error,
        }
    }

    fn broken(&self, why: &impl ToString) -> HttpError {
        HttpError::Broken {
            door: self.clone(),
            why: why.to_string(),
        }
    }

    /// A request with a form.
    pub(crate) fn form(
        &self,
        path: &str,
        pairs: &[(&str, Option<&str>)],
    ) -> Result<Request<Full<Bytes>>, HttpError> {
        let body = super::form::encode(pairs);
        let kind = "application/x-www-form-urlencoded";
        self.request(Method::POST, path, Some(kind), body.into())
    }

    /// A request with a JSON body.
    pub(crate) fn json(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<Request<Full<Bytes>>, HttpError> {
        let body = body.to_string();
        self.request(Method::POST, path, Some("application/json"), body.into())
    }

    /// A request without a body.
    pub(crate) fn get(&self, path: &str) -> Result<Request<Full<Bytes>>, HttpError> {
        self.request(Method::GET, path, None, Bytes::new())
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, HttpError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.host());
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        Ok(request.body(Full::new(body))?)
    }
}

/// The longest answer that is read: a page of the log.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// How long an ordinary call may take.
pub(crate) const CALL: Duration = Duration::from_secs(30);
