//! The control stream's server: `docs/control-stream.md`.

mod ack;
mod lease;
mod records;
mod stream;
mod upstream_token;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::routing::{get, post};
use http::request::Parts;

use crate::listen::{Connection, Origin};
use crate::problem::Problem;
use crate::token::token_for_agent;

/// The routes of the control socket, and nothing else.
pub(crate) fn router() -> Router<Connection> {
    Router::new()
        .route("/control/v1/stream", get(stream::stream))
        .route("/control/v1/lease", post(lease::lease))
        .route("/control/v1/ack", post(ack::ack))
        .route("/control/v1/records", post(records::records))
        .route(
            "/control/v1/upstream-token",
            post(upstream_token::upstream_token),
        )
        .route("/control/v1/token", post(token_for_agent))
        .fallback(|| async { Problem::unknown("no such path or protocol version") })
}

/// The kernel says that the peer is a process of the authority's own user.
#[derive(Debug)]
pub(crate) struct OwnUser(());

impl FromRequestParts<Connection> for OwnUser {
    type Rejection = Problem;

    async fn from_request_parts(_: &mut Parts, at: &Connection) -> Result<Self, Problem> {
        match &at.origin {
            Origin::Process(peer) if peer.uid == at.authority.config().own_uid => Ok(Self(())),
            Origin::Process(_) | Origin::Network(_) | Origin::Session(_) => {
                let detail = "this socket is for gateways that run as the authority's own user";
                Err(Problem::peer(detail))
            }
        }
    }
}

/// The largest body but of records.
const MAX_BODY: usize = 64 * 1024;
