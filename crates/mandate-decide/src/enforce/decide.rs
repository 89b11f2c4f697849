//! The decision: type policy ∩ task mandate ∩ not suspended.

use mandate_audit::{Decision, Event, What};
use mandate_model::mandate::{Entry, Uncovered};
use mandate_model::stop::{Lineage, Shown, StopSet, Stopped};
use mandate_model::{
    ActionName, BundleVersion, Effect, GatewayId, KeyId, PolicyName, ServerName, SpiffeId, TaskId,
    Timestamp, TokenId,
};
use mandate_policy::decl::{LogStyle, Possession, ServerWorkload};
use mandate_policy::{Bundle, PolicyDenial, PolicyRequest, PolicyVerdict};
use mandate_token::{AccessToken, Verified};

use super::classify::{Classified, Unclassifiable};
use super::mcp;
use super::right::Right;

/// What an access is decided against.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The moment.
    pub now: Timestamp,
    /// The live bundle.
    pub bundle: &'a Bundle,
    /// Its version.
    pub bundle_version: BundleVersion,
    /// The stops.
    pub stops: &'a StopSet,
    /// The gateway that decides.
    pub gateway: &'a GatewayId,
    /// On which ground it may let anything happen.
    pub right: Right,
    /// The server workload that was reached.
    pub server: &'a ServerWorkload,
    /// The access token, verified for this server workload at `now`.
    pub token: &'a Verified<AccessToken>,
}

/// Why an access is denied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The request is no action.
    #[error("{0}")]
    Unclassifiable(Unclassifiable),
    /// The token's server is not the one that was reached.
    #[error("the access token is for another server workload")]
    WrongServer,
    /// Another gateway got it for its agent.
    #[error("another gateway got the access token for its agent, and it is good there alone")]
    OtherGateway,
    /// Something about the access is stopped.
    #[error("{0}")]
    Stopped(Stopped),
    /// The task's mandate does not cover it.
    #[error("{0}")]
    Mandate(Uncovered),
    /// The server workload or the acting agent's type needs a token that is bound to a key.
    #[error(
        "the {0} says `proof: required`, and this access token is bound to no key: attest with one (RFC 9449)"
    )]
    ProofRequired(&'static str),
    /// Policy does not permit it.
    #[error("{0}")]
    Policy(PolicyDenial),
    /// What was said to an MCP server uses nothing of it, and the agent may use nothing of it either.
    #[error("no access policy lets this agent use anything of this server workload in this task")]
    NothingToUse,
    /// A tool of an MCP server is not what somebody accepted.
    #[error(
        "this tool is not what was accepted: it is new, or what the server says of it has changed. An operator looks at it with `mandate mcp accept`"
    )]
    ToolChanged,
    /// A token that is good for a number of uses, or for one write, was used before.
    #[error(
        "this access token is spent: get another one for each write, or for each counted access"
    )]
    Spent,
}

/// Whether the use of a token must be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spend {
    /// The token.
    pub token: TokenId,
    /// Until when its use must be remembered.
    pub until: Timestamp,
    /// When it was issued: a gateway that started later cannot know whether it was used before.
    pub issued_at: Timestamp,
}

/// An access that may go on, once it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    policies: Vec<PolicyName>,
    spend: Option<Spend>,
    expires_at: Timestamp,
    would_deny: Option<Denial>,
}

impl Admission {
    /// The policies that permitted.
    pub fn policies(&self) -> &[PolicyName] {
        &self.policies
    }

    /// What must be spent, atomically and before the access is recorded.
    pub fn spend(&self) -> Option<&Spend> {
        self.spend.as_ref()
    }

    /// When the admission ends by itself; a stream is decided again then.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// The denial that the server workload's `observe` mode waives.
    pub fn would_deny(&self) -> Option<&Denial> {
        self.would_deny.as_ref()
    }
}

/// Allowed or denied.
pub type Verdict = Result<Admission, Denial>;

