//! A task token for an access token of one server workload.

use std::num::NonZeroU32;
use std::time::Duration;

use mandate_audit::Event;
use mandate_model::mandate::{Entries, Entry, MandateRequest, narrow};
use mandate_model::stop::Lineage;
use mandate_policy::decl::{AccessPolicy, Possession, ServerWorkload};
use mandate_token::{AccessToken, ActingChain, Audience, Confirmation, scope_of};

use super::error::{ExchangeError, GrantError};
use super::grant::{Claims, fitting};
use super::open::check_declared;
use super::renew::{pin, template, with_scope};
use super::subject::VerifiedSubject;
use super::{AuthenticatedClient, Effect, Fresh, Grant, World};

/// Grants an access token for the server workload with the resource indicator `resource`: the part
/// of the task's mandate for it that was asked for and that an access policy lets the agent use.
pub fn access(
    client: &AuthenticatedClient,
    subject: &VerifiedSubject,
    resource: &str,
    (entries, scope): (Option<&Entries>, Option<&[String]>),
    world: &World<'_>,
    fresh: &Fresh,
) -> Result<Grant, ExchangeError> {
    subject.check_actor(client, world)?;
    subject.check_begun(world)?;
    let server = world
        .bundle
        .server_by_resource(resource)
        .ok_or(ExchangeError::Grant(GrantError::NoSuchResource))?;
    world.stops.check(&Lineage {
        server: Some(&server.name),
        ..Lineage::NONE
    })?;
    let granted = granted_entries(subject, server, entries, scope, world)?;
    check_bound(client, server)?;
    let exercisable = exercisable(
        client,
        server,
        granted,
        entries.is_some() || scope.is_some(),
        world,
    )?;
    let grant = token(client, subject, server, exercisable, world, fresh)?;
    Ok(grant.to(client))
}

/// What a server workload that says `proof: required` needs.
fn check_bound(client: &AuthenticatedClient, server: &ServerWorkload) -> Result<(), ExchangeError> {
    if server.proof == Possession::Required && client.holder().is_none() {
        let server = server.name.to_string();
        return Err(ExchangeError::Grant(GrantError::ProofRequired { server }));
    }
    Ok(())
}

/// What the task's mandate has for the server, narrowed to what was asked for.
fn granted_entries(
    subject: &VerifiedSubject,
    server: &ServerWorkload,
    entries: Option<&Entries>,
    scope: Option<&[String]>,
    world: &World<'_>,
) -> Result<Entries, ExchangeError> {
    let held = subject.mandate().entries.for_server(&server.name);
    if held.is_empty() {
        return Err(ExchangeError::Grant(GrantError::NothingForServer));
    }
    if let Some(entries) = entries {
        check_declared(entries, world)?;
    }
    let held = mandate_model::mandate::Mandate {
        entries: held,
        ..subject.mandate().clone()
    };
    let request = MandateRequest {
        entries: Some(entries.unwrap_or(&held.entries).clone()),
        ..held.to_request()
    };
    let narrowed = narrow(&held, &request)
        .map_err(GrantError::Widening)
        .map_err(ExchangeError::Grant)?;
    with_scope(narrowed.entries, entries.is_some(), scope)
}

/// Drops what no access policy could ever let the agent do. Asked for by name it is an error, so
/// that nobody takes a smaller token for the one that they wanted.
fn exercisable(
    client: &AuthenticatedClient,
    server: &ServerWorkload,
    granted: Entries,
    by_name: bool,
    world: &World<'_>,
) -> Result<Entries, ExchangeError> {
    let refused = || {
        ExchangeError::Grant(GrantError::DefaultDeny {
            agent: client.agent().to_string(),
            server: server.name.to_string(),
        })
    };
    let could = |e: &&Entry| {
        world
            .bundle
            .could_exercise(client.agent(), &e.server, &e.action)
    };
    let kept: Vec<Entry> = granted.iter().filter(could).cloned().collect();
    if kept.is_empty() || (by_name && kept.len() < granted.len()) {
        return Err(refused());
    }
    Entries::normalize(kept).map_err(|_| refused())
}

fn token(
    client: &AuthenticatedClient,
    subject: &VerifiedSubject,
    server: &ServerWorkload,
    entries: Entries,
    world: &World<'_>,
    fresh: &Fresh,
) -> Result<Grant, ExchangeError> {
    let task = subject.task();
    let depth = || ExchangeError::Grant(GrantError::Depth(subject.mandate().max_depth));
    let acting = task
        .act
        .pushed(client.actor().clone())
        .and_then(ActingChain::new)
        .ok_or_else(depth)?;
    let mandate = subject.mandate();
    let lifetime = lifetime(client, server, &entries, world);
    let counted = mandate.budget.max_accesses.is_some();
    let scope = scope_of(&entries);
    let audience = Audience::parse(&server.resource)
        .map_err(|_| ExchangeError::Grant(GrantError::NoSuchResource))?;
    let claims = AccessToken {
        issuer: world.issuer.clone(),
        audience,
        principal: task.principal.clone(),
        acting,
        entries,
        trigger: task.trigger.clone(),
        purpose: task.purpose.clone(),
        path: task.path.clone(),
        task_expires_at: mandate.expires_at,
        uses: counted.then_some(NonZeroU32::MIN),
        confirmation: client.holder().map(Confirmation::Jkt),
        id: fresh.token,
        stops: world.stops.version(),
        issued_at: world.now,
        not_before: mandate.not_before,
        expires_at: world.now.plus(lifetime).min(mandate.expires_at),
    };
    let claims = fitting(claims)?;
    let mut effects: Vec<Effect> = pin(client, task, world)?.into_iter().collect();
    if counted {
        effects.push(Effect::ReserveAccesses {
            task: task.record.id,
            count: 1,
        });
    }
    Ok(Grant {
        claims: Claims::Access(claims),
        effects,
        live_tasks: vec![task.record.id],
        held: None,
        scope: Some(scope),
        events: Vec::new(),
        template: Event {
            server: Some(server.name.clone()),
            ..template(Some(client.actor()), task, world)
        },
    })
}

/// The shortest lifetime that any policy for any of the actions asks for (DESIGN §4).
fn lifetime(
    client: &AuthenticatedClient,
    server: &ServerWorkload,
    entries: &Entries,
    world: &World<'_>,
) -> Duration {
    let concerns = |policy: &&AccessPolicy| {
        policy.server == server.name
            && policy.agents.contains(client.agent())
            && entries.iter().any(|e| policy.actions.contains(&e.action))
    };
    let policies = world.bundle.access_policies().filter(concerns);
    let limits = policies.filter_map(|policy| policy.max_token_lifetime);
    limits
        .chain([world.lifetimes.access])
        .min()
        .unwrap_or(world.lifetimes.access)
}
