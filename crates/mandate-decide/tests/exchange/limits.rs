//! What a task policy still covers, what nobody could use, and what records name.

use super::*;

#[test]
fn a_root_task_goes_on_only_while_its_policy_covers_all_that_it_was_opened_with() {
    let narrowed = [
        ("{schedule: {name: morning, ", "{schedule: {name: evening, "),
        (
            "{name: morning, unverified",
            "{name: morning, itemId: required, unverified",
        ),
        (
            "{schedule: {name: morning, unverified: allow}}",
            "{event: {name: morning, unverified: allow}}",
        ),
        ("maxDuration: 1h", "maxDuration: 59m"),
        ("maxDuration: 1h", "maxDuration: 1h\n  maxDepth: 7"),
        (
            "maxDuration: 1h",
            "maxDuration: 1h\n  budget: {maxAccesses: 100}",
        ),
        (
            "maxDuration: 1h",
            "maxDuration: 1h\n  budget: {maxChildren: 100}",
        ),
        (
            "- {server: records, actions: [read, refund]}",
            "- {server: records, actions: [refund]}",
        ),
    ];
    let (other, morning) = lab::BUNDLE.split_once("metadata: {name: morning}").unwrap();
    let with = |from: &str, to: &str| {
        assert!(morning.contains(from), "{from}");
        format!(
            "{other}metadata: {{name: morning}}{}",
            morning.replace(from, to)
        )
    };
    for (from, to) in narrowed {
        let mut s = scene();
        s.lab.apply(&with(from, to));
        let (root, child) = (s.lab.task(&s.root), s.child.clone());
        for refused in [
            s.lab.renew(&s.orchestrator, &s.root),
            s.lab.resume(&s.orchestrator, &s.orchestrator, JWT, root),
            s.lab.reach(&s.retriever, &child),
        ] {
            let refused = exchange_error(refused);
            assert_eq!(refused.rule(), "task_policy", "{to}: {refused}");
        }
    }
    let widened = [
        ("maxDuration: 1h", "maxDuration: 2h"),
        ("maxDuration: 1h", "maxDuration: 1h\n  resume: type"),
    ];
    for (from, to) in widened {
        let mut s = scene();
        s.lab.apply(&with(from, to));
        assert!(s.lab.renew(&s.orchestrator, &s.root).is_ok(), "{to}");
    }
}

#[test]
fn what_nobody_could_use_is_refused_and_says_why() {
    let mut lab = Lab::new();
    let svid = lab.svid("orchestrator", "o-1");
    lab.advance(Duration::from_millis(300));
    let now = lab.now.as_millis();
    let trigger = r#""purpose":"morning","trigger":{"kind":"schedule","name":"morning"}"#;
    let mut open = |more: String| lab.open(&svid, ACME, &format!("{{{trigger},{more}}}"));
    for good in [
        r#""expires_in":1"#.to_owned(),
        r#""max_depth":1"#.to_owned(),
        format!(r#""not_before":{now}"#),
        format!(r#""not_before":{},"expires_in":60"#, now + 58_000),
    ] {
        assert!(open(good.clone()).is_ok(), "{good}");
    }
    for (bad, rule) in [
        (r#""expires_in":0"#.to_owned(), "mandate.no_life"),
        (r#""max_depth":0"#.to_owned(), "mandate.depth"),
        (
            format!(r#""not_before":{},"expires_in":60"#, now + 60_000),
            "mandate.no_life",
        ),
        (format!(r#""not_before":{}"#, now - 1_000), "exchange.form"),
        // Seconds in place of milliseconds.
        (
            format!(r#""not_before":{}"#, now / 1_000 + 60),
            "exchange.form",
        ),
    ] {
        let refused = exchange_error(open(bad.clone()));
        assert_eq!(refused.rule(), rule, "{bad}: {refused}");
    }
}

#[test]
fn a_mandate_that_no_token_can_carry_is_refused_and_the_limit_named() {
    let of = |values: usize| {
        let names: Vec<String> = (0..values).map(|n| format!("customer-{n:060}")).collect();
        let list = serde_json::to_string(&names).unwrap();
        ACME.replace(r#"["acme"]"#, &list)
    };
    let mut lab = Lab::new();
    let svid = lab.svid("orchestrator", "o-1");
    assert!(lab.open(&svid, &of(100), MORNING).is_ok());
    let refused = exchange_error(lab.open(&svid, &of(200), MORNING));
    assert_eq!(refused.rule(), "mandate.too_large");
    assert_eq!(refused.oauth().code, "invalid_authorization_details");
    assert!(refused.to_string().contains("16384 bytes"), "{refused}");
}

#[test]
fn a_record_names_each_level_of_a_chain_of_one_type() {
    let mut lab = Lab::new();
    let svid = lab.svid("orchestrator", "o-1");
    let mut token = lab.open(&svid, ACME, MORNING).unwrap();
    for depth in 2..=4 {
        token = lab.delegate(&svid, &token, "orchestrator", ACME).unwrap();
        let is_delegation =
            |e: &&mandate_audit::Event| matches!(e.what, mandate_audit::What::TaskDelegated { .. });
        let delegated = lab.events.iter().rfind(is_delegation).unwrap();
        assert_eq!(delegated.task.as_ref().unwrap().depth(), depth);
        assert_eq!(delegated.actors.len(), usize::from(depth) - 1);
    }
}
