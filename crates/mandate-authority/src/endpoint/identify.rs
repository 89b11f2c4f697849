//! Which kind of token of ours a text is, if it is one that holds.

use mandate_decide::exchange::{self, ActorError};
use mandate_model::stop::{Lineage, Shown};
use mandate_model::task::Task;
use mandate_model::{
    ActorLevel, KeyId, ServerName, SpiffeId, TaskId, Thumbprint, Timestamp, TokenId,
};
use mandate_policy::decl::ServerWorkload;
use mandate_token::{
    AccessToken, Audience, Expect, JwtSvid, Kind, TaskToken, TokenError, UpstreamToken, Verified,
};

/// A token of ours whose signature, issuer, audience and times hold.
#[derive(Debug)]
pub(super) enum Identified {
    Svid(Verified<JwtSvid>),
    Task(Verified<TaskToken>),
    Access(Verified<AccessToken>),
    Upstream(Verified<UpstreamToken>),
}

/// Tries the four kinds. No token is of two of them.
pub(super) fn identify(token: &str, world: &exchange::World<'_>) -> Option<Identified> {
    let servers = || world.bundle.servers();
    if let Some(found) = one(token, world, servers().map(|s| s.resource.clone())) {
        return Some(Identified::Access(found));
    }
    if let Some(found) = one(token, world, [world.trust_domain.id()]) {
        return Some(Identified::Task(found));
    }
    let federation = world
        .bundle
        .agents()
        .flat_map(|agent| agent.federation.iter().cloned());
    let here = [
        world.issuer.as_str().to_owned(),
        world.trust_domain.gateways().to_string(),
    ];
    if let Some(found) = one(token, world, here.into_iter().chain(federation)) {
        return Some(Identified::Svid(found));
    }
    let upstreams = servers().filter_map(|s| s.upstream_audience.clone());
    one(token, world, upstreams).map(Identified::Upstream)
}

fn one<T: Kind>(
    token: &str,
    world: &exchange::World<'_>,
    audiences: impl IntoIterator<Item = String>,
) -> Option<Verified<T>> {
    let signed = T::verify_signature(token, world.keys).ok()?;
    for audience in audiences {
        let Ok(audience) = Audience::parse(&audience) else {
            continue;
        };
        match signed.check(
            &Expect {
                issuer: world.issuer,
                audience: &audience,
            },
            world.now,
        ) {
            Ok(verified) => return Some(verified),
            Err(TokenError::Audience) => {}
            Err(_) => return None,
        }
    }
    None
}

impl Identified {
    /// Its id.
    pub(super) fn id(&self) -> TokenId {
        match self {
            Identified::Svid(t) => t.claims().id,
            Identified::Task(t) => t.claims().id,
            Identified::Access(t) => t.claims().id,
            Identified::Upstream(t) => t.claims().id,
        }
    }

    /// Until when it is good.
    pub(super) fn expires_at(&self) -> Timestamp {
        match self {
            Identified::Svid(t) => t.claims().expires_at,
            Identified::Task(t) => t.claims().expires_at,
            Identified::Access(t) => t.claims().expires_at,
            Identified::Upstream(t) => t.claims().expires_at,
        }
    }

    /// The agent type that it was issued to.
    fn agent(&self) -> &SpiffeId {
        match self {
            Identified::Svid(t) => &t.claims().agent.sub,
            Identified::Task(t) => &t.claims().may_act.sub,
            Identified::Access(t) => &t.claims().acting.actor().sub,
            Identified::Upstream(t) => &t.claims().acting.actor().sub,
        }
    }

    /// Whether it is `actor`'s, who has proved to hold `holder`; `task` is what the store has for its task.
    pub(super) fn check_own(
        &self,
        task: Option<&Task>,
        actor: &ActorLevel,
        holder: Option<Thumbprint>,
    ) -> Result<(), ActorError> {
        exchange::check_own((self.agent(), self.holder()), task, actor, holder)
    }

    /// Its task, if it has one.
    pub(super) fn task(&self) -> Option<TaskId> {
        match self {
            Identified::Svid(_) => None,
            Identified::Task(t) => Some(t.claims().path.leaf()),
            Identified::Access(t) => Some(t.claims().path.leaf()),
            Identified::Upstream(t) => Some(t.claims().task),
        }
    }

