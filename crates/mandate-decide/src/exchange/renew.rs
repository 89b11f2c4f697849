//! Another token for a task that exists: renew and resume (A3). Every check runs again.

use mandate_audit::{Decision, Event, What};
use mandate_model::mandate::{Entries, Mandate, MandateRequest, narrow};
use mandate_model::task::{Delegator, Task};
use mandate_model::{ActionName, ActorLevel, AgentTypeName, OperatorName, ServerName};
use mandate_policy::StandingTask;
use mandate_policy::decl::{Right, TaskPolicy};
use mandate_token::{Audience, Confirmation, MayAct, TaskToken, parse_scope, scope_of};

use super::delegate::check_child;
use super::error::{ActorError, ExchangeError, GrantError, SubjectError};
use super::grant::{Claims, grantable, record};
use super::open::check_declared;
use super::subject::{VerifiedSubject, check_pinned, check_task_stops};
use super::{AuthenticatedClient, Effect, Fresh, Grant, World};

/// Grants another token of the subject's task, of the same mandate or a narrower one.
pub fn renew(
    client: &AuthenticatedClient,
    subject: &VerifiedSubject,
    entries: Option<&Entries>,
    scope: Option<&[String]>,
    world: &World<'_>,
    fresh: &Fresh,
) -> Result<Grant, ExchangeError> {
    subject.check_actor(client, world)?;
    let parent = subject.mandate();
    if let Some(entries) = entries {
        check_declared(entries, world)?;
    }
    let whole = parent.to_request();
    let request = MandateRequest {
        entries: entries.cloned().or(whole.entries.clone()),
        ..whole
    };
    let mandate = narrow(parent, &request)
        .map_err(GrantError::Widening)
        .map_err(ExchangeError::Grant)?;
    let entries = with_scope(mandate.entries, entries.is_some(), scope)?;
    let mandate = Mandate { entries, ..mandate };
    let mut grant = task_grant(Some(client.actor()), subject.task(), mandate, world, fresh)?;
    grant.effects.extend(pin(client, subject.task(), world)?);
    Ok(grant.to(client))
}

/// Issues again for `task`, on the word of the agent that delegated it and holds `parent`'s token.
pub fn resume_by_parent(
    client: &AuthenticatedClient,
    parent: &VerifiedSubject,
    task: &Task,
    world: &World<'_>,
    fresh: &Fresh,
) -> Result<Grant, ExchangeError> {
    parent.check_actor(client, world)?;
    if task.record.parent != Some(parent.task().record.id) {
        return Err(ExchangeError::Actor(ActorError::NotDelegator));
    }
    reissue(client, task, world, fresh)
}

/// Issues again for the root task `task`, for the agent that opened it: by instance, or by type
/// where the task policy says so.
pub fn resume_by_opener(
    client: &AuthenticatedClient,
    subject_token: &str,
    task: &Task,
    world: &World<'_>,
    fresh: &Fresh,
) -> Result<Grant, ExchangeError> {
    if !client.is_own_svid(subject_token) {
        return Err(ExchangeError::Subject(SubjectError::NotOwnSvid));
    }
    // Who opened a root task, or had it opened by an operator, is who may act in it.
    let same_type = task.record.may_act == client.actor().sub;
    let same_instance = check_pinned(task, client.actor(), client.holder()).is_ok();
    if task.record.parent.is_some() || !same_type || !same_instance {
        return Err(ExchangeError::Actor(ActorError::NotDelegator));
    }
    if awaits_instance(task, world) {
        return Err(ExchangeError::Actor(ActorError::Unused));
    }
    reissue(client, task, world, fresh)
}

/// Whether nobody has taken the opener's place yet in a root task that an operator opened, and the
/// task policy asks for somebody to (A3). Who can only name such a task was not handed it.
fn awaits_instance(task: &Task, world: &World<'_>) -> bool {
    let by_operator = matches!(task.record.delegator, Delegator::Operator(_));
    by_operator && task.instance.is_none() && !resumes_by_type(task, world)
}

