//! The published keys: OAuth's and SVIDs' apart, as the tokens are.

use axum::extract::State;
use axum::response::Response;
use http::{HeaderValue, header};

use crate::body;
use crate::listen::Connection;

/// Keys of task, access and upstream tokens.
#[utoipa::path(
    get, path = "/jwks", tag = "verifiers",
    responses((status = 200, description = "A JWK set (RFC 7517 §5)", body = Object)),
)]
pub(crate) async fn jwks(State(at): State<Connection>) -> Response {
    cached(&at, &at.authority.world().keys.set.jwks_oauth())
}

/// Keys of JWT-SVIDs.
#[utoipa::path(
    get, path = "/spiffe/bundle", tag = "verifiers",
    responses((status = 200, description = "A SPIFFE bundle (Trust Domain and Bundle §4)", body = Object)),
)]
pub(crate) async fn spiffe_bundle(State(at): State<Connection>) -> Response {
    let world = at.authority.world();
    let hint = at.authority.config().key_cache;
    cached(
        &at,
        &world
            .keys
            .set
            .spiffe_bundle(world.versions.keys.get(), hint),
    )
}

/// Verifiers keep it as long as a new key is announced before it signs, and no longer (C7).
fn cached(at: &Connection, keys: &serde_json::Value) -> Response {
    let mut response = body::answer(keys);
    let age = at.authority.config().key_cache.as_secs();
    if let Ok(value) = HeaderValue::from_str(&format!("public, max-age={age}")) {
        response.headers_mut().insert(header::CACHE_CONTROL, value);
    }
    response
}
