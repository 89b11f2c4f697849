//! ID tokens of people, issued by others (OpenID Connect Core §2, §3.1.3.7).
//!
//! Other people's tokens are read more leniently than ours in what may be absent or added, and not
//! at all in what is checked. How old a token may be, and whether it was used before, is the
//! caller's to decide (A2), who has a store.

mod algorithm;
mod jwks;

use std::fmt;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_model::Timestamp;
use serde_json::{Map, Value};

pub use jwks::{IdTokenKeys, JwksError, SpiffeBundle};

use crate::{TokenError, UnverifiedJws, strict};

/// A verified ID token of a person. The only maker is [`IdToken::verify`].
#[derive(Clone, PartialEq, Eq)]
pub struct IdToken {
    issuer: String,
    subject: String,
    issued_at: Timestamp,
    expires_at: Timestamp,
    claims: Map<String, Value>,
    replay_id: String,
}

/// Why an ID token is refused. The fault of whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    /// It is no compact JWS, or its header is dangerous.
    #[error("the token is malformed: {0}")]
    Malformed(TokenError),
    /// `typ` says that it is something else, such as an access token.
    #[error("this is no ID token: its `typ`, where present, must be `JWT`")]
    Type,
    /// `alg` is none of those allowed.
    #[error("`alg` is one of RS, PS and ES with 256, 384 or 512")]
    Algorithm,
    /// There is no `kid`, and the issuer has several keys.
    #[error("the token lacks `kid`, and its issuer does not have exactly one key")]
    MissingKeyId,
    /// No key of the issuer has this `kid`.
    #[error("the issuer publishes no usable key with this `kid`")]
    UnknownKey,
    /// The key is not for this `alg`.
    #[error("the key with this `kid` is not for this `alg`")]
    KeyKind,
    /// The signature does not hold.
    #[error("the signature of the token does not hold")]
    Signature,
    /// A claim is missing or has another form.
    #[error("the token lacks `{0}`, or it has another form than it must have")]
    Claim(&'static str),
    /// `iss` is another one.
    #[error("the token is of another issuer")]
    Issuer,
    /// `aud` does not name us.
    #[error("the token is for another audience")]
    Audience,
    /// `aud` names several.
    #[error("the token is for several audiences; ask the provider for one with a single `aud`")]
    SeveralAudiences,
    /// `azp` is not us.
    #[error("the token was issued to another party: `azp` must be the declared audience")]
    AuthorizedParty,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` lies ahead.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iat` lies ahead.
    #[error("the token was issued in the future: a clock is wrong")]
    FromTheFuture,
}

impl IdToken {
    /// Verifies `token` with the keys of `issuer`: signature, `iss`, `aud` and `azp`, times.
    /// Clocks of other people may be a minute off.
    pub fn verify(
        token: &str,
        keys: &IdTokenKeys,
        issuer: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<Self, IdTokenError> {
        let unverified = UnverifiedIdToken::parse(token)?;
        unverified.check_type()?;
        keys.check_signature(&unverified)?;
        let read = Self::read(unverified)?;
        if read.issuer != issuer {
            return Err(IdTokenError::Issuer);
        }
        check_audience(&read.claims, audience)?;
        read.check_times(now)?;
        Ok(read)
    }

    /// Takes claims whose signature holds into fields.
    fn read(unverified: UnverifiedIdToken<'_>) -> Result<Self, IdTokenError> {
        let replay_id = replay_id(&unverified);
        let claims = unverified.claims;
        Ok(Self {
            issuer: text(&claims, "iss")?.to_owned(),
            subject: subject(&claims)?.to_owned(),
            issued_at: moment(&claims, "iat")?.ok_or(IdTokenError::Claim("iat"))?,
            expires_at: moment(&claims, "exp")?.ok_or(IdTokenError::Claim("exp"))?,
            claims,
            replay_id,
        })
    }

    fn check_times(&self, now: Timestamp) -> Result<(), IdTokenError> {
        if now >= self.expires_at.plus(LEEWAY) {
            return Err(IdTokenError::Expired);
        }
        if self.issued_at > now.plus(LEEWAY) {
            return Err(IdTokenError::FromTheFuture);
        }
        match moment(&self.claims, "nbf")? {
            Some(from) if from > now.plus(LEEWAY) => Err(IdTokenError::NotYetValid),
            Some(_) | None => Ok(()),
        }
    }

    /// `iss`.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// `sub`: 1 to 255 bytes without control characters.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// `iat`, on the issuer's clock.
    pub fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// `exp`, on the issuer's clock.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Every claim.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// What makes this token this one, per issuer: its `jti`, or else the SHA-256 of what its
    /// issuer signed. Never of the whole text: from one ECDSA signature anyone can compute another
    /// valid one, and a token used twice would then look like two.
    pub fn replay_id(&self) -> &str {
        &self.replay_id
    }
}

impl fmt::Debug for IdToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdToken(of {})", self.issuer)
    }
}

