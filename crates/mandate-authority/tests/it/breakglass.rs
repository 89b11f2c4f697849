//! Break-glass: what "effective" waits for, and the race against issuance.

use std::time::Duration;

use mandate_ports::{Change, Unit};
use serde_json::json;

use crate::client::post_json;
use crate::control::{lease, versions};
use crate::lab::{ASSERTION, DOMAIN, LEASE, Lab, agent};

/// A suspension that goes on in the background, as an operator's terminal would wait for it.
pub(crate) fn suspend(lab: &Lab, name: &str) -> tokio::task::JoinHandle<serde_json::Value> {
    let socket = lab.socket("operator.sock");
    let body = json!({"subject": agent(name), "reason": "INC-1"});
    tokio::spawn(async move {
        post_json(&socket, "/operator/v1/suspend", &body)
            .await
            .expect(200)
    })
}

pub(crate) async fn until_committed(lab: &Lab) -> u64 {
    let mut moved = lab.authority.versions();
    let version = moved
        .wait_for(|versions| versions.stops.get() > 0)
        .await
        .unwrap();
    version.stops.get()
}

#[tokio::test]
async fn a_suspension_waits_for_each_gateway_that_holds_a_lease() {
    let lab = Lab::new().await;
    let before = versions(&lab).await;
    lab.control("/control/v1/lease", &lease("g-1", &before))
        .await
        .expect(200);
    lab.control("/control/v1/lease", &lease("g-2", &before))
        .await
        .expect(200);
    let waiting = suspend(&lab, "backlog");
    let version = until_committed(&lab).await;
    let ack = |gateway: &str| json!({"gateway": gateway, "stops": version, "cut": 3, "unknown": 1});
    assert_eq!(
        lab.control("/control/v1/ack", &ack("g-1")).await.status,
        204
    );
    assert_eq!(
        lab.control("/control/v1/ack", &ack("g-1")).await.status,
        204
    );
    assert!(!waiting.is_finished(), "g-2 still holds a lease");
    lab.pass(Duration::from_secs(15));
    assert!(
        !waiting.is_finished(),
        "a lease counts for a hundredth more"
    );
    lab.pass(Duration::from_millis(150));
    let proof = waiting.await.unwrap();
    assert_eq!(
        (&proof["gateways"], &proof["acknowledged"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(
        (&proof["lease_bounded"], &proof["cut"]),
        (&json!(1), &json!(3))
    );
    assert_eq!(
        (&proof["unknown"], &proof["after_ms"]),
        (&json!(1), &json!(15_150))
    );
    assert_eq!(proof["untold"], 0);
    let recorded = lab
        .events()
        .await
        .iter()
        .any(|e| e.what.kind() == "suspension_effective");
    assert!(recorded);
}

#[tokio::test]
async fn renewing_without_applying_does_not_lengthen_the_wait() {
    let lab = Lab::new().await;
    let before = versions(&lab).await;
    lab.control("/control/v1/lease", &lease("g-1", &before))
        .await
        .expect(200);
    let waiting = suspend(&lab, "backlog");
    until_committed(&lab).await;
    lab.pass(Duration::from_secs(10));
    lab.control("/control/v1/lease", &lease("g-1", &before))
        .await
        .expect(200);
    lab.pass(Duration::from_millis(5_150));
    assert_eq!(waiting.await.unwrap()["lease_bounded"], 1);
}

#[tokio::test]
async fn a_lease_request_that_names_the_version_acknowledges_it() {
    let lab = Lab::new().await;
    lab.control("/control/v1/lease", &lease("g-1", &versions(&lab).await))
        .await
        .expect(200);
    let waiting = suspend(&lab, "backlog");
    until_committed(&lab).await;
    lab.control("/control/v1/lease", &lease("g-1", &versions(&lab).await))
        .await
        .expect(200);
    let proof = waiting.await.unwrap();
    assert_eq!(
        (&proof["acknowledged"], &proof["untold"]),
        (&json!(1), &json!(1)),
        "a lease request does not say what was cut"
    );
}

#[tokio::test]
async fn after_a_restart_every_gateway_counts_as_holding_a_lease() {
    let lab = Lab::new().await;
    lab.control("/control/v1/lease", &lease("g-1", &versions(&lab).await))
        .await
        .expect(200);
    lab.pass(LEASE * 10);
    let lab = lab.restarted().await;
    let waiting = suspend(&lab, "backlog");
    until_committed(&lab).await;
    assert!(!waiting.is_finished());
    lab.pass(LEASE + LEASE / 100);
    let proof = waiting.await.unwrap();
    assert_eq!(
        (&proof["gateways"], &proof["lease_bounded"]),
        (&json!(1), &json!(1))
    );
}

#[tokio::test]
async fn a_suspension_between_the_decision_and_its_commit_is_noticed() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    let task = lab.open(&backlog, "nightly", &[]).await.token();
    let suspension = serde_json::from_value(json!({
        "subject": agent("backlog"), "reason": "INC-1", "operator": "operator:root",
        "version": 0, "at": 0}));
    lab.disk.get_ahead(Unit {
        changes: vec![Change::Suspend(suspension.unwrap())],
        ..Unit::default()
    });
    assert_eq!(lab.renew(&backlog, &task).await.error(), "access_denied");
}

#[tokio::test]
async fn a_resumption_does_not_lift_a_suspension_that_came_since_it_was_asked_for() {
    let lab = Lab::new().await;
    lab.suspend(agent("backlog")).await;
    let again = serde_json::from_value(json!({
        "subject": agent("backlog"), "reason": "INC-2", "operator": "operator:other",
        "version": 0, "at": 0}));
    let subject = serde_json::from_value(agent("backlog")).unwrap();
    lab.disk.get_ahead(Unit {
        changes: vec![Change::Resume(subject), Change::Suspend(again.unwrap())],
        ..Unit::default()
    });
    let body = json!({"subject": agent("backlog"), "reason": "over"});
    let refused = lab.operator("/operator/v1/resume", &body).await;
    refused.expect(409);
    let stopped = lab.attest("backlog", "backlog-1", &[]).await;
    assert_eq!(stopped.error(), "access_denied");
    lab.operator("/operator/v1/resume", &body).await.expect(200);
}

#[tokio::test]
async fn a_token_that_is_revoked_between_the_decision_and_its_commit_is_noticed() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    let task = lab.open(&backlog, "nightly", &[]).await.token();
    let events = lab.events().await;
    let token = events.iter().rev().find_map(|e| e.token).unwrap();
    let until = lab.now().plus(LEASE);
    lab.disk.get_ahead(Unit {
        changes: vec![Change::RevokeToken { token, until }],
        ..Unit::default()
    });
    assert!(!lab.renew(&backlog, &task).await.status.is_success());
    let rules = lab.refused_rules().await;
    assert_eq!(rules.len(), 1, "{rules:?}");
}

#[tokio::test]
async fn a_suspended_signing_key_signs_nothing_more_and_another_takes_its_place() {
    let lab = Lab::new().await;
    let old = lab.svid("backlog").await;
    let keys = lab.look("/operator/v1/keys").await.expect(200);
    let signing = |k: &&serde_json::Value| k["purpose"] == "svid" && k["state"] == "signing";
    let all = keys["keys"].as_array().unwrap().clone();
    let key = all.iter().find(signing).unwrap()["id"].clone();
    lab.suspend(json!({"kind": "key", "id": key})).await;
    assert!(!lab.open(&old, "nightly", &[]).await.status.is_success());
    let mut fresh = lab.attest("backlog", "b", &[]).await;
    while fresh.status == 503 {
        fresh = lab.attest("backlog", "b", &[]).await;
    }
    lab.open(&fresh.token(), "nightly", &[]).await.expect(200);
    let keys = lab.look("/operator/v1/keys").await.expect(200);
    let all = keys["keys"].as_array().unwrap().clone();
    let now: Vec<_> = all
        .iter()
        .filter(signing)
        .map(|k| k["id"].clone())
        .collect();
    assert!(now.len() == 1 && now[0] != key, "{now:?}");
}

#[tokio::test]
async fn no_issuance_follows_a_suspension_in_the_log() {
    let lab = std::sync::Arc::new(Lab::new().await);
    let backlog = lab.svid("backlog").await;
    let task = lab.open(&backlog, "nightly", &[]).await.token();
    let mut agents = Vec::new();
    for _ in 0..8 {
        let (lab, backlog, task) = (lab.clone(), backlog.clone(), task.clone());
        agents.push(tokio::spawn(async move {
            let mut issued = 0u64;
            while lab.renew(&backlog, &task).await.status.is_success() {
                issued += 1;
            }
            issued
        }));
    }
    let mut head = lab.authority.versions();
    head.mark_unchanged();
    // The agents are under way before the suspension comes.
    while lab.events().await.len() < 40 {
        tokio::task::yield_now().await;
    }
    lab.suspend(agent("backlog")).await;
    for agent in agents {
        agent.await.unwrap();
    }
    let events = lab.events().await;
    let suspended = events
        .iter()
        .position(|e| e.what.kind() == "suspended")
        .unwrap();
    assert!(
        events[..suspended]
            .iter()
            .filter(|e| e.what.kind() == "issued")
            .count()
            > 10
    );
    assert!(
        events[suspended..]
            .iter()
            .all(|e| e.what.kind() != "issued"),
        "issued after the stop"
    );
}

#[tokio::test]
async fn a_name_that_is_wrong_by_a_letter_is_said_to_be_unknown() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    lab.open(&backlog, "nightly", &[]).await.expect(200);
    lab.control("/control/v1/lease", &lease("g-1", &versions(&lab).await))
        .await
        .expect(200);
    // Its lease ends; it is known all the same, and nobody waits for it.
    lab.pass(LEASE * 2);
    let instance = |id: &str| json!({"kind": "instance", "provider": "process", "id": id});
    let principal = |id: &str| json!({"kind": "principal", "id": id});
    let gateway = |id: &str| json!({"kind": "gateway", "id": id});
    for (subject, known) in [
        (instance("backlog-1"), true),
        (instance("backlog-l"), false),
        (principal("user:login:nosuch"), false),
        (principal("spiffe://acme.example/agent/backlog"), true),
        (principal("spiffe://acme.example/agent/backlogg"), false),
        (principal("operator:nosuch"), false),
        (gateway("g-1"), true),
        (gateway("g-l"), false),
        (agent("backlog"), true),
        (agent("backlogg"), false),
        (json!({"kind": "server", "name": "records"}), true),
        (json!({"kind": "server", "name": "recrods"}), false),
        (json!({"kind": "provider", "name": "logon"}), false),
        (json!({"kind": "key", "id": "none"}), false),
        (
            json!({"kind": "task", "id": "task-019ab000-0000-7000-8000-000000000000"}),
            false,
        ),
    ] {
        let proof = lab.suspend(subject.clone()).await;
        assert_eq!(proof["known"], known, "{subject}");
        assert_eq!(proof["effective"], true);
    }
}

