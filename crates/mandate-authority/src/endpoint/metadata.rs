//! Discovery: RFC 8414 and OpenID Connect Discovery, one document in both places.

use axum::extract::State;
use axum::response::Response;
use mandate_token::dpop::PROOF_ALGORITHMS;
use serde_json::{Value, json};

use crate::Config;
use crate::body;
use crate::listen::Connection;
use crate::problem::Problem;

/// Metadata of the authorization server.
#[utoipa::path(
    get, path = "/.well-known/oauth-authorization-server", tag = "verifiers",
    responses((status = 200, description = "RFC 8414 §3.2", body = Object)),
)]
pub(crate) async fn metadata(State(at): State<Connection>) -> Response {
    body::answer_with(&document(at.authority.config()), CACHE)
}

/// The same, where OpenID Connect looks for it.
#[utoipa::path(
    get, path = "/.well-known/openid-configuration", tag = "verifiers",
    responses((status = 200, description = "OpenID Connect Discovery §4.2", body = Object)),
)]
pub(crate) async fn openid_configuration(at: State<Connection>) -> Response {
    metadata(at).await
}

/// No grant begins here, and nobody is sent anywhere (RFC 6749 §4.1.2.1): agents exchange.
#[utoipa::path(
    get, path = "/authorize", tag = "verifiers",
    responses((status = 400, description = "no grant begins here")),
)]
pub(crate) async fn authorize() -> Problem {
    Problem::malformed("no grant begins here: exchange a token at /token (RFC 8693)")
}

/// What we have, and nothing else. Some members are there because their absence means something:
/// without `grant_types_supported` a client assumes `authorization_code` and `implicit`, without
/// `token_endpoint_auth_methods_supported` `client_secret_basic` (RFC 8414 §2); MCP clients refuse a
/// server without `code_challenge_methods_supported`, and take metadata without
/// `authorization_endpoint` for malformed, though no grant here needs one (RFC 8414 §2). OpenID Connect Discovery §3 requires subject
/// types and the algorithms of ID tokens; none are issued, and ES256 signs all that is.
fn document(config: &Config) -> Value {
    let issuer = config.issuer.as_str();
    let at = |path: &str| format!("{}{path}", issuer.trim_end_matches('/'));
    let methods = json!(["spiffe_jwt"]);
    let algorithms = json!(["ES256"]);
    json!({
        "issuer": issuer,
        "authorization_endpoint": at("/authorize"),
        "token_endpoint": at("/token"),
        "jwks_uri": at("/jwks"),
        "challenge_endpoint": at("/attestation-challenge"),
        "introspection_endpoint": at("/introspect"),
        "revocation_endpoint": at("/revoke"),
        "grant_types_supported": ["urn:ietf:params:oauth:grant-type:token-exchange"],
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
        "response_modes_supported": [],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "authorization_details_types_supported": ["mandate_access"],
        "dpop_signing_alg_values_supported": PROOF_ALGORITHMS,
        "tls_client_certificate_bound_access_tokens": false,
        "client_id_metadata_document_supported": false,
        "authorization_response_iss_parameter_supported": false,
        "spiffe_trust_domain": config.trust_domain.id(),
        "spiffe_bundle_endpoint": at("/spiffe/bundle"),
    })
}

const CACHE: &str = "public, max-age=300";
