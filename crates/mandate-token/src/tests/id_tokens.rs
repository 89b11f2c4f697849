//! ID tokens of people, from issuers that are not ours.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use serde_json::{Value, json};

use super::fixture::*;
use crate::*;

const ISS: &str = "https://login.acme.example";
const AUD: &str = "support-app";

/// An issuer with a P-256 key `ec`.
struct Login {
    pair: EcdsaKeyPair,
    keys: IdTokenKeys,
}

impl Login {
    fn new() -> Self {
        let pair = new_key();
        let keys = keys(json!([ec_jwk(&pair, "P-256", 32)]));
        Self { pair, keys }
    }

    fn token(&self, edit: impl FnOnce(&mut Value, &mut Value)) -> String {
        let (mut header, mut body) = (json!({"alg": "ES256", "kid": "ec"}), claims());
        edit(&mut header, &mut body);
        raw(&self.pair, &header.to_string(), &body.to_string())
    }

    fn verify(&self, token: &str) -> Result<IdToken, IdTokenError> {
        IdToken::verify(token, &self.keys, ISS, AUD, now())
    }
}

fn claims() -> Value {
    json!({"iss": ISS, "aud": AUD, "sub": "alice", "iat": NOW, "exp": NOW + 300,
        "tenant": "acme", "groups": ["support"]})
}

fn keys(list: Value) -> IdTokenKeys {
    IdTokenKeys::from_jwks(json!({"keys": list}).to_string().as_bytes()).unwrap()
}

fn ec_jwk(pair: &EcdsaKeyPair, crv: &str, length: usize) -> Value {
    let (x, y) = pair.public_key().as_ref()[1..].split_at(length);
    json!({"kty": "EC", "crv": crv, "kid": "ec", "x": b64(x), "y": b64(y)})
}

/// Verifies a token of [`Login`] after `edit` of its claims.
fn with_claims(edit: impl FnOnce(&mut Value)) -> Result<IdToken, IdTokenError> {
    let login = Login::new();
    let token = login.token(|_, body| edit(body));
    login.verify(&token)
}

fn with_header(edit: impl FnOnce(&mut Value)) -> Result<IdToken, IdTokenError> {
    let login = Login::new();
    let token = login.token(|header, _| edit(header));
    login.verify(&token)
}

#[test]
fn a_verified_id_token_tells_who_and_when() {
    let token = with_claims(|_| ()).unwrap();
    assert_eq!((token.issuer(), token.subject()), (ISS, "alice"));
    assert_eq!((token.issued_at(), token.expires_at()), (now(), at(300)));
    assert_eq!(token.claims()["tenant"], "acme");
    assert!(!format!("{token:?}").contains("alice"));
}

#[test]
fn issuer_and_audience_are_exact() {
    let refused = |edit: fn(&mut Value)| with_claims(edit).unwrap_err();
    assert_eq!(
        refused(|c| c["iss"] = format!("{ISS}/").into()),
        IdTokenError::Issuer
    );
    assert_eq!(
        refused(|c| c["aud"] = "other".into()),
        IdTokenError::Audience
    );
    assert_eq!(refused(|c| c["aud"] = json!([])), IdTokenError::Audience);
    assert_eq!(refused(|c| c["aud"] = json!(7)), IdTokenError::Claim("aud"));
    assert!(with_claims(|c| c["aud"] = json!([AUD])).is_ok());
}

#[test]
fn several_audiences_are_refused_whoever_the_authorized_party_is() {
    for azp in [None, Some(AUD), Some("other")] {
        let refused = with_claims(|c| {
            c["aud"] = json!([AUD, "other"]);
            if let Some(azp) = azp {
                c["azp"] = azp.into();
            }
        });
        assert_eq!(refused.unwrap_err(), IdTokenError::SeveralAudiences);
    }
    let twice = with_claims(|c| c["aud"] = json!([AUD, AUD]));
    assert_eq!(twice.unwrap_err(), IdTokenError::SeveralAudiences);
    assert!(with_claims(|c| c["azp"] = AUD.into()).is_ok());
    let stranger = with_claims(|c| c["azp"] = "other".into());
    assert_eq!(stranger.unwrap_err(), IdTokenError::AuthorizedParty);
}

