//! `POST /operator/v1/tokens/{id}/revoke`: a token by its id, as records name it.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use mandate_audit::{Event, What};
use mandate_model::{StopVersion, Timestamp, TokenId};
use mandate_policy::Target;
use mandate_policy::decl::Right;
use mandate_ports::{Change, Search, Unit};
use serde_json::json;

use super::caller::Operator;
use super::suspend::check_reason;
use super::tasks::Reason;
use crate::Authority;
use crate::body;
use crate::listen::Connection;
use crate::problem::Problem;

/// Voids a token. A task token's task goes on: that ends by `tasks/{id}/cancel`.
#[utoipa::path(
    post, path = "/operator/v1/tokens/{id}/revoke", tag = "operators",
    params(("id" = String, Path, description = "The token, as records name it")),
    request_body = Reason,
    responses(
        (status = 200, description = "It is void; the version of the stops that says so", body = Object),
        (status = 403, description = "Not permitted", body = crate::openapi::ProblemBody),
        (status = 404, description = "No record names it", body = crate::openapi::ProblemBody),
    ),
)]
pub(crate) async fn revoke_token(
    State(at): State<Connection>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let id = TokenId::parse(&id).map_err(|why| Problem::malformed(why.to_string()))?;
    let asked: Reason = body::json(request, 4096).await?;
    check_reason(&asked.reason)?;
    let target = Target {
        kind: "token".to_owned(),
        name: id.to_string(),
    };
    let operator = Operator::permitted(&at, "token_revoke", Right::Tokens, Some(&target)).await?;
    let revoked = void(&at.authority, &operator, id, asked.reason).await;
    let version = operator.outcome(&at, "token_revoke", revoked).await?;
    Ok(body::answer(&json!({"token": id, "version": version})))
}

async fn void(
    authority: &Authority,
    operator: &Operator,
    token: TokenId,
    reason: String,
) -> Result<StopVersion, Problem> {
    let issued = Search {
        token: Some(token),
        limit: 1,
        ..Search::default()
    };
    // A name that is wrong by a letter voids nothing. Where the log is damaged, its record may be what is
    // missing, and the token is voided.
    let found = authority.ports().log.search(&issued).await?;
    if found.records.is_empty() && found.damaged.is_empty() {
        return Err(Problem::unknown(format!("no record names {token}")));
    }
    let until = expired_by(authority, authority.now());
    let event = Event {
        token: Some(token),
        detail: Some(reason),
        ..operator.event(authority, What::Revoked { token })
    };
    let unit = Unit {
        changes: vec![Change::RevokeToken { token, until }],
        events: vec![event],
        ..Unit::default()
    };
    let committed = authority.commit(unit).await?;
    Ok(committed.versions().stops)
}

/// Whatever was issued by `now` has expired then.
fn expired_by(authority: &Authority, now: Timestamp) -> Timestamp {
    now.plus(authority.config().lifetimes.longest())
}
