//! What one caller can make the authority do, and what a clock can.

use std::time::Duration;

use mandate_audit::Checkpoint;
use mandate_ports::LogReader;
use serde_json::{Value, json};

use crate::client::Lines;
use crate::lab::{ASSERTION, Lab, agent};

/// The ids of the tasks that were opened so far.
async fn opened(lab: &Lab) -> Vec<String> {
    let events = lab.events().await;
    let tasks = events.into_iter().filter_map(|event| event.task);
    let mut ids: Vec<String> = tasks.map(|path| path.leaf().to_string()).collect();
    ids.dedup();
    ids
}

/// The stops that a gateway is told after `task` was ended.
async fn told_after(lab: &Lab, lines: &mut Lines, task: &str) -> Vec<String> {
    let path = format!("/operator/v1/tasks/{task}/cancel");
    lab.operator(&path, &json!({"reason": "over"}))
        .await
        .expect(200);
    loop {
        let message = lines.next().await.unwrap();
        if message["message"] == "stops" {
            let ended = message["ended"].as_array().unwrap();
            let name = |entry: &Value| entry[0].as_str().unwrap().to_owned();
            return ended.iter().map(name).collect();
        }
    }
}

#[tokio::test]
async fn an_end_is_told_for_as_long_as_it_can_matter_whatever_a_wall_clock_says() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    for _ in 0..3 {
        lab.open(&backlog, "nightly", &[]).await.expect(200);
    }
    let tasks = opened(&lab).await;
    let [one, two, three] = tasks.as_slice() else {
        panic!("{tasks:?}")
    };
    let mut lines = Lines::open(&lab.socket("control.sock"), "/control/v1/stream?gateway=g").await;
    for _ in 0..4 {
        lines.next().await.unwrap();
    }
    let told = told_after(&lab, &mut lines, one).await;
    assert_eq!(told, std::slice::from_ref(one));
    let now = lab.now();
    lab.ground
        .clock
        .set_now(now.plus(Duration::from_secs(86_400)));
    let both = told_after(&lab, &mut lines, two).await;
    assert_eq!(both.len(), 2, "a jump forward makes no gateway forget");
    lab.ground.clock.set_now(now);
    lab.pass(Duration::from_secs(600));
    let after = told_after(&lab, &mut lines, three).await;
    assert!(!after.contains(one) && after.contains(three), "{after:?}");
}

#[tokio::test]
async fn an_agent_that_revokes_without_end_is_told_to_wait() {
    let lab = Lab::new().await;
    let (backlog, other) = (lab.svid("backlog").await, lab.svid("retriever").await);
    let revoke = async |svid: &str, token: &str| {
        let form = [
            ("client_assertion_type", ASSERTION),
            ("client_assertion", svid),
            ("token", token),
        ];
        lab.form("/revoke", &form).await
    };
    let token = lab.svid("backlog").await;
    let mut done = 0;
    let refused = loop {
        let answer = revoke(&backlog, &token).await;
        if answer.status != 200 {
            break answer;
        }
        done += 1;
        assert!(done < 20_000, "nothing keeps it from going on");
    };
    assert_eq!((refused.status.as_u16(), done >= 100), (503, true));
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(lab.refused_rules().await, ["quota.ends"]);
    assert_eq!(revoke(&other, &other).await.status, 200);
}

#[tokio::test]
async fn an_introspection_by_nobody_reads_nothing_of_the_store() {
    let lab = Lab::new().await;
    let before = lab.reads.versions();
    for _ in 0..100 {
        let answer = lab.form("/introspect", &[("token", "x")]).await;
        assert!(!answer.status.is_success());
    }
    // The authority itself looks once a second.
    let reads = lab.reads.versions() - before;
    assert!(reads < 100, "{reads}");
}

#[tokio::test]
async fn stops_that_have_not_moved_are_not_read_again() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    let form = [
        ("client_assertion_type", ASSERTION),
        ("client_assertion", backlog.as_str()),
        ("token", backlog.as_str()),
    ];
    let before = lab.reads.stops();
    for _ in 0..20 {
        let answer = lab.form("/introspect", &form).await.expect(200);
        assert_eq!(answer["active"], true);
    }
    assert_eq!(lab.reads.stops(), before);
    lab.suspend(agent("executor")).await;
    assert!(lab.reads.stops() > before);
}

#[tokio::test]
async fn a_wall_clock_that_jumps_forward_moves_no_key() {
    let lab = Lab::new().await;
    let body = json!({"purpose": "svid"});
    lab.operator("/operator/v1/keys/rotate", &body)
        .await
        .expect(200);
    let keys = lab.look("/operator/v1/keys").await.expect(200);
    let jumped = lab.now().plus(Duration::from_secs(86_400));
    lab.ground.clock.set_now(jumped);
    lab.reads.until_looked(4).await;
    assert_eq!(lab.look("/operator/v1/keys").await.expect(200), keys);
}

#[tokio::test]
async fn a_checkpoint_that_could_not_be_signed_is_signed_without_another_record() {
    let lab = Lab::new().await;
    let covered = async || {
        let (head, note) = tokio::join!(lab.store.head(), lab.store.checkpoint());
        let note = note.unwrap().unwrap_or_default();
        let said = Checkpoint::dangerous_unverified(&note).map(|said| said.size());
        said.is_ok_and(|size| size == head.unwrap().size)
    };
    let until_covered = async || {
        while !covered().await {
            tokio::task::yield_now().await;
        }
    };
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, until_covered()).await.unwrap();
    lab.slow.refuse(1);
    lab.svid("backlog").await;
    tokio::time::timeout(limit, until_covered()).await.unwrap();
    assert_eq!(lab.slow.refuses(), 0);
}
