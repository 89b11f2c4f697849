//! What operators did, looked at and tried in vain: on record, and within their rights.

use std::time::Duration;

use serde_json::json;

use crate::lab::{Lab, agent};
use crate::operators::operator;

#[tokio::test]
async fn what_an_operator_tried_in_vain_is_recorded() {
    let lab = Lab::new().await;
    let post = async |path: &str, body: &serde_json::Value| lab.operator(path, body).await.status;
    assert_eq!(lab.apply(&lab.bundle(), 0).await.status, 409);
    assert_eq!(lab.apply("kind: Nonsense", 1).await.status, 422);
    let back = json!({"version": 9, "base": 1});
    assert_eq!(post("/operator/v1/bundle/back", &back).await, 404);
    let resume = json!({"subject": agent("backlog"), "reason": "over"});
    assert_eq!(post("/operator/v1/resume", &resume).await, 409);
    let rotate = json!({"purpose": "svid"});
    assert_eq!(post("/operator/v1/keys/rotate", &rotate).await, 200);
    assert_eq!(post("/operator/v1/keys/rotate", &rotate).await, 409);
    let none = "/operator/v1/tasks/task-019ab000-0000-7000-8000-000000000000/cancel";
    assert_eq!(post(none, &json!({"reason": "x"})).await, 404);
    let rules = lab.refused_rules().await;
    let tried = [
        "bundle",
        "bundle",
        "unknown",
        "not_suspended",
        "keys.rotating",
        "unknown",
    ];
    assert_eq!(rules, tried);
    let events = lab.events().await;
    let refused = events.iter().filter(|e| e.what.kind() == "refused");
    assert!(refused.clone().count() == 6 && refused.clone().all(|e| e.principal.is_some()));
}

#[tokio::test]
async fn an_operator_that_is_refused_all_the_time_does_not_fill_the_log() {
    let lab = Lab::new().await;
    let resume = json!({"subject": agent("backlog"), "reason": "over"});
    for _ in 0..400 {
        lab.operator("/operator/v1/resume", &resume)
            .await
            .expect(409);
    }
    let recorded = lab.refused_rules().await.len();
    assert!((50..400).contains(&recorded), "{recorded}");
}

#[tokio::test]
async fn whoever_may_not_suspend_gives_a_store_no_suspensions_back() {
    let lab = Lab::new().await;
    let amy = operator("amy", "5151", "rights: [gateways]");
    lab.apply(&format!("{}{amy}", lab.bundle()), 1)
        .await
        .expect(200);
    let lost = |reason: &str| {
        json!({"subject": agent("backlog"), "reason": reason, "operator": "operator:root",
               "version": 7, "at": 1})
    };
    let path = "/operator/v1/gateways/accept-epoch";
    let accept =
        |lost: &[serde_json::Value]| json!({"gateway": "g-1", "suspensions": lost, "stops": 0});
    lab.crowd.come_as(Some(5151));
    let refused = lab.operator(path, &accept(&[lost("INC-1")])).await;
    assert_eq!(refused.expect(403)["rule"], "operator.no_right");
    lab.operator(path, &accept(&[])).await.expect(200);
    lab.crowd.come_as(None);
    lab.attest("backlog", "b", &[]).await.token();
    let unsaid = accept(&[lost("INC-1"), lost("")]);
    lab.operator(path, &unsaid).await.expect(400);
    lab.attest("backlog", "b", &[]).await.token();
    let many = vec![lost("INC-1"); 10_001];
    lab.operator(path, &accept(&many)).await.expect(413);
}

#[tokio::test]
async fn what_an_operator_needs_is_shown_while_the_disk_hangs() {
    let lab = Lab::new().await;
    lab.disk.hang(true);
    let limit = Duration::from_secs(60);
    for path in ["/operator/v1/status", "/operator/v1/suspensions"] {
        let shown = tokio::time::timeout(limit, lab.look(path)).await;
        shown.unwrap().expect(200);
    }
    lab.disk.hang(false);
}

#[tokio::test]
async fn whoever_reads_the_log_by_tiles_is_on_record_once_a_minute() {
    let lab = Lab::new().await;
    lab.svid("backlog").await;
    let looks = async || {
        let events = lab.events().await;
        let look = |e: &&mandate_audit::Event| matches!(&e.what, mandate_audit::What::OperatorActed { operation } if operation == "log_tile");
        events.iter().filter(look).count()
    };
    let tile = "/log/tile/entries/000.p/2";
    lab.disk.fill(true);
    assert_eq!(lab.look(tile).await.status, 503, "nothing without a record");
    lab.disk.fill(false);
    for _ in 0..3 {
        assert_eq!(lab.look(tile).await.status, 200);
    }
    assert_eq!(looks().await, 1);
    lab.pass(Duration::from_secs(60));
    assert_eq!(lab.look(tile).await.status, 200);
    assert_eq!(looks().await, 2);
}

#[tokio::test]
async fn an_operator_voids_one_token_by_its_id() {
    let lab = Lab::new().await;
    let (backlog, other) = (lab.svid("backlog").await, lab.svid("backlog").await);
    let events = lab.events().await;
    let tokens: Vec<_> = events.iter().filter_map(|e| e.token).collect();
    let path = format!("/operator/v1/tokens/{}/revoke", tokens[0]);
    let body = json!({"reason": "INC-4711: leaked"});
    let none = "/operator/v1/tokens/tok-019ab000-0000-7000-8000-000000000000/revoke";
    lab.operator(none, &body).await.expect(404);
    lab.operator(&path, &json!({"reason": ""}))
        .await
        .expect(400);
    lab.open(&backlog, "nightly", &[]).await.expect(200);
    let void = lab.operator(&path, &body).await.expect(200);
    assert_eq!(void["token"], tokens[0].to_string());
    assert!(!lab.open(&backlog, "nightly", &[]).await.status.is_success());
    lab.open(&other, "nightly", &[]).await.expect(200);
    let events = lab.events().await;
    let revoked = events.iter().find(|e| e.what.kind() == "revoked").unwrap();
    assert_eq!(revoked.detail.as_deref(), Some("INC-4711: leaked"));
    let amy = operator("amy", "5151", "rights: [suspend]");
    lab.apply(&format!("{}{amy}", lab.bundle()), 1)
        .await
        .expect(200);
    lab.crowd.come_as(Some(5151));
    let refused = lab.operator(&path, &body).await.expect(403);
    assert_eq!(refused["rule"], "operator.no_right");
}