/// An ID token taken apart, for finding the provider and the key. Nothing in it is verified.
pub struct UnverifiedIdToken<'a> {
    jws: UnverifiedJws<'a>,
    claims: Map<String, Value>,
}

impl<'a> UnverifiedIdToken<'a> {
    /// Takes `token` apart, strictly.
    pub fn parse(token: &'a str) -> Result<Self, IdTokenError> {
        let jws = UnverifiedJws::parse(token).map_err(IdTokenError::Malformed)?;
        let claims = strict::from_slice(jws.untrusted_claims()).map_err(|problem| {
            let part = crate::Part::Claims;
            IdTokenError::Malformed(TokenError::Json { part, problem })
        })?;
        Ok(Self { jws, claims })
    }

    /// The `iss` that it claims, for finding a *declared* provider. Never an address to fetch.
    pub fn untrusted_issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// The `kid` that it claims, for finding a key.
    pub fn untrusted_kid(&self) -> Option<&str> {
        self.jws.untrusted_kid()
    }

    /// The claims as they are claimed, for finding a declared provider.
    pub fn untrusted_claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    pub(crate) fn into_claims(self) -> Map<String, Value> {
        self.claims
    }

    pub(crate) fn jws(&self) -> &UnverifiedJws<'a> {
        &self.jws
    }

    /// An access token or any other typed token of the same issuer is no ID token (RFC 8725 §3.11).
    fn check_type(&self) -> Result<(), IdTokenError> {
        match self.jws.untrusted_typ() {
            Some(typ) if !typ.eq_ignore_ascii_case("JWT") => Err(IdTokenError::Type),
            Some(_) | None => Ok(()),
        }
    }
}

/// `aud` is us and nobody else: a token for several audiences is good at each of them, whatever `azp`
/// says (A4). Where `azp` is there, it must be us (OpenID Connect Core §3.1.3.7).
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
    if !only {
        return Err(IdTokenError::Audience);
    }
    match claims.get("azp") {
        None => Ok(()),
        Some(azp) if azp == ours => Ok(()),
        Some(_) => Err(IdTokenError::AuthorizedParty),
    }
}

fn text<'a>(claims: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, IdTokenError> {
    claims
        .get(name)
        .and_then(Value::as_str)
        .ok_or(IdTokenError::Claim(name))
}

fn subject(claims: &Map<String, Value>) -> Result<&str, IdTokenError> {
    let subject = text(claims, "sub")?;
    let fits = (1..=255).contains(&subject.len()) && !subject.chars().any(char::is_control);
    fits.then_some(subject).ok_or(IdTokenError::Claim("sub"))
}

pub(crate) fn moment(
    claims: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<Timestamp>, IdTokenError> {
    moment_of(claims, name).map_err(|()| IdTokenError::Claim(name))
}

/// A `NumericDate`, which others may write with a fraction (RFC 7519 §2); rounded down.
pub(crate) fn moment_of(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, ()> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let secs = value.as_u64().or_else(|| whole_seconds(value.as_f64()?));
    secs.map(|secs| Some(Timestamp::from_secs(secs))).ok_or(())
}

fn whole_seconds(secs: f64) -> Option<u64> {
    let exact = (0.0..9_007_199_254_740_992.0).contains(&secs);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked; the fraction is to go"
    )]
    exact.then_some(secs as u64)
}

pub(crate) fn replay_id(token: &UnverifiedIdToken<'_>) -> String {
    let jti = token.claims.get("jti").and_then(Value::as_str);
    match jti.filter(|jti| (1..=200).contains(&jti.len())) {
        Some(jti) => format!("jti:{jti}"),
        None => {
            let hash = digest::digest(&digest::SHA256, token.jws.signing_input());
            format!("sha256:{}", URL_SAFE_NO_PAD.encode(hash))
        }
    }
}

/// Clocks of other people may be so far off.
pub(crate) const LEEWAY: Duration = Duration::from_secs(60);
