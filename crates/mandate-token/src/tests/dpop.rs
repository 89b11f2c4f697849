//! Proofs: the RFC's own, ours, and each with one detail changed.

use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use mandate_model::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::fixture::*;
use crate::dpop::*;
use crate::*;

/// RFC 9449 §4.1, figure 2: for the token endpoint.
pub(super) const RFC_TOKEN: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
/// RFC 9449 §7.1, figure 12: for a resource, beside an access token.
pub(super) const RFC_RESOURCE: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
pub(super) const RFC_ACCESS_TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
pub(super) const RFC_JKT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

pub(super) const TOKEN_ENDPOINT: &str = "https://id.acme.example/token";

fn target(uri: &str) -> HttpTarget {
    HttpTarget::parse(uri).unwrap()
}

fn verify(
    proof: &str,
    method: &str,
    uri: &str,
    token: Option<&str>,
    now: Timestamp,
) -> Result<DpopProof, ProofError> {
    let request = ProofFor {
        method,
        target: &target(uri),
        access_token: token,
        task_token: None,
    };
    UnverifiedProof::parse(proof)?.verify(&request, now)
}

/// As a proof for the token endpoint, at [`now`].
fn at_token(proof: &str) -> Result<DpopProof, ProofError> {
    verify(proof, "POST", TOKEN_ENDPOINT, None, now())
}

pub(super) fn point(pair: &EcdsaKeyPair) -> [u8; 65] {
    pair.public_key().as_ref().try_into().unwrap()
}

pub(super) fn parts(pair: &EcdsaKeyPair) -> (Value, Value) {
    let [_, coordinates @ ..] = &point(pair);
    let (x, y) = coordinates.split_at(32);
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(y)});
    let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk});
    let claims = json!({"jti": "one", "htm": "POST", "htu": TOKEN_ENDPOINT, "iat": NOW});
    (header, claims)
}

/// A proof for the token endpoint, after `edit` of header and claims.
fn forged(edit: impl FnOnce(&mut Value, &mut Value)) -> Result<DpopProof, ProofError> {
    let pair = new_key();
    let (mut header, mut claims) = parts(&pair);
    edit(&mut header, &mut claims);
    at_token(&raw(&pair, &header.to_string(), &claims.to_string()))
}

fn ours(pair: &EcdsaKeyPair, request: &ProofRequest<'_>) -> String {
    let unsigned = UnsignedProof::of(request);
    let signature = sign(pair, unsigned.signing_input());
    unsigned.assemble(&signature)
}

#[test]
fn the_proofs_of_rfc_9449_hold() {
    let (made, uri) = (1_562_262_616, "https://server.example.com/token");
    let now = Timestamp::from_secs(made + 5);
    let proof = verify(RFC_TOKEN, "POST", uri, None, now).unwrap();
    assert_eq!(proof.key().to_string(), RFC_JKT);
    assert_eq!(proof.dead_at(), Timestamp::from_secs(made).plus(PROOF_AGE));

    let uri = "https://resource.example.org/protectedresource";
    let shown = |token| verify(RFC_RESOURCE, "GET", uri, token, now);
    assert_eq!(shown(Some(RFC_ACCESS_TOKEN)).unwrap().key(), proof.key());
    assert_ne!(shown(Some(RFC_ACCESS_TOKEN)).unwrap().id(), proof.id());
    assert_eq!(shown(Some("another")), Err(ProofError::Hash("ath")));
    assert_eq!(shown(None), Err(ProofError::StrayHash("ath")));
    let without = verify(
        RFC_TOKEN,
        "POST",
        "https://server.example.com/token",
        Some("x"),
        now,
    );
    assert_eq!(without, Err(ProofError::Hash("ath")));
}

#[test]
fn a_proof_is_for_one_method_and_one_target() {
    let pair = new_key();
    let (header, claims) = parts(&pair);
    let proof = raw(&pair, &header.to_string(), &claims.to_string());
    let held = |method, uri| verify(&proof, method, uri, None, now()).err();
    assert_eq!(held("POST", TOKEN_ENDPOINT), None);
    assert_eq!(
        held("POST", "HTTPS://ID.acme.example:443/%74oken?x=1"),
        None
    );
    assert_eq!(held("GET", TOKEN_ENDPOINT), Some(ProofError::Method));
    assert_eq!(held("post", TOKEN_ENDPOINT), Some(ProofError::Method));
    for other in [
        "https://id.acme.example/revoke",
        "https://gateway.acme.example/token",
        "http://id.acme.example/token",
        "https://id.acme.example:8443/token",
    ] {
        assert_eq!(held("POST", other), Some(ProofError::Target), "{other}");
    }
    // RFC 9449 §4.3: query and fragment are ignored on either side.
    let with_query = forged(|_, claims| claims["htu"] = format!("{TOKEN_ENDPOINT}?a#b").into());
    assert!(with_query.is_ok());
}