/// Decides one access.
///
/// `observe` waives denials of policy and mandate of callers that are authenticated and not
/// stopped, and nothing else (C1).
pub fn decide(facts: &Facts<'_>, classified: &Classified) -> Verdict {
    decide_with(facts, classified, |request| facts.bundle.permits(request))
}

/// [`decide`], with `permits` in the place of the bundle's own answer: for whoever remembers what
/// the bundle has answered to the very same request. Everything else is asked anew.
pub fn decide_with(
    facts: &Facts<'_>,
    classified: &Classified,
    permits: impl Fn(&PolicyRequest<'_>) -> PolicyVerdict,
) -> Verdict {
    let token = facts.token.claims();
    if token.server() != Some(&facts.server.name) {
        return Err(Denial::WrongServer);
    }
    if token
        .via
        .as_ref()
        .is_some_and(|via| via.gateway != *facts.gateway)
    {
        return Err(Denial::OtherGateway);
    }
    check_stops(facts)?;
    check_possession(facts)?;
    let (policies, would_deny) = match permitted(facts, classified, permits) {
        Ok((_, policies)) => (policies, None),
        Err(denial) if facts.server.is_observed(facts.now) => (Vec::new(), Some(denial)),
        Err(denial) => return Err(denial),
    };
    // What uses nothing of an MCP server is no access that is counted; what asks after a call was counted with it.
    let uses_something = classified.action().is_some() && !classified.follows();
    let counted = uses_something && (token.uses.is_some() || classified.effect() == Effect::Write);
    let spend = Spend {
        token: token.id,
        until: token.expires_at,
        issued_at: token.issued_at,
    };
    Ok(Admission {
        policies,
        spend: counted.then_some(spend),
        expires_at: token.expires_at,
        would_deny,
    })
}

/// Decides an access that is under way again, under another version of stops or bundle (B3). What
/// was spent stays spent.
pub fn recheck(facts: &Facts<'_>, classified: &Classified) -> Result<(), Denial> {
    decide(facts, classified).map(drop)
}

/// The mandate's entry that [`decide`] would let the access pass by; where it passes by none, the first
/// that covers it. What explains a decision is asked with this entry.
pub fn deciding_entry<'a>(facts: &Facts<'a>, classified: &Classified) -> Option<&'a Entry> {
    let token = facts.token.claims();
    match permitted(facts, classified, |request| facts.bundle.permits(request)) {
        Ok((entry, _)) => Some(entry),
        Err(_) => {
            let (server, action) = (&facts.server.name, classified.action()?);
            let covering = token.entries.cover(server, action, classified.attributes());
            covering.ok()
        }
    }
}

fn permitted<'a>(
    facts: &Facts<'a>,
    classified: &Classified,
    permits: impl Fn(&PolicyRequest<'_>) -> PolicyVerdict,
) -> Result<(&'a Entry, Vec<PolicyName>), Denial> {
    let token = facts.token.claims();
    let server = &facts.server.name;
    let Some(action) = classified.action() else {
        let spoken = may_speak(facts, classified, &permits)?;
        return Ok((spoken, Vec::new()));
    };
    let mut uncovered = None;
    let mut denied = None;
    // One entry must cover the request and satisfy what policies ask of the mandate.
    for entry in token.entries.for_action(server, action) {
        match entry.check(classified.attributes()) {
            Err(why) => uncovered = uncovered.or(Some(why)),
            Ok(()) => match ask_policy(facts, (action, classified), entry, &permits) {
                Ok(policies) => return Ok((entry, policies)),
                Err(why) => denied = denied.or(Some(why)),
            },
        }
    }
    let no_entry = || Uncovered::NoEntry {
        server: server.clone(),
        action: action.clone(),
    };
    Err(denied.unwrap_or_else(|| Denial::Mandate(uncovered.unwrap_or_else(no_entry))))
}

