//! Claims that contradict each other, limits, and what a builder will not build.

use mandate_model::{ActChain, AttestationKind};
use serde_json::{Value, json};

use super::fixture::*;
use crate::*;

fn forged<T: Kind>(claims: &T, edit: impl FnOnce(&mut Value)) -> Option<TokenError> {
    let authority = Authority::new();
    authority.try_forged(claims, |_, body| edit(body)).err()
}

fn contradicts(refusal: Option<TokenError>) -> bool {
    matches!(refusal, Some(TokenError::Contradiction(_)))
}

#[test]
fn scope_must_be_what_the_details_say() {
    for scope in [
        "records:refund",
        "records:read records:refund",
        "",
        "read",
        "records:read ",
    ] {
        let refused = forged(&access(), |c| c["scope"] = scope.into());
        assert_eq!(refused, Some(TokenError::Scope), "{scope:?}");
        let refused = forged(&child_task(), |c| c["scope"] = scope.into());
        assert_eq!(refused, Some(TokenError::Scope), "{scope:?}");
    }
    assert_eq!(
        forged(&upstream(), |c| c["scope"] = "*".into()),
        Some(TokenError::Scope)
    );
    assert!(contradicts(forged(&upstream(), |c| c["scope"] = "".into())));
    for sub in ["user:login:amy", "spiffe://acme.example/agent/retriever"] {
        assert!(contradicts(forged(&session(), |c| c["sub"] = sub.into())));
    }
    for person in [json!({}), json!({"sub": ""}), json!({"sub": 7})] {
        assert!(contradicts(
            forged(&session(), |c| c["person"] = person.clone())
        ));
    }
}

/// What a resumption voids is told by it: without it nothing could be.
#[test]
fn a_token_without_its_stop_version_is_refused() {
    fn refusals<T: Kind>(claims: &T) -> [bool; 3] {
        let refused = |value: Option<Value>| {
            let edit = |body: &mut Value| match &value {
                Some(value) => body["stops"] = value.clone(),
                None => drop(body.as_object_mut().unwrap().remove("stops")),
            };
            matches!(forged(claims, edit), Some(TokenError::Json { .. }))
        };
        [None, Some(json!(-1)), Some(json!("7"))].map(refused)
    }
    for refused in [
        refusals(&svid()),
        refusals(&child_task()),
        refusals(&access()),
        refusals(&upstream()),
    ] {
        assert_eq!(refused, [true; 3]);
    }
}

#[test]
fn the_client_is_the_outermost_actor() {
    let other = agent("orchestrator");
    assert!(contradicts(
        forged(&access(), |c| c["client_id"] = json!(other))
    ));
    assert!(contradicts(
        forged(&upstream(), |c| c["client_id"] = json!(other))
    ));
}

#[test]
fn the_path_leads_from_txn_to_the_task() {
    let other = task_id(9);
    let child = &child_task();
    assert!(contradicts(forged(child, |c| c["txn"] = json!(other))));
    let (id, path) = (json!(other), json!([]));
    assert!(contradicts(forged(child, |c| c["task"]["id"] = id)));
    assert!(contradicts(forged(child, |c| c["task"]["path"] = path)));
    assert!(contradicts(forged(&access(), |c| c["txn"] = json!(other))));
    assert!(contradicts(
        forged(&access(), |c| c["task"]["id"] = json!(other))
    ));
}

#[test]
fn no_token_outlives_its_task() {
    let later = at(601).as_secs();
    assert!(contradicts(forged(&access(), |c| c["exp"] = later.into())));
    assert!(contradicts(
        forged(&child_task(), |c| c["exp"] = later.into())
    ));
    let claims = AccessToken {
        expires_at: at(601),
        ..access()
    };
    let refused = claims.unsigned(&kid("oauth-1")).unwrap_err();
    assert!(matches!(
        refused,
        BuildError::Refused(TokenError::Contradiction(_))
    ));
}

#[test]
fn a_task_is_no_deeper_than_its_mandate_and_no_mandate_than_eight() {
    let with_depth = |depth| forged(&child_task(), |c| c["task"]["max_depth"] = json!(depth));
    assert_eq!(with_depth(2), None);
    assert!(contradicts(with_depth(1)));
    assert_eq!(with_depth(8), None);
    assert!(contradicts(with_depth(9)));
}

