//! The endpoint: who may speak to it, and what becomes of a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use mandate_model::Secret;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::answer::{Body, Era, deliver, empty, events, json, refused};
use super::head::{
    Admission, Refusal, accepts, check_repeated, check_types, no, one, refusal, said_once,
};
use super::session::{Begun, Refused, Session};
use super::shared::Shared;
use super::table::Table;
use super::{Discovered, Settings};
use crate::mcp::message::{INTERNAL, INVALID, Id, Kind, Malformed, Message, VERSION, error_with};
use crate::mcp::{STATELESS, WITH_SESSIONS};

/// The endpoint, as every connection sees it.
pub(crate) struct Door {
    settings: Arc<Settings>,
    admission: Admission,
    shared: Arc<Shared>,
    speaks_stateless: bool,
    sessions: Table,
}

impl Door {
    /// Starts the shared child and asks it what it speaks. `address` is where this listens. Without a door no child is
    /// left either: `None` where `stop` came first.
    pub(crate) async fn open(
        settings: Arc<Settings>,
        key: Secret<String>,
        address: SocketAddr,
        stop: &CancellationToken,
    ) -> Result<Option<(Self, Discovered)>, String> {
        let shared = Shared::new(Arc::clone(&settings));
        let sessions = Table::new(settings.sessions);
        let discovered = tokio::select! {
            discovered = discover(&settings, &shared, &sessions) => discovered.map(Some),
            () = stop.cancelled() => Ok(None),
        };
        let Ok(Some(discovered)) = discovered else {
            tokio::join!(shared.close(), sessions.close());
            return discovered.map(|_| None);
        };
        let hosts = [address.to_string(), format!("localhost:{}", address.port())];
        let door = Self {
            sessions,
            settings,
            admission: Admission { key, hosts },
            shared,
            speaks_stateless: discovered == Discovered::Spoken,
        };
        Ok(Some((door, discovered)))
    }

    /// Ends every child, and waits for that. What is under way is answered with it.
    pub(super) async fn close(&self) {
        tokio::join!(self.shared.close(), self.sessions.close());
    }

