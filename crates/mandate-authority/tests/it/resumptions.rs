//! What a resumption leaves void, on every path, and what it does not.

use std::time::Duration;

use mandate_model::stop::Subject;
use mandate_model::{StopVersion, Timestamp};
use mandate_ports::StateReader;
use serde_json::{Value, json};

use crate::client::Answer;
use crate::lab::{ASSERTION, DOMAIN, Lab, TXN, agent};

/// The tokens of one agent at work.
struct Held {
    svid: String,
    task: String,
    access: String,
}

async fn work(lab: &Lab) -> Held {
    let svid = lab.svid("backlog").await;
    let task = lab.open(&svid, "nightly", &[]).await.token();
    let access = lab.access(&svid, &task).await.token();
    Held { svid, task, access }
}

async fn resume(lab: &Lab, subject: Value) -> Value {
    let body = json!({"subject": subject, "reason": "a clean image"});
    lab.operator("/operator/v1/resume", &body).await.expect(200)
}

async fn suspend_and_resume(lab: &Lab, subject: Value) -> Value {
    lab.suspend(subject.clone()).await;
    resume(lab, subject).await
}

async fn form(lab: &Lab, path: &str, svid: &str, token: &str) -> Answer {
    let form = [
        ("client_assertion_type", ASSERTION),
        ("client_assertion", svid),
        ("token", token),
    ];
    lab.form(path, &form).await
}

async fn is_active(lab: &Lab, witness: &str, token: &str) -> bool {
    let answer = form(lab, "/introspect", witness, token).await.expect(200);
    answer["active"] == json!(true)
}

/// Which of the three are void by themselves, shown beside what is fresh.
struct Void {
    svid: bool,
    task: bool,
    access: bool,
}

/// Suspends and resumes `subject`, made of the id of the agent's task. Nothing that it voids is good on
/// any path; what it does not is; and all that comes after is.
async fn voids(subject: impl FnOnce(&str) -> Value, void: Void) {
    let lab = Lab::new().await;
    let old = work(&lab).await;
    let path = lab.events().await.iter().rev().find_map(|e| e.task.clone());
    let id = path.unwrap().leaf().to_string();
    let subject = subject(&id);
    suspend_and_resume(&lab, subject.clone()).await;
    let fresh = lab.svid("backlog").await;
    let witness = fresh.clone();
    for (token, void) in [
        (&old.svid, void.svid),
        (&old.task, void.task),
        (&old.access, void.access),
    ] {
        assert_eq!(is_active(&lab, &witness, token).await, !void, "{subject}");
    }
    let opened = lab.open(&old.svid, "nightly", &[]).await;
    assert_eq!(opened.status.is_success(), !void.svid, "{subject}");
    let shown = form(&lab, "/task/show", &fresh, &old.task).await;
    assert_eq!(shown.status.is_success(), !void.task, "{subject}");
    let accessed = lab.access(&fresh, &old.task).await;
    assert_eq!(accessed.status.is_success(), !void.task, "{subject}");
    let renewed = lab.renew(&fresh, &old.task).await;
    assert_eq!(renewed.status.is_success(), !void.task, "{subject}");
    if void.task {
        assert_eq!(renewed.error(), "access_denied");
        let closed = form(&lab, "/task/close", &fresh, &old.task).await;
        assert!(!closed.status.is_success(), "{subject}");
    }
    // The task lives, and goes on with tokens of afterwards.
    let jwt = "urn:ietf:params:oauth:token-type:jwt";
    let task = lab.resume_task(&fresh, &fresh, jwt, &id).await.token();
    let access = lab.access(&fresh, &task).await.token();
    let renewed = lab.renew(&fresh, &task).await.token();
    for token in [&fresh, &task, &access, &renewed] {
        assert!(is_active(&lab, &witness, token).await, "{subject}");
    }
    let closed = form(&lab, "/task/close", &fresh, &renewed).await;
    assert_eq!(closed.status, 204, "{subject}");
}

