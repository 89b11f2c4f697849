//! A trigger and an agent make a root task (A2).

use std::time::Duration;

use mandate_audit::{Decision, Event, What};
use mandate_model::ProviderName;
use mandate_model::mandate::{Budget, Mandate, MandateRequest, narrow};
use mandate_model::task::{Task, TaskChain, TaskPath, TaskRecord, TaskState, WireMandate};
use mandate_policy::decl::{TaskPolicy, TriggerRule};
use mandate_policy::{Ceiling, OpenRequest, TriggerEvidence};
use mandate_token::IdToken;

use super::error::{ExchangeError, FormError, GrantError, SubjectError};
use super::grant::record;
use super::parse::{ClaimedTrigger, Open, OpenSubject, RequestDetails};
use super::renew::{policies_for, task_grant, with_scope};
use super::subject::check_task_stops;
use super::{AuthenticatedClient, Effect, Fresh, Grant, World};

/// A person whose ID token held.
#[derive(Debug, Clone)]
pub struct Person {
    /// The provider that vouched.
    pub provider: ProviderName,
    /// The token.
    pub token: IdToken,
}

/// The provider whose ID token would begin this task; the shell verifies the token against it, and
/// against no address that the token names.
pub fn user_provider(
    client: &AuthenticatedClient,
    open: &Open,
    world: &World<'_>,
) -> Result<ProviderName, ExchangeError> {
    let purpose = purpose(&open.details)?;
    let provider = |policy: &'_ TaskPolicy| match &policy.trigger {
        TriggerRule::User(rule) => Some(rule.provider.clone()),
        TriggerRule::Schedule(_) | TriggerRule::Event(_) | TriggerRule::Operator => None,
    };
    policies_for(client.agent(), purpose, world)
        .find_map(provider)
        .ok_or_else(|| {
            let why = format!(
                "no task policy lets a person begin a task of `{}` for this purpose",
                client.agent()
            );
            ExchangeError::Grant(GrantError::Open(why))
        })
}

/// Grants the task token of a new root task.
///
/// `person` is the verified subject of an ID token; `None` where the agent begins on its own.
pub fn open(
    client: &AuthenticatedClient,
    open: &Open,
    person: Option<&Person>,
    world: &World<'_>,
    fresh: &Fresh,
) -> Result<Grant, ExchangeError> {
    let purpose = purpose(&open.details)?;
    check_beginning(&open.details, world)?;
    let evidence = match (&open.subject, person) {
        (OpenSubject::IdToken(_), Some(person)) => by_person(person, world)?,
        (OpenSubject::OwnSvid(token), None) => by_itself(client, token, &open.details)?,
        (OpenSubject::IdToken(_), None) | (OpenSubject::OwnSvid(_), Some(_)) => {
            let why = "the subject was not verified".to_owned();
            return Err(ExchangeError::Subject(SubjectError::Invalid(why)));
        }
    };
    let request = OpenRequest {
        opener: client.agent(),
        purpose,
        trigger: evidence,
        now: world.now,
    };
    let ceiling = world
        .bundle
        .open_task(&request)
        .map_err(|why| ExchangeError::Grant(GrantError::Open(why.to_string())))?;
    let mandate = root_mandate(open, &ceiling, world)?;
    let task = root_task(client, purpose, mandate, &ceiling, world, fresh);
    check_task_stops(&task, &[], &[], world)?;
    let opened = opened(&task, &ceiling, world);
    let mut effects = vec![Effect::OpenTask(Box::new(task.clone()))];
    effects.extend(person.map(|person| use_once(client, person)));
    let mut grant = task_grant(client, &task, task.record.mandate.clone(), world, fresh)?;
    grant.effects = effects;
    grant.live_tasks = Vec::new();
    grant.events = vec![opened];
    Ok(grant)
}

fn purpose(details: &RequestDetails) -> Result<&str, ExchangeError> {
    let missing = ExchangeError::Form(FormError::Missing("request_details.purpose"));
    details.purpose.as_deref().ok_or(missing)
}

fn by_person<'a>(
    person: &'a Person,
    world: &World<'_>,
) -> Result<TriggerEvidence<'a>, ExchangeError> {
    let token = &person.token;
    let age = world.lifetimes.id_token_age;
    if world.now.since(token.issued_at()) > age {
        return Err(ExchangeError::Subject(SubjectError::Stale(age.as_secs())));
    }
    Ok(TriggerEvidence::User {
        provider: &person.provider,
        subject: token.subject(),
        claims: token.claims(),
        issued_at: token.issued_at(),
    })
}

fn by_itself<'a>(
    client: &AuthenticatedClient,
    token: &str,
    details: &'a RequestDetails,
) -> Result<TriggerEvidence<'a>, ExchangeError> {
    if !client.is_own_svid(token) {
        return Err(ExchangeError::Subject(SubjectError::NotOwnSvid));
    }
    let missing = ExchangeError::Form(FormError::Missing("request_details.trigger"));
    Ok(match details.trigger.as_ref().ok_or(missing)? {
        ClaimedTrigger::Schedule { name, item } => TriggerEvidence::Schedule {
            name,
            item: item.as_deref(),
        },
        ClaimedTrigger::Event { name, item } => TriggerEvidence::Event {
            name,
            item: item.as_deref(),
        },
    })
}