    /// Answers one request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if let Err(refused) = self.admission.admit(request.headers()) {
            return *refused;
        }
        if request.uri().path() != PATH || request.uri().query().is_some() {
            return no(
                StatusCode::NOT_FOUND,
                "the endpoint is `/mcp`, without a query",
            );
        }
        match *request.method() {
            Method::POST => self.post(request).await,
            Method::GET => self.listen(request.headers()),
            Method::DELETE => self.end(request.headers()),
            _ => {
                let mut response = no(StatusCode::METHOD_NOT_ALLOWED, "POST, GET or DELETE");
                let allowed = HeaderValue::from_static("POST, GET, DELETE");
                response.headers_mut().insert(header::ALLOW, allowed);
                response
            }
        }
    }

    async fn post(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        if let Err(refused) = check_types(&head.headers) {
            return *refused;
        }
        let body = timeout(BODY, Limited::new(body, self.settings.longest).collect()).await;
        let body: Bytes = match body {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => {
                return no(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "the message is too long, or broke off",
                );
            }
            Err(_) => {
                return no(
                    StatusCode::REQUEST_TIMEOUT,
                    "the message did not come in time",
                );
            }
        };
        let message = match Message::read(&body) {
            Ok(message) => message,
            Err(why) => return unreadable(why),
        };
        drop(body);
        let Ok(version) = said_once(&head.headers, VERSION_FIELD) else {
            return no(
                StatusCode::BAD_REQUEST,
                "`MCP-Protocol-Version` stands twice",
            );
        };
        // A date compares as text; what is none is refused on either way.
        let is_stateless = message.claim().is_some() || version.is_some_and(|v| v >= STATELESS);
        if is_stateless {
            self.stateless(&head.headers, version, &message).await
        } else {
            self.of_session(&head.headers, version, &message).await
        }
    }

    /// A message that stands for itself.
    async fn stateless(
        &self,
        headers: &HeaderMap,
        version: Option<&str>,
        message: &Message,
    ) -> Response<Body> {
        let (id, method) = match message.kind() {
            Kind::Request { id, method } => (id, method),
            // This revision has none over HTTP; whoever sends one all the same waits for nothing.
            Kind::Notification { .. } => return empty(StatusCode::ACCEPTED),
            Kind::Response { .. } => {
                return no(
                    StatusCode::BAD_REQUEST,
                    "a server asks nothing that is answered",
                );
            }
        };
        let agree = check_repeated(headers, version, method, message);
        if let Err((code, why)) = agree {
            return refused(StatusCode::BAD_REQUEST, Some(id), code, why);
        }
        if !self.speaks_stateless || version != Some(STATELESS) {
            return self.unspoken(id, version.unwrap_or_default());
        }
        match self.shared.ask(message).await {
            Ok(inlet) => deliver(inlet, Era::Stateless).await,
            Err(why) => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                refused(status, Some(id), INTERNAL, &why.to_string())
            }
        }
    }

    /// MCP 2026-07-28, "Versioning": a client that finds an earlier revision there begins a session.
    fn unspoken(&self, id: &Id, requested: &str) -> Response<Body> {
        let supported: &[&str] = if self.speaks_stateless {
            &[STATELESS]
        } else {
            &WITH_SESSIONS
        };
        let data = serde_json::json!({ "supported": supported, "requested": requested });
        let why = "this revision of MCP is not spoken here";
        let text = error_with(Some(id), VERSION, why, Some(data));
        json(StatusCode::BAD_REQUEST, text)
    }

    async fn of_session(
        &self,
        headers: &HeaderMap,
        version: Option<&str>,
        message: &Message,
    ) -> Response<Body> {
        if let Kind::Request { method, id } = message.kind()
            && method == "initialize"
        {
            if headers.contains_key(SESSION) {
                let why = "a session is begun once";
                return refused(StatusCode::BAD_REQUEST, Some(id), INVALID, why);
            }
            return self.begin(id, message).await;
        }
        let session = match self.session(headers, version) {
            Ok(session) => session,
            Err(refused) => return *refused,
        };
        let id = match message.kind() {
            Kind::Request { id, .. } => id,
            Kind::Notification { .. } | Kind::Response { .. } => {
                return match session.tell(message).await {
                    Ok(()) => empty(StatusCode::ACCEPTED),
                    Err(why) => untaken(None, why),
                };
            }
        };
        match session.ask(message).await {
            Ok(inlet) => deliver(inlet, Era::Sessions).await,
            Err(why) => untaken(Some(id), why),
        }
    }

    async fn begin(&self, id: &Id, initialize: &Message) -> Response<Body> {
        let unavailable = |why| refused(StatusCode::SERVICE_UNAVAILABLE, Some(id), INTERNAL, why);
        let Some(place) = self.sessions.place() else {
            return unavailable("there are as many sessions as may be");
        };
        let begun = tokio::select! {
            begun = Session::begin(&self.settings, initialize, place) => begun,
            () = self.sessions.closing() => return unavailable("this is about to end"),
        };
        match begun {
            Ok(Begun::Session(session, text)) => {
                let mut response = json(StatusCode::OK, text);
                let name = self.sessions.keep(session);
                if let Ok(name) = HeaderValue::from_str(&name) {
                    response.headers_mut().insert(SESSION, name);
                }
                response
            }
            Ok(Begun::Refused(text)) => json(StatusCode::OK, text),
            Ok(Begun::Silent) => unavailable("the MCP server did not answer `initialize`"),
            Err(error) => {
                tracing::error!(%error, "the MCP server cannot be started");
                unavailable("the MCP server cannot be started")
            }
        }
    }

    fn listen(&self, headers: &HeaderMap) -> Response<Body> {
        if !accepts(headers, &["text/event-stream"]) {
            return no(
                StatusCode::NOT_ACCEPTABLE,
                "`Accept` must have `text/event-stream`",
            );
        }
        match self.session_of_head(headers) {
            Ok((session, _)) => events(None, session.listen()),
            Err(refused) => *refused,
        }
    }

    fn end(&self, headers: &HeaderMap) -> Response<Body> {
        match self.session_of_head(headers) {
            Ok((session, id)) => {
                self.sessions.remove(id);
                session.end();
                empty(StatusCode::NO_CONTENT)
            }
            Err(refused) => *refused,
        }
    }

    /// Of a request without a body, which 2026-07-28 does not have.
    fn session_of_head<'h>(
        &self,
        headers: &'h HeaderMap,
    ) -> Result<(Arc<Session>, &'h str), Refusal> {
        let version = said_once(headers, VERSION_FIELD).map_err(|()| {
            refusal(
                StatusCode::BAD_REQUEST,
                "`MCP-Protocol-Version` stands twice",
            )
        })?;
        if version.is_some_and(|version| version >= STATELESS) {
            let mut response = no(
                StatusCode::METHOD_NOT_ALLOWED,
                "this revision has POST alone",
            );
            let post = HeaderValue::from_static("POST");
            response.headers_mut().insert(header::ALLOW, post);
            return Err(response.into());
        }
        let session = self.session(headers, version)?;
        Ok((session, one(headers, SESSION).unwrap_or_default()))
    }

    fn session(&self, headers: &HeaderMap, version: Option<&str>) -> Result<Arc<Session>, Refusal> {
        let Some(id) = one(headers, SESSION) else {
            return Err(refusal(
                StatusCode::BAD_REQUEST,
                "one `Mcp-Session-Id` is needed: begin with `initialize`",
            ));
        };
        let session = self.sessions.find(id);
        let session =
            session.ok_or_else(|| refusal(StatusCode::NOT_FOUND, "there is no such session"))?;
        let agreed = session.revision();
        match version {
            Some(version) if agreed.is_some_and(|agreed| agreed != version) => {
                let why = "`MCP-Protocol-Version` is not what was agreed on";
                Err(refusal(StatusCode::BAD_REQUEST, why))
            }
            Some(_) | None => Ok(session),
        }
    }
}

