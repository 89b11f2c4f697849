//! Access tokens: one agent, one server workload, one task, minutes (RFC 9068).

use std::num::NonZeroU32;

use mandate_model::mandate::{Entries, RawEntry};
use mandate_model::task::TaskPath;
use mandate_model::{
    ActChain, ActorLevel, Principal, ServerName, SpiffeId, StopVersion, TaskId, Thumbprint,
    Timestamp, TokenId, Trigger,
};
use serde::{Deserialize, Serialize};

use crate::kind::sealed::{Claims, Common, OwnKind};
use crate::wire::{self, WireAct, WireAudience, WireTctx};
use crate::{Audience, BuildError, Confirmation, Issuer, KeyUse, TokenError, Via, scope_of};

/// The claims of an access token.
///
/// `client_id`, `txn`, `task.id` and `scope` are not kept: they follow from the others, and a token
/// in which they do not is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// The authority.
    pub issuer: Issuer,
    /// The server workload's resource indicator (RFC 8707, A4).
    pub audience: Audience,
    /// Whom the task works for (`sub`).
    pub principal: Principal,
    /// The acting agent and those who delegated to it (`act`).
    pub acting: ActingChain,
    /// What may be done: at least one entry, all of one server workload.
    pub entries: Entries,
    /// Why the task tree began (`tctx.trigger`).
    pub trigger: Trigger,
    /// What the root task is for (`tctx.purpose`).
    pub purpose: String,
    /// Root to the task (`task.path`).
    pub path: TaskPath,
    /// When the task ends at the latest (`task.expires_at`).
    pub task_expires_at: Timestamp,
    /// How often it may be used; one for writes, unlimited where absent.
    pub uses: Option<NonZeroU32>,
    /// The key that its holder must prove to have, where it is bound to one.
    pub confirmation: Option<Confirmation>,
    /// The gateway that got it for the agent, where one did (`via`).
    pub via: Option<Via>,
    /// Its id.
    pub id: TokenId,
    /// The stop version under which it was issued (`stops`): what a resumption voids is told by it.
    pub stops: StopVersion,
    /// Since when.
    pub issued_at: Timestamp,
    /// From when, where it does not begin at once.
    pub not_before: Option<Timestamp>,
    /// Until when; at most the task's end.
    pub expires_at: Timestamp,
}

/// An acting agent and, below it, those who delegated to it. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ActingChain {
    actor: ActorLevel,
    chain: ActChain,
}

impl ActingChain {
    /// The chain whose latest level acts; `None` if there is no level.
    pub fn new(chain: ActChain) -> Option<Self> {
        let actor = chain.latest()?.clone();
        Some(Self { actor, chain })
    }

    /// The agent that acts: the outermost level and the only one that may permit anything
    /// (RFC 8693 §4.1).
    pub fn actor(&self) -> &ActorLevel {
        &self.actor
    }

    /// Every level, latest first: any of them may deny (A1).
    pub fn levels(&self) -> &[ActorLevel] {
        self.chain.levels()
    }

    /// The whole chain.
    pub fn chain(&self) -> &ActChain {
        &self.chain
    }
}

impl AccessToken {
    /// The server workload that the entries are for.
    pub fn server(&self) -> Option<&ServerName> {
        self.entries.iter().map(|entry| &entry.server).next()
    }

    /// The key that the acting agent has proved: the one that the token is bound to, or where a gateway
    /// got the token, the one that the agent proved to that.
    pub fn agent_key(&self) -> Option<Thumbprint> {
        match &self.via {
            Some(via) => via.jkt,
            None => self.confirmation.and_then(|bound| bound.jkt()),
        }
    }

    fn check(&self) -> Result<(), TokenError> {
        let bound = self.confirmation.and_then(|bound| bound.jkt()).is_some();
        if self.via.is_some() && !bound {
            let rule = "a token that a gateway got is bound to its key";
            return Err(TokenError::Contradiction(rule));
        }
        wire::check_levels(self.acting.chain())?;
        wire::check_within_task(self.expires_at, self.task_expires_at)?;
        check_one_server(&self.entries)
    }
}