#[test]
fn a_proof_is_fresh_by_the_servers_clock() {
    let made = |offset: i64| {
        forged(|_, claims| claims["iat"] = NOW.checked_add_signed(offset).unwrap().into()).err()
    };
    assert_eq!(made(-59), None);
    assert_eq!(made(-60), Some(ProofError::TooOld));
    assert_eq!(made(60), None);
    assert_eq!(made(61), Some(ProofError::FromTheFuture));
    let until = |exp: u64| forged(|_, claims| claims["exp"] = exp.into()).err();
    assert_eq!(until(NOW + 1), None);
    assert_eq!(until(NOW), Some(ProofError::TooOld));
    let from = |nbf: u64| forged(|_, claims| claims["nbf"] = nbf.into()).err();
    assert_eq!(from(NOW), None);
    assert_eq!(from(NOW + 61), Some(ProofError::FromTheFuture));
    let fraction = forged(|_, claims| claims["iat"] = json!(1_800_000_000.5));
    assert!(fraction.is_ok());
}

#[test]
fn a_proof_has_every_claim_in_its_form() {
    assert!(forged(|_, _| ()).is_ok());
    for name in ["jti", "htm", "htu", "iat"] {
        let without = forged(|_, claims| drop(claims.as_object_mut().unwrap().remove(name)));
        assert_eq!(without, Err(ProofError::Claim(name)));
        let another = forged(|_, claims| claims[name] = json!([1]));
        assert_eq!(another, Err(ProofError::Claim(name)));
    }
    for name in ["ath", "tth", "nonce", "jti"] {
        let empty = forged(|_, claims| claims[name] = "".into());
        assert_eq!(empty, Err(ProofError::Claim(name)));
    }
    let relative = forged(|_, claims| claims["htu"] = "/token".into());
    assert_eq!(relative, Err(ProofError::Claim("htu")));
    // RFC 9449 §4.2: there may be others.
    assert!(forged(|_, claims| claims["note"] = "x".into()).is_ok());
    assert!(forged(|header, _| header["kid"] = "x".into()).is_ok());
}