#[tokio::test]
async fn a_resumed_agent_instance_provider_or_everything_leaves_all_it_had_void() {
    let one = json!({"kind": "instance", "provider": "process", "id": "backlog-1"});
    let provider = json!({"kind": "provider", "name": "process"});
    for subject in [
        agent("backlog"),
        one,
        provider,
        json!({"kind": "everything"}),
    ] {
        let void = Void {
            svid: true,
            task: true,
            access: true,
        };
        voids(|_| subject, void).await;
    }
}

#[tokio::test]
async fn a_resumed_task_or_principal_leaves_what_is_of_it_void_and_the_identity_good() {
    let void = || Void {
        svid: false,
        task: true,
        access: true,
    };
    voids(|task| json!({"kind": "task", "id": task}), void()).await;
    let principal = json!({"kind": "principal", "id": format!("{DOMAIN}/agent/backlog")});
    voids(|_| principal, void()).await;
}

#[tokio::test]
async fn a_resumed_server_workload_leaves_access_to_it_void_alone() {
    let void = Void {
        svid: false,
        task: false,
        access: true,
    };
    voids(|_| json!({"kind": "server", "name": "records"}), void).await;
}

#[tokio::test]
async fn a_child_of_a_resumed_delegator_needs_a_new_token_and_its_own_identity_stays_good() {
    let lab = Lab::new().await;
    let orchestrator = lab.svid("orchestrator").await;
    let root = lab.open(&orchestrator, "morning", &[]).await.token();
    let entries = crate::lab::reading();
    let child = lab
        .delegate(&orchestrator, &root, "retriever", &entries)
        .await;
    let retriever = lab.svid("retriever").await;
    let access = lab.access(&retriever, &child.token()).await.token();
    suspend_and_resume(&lab, agent("orchestrator")).await;
    assert_eq!(
        lab.access(&retriever, &child.token()).await.error(),
        "access_denied"
    );
    assert!(!is_active(&lab, &retriever, &child.token()).await);
    assert!(!is_active(&lab, &retriever, &access).await);
    assert!(is_active(&lab, &retriever, &retriever).await);
}

#[tokio::test]
async fn a_resumed_child_acts_with_no_task_token_of_before_though_another_issued_it() {
    let lab = Lab::new().await;
    let orchestrator = lab.svid("orchestrator").await;
    let root = lab.open(&orchestrator, "morning", &[]).await.token();
    let entries = crate::lab::reading();
    let child = lab
        .delegate(&orchestrator, &root, "retriever", &entries)
        .await
        .token();
    suspend_and_resume(&lab, agent("retriever")).await;
    let retriever = lab.svid("retriever").await;
    let refused = lab.access(&retriever, &child).await;
    assert_eq!(refused.error(), "access_denied");
    let child = lab
        .delegate(&orchestrator, &root, "retriever", &entries)
        .await
        .token();
    lab.access(&retriever, &child).await.expect(200);
}

#[tokio::test]
async fn an_access_token_of_before_gets_no_token_for_an_upstream() {
    let lab = Lab::new().await;
    let ask = async |svid: &str| {
        let task = lab.open(svid, "audit", &[]).await.token();
        let form = [
            ("subject_token", task.as_str()),
            ("subject_token_type", TXN),
            ("resource", "https://ledger.acme.example"),
        ];
        lab.exchange(svid, &form).await.token()
    };
    let upstream = async |access: &str| {
        let body = json!({"gateway": "g-1", "access_token": access});
        lab.control("/control/v1/upstream-token", &body).await
    };
    let old = ask(&lab.svid("backlog").await).await;
    let before = upstream(&old).await.expect(200)["token"].clone();
    let gateway = json!({"kind": "gateway", "id": "g-1"});
    for subject in [gateway, agent("backlog")] {
        let old = ask(&lab.svid("backlog").await).await;
        suspend_and_resume(&lab, subject.clone()).await;
        let refused = upstream(&old).await.expect(403);
        assert_eq!(refused["rule"], "stopped", "{subject}");
        let fresh = ask(&lab.svid("backlog").await).await;
        upstream(&fresh).await.expect(200);
    }
    let witness = lab.svid("backlog").await;
    assert!(!is_active(&lab, &witness, before.as_str().unwrap()).await);
}

