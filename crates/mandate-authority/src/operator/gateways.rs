//! `POST /operator/v1/gateways/accept-epoch`: gives a store back the suspensions that it lost (B4).

use axum::extract::{Request, State};
use axum::response::Response;
use mandate_audit::What;
use mandate_model::stop::{Subject, Suspension};
use mandate_model::{GatewayId, StopVersion};
use mandate_policy::Target;
use mandate_policy::decl::Right;
use mandate_ports::{Change, Unit, Versions};

use super::MAX_BODY;
use super::caller::Operator;
use super::suspend::check_reason;
use crate::body;
use crate::breakglass::{self, NobodyResumes};
use crate::listen::Connection;
use crate::problem::Problem;

/// What a gateway holds and this store may have lost.
#[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Accept {
    /// The gateway instance.
    #[schema(value_type = String)]
    gateway: GatewayId,
    /// The suspensions in its file.
    #[schema(value_type = Vec<Object>)]
    suspensions: Vec<Suspension>,
    /// The highest stop version in its file: what the store lost may go so far.
    #[schema(value_type = u64)]
    stops: StopVersion,
}

/// Suspends again what a gateway still holds, as this operator's act, and voids everything that was
/// ever issued: which of it was void already, the store cannot know any more. The gateway's own file is
/// rewritten after this has answered: a crash in between leaves it refusing.
#[utoipa::path(
    post, path = "/operator/v1/gateways/accept-epoch", tag = "operators",
    request_body = Accept,
    responses(
        (status = 200, description = "The store has them; the version that names them", body = Object),
        (status = 403, description = "Not permitted, or one of the suspensions is not", body = crate::openapi::ProblemBody),
    ),
)]
pub(crate) async fn accept_epoch(
    State(at): State<Connection>,
    request: Request,
) -> Result<Response, Problem> {
    // Before a byte of a large body is read.
    Operator::any(&at, "accept_epoch").await?;
    let asked: Accept = body::json(request, MAX_BODY).await?;
    let target = Target::from(&Subject::Gateway {
        id: asked.gateway.clone(),
    });
    let operator = Operator::permitted(&at, "accept_epoch", Right::Gateways, Some(&target)).await?;
    check(&at, &asked.suspensions).await?;
    check_version(&at, asked.stops).await?;
    match restore(&at, &operator, asked).await? {
        Ok((versions, restored)) => Ok(body::answer(&serde_json::json!({
            "epoch": versions.epoch,
            "version": versions.stops,
            "restored": restored,
        }))),
        Err(why) => {
            let rule = "suspend.nobody_resumes";
            Err(operator
                .refused(&at, "accept_epoch", rule, why.to_string())
                .await)
        }
    }
}

async fn restore(
    at: &Connection,
    operator: &Operator,
    asked: Accept,
) -> Result<Result<(Versions, usize), NobodyResumes>, Problem> {
    let authority = &at.authority;
    let _alone = authority.gate().write().await;
    let world = authority.refresh().await?;
    let in_force = |s: &Suspension| {
        world
            .stops
            .suspensions()
            .any(|known| known.subject == s.subject)
    };
    let lost: Vec<Suspension> = asked
        .suspensions
        .into_iter()
        .filter(|s| !in_force(s))
        .collect();
    if let Err(why) = breakglass::check_left(&world, lost.iter().cloned()) {
        return Ok(Err(why));
    }
    let restored = lost.len();
    let mut unit = Unit::default();
    for lost in lost {
        let what = What::Suspended {
            subject: lost.subject.clone(),
            version: world.stops.version().next(),
            reason: lost.reason.clone(),
        };
        unit.events.push(operator.event(authority, what));
        let operator = operator.principal();
        unit.changes.push(Change::Suspend(Suspension {
            operator,
            at: authority.now(),
            ..lost
        }));
    }
    unit.changes.push(Change::VoidAll {
        beyond: asked.stops,
        until: authority.now().plus(authority.config().lifetimes.longest()),
    });
    let operation = format!("accept_epoch {}", asked.gateway);
    unit.events
        .push(operator.event(authority, What::OperatorActed { operation }));
    let committed = authority.commit_held(unit).await?;
    Ok(Ok((committed.versions(), restored)))
}

/// Each is suspended as this operator's act, so it needs what a suspension by hand needs: the right
/// for its subject, and a reason. What the request says a gateway holds is the operator's word.
async fn check(at: &Connection, suspensions: &[Suspension]) -> Result<(), Problem> {
    if suspensions.len() > MAX_SUSPENSIONS {
        let detail = format!("more than {MAX_SUSPENSIONS} suspensions");
        return Err(Problem::too_large(detail));
    }
    for suspension in suspensions {
        check_reason(&suspension.reason)?;
        let target = Target::from(&suspension.subject);
        Operator::permitted(at, "accept_epoch", Right::Suspend, Some(&target)).await?;
    }
    Ok(())
}

/// The file's version is the operator's word too, and versions never go back: one far from what the
/// store has would use them up.
async fn check_version(at: &Connection, seen: StopVersion) -> Result<(), Problem> {
    let known = at.authority.ports().state.versions().await?.stops;
    if seen.get() > known.get().saturating_add(MAX_LOST) {
        let detail = format!(
            "the gateway's stop version {seen} is more than {MAX_LOST} above the store's {known}: its marks are not of this store"
        );
        return Err(Problem::malformed(detail));
    }
    Ok(())
}

/// A store that is put back by more than that many tasks and tokens that ended has lost years.
const MAX_LOST: u64 = 1 << 40;
/// More than were ever in force at once where people suspend by hand.
const MAX_SUSPENSIONS: usize = 10_000;
