//! Proofs of our own clients: assembled here, signed by whoever has the key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_model::{Thumbprint, Timestamp};
use serde_json::{Map, Value};

use super::key::ProofKey;
use super::{HttpTarget, TYP, hash_of};

/// The request that a proof is made for, and by whom.
#[derive(Debug, Clone, Copy)]
pub struct ProofRequest<'a> {
    /// The maker's public key: an uncompressed point of P-256.
    pub point: &'a [u8; 65],
    /// What no other proof of this key has: random.
    pub jti: &'a str,
    /// The request's method.
    pub method: &'a str,
    /// The request's target.
    pub target: &'a HttpTarget,
    /// The moment.
    pub now: Timestamp,
    /// The token that is shown beside the proof.
    pub access_token: Option<&'a str>,
    /// The task token that is shown beside the proof.
    pub task_token: Option<&'a str>,
    /// The nonce that the server gave.
    pub nonce: Option<&'a str>,
}

/// A proof without its signature.
#[derive(Debug)]
pub struct UnsignedProof {
    signing_input: String,
}

impl UnsignedProof {
    /// The proof for `request`.
    pub fn of(request: &ProofRequest<'_>) -> Self {
        let jwk = ProofKey::of_point(request.point).canonical();
        let header = format!(r#"{{"typ":"{TYP}","alg":"ES256","jwk":{jwk}}}"#);
        let hash = |token: Option<&str>| token.map(hash_of).map(Value::String);
        let mut claims = Map::new();
        let members = [
            ("jti", Some(request.jti.into())),
            ("htm", Some(request.method.into())),
            ("htu", Some(request.target.as_str().into())),
            ("iat", Some(request.now.as_secs().into())),
            ("ath", hash(request.access_token)),
            ("tth", hash(request.task_token)),
            ("nonce", request.nonce.map(Value::from)),
        ];
        for (name, value) in members {
            claims.extend(value.map(|value| (name.to_owned(), value)));
        }
        let mut signing_input = URL_SAFE_NO_PAD.encode(header);
        signing_input.push('.');
        URL_SAFE_NO_PAD.encode_string(Value::Object(claims).to_string(), &mut signing_input);
        Self { signing_input }
    }

    /// What the key signs with ES256.
    pub fn signing_input(&self) -> &[u8] {
        self.signing_input.as_bytes()
    }

    /// The proof with its signature, `r ‖ s` (RFC 7518 §3.4).
    pub fn assemble(self, signature: &[u8; 64]) -> String {
        let mut text = self.signing_input;
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        text
    }
}

/// What the key with this uncompressed point of P-256 is known by (RFC 7638).
pub fn thumbprint_of_point(point: &[u8; 65]) -> Thumbprint {
    ProofKey::of_point(point).thumbprint()
}
