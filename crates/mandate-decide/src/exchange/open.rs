//! A trigger and an agent make a root task (A2).

use std::time::Duration;

use mandate_audit::{Decision, Event, What};
use mandate_model::mandate::{Budget, Entries, Mandate, MandateRequest, narrow};
use mandate_model::task::{Task, TaskChain, TaskPath, TaskRecord, TaskState, WireMandate};
use mandate_model::{ActorLevel, Instance, ProviderName};
use mandate_policy::decl::ProviderKind;
use mandate_policy::{Ceiling, OpenRequest, TriggerEvidence};
use mandate_token::{IdToken, UnverifiedIdToken};

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

/// The providers whose ID tokens could begin this task; the shell verifies `token` against them, and
/// against no address that the token names.
///
/// Those of the issuer that it says it is of: more than one only where they differ in audience, and
/// then it holds for one of them at most. Where there is none of that issuer it is one that refuses.
pub fn user_providers(
    client: &AuthenticatedClient,
    open: &Open,
    token: &str,
    world: &World<'_>,
) -> Result<Vec<ProviderName>, ExchangeError> {
    let purpose = purpose(&open.details)?;
    let policies = policies_for(client.agent(), purpose, world);
    let declared: Vec<&ProviderName> = policies.filter_map(|p| p.trigger.provider()).collect();
    let Some(first) = declared.first() else {
        let why = format!(
            "no task policy lets a person begin a task of `{}` for this purpose",
            client.agent()
        );
        return Err(ExchangeError::Grant(GrantError::Open(why)));
    };
    let unverified = UnverifiedIdToken::parse(token).ok();
    let claimed = unverified.as_ref().and_then(|t| t.untrusted_issuer());
    let of_issuer = |name: &&&ProviderName| issuer_of(name, world) == claimed;
    let mut named: Vec<ProviderName> = declared
        .iter()
        .filter(of_issuer)
        .map(|name| (*name).clone())
        .collect();
    if named.is_empty() {
        named.push((*first).clone());
    }
    Ok(named)
}

fn issuer_of<'a>(name: &ProviderName, world: &World<'a>) -> Option<&'a str> {
    match world.bundle.provider(name).map(|provider| &provider.kind) {
        Some(ProviderKind::Oidc(oidc)) => Some(&oidc.issuer),
        Some(ProviderKind::Process | ProviderKind::Token(_) | ProviderKind::Aws(_)) | None => None,
    }
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
    let mandate = root_mandate(
        open.entries.as_ref(),
        open.scope.as_deref(),
        &open.details,
        &ceiling,
        world,
    )?;
    let record = TaskRecord {
        id: fresh.task,
        parent: None,
        mandate,
        delegator: client.actor().clone().into(),
        may_act: client.actor().sub.clone(),
    };
    // A root task belongs to the instance that opened it, unless its policy says that any
    // instance of the type may go on with it (A3).
    let instance = (!ceiling.resume_by_type).then(|| client.actor().instance());
    let task = root_task(record, instance, purpose, &ceiling, world);
    let mut grant = root_grant(Some(client.actor()), &task, &ceiling, world, fresh)?;
    let once = person.map(|person| use_once(client, person));
    grant.effects.extend(once);
    Ok(grant.to(client))
}

/// The grant of a root task that begins, if nothing about it is stopped. `asker` as
/// [`task_grant`] has it.
pub(super) fn root_grant(
    asker: Option<&ActorLevel>,
    task: &Task,
    ceiling: &Ceiling,
    world: &World<'_>,
    fresh: &Fresh,
) -> Result<Grant, ExchangeError> {
    check_task_stops(task, &[], None, world)?;
    let grant = task_grant(asker, task, task.record.mandate.clone(), world, fresh)?;
    Ok(Grant {
        effects: vec![Effect::OpenTask(Box::new(task.clone()))],
        live_tasks: Vec::new(),
        events: vec![opened(task, ceiling, world)],
        ..grant
    })
}

pub(super) fn purpose(details: &RequestDetails) -> Result<&str, ExchangeError> {
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
pub(super) fn root_mandate(
    entries: Option<&Entries>,
    scope: Option<&[String]>,
    details: &RequestDetails,
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
    if let Some(entries) = entries {
        check_declared(entries, world)?;
    }
    let explicit = entries.is_some();
    let request = MandateRequest {
        entries: entries.cloned(),
        budget: Budget {
            max_accesses: details.budget.max_accesses.or(most.budget.max_accesses),
            max_children: details.budget.max_children.or(most.budget.max_children),
        },
        ..mandate_request(details, &most, world)
    };
    let mandate = narrow(&most, &request)
        .map_err(GrantError::Widening)
        .map_err(ExchangeError::Grant)?;
    let entries = with_scope(mandate.entries, explicit, scope)?;
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

pub(super) fn check_declared(entries: &Entries, world: &World<'_>) -> Result<(), ExchangeError> {
    world
        .bundle
        .check_entries(entries)
        .map_err(|why| ExchangeError::Grant(GrantError::Undeclared(why.to_string())))
}

pub(super) fn root_task(
    record: TaskRecord,
    instance: Option<Instance>,
    purpose: &str,
    ceiling: &Ceiling,
    world: &World<'_>,
) -> Task {
    Task {
        path: TaskPath::root_of(record.id),
        chain: TaskChain::after(&TaskChain::ORIGIN, &record),
        principal: ceiling.principal.clone(),
        trigger: ceiling.trigger.clone(),
        purpose: purpose.to_owned(),
        act: mandate_model::ActChain::empty(),
        instance,
        key: None,
        state: TaskState::Open,
        remaining: record.mandate.budget,
        created_at: world.now,
        record,
    }
}

fn opened(task: &Task, ceiling: &Ceiling, world: &World<'_>) -> Event {
    let opener = task.record.delegator.agent();
    let what = What::TaskOpened {
        purpose: task.purpose.clone(),
        mandate: WireMandate::from(&task.record.mandate),
        chain: task.chain,
        policy: ceiling.policy.clone(),
        may_act: opener.is_none().then(|| task.record.may_act.clone()),
    };
    let (bundle, stops) = (world.bundle_version, world.stops.version());
    Event {
        actors: opener.cloned().into_iter().collect(),
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