#[test]
fn a_delegated_task_cannot_shed_its_actor() {
    let shed = forged(&child_task(), |c| {
        drop(c.as_object_mut().unwrap().remove("act"))
    });
    assert!(contradicts(shed));
    let claims = TaskToken {
        act: ActChain::empty(),
        ..child_task()
    };
    assert!(claims.unsigned(&kid("oauth-1")).is_err());
    let shed = forged(&access(), |c| {
        drop(c.as_object_mut().unwrap().remove("act"))
    });
    assert!(matches!(shed, Some(TokenError::Json { .. })));
}

#[test]
fn a_root_task_has_no_actor() {
    let claims = TaskToken {
        act: child_task().act,
        ..root_task()
    };
    assert!(claims.unsigned(&kid("oauth-1")).is_err());
    assert!(root_task().unsigned(&kid("oauth-1")).is_ok());
}

#[test]
fn an_access_token_is_for_exactly_one_server() {
    let entry =
        |server: &str| json!({"type": "mandate_access", "server": server, "actions": ["read"]});
    let with = |list: Value| AccessToken {
        entries: entries(list),
        ..access()
    };
    let built = |claims: AccessToken| claims.unsigned(&kid("oauth-1")).is_ok();
    assert!(built(with(json!([entry("records")]))));
    assert!(!built(with(json!([]))));
    assert!(!built(with(json!([entry("records"), entry("mail")]))));
}

#[test]
fn an_agent_names_its_host_exactly_when_it_is_hosted() {
    let with = |agent| JwtSvid { agent, ..svid() };
    let built = |claims: JwtSvid| claims.unsigned(&kid("svid-1")).is_ok();
    assert!(built(with(hosted("retriever", "orchestrator"))));
    let mut lost = hosted("retriever", "orchestrator");
    lost.host = None;
    assert!(!built(with(lost)));
    let mut stray = hosted("retriever", "orchestrator");
    stray.att = AttestationKind::Process;
    assert!(!built(with(stray)));
    assert!(contradicts(
        forged(&access(), |c| c["act"]["att"] = "hosted".into())
    ));
}

#[test]
fn unknown_claims_and_constraints_are_refused() {
    let is_shape = |why| {
        matches!(
            why,
            Some(TokenError::Json {
                part: Part::Claims,
                ..
            })
        )
    };
    assert!(is_shape(
        forged(&access(), |c| c["roles"] = json!(["admin"]))
    ));
    assert!(is_shape(
        forged(&access(), |c| c["act"]["act"]["extra"] = json!(1))
    ));
    let glob = |c: &mut Value| {
        c["authorization_details"][0]["constraints"]["customer"] = json!({"glob": "a*"});
    };
    assert!(is_shape(forged(&access(), glob)));
    let star = forged(&access(), |c| {
        c["authorization_details"][0]["constraints"]["customer"]["in"] = json!(["*"]);
    });
    assert!(matches!(star, Some(TokenError::Entries(_))));
    assert!(is_shape(forged(&access(), |c| c["uses"] = json!(0))));
}

#[test]
fn says_which_limit_was_hit() {
    let hit = |limit| Some(TokenError::TooLarge(limit));
    let deep = |c: &mut Value| {
        let level = json!(level("x"));
        let mut act = level.clone();
        for _ in 0..8 {
            let mut outer = level.clone();
            outer["act"] = act;
            act = outer;
        }
        c["act"] = act;
    };
    assert_eq!(forged(&child_task(), deep), hit(Limit::ActLevels));
    let long: Vec<_> = (0..9).map(task_id).collect();
    let path = forged(&child_task(), |c| c["task"]["path"] = json!(long));
    assert_eq!(path, hit(Limit::PathDepth));
    let actions = |n: usize| -> Value { (0..n).map(|i| format!("a{i}")).collect() };
    let many = forged(&child_task(), |c| {
        c["authorization_details"][0]["actions"] = actions(65);
    });
    assert_eq!(many, hit(Limit::Entries));
    let values = forged(&child_task(), |c| {
        c["authorization_details"][0]["constraints"]["customer"]["in"] = actions(1025);
    });
    assert_eq!(values, hit(Limit::Values));
}

