//! JWT-SVIDs: what an agent is (SPIFFE JWT-SVID §2, §3).

use mandate_model::{
    ActorLevel, AttestationKind, Host, InstanceId, KeyId, ProviderName, SpiffeId, StopVersion,
    Timestamp, TokenId,
};
use serde::{Deserialize, Serialize};

use crate::jws::SignedBytes;
use crate::kind::sealed::{Claims, Common, OwnKind};
use crate::wire::{self, WireAudience};
use crate::{
    Audience, BuildError, Confirmation, Expect, Issuer, KeySet, KeyUse, SignedClaims, TokenError,
    UnverifiedJws, Verified,
};

/// The claims of a JWT-SVID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtSvid {
    /// The authority.
    pub issuer: Issuer,
    /// Whom it is shown to.
    pub audience: Audience,
    /// The agent: `sub`, `inst`, `prv`, `att` and `host`.
    pub agent: ActorLevel,
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

impl JwtSvid {
    /// Verifies `assertion` as client authentication at the token endpoint: a JWT-SVID whose `aud`
    /// is the issuer and nothing else (RFC 10070), as a string or a list of one. Another `aud` has
    /// an error of its own that says what to change.
    pub fn verify_client_assertion(
        assertion: &str,
        keys: &KeySet,
        issuer: &Issuer,
        now: Timestamp,
    ) -> Result<Verified<Self>, TokenError> {
        Self::verify_assertion_signature(assertion, keys, issuer)?.check_assertion(issuer, now)
    }

    /// Verifies what never changes about `assertion`: all but the times. This is what a cache may remember,
    /// together with the version of `keys` (C7).
    pub fn verify_assertion_signature(
        assertion: &str,
        keys: &KeySet,
        issuer: &Issuer,
    ) -> Result<SignedClaims<Self>, TokenError> {
        let SignedBytes { key, claims } =
            UnverifiedJws::parse(assertion)?.verify(keys, &Self::KIND)?;
        Self::assertion_claims(&claims, key, issuer)
    }

    fn assertion_claims(
        claims: &[u8],
        key: KeyId,
        issuer: &Issuer,
    ) -> Result<SignedClaims<Self>, TokenError> {
        let elsewhere = || TokenError::AssertionAudience {
            issuer: issuer.to_string(),
        };
        let mut wire: Wire = wire::read(claims)?;
        let audience = wire.aud.single_or_list_of_one().map_err(|_| elsewhere())?;
        if audience != issuer.as_audience() {
            return Err(elsewhere());
        }
        wire.aud = WireAudience::One(audience);
        Ok(SignedClaims::of(wire.into_claims()?, key))
    }

    fn check(&self) -> Result<(), TokenError> {
        wire::check_level(&self.agent)
    }
}

impl SignedClaims<JwtSvid> {
    /// Checks issuer, audience and times of a client assertion at `now`. To be asked anew at each use.
    pub fn check_assertion(
        &self,
        issuer: &Issuer,
        now: Timestamp,
    ) -> Result<Verified<JwtSvid>, TokenError> {
        let audience = &issuer.as_audience();
        self.check(&Expect { issuer, audience }, now)
    }
}

impl Claims for JwtSvid {
    const KIND: OwnKind = OwnKind {
        name: "JWT-SVID",
        typ: "JWT",
        key_use: KeyUse::Svid,
    };

    fn decode(json: &[u8]) -> Result<Self, TokenError> {
        wire::read::<Wire>(json)?.into_claims()
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
    sub: SpiffeId,
    aud: WireAudience,
    #[serde(with = "wire::seconds")]
    exp: Timestamp,
    #[serde(with = "wire::seconds")]
    iat: Timestamp,
    jti: TokenId,
    stops: StopVersion,
    inst: InstanceId,
    prv: ProviderName,
    att: AttestationKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<Host>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation>,
}

impl Wire {
    fn from_claims(claims: &JwtSvid) -> Self {
        let ActorLevel {
            sub,
            inst,
            prv,
            att,
            host,
        } = claims.agent.clone();
        Self {
            iss: claims.issuer.clone(),
            sub,
            aud: WireAudience::One(claims.audience.clone()),
            exp: claims.expires_at,
            iat: claims.issued_at,
            jti: claims.id,
            stops: claims.stops,
            inst,
            prv,
            att,
            host,
            cnf: claims.confirmation,
        }
    }

    fn into_claims(self) -> Result<JwtSvid, TokenError> {
        let claims = JwtSvid {
            issuer: self.iss,
            audience: self.aud.single()?,
            agent: ActorLevel {
                sub: self.sub,
                inst: self.inst,
                prv: self.prv,
                att: self.att,
                host: self.host,
            },
            confirmation: self.cnf,
            id: self.jti,
            stops: self.stops,
            issued_at: self.iat,
            expires_at: self.exp,
        };
        claims.check()?;
        Ok(claims)
    }
}