/// What a suspension of `subject`, made of the task's id, stops: the agent wherever it asks, or
/// only its tasks; and whether it still opens another one.
async fn stops(subject: impl FnOnce(&str) -> serde_json::Value, whoever: bool, opens: bool) {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    let task = lab.open(&backlog, "nightly", &[]).await.token();
    let path = lab.events().await.iter().rev().find_map(|e| e.task.clone());
    let subject = subject(&path.unwrap().leaf().to_string());
    lab.suspend(subject.clone()).await;
    for path in ["/task/show", "/task/close", "/introspect", "/revoke"] {
        let of_task = path.starts_with("/task");
        let form = [
            ("client_assertion_type", ASSERTION),
            ("client_assertion", backlog.as_str()),
            ("token", if of_task { task.as_str() } else { "x" }),
        ];
        let stopped = !lab.form(path, &form).await.status.is_success();
        assert_eq!(stopped, whoever || of_task, "{subject} {path}");
    }
    assert_eq!(lab.renew(&backlog, &task).await.error(), "access_denied");
    assert_eq!(lab.access(&backlog, &task).await.error(), "access_denied");
    let opened = lab.open(&backlog, "nightly", &[]).await;
    assert_eq!(opened.status.is_success(), opens, "{subject}");
    let attested = lab.attest("backlog", "backlog-1", &[]).await;
    assert_eq!(attested.status.is_success(), !whoever, "{subject}");
    let by_name = 4 + 4 * usize::from(whoever) + usize::from(!whoever && !opens);
    assert_eq!(lab.refused_rules().await.len(), by_name, "{subject}");
    let body = json!({"subject": subject, "reason": "over"});
    let resumed = lab.operator("/operator/v1/resume", &body).await.expect(200);
    assert!(resumed["tokens_void"].as_u64() > Some(0), "{subject}");
    assert!(!lab.renew(&backlog, &task).await.status.is_success());
}

