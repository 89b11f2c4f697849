//! Where tokens for an MCP server come from (RFC 9728), for clients that are told so by the server itself.
//!
//! Anybody may ask, without a token: so whoever guesses the name of an MCP server learns that there is one. Of other
//! server workloads nobody learns anything here, and a challenge points to metadata whether there is some or not.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use mandate_policy::decl::Possession;
use mandate_token::dpop::PROOF_ALGORITHMS;
use serde_json::json;

use super::front::{Arrival, Front};
use super::route;
use crate::body::OutBody;

/// The metadata that a request asks for, if it does and there is some.
pub(super) fn of<B>(
    front: &Front,
    arrival: &Arrival,
    request: &Request<B>,
) -> Option<Response<OutBody>> {
    let path = request.uri().path().strip_prefix(WELL_KNOWN)?;
    let plain = request.method() == Method::GET && request.uri().query().is_none();
    if !plain || arrival.fault.is_some() || route::check_form(request).is_err() {
        return None;
    }
    let snapshot = front.snapshot().ok()?;
    let bundle = snapshot.bundle.as_ref()?;
    let routed = route::route_path(arrival.routing, bundle, request, path)?;
    let server = routed.server;
    let mcp = server.mcp.as_ref()?;
    // Of a host of its own it is the one resource there (RFC 9728 §3.1).
    let whole_host = routed.host.is_some() && path.is_empty();
    if !server.gateways.serves(&front.gateway) || routed.target != mcp.path && !whole_host {
        return None;
    }
    let body = json!({
        "resource": server.resource,
        "authorization_servers": [snapshot.issuer.as_str()],
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": PROOF_ALGORITHMS,
        "dpop_bound_access_tokens_required": server.proof == Possession::Required,
    });
    let mut response = Response::new(OutBody::Own(Some(Bytes::from(body.to_string()))));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Some(response)
}

/// Where the metadata would be of what a client of MCP asks for. By the request alone, so that challenges look the
/// same whatever is declared; such a client says that it takes events, always.
pub(super) fn place<B>(arrival: &Arrival, request: &Request<B>) -> Option<String> {
    let takes = |value: &HeaderValue| {
        let said = value.to_str().unwrap_or_default();
        said.to_ascii_lowercase().contains("text/event-stream")
    };
    let path = request.uri().path();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%".contains(&b);
    let is_client = request.headers().get_all(header::ACCEPT).iter().any(takes);
    if !is_client || !path.bytes().all(plain) || path.starts_with(WELL_KNOWN) {
        return None;
    }
    let host = route::host_of(request.uri(), request.headers());
    let base = arrival.public.base(host.as_deref())?;
    Some(format!("{base}{WELL_KNOWN}{path}"))
}

/// Adds to challenges where the metadata is (RFC 9728 §5.1).
pub(super) fn point(headers: &mut HeaderMap, place: &str) {
    let challenges: Vec<HeaderValue> = headers
        .get_all(header::WWW_AUTHENTICATE)
        .iter()
        .cloned()
        .collect();
    headers.remove(header::WWW_AUTHENTICATE);
    for challenge in challenges {
        let text = challenge.to_str().unwrap_or_default();
        // A scheme alone has no parameter before this one.
        let between = if text.contains(' ') { ", " } else { " " };
        let pointing = format!("{text}{between}resource_metadata=\"{place}\"");
        let pointing = HeaderValue::from_str(&pointing).unwrap_or(challenge);
        headers.append(header::WWW_AUTHENTICATE, pointing);
    }
}

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