fn resumes_by_type(task: &Task, world: &World<'_>) -> bool {
    let says_so =
        |policy: &TaskPolicy| policy.trigger.is_for(&task.trigger) && policy.resume_by_type;
    let opener = task.record.may_act.agent_type();
    opener.is_some_and(|opener| policies_for(&opener, &task.purpose, world).any(says_so))
}

fn reissue(
    client: &AuthenticatedClient,
    task: &Task,
    world: &World<'_>,
    fresh: &Fresh,
) -> Result<Grant, ExchangeError> {
    if !task.is_live(world.now) {
        return Err(ExchangeError::Subject(SubjectError::TaskOver(
            task.record.id,
        )));
    }
    check_task_stops(task, &[], None, world)?;
    let mandate = task.record.mandate.clone();
    check_still_allowed(task, &mandate, world)?;
    let grant = task_grant(Some(client.actor()), task, mandate, world, fresh)?;
    Ok(grant.to(client))
}

/// What was allowed when the task began may not be any more: the bundle is asked again.
pub(super) fn check_still_allowed(
    task: &Task,
    mandate: &Mandate,
    world: &World<'_>,
) -> Result<(), ExchangeError> {
    check_declared(&mandate.entries, world)?;
    let disagrees = || ExchangeError::Subject(SubjectError::TreeDisagrees);
    let record = &task.record;
    if record.parent.is_some() {
        let parent = record.delegator.agent();
        let parent = parent.and_then(|level| level.sub.agent_type());
        let parent = parent.ok_or_else(disagrees)?;
        return check_child(&parent, &record.may_act, &mandate.entries, world).map(drop);
    }
    if let Delegator::Operator(opened) = &record.delegator {
        check_opens(&opened.operator, world)?;
    }
    let opener = record.may_act.agent_type().ok_or_else(disagrees)?;
    still_opens(&opener, task, world)
}

/// The operator who opened a root task must still be one who opens tasks.
pub(super) fn check_opens(operator: &OperatorName, world: &World<'_>) -> Result<(), ExchangeError> {
    if world.bundle.still_holds(operator, Right::Tasks) {
        return Ok(());
    }
    let gone = GrantError::Operator(operator.to_string());
    Err(ExchangeError::Grant(gone))
}

/// A root task needs a task policy that still covers all that it was opened with.
fn still_opens(
    opener: &AgentTypeName,
    task: &Task,
    world: &World<'_>,
) -> Result<(), ExchangeError> {
    let standing = StandingTask {
        opener,
        purpose: &task.purpose,
        trigger: &task.trigger,
        opened_at: task.created_at,
        mandate: &task.record.mandate,
    };
    world
        .bundle
        .still_opens(&standing)
        .map_err(|why| ExchangeError::Grant(GrantError::Open(why.to_string())))
}

/// The task policies by which `opener` opens tasks of `purpose`.
pub(super) fn policies_for<'a>(
    opener: &AgentTypeName,
    purpose: &str,
    world: &World<'a>,
) -> impl Iterator<Item = &'a TaskPolicy> {
    world
        .bundle
        .task_policies()
        .filter(move |p| p.opener == *opener && p.purpose == purpose)
}

/// The first use of a task pins it, where the agent's type says so (A5), and where an operator
/// opened it for whoever uses it first (A3).
pub(super) fn pin(
    client: &AuthenticatedClient,
    task: &Task,
    world: &World<'_>,
) -> Result<Option<Effect>, ExchangeError> {
    let wants = client.declaration(world)?.pin == mandate_policy::decl::Pin::Instance
        || awaits_instance(task, world);
    let unpinned = task.instance.is_none();
    let (task, instance) = (task.record.id, client.actor().instance());
    Ok((wants && unpinned).then_some(Effect::PinInstance { task, instance }))
}