#[test]
fn a_proof_that_says_so_twice_says_nothing() {
    let pair = new_key();
    let (header, claims) = parts(&pair);
    let twice = claims
        .to_string()
        .replace(r#""htm":"#, r#""htm":"GET","htm":"#);
    let refused = at_token(&raw(&pair, &header.to_string(), &twice));
    assert!(matches!(
        refused,
        Err(ProofError::Json {
            part: Part::Claims,
            ..
        })
    ));
    let twice = header
        .to_string()
        .replace(r#""alg":"#, r#""alg":"none","alg":"#);
    let refused = at_token(&raw(&pair, &twice, &claims.to_string()));
    assert!(matches!(
        refused,
        Err(ProofError::Json {
            part: Part::Header,
            ..
        })
    ));
}

#[test]
fn a_proof_names_the_task_token_beside_it() {
    let pair = new_key();
    let (point, target) = (point(&pair), target("https://gw.acme.example/records/x"));
    let request = ProofRequest {
        point: &point,
        jti: "one",
        method: "GET",
        target: &target,
        now: now(),
        access_token: Some("svid"),
        task_token: Some("task"),
        nonce: Some("n"),
    };
    let proof = ours(&pair, &request);
    let held = |access_token, task_token| {
        let request = ProofFor {
            method: "GET",
            target: &target,
            access_token,
            task_token,
        };
        let unverified = UnverifiedProof::parse(&proof).unwrap();
        assert_eq!(unverified.untrusted_nonce(), Some("n"));
        unverified.verify(&request, now())
    };
    let good = held(Some("svid"), Some("task")).unwrap();
    assert_eq!(good.key(), thumbprint_of_point(&point));
    assert_eq!(
        held(Some("svid"), Some("other")),
        Err(ProofError::Hash("tth"))
    );
    assert_eq!(held(Some("svid"), None), Err(ProofError::StrayHash("tth")));
    assert_eq!(
        held(Some("other"), Some("task")),
        Err(ProofError::Hash("ath"))
    );
}

#[test]
fn a_proof_brings_one_public_key_for_its_algorithm() {
    let header = |edit: fn(&mut Value)| forged(|header, _| edit(header)).err();
    let key = Some(ProofError::Key);
    assert_eq!(header(|h| h["jwk"] = Value::Null), key);
    assert_eq!(header(|h| h["jwk"]["kty"] = "RSA".into()), key);
    assert_eq!(header(|h| h["jwk"]["crv"] = "P-384".into()), key);
    assert_eq!(header(|h| h["jwk"]["x"] = "AAAA".into()), key);
    assert_eq!(header(|h| h["alg"] = "EdDSA".into()), key);
    for alg in ["none", "HS256", "RS256", "PS256", "ES384", "es256", ""] {
        let other = forged(|header, _| header["alg"] = alg.into());
        assert_eq!(other, Err(ProofError::Algorithm), "{alg}");
    }
    for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        let private = forged(|header, _| header["jwk"][name] = "AAAA".into());
        assert_eq!(private, Err(ProofError::PrivateKey(name)));
    }
    for name in ["jku", "x5u", "x5c"] {
        let elsewhere = forged(|header, _| header[name] = "https://evil.example".into());
        assert_eq!(elsewhere, Err(ProofError::KeyElsewhere(name)));
    }
    let critical = forged(|header, _| header["crit"] = json!(["b64"]));
    assert_eq!(critical, Err(ProofError::CriticalHeader));
    for typ in ["JWT", "jwt", "at+jwt", "application/dpop+jwt", "DPoP+JWT"] {
        let other = forged(|header, _| header["typ"] = typ.into());
        assert_eq!(other, Err(ProofError::Type), "{typ}");
    }
}

#[test]
fn a_key_that_is_no_point_or_did_not_sign_verifies_nothing() {
    let other = new_key();
    let (header_of_other, _) = parts(&other);
    let foreign = forged(|header, _| header["jwk"] = header_of_other["jwk"].clone());
    assert_eq!(foreign, Err(ProofError::Signature));
    let off_curve = forged(|header, _| header["jwk"]["y"] = b64([1; 32]).into());
    assert_eq!(off_curve, Err(ProofError::Signature));
    let zero = forged(|header, _| {
        header["jwk"]["x"] = b64([0; 32]).into();
        header["jwk"]["y"] = b64([0; 32]).into();
    });
    assert_eq!(zero, Err(ProofError::Signature));
}

#[test]
fn an_ed25519_key_proves_by_either_of_its_names() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key())});
    for alg in ["EdDSA", "Ed25519"] {
        let header = json!({"typ": "dpop+jwt", "alg": alg, "jwk": jwk}).to_string();
        let claims = json!({"jti": "1", "htm": "POST", "htu": TOKEN_ENDPOINT, "iat": NOW});
        let input = format!("{}.{}", b64(header), b64(claims.to_string()));
        let proof = format!("{input}.{}", b64(pair.sign(input.as_bytes())));
        let held = at_token(&proof).unwrap();
        // RFC 8037 appendix A.3 hashes `crv`, `kty` and `x` in this order.
        let members = json!({"crv": "Ed25519", "kty": "OKP", "x": b64(pair.public_key())});
        let hash =
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, members.to_string().as_bytes());
        assert_eq!(held.key().to_string(), b64(hash));
        let forged = format!("{input}.{}", b64([7; 64]));
        assert_eq!(at_token(&forged), Err(ProofError::Signature));
    }
}

