//! The record of a request whose agent brought a JWT-SVID and a task token, and which no access token was
//! got for.

use mandate_audit::{Decision, Event, What};
use mandate_model::{ActorLevel, BundleVersion, GatewayId, StopVersion, Timestamp};
use mandate_policy::decl::ServerWorkload;
use mandate_token::{JwtSvid, TaskToken};

use super::right::Right;

/// What is known of such a request.
pub struct BroughtFacts<'a> {
    /// The present moment.
    pub now: Timestamp,
    /// Of the bundle by which the server workload was found.
    pub bundle_version: BundleVersion,
    /// Of the stops that were known then.
    pub stops: StopVersion,
    /// On which ground it would have been admitted.
    pub right: Right,
    /// Which gateway was asked.
    pub gateway: &'a GatewayId,
    /// What it was asked for.
    pub server: &'a ServerWorkload,
    /// Who the agent is, verified.
    pub svid: &'a JwtSvid,
    /// The task that it named, verified.
    pub task: &'a TaskToken,
}

/// The record of the denial, by the agent's name: who would have been the actors of the access token. `request`
/// says in words what was asked for. The rule, and what more the caller knows of it, are
/// for it to fill in.
#[must_use]
pub fn brought_record(facts: &BroughtFacts<'_>, request: String) -> Event {
    let (svid, task) = (facts.svid, facts.task);
    let delegators = task.act.levels().iter().cloned();
    let actors: Vec<ActorLevel> = std::iter::once(svid.agent.clone())
        .chain(delegators)
        .collect();
    Event {
        actors,
        task: Some(task.path.clone()),
        principal: Some(task.principal.clone()),
        trigger: Some(task.trigger.clone()),
        server: Some(facts.server.name.clone()),
        bundle: Some(facts.bundle_version),
        stops: Some(facts.stops),
        token: Some(task.id),
        jkt: svid.confirmation.and_then(|bound| bound.jkt()),
        gateway: Some(facts.gateway.clone()),
        without_lease: facts.right == Right::WithoutLease,
        ..Event::new(facts.now, What::AccessDecided { request }, Decision::Denied)
    }
}
