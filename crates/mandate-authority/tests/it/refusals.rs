//! Refusals: the rule, the OAuth error, and the record before the answer.

use std::time::Duration;

use mandate_audit::What;
use serde_json::json;

use crate::client::{post, post_form_tcp};
use crate::lab::{GRANT, JWT, Lab, PROCESS, TXN, agent, entries, reading};

#[tokio::test]
async fn a_process_is_no_evidence_over_the_network() {
    let lab = Lab::new().await;
    lab.say("backlog", "backlog-1");
    let form = [
        ("grant_type", GRANT),
        ("subject_token", "x"),
        ("subject_token_type", PROCESS),
    ];
    let refused = post_form_tcp(lab.public, "/token", &form).await;
    assert_eq!(refused.error(), "invalid_request");
    assert!(refused.text.contains("Unix socket"), "{}", refused.text);
}

#[tokio::test]
async fn a_form_with_two_readings_is_refused() {
    let lab = Lab::new().await;
    let socket = lab.socket("agent.sock");
    let form = "application/x-www-form-urlencoded";
    let twice = format!("grant_type={GRANT}&grant_type={GRANT}");
    for (kind, body) in [
        (form, twice.as_str()),
        (form, "grant_type=%zz"),
        ("application/json", "{}"),
        ("text/plain", "grant_type=x"),
    ] {
        let refused = post(&socket, "/token", kind, body.to_owned()).await;
        assert_eq!(refused.error(), "invalid_request", "{body}");
        assert_eq!(refused.status, 400);
    }
    let long = post(
        &socket,
        "/token",
        form,
        format!("a={}", "x".repeat(300_000)),
    )
    .await;
    assert_eq!(long.error(), "invalid_request");
    let other = post(&socket, "/token", form, "grant_type=password".to_owned()).await;
    assert_eq!(other.error(), "unsupported_grant_type");
}

#[tokio::test]
async fn each_rule_has_its_error_and_its_record() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    let retriever = lab.svid("retriever").await;
    let summarizer = lab.svid("summarizer").await;
    let root = lab
        .open(
            &backlog,
            "nightly",
            &[("authorization_details", &reading())],
        )
        .await
        .token();
    let child = lab
        .delegate(&backlog, &root, "retriever", &reading())
        .await
        .token();

    let wider = entries(&["read", "refund"], "acme");
    let other = entries(&["read"], "globex");
    let trail = [
        (
            lab.delegate(&backlog, &root, "retriever", &wider).await,
            "mandate.widening",
        ),
        (
            lab.delegate(&backlog, &root, "retriever", &other).await,
            "mandate.widening",
        ),
        (
            lab.delegate(&backlog, &root, "summarizer", &reading())
                .await,
            "may_spawn",
        ),
        (lab.access(&summarizer, &child).await, "actor.may_act"),
        (lab.access(&retriever, &root).await, "actor.may_act"),
        (lab.access(&retriever, "nonsense").await, "subject.invalid"),
        (lab.access(&retriever, &retriever).await, "subject.invalid"),
        (lab.open(&summarizer, "nightly", &[]).await, "task_policy"),
        (
            lab.attest(
                "retriever",
                "r",
                &[("audience", "https://elsewhere.example")],
            )
            .await,
            "svid.audience",
        ),
    ];
    for (answer, rule) in &trail {
        assert!(!answer.status.is_success(), "{rule}: {}", answer.text);
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
    let rules: Vec<&str> = trail.iter().map(|(_, rule)| *rule).collect();
    assert_eq!(lab.refused_rules().await, rules);
    let codes: Vec<String> = trail.iter().map(|(answer, _)| answer.error()).collect();
    assert_eq!(codes[0], "invalid_authorization_details");
    assert_eq!(codes[3], "invalid_request");
    assert_eq!(codes[8], "invalid_target");
}