/// Another operator resumes, the agent attests, and a third suspends again, all before the first
/// operator's resumption.
#[tokio::test]
async fn what_came_between_two_suspensions_is_void_after_both_are_lifted() {
    let lab = Lab::new().await;
    lab.suspend(agent("backlog")).await;
    resume(&lab, agent("backlog")).await;
    let between = work(&lab).await;
    lab.suspend(agent("backlog")).await;
    resume(&lab, agent("backlog")).await;
    let witness = lab.svid("backlog").await;
    for token in [&between.svid, &between.task, &between.access] {
        assert!(!is_active(&lab, &witness, token).await);
    }
    let fresh = lab.svid("backlog").await;
    lab.open(&fresh, "nightly", &[]).await.expect(200);
}

#[tokio::test]
async fn a_clock_that_was_set_back_and_a_restart_make_nothing_good_again() {
    let lab = Lab::new().await;
    let old = work(&lab).await;
    let then = lab.now();
    lab.ground
        .clock
        .set_now(then.minus(Duration::from_secs(7200)));
    // By this clock what was issued before was issued in two hours.
    suspend_and_resume(&lab, agent("backlog")).await;
    let early = lab.svid("backlog").await;
    let lab = lab.restarted().await;
    lab.ground.clock.set_now(then);
    let witness = lab.svid("backlog").await;
    for token in [&old.svid, &old.task, &old.access] {
        assert!(!is_active(&lab, &witness, token).await);
    }
    assert_eq!(
        lab.open(&old.svid, "nightly", &[]).await.error(),
        "access_denied"
    );
    // One of afterwards is void by no resumption; it has expired.
    lab.ground
        .clock
        .set_now(then.minus(Duration::from_secs(7200)));
    lab.open(&early, "nightly", &[]).await.expect(200);
}

#[tokio::test]
async fn a_resumption_reads_no_token_and_leaves_one_entry_however_many_there_are() {
    let lab = Lab::new().await;
    for _ in 0..30 {
        lab.svid("backlog").await;
    }
    let suspended = lab.suspend(agent("backlog")).await["version"].as_u64();
    let resumed = resume(&lab, agent("backlog")).await;
    assert_eq!(resumed["tokens_void"], 30);
    assert_eq!(resumed["version"].as_u64(), suspended.map(|v| v + 1));
    let stops = lab.store.stops(lab.now()).await.unwrap();
    assert_eq!(
        (stops.resumptions().count(), stops.revoked().count()),
        (1, 0)
    );
    let shown = lab.look("/operator/v1/suspensions").await.expect(200);
    let told = shown["resumptions"].as_array().unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&told[0]["subject"], &told[0]["version"]),
        (&agent("backlog"), &resumed["version"])
    );
    let status = lab.look("/operator/v1/status").await.expect(200);
    assert_eq!(status["resumptions"], 1);
    lab.pass(Duration::from_secs(3600));
    let shown = lab.look("/operator/v1/suspensions").await.expect(200);
    assert_eq!(shown["resumptions"], json!([]), "they have all expired");
}

/// A store that was put back has forgotten what was void, and what it issued since.
#[tokio::test]
async fn whoever_accepts_a_store_that_went_back_voids_all_that_was_issued() {
    let lab = Lab::new().await;
    let old = work(&lab).await;
    let accept = |stops: u64| json!({"gateway": "g-1", "suspensions": [], "stops": stops});
    let accepted = lab
        .operator("/operator/v1/gateways/accept-epoch", &accept(40))
        .await
        .expect(200);
    assert_eq!(accepted["version"], 41);
    assert_eq!(
        lab.renew(&old.svid, &old.task).await.error(),
        "access_denied"
    );
    let stops = lab.store.stops(lab.now()).await.unwrap();
    let all = stops.resumptions().next().unwrap();
    assert_eq!(
        (&all.subject, all.version),
        (&Subject::Everything, StopVersion::new(41))
    );
    assert!(all.until > lab.now() && all.until < Timestamp::from_millis(u64::MAX));
    work(&lab).await;
    let far = accept(u64::MAX);
    let refused = lab
        .operator("/operator/v1/gateways/accept-epoch", &far)
        .await;
    refused.expect(400);
}
