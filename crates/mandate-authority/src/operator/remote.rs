//! Operators over the network: the same routes, for whoever brings a session.
//!
//! A session is a bearer token and no cookie: no page that an operator looks at can use it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{any, get, post};
use tower::ServiceExt;

use super::{login, session};
use crate::listen::{Connection, Origin};
use crate::problem::Problem;

/// The operators' routes of the public door: beginning a session is for everybody, all else for who
/// has one.
pub(crate) fn router() -> Router<Connection> {
    Router::new()
        .route("/operator/v1/login", get(login::providers))
        .route("/operator/v1/session", post(login::begin))
        .route("/operator/v1/session/end", post(session::end))
        .route("/operator/v1/{*path}", any(admit))
        .route("/log/checkpoint", any(admit))
        .route("/log/tile/{*path}", any(admit))
}

/// Hands a request to the operators' own routes, as one of its session's holder.
async fn admit(State(at): State<Connection>, request: Request) -> Result<Response, Problem> {
    let holder = session::holder(&at, request.headers())?;
    let at = Connection {
        origin: Origin::Session(Arc::new(holder)),
        ..at
    };
    match super::router().with_state(at).oneshot(request).await {
        Ok(response) => Ok(response),
        Err(never) => match never {},
    }
}