#[test]
fn a_request_has_one_proof_or_none() {
    let of = |fields: &[&'static str]| only_proof(fields.iter().map(|field| field.as_bytes()));
    assert_eq!(of(&[]), Ok(None));
    assert_eq!(of(&["a.b.c"]), Ok(Some("a.b.c")));
    assert_eq!(of(&["a.b.c", "a.b.c"]), Err(ProofError::Several));
    assert_eq!(of(&["a.b.c, a.b.c"]), Err(ProofError::Several));
    assert_eq!(only_proof([&[0xff][..]]), Err(ProofError::Shape));
}

#[test]
fn the_same_proof_has_one_identity_whoever_signs_it_again() {
    let pair = new_key();
    let (header, claims) = parts(&pair);
    let again = || at_token(&raw(&pair, &header.to_string(), &claims.to_string())).unwrap();
    let (one, two) = (again(), again());
    // ECDSA signatures differ each time: the texts do, the proof does not.
    assert_eq!(one.id(), two.id());
    let other = forged(|_, _| ()).unwrap();
    assert_ne!(one.id(), other.id(), "another key's `jti` is another one");
}

/// No token of ours is a proof, and no proof is a token.
#[test]
fn a_proof_is_no_token_and_no_token_is_a_proof() {
    let authority = Authority::new();
    for token in [
        authority.issue(&svid()),
        authority.issue(&child_task()),
        authority.issue(&access()),
        authority.issue(&upstream()),
    ] {
        assert_eq!(at_token(&token), Err(ProofError::Type));
    }
    let (issuer, audience) = (issuer(), issuer().as_audience());
    let expect = Expect {
        issuer: &issuer,
        audience: &audience,
    };
    let in_header = Some(TokenError::KeyInHeader("jwk"));
    let (keys, now) = (&authority.keys, now());
    assert_eq!(
        JwtSvid::verify(RFC_TOKEN, keys, &expect, now).err(),
        in_header
    );
    assert_eq!(
        TaskToken::verify(RFC_TOKEN, keys, &expect, now).err(),
        in_header
    );
    assert_eq!(
        AccessToken::verify(RFC_TOKEN, keys, &expect, now).err(),
        in_header
    );
    assert_eq!(
        UpstreamToken::verify(RFC_TOKEN, keys, &expect, now).err(),
        in_header
    );
}

#[test]
fn a_proof_has_three_parts_in_one_form_and_a_bound() {
    let pair = new_key();
    let (header, claims) = parts(&pair);
    let good = raw(&pair, &header.to_string(), &claims.to_string());
    let three: Vec<&str> = good.split('.').collect();
    assert!(at_token(&good).is_ok());
    assert_eq!(at_token(&three[..2].join(".")), Err(ProofError::Shape));
    assert_eq!(at_token(three[0]), Err(ProofError::Shape));
    assert_eq!(at_token(&format!("{good}.x")), Err(ProofError::Shape));
    assert_eq!(
        at_token(&format!("{good}=")),
        Err(ProofError::Base64(Part::Signature))
    );
    let long = forged(|_, claims| claims["note"] = "x".repeat(MAX_PROOF_BYTES).into());
    assert_eq!(long, Err(ProofError::TooLarge));
}

proptest! {
    #[test]
    fn no_text_is_taken_for_a_proof(text in any::<String>()) {
        prop_assert!(at_token(&text).is_err());
    }

    #[test]
    fn one_changed_character_makes_it_another_or_none(at in 0..600_usize, with in "[A-Za-z0-9_.-]") {
        let now = Timestamp::from_secs(1_562_262_616);
        let of = |text: &str| verify(text, "POST", "https://server.example.com/token", None, now);
        let genuine = of(RFC_TOKEN).unwrap();
        let at = at % RFC_TOKEN.len();
        let changed = format!("{}{with}{}", RFC_TOKEN.split_at(at).0, RFC_TOKEN.split_at(at + 1).1);
        match of(&changed) {
            Ok(same) => prop_assert!(changed == RFC_TOKEN && same == genuine),
            Err(_) => prop_assert_ne!(changed, RFC_TOKEN),
        }
    }

    #[test]
    fn what_our_clients_make_our_servers_accept(
        jti in "[!-~]{1,40}", path in "[/a-z0-9._~-]{0,30}", nonce in proptest::option::of("[A-Za-z0-9_-]{1,40}"),
        token in proptest::option::of("[A-Za-z0-9_.-]{1,60}"),
    ) {
        let pair = new_key();
        let (point, target) = (point(&pair), target(&format!("https://a.example/{path}")));
        let request = ProofRequest {
            point: &point,
            jti: &jti,
            method: "PATCH",
            target: &target,
            now: now(),
            access_token: token.as_deref(),
            task_token: None,
            nonce: nonce.as_deref(),
        };
        let text = ours(&pair, &request);
        let unverified = UnverifiedProof::parse(&text).unwrap();
        prop_assert_eq!(unverified.untrusted_nonce(), nonce.as_deref());
        let expected = ProofFor { method: "PATCH", target: &target, access_token: token.as_deref(), task_token: None };
        prop_assert_eq!(unverified.verify(&expected, now()).unwrap().key(), thumbprint_of_point(&point));
    }
}
