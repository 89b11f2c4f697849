//! Which fields of a request's head never reach an upstream (FAILURES 35). One list: the gateway takes
//! them out, `explain` does as the gateway does, and no attribute may be read from one of them.

/// Whether no server workload ever gets the field `name`, in lower case, from an agent.
pub fn never_passes(name: &str) -> bool {
    // Many servers take `_` for `-`, so such a name is a second spelling of another field.
    name.contains('_')
        // Trailers are dropped, so none is announced.
        || name == "trailer"
        || name == "host"
        || is_hop_by_hop(name)
        || is_identity(name)
}

/// Whether the field concerns the connection alone (RFC 9110 §7.6.1).
pub fn is_hop_by_hop(name: &str) -> bool {
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

/// Whether the field is trace context, which passes only where it is declared.
pub(crate) fn is_trace(name: &str) -> bool {
    matches!(name, "traceparent" | "tracestate" | "baggage")
}

/// Fields by which some server, proxy or framework lets a caller say who it is, or that the request
/// is another one than this gateway sees. A cookie is a credential, and credentials for upstreams
/// are the gateway's: none passes.
fn is_identity(name: &str) -> bool {
    const EXACT: [&str; 44] = [
        "api-key",
        "apikey",
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
        "http-method-override",
        "job-token",
        "method-override",
        "private-token",
        "proxy",
        "sudo",
        "true-client-ip",
        "txn-token",
        "via",
        "workload-identity-token",
        "workload-proof-token",
        "x-access-token",
        "x-amz-security-token",
        "x-anonymous-consumer",
        "x-api-key",
        "x-arr-clientcert",
        "x-client-cert",
        "x-client-dn",
        "x-client-ip",
        "x-client-verify",
        "x-cluster-client-ip",
        "x-consul-token",
        "x-goog-api-key",
        "x-host",
        "x-method-override",
        "x-nomad-token",
        "x-originating-ip",
        "x-proxyuser-ip",
        "x-real-ip",
        "x-sendfile-type",
        "x-serverless-authorization",
    ];
    const PREFIXES: [&str; 35] = [
        "cf-",
        "fastly-",
        "fly-",
        "impersonate-",
        "l5d-",
        "remote-",
        "ssl-",
        "tailscale-",
        "x-accel-",
        "x-amzn-mtls-",
        "x-amzn-oidc-",
        "x-auth",
        "x-azure-",
        "x-b3-",
        "x-consumer-",
        "x-credential-",
        "x-envoy-",
        "x-forwarded",
        "x-goog-authenticated-user-",
        "x-goog-iap-",
        "x-http-host-",
        "x-http-method",
        "x-mandate-",
        "x-ms-client-principal",
        "x-ms-token-",
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
