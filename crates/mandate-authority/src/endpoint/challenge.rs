//! `POST /attestation-challenge`: a number to sign, for evidence that could be replayed otherwise
//! (the shape of draft-ietf-oauth-attestation-based-client-auth).

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use crate::body;
use crate::listen::Connection;

/// A new challenge. Whoever asks gets one: it proves nothing by itself, and nothing of it is kept.
#[utoipa::path(
    post, path = "/attestation-challenge", tag = "agents",
    responses((status = 200, description = "`attestation_challenge`, and for how many seconds it is good, `expires_in`", body = Object)),
)]
pub(crate) async fn challenge(State(at): State<Connection>) -> Response {
    let made = at.authority.ports().challenges.challenge();
    let document = json!({
        "attestation_challenge": made.value,
        "expires_in": made.expires_in,
    });
    body::answer(&document)
}