/// Whoever may use something of an MCP server in their task may speak to it: by the first entry for such a thing that
/// no guardrail forbids, whatever the arguments. What depends on those is asked when it is used.
fn may_speak<'a>(
    facts: &Facts<'a>,
    classified: &Classified,
    permits: &impl Fn(&PolicyRequest<'_>) -> PolicyVerdict,
) -> Result<&'a Entry, Denial> {
    let (token, server) = (facts.token.claims(), &facts.server.name);
    let usable = |entry: &&Entry| {
        entry.server == *server
            && facts.server.actions.contains_key(&entry.action)
            && mcp::may_use(facts.bundle, server, token, &entry.action)
    };
    let mut denied = Denial::NothingToUse;
    for entry in token.entries.iter().filter(usable) {
        match ask_policy(facts, (&entry.action, classified), entry, permits) {
            Ok(_)
            | Err(Denial::Policy(PolicyDenial::Limit { .. } | PolicyDenial::Condition { .. })) => {
                return Ok(entry);
            }
            Err(why) => denied = why,
        }
    }
    Err(denied)
}

fn ask_policy(
    facts: &Facts<'_>,
    (action, classified): (&ActionName, &Classified),
    entry: &Entry,
    permits: impl Fn(&PolicyRequest<'_>) -> PolicyVerdict,
) -> Result<Vec<PolicyName>, Denial> {
    let token = facts.token.claims();
    let request = PolicyRequest {
        actor: token.acting.actor(),
        act: token.acting.levels().get(1..).unwrap_or_default(),
        server: &facts.server.name,
        action,
        attributes: classified.attributes(),
        entry: Some(entry),
        principal: &token.principal,
        trigger: &token.trigger,
        purpose: &token.purpose,
        now: facts.now,
    };
    match permits(&request) {
        PolicyVerdict::Permitted { policies, .. } => Ok(policies),
        PolicyVerdict::Denied(why) => Err(Denial::Policy(why)),
    }
}

/// What `proof: required` asks for; `observe` does not waive it. That a token which is bound to a key
/// comes with a proof of it is known before anything is decided. A gateway's key is none of the agent's.
fn check_possession(facts: &Facts<'_>) -> Result<(), Denial> {
    let token = facts.token.claims();
    let proved = match &token.via {
        Some(via) => via.jkt.is_some(),
        None => token.confirmation.is_some(),
    };
    if proved {
        return Ok(());
    }
    if facts.server.proof == Possession::Required {
        return Err(Denial::ProofRequired("server workload"));
    }
    let acting = token.acting.actor().sub.agent_type();
    let acting = acting.and_then(|name| facts.bundle.agent(&name));
    match acting.map(|agent| agent.proof) {
        Some(Possession::Required) => Err(Denial::ProofRequired("agent type")),
        // Whom the bundle does not know, no policy permits.
        Some(Possession::Optional) | None => Ok(()),
    }
}

fn check_stops(facts: &Facts<'_>) -> Result<(), Denial> {
    let gateway = facts.gateway;
    let called = facts.server.a2a.as_ref().map(|a2a| &a2a.id);
    let server = (&facts.server.name, called);
    check_token_stops(facts.token, server, gateway, facts.stops).map_err(Denial::Stopped)
}

/// Whether nothing about an access token is stopped, nor about the server workload and the gateway that
/// it is used at; of an agent that is called, nor about its type.
pub fn check_token_stops(
    verified: &Verified<AccessToken>,
    (server, called): (&ServerName, Option<&SpiffeId>),
    gateway: &GatewayId,
    stops: &StopSet,
) -> Result<(), Stopped> {
    let token = verified.claims();
    let holder = token.agent_key();
    let path: Vec<TaskId> = token.path.iter().collect();
    let key: &KeyId = verified.signed_by();
    let lineage = Lineage {
        actors: token.acting.levels(),
        path: &path,
        principal: Some(&token.principal),
        trigger_provider: token.trigger.provider.as_ref(),
        server: Some(server),
        gateway: Some(gateway),
        keys: std::slice::from_ref(key),
        recipient: called,
        operates: false,
        token: Some(Shown {
            id: token.id,
            stops: token.stops,
        }),
        holder: holder.as_ref(),
    };
    stops.check(&lineage)
}

impl Denial {
    /// The rule's name in records, metrics and replies.
    pub fn rule(&self) -> &'static str {
        match self {
            Denial::Unclassifiable(why) => match why {
                Unclassifiable::Ambiguous(_) => "request.ambiguous",
                Unclassifiable::NoAction | Unclassifiable::Undeclared(_) => "request.no_action",
                Unclassifiable::Mcp(fault) => fault.rule(),
                Unclassifiable::A2a(fault) => fault.rule(),
                Unclassifiable::Unfit { .. }
                | Unclassifiable::HeaderList(_)
                | Unclassifiable::QueryTwin(_)
                | Unclassifiable::ContentType
                | Unclassifiable::Body(_)
                | Unclassifiable::BodyCase(_)
                | Unclassifiable::JsonType(_)
                | Unclassifiable::TooManyValues(_)
                | Unclassifiable::NoScalar(_) => "request.attribute",
            },
            Denial::WrongServer => "token.server",
            Denial::OtherGateway => "token.gateway",
            Denial::Stopped(_) => "stopped",
            Denial::Mandate(why) => match why {
                Uncovered::NoEntry { .. } => "mandate.no_entry",
                Uncovered::Missing(_) => "mandate.missing",
                Uncovered::Unfit(_) => "mandate.unfit",
            },
            Denial::ProofRequired(_) => "proof.required",
            Denial::Policy(why) => why.rule(),
            Denial::ToolChanged => "mcp.manifest",
            Denial::NothingToUse => "policy.default_deny",
            Denial::Spent => "token.spent",
        }
    }
}