#[test]
fn a_builder_refuses_a_token_that_no_verifier_would_read() {
    let claims = AccessToken {
        purpose: "p".repeat(MAX_TOKEN_BYTES),
        ..access()
    };
    let refused = claims.unsigned(&kid("oauth-1")).unwrap_err();
    assert_eq!(
        refused,
        BuildError::Refused(TokenError::TooLarge(Limit::TokenBytes))
    );
}

#[test]
fn what_was_signed_must_be_what_was_granted() {
    let authority = Authority::new();
    let granted = AccessToken {
        expires_at: at(60),
        ..access()
    };
    let differs = authority
        .sign(&access())
        .check(&authority.keys, &granted, now());
    assert_eq!(differs.unwrap_err(), CheckError::Differs);
    let unsigned = access().unsigned(&kid("oauth-1")).unwrap();
    let wrong_key = sign(&authority.svid, unsigned.signing_input());
    let refused = unsigned
        .assemble(&wrong_key)
        .check(&authority.keys, &access(), now());
    assert_eq!(
        refused.unwrap_err(),
        CheckError::Refused(TokenError::Signature)
    );
    let late = authority
        .sign(&access())
        .check(&authority.keys, &access(), at(120));
    assert_eq!(late.unwrap_err(), CheckError::Refused(TokenError::Expired));
}

#[test]
fn no_debug_output_shows_a_token() {
    let authority = Authority::new();
    let signed = authority.sign(&access());
    let shown = format!(
        "{signed:?} {:?}",
        access().unsigned(&kid("oauth-1")).unwrap()
    );
    let checked = signed.check(&authority.keys, &access(), now()).unwrap();
    let shown = format!("{shown} {checked:?}");
    assert!(!shown.contains("eyJ"), "{shown}");
    assert!(checked.expose_text().starts_with("eyJ"));
}

#[test]
fn a_vouched_signature_is_not_verified_and_everything_else_is() {
    let authority = Authority::new();
    let (encoded, id) = (Encoded::new(access()), kid("oauth-1"));
    let spoilt = |claims: &Encoded<AccessToken>, id: &mandate_model::KeyId| {
        claims.unsigned(id).unwrap().assemble(&[7; 64])
    };
    let checked = spoilt(&encoded, &id).check_vouched(&authority.keys, &encoded, now());
    assert_eq!(*checked.unwrap().claims(), access());
    let refused = |signed: SignedToken<AccessToken>, intended: &Encoded<AccessToken>, at| {
        signed
            .check_vouched(&authority.keys, intended, at)
            .unwrap_err()
    };
    let other = Encoded::new(AccessToken {
        purpose: "another".to_owned(),
        ..access()
    });
    assert_eq!(
        refused(spoilt(&other, &id), &encoded, now()),
        CheckError::Differs
    );
    let late = refused(spoilt(&encoded, &id), &encoded, at(120));
    assert_eq!(late, CheckError::Refused(TokenError::Expired));
    let unknown = refused(spoilt(&encoded, &kid("oauth-2")), &encoded, now());
    assert_eq!(unknown, CheckError::Refused(TokenError::UnknownKey));
    let of_other_use = refused(spoilt(&encoded, &kid("svid-1")), &encoded, now());
    assert!(matches!(
        of_other_use,
        CheckError::Refused(TokenError::KeyUse { .. })
    ));
}

#[test]
fn what_fits_fits_whatever_key_signs_it() {
    let of = |length: usize| {
        Encoded::new(AccessToken {
            purpose: "p".repeat(length),
            ..access()
        })
    };
    let longest = kid(&"k".repeat(200));
    let (mut fits, mut too_long) = (0, MAX_TOKEN_BYTES);
    while too_long - fits > 1 {
        let between = fits.midpoint(too_long);
        match of(between).fits() {
            Ok(()) => fits = between,
            Err(limit) => {
                assert_eq!(limit, Limit::TokenBytes);
                too_long = between;
            }
        }
    }
    let text = of(fits).unsigned(&longest).unwrap().assemble(&[7; 64]);
    let text = text.check_vouched(&KeySet::default(), &of(fits), now());
    assert_eq!(
        text.unwrap_err(),
        CheckError::Refused(TokenError::UnknownKey)
    );
    // Nearly all of the room is used.
    assert!(of(fits + 100).unsigned(&longest).is_err());
}
