//! Tokens that a gateway shows to an upstream which verifies them itself (RFC 9068).
//!
//! They carry what an upstream needs and no mandate, so that none of them is an access token; their
//! audience is never a resource indicator, so that no agent's token is one of them (A4).

use mandate_model::{Principal, SpiffeId, StopVersion, TaskId, Timestamp, TokenId};
use serde::{Deserialize, Serialize};

use crate::kind::sealed::{Claims, Common, OwnKind};
use crate::wire::{self, WireAct, WireAudience};
use crate::{ActingChain, Audience, BuildError, Issuer, KeyUse, Scope, TokenError};

/// The claims of a token for an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamToken {
    /// The authority.
    pub issuer: Issuer,
    /// The upstream (`spec.upstreamAudience`).
    pub audience: Audience,
    /// Whom the task works for (`sub`).
    pub principal: Principal,
    /// The acting agent and those who delegated to it (`client_id`, `act`).
    pub acting: ActingChain,
    /// The root task (`txn`).
    pub root: TaskId,
    /// The task (`task.id`).
    pub task: TaskId,
    /// What may be done: at least one word.
    pub scope: Scope,
    /// Its id.
    pub id: TokenId,
    /// The stop version under which it was issued (`stops`): what a resumption voids is told by it.
    pub stops: StopVersion,
    /// Since when.
    pub issued_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
}

impl UpstreamToken {
    fn check(&self) -> Result<(), TokenError> {
        wire::check_levels(self.acting.chain())?;
        if self.scope.is_empty() {
            return Err(TokenError::Contradiction("`scope` has at least one word"));
        }
        Ok(())
    }
}

impl Claims for UpstreamToken {
    const KIND: OwnKind = OwnKind {
        name: "token for an upstream",
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
            not_before: None,
            expires_at: self.expires_at,
        }
    }

    fn in_whole_seconds(mut self) -> Self {
        self.issued_at = self.issued_at.floor_to_secs();
        self.expires_at = self.expires_at.floor_to_secs();
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
    txn: TaskId,
    task: WireTask,
    scope: String,
    #[serde(with = "wire::seconds")]
    exp: Timestamp,
    #[serde(with = "wire::seconds")]
    iat: Timestamp,
    jti: TokenId,
    stops: StopVersion,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireTask {
    id: TaskId,
}

impl Wire {
    fn from_claims(claims: &UpstreamToken) -> Self {
        Self {
            iss: claims.issuer.clone(),
            sub: claims.principal.clone(),
            aud: WireAudience::One(claims.audience.clone()),
            client_id: claims.acting.actor().sub.clone(),
            act: WireAct::acting(&claims.acting),
            txn: claims.root,
            task: WireTask { id: claims.task },
            scope: claims.scope.to_string(),
            exp: claims.expires_at,
            iat: claims.issued_at,
            jti: claims.id,
            stops: claims.stops,
        }
    }

    fn into_claims(self) -> Result<UpstreamToken, TokenError> {
        Ok(UpstreamToken {
            issuer: self.iss,
            audience: self.aud.single()?,
            principal: self.sub,
            acting: WireAct::into_acting(self.act, &self.client_id)?,
            root: self.txn,
            task: self.task.id,
            scope: wire::scope(&self.scope)?,
            id: self.jti,
            stops: self.stops,
            issued_at: self.iat,
            expires_at: self.exp,
        })
    }
}