#[test]
fn clocks_may_be_a_minute_off_and_no_more() {
    let login = Login::new();
    let token = login.token(|_, _| ());
    let at_offset = |offset| IdToken::verify(&token, &login.keys, ISS, AUD, at(offset)).err();
    assert_eq!(at_offset(359), None);
    assert_eq!(at_offset(360), Some(IdTokenError::Expired));
    assert_eq!(at_offset(-60), None);
    assert_eq!(at_offset(-61), Some(IdTokenError::FromTheFuture));
    let early = with_claims(|c| c["nbf"] = (NOW + 61).into());
    assert_eq!(early.unwrap_err(), IdTokenError::NotYetValid);
    assert!(with_claims(|c| c["nbf"] = (NOW + 60).into()).is_ok());
}

#[test]
fn times_and_subject_are_needed_in_their_form() {
    for name in ["iss", "sub", "iat", "exp", "aud"] {
        let lost = with_claims(|c| drop(c.as_object_mut().unwrap().remove(name)));
        assert_eq!(lost.unwrap_err(), IdTokenError::Claim(name));
    }
    for bad in [json!("1"), json!(-1), json!(null), json!(1e300)] {
        let refused = with_claims(|c| c["exp"] = bad.clone());
        assert_eq!(refused.unwrap_err(), IdTokenError::Claim("exp"), "{bad}");
    }
    let fraction = with_claims(|c| c["exp"] = json!(NOW as f64 + 300.9));
    assert_eq!(fraction.unwrap().expires_at(), at(300));
    for bad in ["", "a\nb", &"a".repeat(256)] {
        let refused = with_claims(|c| c["sub"] = bad.into());
        assert_eq!(refused.unwrap_err(), IdTokenError::Claim("sub"));
    }
}

#[test]
fn dangerous_headers_and_other_types_are_refused() {
    for name in ["jku", "x5u", "jwk", "x5c"] {
        let refused = with_header(|h| h[name] = json!("https://evil.example")).unwrap_err();
        assert_eq!(
            refused,
            IdTokenError::Malformed(TokenError::KeyInHeader(name))
        );
    }
    let crit = with_header(|h| h["crit"] = json!(["exp"])).unwrap_err();
    assert_eq!(crit, IdTokenError::Malformed(TokenError::CriticalHeader));
    assert_eq!(
        with_header(|h| h["typ"] = "at+jwt".into()).unwrap_err(),
        IdTokenError::Type
    );
    assert!(with_header(|h| h["typ"] = "JWT".into()).is_ok());
    assert!(with_header(|h| h["x5t"] = "abc".into()).is_ok());
    for alg in ["none", "HS256", "EdDSA", "ES256K", "es256"] {
        let refused = with_header(|h| h["alg"] = alg.into()).unwrap_err();
        assert_eq!(refused, IdTokenError::Algorithm, "{alg}");
    }
}

#[test]
fn an_algorithm_never_uses_a_key_of_another_kind() {
    let refused = with_header(|h| h["alg"] = "RS256".into()).unwrap_err();
    assert_eq!(refused, IdTokenError::KeyKind);
    let refused = with_header(|h| h["alg"] = "ES384".into()).unwrap_err();
    assert_eq!(refused, IdTokenError::KeyKind);
}

