//! `POST /operator/v1/suspend` and the list of what is in force.

use axum::extract::{Request, State};
use axum::response::Response;
use mandate_model::stop::{Resumption, Subject, Suspension};
use mandate_policy::Target;
use mandate_policy::decl::Right;

use super::caller::Operator;
use crate::body;
use crate::breakglass::{self, Order, Proof};
use crate::listen::Connection;
use crate::problem::Problem;

/// Whom to stop or to let go on, and why.
#[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubjectAndReason {
    /// `{"kind": "agent", "id": "spiffe://…"}`, `{"kind": "task", "id": "task-…"}`, …
    #[schema(value_type = Object)]
    pub(super) subject: Subject,
    /// 1 to 500 characters, for the record.
    pub(super) reason: String,
}

impl SubjectAndReason {
    pub(super) async fn read(request: Request) -> Result<Self, Problem> {
        let order: Self = body::json(request, MAX_ORDER).await?;
        check_reason(&order.reason)?;
        Ok(order)
    }
}

/// A reason is there and can be printed.
pub(super) fn check_reason(reason: &str) -> Result<(), Problem> {
    let length = reason.chars().count();
    if (1..=500).contains(&length) && !reason.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(Problem::malformed(
            "`reason` is 1 to 500 characters without control characters",
        ))
    }
}

/// Suspends, and waits until it is effective or it is known until when it is not.
#[utoipa::path(
    post, path = "/operator/v1/suspend", tag = "operators",
    request_body = SubjectAndReason,
    responses(
        (status = 200, description = "It acts; whether it is effective, and the proof", body = Proof),
        (status = 403, description = "Not permitted, or nobody would be left who can resume", body = crate::openapi::ProblemBody),
    ),
)]
pub(crate) async fn suspend(
    State(at): State<Connection>,
    request: Request,
) -> Result<Response, Problem> {
    let asked = SubjectAndReason::read(request).await?;
    let target = Target::from(&asked.subject);
    let operator = Operator::permitted(&at, "suspend", Right::Suspend, Some(&target)).await?;
    let order = Order {
        subject: asked.subject,
        reason: asked.reason,
        operator: operator.name().clone(),
    };
    // It goes on when the operator's terminal goes away.
    let authority = at.authority.clone();
    let task = tokio::spawn(async move { breakglass::suspend(&authority, order).await });
    match task.await.map_err(|_| Problem::unavailable())? {
        Ok(proof) => Ok(body::answer(&proof)),
        Err(why) => {
            let rule = "suspend.nobody_resumes";
            Err(operator
                .refused(&at, "suspend", rule, why.to_string())
                .await)
        }
    }
}

/// The suspensions in force, and what lifted ones left void.
#[utoipa::path(
    get, path = "/operator/v1/suspensions", tag = "operators",
    responses((status = 200, description = "Those in force, the oldest first; and for each subject that was resumed while tokens from before can still be about, since which version they are not void", body = Object)),
)]
pub(crate) async fn suspensions(State(at): State<Connection>) -> Result<Response, Problem> {
    let operator = Operator::any(&at, "suspensions").await?;
    operator.looks_even_unrecorded(&at, "suspensions").await;
    let world = at.authority.world();
    let mut suspensions: Vec<&Suspension> = world.stops.suspensions().collect();
    suspensions.sort_by_key(|suspension| suspension.version);
    let now = at.authority.now();
    let mut resumptions: Vec<&Resumption> = world.stops.resumptions().collect();
    resumptions.retain(|resumption| resumption.until > now);
    resumptions.sort_by_key(|resumption| resumption.version);
    Ok(body::answer(&serde_json::json!({
        "version": world.stops.version(),
        "undurable": world.undurable,
        "suspensions": suspensions,
        "resumptions": resumptions,
    })))
}

const MAX_ORDER: usize = 64 * 1024;
