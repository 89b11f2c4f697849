//! The public keys of this authority, each good for one use.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_model::KeyId;
use serde_json::{Value, json};

/// What a key signs. A token of one use signed by a key of the other is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyUse {
    /// JWT-SVIDs. Published in the SPIFFE bundle.
    Svid,
    /// Task tokens, access tokens and tokens for upstreams. Published in the JWKS.
    Oauth,
}

/// Why keys are no key set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// The bytes are no uncompressed point of P-256.
    #[error("key `{0}` is no uncompressed P-256 point of 65 bytes")]
    NoPoint(KeyId),
    /// Two keys have one `kid`.
    #[error("two keys have the `kid` `{0}`")]
    Duplicate(KeyId),
}

/// ES256 public keys by `kid`, parsed once. Immutable: a change is another set.
#[derive(Clone, Default)]
pub struct KeySet {
    keys: BTreeMap<KeyId, Key>,
}

#[derive(Clone)]
struct Key {
    r#use: KeyUse,
    point: [u8; 65],
    parsed: ParsedPublicKey,
}

impl KeySet {
    /// The set of `keys`, each a `kid`, a use and an uncompressed point (SEC 1 §2.3.3).
    pub fn new<P: AsRef<[u8]>>(
        keys: impl IntoIterator<Item = (KeyId, KeyUse, P)>,
    ) -> Result<Self, KeySetError> {
        let mut set = BTreeMap::new();
        for (id, r#use, point) in keys {
            let key =
                Key::new(r#use, point.as_ref()).ok_or_else(|| KeySetError::NoPoint(id.clone()))?;
            if set.insert(id.clone(), key).is_some() {
                return Err(KeySetError::Duplicate(id));
            }
        }
        Ok(Self { keys: set })
    }

    /// Every key with its use and point, sorted by `kid`.
    pub fn iter(&self) -> impl Iterator<Item = (&KeyId, KeyUse, &[u8; 65])> {
        self.keys
            .iter()
            .map(|(id, key)| (id, key.r#use, &key.point))
    }

    /// The JWK set for verifiers of task and access tokens (RFC 7517 §5).
    pub fn jwks_oauth(&self) -> Value {
        json!({"keys": self.jwks(KeyUse::Oauth, "sig")})
    }

    /// The SPIFFE bundle for verifiers of JWT-SVIDs (SPIFFE Trust Domain and Bundle §4).
    ///
    /// `sequence` grows with each change; `refresh_hint` says how often to look again.
    pub fn spiffe_bundle(&self, sequence: u64, refresh_hint: Duration) -> Value {
        json!({
            "keys": self.jwks(KeyUse::Svid, "jwt-svid"),
            "spiffe_sequence": sequence,
            "spiffe_refresh_hint": refresh_hint.as_secs(),
        })
    }

    fn jwks(&self, wanted: KeyUse, word: &str) -> Vec<Value> {
        let mine = self.keys.iter().filter(|(_, key)| key.r#use == wanted);
        mine.map(|(id, key)| key.jwk(id, word)).collect()
    }

    pub(crate) fn find(&self, id: &KeyId) -> Option<(KeyUse, &ParsedPublicKey)> {
        self.keys.get(id).map(|key| (key.r#use, &key.parsed))
    }
}

impl Key {
    fn new(r#use: KeyUse, point: &[u8]) -> Option<Self> {
        let point: [u8; 65] = point.try_into().ok()?;
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()?;
        Some(Self {
            r#use,
            point,
            parsed,
        })
    }

    fn jwk(&self, id: &KeyId, word: &str) -> Value {
        // INVARIANT: an uncompressed point is 0x04 ‖ x ‖ y, 32 bytes each.
        let [_, coordinates @ ..] = &self.point;
        let (x, y) = coordinates.split_at(32);
        json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": word, "kid": id,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        })
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uses = self.keys.iter().map(|(id, key)| (id, key.r#use));
        f.debug_map().entries(uses).finish()
    }
}
