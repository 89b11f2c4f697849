//! `POST /introspect` (RFC 7662). An inactive answer says nothing else (§2.2).

use axum::extract::{Request, State};
use axum::response::Response;
use mandate_decide::exchange::{AuthenticatedClient, ExchangeError, FormError};
use mandate_model::task::Task;
use serde_json::{Value, json};

use super::Authenticated;
use super::identify::{Identified, identify};
use crate::body;
use crate::listen::Connection;
use crate::possession::with_nonce;
use crate::token::{Refusal, Refused, exchange_world};
use crate::world::World;

/// What a token of the caller's says, if it is good now.
#[utoipa::path(
    post, path = "/introspect", tag = "agents",
    request_body(content_type = "application/x-www-form-urlencoded", content = crate::openapi::TokenForm),
    responses(
        (status = 200, description = "RFC 7662 §2.2; an agent learns of its own tokens alone", body = Object),
        (status = 401, description = "The caller did not prove what it is", body = crate::openapi::OauthErrorBody),
    ),
)]
pub(crate) async fn introspect(State(at): State<Connection>, request: Request) -> Response {
    let response = match answer(&at, request).await {
        Ok(value) => body::answer(&value),
        Err(refused) => refused.reply(&at).await,
    };
    with_nonce(&at.authority, response)
}

async fn answer(at: &Connection, request: Request) -> Result<Value, Refused> {
    let mut form = Authenticated::read(at, &at.authority.world(), "introspect", request).await?;
    // For whoever has proved what it is: reading the store is for nobody else.
    let world = at.authority.refresh().await;
    let world = world.map_err(|_| Refused::unavailable())?;
    let Some(token) = form.take("token") else {
        let missing = ExchangeError::Form(FormError::Missing("token"));
        return Err(form.caller.refused(missing.into()));
    };
    let active = active(at, &world, &form, &token).await;
    active
        .map(|claims| claims.unwrap_or_else(|| json!({"active": false})))
        .map_err(Refused::early)
}

async fn active(
    at: &Connection,
    world: &World,
    form: &Authenticated<AuthenticatedClient>,
    token: &str,
) -> Result<Option<Value>, Refusal> {
    let now = at.authority.now();
    let Some(live) = world.bundle() else {
        return Ok(None);
    };
    let view = exchange_world(&at.authority, world, live, now);
    let Some(found) = identify(token, &view) else {
        return Ok(None);
    };
    let (actor, holder) = (form.client.actor(), form.client.holder());
    // The store is read for whoever could be told.
    if found.check_own(None, actor, holder).is_err() || !found.is_free(&view) {
        return Ok(None);
    }
    if let Some(task) = found.task() {
        let task = at.authority.ports().state.task(task).await;
        let own = |task: &Task| found.check_own(Some(task), actor, holder).is_ok();
        match task.map_err(|_| Refusal::Unavailable)? {
            Some(task) if own(&task) && task.is_live(now) && found.is_free_in(&task, &view) => {}
            Some(_) | None => return Ok(None),
        }
    }
    Ok(say(&found))
}

fn say(found: &Identified) -> Option<Value> {
    let token_type = match found {
        Identified::Access(token) if token.claims().confirmation.is_some() => "DPoP",
        Identified::Access(_) | Identified::Upstream(_) => "Bearer",
        Identified::Svid(_) | Identified::Task(_) => "N_A",
    };
    let mut claims = found.json()?;
    let members = claims.as_object_mut()?;
    members.insert("active".to_owned(), Value::Bool(true));
    members.insert("token_type".to_owned(), token_type.into());
    Some(claims)
}