fn check_one_server(entries: &Entries) -> Result<(), TokenError> {
    let mut servers = entries.iter().map(|entry| &entry.server);
    let rule = "`authorization_details` is for exactly one server workload";
    let first = servers.next().ok_or(TokenError::Contradiction(rule))?;
    if servers.all(|server| server == first) {
        Ok(())
    } else {
        Err(TokenError::Contradiction(rule))
    }
}

impl Claims for AccessToken {
    const KIND: OwnKind = OwnKind {
        name: "access token",
        typ: "at+jwt",
        key_use: KeyUse::Oauth,
    };

    fn decode(json: &[u8]) -> Result<Self, TokenError> {
        let claims = wire::read::<Wire>(json)?.into_claims()?;
        claims.check()?;
        Ok(claims)
    }

    fn encode(&self) -> Result<Vec<u8>, BuildError> {
        self.check()?;
        wire::write(&Wire::from_claims(self))
    }

    fn common(&self) -> Common<'_> {
        Common {
            issuer: &self.issuer,
            audience: &self.audience,
            issued_at: self.issued_at,
            not_before: self.not_before,
            expires_at: self.expires_at,
        }
    }

    /// A beginning that has passed when the token is issued says nothing and is left out: rounded
    /// up, it would keep the token from being used at once.
    fn in_whole_seconds(mut self) -> Self {
        let ahead = self.not_before.filter(|from| *from > self.issued_at);
        self.not_before = ahead.map(wire::ceil_to_secs);
        self.issued_at = self.issued_at.floor_to_secs();
        self.expires_at = self.expires_at.floor_to_secs();
        self.task_expires_at = self.task_expires_at.floor_to_secs();
        self
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    iss: Issuer,
    sub: Principal,
    aud: WireAudience,
    client_id: SpiffeId,
    act: Box<WireAct>,
    scope: String,
    authorization_details: Vec<RawEntry>,
    txn: TaskId,
    tctx: WireTctx,
    task: WireTask,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uses: Option<NonZeroU32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    via: Option<Via>,
    #[serde(with = "wire::seconds")]
    exp: Timestamp,
    #[serde(with = "wire::seconds")]
    iat: Timestamp,
    #[serde(
        default,
        with = "wire::optional_seconds",
        skip_serializing_if = "Option::is_none"
    )]
    nbf: Option<Timestamp>,
    jti: TokenId,
    stops: StopVersion,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireTask {
    id: TaskId,
    path: Vec<TaskId>,
    #[serde(with = "wire::seconds")]
    expires_at: Timestamp,
}

impl Wire {
    fn from_claims(claims: &AccessToken) -> Self {
        Self {
            iss: claims.issuer.clone(),
            sub: claims.principal.clone(),
            aud: WireAudience::One(claims.audience.clone()),
            client_id: claims.acting.actor().sub.clone(),
            act: WireAct::acting(&claims.acting),
            scope: scope_of(&claims.entries),
            authorization_details: claims.entries.to_wire(),
            txn: claims.path.root(),
            tctx: WireTctx {
                trigger: claims.trigger.clone(),
                purpose: claims.purpose.clone(),
            },
            task: WireTask {
                id: claims.path.leaf(),
                path: claims.path.iter().collect(),
                expires_at: claims.task_expires_at,
            },
            uses: claims.uses,
            cnf: claims.confirmation,
            via: claims.via.clone(),
            exp: claims.expires_at,
            iat: claims.issued_at,
            nbf: claims.not_before,
            jti: claims.id,
            stops: claims.stops,
        }
    }

    fn into_claims(self) -> Result<AccessToken, TokenError> {
        Ok(AccessToken {
            issuer: self.iss,
            audience: self.aud.single()?,
            principal: self.sub,
            acting: WireAct::into_acting(self.act, &self.client_id)?,
            entries: wire::entries(self.authorization_details, &self.scope)?,
            trigger: self.tctx.trigger,
            purpose: self.tctx.purpose,
            path: wire::path(self.task.path, self.txn, self.task.id)?,
            task_expires_at: self.task.expires_at,
            uses: self.uses,
            confirmation: self.cnf,
            via: self.via,
            id: self.jti,
            stops: self.stops,
            issued_at: self.iat,
            not_before: self.nbf,
            expires_at: self.exp,
        })
    }
}
