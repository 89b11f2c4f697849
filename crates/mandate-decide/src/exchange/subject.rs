//! The task token as a subject: signature, tree and lineage must all agree (FAILURES 4).

use mandate_model::mandate::Mandate;
use mandate_model::stop::{Lineage, Shown};
use mandate_model::task::Task;
use mandate_model::{ActorLevel, KeyId, TaskId, Thumbprint, TokenId};
use mandate_token::{Audience, Expect, TaskToken, Verified};

use super::error::{ActorError, ExchangeError, SubjectError};
use super::renew::check_still_allowed;
use super::{AuthenticatedClient, World};

/// A task token whose signature, issuer, audience and times hold. The authority's own tree has not
/// been asked yet.
#[derive(Debug, Clone)]
pub struct TaskSubject {
    token: Verified<TaskToken>,
}

impl TaskSubject {
    /// The task that the token is of.
    pub fn task(&self) -> TaskId {
        self.token.claims().path.leaf()
    }

    /// The tasks that the tree must be asked about, root first.
    pub fn path(&self) -> impl Iterator<Item = TaskId> {
        self.token.claims().path.iter()
    }
}

/// A task token that the authority's tree confirms, whose task is live and whose lineage is free.
///
/// What the bundle says of the task now was not asked. That is enough to end it, and for nothing
/// else: ending authority needs none.
#[derive(Debug, Clone)]
pub struct KnownTask {
    token: TaskToken,
    key: KeyId,
    task: Task,
}

/// A [`KnownTask`] of which the bundle still allows each step down: the subject of an exchange.
#[derive(Debug, Clone)]
pub struct VerifiedSubject(KnownTask);

/// Verifies the token itself.
pub fn verify_task_token(token: &str, world: &World<'_>) -> Result<TaskSubject, ExchangeError> {
    let audience = Audience::parse(&world.trust_domain.id()).map_err(|why| invalid(&why))?;
    let expect = Expect {
        issuer: world.issuer,
        audience: &audience,
    };
    let token = world
        .signatures
        .task(token, world.keys)
        .and_then(|signed| signed.check(&expect, world.now))
        .map_err(|why| invalid(&why))?;
    Ok(TaskSubject { token })
}

impl TaskSubject {
    /// Holds the token against the tasks that the authority keeps, as [`TaskSubject::know`] does,
    /// and asks the bundle too: it must still allow each step down. What was allowed when a task
    /// began may not be any more.
    pub fn confirm(
        self,
        line: &[Task],
        world: &World<'_>,
    ) -> Result<VerifiedSubject, ExchangeError> {
        let known = self.know(line, world)?;
        line.iter()
            .try_for_each(|task| check_still_allowed(task, &task.record.mandate, world))?;
        Ok(VerifiedSubject(known))
    }

    /// Holds the token against the tasks that the authority keeps: `line` is what the store has for
    /// [`TaskSubject::path`], in that order. Each of them must be live, and nothing about them
    /// stopped.
    pub fn know(self, line: &[Task], world: &World<'_>) -> Result<KnownTask, ExchangeError> {
        let claims = self.token.claims();
        let known = line.iter().map(|task| task.record.id);
        let unknown = ExchangeError::Subject(SubjectError::UnknownTask(self.task()));
        if !known.eq(self.path()) {
            return Err(unknown);
        }
        let task = line.last().cloned().ok_or(unknown)?;
        if !agrees(claims, &task) {
            return Err(ExchangeError::Subject(SubjectError::TreeDisagrees));
        }
        if let Some(over) = line.iter().find(|task| !task.is_live(world.now)) {
            return Err(ExchangeError::Subject(SubjectError::TaskOver(
                over.record.id,
            )));
        }
        let known = KnownTask {
            token: claims.clone(),
            key: self.token.signed_by().clone(),
            task,
        };
        known.check_stops(world)?;
        Ok(known)
    }
}