/// A task token of `task` with `mandate`, and the record of it. `asker` is the agent that asks;
/// `None` where an operator does.
pub(super) fn task_grant(
    asker: Option<&ActorLevel>,
    task: &Task,
    mandate: Mandate,
    world: &World<'_>,
    fresh: &Fresh,
) -> Result<Grant, ExchangeError> {
    let audience = Audience::parse(&world.trust_domain.id())
        .map_err(|why| ExchangeError::Subject(SubjectError::Invalid(why.to_string())))?;
    let scope = scope_of(&mandate.entries);
    let claims = TaskToken {
        issuer: world.issuer.clone(),
        audience,
        principal: task.principal.clone(),
        requesting_workload: match asker {
            Some(agent) => agent.sub.clone(),
            None => world.trust_domain.authority(),
        },
        may_act: MayAct {
            sub: task.record.may_act.clone(),
            inst: task.instance.as_ref().map(|pinned| pinned.id.clone()),
            prv: task.instance.as_ref().map(|pinned| pinned.provider.clone()),
            cnf: task.key.map(Confirmation::Jkt),
        },
        act: task.act.clone(),
        trigger: task.trigger.clone(),
        purpose: task.purpose.clone(),
        path: task.path.clone(),
        chain: task.chain,
        id: fresh.token,
        stops: world.stops.version(),
        issued_at: world.now,
        expires_at: world
            .now
            .plus(world.lifetimes.task_token)
            .min(mandate.expires_at),
        mandate,
    };
    let claims = grantable(claims)?;
    Ok(Grant {
        claims: Claims::Task(claims),
        effects: Vec::new(),
        live_tasks: vec![task.record.id],
        held: None,
        scope: Some(scope),
        events: Vec::new(),
        template: template(asker, task, world),
    })
}

/// A record with everything that an exchange of `asker` about `task` knows: who asks, then who
/// delegated. Who delegates asks and stands in `act` already, so the outermost level is not told
/// twice; every other one is, though an agent may have delegated to its own type.
pub(super) fn template(asker: Option<&ActorLevel>, task: &Task, world: &World<'_>) -> Event {
    let (bundle, stops) = (world.bundle_version, world.stops.version());
    let levels = task.act.levels();
    let delegators = match levels.split_first() {
        Some((outermost, others)) if Some(outermost) == asker => others,
        Some(_) | None => levels,
    };
    let actors = asker.into_iter().chain(delegators).cloned().collect();
    Event {
        actors,
        task: Some(task.path.clone()),
        principal: Some(task.principal.clone()),
        trigger: Some(task.trigger.clone()),
        ..record(TO_BE_SAID, Decision::Allowed, world.now, bundle, stops)
    }
}

/// What a template says before it is made the record of something.
const TO_BE_SAID: What = What::Refused {
    step: String::new(),
    error: String::new(),
};

/// Brings `scope` and the granted entries together (A10). With explicit `authorization_details` the
/// scope must be theirs; alone it picks among what would be granted. Never the other way round.
pub(super) fn with_scope(
    entries: Entries,
    explicit: bool,
    scope: Option<&[String]>,
) -> Result<Entries, ExchangeError> {
    let Some(words) = scope else {
        return Ok(entries);
    };
    let mismatch = || ExchangeError::Grant(GrantError::ScopeMismatch);
    let asked = parse_scope(&words.join(" ")).map_err(|_| mismatch())?;
    let asked: Vec<(&ServerName, &ActionName)> = asked.iter().collect();
    let granted =
        |word: &(&ServerName, &ActionName)| entries.for_action(word.0, word.1).next().is_some();
    if !asked.iter().all(granted) {
        return Err(mismatch());
    }
    let wanted = |e: &mandate_model::mandate::Entry| asked.contains(&(&e.server, &e.action));
    if explicit && !entries.iter().all(wanted) {
        return Err(mismatch());
    }
    let picked = entries.iter().filter(|e| wanted(e)).cloned().collect();
    Entries::normalize(picked).map_err(|_| mismatch())
}
