//! No token is ever one of another kind (FAILURES 12).

use super::fixture::*;
use crate::*;

/// Presents `token` as a `T`, with issuer and audience as the token has them, so that nothing but
/// its kind can be wrong.
fn present<T: Kind>(authority: &Authority, token: &str, aud: &Audience) -> Option<TokenError> {
    let expect = Expect {
        issuer: &issuer(),
        audience: aud,
    };
    T::verify(token, &authority.keys, &expect, now()).err()
}

fn presented_as_each(
    authority: &Authority,
    token: &str,
    aud: &Audience,
) -> [Option<TokenError>; 5] {
    [
        present::<JwtSvid>(authority, token, aud),
        present::<TaskToken>(authority, token, aud),
        present::<AccessToken>(authority, token, aud),
        present::<UpstreamToken>(authority, token, aud),
        present::<OperatorSession>(authority, token, aud),
    ]
}

#[test]
fn a_token_of_one_kind_is_never_another() {
    let authority = Authority::new();
    let tokens = [
        (authority.issue(&svid()), svid().audience),
        (authority.issue(&child_task()), child_task().audience),
        (authority.issue(&access()), access().audience),
        (authority.issue(&upstream()), upstream().audience),
        (authority.issue(&session()), session().audience),
    ];
    for (mine, (token, aud)) in tokens.iter().enumerate() {
        for (other, refusal) in presented_as_each(&authority, token, aud)
            .into_iter()
            .enumerate()
        {
            match refusal {
                None => assert_eq!(mine, other, "kind {mine} passed as kind {other}"),
                Some(why) => assert_ne!(mine, other, "{why}"),
            }
        }
        let assertion = JwtSvid::verify_client_assertion(token, &authority.keys, &issuer(), now());
        assert_eq!(
            assertion.is_ok(),
            mine == 0,
            "kind {mine} as client assertion"
        );
        let person = IdToken::verify(
            token,
            &IdTokenKeys::from_jwks(authority.keys.jwks_oauth().to_string().as_bytes()).unwrap(),
            issuer().as_str(),
            aud.as_str(),
            now(),
        );
        assert!(person.is_err(), "kind {mine} as ID token");
    }
}

#[test]
fn even_with_the_header_of_another_kind_its_claims_give_it_away() {
    let authority = Authority::new();
    let relabelled = |typ: &'static str| {
        [
            authority.forge(&child_task(), |header, _| header["typ"] = typ.into()),
            authority.forge(&access(), |header, _| header["typ"] = typ.into()),
            authority.forge(&upstream(), |header, _| header["typ"] = typ.into()),
        ]
    };
    let claims = |refusal: Option<TokenError>| {
        matches!(
            refusal,
            Some(TokenError::Json {
                part: Part::Claims,
                ..
            })
        )
    };
    let [_, a, u] = relabelled("txntoken+jwt");
    let aud = child_task().audience;
    assert!(claims(present::<TaskToken>(&authority, &a, &aud)));
    assert!(claims(present::<TaskToken>(&authority, &u, &aud)));
    let [t, a, u] = relabelled("at+jwt");
    assert!(claims(present::<AccessToken>(
        &authority,
        &t,
        &access().audience
    )));
    assert!(claims(present::<AccessToken>(
        &authority,
        &u,
        &access().audience
    )));
    assert!(claims(present::<UpstreamToken>(
        &authority,
        &t,
        &upstream().audience
    )));
    assert!(claims(present::<UpstreamToken>(
        &authority,
        &a,
        &upstream().audience
    )));
}

#[test]
fn a_key_of_one_use_signs_no_token_of_the_other() {
    let authority = Authority::new();
    let swapped = Authority {
        keys: KeySet::new(authority.keys.iter().map(|(id, r#use, point)| {
            let other = match r#use {
                KeyUse::Svid => KeyUse::Oauth,
                KeyUse::Oauth => KeyUse::Svid,
            };
            (id.clone(), other, point)
        }))
        .unwrap(),
        ..Authority::new()
    };
    let refused = |why: Option<TokenError>| matches!(why, Some(TokenError::KeyUse { .. }));
    let (s, t) = (authority.issue(&svid()), authority.issue(&root_task()));
    let (a, u) = (authority.issue(&access()), authority.issue(&upstream()));
    assert!(refused(present::<JwtSvid>(&swapped, &s, &svid().audience)));
    assert!(refused(present::<TaskToken>(
        &swapped,
        &t,
        &root_task().audience
    )));
    assert!(refused(present::<AccessToken>(
        &swapped,
        &a,
        &access().audience
    )));
    assert!(refused(present::<UpstreamToken>(
        &swapped,
        &u,
        &upstream().audience
    )));
}

#[test]
fn an_assertion_for_the_token_endpoint_is_told_what_to_change() {
    let authority = Authority::new();
    let verify = |token: &str| {
        JwtSvid::verify_client_assertion(token, &authority.keys, &issuer(), now()).map(|_| ())
    };
    let with_aud = |aud: serde_json::Value| {
        let token = authority.forge(&svid(), |_, claims| claims["aud"] = aud);
        verify(&token)
    };
    let endpoint = format!("{}/token", issuer());
    let why = TokenError::AssertionAudience {
        issuer: issuer().to_string(),
    };
    let text = why.to_string();
    let refused = Err(why);
    assert_eq!(with_aud(issuer().as_str().into()), Ok(()));
    assert_eq!(with_aud(serde_json::json!([issuer()])), Ok(()));
    assert_eq!(with_aud(endpoint.as_str().into()), refused);
    assert_eq!(with_aud(serde_json::json!([issuer(), endpoint])), refused);
    assert_eq!(with_aud(serde_json::json!([])), refused);
    assert!(text.contains("https://id.acme.example`"), "{text}");
}

#[test]
fn a_list_of_audiences_is_refused_for_every_kind() {
    let authority = Authority::new();
    fn refusal<T: Kind>(authority: &Authority, claims: &T) -> [Option<TokenError>; 2] {
        let aud = claims.common().audience.to_string();
        let listed = |list: Vec<String>| {
            let edit = |_: &mut serde_json::Value, body: &mut serde_json::Value| {
                body["aud"] = list.into();
            };
            authority.try_forged(claims, edit).err()
        };
        [
            listed(vec![aud.clone()]),
            listed(vec![aud, "https://other".to_owned()]),
        ]
    }
    let all = [
        refusal(&authority, &svid()),
        refusal(&authority, &child_task()),
        refusal(&authority, &access()),
        refusal(&authority, &upstream()),
        refusal(&authority, &session()),
    ];
    for refused in all.into_iter().flatten() {
        assert_eq!(refused, Some(TokenError::SeveralAudiences));
    }
}