impl KnownTask {
    /// The task as the authority keeps it.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Checks that `actor` is the agent that may act in the task (RFC 8693 §4.4), and the instance
    /// and the holder of the key that the task is pinned to, if it is (A5). `holder` is the key that
    /// it has proved to hold. Of an agent that was resumed the token must be newer than that, whoever
    /// it was issued to.
    pub fn check_actor(
        &self,
        actor: &ActorLevel,
        holder: Option<Thumbprint>,
        world: &World<'_>,
    ) -> Result<(), ExchangeError> {
        if actor.sub != self.task.record.may_act {
            return Err(ExchangeError::Actor(ActorError::MayAct));
        }
        world.stops.check(&Lineage {
            actors: std::slice::from_ref(actor),
            token: Some(self.shown()),
            ..Lineage::NONE
        })?;
        check_pinned(&self.task, actor, holder).map_err(ExchangeError::Actor)
    }

    fn check_stops(&self, world: &World<'_>) -> Result<(), ExchangeError> {
        check_task_stops(
            &self.task,
            std::slice::from_ref(&self.key),
            Some(self.shown()),
            world,
        )
    }

    fn shown(&self) -> Shown {
        Shown {
            id: self.token.id,
            stops: self.token.stops,
        }
    }
}

impl VerifiedSubject {
    /// The task as the authority keeps it.
    pub fn task(&self) -> &Task {
        &self.0.task
    }

    /// The mandate of the token: the task's, or what a renewal narrowed it to.
    pub fn mandate(&self) -> &Mandate {
        &self.0.token.mandate
    }

    /// The token's id.
    pub fn token(&self) -> TokenId {
        self.0.token.id
    }

    /// As [`KnownTask::check_actor`].
    pub fn check_actor(
        &self,
        client: &AuthenticatedClient,
        world: &World<'_>,
    ) -> Result<(), ExchangeError> {
        self.0.check_actor(client.actor(), client.holder(), world)
    }

    /// Checks that the mandate has begun.
    pub(super) fn check_begun(&self, world: &World<'_>) -> Result<(), ExchangeError> {
        match self.mandate().not_before {
            Some(from) if world.now < from => {
                Err(ExchangeError::Subject(SubjectError::NotYet(from)))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Checks that `actor` is the instance, and has the key, that the task is pinned to.
pub(super) fn check_pinned(
    task: &Task,
    actor: &ActorLevel,
    holder: Option<Thumbprint>,
) -> Result<(), ActorError> {
    if task.key.is_some() && task.key != holder {
        return Err(ActorError::PinnedKey);
    }
    match &task.instance {
        Some(pinned) if *pinned != actor.instance() => Err(ActorError::Pinned),
        Some(_) | None => Ok(()),
    }
}

/// Whether anything about a task is stopped.
pub(super) fn check_task_stops(
    task: &Task,
    keys: &[KeyId],
    token: Option<Shown>,
    world: &World<'_>,
) -> Result<(), ExchangeError> {
    let path: Vec<TaskId> = task.path.iter().collect();
    let delegator = task.record.delegator.agent();
    let actors: Vec<_> = delegator
        .into_iter()
        .chain(task.act.levels())
        .cloned()
        .collect();
    let lineage = Lineage {
        actors: &actors,
        path: &path,
        principal: Some(&task.principal),
        trigger_provider: task.trigger.provider.as_ref(),
        server: None,
        gateway: None,
        keys,
        recipient: Some(&task.record.may_act),
        operates: false,
        token,
        holder: None,
    };
    Ok(world.stops.check_at_home(&lineage)?)
}

/// Whether the token says of the task what the tree says. A renewed token may say less, never more.
fn agrees(claims: &TaskToken, task: &Task) -> bool {
    let (token, tree) = (&claims.mandate, &task.record.mandate);
    claims.path == task.path
        && claims.chain == task.chain
        && claims.principal == task.principal
        && claims.trigger == task.trigger
        && claims.purpose == task.purpose
        && claims.act == task.act
        && claims.may_act.sub == task.record.may_act
        && token.entries.are_within(&tree.entries)
        && token.expires_at <= tree.expires_at
        && token.not_before >= tree.not_before
        && token.max_depth <= tree.max_depth
        && token.budget == tree.budget
}

fn invalid(why: &dyn std::fmt::Display) -> ExchangeError {
    ExchangeError::Subject(SubjectError::Invalid(why.to_string()))
}
