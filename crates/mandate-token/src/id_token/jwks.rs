//! Key sets of other people's issuers (RFC 7517 §5).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::algorithm::{Algorithm, PublicKey};
use super::{IdTokenError, UnverifiedIdToken};
use crate::{JsonProblem, strict};

/// The keys that an issuer of ID tokens publishes.
#[derive(Debug, Clone, Default)]
pub struct IdTokenKeys {
    keys: Vec<Key>,
    ignored: usize,
}

#[derive(Debug, Clone)]
struct Key {
    kid: Option<String>,
    /// The one algorithm that the set says it is for, where it says so.
    only: Option<Algorithm>,
    public: PublicKey,
}

/// The JWT keys of a SPIFFE bundle (SPIFFE Trust Domain and Bundle §4).
#[derive(Debug, Clone)]
pub struct SpiffeBundle {
    /// The keys for JWT-SVIDs. None at all is a bundle too: it revokes every key.
    pub keys: IdTokenKeys,
    /// After how many seconds to look again, where the bundle says it.
    pub refresh_hint: Option<u64>,
    /// Which edition it is, where the bundle says it. It only grows.
    pub sequence: Option<u64>,
}

/// Why a document is no key set. The fault of the issuer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// It is too long.
    #[error("a key set has at most {MAX_JWKS_BYTES} bytes")]
    TooLong,
    /// It is no strict JSON object with a list `keys`.
    #[error("the key set is malformed: {0}")]
    Json(JsonProblem),
    /// It has too many keys.
    #[error("a key set has at most {MAX_JWKS_KEYS} keys")]
    TooManyKeys,
}

impl IdTokenKeys {
    /// Reads a JWK set. Keys that cannot verify an ID token here are ignored and counted: of
    /// unknown kinds, for other uses, RSA under 2048 bits, points off their curve.
    pub fn from_jwks(json: &[u8]) -> Result<Self, JwksError> {
        let raw = RawSet::read(json)?;
        Ok(Self::of(&raw.keys, Key::read))
    }

    fn of(raw: &[Map<String, Value>], read: fn(&Map<String, Value>) -> Option<Key>) -> Self {
        let keys: Vec<Key> = raw.iter().filter_map(read).collect();
        let ignored = raw.len() - keys.len();
        Self { keys, ignored }
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key can be used.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys of the set cannot be used here.
    pub fn ignored(&self) -> usize {
        self.ignored
    }

    /// Whether a usable key has this `kid`; if not, fetching the set again may help.
    pub fn has_kid(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    pub(crate) fn check_signature(
        &self,
        token: &UnverifiedIdToken<'_>,
    ) -> Result<(), IdTokenError> {
        let jws = token.jws();
        let algorithm = Algorithm::parse(jws.untrusted_alg()).ok_or(IdTokenError::Algorithm)?;
        let candidates = self.candidates(token.untrusted_kid())?;
        let mut fitting = candidates
            .into_iter()
            .filter(|key| key.is_for(algorithm))
            .peekable();
        if fitting.peek().is_none() {
            return Err(IdTokenError::KeyKind);
        }
        let (message, signature) = (jws.signing_input(), jws.signature());
        fitting
            .any(|key| key.public.verifies(algorithm, message, signature))
            .then_some(())
            .ok_or(IdTokenError::Signature)
    }

    /// The keys that a token may be signed with: those with its `kid`; without one the only key.
    fn candidates(&self, kid: Option<&str>) -> Result<Vec<&Key>, IdTokenError> {
        let Some(kid) = kid else {
            return match self.keys.as_slice() {
                [only] => Ok(vec![only]),
                _ => Err(IdTokenError::MissingKeyId),
            };
        };
        let named = |key: &&Key| key.kid.as_deref() == Some(kid);
        let found: Vec<&Key> = self.keys.iter().filter(named).collect();
        if found.is_empty() {
            Err(IdTokenError::UnknownKey)
        } else {
            Ok(found)
        }
    }
}

impl SpiffeBundle {
    /// Reads a bundle. Keys for other uses, X.509 authorities above all, are ignored, and so is one
    /// without `kid`, which a bundle's key for JWT-SVIDs must have (JWT-SVID §6.1).
    pub fn from_json(json: &[u8]) -> Result<Self, JwksError> {
        let raw = RawSet::read(json)?;
        Ok(Self {
            keys: IdTokenKeys::of(&raw.keys, Key::read_jwt_authority),
            refresh_hint: raw.spiffe_refresh_hint,
            sequence: raw.spiffe_sequence,
        })
    }
}

impl Key {
    fn read(jwk: &Map<String, Value>) -> Option<Self> {
        if is_for_signatures(jwk) {
            Self::read_public(jwk)
        } else {
            None
        }
    }

    /// SPIFFE Trust Domain and Bundle §4.2.2: `use` is `jwt-svid`.
    fn read_jwt_authority(jwk: &Map<String, Value>) -> Option<Self> {
        if jwk.get("use").is_none_or(|value| value != "jwt-svid") {
            return None;
        }
        Self::read_public(jwk).filter(|key| key.kid.is_some())
    }

    fn read_public(jwk: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let public = match text("kty")? {
            "RSA" => PublicKey::rsa(&bytes("n")?, &bytes("e")?)?,
            "EC" => PublicKey::ec(text("crv")?, &bytes("x")?, &bytes("y")?)?,
            _ => return None,
        };
        let only = match jwk.get("alg") {
            None => None,
            Some(alg) => Some(Algorithm::parse(alg.as_str()?)?),
        };
        if only.is_some_and(|alg| !public.serves(alg)) {
            return None;
        }
        let kid = text("kid").map(str::to_owned);
        Some(Self { kid, only, public })
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        self.only.is_none_or(|only| only == algorithm) && self.public.serves(algorithm)
    }
}

/// `use` and `key_ops`, where present, must allow verification (RFC 7517 §4.2, §4.3).
fn is_for_signatures(jwk: &Map<String, Value>) -> bool {
    let by_use = jwk.get("use").is_none_or(|value| value == "sig");
    let by_ops = jwk.get("key_ops").is_none_or(|value| {
        value
            .as_array()
            .is_some_and(|ops| ops.iter().any(|op| op == "verify"))
    });
    by_use && by_ops
}

#[derive(serde::Deserialize)]
struct RawSet {
    keys: Vec<Map<String, Value>>,
    #[serde(default)]
    spiffe_refresh_hint: Option<u64>,
    #[serde(default)]
    spiffe_sequence: Option<u64>,
}

impl RawSet {
    fn read(json: &[u8]) -> Result<Self, JwksError> {
        if json.len() > MAX_JWKS_BYTES {
            return Err(JwksError::TooLong);
        }
        let raw: Self = strict::from_slice(json).map_err(JwksError::Json)?;
        if raw.keys.len() > MAX_JWKS_KEYS {
            return Err(JwksError::TooManyKeys);
        }
        Ok(raw)
    }
}

const MAX_JWKS_BYTES: usize = 256 * 1024;
const MAX_JWKS_KEYS: usize = 64;