#[tokio::test]
async fn the_record_of_a_refusal_names_agent_task_principal_and_rule() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    let root = lab
        .open(
            &backlog,
            "nightly",
            &[("authorization_details", &reading())],
        )
        .await
        .token();
    let wider = entries(&["read"], "globex");
    lab.delegate(&backlog, &root, "retriever", &wider).await;
    let record = lab.events().await.pop().unwrap();
    assert!(matches!(&record.what, What::Refused { step, error }
        if step == "delegate" && error == "invalid_authorization_details"));
    assert_eq!(record.rule.as_deref(), Some("mandate.widening"));
    assert_eq!(
        record.actors[0].sub.as_str(),
        "spiffe://acme.example/agent/backlog"
    );
    assert!(record.task.is_some() && record.principal.is_some() && record.trigger.is_some());
    assert!(record.bundle.is_some() && record.stops.is_some() && record.detail.is_some());
}

#[tokio::test]
async fn nothing_is_issued_before_a_bundle_is_live() {
    let lab = Lab::empty().await;
    let refused = lab.attest("backlog", "b", &[]).await;
    assert_eq!(refused.error(), "access_denied");
    assert_eq!(refused.status, 403);
}

#[tokio::test]
async fn a_foreign_and_an_expired_assertion_authenticate_nobody() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    let gateways = "spiffe://acme.example/mandate/gateway";
    let for_gateways = lab
        .attest("backlog", "b", &[("audience", gateways)])
        .await
        .token();
    assert_eq!(
        lab.open(&for_gateways, "nightly", &[]).await.error(),
        "invalid_client"
    );
    let task = lab.open(&backlog, "nightly", &[]).await.token();
    assert_eq!(
        lab.open(&task, "nightly", &[]).await.error(),
        "invalid_client"
    );
    assert_eq!(
        lab.open("", "nightly", &[]).await.error(),
        "invalid_request"
    );
    lab.pass(Duration::from_secs(301));
    let expired = lab.open(&backlog, "nightly", &[]).await;
    assert_eq!(
        (expired.error().as_str(), expired.status.as_u16()),
        ("invalid_client", 401)
    );
    assert!(
        lab.refused_rules().await.is_empty(),
        "nobody was authenticated"
    );
}

#[tokio::test]
async fn refusals_before_authentication_are_counted_and_recorded_together() {
    let lab = Lab::new().await;
    for _ in 0..20 {
        lab.exchange(
            "nonsense",
            &[
                ("subject_token", "x"),
                ("subject_token_type", JWT),
                ("requested_actor", "spiffe://acme.example/agent/x"),
            ],
        )
        .await;
    }
    let ground = lab.stopped().await;
    let lab = Lab::start(ground).await;
    let counted = lab
        .events()
        .await
        .into_iter()
        .find_map(|event| match event.what {
            What::RefusedCount { count, source, .. } => Some((count, source, event.rule)),
            _ => None,
        });
    let (count, source, rule) = counted.unwrap();
    assert_eq!((count, rule.as_deref()), (20, Some("client.invalid")));
    assert!(source.starts_with("uid "), "{source}");
}

