//! `POST /operator/v1/resume`: lifts a suspension.
//!
//! What was issued under the subject before stays void: agents attest afresh.

use axum::extract::{Request, State};
use axum::response::Response;
use mandate_audit::What;
use mandate_model::stop::{Resumption, Subject};
use mandate_model::{StopVersion, Timestamp};
use mandate_policy::Target;
use mandate_policy::decl::Right;
use mandate_ports::{Change, Unit};

use super::caller::Operator;
use super::suspend::SubjectAndReason;
use crate::body;
use crate::breakglass;
use crate::listen::Connection;
use crate::problem::Problem;

/// What a resumption left.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(crate) struct Resumed {
    /// Who goes on.
    #[schema(value_type = Object)]
    subject: Subject,
    /// The version of the stops with which it goes on. Whatever was issued under it before is void.
    #[schema(value_type = u64)]
    version: StopVersion,
    /// How many tokens of these had not expired; absent if the log could not be read in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_void: Option<u64>,
    /// Whether there are more than were counted.
    at_least: bool,
}

/// Lifts a suspension.
#[utoipa::path(
    post, path = "/operator/v1/resume", tag = "operators",
    request_body = SubjectAndReason,
    responses(
        (status = 200, description = "It is lifted", body = Resumed),
        (status = 403, description = "Not permitted, or a second operator's to decide", body = crate::openapi::ProblemBody),
        (status = 409, description = "Nothing of the kind is suspended, or something was suspended or resumed since it was asked for", body = crate::openapi::ProblemBody),
    ),
)]
pub(crate) async fn resume(
    State(at): State<Connection>,
    request: Request,
) -> Result<Response, Problem> {
    let asked = SubjectAndReason::read(request).await?;
    let target = Target::from(&asked.subject);
    let operator = Operator::permitted(&at, "resume", Right::Resume, Some(&target)).await?;
    let lifted = lift(&at, &target, asked).await;
    operator.outcome(&at, "resume", lifted).await
}

async fn lift(
    at: &Connection,
    target: &Target,
    asked: SubjectAndReason,
) -> Result<Response, Problem> {
    let authority = &at.authority;
    let world = authority.refresh().await?;
    // Once more, of a state that the commit expects: whoever was suspended meanwhile lifts nothing, and
    // least of all that.
    let operator = &Operator::permitted(at, "resume", Right::Resume, Some(target)).await?;
    let what = What::Resumed {
        subject: asked.subject.clone(),
        version: world.stops.version().next(),
        reason: asked.reason,
    };
    // Nothing is read of what it voids: that is told by the version that it gets. Whoever suspended it
    // again since this was asked for is not overruled unheard.
    let unit = Unit {
        expect: Some(world.versions),
        changes: vec![Change::Resume(asked.subject.clone())],
        events: vec![operator.event(authority, what)],
        ..Unit::default()
    };
    let committed = {
        // Alone, as a suspension: whoever suspends the same again is wholly before or after.
        let _alone = authority.gate().write().await;
        if may_lift(at, &asked.subject, operator).await? {
            Some(authority.commit_held(unit).await?)
        } else {
            None
        }
    };
    let Some(committed) = committed else {
        let detail = "this agent type is resumed by another operator than those who suspended it: its `breakGlass` says so, or cannot be read";
        let rule = "resume.second_operator";
        return Err(operator
            .refused(at, "resume", rule, detail.to_owned())
            .await);
    };
    tracing::warn!(subject = %asked.subject, operator = %operator.name(), "a suspension is lifted");
    let resumption = Resumption {
        subject: asked.subject.clone(),
        version: committed.versions().stops,
        until: Timestamp::from_millis(0),
    };
    let void = breakglass::left_void(authority, resumption, authority.now()).await;
    Ok(body::answer(&Resumed {
        subject: asked.subject,
        version: committed.versions().stops,
        tokens_void: void.as_ref().map(|void| void.tokens_void),
        at_least: void.is_some_and(|void| void.at_least),
    }))
}

/// Where the bundle says so, or cannot be read, another operator resumes than those who suspended.
async fn may_lift(
    at: &Connection,
    subject: &Subject,
    operator: &Operator,
) -> Result<bool, Problem> {
    if !needs_second(at, subject).await? {
        return Ok(true);
    }
    let suspenders = at.authority.ports().state.suspenders(subject).await?;
    Ok(!suspenders.iter().any(|who| operator.is(at, who)))
}

/// A name that no bundle ever declared stopped nobody, and lifting it lets nobody go on. One that was
/// declared once may be again: to take it out of the bundle first must not spare the second operator.
async fn needs_second(at: &Connection, subject: &Subject) -> Result<bool, Problem> {
    let Subject::Agent { id } = subject else {
        return Ok(false);
    };
    let world = at.authority.refresh().await?;
    let Some(live) = world.bundle() else {
        return Ok(true);
    };
    match live.bundle.agent_by_id(id) {
        Some(agent) => Ok(agent.break_glass.resume_needs_second_operator),
        None => Ok(breakglass::was_ever_declared(&at.authority, id).await?),
    }
}
