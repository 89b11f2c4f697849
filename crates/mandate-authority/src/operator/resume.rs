//! `POST /operator/v1/resume`: lifts a suspension.
//!
//! What was issued under the subject before the suspension stays void: agents attest afresh.

use axum::extract::{Request, State};
use axum::response::Response;
use mandate_audit::What;
use mandate_model::stop::{Subject, Suspension};
use mandate_policy::Target;
use mandate_policy::decl::Right;
use mandate_ports::{Change, Unit};

use super::caller::Operator;
use super::suspend::SubjectAndReason;
use crate::body;
use crate::breakglass;
use crate::listen::Connection;
use crate::problem::Problem;
use crate::world::World;

/// Lifts a suspension.
#[utoipa::path(
    post, path = "/operator/v1/resume", tag = "operators",
    request_body = SubjectAndReason,
    responses(
        (status = 200, description = "It is lifted", body = Object),
        (status = 403, description = "Not permitted, or a second operator's to decide", body = crate::openapi::ProblemBody),
        (status = 409, description = "Nothing of the kind is suspended", body = crate::openapi::ProblemBody),
    ),
)]
pub(crate) async fn resume(
    State(at): State<Connection>,
    request: Request,
) -> Result<Response, Problem> {
    let asked = SubjectAndReason::read(request).await?;
    let target = Target::from(&asked.subject);
    let operator = Operator::permitted(&at, "resume", Right::Resume, Some(&target)).await?;
    let authority = &at.authority;
    let world = authority.refresh().await?;
    let suspension = world
        .stops
        .suspensions()
        .find(|s| s.subject == asked.subject);
    if let Some(suspension) = suspension {
        check_second(&world, suspension, &operator)?;
    }
    let void = breakglass::outstanding(authority, &asked.subject, authority.now()).await?;
    let voided = void.len();
    let mut changes = vec![Change::Resume(asked.subject.clone())];
    changes.extend(
        void.into_iter()
            .map(|(token, until)| Change::RevokeToken { token, until }),
    );
    let what = What::Resumed {
        subject: asked.subject.clone(),
        version: world.stops.version().next(),
        reason: asked.reason,
    };
    let unit = Unit {
        changes,
        events: vec![operator.event(authority, what)],
        ..Unit::default()
    };
    let committed = {
        // Alone, as a suspension: whoever suspends the same again is wholly before or after.
        let _alone = authority.gate().write().await;
        authority.commit_held(unit).await?
    };
    Ok(body::answer(&serde_json::json!({
        "subject": asked.subject,
        "version": committed.versions().stops,
        "tokens_void": voided,
    })))
}

/// Where the bundle says so, another operator than the one who suspended resumes.
fn check_second(
    world: &World,
    suspension: &Suspension,
    operator: &Operator,
) -> Result<(), Problem> {
    let Subject::Agent { id } = &suspension.subject else {
        return Ok(());
    };
    let declared = world.bundle().and_then(|live| live.bundle.agent_by_id(id));
    let needs_second = declared.is_some_and(|agent| agent.break_glass.resume_needs_second_operator);
    if needs_second && suspension.operator == operator.principal() {
        let detail =
            "the agent type's `breakGlass` asks for a second operator: not the one who suspended";
        return Err(Problem::forbidden("resume.second_operator", detail));
    }
    Ok(())
}
