//! Task tokens: Transaction Tokens that carry a mandate
//! (draft-ietf-oauth-transaction-tokens-10). Never an access token.

use mandate_model::mandate::{Budget, MAX_DEPTH, Mandate, RawEntry};
use mandate_model::task::{TaskChain, TaskPath};
use mandate_model::{
    ActChain, InstanceId, Principal, ProviderName, SpiffeId, StopVersion, TaskId, Timestamp,
    TokenId, Trigger,
};
use serde::{Deserialize, Serialize};

use crate::kind::sealed::{Claims, Common, OwnKind};
use crate::wire::{self, WireAct, WireAudience, WireTctx};
use crate::{Audience, BuildError, Confirmation, Issuer, KeyUse, TokenError, scope_of};

/// The claims of a task token.
///
/// `txn`, `task.id` and `scope` are not kept: they follow from the path and from the mandate, and a
/// token in which they do not is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskToken {
    /// The authority.
    pub issuer: Issuer,
    /// The trust domain (A4).
    pub audience: Audience,
    /// Whom the whole tree works for (`sub`).
    pub principal: Principal,
    /// The workload that asked for it (`req_wl`).
    pub requesting_workload: SpiffeId,
    /// The agent that it is for (RFC 8693 §4.4).
    pub may_act: MayAct,
    /// Who delegated it, latest first; empty exactly for a root task.
    pub act: ActChain,
    /// Why the tree began (`tctx.trigger`).
    pub trigger: Trigger,
    /// What the root task is for (`tctx.purpose`).
    pub purpose: String,
    /// Root to this task (`task.path`).
    pub path: TaskPath,
    /// The commitment to this task and all above it (`task.chain`).
    pub chain: TaskChain,
    /// What may be done: `authorization_details`, and `max_depth`, `expires_at`, `not_before` and
    /// `budget` of `task`. In whole seconds, rounded to the narrower side.
    pub mandate: Mandate,
    /// Its id.
    pub id: TokenId,
    /// The stop version under which it was issued (`stops`): what a resumption voids is told by it.
    pub stops: StopVersion,
    /// Since when.
    pub issued_at: Timestamp,
    /// Until when; at most the mandate's end.
    pub expires_at: Timestamp,
}

/// The one agent that may act in a task.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MayAct {
    /// The agent type.
    pub sub: SpiffeId,
    /// The one instance, where it is pinned (A5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inst: Option<InstanceId>,
    /// The provider that names it, there where `inst` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prv: Option<ProviderName>,
    /// The key that it must have, where its delegator named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
}

impl TaskToken {
    fn check(&self) -> Result<(), TokenError> {
        wire::check_levels(&self.act)?;
        wire::check_within_task(self.expires_at, self.mandate.expires_at)?;
        let broken = |rule| Err(TokenError::Contradiction(rule));
        if self.mandate.max_depth > MAX_DEPTH {
            return broken("`task.max_depth` is at most 8");
        }
        if self.path.depth() > self.mandate.max_depth {
            return broken("`task.path` is not longer than `task.max_depth`");
        }
        if self.act.is_empty() != self.path.parent().is_none() {
            return broken("`act` is absent exactly on a root task");
        }
        if self.may_act.inst.is_some() != self.may_act.prv.is_some() {
            return broken("`may_act` has `inst` and `prv` or neither");
        }
        Ok(())
    }
}

impl Claims for TaskToken {
    const KIND: OwnKind = OwnKind {
        name: "task token",
        typ: "txntoken+jwt",
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
            not_before: None,
            expires_at: self.expires_at,
        }
    }

    fn in_whole_seconds(mut self) -> Self {
        self.issued_at = self.issued_at.floor_to_secs();
        self.expires_at = self.expires_at.floor_to_secs();
        self.mandate.expires_at = self.mandate.expires_at.floor_to_secs();
        self.mandate.not_before = self.mandate.not_before.map(wire::ceil_to_secs);
        self
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    iss: Issuer,
    aud: WireAudience,
    txn: TaskId,
    sub: Principal,
    req_wl: SpiffeId,
    may_act: MayAct,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    act: Option<Box<WireAct>>,
    scope: String,
    tctx: WireTctx,
    rctx: WireRctx,
    authorization_details: Vec<RawEntry>,
    task: WireTask,
    #[serde(with = "wire::seconds")]
    exp: Timestamp,
    #[serde(with = "wire::seconds")]
    iat: Timestamp,
    jti: TokenId,
    stops: StopVersion,
}

/// The request's environment: the profile puts nothing there yet.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRctx {}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireTask {
    id: TaskId,
    path: Vec<TaskId>,
    max_depth: u8,
    chain: TaskChain,
    #[serde(with = "wire::seconds")]
    expires_at: Timestamp,
    #[serde(
        default,
        with = "wire::optional_seconds",
        skip_serializing_if = "Option::is_none"
    )]
    not_before: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "is_unlimited")]
    budget: Budget,
}

fn is_unlimited(budget: &Budget) -> bool {
    *budget == Budget::default()
}

impl Wire {
    fn from_claims(claims: &TaskToken) -> Self {
        let mandate = &claims.mandate;
        Self {
            iss: claims.issuer.clone(),
            aud: WireAudience::One(claims.audience.clone()),
            txn: claims.path.root(),
            sub: claims.principal.clone(),
            req_wl: claims.requesting_workload.clone(),
            may_act: claims.may_act.clone(),
            act: WireAct::nest(&claims.act),
            scope: scope_of(&mandate.entries),
            tctx: WireTctx {
                trigger: claims.trigger.clone(),
                purpose: claims.purpose.clone(),
            },
            rctx: WireRctx {},
            authorization_details: mandate.entries.to_wire(),
            task: WireTask {
                id: claims.path.leaf(),
                path: claims.path.iter().collect(),
                max_depth: mandate.max_depth,
                chain: claims.chain,
                expires_at: mandate.expires_at,
                not_before: mandate.not_before,
                budget: mandate.budget,
            },
            exp: claims.expires_at,
            iat: claims.issued_at,
            jti: claims.id,
            stops: claims.stops,
        }
    }

    fn into_claims(self) -> Result<TaskToken, TokenError> {
        let WireRctx {} = self.rctx;
        Ok(TaskToken {
            issuer: self.iss,
            audience: self.aud.single()?,
            principal: self.sub,
            requesting_workload: self.req_wl,
            may_act: self.may_act,
            act: WireAct::flatten(self.act)?,
            trigger: self.tctx.trigger,
            purpose: self.tctx.purpose,
            path: wire::path(self.task.path, self.txn, self.task.id)?,
            chain: self.task.chain,
            mandate: Mandate {
                entries: wire::entries(self.authorization_details, &self.scope)?,
                not_before: self.task.not_before,
                expires_at: self.task.expires_at,
                budget: self.task.budget,
                max_depth: self.task.max_depth,
            },
            id: self.jti,
            stops: self.stops,
            issued_at: self.iat,
            expires_at: self.exp,
        })
    }
}