#[tokio::test]
async fn a_suspended_agent_gets_nothing_on_any_path() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    let orchestrator = lab.svid("orchestrator").await;
    let root = lab.open(&backlog, "nightly", &[]).await.token();
    let child = lab
        .delegate(&backlog, &root, "retriever", &reading())
        .await
        .token();
    let retriever = lab.svid("retriever").await;
    let events = lab.events().await;
    let root_id = events
        .iter()
        .find_map(|e| e.task.clone())
        .unwrap()
        .leaf()
        .to_string();
    let proof = lab.suspend(agent("backlog")).await;
    assert_eq!(
        (proof["effective"].as_bool(), proof["durable"].as_bool()),
        (Some(true), Some(true))
    );
    assert!(proof["tokens_void"].as_u64().unwrap() >= 2, "{proof}");
    let lab = lab.restarted().await;
    let helper = "spiffe://acme.example/agent/helper";
    let hosted = [
        ("subject_token", backlog.as_str()),
        ("subject_token_type", JWT),
        ("requested_actor", helper),
    ];
    let paths = [
        ("attest", lab.attest("backlog", "backlog-1", &[]).await),
        (
            "attest another instance",
            lab.attest("backlog", "backlog-2", &[]).await,
        ),
        ("attest-hosted", lab.exchange(&backlog, &hosted).await),
        ("open", lab.open(&backlog, "nightly", &[]).await),
        (
            "delegate",
            lab.delegate(&backlog, &root, "retriever", &reading()).await,
        ),
        ("renew", lab.renew(&backlog, &root).await),
        (
            "resume",
            lab.resume_task(&backlog, &backlog, JWT, &root_id).await,
        ),
        ("access", lab.access(&backlog, &root).await),
        ("access below it", lab.access(&retriever, &child).await),
        ("renew below it", lab.renew(&retriever, &child).await),
    ];
    for (path, answer) in &paths {
        assert_eq!(answer.error(), "access_denied", "{path}: {}", answer.text);
        assert_eq!(answer.status, 403, "{path}");
    }
    assert_eq!(lab.refused_rules().await, vec!["stopped"; paths.len()]);
    lab.open(&orchestrator, "morning", &[]).await.expect(200);
}

#[tokio::test]
async fn what_was_issued_before_a_suspension_stays_void_after_it_is_lifted() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    lab.suspend(agent("backlog")).await;
    let body = json!({"subject": agent("backlog"), "reason": "clean image"});
    let resumed = lab.operator("/operator/v1/resume", &body).await.expect(200);
    assert_eq!(resumed["tokens_void"], 1);
    assert_eq!(
        lab.open(&backlog, "nightly", &[]).await.error(),
        "access_denied"
    );
    let fresh = lab.svid("backlog").await;
    lab.open(&fresh, "nightly", &[]).await.expect(200);
    lab.operator("/operator/v1/resume", &body).await.expect(409);
}

#[tokio::test]
async fn an_instance_that_is_not_the_pinned_one_is_refused() {
    let lab = Lab::new().await;
    let orchestrator = lab.svid("orchestrator").await;
    let root = lab.open(&orchestrator, "morning", &[]).await.token();
    let child = lab
        .delegate(&orchestrator, &root, "pinned", &reading())
        .await
        .token();
    let first = lab.attest("pinned", "p-1", &[]).await.token();
    let second = lab.attest("pinned", "p-2", &[]).await.token();
    lab.access(&first, &child).await.expect(200);
    assert_eq!(lab.access(&second, &child).await.error(), "invalid_request");
    lab.access(&first, &child).await.expect(200);
    assert_eq!(lab.refused_rules().await, ["actor.pinned"]);
    let form = [
        ("subject_token", child.as_str()),
        ("subject_token_type", TXN),
        ("requested_token_type", JWT),
    ];
    assert_eq!(lab.exchange(&first, &form).await.error(), "invalid_request");
}

#[tokio::test]
async fn a_caller_that_proves_nothing_gets_a_challenge_and_one_that_is_no_more_its_name() {
    let lab = Lab::new().await;
    let nobody = lab.open("nonsense", "nightly", &[]).await;
    assert_eq!(nobody.status, 401);
    assert_eq!(
        nobody.headers["www-authenticate"],
        "SPIFFE-JWT realm=\"mandate\""
    );
    let summarizer = lab.svid("summarizer").await;
    let text = lab.bundle();
    let declaration = text
        .split("---\n")
        .find(|part| part.contains("metadata: {name: summarizer}"))
        .unwrap();
    let without = text.replace(&format!("---\n{declaration}"), "");
    lab.apply(&without, 1).await.expect(200);
    assert_eq!(lab.open(&summarizer, "nightly", &[]).await.status, 401);
    let events = lab.events().await;
    let refused = events.iter().rfind(|e| e.what.kind() == "refused").unwrap();
    assert!(
        refused.actors[0]
            .sub
            .to_string()
            .ends_with("/agent/summarizer")
    );
}
