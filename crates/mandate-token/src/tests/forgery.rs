//! Tokens that nobody issued (FAILURES 12).

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::fixture::*;
use crate::*;

fn verify(authority: &Authority, token: &str) -> Option<TokenError> {
    authority.verify(token, &access(), now()).err()
}

fn with_header(edit: impl FnOnce(&mut Value)) -> Option<TokenError> {
    let authority = Authority::new();
    let forged = authority.try_forged(&access(), |header, _| edit(header));
    forged.err()
}

#[test]
fn a_token_as_issued_is_accepted() {
    assert_eq!(with_header(|_| ()), None);
}

#[test]
fn refuses_the_algorithm_none() {
    let authority = Authority::new();
    let token = authority.issue(&access());
    let claims = token.split('.').nth(1).unwrap();
    for alg in ["none", "None", "NONE", ""] {
        let header = b64(json!({"alg": alg, "kid": "oauth-1", "typ": "at+jwt"}).to_string());
        let refused = verify(&authority, &format!("{header}.{claims}."));
        assert_eq!(refused, Some(TokenError::Algorithm), "{alg}");
    }
}

#[test]
fn refuses_hs256_with_the_public_key_as_secret() {
    let authority = Authority::new();
    let token = authority.issue(&access());
    let claims = token.split('.').nth(1).unwrap();
    let header = b64(r#"{"alg":"HS256","kid":"oauth-1","typ":"at+jwt"}"#);
    let input = format!("{header}.{claims}");
    let secret = hmac::Key::new(hmac::HMAC_SHA256, authority.oauth.public_key().as_ref());
    let forged = format!("{input}.{}", b64(hmac::sign(&secret, input.as_bytes())));
    assert_eq!(verify(&authority, &forged), Some(TokenError::Algorithm));
}

#[test]
fn refuses_eddsa_even_when_the_signature_holds() {
    let authority = Authority::new();
    let token = authority.issue(&access());
    let claims = token.split('.').nth(1).unwrap();
    let pair = Ed25519KeyPair::generate().unwrap();
    let input = format!(
        "{}.{claims}",
        b64(r#"{"alg":"EdDSA","kid":"oauth-1","typ":"at+jwt"}"#)
    );
    let forged = format!("{input}.{}", b64(pair.sign(input.as_bytes())));
    assert_eq!(verify(&authority, &forged), Some(TokenError::Algorithm));
}

#[test]
fn refuses_a_key_that_is_not_in_the_set() {
    let authority = Authority::new();
    let refused = with_header(|h| h["kid"] = "oauth-2".into());
    assert_eq!(refused, Some(TokenError::UnknownKey));
    let missing = with_header(|h| drop(h.as_object_mut().unwrap().remove("kid")));
    assert_eq!(missing, Some(TokenError::MissingKeyId));
    let stranger = Authority::new().issue(&access());
    assert_eq!(verify(&authority, &stranger), Some(TokenError::Signature));
}

#[test]
fn refuses_keys_and_extensions_in_the_header() {
    for name in ["jku", "x5u", "jwk", "x5c"] {
        let refused = with_header(|h| h[name] = json!("https://evil.example"));
        assert_eq!(refused, Some(TokenError::KeyInHeader(name)));
    }
    let crit = with_header(|h| h["crit"] = json!(["exp"]));
    assert_eq!(crit, Some(TokenError::CriticalHeader));
    let unknown = with_header(|h| h["cty"] = json!("JWT"));
    assert_eq!(unknown, Some(TokenError::UnknownHeader));
}

#[test]
fn refuses_members_that_appear_twice() {
    let authority = Authority::new();
    let token = authority.issue(&access());
    let claims =
        String::from_utf8(crate::kind::sealed::Claims::encode(&access()).unwrap()).unwrap();
    let header = r#"{"alg":"ES256","kid":"oauth-1","typ":"at+jwt"}"#;
    let ours = raw(&authority.oauth, header, &claims);
    assert_eq!(verify(&authority, &ours), None);
    assert_eq!(verify(&authority, &token), None);

    let twice = |part, name: &str| {
        Some(TokenError::Json {
            part,
            problem: JsonProblem::Duplicate(name.to_owned()),
        })
    };
    let header = r#"{"alg":"none","alg":"ES256","kid":"oauth-1","typ":"at+jwt"}"#;
    let refused = verify(&authority, &raw(&authority.oauth, header, &claims));
    assert_eq!(refused, twice(Part::Header, "alg"));

    let header = r#"{"alg":"ES256","kid":"oauth-1","typ":"at+jwt"}"#;
    for (name, from, to) in [
        ("sub", r#"{"iss""#, r#"{"sub":"operator:root","iss""#),
        (
            "customer",
            r#""customer":"#,
            r#""customer":{"in":["globex"]},"customer":"#,
        ),
        ("kind", r#""kind":"#, r#""kind":"operator","kind":"#),
    ] {
        let changed = claims.replacen(from, to, 1);
        assert_ne!(changed, claims, "{name}");
        let refused = verify(&authority, &raw(&authority.oauth, header, &changed));
        assert_eq!(refused, twice(Part::Claims, name));
    }
}

#[test]
fn refuses_every_other_spelling_of_the_same_bytes() {
    let authority = Authority::new();
    let token = authority.issue(&access());
    let (input, signature) = token.rsplit_once('.').unwrap();
    let signature_error = Some(TokenError::Base64(Part::Signature));
    assert_eq!(verify(&authority, &format!("{token}=")), signature_error);
    assert_eq!(verify(&authority, &format!("{token}==")), signature_error);
    // 64 bytes leave four bits of the last character unused.
    let (rest, last) = signature.split_at(signature.len() - 1);
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = alphabet.find(last).unwrap();
    let sibling = char::from(alphabet.as_bytes()[place + 1]);
    assert_eq!(
        verify(&authority, &format!("{input}.{rest}{sibling}")),
        signature_error
    );
    for bad in [" ", "\n", "."] {
        assert!(verify(&authority, &format!("{token}{bad}")).is_some());
        assert!(verify(&authority, &format!("{bad}{token}")).is_some());
    }
    assert_eq!(verify(&authority, input), Some(TokenError::Shape));
    assert_eq!(verify(&authority, "a.b.c.d"), Some(TokenError::Shape));
    assert_eq!(verify(&authority, "a"), Some(TokenError::Shape));
    assert_eq!(verify(&authority, "a.b"), Some(TokenError::Shape));
}

#[test]
fn refuses_what_follows_the_claims() {
    let authority = Authority::new();
    let claims =
        String::from_utf8(crate::kind::sealed::Claims::encode(&access()).unwrap()).unwrap();
    let header = r#"{"alg":"ES256","kid":"oauth-1","typ":"at+jwt"}"#;
    let refused = verify(
        &authority,
        &raw(&authority.oauth, header, &format!("{claims}{{}}")),
    );
    let syntax = TokenError::Json {
        part: Part::Claims,
        problem: JsonProblem::Syntax,
    };
    assert_eq!(refused, Some(syntax));
}

#[test]
fn says_which_size_limit_was_hit() {
    let authority = Authority::new();
    let long = "a".repeat(MAX_TOKEN_BYTES + 1);
    let whole = verify(&authority, &long);
    assert_eq!(whole, Some(TokenError::TooLarge(Limit::TokenBytes)));
    let header = with_header(|h| h["kid"] = "k".repeat(MAX_HEADER_BYTES).into());
    assert_eq!(header, Some(TokenError::TooLarge(Limit::HeaderBytes)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_bit_in_any_part_is_refused(place in any::<prop::sample::Index>(), bit in 0u8..7) {
        let authority = Authority::new();
        let mut bytes = authority.issue(&access()).into_bytes();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        let flipped = String::from_utf8(bytes).unwrap();
        prop_assert!(verify(&authority, &flipped).is_some());
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[A-Za-z0-9_.=-]{0,200}") {
        let _ = UnverifiedJws::parse(&text);
        let _ = UnverifiedIdToken::parse(&text);
    }

    #[test]
    fn no_signed_claims_make_the_reader_panic(claims in ".{0,200}") {
        let authority = Authority::new();
        let header = r#"{"alg":"ES256","kid":"oauth-1","typ":"at+jwt"}"#;
        let token = raw(&authority.oauth, header, &claims);
        prop_assert!(verify(&authority, &token).is_some());
    }
}
