//! Operator sessions: a person whom an OpenID provider vouched for, for minutes.
//!
//! A session names no rights. It says who the person is; what they may do the live bundle is asked at
//! each request, and a bundle that no longer names them ends it.

use mandate_model::{
    OperatorName, Principal, ProviderName, ProviderPin, StopVersion, Timestamp, TokenId,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::kind::sealed::{Claims, Common, OwnKind};
use crate::wire::{self, WireAudience};
use crate::{Audience, BuildError, Confirmation, Issuer, KeyUse, TokenError};

/// The claims of an operator's session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorSession {
    /// The authority.
    pub issuer: Issuer,
    /// The operators' interface of the authority.
    pub audience: Audience,
    /// The operator that the person was when the session began (`sub`).
    pub operator: OperatorName,
    /// The provider that vouched (`prv`).
    pub provider: ProviderName,
    /// Whose word that was (`pin`): a bundle can give the provider's name to somebody else.
    pub pin: ProviderPin,
    /// What it vouched for: the claims of the ID token that declarations look at, `sub` among them
    /// (`person`).
    pub person: Map<String, Value>,
    /// The key that its holder must prove to have, where it is bound to one.
    pub confirmation: Option<Confirmation>,
    /// Its id.
    pub id: TokenId,
    /// The stop version under which it was issued (`stops`): what a resumption voids is told by it.
    pub stops: StopVersion,
    /// Since when.
    pub issued_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
}

impl OperatorSession {
    fn check(&self) -> Result<(), TokenError> {
        match self.person.get("sub") {
            Some(Value::String(subject)) if !subject.is_empty() => Ok(()),
            Some(_) | None => Err(TokenError::Contradiction("`person` has a `sub`")),
        }
    }
}

impl Claims for OperatorSession {
    const KIND: OwnKind = OwnKind {
        name: "operator session",
        typ: "mandate-operator+jwt",
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
    prv: ProviderName,
    pin: ProviderPin,
    person: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation>,
    #[serde(with = "wire::seconds")]
    exp: Timestamp,
    #[serde(with = "wire::seconds")]
    iat: Timestamp,
    jti: TokenId,
    stops: StopVersion,
}

impl Wire {
    fn from_claims(claims: &OperatorSession) -> Self {
        Self {
            iss: claims.issuer.clone(),
            sub: Principal::Operator(claims.operator.clone()),
            aud: WireAudience::One(claims.audience.clone()),
            prv: claims.provider.clone(),
            pin: claims.pin.clone(),
            person: claims.person.clone(),
            cnf: claims.confirmation,
            exp: claims.expires_at,
            iat: claims.issued_at,
            jti: claims.id,
            stops: claims.stops,
        }
    }

    fn into_claims(self) -> Result<OperatorSession, TokenError> {
        let Principal::Operator(operator) = self.sub else {
            return Err(TokenError::Contradiction("`sub` is an operator"));
        };
        Ok(OperatorSession {
            issuer: self.iss,
            audience: self.aud.single()?,
            operator,
            provider: self.prv,
            pin: self.pin,
            person: self.person,
            confirmation: self.cnf,
            id: self.jti,
            stops: self.stops,
            issued_at: self.iat,
            expires_at: self.exp,
        })
    }
}
