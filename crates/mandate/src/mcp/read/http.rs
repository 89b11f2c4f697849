//! A server at a URL, by Streamable HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde_json::value::RawValue;

use super::sse::Events;
use super::{Ask, LONGEST, Link, ReadError, result_of};
use crate::client::http::{Door, HttpError};
use crate::mcp::STATELESS;
use crate::mcp::message::{Id, Kind, Message};

/// Where it is, and what is sent with each request.
pub(crate) struct HttpServer {
    pub(crate) door: Door,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

pub(super) struct HttpLink {
    server: HttpServer,
    session: Option<HeaderValue>,
    revision: Option<HeaderValue>,
}

impl HttpLink {
    pub(super) fn new(server: HttpServer) -> Self {
        Self {
            server,
            session: None,
            revision: None,
        }
    }

    async fn send(
        &self,
        method: Method,
        text: String,
        more: &[(&'static str, &str)],
    ) -> Result<Response<Incoming>, ReadError> {
        let malformed = |why: http::Error| ReadError::Unreachable(why.to_string());
        let mut request = Request::builder()
            .method(method)
            .uri(&self.server.path)
            .header(header::HOST, self.server.door.host())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream");
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let mut request = request
            .body(Full::new(Bytes::from(text)))
            .map_err(malformed)?;
        let headers = request.headers_mut();
        if let Some(session) = &self.session {
            headers.insert(SESSION, session.clone());
        }
        if let Some(revision) = &self.revision {
            headers.insert(REVISION, revision.clone());
        }
        headers.extend(self.server.headers.clone());
        let sent = self.server.door.stream(request).await;
        sent.map_err(|why: HttpError| ReadError::Unreachable(why.to_string()))
    }
}

impl Link for HttpLink {
    async fn ask(&mut self, ask: &Ask) -> Result<Box<RawValue>, ReadError> {
        let stateless = [
            ("mcp-protocol-version", STATELESS),
            ("mcp-method", ask.method),
        ];
        let more = if ask.is_stateless {
            &stateless[..]
        } else {
            &[]
        };
        let response = self.send(Method::POST, ask.text(), more).await?;
        let status = response.status();
        if [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status) {
            return Err(ReadError::Unauthorized(status.as_u16()));
        }
        if ask.method == "initialize" {
            self.session = response.headers().get(SESSION).cloned();
        }
        let kind = response.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        match kind.as_str() {
            "application/json" => {
                let text = whole(response).await?;
                match Message::read(&text) {
                    Ok(message) => result_of(ask.method, message.text()),
                    Err(why) => Err(ReadError::NotMcp(format!("{status}, {why}"))),
                }
            }
            "text/event-stream" if status.is_success() => {
                let text = streamed(response, &ask.id()).await?;
                result_of(ask.method, &text)
            }
            _ => Err(ReadError::NotMcp(format!("it answers {status}"))),
        }
    }

    async fn tell(&mut self, method: &'static str) -> Result<(), ReadError> {
        let text = format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#);
        let response = self.send(Method::POST, text, &[]).await?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(ReadError::NotMcp(format!(
                "it answers {status} to `{method}`"
            ))),
        }
    }

    fn agreed(&mut self, revision: &str) {
        self.revision = HeaderValue::from_str(revision).ok();
    }

    async fn close(self) {
        if self.session.is_some() {
            // Servers may refuse that, and forget the session by themselves.
            let end = self.send(Method::DELETE, String::new(), &[]);
            let _ = tokio::time::timeout(FAREWELL, end).await;
        }
    }
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, ReadError> {
    let body = Limited::new(response.into_body(), LONGEST).collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|_| ReadError::TooMuch("an answer of more than 8 MiB, or one that broke off"))
}

/// The answer with this id; what comes before it concerns nobody here.
async fn streamed(response: Response<Incoming>, id: &Id) -> Result<String, ReadError> {
    let (mut body, mut events, mut read) = (response.into_body(), Events::default(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|why| ReadError::NotMcp(why.to_string()))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        read += data.len();
        let found = events.take(&data);
        if read > LONGEST.saturating_mul(2) || events.held() > LONGEST {
            return Err(ReadError::TooMuch("an answer of more than 8 MiB"));
        }
        for text in found {
            if let Ok(message) = Message::read(text.as_bytes())
                && let Kind::Response { id: Some(of), .. } = message.kind()
                && of == id
            {
                return Ok(message.text().to_owned());
            }
        }
    }
    Err(ReadError::NotMcp(
        "the stream ended without an answer".to_owned(),
    ))
}

/// How long a server has to take the end of its session.
const FAREWELL: Duration = Duration::from_secs(2);
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const REVISION: HeaderName = HeaderName::from_static("mcp-protocol-version");
