//! Outgoing tokens: build, sign elsewhere, then read again what was signed (STYLE 4).

use std::fmt;
use std::marker::PhantomData;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_model::{KeyId, Secret, Timestamp};

use crate::{Expect, KeySet, Kind, Limit, MAX_TOKEN_BYTES, TokenError, Verified};

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

impl<T: Kind> UnsignedToken<T> {
    pub(crate) fn new(claims: &T, key: &KeyId) -> Result<Self, BuildError> {
        let header = Header {
            alg: "ES256",
            kid: key,
            typ: T::KIND.typ,
        };
        let header = serde_json::to_vec(&header).map_err(|_| BuildError::Encoding)?;
        let mut signing_input = URL_SAFE_NO_PAD.encode(header);
        signing_input.push('.');
        URL_SAFE_NO_PAD.encode_string(claims.encode()?, &mut signing_input);
        if signing_input.len() + 1 + SIGNATURE_CHARS > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLarge(Limit::TokenBytes).into());
        }
        Ok(Self {
            signing_input,
            key: key.clone(),
            kind: PhantomData,
        })
    }

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
        let common = intended.common();
        let expect = Expect {
            issuer: common.issuer,
            audience: common.audience,
        };
        let moment = common.not_before.map_or(now, |from| from.max(now));
        let verified = T::verify(self.text.expose(), keys, &expect, moment)?;
        if *verified.claims() != intended {
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
