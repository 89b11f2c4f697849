//! Evidence for a JWT-SVID, and a host's word for a hosted agent's (A4, A6).

use std::collections::BTreeMap;

use mandate_audit::{Decision, Event, What};
use mandate_model::stop::Lineage;
use mandate_model::{
    ActorLevel, AgentTypeName, AttestationKind, Host, Instance, InstanceId, ProviderName, SpiffeId,
    Thumbprint, Timestamp,
};
use mandate_policy::decl::AgentType;
use mandate_token::dpop::DpopProof;
use mandate_token::{Audience, Confirmation, Encoded, JwtSvid};

use super::client::check_possession;
use super::error::{ActorError, ClientError, ExchangeError, GrantError, SubjectError};
use super::grant::{Claims, record, used_up};
use super::{AuthenticatedClient, Effect, Fresh, Grant, World};

/// What an attestor found out: evidence that fits exactly one agent type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evident {
    /// The agent type.
    pub agent: AgentTypeName,
    /// The provider that vouched.
    pub provider: ProviderName,
    /// The instance.
    pub instance: InstanceId,
    /// How sure it is.
    pub kind: AttestationKind,
    /// What else is known, for the record.
    pub facts: BTreeMap<String, String>,
    /// What is used up with it, where the evidence is good for one use: scope, identifier, and when
    /// it may be forgotten.
    pub once: Option<(&'static str, String, Timestamp)>,
}

/// What is known of the key of an instance that attests (A5).
#[derive(Debug, Clone, Copy, Default)]
pub struct Keyed<'a> {
    /// What it shows: its SVID will be bound to this proof's key.
    pub proof: Option<&'a DpopProof>,
    /// Its live key, as the store has it.
    pub live: Option<Thumbprint>,
}

/// Grants a JWT-SVID to what was attested. `claimed` is what the caller says it is: never believed,
/// only held against the evidence.
pub fn attest(
    evident: Evident,
    keyed: Keyed<'_>,
    audience: Option<&str>,
    claimed: Option<&SpiffeId>,
    world: &World<'_>,
    fresh: &Fresh,
) -> Result<Grant, ExchangeError> {
    let id = world.trust_domain.agent(&evident.agent);
    let undeclared = || ExchangeError::Client(ClientError::Undeclared(id.clone()));
    let declared = world.bundle.agent(&evident.agent).ok_or_else(undeclared)?;
    if claimed.is_some_and(|claimed| *claimed != id) {
        let why = "the evidence is of another agent type than `requested_actor` names";
        return Err(ExchangeError::Client(ClientError::Invalid(why.to_owned())));
    }
    let level = ActorLevel {
        sub: id,
        inst: evident.instance,
        prv: evident.provider,
        att: evident.kind,
        host: None,
    };
    let instance = level.instance();
    let wanted = Wanted {
        declared,
        level,
        audience,
        expires_at: world.now.plus(world.lifetimes.svid),
        facts: evident.facts,
        holder: keyed.proof.map(DpopProof::key),
    };
    let mut grant = svid(wanted, world, fresh)?;
    bind(&mut grant, instance, keyed, world)?;
    let once = evident.once.map(|(scope, id, until)| Effect::UseOnce {
        scope: scope.to_owned(),
        id,
        until,
    });
    grant.effects.extend(once);
    Ok(grant)
}

/// Makes the proof's key the live one of the instance. Whoever has the evidence can bring another
/// key, and that is told; but nobody gets along without a key where there is one: else a stolen
/// piece of evidence would be worth what the key is to prevent.
fn bind(
    grant: &mut Grant,
    instance: Instance,
    keyed: Keyed<'_>,
    world: &World<'_>,
) -> Result<(), ExchangeError> {
    let Some(proof) = keyed.proof else {
        if keyed.live.is_some() {
            return Err(ExchangeError::Client(ClientError::KeyHeld));
        }
        grant.held = Some((instance, None));
        return Ok(());
    };
    let to = proof.key();
    if let Some(from) = keyed.live.filter(|live| *live != to) {
        let rekeyed = Event {
            what: What::Rekeyed { from, to },
            ..grant.template.clone()
        };
        grant.events.push(rekeyed);
    }
    grant.effects.push(used_up(proof));
    grant.effects.push(Effect::BindKey {
        instance,
        taken_for: keyed.live,
        key: to,
        // An access token that is issued on the SVID's last word.
        until: world
            .now
            .plus(world.lifetimes.svid + world.lifetimes.access),
    });
    Ok(())
}