    /// Its claims, as they were signed.
    pub(super) fn json(&self) -> Option<serde_json::Value> {
        match self {
            Identified::Svid(t) => t.to_json(),
            Identified::Task(t) => t.to_json(),
            Identified::Access(t) => t.to_json(),
            Identified::Upstream(t) => t.to_json(),
        }
        .ok()
    }

    /// Whether nothing about it is stopped.
    pub(super) fn is_free(&self, world: &exchange::World<'_>) -> bool {
        let holder = self.holder();
        let path = self.path();
        let mut lineage = Lineage {
            holder: holder.as_ref(),
            keys: std::slice::from_ref(self.key()),
            actors: self.actors(),
            path: &path,
            token: Some(self.shown()),
            ..Lineage::NONE
        };
        match self {
            Identified::Svid(_) => {}
            Identified::Task(t) => {
                let claims = t.claims();
                lineage.principal = Some(&claims.principal);
                lineage.trigger_provider = claims.trigger.provider.as_ref();
                lineage.recipient = Some(&claims.may_act.sub);
            }
            Identified::Access(t) => {
                let claims = t.claims();
                lineage.principal = Some(&claims.principal);
                lineage.trigger_provider = claims.trigger.provider.as_ref();
                lineage.server = claims.server();
            }
            Identified::Upstream(t) => lineage.principal = Some(&t.claims().principal),
        }
        world.stops.check_at_home(&lineage).is_ok()
    }

    /// Whether nothing about its task, as the store has it, or about its server is stopped. A token
    /// for an upstream says less of its task than there is to know.
    pub(super) fn is_free_in(&self, task: &Task, world: &exchange::World<'_>) -> bool {
        let path: Vec<TaskId> = task.path.iter().collect();
        // Who opened a root task is in no claim of its token; an exchange asks about them too.
        let opener = match self {
            Identified::Task(_) => task.record.delegator.agent(),
            Identified::Svid(_) | Identified::Access(_) | Identified::Upstream(_) => None,
        };
        let lineage = Lineage {
            actors: opener.map(std::slice::from_ref).unwrap_or_default(),
            path: &path,
            principal: Some(&task.principal),
            trigger_provider: task.trigger.provider.as_ref(),
            server: self.server(world),
            token: Some(self.shown()),
            ..Lineage::NONE
        };
        world.stops.check_at_home(&lineage).is_ok()
    }

    fn server<'a>(&self, world: &exchange::World<'a>) -> Option<&'a ServerName> {
        let Identified::Upstream(token) = self else {
            return None;
        };
        let audience = token.claims().audience.as_str();
        let is_for = |s: &&ServerWorkload| s.upstream_audience.as_deref() == Some(audience);
        world.bundle.servers().find(is_for).map(|s| &s.name)
    }

    /// What it says itself of its tasks.
    fn path(&self) -> Vec<TaskId> {
        match self {
            Identified::Svid(_) => Vec::new(),
            Identified::Task(t) => t.claims().path.iter().collect(),
            Identified::Access(t) => t.claims().path.iter().collect(),
            Identified::Upstream(t) => vec![t.claims().root, t.claims().task],
        }
    }

    fn shown(&self) -> Shown {
        let stops = match self {
            Identified::Svid(t) => t.claims().stops,
            Identified::Task(t) => t.claims().stops,
            Identified::Access(t) => t.claims().stops,
            Identified::Upstream(t) => t.claims().stops,
        };
        Shown {
            id: self.id(),
            stops,
        }
    }

    fn actors(&self) -> &[ActorLevel] {
        match self {
            Identified::Svid(t) => std::slice::from_ref(&t.claims().agent),
            Identified::Task(t) => t.claims().act.levels(),
            Identified::Access(t) => t.claims().acting.levels(),
            Identified::Upstream(t) => t.claims().acting.levels(),
        }
    }

    /// The key that its agent has proved.
    fn holder(&self) -> Option<Thumbprint> {
        match self {
            Identified::Svid(t) => t.claims().confirmation.and_then(|bound| bound.jkt()),
            Identified::Access(t) => t.claims().agent_key(),
            Identified::Task(_) | Identified::Upstream(_) => None,
        }
    }

    fn key(&self) -> &KeyId {
        match self {
            Identified::Svid(t) => t.signed_by(),
            Identified::Task(t) => t.signed_by(),
            Identified::Access(t) => t.signed_by(),
            Identified::Upstream(t) => t.signed_by(),
        }
    }
}
