//! Whether a signature that held is verified again (C7).

use std::fmt;

use crate::{Issuer, JwtSvid, KeySet, Kind, SignedClaims, TaskToken, TokenError};

/// Verifies the signatures of what agents show at the token endpoint: each time, or once and then
/// remembered. Everything else about a token is asked anew each time.
///
/// Whoever remembers does so by the digest of the whole text and for one key set: a token that a key of
/// another set signed was never seen.
pub trait Signatures: fmt::Debug + Send + Sync {
    /// A client assertion ([`JwtSvid::verify_assertion_signature`]).
    fn assertion(
        &self,
        text: &str,
        keys: &KeySet,
        issuer: &Issuer,
    ) -> Result<SignedClaims<JwtSvid>, TokenError>;

    /// A task token ([`Kind::verify_signature`]).
    fn task(&self, text: &str, keys: &KeySet) -> Result<SignedClaims<TaskToken>, TokenError>;
}

/// Remembers nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct VerifyEach;

impl Signatures for VerifyEach {
    fn assertion(
        &self,
        text: &str,
        keys: &KeySet,
        issuer: &Issuer,
    ) -> Result<SignedClaims<JwtSvid>, TokenError> {
        JwtSvid::verify_assertion_signature(text, keys, issuer)
    }

    fn task(&self, text: &str, keys: &KeySet) -> Result<SignedClaims<TaskToken>, TokenError> {
        TaskToken::verify_signature(text, keys)
    }
}