#[tokio::test]
async fn a_suspended_agent_instance_provider_or_everything_stops_wherever_it_asks() {
    let one = json!({"kind": "instance", "provider": "process", "id": "backlog-1"});
    let provider = json!({"kind": "provider", "name": "process"});
    for subject in [
        agent("backlog"),
        one,
        provider,
        json!({"kind": "everything"}),
    ] {
        stops(|_| subject, true, false).await;
    }
}

#[tokio::test]
async fn a_suspended_task_or_principal_stops_what_is_done_for_it() {
    stops(|task| json!({"kind": "task", "id": task}), false, true).await;
    let principal = json!({"kind": "principal", "id": format!("{DOMAIN}/agent/backlog")});
    stops(|_| principal, false, false).await;
}

/// The bundle of these tests with `records` going on without a lease.
fn going_on(lab: &Lab) -> String {
    let resource = "  resource: https://records.acme.example\n";
    let more = format!("{resource}  leaseLoss: continue\n");
    lab.bundle().replacen(resource, &more, 1)
}

/// A lab whose `records` goes on, a gateway that has applied that and is silent from then on, and an
/// access token of `backlog` for `records`.
async fn with_a_silent_gateway() -> Lab {
    let lab = Lab::new().await;
    lab.apply(&going_on(&lab), 1).await.expect(200);
    lab.control("/control/v1/lease", &lease("g-1", &versions(&lab).await))
        .await
        .expect(200);
    let backlog = lab.svid("backlog").await;
    let task = lab.open(&backlog, "nightly", &[]).await.token();
    lab.access(&backlog, &task).await.expect(200);
    lab
}

