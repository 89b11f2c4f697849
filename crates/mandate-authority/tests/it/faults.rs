//! A store that cannot be written: denied, said, recovered without help (FAILURES 43).

use std::time::Duration;

use serde_json::json;

use crate::breakglass::{suspend, until_committed};
use crate::client::{Lines, get_tcp, post_json};
use crate::control::{lease, versions};
use crate::lab::{LEASE, Lab, agent};

#[tokio::test]
async fn a_full_disk_denies_says_so_and_is_recovered_from_without_help() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    let before = lab.events().await.len();
    lab.disk.fill(true);
    let refused = lab.open(&backlog, "nightly", &[]).await;
    assert_eq!(
        (refused.status.as_u16(), refused.error().as_str()),
        (503, "temporarily_unavailable")
    );
    assert_eq!(refused.headers["retry-after"], "1");
    // A refusal that cannot be recorded is not told either.
    assert_eq!(lab.renew(&backlog, "nonsense").await.status, 503);
    let versions = versions(&lab).await;
    lab.control("/control/v1/lease", &lease("g-1", &versions))
        .await
        .expect(503);
    let findings = get_tcp(lab.observe, "/readyz").await.expect(503)["findings"].clone();
    assert!(
        findings[0].as_str().unwrap().contains("disk is full"),
        "{findings}"
    );
    assert_eq!(lab.events().await.len(), before);
    lab.disk.fill(false);
    until_ready(&lab).await;
    lab.open(&backlog, "nightly", &[]).await.expect(200);
    let alarm = lab
        .events()
        .await
        .into_iter()
        .any(|e| e.what.kind() == "alarm");
    assert!(
        alarm,
        "the log tells of the time in which it could not be written"
    );
}

#[tokio::test]
async fn a_suspension_acts_when_nothing_can_be_written_and_is_stored_when_it_can() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    let mut lines = Lines::open(&lab.socket("control.sock"), "/control/v1/stream?gateway=g").await;
    let mut told = json!(null);
    for _ in 0..4 {
        told = lines.next().await.unwrap();
    }
    lab.disk.fill(true);
    let proof = lab.suspend(agent("backlog")).await;
    assert_eq!(
        (&proof["effective"], &proof["durable"]),
        (&json!(true), &json!(false))
    );
    let stops = lines.next().await.unwrap();
    assert_eq!(stops["suspensions"][0]["subject"], agent("backlog"));
    assert!(stops["version"].as_u64() > told["version"].as_u64());
    assert!(!lab.open(&backlog, "nightly", &[]).await.status.is_success());
    let shown = lab.look("/operator/v1/suspensions").await.expect(200);
    assert_eq!(
        (&shown["undurable"], &shown["version"]),
        (&json!(1), &stops["version"])
    );
    lab.disk.fill(false);
    until_ready(&lab).await;
    let shown = lab.look("/operator/v1/suspensions").await.expect(200);
    assert_eq!(
        (&shown["undurable"], &shown["version"]),
        (&json!(0), &stops["version"])
    );
    // Gateways are told so too: from here on a store without it went back.
    assert_eq!(stops["undurable"], 1);
    let stored = lines.next().await.unwrap();
    assert_eq!(
        (&stored["message"], &stored["version"]),
        (&json!("stops"), &stops["version"])
    );
    assert!(stored.get("undurable").is_none(), "{stored}");
    let lab = lab.restarted().await;
    assert_eq!(
        lab.attest("backlog", "b", &[]).await.error(),
        "access_denied"
    );
}

/// The former one is durable, and stays so for whoever goes by what is told.
#[tokio::test]
async fn suspending_again_in_memory_leaves_the_durable_suspension_as_it_is() {
    let lab = Lab::new().await;
    let first = lab.suspend(agent("backlog")).await;
    assert_eq!(first["durable"], true);
    lab.disk.fill(true);
    let again = lab.suspend(agent("backlog")).await;
    assert_eq!(again["durable"], false);
    let mut lines = Lines::open(&lab.socket("control.sock"), "/control/v1/stream?gateway=g").await;
    let mut told = json!(null);
    for _ in 0..4 {
        told = lines.next().await.unwrap();
    }
    assert_eq!(
        (&told["version"], &told["undurable"]),
        (&again["version"], &json!(1))
    );
    assert_eq!(told["suspensions"][0]["version"], first["version"]);
    assert_eq!(told["suspensions"].as_array().unwrap().len(), 1);
}

