//! Issuer, audience and the clock (FAILURES 42), and what a cache may remember (C7).

use super::fixture::*;
use crate::*;

fn refusal<T: Kind>(authority: &Authority, claims: &T, offset: i64) -> Option<TokenError> {
    let token = authority.issue(claims);
    authority.verify(&token, claims, at(offset)).err()
}

#[test]
fn a_token_ends_exactly_at_its_expiry() {
    let authority = Authority::new();
    assert_eq!(refusal(&authority, &access(), 119), None);
    assert_eq!(
        refusal(&authority, &access(), 120),
        Some(TokenError::Expired)
    );
    assert_eq!(refusal(&authority, &svid(), 299), None);
    assert_eq!(refusal(&authority, &svid(), 300), Some(TokenError::Expired));
    assert_eq!(refusal(&authority, &child_task(), 299), None);
    assert_eq!(
        refusal(&authority, &child_task(), 300),
        Some(TokenError::Expired)
    );
    assert_eq!(refusal(&authority, &upstream(), 119), None);
    assert_eq!(
        refusal(&authority, &upstream(), 120),
        Some(TokenError::Expired)
    );
}

#[test]
fn a_token_from_the_future_is_refused_beyond_five_seconds() {
    let authority = Authority::new();
    assert_eq!(refusal(&authority, &access(), -5), None);
    assert_eq!(
        refusal(&authority, &access(), -6),
        Some(TokenError::FromTheFuture)
    );
}

#[test]
fn a_token_is_not_valid_before_its_beginning() {
    let authority = Authority::new();
    let later = AccessToken {
        not_before: Some(at(10)),
        ..access()
    };
    let token = authority.issue(&later);
    let at_offset = |offset| authority.verify(&token, &later, at(offset)).err();
    assert_eq!(at_offset(9), Some(TokenError::NotYetValid));
    assert_eq!(at_offset(10), None);
}

#[test]
fn a_beginning_in_the_second_of_issuance_does_not_delay_the_token() {
    let authority = Authority::new();
    let halfway = now().plus(std::time::Duration::from_millis(500));
    let claims = AccessToken {
        issued_at: halfway,
        not_before: Some(halfway),
        ..access()
    };
    let token = authority.issue(&claims);
    assert!(authority.verify(&token, &claims, halfway).is_ok());
}

#[test]
fn another_issuer_or_audience_is_refused() {
    let authority = Authority::new();
    let token = authority.issue(&access());
    let verify = |iss: &str, aud: &str| {
        let (issuer, audience) = (Issuer::parse(iss).unwrap(), audience(aud));
        let expect = Expect {
            issuer: &issuer,
            audience: &audience,
        };
        AccessToken::verify(&token, &authority.keys, &expect, now()).err()
    };
    let (iss, aud) = ("https://id.acme.example", "https://records.acme.example");
    assert_eq!(verify(iss, aud), None);
    assert_eq!(
        verify("https://id.acme.example/", aud),
        Some(TokenError::Issuer)
    );
    assert_eq!(
        verify(iss, "https://records.acme.example/"),
        Some(TokenError::Audience)
    );
    assert_eq!(
        verify(iss, "https://RECORDS.acme.example"),
        Some(TokenError::Audience)
    );
}

#[test]
fn a_remembered_signature_says_nothing_about_expiry() {
    let authority = Authority::new();
    let remembered =
        AccessToken::verify_signature(&authority.issue(&access()), &authority.keys).unwrap();
    let (issuer, audience) = (issuer(), access().audience);
    let expect = Expect {
        issuer: &issuer,
        audience: &audience,
    };
    assert!(remembered.check(&expect, at(119)).is_ok());
    assert_eq!(
        remembered.check(&expect, at(120)).unwrap_err(),
        TokenError::Expired
    );
}

#[test]
fn rounding_to_seconds_never_lengthens_a_token() {
    let authority = Authority::new();
    let ms = |offset: i64, ms: u64| at(offset).plus(std::time::Duration::from_millis(ms));
    let claims = AccessToken {
        issued_at: ms(-9, 1),
        not_before: Some(ms(-2, 1)),
        expires_at: ms(120, 999),
        task_expires_at: ms(120, 999),
        ..access()
    };
    let checked = authority
        .sign(&claims)
        .check(&authority.keys, &claims, now())
        .unwrap();
    assert_eq!(checked.claims().not_before, Some(at(-1)));
    assert_eq!(checked.claims().expires_at, at(120));
    let mut task = root_task();
    task.mandate.not_before = Some(ms(1, 1));
    task.mandate.expires_at = ms(600, 1);
    let token = authority.issue(&task);
    let read = authority.verify(&token, &task, now()).unwrap();
    assert_eq!(read.claims().mandate.not_before, Some(at(2)));
    assert_eq!(read.claims().mandate.expires_at, at(600));
}
