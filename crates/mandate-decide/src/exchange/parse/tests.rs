use super::*;

fn parse(form: Vec<(String, String)>) -> Result<ParsedExchange, ExchangeError> {
    super::parse(form, &TrustDomain::parse("acme.example").unwrap())
}

const DETAILS: &str = r#"[{"type":"mandate_access","server":"records","actions":["read"]}]"#;

fn form(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut form = vec![("grant_type".to_owned(), GRANT.to_owned())];
    form.extend(
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    form
}

fn with_client(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut form = form(pairs);
    form.push((
        "client_assertion_type".to_owned(),
        SPIFFE_ASSERTION.to_owned(),
    ));
    form.push(("client_assertion".to_owned(), "svid".to_owned()));
    form
}

fn delegate() -> Vec<(&'static str, &'static str)> {
    vec![
        ("subject_token", "task"),
        ("subject_token_type", TXN),
        ("requested_token_type", TXN),
        ("audience", "acme.example"),
        ("requested_actor", "spiffe://acme.example/agent/retriever"),
        ("authorization_details", DETAILS),
    ]
}

fn error(form: Vec<(String, String)>) -> FormError {
    match parse(form) {
        Err(ExchangeError::Form(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// A platform's token comes alone; beside a client assertion a JWT is a host's SVID (A6).
#[test]
fn evidence_of_a_platform_is_told_from_a_hosts_svid_by_the_missing_assertion() {
    let evidence = |kind, requested: &'static str| {
        let mut pairs = vec![("subject_token", "e"), ("subject_token_type", kind)];
        if !requested.is_empty() {
            pairs.push(("requested_token_type", requested));
        }
        let Step::Attest { evidence, .. } = parse(form(&pairs)).unwrap().step else {
            panic!("{kind} is evidence")
        };
        evidence
    };
    for requested in ["", JWT, ACCESS] {
        assert!(evidence(JWT, requested) == Shown::Token("e".to_owned()));
    }
    assert!(evidence(AWS, JWT) == Shown::Aws("e".to_owned()));
    assert!(evidence(PROCESS, "") == Shown::Process);
    let aws_for_access = form(&[
        ("subject_token", "e"),
        ("subject_token_type", AWS),
        ("requested_token_type", ACCESS),
    ]);
    assert!(matches!(error(aws_for_access), FormError::TokenType { .. }));
    for more in ["scope", "client_id", "resource", "request_details"] {
        let form = form(&[
            ("subject_token", "e"),
            ("subject_token_type", JWT),
            (more, "{}"),
        ]);
        assert_eq!(error(form), FormError::Unexpected(more));
    }
}

#[test]
fn each_exchange_is_known_by_its_token_types() {
    let attest = parse(form(&[
        ("subject_token", "peer"),
        ("subject_token_type", PROCESS),
    ]))
    .unwrap();
    assert!(matches!(attest.step, Step::Attest { claimed: None, .. }));
    assert!(attest.client_assertion.is_none());

    let hosted = [
        ("subject_token", "svid"),
        ("subject_token_type", JWT),
        ("requested_actor", "spiffe://acme.example/agent/x"),
    ];
    assert!(matches!(
        parse(with_client(&hosted)).unwrap().step,
        Step::AttestHosted { .. }
    ));

    let open = [
        ("subject_token", "id"),
        ("subject_token_type", ID_TOKEN),
        ("requested_token_type", TXN),
        ("audience", "spiffe://acme.example"),
        (
            "request_details",
            r#"{"purpose":"support-case","expires_in":600}"#,
        ),
    ];
    let Step::Open(open) = parse(with_client(&open)).unwrap().step else {
        panic!()
    };
    assert_eq!(open.details.expires_in, Some(600));

    let Step::Delegate(delegate) = parse(with_client(&delegate())).unwrap().step else {
        panic!()
    };
    assert_eq!(delegate.entries.len(), 1);

    let renew = [
        ("subject_token", "task"),
        ("subject_token_type", TXN),
        ("requested_token_type", TXN),
        ("audience", "acme.example"),
    ];
    assert!(matches!(
        parse(with_client(&renew)).unwrap().step,
        Step::Renew { entries: None, .. }
    ));

    let id = r#"{"task":"task-0190a5b4-7e6c-7a11-8a11-0123456789ab"}"#;
    let resume = [&renew[..], &[("request_details", id)]].concat();
    let Step::Resume(resume) = parse(with_client(&resume)).unwrap().step else {
        panic!()
    };
    assert!(resume.by_parent);

    let access = [
        ("subject_token", "task"),
        ("subject_token_type", TXN),
        ("resource", "https://r"),
    ];
    assert!(matches!(
        parse(with_client(&access)).unwrap().step,
        Step::Access { .. }
    ));
}

#[test]
fn a_repeated_parameter_is_an_error() {
    let mut twice = with_client(&delegate());
    twice.push(("scope".to_owned(), "a:b".to_owned()));
    assert!(parse(twice.clone()).is_ok());
    twice.push(("scope".to_owned(), "a:c".to_owned()));
    assert_eq!(error(twice), FormError::Repeated("scope".to_owned()));
}

#[test]
fn a_delegation_must_say_what_it_hands_on() {
    let silent: Vec<_> = delegate()
        .into_iter()
        .filter(|(n, _)| *n != "authorization_details")
        .collect();
    assert_eq!(
        error(with_client(&silent)),
        FormError::Missing("authorization_details")
    );
}

#[test]
fn details_that_do_not_parse_are_named() {
    for (details, why) in [
        ("[]x", "malformed"),
        (
            r#"[{"type":"mandate_access","server":"r","actions":["read"],"extra":1}]"#,
            "extra",
        ),
        (
            r#"[{"type":"mandate_access","server":"r","actions":[]}]"#,
            "at least one",
        ),
    ] {
        let mut pairs = delegate();
        pairs.retain(|(name, _)| *name != "authorization_details");
        pairs.push(("authorization_details", details));
        let error = error(with_client(&pairs));
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn an_actor_token_is_the_client_assertion_or_nothing() {
    let with = |token: &'static str, kind: &'static str| {
        let mut pairs = delegate();
        pairs.extend([("actor_token", token), ("actor_token_type", kind)]);
        with_client(&pairs)
    };
    assert!(parse(with("svid", JWT)).is_ok());
    assert!(matches!(
        error(with("other", JWT)),
        FormError::Malformed {
            parameter: "actor_token",
            ..
        }
    ));
    assert!(matches!(
        error(with("svid", TXN)),
        FormError::TokenType { .. }
    ));
    let mut alone = delegate();
    alone.push(("actor_token", "svid"));
    assert_eq!(
        error(with_client(&alone)),
        FormError::Missing("actor_token_type")
    );
}

#[test]
fn our_own_parameters_in_the_wrong_place_are_not_ignored() {
    let access = [
        ("subject_token", "task"),
        ("subject_token_type", TXN),
        ("resource", "https://r"),
        ("requested_actor", "spiffe://acme.example/agent/x"),
    ];
    assert_eq!(
        error(with_client(&access)),
        FormError::Unexpected("requested_actor")
    );
    let mut foreign = delegate();
    foreign.push(("vendor_extension", "1"));
    assert!(parse(with_client(&foreign)).is_ok());
}

#[test]
fn other_grants_and_other_assertions_are_refused() {
    assert_eq!(
        error(vec![("grant_type".to_owned(), "password".to_owned())]),
        FormError::GrantType
    );
    let mut bearer = form(&delegate());
    bearer.push(("client_assertion".to_owned(), "svid".to_owned()));
    assert_eq!(
        error(bearer.clone()),
        FormError::Missing("client_assertion_type")
    );
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    bearer.push(("client_assertion_type".to_owned(), kind.to_owned()));
    assert!(error(bearer).to_string().contains("jwt-spiffe"));
}

#[test]
fn a_task_token_is_for_this_trust_domain() {
    for audience in ["acme.example", "spiffe://acme.example"] {
        let mut pairs = delegate();
        pairs.retain(|(name, _)| *name != "audience");
        pairs.push(("audience", audience));
        assert!(parse(with_client(&pairs)).is_ok());
    }
    for audience in [
        "evil.example",
        "spiffe://evil.example",
        "https://acme.example",
    ] {
        let mut pairs = delegate();
        pairs.retain(|(name, _)| *name != "audience");
        pairs.push(("audience", audience));
        assert!(
            matches!(error(with_client(&pairs)), FormError::Audience(_)),
            "{audience}"
        );
    }
}

#[test]
fn a_member_that_stands_twice_is_refused_in_every_document() {
    let once = r#"[{"type":"mandate_access","server":"r","actions":["read"],"constraints":{"customer":{"in":["acme"]}}}]"#;
    let with = |details: &str, request: &str| {
        let mut pairs = delegate();
        pairs.retain(|(name, _)| *name != "authorization_details");
        let mut form = with_client(&pairs);
        form.push(("authorization_details".to_owned(), details.to_owned()));
        form.push(("request_details".to_owned(), request.to_owned()));
        form
    };
    assert!(parse(with(once, r#"{"budget":{"max_children":1}}"#)).is_ok());
    for twice in [
        once.replace(
            r#""constraints":{"#,
            r#""constraints":{"customer":{"in":["globex"]},"#,
        ),
        once.replace(r#"{"in""#, r#"{"in":["globex"],"in""#),
        once.replace(r#"{"type""#, r#"{"server":"s","type""#),
    ] {
        let refused = error(with(&twice, "{}"));
        assert!(matches!(refused, FormError::DetailsJson(_)), "{twice}");
        assert!(refused.to_string().contains("twice"), "{refused}");
    }
    for twice in [
        r#"{"expires_in":1,"expires_in":9}"#,
        r#"{"budget":{"max_children":1,"max_children":9}}"#,
    ] {
        let refused = error(with(once, twice));
        let parameter = "request_details";
        assert!(
            matches!(&refused, FormError::Malformed { parameter: p, why } if *p == parameter && why.contains("twice")),
            "{refused}"
        );
    }
}

#[test]
fn what_an_exchange_has_no_use_for_is_not_ignored() {
    let person = |details: &'static str| {
        with_client(&[
            ("subject_token", "id"),
            ("subject_token_type", ID_TOKEN),
            ("requested_token_type", TXN),
            ("audience", "acme.example"),
            ("request_details", details),
        ])
    };
    assert!(parse(person(r#"{"purpose":"p"}"#)).is_ok());
    let trigger = r#"{"purpose":"p","trigger":{"kind":"event","name":"x"}}"#;
    let unexpected = FormError::Unexpected("request_details.trigger");
    assert_eq!(error(person(trigger)), unexpected);
    let task = r#"{"purpose":"p","task":"task-0190a5b4-7e6c-7a11-8a11-0123456789ab"}"#;
    let unexpected = FormError::Unexpected("request_details.task");
    assert_eq!(error(person(task)), unexpected);
    let attest = [("subject_token", "peer"), ("subject_token_type", PROCESS)];
    assert!(parse(form(&attest)).is_ok());
    assert_eq!(
        error(with_client(&attest)),
        FormError::Unexpected("client_assertion")
    );
    let mut named = form(&attest);
    named.push(("client_id".to_owned(), "x".to_owned()));
    assert_eq!(error(named), FormError::Unexpected("client_id"));
}