/// The answer to a suspension of `subject` once leases have been waited for.
async fn waited_out(lab: &Lab, subject: serde_json::Value) -> serde_json::Value {
    let socket = lab.socket("operator.sock");
    let body = json!({"subject": subject, "reason": "INC-1"});
    let before = lab.authority.versions().borrow().stops;
    let waiting = tokio::spawn(async move {
        post_json(&socket, "/operator/v1/suspend", &body)
            .await
            .expect(200)
    });
    let mut moved = lab.authority.versions();
    moved.wait_for(|now| now.stops > before).await.unwrap();
    lab.pass(LEASE + LEASE / 100);
    waiting.await.unwrap()
}

fn is_effective(proof: &serde_json::Value) -> bool {
    let effective = proof["effective"].as_bool().unwrap();
    assert_eq!(proof.get("not_effective_until").is_none(), effective);
    assert_eq!(proof["going_on"] == 0, effective, "{proof}");
    effective
}

#[tokio::test]
async fn a_silent_gateway_that_goes_on_makes_a_suspension_wait_for_the_last_token() {
    let lab = with_a_silent_gateway().await;
    let issued = lab
        .events()
        .await
        .into_iter()
        .rev()
        .find_map(|e| match e.what {
            mandate_audit::What::Issued { expires_at, .. } => Some(expires_at),
            _ => None,
        });
    let until = issued.unwrap().plus(Duration::from_secs(6));
    let proof = waited_out(&lab, agent("backlog")).await;
    assert!(!is_effective(&proof));
    assert_eq!(proof["not_effective_until"], until.as_millis());
    assert_eq!(
        (&proof["going_on"], &proof["going_on_for"]),
        (&json!(1), &json!(["records"]))
    );
    assert_eq!(
        (&proof["acknowledged"], &proof["lease_bounded"]),
        (&json!(0), &json!(1))
    );
    let kinds: Vec<&str> = lab.events().await.iter().map(|e| e.what.kind()).collect();
    assert_eq!(kinds.last(), Some(&"suspension_not_effective"));
    assert!(!kinds.contains(&"suspension_effective"));
    // Its lease has run out by now: what counts is that it does not answer.
    let again = lab.suspend(agent("backlog")).await;
    assert_eq!(again["gateways"], 0);
    assert!(!is_effective(&again));
    lab.ground
        .clock
        .set_now(until.minus(Duration::from_millis(1)));
    assert!(!is_effective(&lab.suspend(agent("backlog")).await));
    lab.ground.clock.set_now(until);
    assert!(is_effective(&lab.suspend(agent("backlog")).await));
}