/// Grants a JWT-SVID to an agent in the process of `host`, on the host's word (A6). It lives no
/// longer than the host's and names the host; hosted agents host nobody.
pub fn attest_hosted(
    host: &AuthenticatedClient,
    hosted: &SpiffeId,
    subject_token: &str,
    audience: Option<&str>,
    world: &World<'_>,
    fresh: &Fresh,
) -> Result<Grant, ExchangeError> {
    if !host.is_own_svid(subject_token) {
        return Err(ExchangeError::Subject(SubjectError::NotOwnSvid));
    }
    if host.actor().host.is_some() {
        return Err(ExchangeError::Actor(ActorError::Nested));
    }
    let declared = declared_agent(hosted, world)?;
    world
        .bundle
        .may_host(host.agent(), &declared.name)
        .map_err(|why| ExchangeError::Grant(GrantError::Host(why.to_string())))?;
    let level = ActorLevel {
        sub: declared.id.clone(),
        inst: host.actor().inst.clone(),
        prv: host.actor().prv.clone(),
        att: AttestationKind::Hosted,
        host: Some(Host {
            sub: host.actor().sub.clone(),
            inst: host.actor().inst.clone(),
        }),
    };
    let expires_at = world.now.plus(world.lifetimes.svid).min(host.expires_at());
    let facts = BTreeMap::from([("host".to_owned(), host.actor().sub.to_string())]);
    let wanted = Wanted {
        declared,
        level,
        audience,
        expires_at,
        facts,
        // A hosted agent has its host's key: it runs in its process.
        holder: host.holder(),
    };
    svid(wanted, world, fresh).map(|grant| grant.to(host))
}

/// The declared agent type with this SPIFFE ID.
pub(super) fn declared_agent<'a>(
    id: &SpiffeId,
    world: &World<'a>,
) -> Result<&'a AgentType, ExchangeError> {
    let undeclared = || {
        let why = format!("`{id}` is no declared agent type");
        ExchangeError::Grant(GrantError::Undeclared(why))
    };
    let name = id.agent_type().ok_or_else(undeclared)?;
    let declared = world.bundle.agent(&name).ok_or_else(undeclared)?;
    if declared.id == *id {
        Ok(declared)
    } else {
        Err(undeclared())
    }
}

/// A JWT-SVID to be granted.
struct Wanted<'a> {
    declared: &'a AgentType,
    level: ActorLevel,
    audience: Option<&'a str>,
    expires_at: Timestamp,
    facts: BTreeMap<String, String>,
    holder: Option<Thumbprint>,
}

fn svid(wanted: Wanted<'_>, world: &World<'_>, fresh: &Fresh) -> Result<Grant, ExchangeError> {
    let Wanted {
        declared,
        level,
        audience,
        expires_at,
        facts,
        holder,
    } = wanted;
    let audience = svid_audience(declared, audience, world)?;
    check_possession(declared, holder)?;
    world.stops.check(&Lineage {
        actors: std::slice::from_ref(&level),
        holder: holder.as_ref(),
        ..Lineage::NONE
    })?;
    let noted = |what| {
        let versions = (world.bundle_version, world.stops.version());
        let event = record(what, Decision::Allowed, world.now, versions.0, versions.1);
        Event {
            actors: vec![level.clone()],
            ..event
        }
    };
    let claims = JwtSvid {
        issuer: world.issuer.clone(),
        audience,
        agent: level.clone(),
        confirmation: holder.map(Confirmation::Jkt),
        id: fresh.token,
        stops: world.stops.version(),
        issued_at: world.now,
        expires_at,
    };
    let attested = noted(What::Attested { facts });
    let grant = Grant {
        template: attested.clone(),
        claims: Claims::Svid(Box::new(Encoded::new(claims))),
        effects: Vec::new(),
        live_tasks: Vec::new(),
        held: None,
        scope: None,
        events: vec![attested],
    };
    Ok(grant.by_holder(holder))
}

/// A JWT-SVID is minted for the issuer, the gateways and declared federation audiences only (A4).
fn svid_audience(
    declared: &AgentType,
    audience: Option<&str>,
    world: &World<'_>,
) -> Result<Audience, ExchangeError> {
    let Some(audience) = audience else {
        return Ok(world.issuer.as_audience());
    };
    let known = audience == world.issuer.as_str()
        || audience == world.trust_domain.gateways().as_str()
        || declared.federation.contains(audience);
    let refused = ExchangeError::Grant(GrantError::Audience);
    if known {
        Audience::parse(audience).map_err(|_| refused)
    } else {
        Err(refused)
    }
}
