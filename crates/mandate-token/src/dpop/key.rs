//! The public key that a proof brings (RFC 7517), and what it is known by (RFC 7638).

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_model::Thumbprint;
use serde_json::{Map, Value};

use super::ProofError;

/// Algorithms of proofs, as metadata publishes them. RSA is not among them: a caller chooses the key,
/// and with it what checking costs. `EdDSA` and `Ed25519` are the same thing here (RFC 9864 §2.2).
pub const PROOF_ALGORITHMS: [&str; 3] = ["ES256", "EdDSA", "Ed25519"];

/// A public key as a proof brings it: of the right form. That it is a point of its curve is found out
/// when it is used.
pub(super) enum ProofKey {
    P256 { x: [u8; 32], y: [u8; 32] },
    Ed25519 { x: [u8; 32] },
}

impl ProofKey {
    /// The key in `jwk`, for the algorithm `alg`.
    pub(super) fn read(alg: &str, jwk: &Map<String, Value>) -> Result<Self, ProofError> {
        if let Some(secret) = PRIVATE.iter().find(|name| jwk.contains_key(**name)) {
            return Err(ProofError::PrivateKey(secret));
        }
        let is = |name: &str, word: &str| jwk.get(name).is_some_and(|value| value == word);
        match alg {
            "ES256" if is("kty", "EC") && is("crv", "P-256") => Ok(Self::P256 {
                x: coordinate(jwk, "x")?,
                y: coordinate(jwk, "y")?,
            }),
            "EdDSA" | "Ed25519" if is("kty", "OKP") && is("crv", "Ed25519") => Ok(Self::Ed25519 {
                x: coordinate(jwk, "x")?,
            }),
            "ES256" | "EdDSA" | "Ed25519" => Err(ProofError::Key),
            _ => Err(ProofError::Algorithm),
        }
    }

    /// The key with this uncompressed point of P-256 (SEC 1 §2.3.3).
    pub(super) fn of_point(point: &[u8; 65]) -> Self {
        // INVARIANT: an uncompressed point is 0x04 ‖ x ‖ y, 32 bytes each.
        let [_, coordinates @ ..] = point;
        let (mut x, mut y) = ([0; 32], [0; 32]);
        let (first, second) = coordinates.split_at(32);
        x.copy_from_slice(first);
        y.copy_from_slice(second);
        Self::P256 { x, y }
    }

    /// The required members alone, sorted, without white space: what RFC 7638 §3 hashes, and all of
    /// the key that a proof needs to show.
    pub(super) fn canonical(&self) -> String {
        let text = |bytes: &[u8; 32]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            ProofKey::P256 { x, y } => format!(
                r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
                text(x),
                text(y)
            ),
            ProofKey::Ed25519 { x } => {
                format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text(x))
            }
        }
    }

    pub(super) fn thumbprint(&self) -> Thumbprint {
        Thumbprint::new(sha256(self.canonical().as_bytes()))
    }

    /// Whether the key is one and signed `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let parsed = match self {
            ProofKey::P256 { x, y } => {
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            }
            ProofKey::Ed25519 { x } => ParsedPublicKey::new(&ED25519, x),
        };
        parsed.is_ok_and(|key| key.verify_sig(message, signature).is_ok())
    }
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

fn coordinate(jwk: &Map<String, Value>, name: &str) -> Result<[u8; 32], ProofError> {
    let text = jwk.get(name).and_then(Value::as_str);
    let bytes = text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(ProofError::Key)
}

/// Members of private and symmetric keys (RFC 7518 §6.2.2, §6.3.2, §6.4; RFC 8037 §2).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