#[test]
fn the_key_is_found_by_kid_and_only_a_lone_key_without_one() {
    assert_eq!(
        with_header(|h| h["kid"] = "no".into()).unwrap_err(),
        IdTokenError::UnknownKey
    );
    let login = Login::new();
    let without = login.token(|h, _| drop(h.as_object_mut().unwrap().remove("kid")));
    assert!(login.verify(&without).is_ok());
    let mut other = ec_jwk(&new_key(), "P-256", 32);
    other["kid"] = "ec2".into();
    let two = keys(json!([ec_jwk(&login.pair, "P-256", 32), other]));
    let verify = |token: &str| IdToken::verify(token, &two, ISS, AUD, now());
    assert_eq!(verify(&without).unwrap_err(), IdTokenError::MissingKeyId);
    assert!(verify(&login.token(|_, _| ())).is_ok());
    let crossed = login.token(|h, _| h["kid"] = "ec2".into());
    assert_eq!(verify(&crossed).unwrap_err(), IdTokenError::Signature);
}

#[test]
fn members_that_appear_twice_are_refused() {
    let login = Login::new();
    let twice = claims()
        .to_string()
        .replacen('{', r#"{"sub":"mallory","#, 1);
    let token = raw(&login.pair, r#"{"alg":"ES256","kid":"ec"}"#, &twice);
    let problem = JsonProblem::Duplicate("sub".to_owned());
    let part = Part::Claims;
    assert_eq!(
        login.verify(&token).unwrap_err(),
        IdTokenError::Malformed(TokenError::Json { part, problem })
    );
}

#[test]
fn a_token_shown_twice_has_one_replay_id_whatever_its_signature() {
    let login = Login::new();
    // ECDSA signs with a fresh nonce: the same claims, two texts.
    let (one, two) = (login.token(|_, _| ()), login.token(|_, _| ()));
    assert_ne!(one, two);
    let id = |token: &str| login.verify(token).unwrap().replay_id().to_owned();
    assert_eq!(id(&one), id(&two));
    assert!(id(&one).starts_with("sha256:"));
    assert_ne!(id(&one), id(&login.token(|_, c| c["sub"] = "bob".into())));
    assert_eq!(id(&login.token(|_, c| c["jti"] = "j1".into())), "jti:j1");
}

#[test]
fn what_is_read_before_verification_says_that_it_is_untrusted() {
    let token = Login::new().token(|_, _| ());
    let peek = UnverifiedIdToken::parse(&token).unwrap();
    assert_eq!(peek.untrusted_issuer(), Some(ISS));
    assert_eq!(peek.untrusted_kid(), Some("ec"));
}

#[test]
fn accepts_es384() {
    let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let keys = keys(json!([ec_jwk(&pair, "P-384", 48)]));
    let input = format!(
        "{}.{}",
        b64(r#"{"alg":"ES384","kid":"ec"}"#),
        b64(claims().to_string())
    );
    let signature = pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
    let token = format!("{input}.{}", b64(signature));
    assert!(IdToken::verify(&token, &keys, ISS, AUD, now()).is_ok());
}

/// The modulus out of a 2048-bit `RSAPublicKey` in DER (RFC 8017 §A.1.1).
fn rsa_jwk(pair: &RsaKeyPair) -> Value {
    let der = pair.public_key().as_ref();
    json!({"kty": "RSA", "kid": "rsa", "use": "sig", "n": b64(&der[9..265]), "e": "AQAB"})
}

fn rsa_token(pair: &RsaKeyPair, alg: &str, encoding: &'static dyn RsaEncoding) -> String {
    let header = json!({"alg": alg, "kid": "rsa"}).to_string();
    let input = format!("{}.{}", b64(header), b64(claims().to_string()));
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(
        encoding,
        &SystemRandom::new(),
        input.as_bytes(),
        &mut signature,
    )
    .unwrap();
    format!("{input}.{}", b64(signature))
}

#[test]
fn accepts_rsa_in_the_listed_algorithms_and_no_padding_for_another() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let set = keys(json!([rsa_jwk(&pair)]));
    let verify = |token: &str| IdToken::verify(token, &set, ISS, AUD, now()).map(|_| ());
    assert_eq!(
        verify(&rsa_token(&pair, "RS256", &RSA_PKCS1_SHA256)),
        Ok(())
    );
    assert_eq!(
        verify(&rsa_token(&pair, "RS384", &RSA_PKCS1_SHA384)),
        Ok(())
    );
    assert_eq!(
        verify(&rsa_token(&pair, "RS512", &RSA_PKCS1_SHA512)),
        Ok(())
    );
    assert_eq!(verify(&rsa_token(&pair, "PS256", &RSA_PSS_SHA256)), Ok(()));
    let crossed = rsa_token(&pair, "RS256", &RSA_PSS_SHA256);
    assert_eq!(verify(&crossed), Err(IdTokenError::Signature));
    assert_eq!(
        verify(&rsa_token(&pair, "ES256", &RSA_PKCS1_SHA256)),
        Err(IdTokenError::KeyKind)
    );
    let mut pinned = rsa_jwk(&pair);
    pinned["alg"] = "RS256".into();
    let set = keys(json!([pinned]));
    let ps = rsa_token(&pair, "PS256", &RSA_PSS_SHA256);
    assert_eq!(
        IdToken::verify(&ps, &set, ISS, AUD, now()).unwrap_err(),
        IdTokenError::KeyKind
    );
}

#[test]
fn unusable_keys_of_a_set_are_ignored_and_counted() {
    let good = ec_jwk(&new_key(), "P-256", 32);
    let with = |edit: fn(&mut Value)| {
        let mut jwk = good.clone();
        edit(&mut jwk);
        jwk
    };
    let bits_1024 = json!({"kty": "RSA", "n": b64([255; 128]), "e": "AQAB"});
    let bits_2047 =
        json!({"kty": "RSA", "n": b64([&[127][..], &[255; 255]].concat()), "e": "AQAB"});
    let bits_2048 = json!({"kty": "RSA", "n": b64([255; 256]), "e": "AQAB"});
    let set = keys(json!([
        good,
        bits_2048,
        bits_1024,
        bits_2047,
        with(|k| k["use"] = "enc".into()),
        with(|k| k["key_ops"] = json!(["sign"])),
        with(|k| k["kty"] = "oct".into()),
        with(|k| k["crv"] = "secp256k1".into()),
        with(|k| k["alg"] = "ES256K".into()),
        with(|k| k["alg"] = "RS256".into()),
        with(|k| k["y"] = k["x"].clone()),
        with(|k| drop(k.as_object_mut().unwrap().remove("x"))),
    ]));
    assert_eq!((set.len(), set.ignored()), (2, 10));
    assert!(set.has_kid("ec") && !set.has_kid("rsa"));
}

#[test]
fn coordinates_have_their_full_length() {
    let pair = new_key();
    let point = &pair.public_key().as_ref()[1..];
    let cut = |at: usize| {
        let mut jwk = ec_jwk(&pair, "P-256", 32);
        jwk["x"] = b64(&point[..at]).into();
        jwk["y"] = b64(&point[at..]).into();
        keys(json!([jwk])).len()
    };
    assert_eq!((cut(31), cut(32), cut(33)), (0, 1, 0));
}

#[test]
fn a_set_is_bounded_and_strict() {
    let read = |text: &str| IdTokenKeys::from_jwks(text.as_bytes()).map(|set| set.len());
    let many = |n: usize| json!({"keys": vec![json!({"kty": "oct"}); n]}).to_string();
    assert_eq!(read(&many(64)), Ok(0));
    assert_eq!(read(&many(65)), Err(JwksError::TooManyKeys));
    assert_eq!(read(&" ".repeat(256 * 1024 + 1)), Err(JwksError::TooLong));
    assert!(matches!(read("{}"), Err(JwksError::Json(_))));
    assert!(matches!(
        read(r#"{"keys":[],"keys":[]}"#),
        Err(JwksError::Json(JsonProblem::Duplicate(_)))
    ));
}
