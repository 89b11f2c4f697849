//! Outgoing tokens: build, sign elsewhere, then read again what was signed (STYLE 4).

use std::fmt;
use std::marker::PhantomData;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_model::{KeyId, Secret, Timestamp};

use crate::jws::SignedBytes;
use crate::{
    Expect, KeySet, Kind, Limit, MAX_TOKEN_BYTES, SignedClaims, TokenError, UnverifiedJws, Verified,
};

/// Why claims do not become a token. Our own fault: they should not have been granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Every verifier would refuse it.
    #[error("no verifier would accept the token: {0}")]
    Refused(#[from] TokenError),
    /// The claims could not be written as JSON.
    #[error("the claims could not be written as JSON")]
    Encoding,
}

/// Why a signed token may not leave. Our own fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// It does not verify.
    #[error("the token that was signed does not verify: {0}")]
    Refused(#[from] TokenError),
    /// It says something else than was granted.
    #[error("the token that was signed says something else than was granted")]
    Differs,
}

/// A token without its signature.
pub struct UnsignedToken<T> {
    signing_input: String,
    key: KeyId,
    kind: PhantomData<T>,
}

/// Claims as a token will say them, written once: to see whether they fit, and to be signed.
#[derive(Debug)]
pub struct Encoded<T> {
    claims: T,
    json: Result<Vec<u8>, BuildError>,
}

impl<T: Kind> Encoded<T> {
    /// Times become whole seconds (RFC 7519 §2) such that the token is never valid for longer than `claims`
    /// say.
    pub fn new(claims: T) -> Self {
        let claims = claims.in_whole_seconds();
        let json = claims.encode();
        Self { claims, json }
    }

    /// What the token will say.
    pub fn claims(&self) -> &T {
        &self.claims
    }

    /// Checks that the token passes no limit, whatever key signs it (FAILURES 10). Whatever else keeps claims
    /// from becoming a token, [`unsigned`](Self::unsigned) tells.
    pub fn fits(&self) -> Result<(), Limit> {
        match &self.json {
            Err(BuildError::Refused(TokenError::TooLarge(limit))) => Err(*limit),
            Ok(json) if signed_chars(LONGEST_HEADER, json.len()) > MAX_TOKEN_BYTES => {
                Err(Limit::TokenBytes)
            }
            Ok(_) | Err(BuildError::Refused(_) | BuildError::Encoding) => Ok(()),
        }
    }

    /// The token, to be signed by `key`.
    pub fn unsigned(&self, key: &KeyId) -> Result<UnsignedToken<T>, BuildError> {
        let json = self.json.as_ref().map_err(Clone::clone)?;
        let header = Header {
            alg: "ES256",
            kid: key,
            typ: T::KIND.typ,
        };
        let header = serde_json::to_vec(&header).map_err(|_| BuildError::Encoding)?;
        let length = signed_chars(header.len(), json.len());
        if length > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLarge(Limit::TokenBytes).into());
        }
        let mut signing_input = String::with_capacity(length);
        URL_SAFE_NO_PAD.encode_string(header, &mut signing_input);
        signing_input.push('.');
        URL_SAFE_NO_PAD.encode_string(json, &mut signing_input);
        Ok(UnsignedToken {
            signing_input,
            key: key.clone(),
            kind: PhantomData,
        })
    }
}

/// How long a token is whose header and claims have so many bytes.
fn signed_chars(header: usize, claims: usize) -> usize {
    let encoded = |bytes: usize| bytes.saturating_mul(4).div_ceil(3);
    encoded(header)
        .saturating_add(encoded(claims))
        .saturating_add(2 + SIGNATURE_CHARS)
}

impl<T: Kind> UnsignedToken<T> {
    /// What the key signs with ES256 (RFC 7515 §5.1).
    pub fn signing_input(&self) -> &[u8] {
        self.signing_input.as_bytes()
    }

    /// The key that the header names, and that must sign.
    pub fn key(&self) -> &KeyId {
        &self.key
    }

    /// The token with its signature, `r ‖ s` (RFC 7518 §3.4).
    pub fn assemble(self, signature: &[u8; 64]) -> SignedToken<T> {
        let mut text = self.signing_input;
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        SignedToken {
            text: Secret::new(text),
            kind: PhantomData,
        }
    }
}

impl<T> fmt::Debug for UnsignedToken<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnsignedToken(key {})", self.key)
    }
}

/// A signed token that nobody has read again. Its text cannot be had.
pub struct SignedToken<T> {
    text: Secret<String>,
    kind: PhantomData<T>,
}

impl<T: Kind> SignedToken<T> {
    /// Reads and verifies what was signed, as its audience will at `now` (or, where the token begins
    /// later, when it begins), and compares every claim with `intended`.
    pub fn check(
        self,
        keys: &KeySet,
        intended: &T,
        now: Timestamp,
    ) -> Result<CheckedToken<T>, CheckError> {
        let intended = intended.clone().in_whole_seconds();
        let signed = T::verify_signature(self.text.expose(), keys)?;
        self.compare(signed, &intended, now)
    }

    /// The same but for the arithmetic of the signature, which takes several times as long as making one:
    /// for whoever knows that its key's signatures verify. Form, header, key, its use and every claim are
    /// read and compared all the same.
    pub fn check_vouched(
        self,
        keys: &KeySet,
        intended: &Encoded<T>,
        now: Timestamp,
    ) -> Result<CheckedToken<T>, CheckError> {
        let SignedBytes { key, claims } =
            UnverifiedJws::parse(self.text.expose())?.read_vouched(keys, &T::KIND)?;
        let signed = SignedClaims::of(T::decode(&claims)?, key);
        self.compare(signed, &intended.claims, now)
    }

    fn compare(
        self,
        signed: SignedClaims<T>,
        intended: &T,
        now: Timestamp,
    ) -> Result<CheckedToken<T>, CheckError> {
        let common = intended.common();
        let expect = Expect {
            issuer: common.issuer,
            audience: common.audience,
        };
        let moment = common.not_before.map_or(now, |from| from.max(now));
        let verified = signed.check(&expect, moment)?;
        if verified.claims() != intended {
            return Err(CheckError::Differs);
        }
        let text = self.text;
        Ok(CheckedToken { text, verified })
    }
}

impl<T> fmt::Debug for SignedToken<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignedToken(…)")
    }
}

/// A token that says what was granted and that its audience will accept: the only one to send.
pub struct CheckedToken<T> {
    text: Secret<String>,
    verified: Verified<T>,
}

impl<T> CheckedToken<T> {
    /// The token's text, for the reply alone.
    pub fn expose_text(&self) -> &str {
        self.text.expose()
    }

    /// What it says, and which key signed it.
    pub fn verified(&self) -> &Verified<T> {
        &self.verified
    }

    /// What it says.
    pub fn claims(&self) -> &T {
        self.verified.claims()
    }
}

impl<T> fmt::Debug for CheckedToken<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CheckedToken(…)")
    }
}

#[derive(serde::Serialize)]
struct Header<'a> {
    alg: &'static str,
    kid: &'a KeyId,
    typ: &'static str,
}

/// 64 bytes in base64url.
const SIGNATURE_CHARS: usize = 86;
/// A [`KeyId`] has at most 200 bytes, of which none needs an escape; the rest is `{"alg":…,"kid":…,"typ":…}`.
const LONGEST_HEADER: usize = 200 + 64;
