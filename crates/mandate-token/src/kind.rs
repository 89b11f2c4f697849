//! What all kinds of ours share: the steps from text to [`Verified`], never the claims.

use std::sync::Arc;
use std::time::Duration;

use mandate_model::{KeyId, Timestamp};

use crate::jws::SignedBytes;
use crate::{
    Audience, BuildError, Encoded, Issuer, KeySet, TokenError, UnsignedToken, UnverifiedJws,
};

/// What a verifier expects of a token, byte for byte.
#[derive(Debug, Clone, Copy)]
pub struct Expect<'a> {
    /// The authority.
    pub issuer: &'a Issuer,
    /// The verifier itself, as A4 names it.
    pub audience: &'a Audience,
}

/// How far ahead `iat` may lie: clocks of one authority's machines differ by less. `exp` and `nbf`
/// have no leeway at all, for issuer and verifiers belong to one authority (FAILURES 42).
pub const FUTURE_LEEWAY: Duration = Duration::from_secs(5);

/// A kind of token that this authority issues. Implemented by this crate's five kinds alone.
///
/// ```
/// use mandate_token::{AccessToken, Audience, Expect, Issuer, KeySet, Kind, TokenError};
///
/// let issuer = Issuer::parse("https://id.acme.example")?;
/// let audience = Audience::parse("https://records.acme.example")?;
/// let expect = Expect { issuer: &issuer, audience: &audience };
/// let now = mandate_model::Timestamp::from_secs(1_800_000_000);
/// let refused = AccessToken::verify("not.a.token", &KeySet::default(), &expect, now);
/// assert!(refused.is_err());
/// # Ok::<(), mandate_token::MalformedUri>(())
/// ```
pub trait Kind: sealed::Claims {
    /// Verifies all of `token`: form, header, key use, signature, claims, issuer, audience, times.
    fn verify(
        token: &str,
        keys: &KeySet,
        expect: &Expect<'_>,
        now: Timestamp,
    ) -> Result<Verified<Self>, TokenError> {
        Self::verify_signature(token, keys)?.check(expect, now)
    }

    /// Verifies what never changes about `token`: all but issuer, audience and times. This is what
    /// a cache may remember, together with the version of `keys` (C7).
    fn verify_signature(token: &str, keys: &KeySet) -> Result<SignedClaims<Self>, TokenError> {
        let SignedBytes { key, claims } = UnverifiedJws::parse(token)?.verify(keys, &Self::KIND)?;
        let claims = Arc::new(Self::decode(&claims)?);
        Ok(SignedClaims { claims, key })
    }

    /// The token with these claims, to be signed by `key`. Times become whole seconds (RFC 7519
    /// §2) such that the token is never valid for longer than the claims say.
    fn unsigned(self, key: &KeyId) -> Result<UnsignedToken<Self>, BuildError> {
        Encoded::new(self).unsigned(key)
    }
}

impl<T: sealed::Claims> Kind for T {}

/// Claims that a key of ours signed. Says nothing yet about issuer, audience and time.
///
/// Cheap to clone and to keep.
#[derive(Debug, Clone)]
pub struct SignedClaims<T> {
    claims: Arc<T>,
    key: KeyId,
}

impl<T: Kind> SignedClaims<T> {
    /// Checks issuer, audience and times at `now`. To be asked anew at each use.
    pub fn check(&self, expect: &Expect<'_>, now: Timestamp) -> Result<Verified<T>, TokenError> {
        let common = self.claims.common();
        if common.issuer != expect.issuer {
            return Err(TokenError::Issuer);
        }
        if common.audience != expect.audience {
            return Err(TokenError::Audience);
        }
        common.check_times(now)?;
        Ok(Verified {
            claims: Arc::clone(&self.claims),
            key: self.key.clone(),
        })
    }

    pub(crate) fn of(claims: T, key: KeyId) -> Self {
        let claims = Arc::new(claims);
        Self { claims, key }
    }
}

/// Claims of a token that was good for its verifier at one moment. The only maker is verification.
#[derive(Debug, Clone)]
pub struct Verified<T> {
    claims: Arc<T>,
    key: KeyId,
}

impl<T> Verified<T> {
    /// The claims.
    pub fn claims(&self) -> &T {
        &self.claims
    }

    /// The claims, shared with whoever remembers the signature: two that are the same here are those of
    /// one token.
    pub fn shared(&self) -> &Arc<T> {
        &self.claims
    }

    /// The key that signed them; a suspension may name it.
    pub fn signed_by(&self) -> &KeyId {
        &self.key
    }
}

impl<T: Kind> Verified<T> {
    /// The claims as the token says them, for whoever may look inside (RFC 7662 §2.2).
    pub fn to_json(&self) -> Result<serde_json::Value, BuildError> {
        let text = self.claims.encode()?;
        serde_json::from_slice(&text).map_err(|_| BuildError::Encoding)
    }
}

pub(crate) mod sealed {
    use super::{Audience, BuildError, FUTURE_LEEWAY, Issuer, Timestamp, TokenError};
    use crate::KeyUse;

    /// What distinguishes a kind of ours before its claims are read.
    pub struct OwnKind {
        pub(crate) name: &'static str,
        pub(crate) typ: &'static str,
        pub(crate) key_use: KeyUse,
    }

    /// The claims of one kind of ours.
    pub trait Claims: Clone + PartialEq + std::fmt::Debug + Sized {
        /// What tells the kind apart before its claims are read.
        const KIND: OwnKind;

        /// Reads claims that a key of this kind's use signed.
        fn decode(json: &[u8]) -> Result<Self, TokenError>;

        /// Writes the claims; refuses those that `decode` would refuse.
        fn encode(&self) -> Result<Vec<u8>, BuildError>;

        /// What every kind has.
        fn common(&self) -> Common<'_>;

        /// The claims as the wire can say them: in whole seconds, never more generous.
        fn in_whole_seconds(self) -> Self;
    }

    /// The claims that are checked alike for every kind.
    pub struct Common<'a> {
        pub(crate) issuer: &'a Issuer,
        pub(crate) audience: &'a Audience,
        pub(crate) issued_at: Timestamp,
        pub(crate) not_before: Option<Timestamp>,
        pub(crate) expires_at: Timestamp,
    }

    impl Common<'_> {
        pub(crate) fn check_times(&self, now: Timestamp) -> Result<(), TokenError> {
            if self.issued_at > now.plus(FUTURE_LEEWAY) {
                return Err(TokenError::FromTheFuture);
            }
            if self.not_before.is_some_and(|from| now < from) {
                return Err(TokenError::NotYetValid);
            }
            if now >= self.expires_at {
                return Err(TokenError::Expired);
            }
            Ok(())
        }
    }
}