/// The record of a decision about an access, with everything that leads from it to its cause.
pub fn admission_record(
    facts: &Facts<'_>,
    classified: Option<&Classified>,
    verdict: &Verdict,
    hash: impl Fn(&str) -> String,
) -> Event {
    let token = facts.token.claims();
    let shape = classified.map_or_else(String::new, |c| c.shape().to_owned());
    let (decision, why) = match verdict {
        Ok(admission) => match &admission.would_deny {
            None => (Decision::Allowed, None),
            Some(why) => (Decision::WouldDeny, Some(why)),
        },
        Err(why) => (Decision::Denied, Some(why)),
    };
    let policies = verdict
        .as_ref()
        .map(|a| a.policies.clone())
        .unwrap_or_default();
    Event {
        rule: why.map(|why| why.rule().to_owned()),
        detail: why.map(ToString::to_string),
        policies,
        actors: token.acting.levels().to_vec(),
        task: Some(token.path.clone()),
        principal: Some(token.principal.clone()),
        trigger: Some(token.trigger.clone()),
        server: Some(facts.server.name.clone()),
        action: classified.and_then(|c| c.action().cloned()),
        attributes: classified
            .map(|c| logged(facts.server, c, hash))
            .unwrap_or_default(),
        bundle: Some(facts.bundle_version),
        stops: Some(facts.stops.version()),
        token: Some(token.id),
        jkt: token.agent_key(),
        gateway: Some(facts.gateway.clone()),
        via: token.via.as_ref().map(|via| via.gateway.clone()),
        without_lease: facts.right == Right::WithoutLease,
        ..Event::new(facts.now, What::AccessDecided { request: shape }, decision)
    }
}

/// Attributes as records show them: personal ones as keyed hashes.
fn logged(
    server: &ServerWorkload,
    classified: &Classified,
    hash: impl Fn(&str) -> String,
) -> std::collections::BTreeMap<mandate_model::AttributeName, Vec<mandate_model::AttributeValue>> {
    let action = classified
        .action()
        .and_then(|name| server.actions.get(name));
    let hashed = |name: &mandate_model::AttributeName| {
        action
            .and_then(|a| a.attributes.get(name))
            .is_none_or(|a| a.log == LogStyle::Hash)
    };
    classified
        .attributes()
        .iter()
        .map(|(name, values)| {
            let shown = |v: &mandate_model::AttributeValue| {
                if hashed(name) {
                    mandate_model::AttributeValue::Text(hash(&v.to_string()))
                } else {
                    v.clone()
                }
            };
            (name.clone(), values.iter().map(shown).collect())
        })
        .collect()
}
