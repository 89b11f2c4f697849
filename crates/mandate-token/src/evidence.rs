//! Tokens that platforms give to workloads: evidence of what a workload is, issued by others.
//!
//! They are no ID tokens and are read by other rules: `azp` names whom the platform gave the token to
//! and binds nobody here, an issuer is optional where a SPIFFE trust domain vouches, and how long a
//! token may live and how old it may be is ours to say, not its issuer's (FAILURES 26).

use std::fmt;
use std::time::Duration;

use mandate_model::{SpiffeId, Timestamp};
use serde_json::{Map, Value};

use crate::id_token::{LEEWAY, moment, replay_id};
use crate::{IdTokenError, IdTokenKeys, UnverifiedIdToken};

/// What a token of one trust provider must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceRules<'a> {
    /// Who issued it.
    pub source: EvidenceSource<'a>,
    /// The one value of `aud`.
    pub audience: &'a str,
    /// `typ` in lower case, where it must be another one than `JWT` or none.
    pub typ: Option<&'a str>,
    /// The longest life, from `iat` to `exp`.
    pub max_lifetime: Duration,
    /// The greatest age, from `iat` until now.
    pub max_age: Duration,
}

/// Who may have issued a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvidenceSource<'a> {
    /// Whoever is named by this `iss`.
    Issuer(&'a str),
    /// A SPIFFE trust domain: the token is a JWT-SVID, `sub` a SPIFFE ID of it (JWT-SVID §3.1).
    TrustDomain(&'a str),
}

/// A verified token of a platform. The only makers are [`EvidenceToken::verify`], which has checked
/// its signature, and [`EvidenceToken::dangerous_vouched`].
#[derive(Clone, PartialEq, Eq)]
pub struct EvidenceToken {
    subject: String,
    expires_at: Timestamp,
    claims: Map<String, Value>,
    replay_id: String,
}

/// Why a token is no evidence. The fault of whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// A rule that ID tokens have too.
    #[error("{0}")]
    Token(#[from] IdTokenError),
    /// `typ` is another one than it must be.
    #[error("`typ` of this token is not what its trust provider's tokens have")]
    Type,
    /// `sub` is no SPIFFE ID of the trust domain.
    #[error("`sub` is no SPIFFE ID of the trust domain that vouches (JWT-SVID §3.1)")]
    Subject,
    /// A JWT-SVID has a header that it must not have.
    #[error("a JWT-SVID has the headers `alg`, `kid` and `typ` alone (JWT-SVID §2)")]
    Header,
    /// It was made to live too long.
    #[error(
        "the token was issued for longer than the {0} s that its trust provider allows; ask for a shorter one"
    )]
    Lifetime(u64),
    /// It is too old.
    #[error(
        "the token was issued more than the {0} s ago that its trust provider allows; fetch a new one"
    )]
    Age(u64),
}

impl EvidenceToken {
    /// Verifies `token` with `keys`: signature, then everything in `rules`.
    pub fn verify(
        token: &str,
        keys: &IdTokenKeys,
        rules: &EvidenceRules<'_>,
        now: Timestamp,
    ) -> Result<Self, EvidenceError> {
        let unverified = UnverifiedIdToken::parse(token)?;
        keys.check_signature(&unverified)?;
        Self::read(unverified, rules, now)
    }

    /// Reads `token` by `rules` without looking at its signature: whoever calls must have the word
    /// of somebody who did, for this very text.
    pub fn dangerous_vouched(
        token: &str,
        rules: &EvidenceRules<'_>,
        now: Timestamp,
    ) -> Result<Self, EvidenceError> {
        Self::read(UnverifiedIdToken::parse(token)?, rules, now)
    }

    /// Whether `token` could be good by `rules` at all, its signature aside. Costs no key, so it
    /// comes before anybody is asked.
    pub fn check_unverified(
        token: &str,
        rules: &EvidenceRules<'_>,
        now: Timestamp,
    ) -> Result<(), EvidenceError> {
        Self::dangerous_vouched(token, rules, now).map(drop)
    }

    fn read(
        unverified: UnverifiedIdToken<'_>,
        rules: &EvidenceRules<'_>,
        now: Timestamp,
    ) -> Result<Self, EvidenceError> {
        check_type(&unverified, rules)?;
        check_source(&unverified, rules.source)?;
        check_audience(unverified.untrusted_claims(), rules.audience)?;
        let expires_at = check_times(unverified.untrusted_claims(), rules, now)?;
        let replay_id = replay_id(&unverified);
        let claims = unverified.into_claims();
        Ok(Self {
            subject: subject(&claims)?.to_owned(),
            expires_at,
            claims,
            replay_id,
        })
    }

