//! Tokens of platforms. Each rule is tried end to end in `mandate-attest`; here is what only shows at
//! this level.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
};
use serde_json::{Value, json};

use super::fixture::*;
use crate::*;

const ISS: &str = "https://platform.example";

fn rules(source: EvidenceSource<'static>) -> EvidenceRules<'static> {
    EvidenceRules {
        source,
        audience: "mandate",
        typ: None,
        max_lifetime: Duration::from_secs(3600),
        max_age: Duration::from_secs(3600),
    }
}

fn claims() -> Value {
    json!({"iss": ISS, "aud": "mandate", "sub": "agent-7", "iat": NOW, "exp": NOW + 300})
}

fn jwk(pair: &EcdsaKeyPair, crv: &str, length: usize, usage: &str) -> Value {
    let (x, y) = pair.public_key().as_ref()[1..].split_at(length);
    json!({"kty": "EC", "crv": crv, "kid": "k", "use": usage, "x": b64(x), "y": b64(y)})
}

fn signed(
    algorithm: &'static EcdsaSigningAlgorithm,
    alg: &str,
    body: &Value,
) -> (EcdsaKeyPair, String) {
    let pair = EcdsaKeyPair::generate(algorithm).unwrap();
    let header = json!({"alg": alg, "kid": "k"}).to_string();
    let input = format!("{}.{}", b64(header), b64(body.to_string()));
    let signature = pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
    let token = format!("{input}.{}", b64(signature));
    (pair, token)
}

/// JWT-SVID §2.1 allows it, and clusters with keys on P-521 use it.
#[test]
fn accepts_es512() {
    let (pair, token) = signed(&ECDSA_P521_SHA512_FIXED_SIGNING, "ES512", &claims());
    let set = json!({"keys": [jwk(&pair, "P-521", 66, "sig")]}).to_string();
    let keys = IdTokenKeys::from_jwks(set.as_bytes()).unwrap();
    let rules = rules(EvidenceSource::Issuer(ISS));
    let verified = EvidenceToken::verify(&token, &keys, &rules, now()).unwrap();
    assert_eq!(verified.subject(), "agent-7");
    assert!(!format!("{verified:?}").contains("agent-7"));
}

#[test]
fn what_is_checked_without_a_key_is_all_but_the_signature() {
    let rules = rules(EvidenceSource::Issuer(ISS));
    let unsigned = |body: &Value| {
        let (_, token) = signed(&ECDSA_P521_SHA512_FIXED_SIGNING, "ES512", body);
        EvidenceToken::check_unverified(&token, &rules, now())
    };
    assert_eq!(unsigned(&claims()), Ok(()));
    let mut other = claims();
    other["iss"] = "https://evil.example".into();
    assert_eq!(
        unsigned(&other),
        Err(EvidenceError::Token(IdTokenError::Issuer))
    );
}

/// SPIFFE Trust Domain and Bundle §4: only keys for JWT-SVIDs count, each with its `kid`, and an empty
/// bundle revokes them all.
#[test]
fn a_spiffe_bundles_keys_for_jwt_svids_alone_are_read() {
    let mut body = claims();
    body["sub"] = "spiffe://partner.example/agent".into();
    let (pair, token) = signed(&ECDSA_P521_SHA512_FIXED_SIGNING, "ES512", &body);
    let rules = rules(EvidenceSource::TrustDomain("partner.example"));
    let verify = |keys: Value| {
        let text =
            json!({"keys": keys, "spiffe_refresh_hint": 60, "spiffe_sequence": 7}).to_string();
        let bundle = SpiffeBundle::from_json(text.as_bytes()).unwrap();
        assert_eq!((bundle.refresh_hint, bundle.sequence), (Some(60), Some(7)));
        EvidenceToken::verify(&token, &bundle.keys, &rules, now()).map(|_| ())
    };
    let good = jwk(&pair, "P-521", 66, "jwt-svid");
    let mut unnamed = good.clone();
    unnamed.as_object_mut().unwrap().remove("kid");
    assert_eq!(verify(json!([good])), Ok(()));
    let unknown = Err(EvidenceError::Token(IdTokenError::UnknownKey));
    for usage in ["sig", "x509-svid", "wit-svid"] {
        assert_eq!(
            verify(json!([jwk(&pair, "P-521", 66, usage)])),
            unknown,
            "{usage}"
        );
    }
    assert_eq!(verify(json!([unnamed])), unknown);
    assert_eq!(verify(json!([])), unknown);
}
