//! `POST /revoke` (RFC 7009): a token by itself, a task token with its task's subtree.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use mandate_audit::{Decision, Event, What};
use mandate_decide::exchange::{ExchangeError, FormError, LeavingClient};
use mandate_model::task::{Task, TaskState};
use mandate_ports::{Change, CommitError, Conflict, Unit};

use super::Authenticated;
use super::identify::{Identified, identify};
use crate::listen::Connection;
use crate::possession::with_nonce;
use crate::tasks::ending;
use crate::token::{Refusal, Refused, exchange_world};

/// Revokes a token of the caller's.
#[utoipa::path(
    post, path = "/revoke", tag = "agents",
    request_body(content_type = "application/x-www-form-urlencoded", content = crate::openapi::TokenForm),
    responses(
        (status = 200, description = "It is void, or was never known (RFC 7009 §2.2)"),
        (status = 400, description = "It is another agent's, or bound to another key, or its task is pinned to another instance", body = crate::openapi::OauthErrorBody),
        (status = 401, description = "The caller did not prove what it is", body = crate::openapi::OauthErrorBody),
        (status = 503, description = "Nothing can be recorded now, or the agent type ends too many", body = crate::openapi::OauthErrorBody),
    ),
)]
pub(crate) async fn revoke(State(at): State<Connection>, request: Request) -> Response {
    let response = match answer(&at, request).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(refused) => refused.reply(&at).await,
    };
    with_nonce(&at.authority, response)
}

async fn answer(at: &Connection, request: Request) -> Result<(), Refused> {
    let world = at.authority.world();
    let mut form = Authenticated::read_leaving(at, &world, "revoke", request).await?;
    let Some(token) = form.take("token") else {
        let missing = ExchangeError::Form(FormError::Missing("token"));
        return Err(form.caller.refused(missing.into()));
    };
    let live = world.bundle().ok_or_else(Refused::no_bundle)?;
    let view = exchange_world(&at.authority, &world, live, at.authority.now());
    let Some(found) = identify(&token, &view) else {
        return Ok(());
    };
    if let Err(why) = own(at, &mut form, &found).await {
        return Err(form.caller.refused(why));
    }
    if !at.authority.refusals().may_end(&form.client.actor().sub) {
        return Err(form.caller.refused(Refusal::TooOften));
    }
    let unit = unit(at, form, &found).await.map_err(Refused::early)?;
    match at.authority.commit(unit).await {
        Ok(_receipt) => Ok(()),
        // It has ended already: what was asked for is so.
        Err(CommitError::Conflict(Conflict::TaskNotLive(_) | Conflict::NoTask(_))) => Ok(()),
        Err(CommitError::Conflict(_) | CommitError::Store(_)) => Err(Refused::unavailable()),
    }
}

/// Checks that the token is the caller's: by its type, by the key that the token is bound to, and by whom its
/// task is pinned to, as wherever it is used (A5). Who shares a type with another must not end its work.
async fn own(
    at: &Connection,
    form: &mut Authenticated<LeavingClient>,
    found: &Identified,
) -> Result<(), Refusal> {
    let check = |task: Option<&Task>| {
        let (actor, holder) = (form.client.actor(), form.client.holder());
        let own = found.check_own(task, actor, holder);
        own.map_err(|why| Refusal::from(ExchangeError::Actor(why)))
    };
    check(None)?;
    let Some(task) = found.task() else {
        return Ok(());
    };
    let task = at.authority.ports().state.task(task).await;
    let task = task.map_err(|_| Refusal::Unavailable)?;
    let checked = check(task.as_ref());
    if let Some(task) = &task {
        // The record of it reaches its cause (P5), as every other one of the task.
        form.caller.in_task(task);
    }
    checked
}

async fn unit(
    at: &Connection,
    form: Authenticated<LeavingClient>,
    found: &Identified,
) -> Result<Unit, Refusal> {
    let (authority, now) = (&at.authority, at.authority.now());
    let (change, what) = match (found, found.task()) {
        (Identified::Task(_), Some(task)) => {
            let ending = ending(authority, task, TaskState::Cancelled, now).await;
            ending.map_err(|_| Refusal::Unavailable)?
        }
        (_, _) => {
            let (token, until) = (found.id(), found.expires_at());
            (
                Change::RevokeToken { token, until },
                What::Revoked { token },
            )
        }
    };
    let event = form.caller.event(now, what, Decision::Allowed);
    let event = Event {
        token: Some(found.id()),
        ..event
    };
    Ok(Unit {
        changes: vec![change],
        events: vec![event],
        ..Unit::default()
    })
}
