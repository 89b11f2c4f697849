//! Signing keys: look at them, begin a rotation.

use axum::extract::{Request, State};
use axum::response::Response;
use mandate_policy::Target;
use mandate_policy::decl::Right;
use mandate_ports::KeyPurpose;
use serde_json::{Value, json};

use super::caller::Operator;
use crate::body;
use crate::keys;
use crate::listen::Connection;
use crate::problem::Problem;
use crate::world::PublicKey;

/// Which keys to rotate.
#[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotate {
    /// `svid`, `oauth` or `log`.
    #[schema(value_type = String)]
    purpose: KeyPurpose,
}

/// The keys that are not retired.
#[utoipa::path(
    get, path = "/operator/v1/keys", tag = "operators",
    responses((status = 200, description = "Keys and their states", body = Object)),
)]
pub(crate) async fn list(State(at): State<Connection>) -> Result<Response, Problem> {
    let operator = Operator::any(&at, "keys").await?;
    operator.looks_even_unrecorded(&at, "keys").await;
    let world = at.authority.world();
    let all: Vec<Value> = world.keys.all.iter().map(view).collect();
    Ok(body::answer(
        &json!({"version": world.versions.keys, "keys": all}),
    ))
}

fn view(key: &PublicKey) -> Value {
    json!({"id": key.id, "purpose": key.purpose, "state": key.state, "since": key.since})
}

/// Announces a new key. It signs when verifiers can have fetched it (C7).
#[utoipa::path(
    post, path = "/operator/v1/keys/rotate", tag = "operators",
    request_body = Rotate,
    responses(
        (status = 200, description = "It is announced", body = Object),
        (status = 409, description = "A rotation is under way", body = crate::openapi::ProblemBody),
    ),
)]
pub(crate) async fn rotate(
    State(at): State<Connection>,
    request: Request,
) -> Result<Response, Problem> {
    let asked: Rotate = body::json(request, 1024).await?;
    let purpose = keys::name_of(asked.purpose);
    let target = Target {
        kind: "key".to_owned(),
        name: purpose.to_owned(),
    };
    let operator = Operator::permitted(&at, "keys_rotate", Right::Keys, Some(&target)).await?;
    let rotated = keys::rotate(&at.authority, asked.purpose, operator.principal()).await;
    let (key, signs_at) = operator.outcome(&at, "keys_rotate", rotated).await?;
    Ok(body::answer(
        &json!({"key": key, "state": "announced", "signs_at": signs_at}),
    ))
}
