//! Who asks: an access token for this very server workload.

use http::{HeaderMap, header};
use mandate_model::{KeysVersion, StoreEpoch};
use mandate_policy::decl::ServerWorkload;
use mandate_ports::Versions;
use mandate_token::{AccessToken, Audience, Expect, Kind, SignedClaims, Verified};
use sha2::{Digest, Sha256};

use super::proof::{Asking, Beside, Proofs};
use super::refusal::Refusal;
use crate::snapshot::Snapshot;

/// Tokens whose signature was verified. Remembers nothing else about them: expiry, audience,
/// stops and uses are asked anew each time (C7).
pub(crate) struct TokenCache<T = AccessToken>(moka::sync::Cache<Key, SignedClaims<T>>);

/// A token's digest, and the keys that verified it: their version means something within its store
/// alone.
type Key = (Digested, StoreEpoch, KeysVersion);
type Digested = [u8; 32];

fn key(token: &str, versions: &Versions) -> Key {
    (Sha256::digest(token).into(), versions.epoch, versions.keys)
}

impl<T: Kind + Send + Sync + 'static> TokenCache<T> {
    /// Room for the tokens of some thousand agents, for as long as a token lives.
    pub(crate) fn new() -> Self {
        let cache = moka::sync::Cache::builder()
            .max_capacity(MAX_TOKENS)
            .time_to_live(LIFE)
            .build();
        Self(cache)
    }

    /// The claims of `token`, if a key of ours signed them.
    pub(super) fn signed(
        &self,
        token: &str,
        snapshot: &Snapshot,
    ) -> Result<SignedClaims<T>, Refusal> {
        let key = key(token, &snapshot.versions);
        if let Some(known) = self.0.get(&key) {
            return Ok(known);
        }
        let signed = T::verify_signature(token, &snapshot.keys).map_err(Refusal::Token)?;
        self.0.insert(key, signed.clone());
        Ok(signed)
    }
}

/// The token of a request, verified for `server` at the moment that it is asked for. A token that is
/// bound to a key is good beside a proof of it and under the scheme `DPoP` alone; another one is not
/// under that scheme (RFC 9449 §7.2).
pub(super) fn authenticate(
    proofs: &Proofs,
    snapshot: &Snapshot,
    server: &ServerWorkload,
    headers: &HeaderMap,
    asked: &Asking<'_>,
    signed: &SignedClaims<AccessToken>,
) -> Result<Verified<AccessToken>, Refusal> {
    let Shown { scheme, token } = shown(headers)?;
    let proof = match scheme {
        Scheme::Bearer => None,
        Scheme::Dpop => Some(proofs.fresh(headers, asked.boot)?),
    };
    let audience = Audience::parse(&server.resource).map_err(|_| Refusal::NotNow {
        rule: "gateway.not_ready",
        detail: "the server workload has no usable resource indicator",
    })?;
    let expect = Expect {
        issuer: &snapshot.issuer,
        audience: &audience,
    };
    let verified = signed.check(&expect, asked.now).map_err(Refusal::Token)?;
    match (verified.claims().confirmation, proof) {
        (None, None) => Ok(verified),
        (None, Some(_)) => Err(Refusal::Unbound),
        (Some(_), None) => Err(Refusal::NoProof),
        (Some(bound), Some(proof)) => {
            // A certificate proves nothing here.
            let key = bound.jkt().ok_or(Refusal::OtherKey)?;
            let beside = Beside {
                token,
                task: None,
                bound_to: key,
                agent: verified.claims().acting.actor(),
            };
            proofs.check(proof, asked, &beside)?;
            Ok(verified)
        }
    }
}

/// A token, and how it says that it is to be taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) scheme: Scheme,
    pub(super) token: &'a str,
}

/// The scheme of an `authorization` field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// RFC 6750 §2.1.
    Bearer,
    /// RFC 9449 §7.1.
    Dpop,
}

/// The one token of the one `authorization` field.
pub(super) fn shown(headers: &HeaderMap) -> Result<Shown<'_>, Refusal> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return Err(Refusal::NoToken);
    };
    let text = field.to_str().map_err(|_| Refusal::NoToken)?;
    let (scheme, token) = text.split_once(' ').ok_or(Refusal::NoToken)?;
    let scheme = if scheme.eq_ignore_ascii_case("bearer") {
        Scheme::Bearer
    } else if scheme.eq_ignore_ascii_case("dpop") {
        Scheme::Dpop
    } else {
        return Err(Refusal::NoToken);
    };
    Ok(Shown { scheme, token })
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