/// The ceiling as a mandate, narrowed to what was asked for.
fn root_mandate(
    open: &Open,
    ceiling: &Ceiling,
    world: &World<'_>,
) -> Result<Mandate, ExchangeError> {
    let most = Mandate {
        entries: ceiling.entries.clone(),
        not_before: None,
        expires_at: world.now.plus(ceiling.max_duration).floor_to_secs(),
        budget: ceiling.budget,
        max_depth: ceiling.max_depth,
    };
    if let Some(entries) = &open.entries {
        check_declared(entries, world)?;
    }
    let details = &open.details;
    let request = MandateRequest {
        entries: open.entries.clone(),
        budget: Budget {
            max_accesses: details.budget.max_accesses.or(most.budget.max_accesses),
            max_children: details.budget.max_children.or(most.budget.max_children),
        },
        ..mandate_request(details, &most, world)
    };
    let mandate = narrow(&most, &request)
        .map_err(GrantError::Widening)
        .map_err(ExchangeError::Grant)?;
    let entries = with_scope(
        mandate.entries,
        open.entries.is_some(),
        open.scope.as_deref(),
    )?;
    if entries.is_empty() {
        return Err(ExchangeError::Grant(GrantError::Empty));
    }
    Ok(Mandate { entries, ..mandate })
}

/// What `request_details` ask for, entries aside. A time beyond the parent's is shortened to it:
/// who asks for ten minutes of a task that has nine left means "as long as it lasts".
pub(super) fn mandate_request(
    details: &RequestDetails,
    parent: &Mandate,
    world: &World<'_>,
) -> MandateRequest {
    let wanted = details.expires_in.map(|secs| {
        world
            .now
            .plus(Duration::from_secs(secs))
            .floor_to_secs()
            .min(parent.expires_at)
    });
    // Tokens speak in whole seconds; a beginning is rounded up, never down.
    let from = details
        .not_before
        .map(|t| t.plus(Duration::from_millis(999)).floor_to_secs());
    MandateRequest {
        entries: None,
        not_before: from,
        expires_at: wanted,
        budget: details.budget,
        max_depth: details.max_depth,
    }
}

/// A beginning that has passed is a mistake, most likely in the unit: it is in milliseconds.
pub(super) fn check_beginning(
    details: &RequestDetails,
    world: &World<'_>,
) -> Result<(), ExchangeError> {
    match details.not_before {
        Some(from) if from < world.now.floor_to_secs() => {
            let why = "`not_before` has passed; it is in milliseconds since the epoch".to_owned();
            let parameter = "request_details";
            Err(ExchangeError::Form(FormError::Malformed { parameter, why }))
        }
        Some(_) | None => Ok(()),
    }
}

pub(super) fn check_declared(
    entries: &mandate_model::mandate::Entries,
    world: &World<'_>,
) -> Result<(), ExchangeError> {
    world
        .bundle
        .check_entries(entries)
        .map_err(|why| ExchangeError::Grant(GrantError::Undeclared(why.to_string())))
}

fn root_task(
    client: &AuthenticatedClient,
    purpose: &str,
    mandate: Mandate,
    ceiling: &Ceiling,
    world: &World<'_>,
    fresh: &Fresh,
) -> Task {
    let budget = mandate.budget;
    let record = TaskRecord {
        id: fresh.task,
        parent: None,
        mandate,
        delegator: client.actor().clone(),
        may_act: client.actor().sub.clone(),
    };
    Task {
        path: TaskPath::root_of(fresh.task),
        chain: TaskChain::after(&TaskChain::ORIGIN, &record),
        principal: ceiling.principal.clone(),
        trigger: ceiling.trigger.clone(),
        purpose: purpose.to_owned(),
        act: mandate_model::ActChain::empty(),
        // A root task belongs to the instance that opened it, unless its policy says that any
        // instance of the type may go on with it (A3).
        instance: (!ceiling.resume_by_type).then(|| client.actor().inst.clone()),
        state: TaskState::Open,
        remaining: budget,
        created_at: world.now,
        record,
    }
}

fn opened(task: &Task, ceiling: &Ceiling, world: &World<'_>) -> Event {
    let what = What::TaskOpened {
        purpose: task.purpose.clone(),
        mandate: WireMandate::from(&task.record.mandate),
        chain: task.chain,
        policy: ceiling.policy.clone(),
    };
    let (bundle, stops) = (world.bundle_version, world.stops.version());
    Event {
        actors: vec![task.record.delegator.clone()],
        task: Some(task.path.clone()),
        principal: Some(task.principal.clone()),
        trigger: Some(task.trigger.clone()),
        policies: vec![ceiling.policy.clone()],
        ..record(what, Decision::Allowed, world.now, bundle, stops)
    }
}

/// An ID token begins one task per agent type (A2).
fn use_once(client: &AuthenticatedClient, person: &Person) -> Effect {
    Effect::UseOnce {
        scope: format!("id-token/{}", client.agent()),
        id: format!("{}/{}", person.provider, person.token.replay_id()),
        // Verifiers allow for other people's clocks; so does our memory.
        until: person.token.expires_at().plus(Duration::from_secs(120)),
    }
}
