//! Who asks: an access token for this very server workload.

use http::{HeaderMap, header};
use mandate_model::{KeysVersion, StoreEpoch, Timestamp};
use mandate_policy::decl::ServerWorkload;
use mandate_ports::Versions;
use mandate_token::{AccessToken, Audience, Expect, Kind, SignedClaims, Verified};
use sha2::{Digest, Sha256};

use super::refusal::Refusal;
use crate::snapshot::Snapshot;

/// Tokens whose signature was verified. Remembers nothing else about them: expiry, audience,
/// stops and uses are asked anew each time (C7).
pub(crate) struct TokenCache(moka::sync::Cache<Key, SignedClaims<AccessToken>>);

/// A token's digest, and the keys that verified it: their version means something within its store
/// alone.
type Key = (Digested, StoreEpoch, KeysVersion);
type Digested = [u8; 32];

fn key(token: &str, versions: &Versions) -> Key {
    (Sha256::digest(token).into(), versions.epoch, versions.keys)
}

impl TokenCache {
    /// Room for the tokens of some thousand agents, for as long as a token lives.
    pub(crate) fn new() -> Self {
        let cache = moka::sync::Cache::builder()
            .max_capacity(MAX_TOKENS)
            .time_to_live(LIFE)
            .build();
        Self(cache)
    }

    fn signed(
        &self,
        token: &str,
        snapshot: &Snapshot,
    ) -> Result<SignedClaims<AccessToken>, Refusal> {
        let key = key(token, &snapshot.versions);
        if let Some(known) = self.0.get(&key) {
            return Ok(known);
        }
        let signed =
            AccessToken::verify_signature(token, &snapshot.keys).map_err(Refusal::Token)?;
        self.0.insert(key, signed.clone());
        Ok(signed)
    }
}

/// The token of a request, verified for `server` at `now`.
pub(super) fn authenticate(
    cache: &TokenCache,
    snapshot: &Snapshot,
    server: &ServerWorkload,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Verified<AccessToken>, Refusal> {
    let token = bearer(headers)?;
    let audience = Audience::parse(&server.resource).map_err(|_| Refusal::NotNow {
        rule: "gateway.not_ready",
        detail: "the server workload has no usable resource indicator",
    })?;
    let expect = Expect {
        issuer: &snapshot.issuer,
        audience: &audience,
    };
    let signed = cache.signed(token, snapshot)?;
    let verified = signed.check(&expect, now).map_err(Refusal::Token)?;
    // Bound tokens need a proof, and no proof is understood here yet: refused, never waved through.
    if verified.claims().confirmation.is_some() {
        return Err(Refusal::NoProof);
    }
    Ok(verified)
}

/// That a request has a token that this authority signed, for whatever it is and was.
pub(super) fn is_ours(
    cache: &TokenCache,
    snapshot: &Snapshot,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    cache.signed(bearer(headers)?, snapshot).map(drop)
}

/// The one bearer token of the one `authorization` field (RFC 6750 §2.1).
pub(super) fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return Err(Refusal::NoToken);
    };
    let text = field.to_str().map_err(|_| Refusal::NoToken)?;
    let (scheme, token) = text.split_once(' ').ok_or(Refusal::NoToken)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token)
    } else {
        Err(Refusal::NoToken)
    }
}

const MAX_TOKENS: u64 = 16_384;
const LIFE: std::time::Duration = std::time::Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use mandate_model::{BundleVersion, StopVersion};

    use super::*;

    #[test]
    fn what_keys_of_another_store_have_verified_is_verified_anew() {
        let versions = |epoch: u8, keys| Versions {
            epoch: StoreEpoch::from_random([epoch; 16]),
            stops: StopVersion::new(1),
            bundle: BundleVersion::new(1),
            keys: KeysVersion::new(keys),
        };
        let known = key("a.b.c", &versions(7, 1));
        assert_eq!(known, key("a.b.c", &versions(7, 1)));
        for other in [versions(8, 1), versions(7, 2)] {
            assert_ne!(known, key("a.b.c", &other));
        }
    }
}
