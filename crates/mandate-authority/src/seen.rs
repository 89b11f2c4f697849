//! Signatures that held, remembered for one key set (C7).

use std::fmt;
use std::time::Duration;

use mandate_token::{
    Issuer, JwtSvid, KeySet, Signatures, SignedClaims, TaskToken, TokenError, VerifyEach,
};
use moka::sync::Cache;
use sha2::{Digest, Sha256};

/// What agents have shown of late and a key of this set signed. Expiry, stops, tasks and proofs are no part
/// of it: they are asked anew each time.
///
/// It belongs to the key set that it was made with and is gone together with it.
pub(crate) struct Seen {
    assertions: Cache<Digested, SignedClaims<JwtSvid>>,
    tasks: Cache<Digested, SignedClaims<TaskToken>>,
}

type Digested = [u8; 32];

impl Seen {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            assertions: Cache::builder()
                .max_capacity(MAX_TOKENS)
                .time_to_idle(IDLE)
                .build(),
            tasks: Cache::builder()
                .max_capacity(MAX_TOKENS)
                .time_to_idle(IDLE)
                .build(),
        }
    }
}

impl Signatures for Seen {
    fn assertion(
        &self,
        text: &str,
        keys: &KeySet,
        issuer: &Issuer,
    ) -> Result<SignedClaims<JwtSvid>, TokenError> {
        remembered(&self.assertions, text, || {
            VerifyEach.assertion(text, keys, issuer)
        })
    }

    fn task(&self, text: &str, keys: &KeySet) -> Result<SignedClaims<TaskToken>, TokenError> {
        remembered(&self.tasks, text, || VerifyEach.task(text, keys))
    }
}

/// What is known of `text`, or else what `verify` says of it. Failures are not remembered: whoever sends
/// rubbish puts nothing in here.
fn remembered<T: Clone + Send + Sync + 'static>(
    cache: &Cache<Digested, T>,
    text: &str,
    verify: impl FnOnce() -> Result<T, TokenError>,
) -> Result<T, TokenError> {
    let digest: Digested = Sha256::digest(text).into();
    if let Some(known) = cache.get(&digest) {
        return Ok(known);
    }
    let verified = verify()?;
    cache.insert(digest, verified.clone());
    Ok(verified)
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seen(…)")
    }
}

/// Of each of the two kinds: some kilobytes each.
const MAX_TOKENS: u64 = 4096;
/// What nobody shows any more is forgotten.
const IDLE: Duration = Duration::from_secs(120);