/// What was issued cannot be told from a log that was changed: the longest life of a token counts.
#[tokio::test]
async fn a_suspension_reckons_nothing_from_a_log_that_is_damaged() {
    let lab = with_a_silent_gateway().await;
    lab.pass(Duration::from_secs(30));
    lab.logs.damage();
    let begun = lab.now();
    let proof = waited_out(&lab, agent("backlog")).await;
    assert!(!is_effective(&proof));
    // Two minutes, and six seconds for the clocks.
    let until = begun.plus(Duration::from_secs(126));
    assert_eq!(proof["not_effective_until"], until.as_millis());
    assert_eq!(proof.get("tokens_void"), None, "nobody can count them");
}

/// A stop is never refused because the log is damaged.
#[tokio::test]
async fn a_token_is_revoked_also_where_its_record_may_be_what_is_missing() {
    let lab = Lab::new().await;
    let name = "/operator/v1/tokens/tok-0190a5b4-7e6c-7a11-8a11-0123456789ab/revoke";
    let why = json!({"reason": "INC-1"});
    assert_eq!(lab.operator(name, &why).await.status, 404);
    lab.logs.damage();
    lab.operator(name, &why).await.expect(200);
}

#[tokio::test]
async fn what_does_not_reach_what_goes_on_is_effective_as_ever() {
    let lab = with_a_silent_gateway().await;
    let server = |name: &str| json!({"kind": "server", "name": name});
    // Nobody has a token for it, or of it, that a gateway would go on with.
    for subject in [agent("executor"), server("mail")] {
        assert!(is_effective(&waited_out(&lab, subject).await));
    }
    assert!(!is_effective(&lab.suspend(server("records")).await));
    assert!(!is_effective(
        &lab.suspend(json!({"kind": "everything"})).await
    ));
}

#[tokio::test]
async fn a_gateway_that_has_acknowledged_does_not_go_on() {
    let lab = with_a_silent_gateway().await;
    let waiting = suspend(&lab, "backlog");
    let version = until_committed(&lab).await;
    let ack = json!({"gateway": "g-1", "stops": version, "cut": 0, "unknown": 0});
    lab.control("/control/v1/ack", &ack).await;
    let proof = waiting.await.unwrap();
    assert!(is_effective(&proof));
    assert_eq!(proof["acknowledged"], 1);
}

#[tokio::test]
async fn a_bundle_that_stops_it_is_not_known_to_a_gateway_that_is_silent_since_before() {
    let lab = with_a_silent_gateway().await;
    lab.apply(&lab.bundle(), 2).await.expect(200);
    assert!(!is_effective(&waited_out(&lab, agent("backlog")).await));
    // One that has applied the later bundle stops with its lease.
    let lab = Lab::new().await;
    lab.apply(&going_on(&lab), 1).await.expect(200);
    lab.apply(&lab.bundle(), 2).await.expect(200);
    lab.control("/control/v1/lease", &lease("g-1", &versions(&lab).await))
        .await
        .expect(200);
    let backlog = lab.svid("backlog").await;
    let task = lab.open(&backlog, "nightly", &[]).await.token();
    lab.access(&backlog, &task).await.expect(200);
    assert!(is_effective(&waited_out(&lab, agent("backlog")).await));
}

#[tokio::test]
async fn after_a_restart_a_gateway_may_go_on_with_any_bundle() {
    let lab = with_a_silent_gateway().await;
    lab.apply(&lab.bundle(), 2).await.expect(200);
    let lab = lab.restarted().await;
    assert!(!is_effective(&waited_out(&lab, agent("backlog")).await));
}

#[tokio::test]
async fn a_suspended_gateway_that_goes_on_has_no_end_that_could_be_told() {
    let lab = with_a_silent_gateway().await;
    let gateway = |id: &str| json!({"kind": "gateway", "id": id});
    let proof = waited_out(&lab, gateway("g-1")).await;
    assert_eq!(
        (&proof["effective"], &proof["going_on"]),
        (&json!(false), &json!(1))
    );
    assert!(proof.get("not_effective_until").is_none());
    assert!(is_effective(&lab.suspend(gateway("g-2")).await));
}

#[tokio::test]
async fn what_goes_on_without_a_lease_is_said_by_status() {
    let lab = Lab::new().await;
    let status = lab.look("/operator/v1/status").await.expect(200);
    assert_eq!(status["without_lease"], json!([]));
    lab.apply(&going_on(&lab), 1).await.expect(200);
    let status = lab.look("/operator/v1/status").await.expect(200);
    assert_eq!(status["without_lease"], json!([{"server": "records"}]));
}
