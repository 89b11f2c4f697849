//! Which header fields pass, in either direction.
//!
//! An upstream must never be told who calls by anyone but this gateway, and never in the agent's
//! own words (FAILURES 35).

use std::collections::BTreeSet;

use http::header::{self, HeaderMap, HeaderName};
use mandate_policy::decl::{Credential, ServerWorkload};

/// A request's fields as they go out, but for those that this gateway sets itself. Whatever is
/// decided on must be read from these: a field that is decided on and not sent, or sent and not
/// decided on, would let an agent say one thing here and another thing there.
pub(super) fn as_sent(received: &HeaderMap, server: &ServerWorkload) -> HeaderMap {
    let mut headers = received.clone();
    let http = &server.http;
    strip_request(&mut headers, &http.strip_headers, http.traceparent);
    headers.remove(header::HOST);
    for own in [server.credential.header(), http.pass_task_id.as_deref()] {
        own.and_then(|name| headers.remove(name));
    }
    if server.credential != Credential::None {
        // An answer must be searched for an echo of the credential, so no agent may have it cut into
        // pieces or encoded (C4).
        for name in [header::RANGE, header::IF_RANGE, header::ACCEPT_ENCODING] {
            headers.remove(name);
        }
    }
    headers
}

/// Whether an answer's body is what it says, and not an encoding of it.
pub(super) fn is_plain(headers: &HeaderMap) -> bool {
    let only = |name: &HeaderName, known: &str| {
        let mut values = headers.get_all(name).iter();
        values.all(|value| {
            value
                .to_str()
                .is_ok_and(|text| text.trim().eq_ignore_ascii_case(known))
        })
    };
    only(&header::CONTENT_ENCODING, "identity") && only(&header::TRANSFER_ENCODING, "chunked")
}

/// Whether `connection` says only what concerns the connection. Any other name would have fields of
/// the request vanish on the way (RFC 9110 §7.6.1), and nobody needs that.
pub(super) fn connection_is_plain(headers: &HeaderMap) -> bool {
    let plain = |option: &str| {
        let option = option.trim();
        ["", "close", "keep-alive", "te"]
            .iter()
            .any(|known| option.eq_ignore_ascii_case(known))
    };
    headers
        .get_all(header::CONNECTION)
        .iter()
        .all(|value| value.to_str().is_ok_and(|text| text.split(',').all(plain)))
}

/// Takes from a request's fields what must not reach an upstream; `declared` are further names of
/// the server workload. Trace context passes only if `trace`.
fn strip_request(headers: &mut HeaderMap, declared: &BTreeSet<String>, trace: bool) {
    let named = named_by_connection(headers);
    retain(headers, |name| {
        // Many servers take `_` for `-`, so such a name is a second spelling of another field.
        !name.contains('_')
            // Trailers are dropped, so none is announced.
            && name != "trailer"
            && !named.contains(name)
            && !is_hop_by_hop(name)
            && !is_identity(name)
            && !declared.contains(name)
            && (trace || !is_trace(name))
    });
}

/// Takes from a response's fields what is between upstream and gateway alone. `alt-svc` would lead
/// the agent past the gateway.
pub(super) fn strip_response(headers: &mut HeaderMap) {
    let named = named_by_connection(headers);
    retain(headers, |name| {
        !named.contains(name) && !is_hop_by_hop(name) && name != "alt-svc"
    });
}

fn retain(headers: &mut HeaderMap, keep: impl Fn(&str) -> bool) {
    let dropped: Vec<HeaderName> = headers
        .keys()
        .filter(|name| !keep(name.as_str()))
        .cloned()
        .collect();
    for name in dropped {
        headers.remove(name);
    }
}

/// Fields that `connection` declares hop-by-hop (RFC 9110 §7.6.1).
fn named_by_connection(headers: &HeaderMap) -> BTreeSet<String> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect()
}

fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "expect"
            | "keep-alive"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    ) || name.starts_with("proxy-")
}

