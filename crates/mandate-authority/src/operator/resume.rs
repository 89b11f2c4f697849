//! `POST /operator/v1/resume`: lifts a suspension.
//!
//! What was issued under the subject before the suspension stays void: agents attest afresh.

use std::collections::BTreeSet;

use axum::extract::{Request, State};
use axum::response::Response;
use mandate_audit::What;
use mandate_model::TokenId;
use mandate_model::stop::Subject;
use mandate_policy::Target;
use mandate_policy::decl::Right;
use mandate_ports::{Change, Unit};

use super::caller::Operator;
use super::suspend::SubjectAndReason;
use crate::body;
use crate::breakglass;
use crate::listen::Connection;
use crate::problem::Problem;

/// Lifts a suspension.
#[utoipa::path(
    post, path = "/operator/v1/resume", tag = "operators",
    request_body = SubjectAndReason,
    responses(
        (status = 200, description = "It is lifted", body = Object),
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
    let lifted = lift(&at, &operator, asked).await;
    operator.outcome(&at, "resume", lifted).await
}

async fn lift(
    at: &Connection,
    operator: &Operator,
    asked: SubjectAndReason,
) -> Result<Response, Problem> {
    let authority = &at.authority;
    let world = authority.refresh().await?;
    let void = breakglass::outstanding(authority, &asked.subject, authority.now()).await?;
    let voided = void.len();
    let mut changes = vec![Change::Resume(asked.subject.clone())];
    // What an earlier resumption left void is so already, and need not be stored and told again.
    let already: BTreeSet<TokenId> = world.stops.revoked().map(|(token, _)| *token).collect();
    changes.extend(
        void.into_iter()
            .filter(|(token, _)| !already.contains(token))
            .map(|(token, until)| Change::RevokeToken { token, until }),
    );
    let what = What::Resumed {
        subject: asked.subject.clone(),
        version: world.stops.version().next(),
        reason: asked.reason,
    };
    // Whoever suspended it again since is not overruled unheard, and what was issued in between would
    // not be void.
    let unit = Unit {
        expect: Some(world.versions),
        changes,
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
    Ok(body::answer(&serde_json::json!({
        "subject": asked.subject,
        "version": committed.versions().stops,
        "tokens_void": voided,
    })))
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
