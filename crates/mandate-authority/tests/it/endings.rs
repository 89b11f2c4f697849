//! Ending authority needs none: what an agent still ends when the bundle lets it do nothing more.

use serde_json::json;

use crate::client::Answer;
use crate::lab::{ASSERTION, Lab, agent, reading};

/// The bundle without the document of this kind and name.
fn without(text: &str, kind: &str, name: &str) -> String {
    let head = format!("kind: {kind}\nmetadata: {{name: {name}}}\n");
    let kept: Vec<&str> = text
        .split("---\n")
        .filter(|document| !document.contains(&head))
        .collect();
    assert_eq!(kept.len() + 1, text.split("---\n").count(), "{head}");
    kept.join("---\n")
}

/// The live bundle lets the backlog open no task any more, and a retriever get none.
async fn takes_everything_back(lab: &Lab) {
    let text = lab.bundle().replace(
        "maySpawn: [{agent: retriever, servers: {records: [read]}}, orchestrator]",
        "maySpawn: [orchestrator]",
    );
    assert_ne!(text, lab.bundle());
    let text = without(&text, "TaskPolicy", "nightly");
    lab.apply(&text, 1).await.expect(200);
}

impl Lab {
    async fn end(&self, path: &str, svid: &str, token: &str) -> Answer {
        let form = [
            ("token", token),
            ("client_assertion_type", ASSERTION),
            ("client_assertion", svid),
        ];
        self.form(path, &form).await
    }

    async fn ended(&self) -> usize {
        let events = self.events().await;
        let ended = events.iter().filter(|e| e.what.kind() == "task_ended");
        ended.count()
    }
}

/// An open task of the backlog, and a retriever's below it, with the SVIDs of both.
async fn tree(lab: &Lab) -> [(String, String); 2] {
    let backlog = lab.svid("backlog").await;
    let root = lab.open(&backlog, "nightly", &[]).await.token();
    let child = lab
        .delegate(&backlog, &root, "retriever", &reading())
        .await
        .token();
    let retriever = lab.svid("retriever").await;
    [(backlog, root), (retriever, child)]
}

#[tokio::test]
async fn an_agent_closes_a_task_that_the_live_bundle_does_not_allow_any_more() {
    let lab = Lab::new().await;
    let [(backlog, root), (retriever, child)] = tree(&lab).await;
    takes_everything_back(&lab).await;
    for (svid, task) in [(&backlog, &root), (&retriever, &child)] {
        assert_eq!(lab.renew(svid, task).await.error(), "invalid_request");
        let shown = lab.end("/task/show", svid, task).await;
        assert_eq!(shown.error(), "invalid_request");
    }
    let closed = lab.end("/task/close", &retriever, &child).await;
    assert_eq!(closed.status, 204, "{}", closed.text);
    let closed = lab.end("/task/close", &backlog, &root).await;
    assert_eq!(closed.status, 204, "{}", closed.text);
    assert_eq!(lab.ended().await, 2);
    let last = lab.events().await.pop().unwrap();
    assert!(
        last.actors[0].sub.path() == "/agent/backlog" && last.task.is_some(),
        "{last:?}"
    );
}

#[tokio::test]
async fn an_agent_whose_type_is_declared_no_more_ends_what_it_has_and_gets_nothing() {
    for path in ["/task/close", "/revoke"] {
        let lab = Lab::new().await;
        let [(backlog, root), (retriever, child)] = tree(&lab).await;
        let text = without(&lab.bundle(), "AgentType", "retriever")
            .replace(
                "maySpawn: [orchestrator, retriever, executor, pinned]",
                "maySpawn: [orchestrator, executor, pinned]",
            )
            .replace(
                "maySpawn: [{agent: retriever, servers: {records: [read]}}, orchestrator]",
                "maySpawn: [orchestrator]",
            )
            .replace("agents: [retriever, pinned,", "agents: [pinned,");
        lab.apply(&text, 1).await.expect(200);
        assert_eq!(
            lab.renew(&retriever, &child).await.error(),
            "invalid_client"
        );
        let ended = lab.end(path, &retriever, &child).await;
        assert!(ended.status.is_success(), "{path}: {}", ended.text);
        assert_eq!(lab.ended().await, 1);
        lab.renew(&backlog, &root).await.expect(200);
    }
}

#[tokio::test]
async fn nobody_else_ends_it_and_nobody_who_proves_nothing() {
    let lab = Lab::new().await;
    let [(backlog, root), (retriever, child)] = tree(&lab).await;
    let other = lab.attest("backlog", "backlog-2", &[]).await.token();
    takes_everything_back(&lab).await;
    let forged = format!("{}x", backlog.trim_end_matches(char::is_alphanumeric));
    for (svid, task, error) in [
        ("nonsense", &root, "invalid_client"),
        (&forged, &root, "invalid_client"),
        (&root, &root, "invalid_client"),
        // Another type, another instance, and a token that is none.
        (&retriever, &root, "invalid_request"),
        (&backlog, &child, "invalid_request"),
        (&other, &root, "invalid_request"),
        (&backlog, &backlog, "invalid_request"),
    ] {
        let refused = lab.end("/task/close", svid, task).await;
        assert_eq!(refused.error(), error, "{}", refused.text);
    }
    assert_eq!(lab.ended().await, 0);
    assert_eq!(
        lab.refused_rules().await,
        [
            "actor.may_act",
            "actor.may_act",
            "actor.pinned",
            "subject.invalid"
        ]
    );
}

#[tokio::test]
async fn a_suspended_agent_and_a_suspended_task_end_nothing() {
    for (of_task, paths) in [
        (true, &["/task/close"][..]),
        (false, &["/task/close", "/revoke"]),
    ] {
        let lab = Lab::new().await;
        let [(backlog, root), _] = tree(&lab).await;
        let events = lab.events().await;
        let id = events.iter().find_map(|e| e.task.clone()).unwrap().leaf();
        takes_everything_back(&lab).await;
        let task = json!({"kind": "task", "id": id});
        let subject = if of_task { task } else { agent("backlog") };
        lab.suspend(subject).await;
        for path in paths {
            let answer = lab.end(path, &backlog, &root).await;
            assert_eq!(answer.error(), "access_denied", "{path}");
        }
        assert_eq!(lab.ended().await, 0);
    }
}
