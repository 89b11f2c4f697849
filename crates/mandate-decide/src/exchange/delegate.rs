//! A part of a task's mandate, for a sub-agent and its task alone.

use mandate_audit::{Decision, Event, What};
use mandate_model::mandate::{Entries, MandateRequest, narrow};
use mandate_model::stop::{Stopped, Subject};
use mandate_model::task::{Task, TaskChain, TaskRecord, TaskState, WireMandate};
use mandate_model::{AgentTypeName, MAX_ACT_LEVELS, SpiffeId};
use mandate_policy::decl::AgentType;

use super::attest::declared_agent;
use super::error::{ExchangeError, GrantError};
use super::grant::record;
use super::open::{check_beginning, check_declared, mandate_request};
use super::parse::Delegate;
use super::renew::{pin, task_grant, template, with_scope};
use super::subject::VerifiedSubject;
use super::{AuthenticatedClient, Effect, Fresh, Grant, World};

/// Grants the task token of a child task.
///
/// Four rights are asked for separately (A6): `client` may act in the parent task, the parent's
/// mandate covers what is handed on, the client's type may spawn the child's with it, and the
/// child's type could use it.
pub fn delegate(
    client: &AuthenticatedClient,
    asked: &Delegate,
    subject: &VerifiedSubject,
    world: &World<'_>,
    fresh: &Fresh,
) -> Result<Grant, ExchangeError> {
    subject.check_actor(client, world)?;
    subject.check_begun(world)?;
    check_beginning(&asked.details, world)?;
    check_declared(&asked.entries, world)?;
    let request = MandateRequest {
        entries: Some(asked.entries.clone()),
        ..mandate_request(&asked.details, subject.mandate(), world)
    };
    let mandate = narrow(subject.mandate(), &request)
        .map_err(GrantError::Widening)
        .map_err(ExchangeError::Grant)?;
    with_scope(mandate.entries.clone(), true, asked.scope.as_deref())?;
    if mandate.entries.is_empty() {
        return Err(ExchangeError::Grant(GrantError::Empty));
    }
    let child = check_child(client.agent(), &asked.child, &mandate.entries, world)?;
    let record = TaskRecord {
        id: fresh.task,
        parent: Some(subject.task().record.id),
        mandate,
        delegator: client.actor().clone().into(),
        may_act: child.id.clone(),
    };
    let task = child_task(client, subject.task(), record, world)?;
    let task = Task {
        key: asked.key,
        ..task
    };
    let asker = Some(client.actor());
    let mut grant = task_grant(asker, &task, task.record.mandate.clone(), world, fresh)?;
    grant.live_tasks = vec![subject.task().record.id];
    grant.events = vec![delegated(client, &task, world)];
    grant.effects = vec![Effect::DelegateTask(Box::new(task))];
    grant.effects.extend(pin(client, subject.task(), world)?);
    Ok(grant.to(client))
}

/// Whether a task of type `child` with `entries` may exist below one of type `parent`.
pub(super) fn check_child<'a>(
    parent: &AgentTypeName,
    child: &SpiffeId,
    entries: &Entries,
    world: &World<'a>,
) -> Result<&'a AgentType, ExchangeError> {
    let child = declared_agent(child, world)?;
    world
        .bundle
        .may_spawn(parent, &child.name, entries)
        .map_err(|why| ExchangeError::Grant(GrantError::Spawn(why.to_string())))?;
    let subject = Subject::Agent {
        id: child.id.clone(),
    };
    if world.stops.suspension(&subject).is_some() {
        return Err(ExchangeError::Stopped(Stopped::Suspended(subject)));
    }
    let unusable = entries.iter().find(|entry| {
        !world
            .bundle
            .could_come_about(&child.name, &entry.server, &entry.action)
    });
    match unusable {
        None => Ok(child),
        Some(entry) => Err(ExchangeError::Grant(GrantError::NeverExercised {
            agent: child.name.to_string(),
            word: format!("{}:{}", entry.server, entry.action),
        })),
    }
}

fn child_task(
    client: &AuthenticatedClient,
    parent: &Task,
    record: TaskRecord,
    world: &World<'_>,
) -> Result<Task, ExchangeError> {
    let too_deep = |limit| ExchangeError::Grant(GrantError::Depth(limit));
    let limit = record.mandate.max_depth;
    let path = parent
        .path
        .child(record.id)
        .filter(|path| path.depth() <= limit);
    let act_limit = u8::try_from(MAX_ACT_LEVELS).unwrap_or(u8::MAX);
    // The child's own level comes on top in its access tokens, so it must fit as well.
    let act = parent.act.pushed(client.actor().clone());
    let act = act.filter(|act| act.levels().len() < MAX_ACT_LEVELS);
    Ok(Task {
        path: path.ok_or_else(|| too_deep(limit))?,
        chain: TaskChain::after(&parent.chain, &record),
        principal: parent.principal.clone(),
        trigger: parent.trigger.clone(),
        purpose: parent.purpose.clone(),
        act: act.ok_or_else(|| too_deep(act_limit))?,
        instance: None,
        key: None,
        state: TaskState::Open,
        remaining: record.mandate.budget,
        created_at: world.now,
        record,
    })
}

fn delegated(client: &AuthenticatedClient, task: &Task, world: &World<'_>) -> Event {
    let what = What::TaskDelegated {
        may_act: task.record.may_act.clone(),
        mandate: WireMandate::from(&task.record.mandate),
        chain: task.chain,
    };
    let (bundle, stops) = (world.bundle_version, world.stops.version());
    let noted = record(what, Decision::Allowed, world.now, bundle, stops);
    Event {
        what: noted.what,
        ..template(Some(client.actor()), task, world)
    }
}