    /// `sub`.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// `exp`, on the issuer's clock.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Every claim.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// What makes this token this one, per issuer: `jti:…`, or `sha256:…` of what was signed.
    pub fn replay_id(&self) -> &str {
        &self.replay_id
    }
}

impl fmt::Debug for EvidenceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EvidenceToken(…)")
    }
}

/// RFC 8725 §3.11: a kind of token that was not asked for is refused by its `typ`.
fn check_type(
    token: &UnverifiedIdToken<'_>,
    rules: &EvidenceRules<'_>,
) -> Result<(), EvidenceError> {
    let typ = token.jws().untrusted_typ().map(str::to_ascii_lowercase);
    // RFC 7515 §4.1.9: `application/` may be left out.
    let typ = typ.map(|typ| typ.strip_prefix("application/").unwrap_or(&typ).to_owned());
    let fits = match (typ.as_deref(), rules.typ) {
        (typ, Some(wanted)) => typ == Some(wanted),
        (None | Some("jwt"), None) => true,
        // JWT-SVID §2.3.
        (Some("jose"), None) => matches!(rules.source, EvidenceSource::TrustDomain(_)),
        (Some(_), None) => false,
    };
    fits.then_some(()).ok_or(EvidenceError::Type)
}

fn check_source(
    token: &UnverifiedIdToken<'_>,
    source: EvidenceSource<'_>,
) -> Result<(), EvidenceError> {
    match source {
        EvidenceSource::Issuer(issuer) if token.untrusted_issuer() == Some(issuer) => Ok(()),
        EvidenceSource::Issuer(_) => Err(IdTokenError::Issuer.into()),
        EvidenceSource::TrustDomain(_) if token.jws().has_other_headers() => {
            Err(EvidenceError::Header)
        }
        EvidenceSource::TrustDomain(domain) => {
            let id = SpiffeId::parse(subject(token.untrusted_claims())?);
            match id {
                Ok(id) if id.trust_domain() == domain => Ok(()),
                Ok(_) | Err(_) => Err(EvidenceError::Subject),
            }
        }
    }
}

/// `aud` is the declared one and nobody else: a token for several is good at each of them (A4).
fn check_audience(claims: &Map<String, Value>, ours: &str) -> Result<(), IdTokenError> {
    let only = match claims.get("aud") {
        Some(Value::String(one)) => one == ours,
        Some(Value::Array(list)) => match list.as_slice() {
            [one] => one == ours,
            [] => false,
            [_, _, ..] => return Err(IdTokenError::SeveralAudiences),
        },
        Some(_) | None => return Err(IdTokenError::Claim("aud")),
    };
    only.then_some(()).ok_or(IdTokenError::Audience)
}

/// A JWT-SVID need not say when it was issued (JWT-SVID §3): then what is left of its life is held
/// against the longest life.
fn check_times(
    claims: &Map<String, Value>,
    rules: &EvidenceRules<'_>,
    now: Timestamp,
) -> Result<Timestamp, EvidenceError> {
    let expires_at = moment(claims, "exp")?.ok_or(IdTokenError::Claim("exp"))?;
    if now >= expires_at.plus(LEEWAY) {
        return Err(IdTokenError::Expired.into());
    }
    if moment(claims, "nbf")?.is_some_and(|from| from > now.plus(LEEWAY)) {
        return Err(IdTokenError::NotYetValid.into());
    }
    let too_long = EvidenceError::Lifetime(rules.max_lifetime.as_secs());
    let issued_at = match (moment(claims, "iat")?, rules.source) {
        (Some(issued_at), _) => issued_at,
        (None, EvidenceSource::Issuer(_)) => return Err(IdTokenError::Claim("iat").into()),
        (None, EvidenceSource::TrustDomain(_)) => {
            let longest = now.plus(LEEWAY).plus(rules.max_lifetime);
            return if expires_at > longest {
                Err(too_long)
            } else {
                Ok(expires_at)
            };
        }
    };
    if issued_at > now.plus(LEEWAY) {
        return Err(IdTokenError::FromTheFuture.into());
    }
    if expires_at > issued_at.plus(rules.max_lifetime) {
        return Err(too_long);
    }
    if now > issued_at.plus(rules.max_age).plus(LEEWAY) {
        return Err(EvidenceError::Age(rules.max_age.as_secs()));
    }
    Ok(expires_at)
}

fn subject(claims: &Map<String, Value>) -> Result<&str, IdTokenError> {
    let subject = claims.get("sub").and_then(Value::as_str);
    let fits =
        |text: &&str| (1..=2048).contains(&text.len()) && !text.chars().any(char::is_control);
    subject.filter(fits).ok_or(IdTokenError::Claim("sub"))
}