/// What was in memory alone is lost with a crash, and its version is given to another suspension. Whoever says
/// that it applied the lost one has said nothing of this one.
#[tokio::test]
async fn an_acknowledgement_of_a_lost_past_counts_for_nothing() {
    let lab = Lab::new().await;
    let before = lab.of_this_run(versions(&lab).await);
    lab.control("/control/v1/lease", &lease("g-1", &before))
        .await
        .expect(200);
    lab.disk.fill(true);
    let socket = lab.socket("operator.sock");
    let body = json!({"subject": agent("backlog"), "reason": "INC-1"});
    let mut moved = lab.authority.versions();
    moved.mark_unchanged();
    let lost = tokio::spawn(async move { post_json(&socket, "/operator/v1/suspend", &body).await });
    moved.changed().await.unwrap();
    let version = moved.borrow().stops;
    let ack =
        json!({"gateway": "g-1", "run": before["run"], "stops": version, "cut": 0, "unknown": 0});
    lab.control("/control/v1/ack", &ack).await.expect(204);
    assert_eq!(lost.await.unwrap().expect(200)["acknowledged"], 1);
    // The disk is well again only for the next run. Another moment is another run.
    lab.pass(Duration::from_millis(1));
    let lab = lab.restarted().await;

    let mut applied = versions(&lab).await;
    assert!(
        applied["stops"].as_u64() < Some(version.get()),
        "it is lost"
    );
    let waiting = suspend(&lab, "executor");
    assert_eq!(until_committed(&lab).await, version.get());
    let refused = lab.control("/control/v1/ack", &ack).await;
    assert_eq!(refused.expect(409)["type"], "urn:mandate:problem:run");
    applied["stops"] = json!(version);
    let mut asked = lease("g-1", &applied);
    asked["run"] = before["run"].clone();
    let refused = lab.control("/control/v1/lease", &asked).await;
    assert_eq!(refused.expect(409)["type"], "urn:mandate:problem:run");
    assert!(
        !waiting.is_finished(),
        "it waits for the gateway's lease to end"
    );
    let ack = json!({"gateway": "g-1", "stops": version, "cut": 2, "unknown": 0});
    lab.control("/control/v1/ack", &ack).await.expect(204);
    let proof = waiting.await.unwrap();
    assert_eq!(
        (&proof["acknowledged"], &proof["cut"]),
        (&json!(1), &json!(2))
    );
}

#[tokio::test]
async fn a_lease_that_a_hung_disk_gives_back_after_a_suspension_is_no_lease() {
    let lab = Lab::new().await;
    let asked = lab.of_this_run(lease("g-1", &versions(&lab).await));
    let control = lab.socket("control.sock");
    lab.disk.hang(true);
    let renewing =
        tokio::spawn(async move { post_json(&control, "/control/v1/lease", &asked).await });
    lab.disk.until_waiting(1).await;
    let proof = lab.suspend(agent("backlog")).await;
    assert_eq!(
        (&proof["effective"], &proof["durable"], &proof["gateways"]),
        (&json!(true), &json!(false), &json!(0))
    );
    lab.disk.hang(false);
    renewing.await.unwrap().expect(503);
    until_ready(&lab).await;
    let now = versions(&lab).await;
    lab.control("/control/v1/lease", &lease("g-1", &now))
        .await
        .expect(200);
}

#[tokio::test]
async fn a_store_that_hangs_after_the_suspension_does_not_hold_back_the_word() {
    let lab = Lab::new().await;
    lab.control("/control/v1/lease", &lease("g-1", &versions(&lab).await))
        .await
        .expect(200);
    let socket = lab.socket("operator.sock");
    let body = json!({"subject": agent("backlog"), "reason": "INC-1"});
    let waiting =
        tokio::spawn(async move { post_json(&socket, "/operator/v1/suspend", &body).await });
    let mut moved = lab.authority.versions();
    moved.wait_for(|v| v.stops.get() > 0).await.unwrap();
    lab.disk.hang(true);
    lab.pass(LEASE * 2);
    let proof = waiting.await.unwrap().expect(200);
    assert_eq!(
        (&proof["effective"], &proof["durable"]),
        (&json!(true), &json!(true))
    );
    lab.disk.hang(false);
}

#[tokio::test]
async fn what_expires_while_a_decision_is_made_is_not_committed() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    lab.pass(Duration::from_secs(290));
    lab.slow.take(Duration::from_secs(120));
    let late = lab.open(&backlog, "nightly", &[]).await;
    assert_eq!(late.error(), "invalid_client");
    lab.slow.take(Duration::from_secs(120));
    let fresh = lab.svid("backlog").await;
    lab.open(&fresh, "nightly", &[]).await.expect(200);
}

/// The authority looks at its store once a second, by itself. A gateway that a test left without
/// a lease is none of the store's concern.
async fn until_ready(lab: &Lab) {
    let of_a_gateway = |finding: &serde_json::Value| {
        finding
            .as_str()
            .is_some_and(|text| text.starts_with("gateway"))
    };
    let ready = async {
        loop {
            let answer = get_tcp(lab.observe, "/readyz").await;
            let findings = answer.json()["findings"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            if answer.status == 200 || findings.iter().all(of_a_gateway) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ready)
        .await
        .unwrap();
}
