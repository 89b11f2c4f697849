//! Which server workload a request is for, and what of it is refused before anything else.

use http::{HeaderMap, Method, Request, StatusCode, Version, header};
use mandate_model::ServerName;
use mandate_policy::Bundle;
use mandate_policy::decl::ServerWorkload;

use super::refusal::Refusal;

/// How a listener tells server workloads apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routing {
    /// By the first segment of the path: `/<server workload>/…`. For development.
    Path,
    /// By `Host` or `:authority`, among the hosts that server workloads declare.
    Hosts,
}

/// The server workload, and the target as its upstream will see it, byte for byte.
#[derive(Debug)]
pub(super) struct Routed<'b> {
    pub(super) server: &'b ServerWorkload,
    pub(super) target: String,
    /// The declared host by which it came, where that told server workloads apart.
    pub(super) host: Option<String>,
}

/// Refuses requests that could be taken for another one, or that ask for another protocol.
pub(super) fn check_form<B>(request: &Request<B>) -> Result<(), Refusal> {
    let headers = request.headers();
    if request.version() < Version::HTTP_11 {
        let status = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
        return refused(status, "http.version", "HTTP/1.1 or HTTP/2 is needed");
    }
    if request.method() == Method::CONNECT
        || request.extensions().get::<hyper::ext::Protocol>().is_some()
    {
        let status = StatusCode::NOT_IMPLEMENTED;
        let detail = "tunnels are not forwarded; an upgrade is asked for over HTTP/1.1";
        return refused(status, "http.upgrade", detail);
    }
    if request.method() == Method::TRACE {
        // It would show the agent what this gateway injects (RFC 9110 §9.3.8).
        let status = StatusCode::NOT_IMPLEMENTED;
        return refused(status, "http.trace", "`TRACE` is not forwarded");
    }
    // Of an upgrade the action decides, and what it takes.
    let upgrades = headers.contains_key(header::UPGRADE);
    if !upgrades && !super::headers::connection_is_plain(headers) {
        let detail = "`connection` may name `close`, `keep-alive` and `te` only";
        return refused(StatusCode::BAD_REQUEST, "http.connection", detail);
    }
    check_once(headers)?;
    check_expectation(headers)?;
    check_host(request)
}

fn refused<T>(status: StatusCode, rule: &'static str, detail: &'static str) -> Result<T, Refusal> {
    Err(Refusal::Request {
        status,
        rule,
        detail,
    })
}

/// Fields of which some servers take the first and others the last.
fn check_once(headers: &HeaderMap) -> Result<(), Refusal> {
    let doubled = ONCE
        .iter()
        .any(|name| headers.get_all(*name).iter().count() > 1);
    let both = headers.contains_key(header::CONTENT_LENGTH)
        && headers.contains_key(header::TRANSFER_ENCODING);
    if doubled || both {
        let detail = "a header that must stand once stands twice, or two contradict each other";
        return refused(StatusCode::BAD_REQUEST, "http.ambiguous", detail);
    }
    Ok(())
}

/// There is one expectation (RFC 9110 §10.1.1), and it is met here: nobody behind learns of it.
fn check_expectation(headers: &HeaderMap) -> Result<(), Refusal> {
    let known = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.get_all(header::EXPECT).iter().all(known) {
        return Ok(());
    }
    let detail = "no expectation but `100-continue` is met";
    refused(StatusCode::EXPECTATION_FAILED, "http.expect", detail)
}

/// One host, by whatever field and target say it (RFC 9112 §3.2.2, RFC 9113 §8.3.1): servers differ in
/// which of two they believe.
fn check_host<B>(request: &Request<B>) -> Result<(), Refusal> {
    let (uri, field) = (request.uri(), request.headers().get(header::HOST));
    let same = match (uri.authority(), field) {
        (Some(authority), Some(field)) => field
            .as_bytes()
            .eq_ignore_ascii_case(authority.as_str().as_bytes()),
        (Some(_), None) => request.version() >= Version::HTTP_2,
        (None, Some(_)) => true,
        (None, None) => false,
    };
    let plain = uri
        .authority()
        .is_none_or(|authority| !authority.as_str().contains('@'));
    let scheme = uri
        .scheme_str()
        .is_none_or(|scheme| matches!(scheme, "http" | "https"));
    if same && plain && scheme {
        return Ok(());
    }
    let detail =
        "host and target must name one host, by `http` or `https` and without user information";
    refused(StatusCode::BAD_REQUEST, "http.host", detail)
}

/// Finds the server workload of a request.
pub(super) fn route<'b, B>(
    routing: Routing,
    bundle: &'b Bundle,
    request: &Request<B>,
) -> Result<Routed<'b>, Refusal> {
    let target = request.uri().path_and_query().map_or("/", |t| t.as_str());
    route_path(routing, bundle, request, target).ok_or(NO_SERVER)
}

/// Finds the server workload of a request, if it were for `target`.
pub(super) fn route_path<'b, B>(
    routing: Routing,
    bundle: &'b Bundle,
    request: &Request<B>,
    target: &str,
) -> Option<Routed<'b>> {
    match routing {
        Routing::Path => by_path(bundle, target),
        Routing::Hosts => by_host(bundle, request, target),
    }
}

/// The name is taken off as text: what is left is what the agent wrote.
fn by_path<'b>(bundle: &'b Bundle, target: &str) -> Option<Routed<'b>> {
    let rest = target.strip_prefix('/')?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (name, left) = rest.split_at_checked(end)?;
    let server = bundle.server(&ServerName::parse(name).ok()?)?;
    let target = if left.starts_with('/') {
        left.to_owned()
    } else {
        format!("/{left}")
    };
    Some(Routed {
        server,
        target,
        host: None,
    })
}

fn by_host<'b, B>(bundle: &'b Bundle, request: &Request<B>, target: &str) -> Option<Routed<'b>> {
    let host = host_of(request.uri(), request.headers())?;
    let server = bundle.server_by_host(&host)?;
    Some(Routed {
        server,
        target: target.to_owned(),
        host: Some(host),
    })
}

/// The host without its port, in lower case. `Host` and `:authority` that differ name none.
pub(super) fn host_of(uri: &http::Uri, headers: &HeaderMap) -> Option<String> {
    let field = headers.get(header::HOST).map(|value| value.to_str());
    let authority = match (uri.authority(), field) {
        (Some(authority), None) => authority.clone(),
        (None, Some(Ok(field))) => field.parse().ok()?,
        (Some(authority), Some(Ok(field))) if field == authority.as_str() => authority.clone(),
        (_, Some(_)) | (None, None) => return None,
    };
    if authority.as_str().contains('@') {
        return None;
    }
    Some(authority.host().to_ascii_lowercase())
}

pub(super) const NO_SERVER: Refusal = Refusal::Request {
    status: StatusCode::NOT_FOUND,
    rule: "request.no_server",
    detail: "no server workload answers here",
};
/// Credentials too: where two stand, an upstream behind another gateway may believe the other one.
const ONCE: [&str; 13] = [
    "authorization",
    "content-length",
    "content-type",
    "dpop",
    "host",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
    "transfer-encoding",
    "txn-token",
    "upgrade",
];
