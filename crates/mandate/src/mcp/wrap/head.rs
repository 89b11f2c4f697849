//! The head of a request: who asks, and how it wants to be answered.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use mandate_model::Secret;

use super::answer::{Body, refused};
use crate::mcp::STATELESS;
use crate::mcp::message::{HEADER, INVALID, Message, PARAMS};

/// An answer that says why there is no other.
pub(super) type Refusal = Box<Response<Body>>;

/// Who may ask.
pub(super) struct Admission {
    pub(super) key: Secret<String>,
    /// What `Host` may say.
    pub(super) hosts: [String; 2],
}

impl Admission {
    /// The gateway alone: a page that a name was rebound for (MCP, "Security Warning") has neither our `Host`, and no
    /// page from elsewhere has business here; nobody else has the key.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = one(headers, header::HOST.as_str());
        let is_ours = |host: &str| self.hosts.iter().any(|own| host.eq_ignore_ascii_case(own));
        if !host.is_some_and(is_ours) {
            return Err(stranger(
                StatusCode::FORBIDDEN,
                "`Host` is not this endpoint's address",
            ));
        }
        let own_page = |origin: &str| {
            let host = origin.strip_prefix("http://");
            host.is_some_and(|host| self.hosts.iter().any(|own| host == own))
        };
        let origin = said_once(headers, header::ORIGIN.as_str());
        if !origin.is_ok_and(|origin| origin.is_none_or(own_page)) {
            return Err(stranger(
                StatusCode::FORBIDDEN,
                "web pages from elsewhere are not served",
            ));
        }
        let said = one(headers, header::AUTHORIZATION.as_str());
        let key = said.and_then(|said| said.strip_prefix("Bearer "));
        let key = key.map(|key| Secret::new(key.to_owned()));
        if key.is_some_and(|key| key == self.key) {
            return Ok(());
        }
        let mut response = stranger(
            StatusCode::UNAUTHORIZED,
            "the gateway alone is served, by its key",
        );
        let challenge = HeaderValue::from_static("Bearer");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
        Err(response)
    }
}

/// What a message is sent as, and its answer wanted as.
pub(super) fn check_types(headers: &HeaderMap) -> Result<(), Refusal> {
    let kind = one(headers, header::CONTENT_TYPE.as_str());
    let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
        return Err(refusal(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "a message is `application/json`",
        ));
    }
    if !accepts(headers, &["application/json", "text/event-stream"]) {
        let why = "`Accept` must have `application/json` and `text/event-stream`";
        return Err(refusal(StatusCode::NOT_ACCEPTABLE, why));
    }
    Ok(())
}

/// Whether the head of a message of 2026-07-28 says what its body says; else the code and the reason. What repeats
/// arguments (`Mcp-Param-*`) is for the gateway to compare, since it takes the tool's schema.
pub(super) fn check_repeated(
    headers: &HeaderMap,
    version: Option<&str>,
    method: &str,
    message: &Message,
) -> Result<(), (i64, &'static str)> {
    let Some(claim) = message.claim() else {
        return Err((
            PARAMS,
            "`_meta` must have `io.modelcontextprotocol/protocolVersion`",
        ));
    };
    if version != Some(claim) {
        return Err((HEADER, "`MCP-Protocol-Version` must say what `_meta` says"));
    }
    if claim == STATELESS && !message.has_capabilities() {
        return Err((
            PARAMS,
            "`_meta` must have `io.modelcontextprotocol/clientCapabilities`",
        ));
    }
    if claim == STATELESS && one(headers, "mcp-method") != Some(method) {
        return Err((HEADER, "`Mcp-Method` must say what `method` says"));
    }
    let Some(named) = message.named().filter(|_| claim == STATELESS) else {
        return Ok(());
    };
    let said = one(headers, "mcp-name").and_then(decoded);
    match said.is_some_and(|said| said == named) {
        true => Ok(()),
        false => Err((HEADER, "`Mcp-Name` must say what `params` says")),
    }
}

/// MCP 2026-07-28, "Value Encoding".
fn decoded(said: &str) -> Option<Cow<'_, str>> {
    let inner = said
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="));
    match inner {
        None => Some(said.into()),
        Some(inner) => {
            let bytes = STANDARD.decode(inner).ok()?;
            String::from_utf8(bytes).ok().map(Cow::from)
        }
    }
}

/// Nothing said is everything accepted (RFC 9110 §12.5.1).
pub(super) fn accepts(headers: &HeaderMap, kinds: &[&str]) -> bool {
    let fields = headers.get_all(header::ACCEPT);
    let said = fields.iter().filter_map(|field| field.to_str().ok());
    let said: Vec<&str> = said
        .flat_map(|field| field.split(','))
        .filter_map(|item| item.split(';').next().map(str::trim))
        .collect();
    let has = |kind: &&str| {
        let whole = kind.split_once('/').map(|(whole, _)| format!("{whole}/*"));
        said.iter().any(|item| {
            *item == "*/*" || item.eq_ignore_ascii_case(kind) || Some(*item) == whole.as_deref()
        })
    };
    said.is_empty() || kinds.iter().all(has)
}

/// The one value of a field; `None` where there is none, or more.
pub(super) fn one<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    said_once(headers, name).ok().flatten()
}

pub(super) fn said_once<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, ()> {
    let mut fields = headers.get_all(name).iter();
    match (fields.next(), fields.next()) {
        (None, _) => Ok(None),
        (Some(only), None) => only.to_str().map(|text| Some(text.trim())).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

/// A refusal of something that is no request.
pub(super) fn no(status: StatusCode, why: &str) -> Response<Body> {
    refused(status, None, INVALID, why)
}

/// The same, where it is refused who asks: it keeps no connection.
fn stranger(status: StatusCode, why: &str) -> Refusal {
    let mut response = no(status, why);
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    Box::new(response)
}

/// The same, where it stands for an answer that there is not.
pub(super) fn refusal(status: StatusCode, why: &str) -> Refusal {
    Box::new(no(status, why))
}