/// Fields by which some server, proxy or framework lets a caller say who it is, or that the request
/// is another one than this gateway sees. A cookie is a credential, and credentials for upstreams
/// are the gateway's: none passes.
fn is_identity(name: &str) -> bool {
    const EXACT: [&str; 27] = [
        "api-key",
        "authorization",
        "b3",
        "client-cert",
        "client-cert-chain",
        "client-ip",
        "cookie",
        "cookie2",
        "deploy-token",
        "dpop",
        "forwarded",
        "from",
        "job-token",
        "private-token",
        "sudo",
        "true-client-ip",
        "txn-token",
        "via",
        "workload-identity-token",
        "workload-proof-token",
        "x-access-token",
        "x-api-key",
        "x-client-cert",
        "x-client-ip",
        "x-goog-api-key",
        "x-method-override",
        "x-real-ip",
    ];
    const PREFIXES: [&str; 28] = [
        "cf-",
        "impersonate-",
        "l5d-",
        "remote-",
        "ssl-",
        "tailscale-",
        "x-amzn-oidc-",
        "x-auth-",
        "x-authenticated-",
        "x-b3-",
        "x-consumer-",
        "x-envoy-",
        "x-forwarded",
        "x-goog-authenticated-user-",
        "x-goog-iap-",
        "x-http-method",
        "x-mandate-",
        "x-ms-client-principal",
        "x-original-",
        "x-pomerium-",
        "x-remote-",
        "x-rewrite-",
        "x-spiffe-",
        "x-ssl-",
        "x-tailscale-",
        "x-user",
        "x-vault-",
        "x-webauth-",
    ];
    EXACT.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn is_trace(name: &str) -> bool {
    matches!(name, "traceparent" | "tracestate" | "baggage")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(names: &[(&'static str, &'static str)]) -> HeaderMap {
        names
            .iter()
            .map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap()))
            .collect()
    }

    #[test]
    fn inbound_identity_headers_are_stripped() {
        let mut headers = fields(&[
            ("accept", "*/*"),
            ("idempotency-key", "4711"),
            ("cookie", "a=b"),
            ("x-method-override", "DELETE"),
            ("x-original-uri", "/admin"),
            ("x-original-method", "DELETE"),
            ("x-original-host", "evil"),
            ("x-rewrite-url", "/admin"),
            ("impersonate-user", "root"),
            ("x-webauth-user", "root"),
            ("x-user-id", "0"),
            ("x-consumer-username", "root"),
            ("cf-connecting-ip", "1.1.1.1"),
            ("cf-access-authenticated-user-email", "root@acme.example"),
            ("cf-access-jwt-assertion", "x"),
            ("remote-user", "root"),
            ("remote-groups", "admins"),
            ("remote-email", "root@acme.example"),
            ("ssl-client-cert", "x"),
            ("ssl-client-verify", "SUCCESS"),
            ("ssl-client-subject-dn", "CN=root"),
            ("x-user", "root"),
            ("x-username", "root"),
            ("x-userid", "0"),
            ("tailscale-user-login", "root@acme.example"),
            ("l5d-client-id", "root.acme"),
            ("x-pomerium-jwt-assertion", "x"),
            ("x-api-key", "x"),
            ("private-token", "x"),
            ("true-client-ip", "1.1.1.1"),
            ("x-b3-traceid", "1"),
            ("trailer", "x-user"),
            ("authorization", "Bearer x"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x_forwarded_host", "evil"),
            ("x_customer", "globex"),
            ("x-remote-user", "root"),
            ("forwarded", "for=1"),
            ("proxy-authorization", "x"),
            ("txn-token", "x"),
            ("x-mandate-task", "x"),
            ("x-http-method-override", "DELETE"),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("x-tenant", "acme"),
            ("traceparent", "00-1-1-01"),
        ]);
        strip_request(&mut headers, &["x-tenant".to_owned()].into(), false);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "idempotency-key"]);
    }

    #[test]
    fn trace_context_passes_where_it_is_declared() {
        let mut headers = fields(&[("traceparent", "00-1-1-01"), ("baggage", "a=b")]);
        strip_request(&mut headers, &BTreeSet::new(), true);
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn a_response_keeps_its_own_fields_only() {
        let mut headers = fields(&[
            ("content-type", "a/b"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("alt-svc", "h3=\":443\""),
            ("location", "/a"),
        ]);
        strip_response(&mut headers);
        assert_eq!(headers.len(), 2);
    }
}