async fn discover(
    settings: &Arc<Settings>,
    shared: &Arc<Shared>,
    sessions: &Table,
) -> Result<Discovered, String> {
    let discovered = shared.discover().await?;
    if let Discovered::Unspoken { ended: true, .. } = discovered {
        // At a question that it does not know, or whatever one asks?
        try_session(settings, sessions).await?;
    }
    Ok(discovered)
}

/// Begins a session and ends it again.
async fn try_session(settings: &Arc<Settings>, sessions: &Table) -> Result<(), String> {
    let initialize = serde_json::json!({
        "jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": {
            "protocolVersion": WITH_SESSIONS.last(), "capabilities": {},
            "clientInfo": { "name": "mandate", "version": env!("CARGO_PKG_VERSION") },
        },
    });
    let initialize = Message::read(initialize.to_string().as_bytes()).map_err(|e| e.to_string())?;
    let place = sessions.place().ok_or("there is no place for a session")?;
    match Session::begin(settings, &initialize, place).await {
        Ok(Begun::Session(session, _)) => {
            session.end();
            Ok(())
        }
        Ok(Begun::Refused(_)) => Ok(()),
        Ok(Begun::Silent) => Err("it ends, or does not answer `initialize`".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn unreadable(why: Malformed) -> Response<Body> {
    refused(StatusCode::BAD_REQUEST, None, why.code(), &why.to_string())
}

fn untaken(id: Option<&Id>, why: Refused) -> Response<Body> {
    let (status, code) = match why {
        Refused::Twice | Refused::Unasked => (StatusCode::BAD_REQUEST, INVALID),
        Refused::Over => (StatusCode::NOT_FOUND, INVALID),
        Refused::Busy | Refused::Deaf => (StatusCode::SERVICE_UNAVAILABLE, INTERNAL),
    };
    refused(status, id, code, &why.to_string())
}

/// Where the endpoint is.
pub(crate) const PATH: &str = "/mcp";
const SESSION: &str = "mcp-session-id";
const VERSION_FIELD: &str = "mcp-protocol-version";
/// How long a message may take to come.
const BODY: Duration = Duration::from_secs(60);
