//! Tokens for those that take any issuer's: ES256, with the public key as a JWKS (RFC 7515, RFC 7517).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

/// An issuer with a key of its own.
#[derive(Debug)]
pub struct Issuer(EcdsaKeyPair);

impl Issuer {
    pub fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub fn jwks(&self) -> String {
        // An uncompressed point: 4, x, y.
        let point = self.0.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        let [x, y] = [x, y].map(|half| URL_SAFE_NO_PAD.encode(half));
        let key =
            json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "bench", "x": x, "y": y});
        json!({"keys": [key]}).to_string()
    }

    /// As long as an access token of the authority for one action is.
    pub fn token(&self) -> String {
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let header = json!({"alg": "ES256", "kid": "bench", "typ": "at+jwt"});
        let claims = json!({
            "iss": "https://bench.example", "aud": "https://desk.bench.example/mcp",
            "sub": "agent:bench", "client_id": "spiffe://bench.example/agent/bench",
            "iat": now, "exp": now + 600, "jti": "9f2c61f4a7b34c0e8f0d6f8f3f6c7a51", "scope": "desk:look-up",
            "authorization_details": [{
                "type": "mandate_access", "server": "desk", "actions": ["look-up"],
                "constraints": {"customer": {"in": ["acme"]}},
            }],
        });
        let [header, claims] =
            [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let input = format!("{header}.{claims}");
        let signature = self.0.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

impl Default for Issuer {
    fn default() -> Self {
        Self::new()
    }
}
