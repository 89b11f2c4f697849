//! Root tasks that operators open, end to end.

use mandate_audit::What;
use mandate_model::Verified;
use mandate_ports::{Change, Unit};
use serde_json::{Value, json};

use crate::client::Answer;
use crate::lab::{DOMAIN, JWT, Lab, TXN, agent, entries, reading};
use crate::operators::operator;

const REPAIR: &str = "
---
apiVersion: mandate.dev/v1alpha1
kind: TaskPolicy
metadata: {name: repair}
spec:
  opener: backlog
  trigger: {operator: {}}
  ceiling: [{server: records, actions: [read]}]
  maxDuration: 10m
";

/// How the request or the lab differs from what is let through.
type Alter = fn(&mut Value);

async fn lab() -> Lab {
    let lab = Lab::new().await;
    let text = format!("{}{REPAIR}", lab.bundle());
    lab.apply(&text, 1).await.expect(200);
    lab
}

fn repair() -> Value {
    let details: Value = serde_json::from_str(&reading()).unwrap();
    json!({"agent": format!("{DOMAIN}/agent/backlog"), "purpose": "repair", "reason": "INC-4711",
           "authorization_details": details, "expires_in": 60})
}

impl Lab {
    async fn open_as_operator(&self, body: &Value) -> Answer {
        self.operator("/operator/v1/tasks", body).await
    }
}

#[tokio::test]
async fn an_operator_opens_a_task_that_its_agent_type_alone_uses() {
    let lab = lab().await;
    let opened = lab.open_as_operator(&repair()).await;
    assert_eq!(opened.headers["cache-control"], "no-store");
    let (token, body) = (opened.token(), opened.json());
    assert_eq!(body["token_type"], "N_A");
    assert_eq!(body["issued_token_type"], TXN);
    assert_eq!(body["scope"], "records:read");
    assert_eq!(body["expires_in"], 60);
    let retriever = lab.svid("retriever").await;
    for refused in [
        lab.renew(&retriever, &token).await,
        lab.access(&retriever, &token).await,
        lab.delegate(&retriever, &token, "retriever", &reading())
            .await,
    ] {
        assert_eq!(refused.error(), "invalid_request");
    }
    assert_eq!(lab.refused_rules().await, ["actor.may_act"; 3]);
    let backlog = lab.svid("backlog").await;
    let renewed = lab.renew(&backlog, &token).await.token();
    lab.access(&backlog, &renewed).await.expect(200);
    lab.delegate(&backlog, &renewed, "retriever", &reading())
        .await
        .expect(200);
    let path = format!("/operator/v1/tasks/{}", body["task"].as_str().unwrap());
    let shown = lab.look(&path).await.expect(200)["tasks"][0].clone();
    assert_eq!(shown["delegator"], json!({"operator": "root"}));
    assert_eq!(shown["principal"], "operator:root");
    assert_eq!(shown["instance"], "backlog-1");
}

#[tokio::test]
async fn its_records_lead_to_the_operator_and_come_before_the_token() {
    let lab = lab().await;
    let body = lab.open_as_operator(&repair()).await.expect(200);
    let events = lab.events().await;
    let [opened, issued] = &events[events.len() - 2..] else {
        panic!("{events:?}")
    };
    for event in [opened, issued] {
        assert_eq!(
            event.principal.as_ref().unwrap().to_string(),
            "operator:root"
        );
        let trigger = event.trigger.as_ref().unwrap();
        assert_eq!(trigger.verified, Verified::Operator);
        let task = event.task.as_ref().unwrap();
        assert_eq!(json!(task.leaf()), body["task"]);
        assert!(event.actors.is_empty());
    }
    assert_eq!(opened.detail.as_deref(), Some("INC-4711"));
    let What::TaskOpened {
        policy, may_act, ..
    } = &opened.what
    else {
        panic!("{opened:?}")
    };
    assert_eq!(policy.as_str(), "repair");
    assert_eq!(may_act.as_ref().unwrap().path(), "/agent/backlog");
    assert_eq!(issued.what.kind(), "issued");
    // What follows has the same cause, whoever acts.
    let backlog = lab.svid("backlog").await;
    let token = body["access_token"].as_str().unwrap();
    lab.access(&backlog, token).await.expect(200);
    let last = lab.events().await.pop().unwrap();
    assert_eq!(last.principal, opened.principal);
    assert_eq!(last.trigger, opened.trigger);
    assert_eq!(last.actors[0].sub.path(), "/agent/backlog");
}

#[tokio::test]
async fn each_rule_refuses_and_is_recorded_under_the_operators_name() {
    let cases: [(Alter, &str); 5] = [
        (|body| body["purpose"] = json!("nightly"), "task_policy"),
        (|body| body["purpose"] = json!("other"), "task_policy"),
        (
            |body| body["agent"] = json!(format!("{DOMAIN}/agent/orchestrator")),
            "task_policy",
        ),
        (
            |body| body["agent"] = json!(format!("{DOMAIN}/agent/nobody")),
            "mandate.undeclared",
        ),
        (
            |body| {
                let wider = entries(&["read", "refund"], "acme");
                body["authorization_details"] = serde_json::from_str(&wider).unwrap();
            },
            "mandate.widening",
        ),
    ];
    let lab = lab().await;
    let mut rules = Vec::new();
    for (change, rule) in cases {
        let mut body = repair();
        change(&mut body);
        let refused = lab.open_as_operator(&body).await;
        assert_eq!(refused.expect(403)["rule"], rule, "{body}");
        assert!(!refused.text.contains("access_token"));
        rules.push(rule);
    }
    assert_eq!(lab.refused_rules().await, rules);
    let last = lab.events().await.pop().unwrap();
    assert_eq!(last.principal.unwrap().to_string(), "operator:root");
    lab.open_as_operator(&repair()).await.expect(200);
}

#[tokio::test]
async fn what_is_suspended_opens_nothing_on_an_operators_word_either() {
    let principal = json!({"kind": "principal", "id": "operator:root"});
    for (subject, rule) in [
        (agent("backlog"), "stopped"),
        (principal, "operator.suspended"),
        (json!({"kind": "everything"}), "stopped"),
    ] {
        let lab = lab().await;
        // Somebody else could resume `root`.
        let kim = operator("kim", "7171", "rights: [resume]");
        let live = lab.look("/operator/v1/bundle").await.expect(200);
        let text = format!("{}{kim}", live["files"][0][1].as_str().unwrap());
        let base = live["version"].as_u64().unwrap();
        lab.apply(&text, base).await.expect(200);
        lab.open_as_operator(&repair()).await.expect(200);
        lab.suspend(subject.clone()).await;
        let refused = lab.open_as_operator(&repair()).await;
        assert_eq!(refused.expect(403)["rule"], rule, "{subject}");
        assert_eq!(lab.refused_rules().await, [rule]);
    }
}

#[tokio::test]
async fn a_suspension_between_the_operators_decision_and_its_commit_is_noticed() {
    let lab = lab().await;
    let suspension = serde_json::from_value(json!({
        "subject": agent("backlog"), "reason": "INC-1", "operator": "operator:root",
        "version": 0, "at": 0}));
    lab.disk.get_ahead(Unit {
        changes: vec![Change::Suspend(suspension.unwrap())],
        ..Unit::default()
    });
    let refused = lab.open_as_operator(&repair()).await;
    assert_eq!(refused.expect(403)["rule"], "stopped");
    let opened = lab.events().await;
    assert!(opened.iter().all(|e| e.what.kind() != "task_opened"));
}

#[tokio::test]
async fn who_may_not_open_does_not_and_ending_is_given_apart_from_opening() {
    let lab = Lab::new().await;
    let only_ends =
        r#"rights: [tasks], when: 'context has target && context.target.kind == "task"'"#;
    let only_repairs = r#"rights: [tasks], when: 'context has target && context.target.kind == "purpose" && context.target.name == "repair"'"#;
    let text = [
        lab.bundle(),
        REPAIR.to_owned(),
        REPAIR.replace("name: repair", "name: rebuild"),
        operator("amy", "5151", "rights: [inspect, suspend]"),
        operator("ben", "5252", only_ends),
        operator("eve", "5353", only_repairs),
    ]
    .concat();
    lab.apply(&text, 1).await.expect(200);
    for uid in [5151, 5252] {
        lab.crowd.come_as(Some(uid));
        let refused = lab.open_as_operator(&repair()).await;
        assert_eq!(refused.expect(403)["rule"], "operator.no_right");
    }
    lab.crowd.come_as(Some(5353));
    let mut rebuild = repair();
    rebuild["purpose"] = json!("rebuild");
    let refused = lab.open_as_operator(&rebuild).await;
    assert_eq!(refused.expect(403)["rule"], "operator.no_right");
    let opened = lab.open_as_operator(&repair()).await.expect(200);
    lab.crowd.come_as(Some(5252));
    let path = format!(
        "/operator/v1/tasks/{}/cancel",
        opened["task"].as_str().unwrap()
    );
    let why = json!({"reason": "done"});
    lab.operator(&path, &why).await.expect(200);
    // A user of the machine who is nobody to the bundle is not even heard.
    lab.crowd.come_as(Some(5454));
    let refused = lab.open_as_operator(&repair()).await;
    assert_eq!(refused.expect(403)["rule"], "operator.none");
    lab.crowd.come_as(None);
    assert_eq!(lab.refused_rules().await, ["operator.no_right"; 3]);
}

#[tokio::test]
async fn a_request_that_is_not_of_its_shape_opens_nothing() {
    let changes: [Alter; 6] = [
        |body| body["reason"] = json!(""),
        |body| body["trigger"] = json!({"kind": "user"}),
        |body| body["agent"] = json!("backlog"),
        |body| body["expires_in"] = json!(-1),
        |body| body["authorization_details"][0]["constraints"]["customer"]["in"] = json!(["*"]),
        |body| {
            body.as_object_mut().unwrap().remove("purpose");
        },
    ];
    let lab = lab().await;
    for change in changes {
        let mut body = repair();
        change(&mut body);
        lab.open_as_operator(&body).await.expect(400);
    }
    let events = lab.events().await;
    assert!(events.iter().all(|e| e.what.kind() != "task_opened"));
}

#[tokio::test]
async fn nothing_is_opened_that_cannot_be_recorded() {
    let lab = lab().await;
    lab.disk.fill(true);
    let refused = lab.open_as_operator(&repair()).await;
    refused.expect(503);
    assert!(!refused.text.contains("access_token"));
    lab.disk.fill(false);
    let events = lab.events().await;
    assert!(events.iter().all(|e| e.what.kind() != "task_opened"));
}

#[tokio::test]
async fn an_agent_does_not_open_what_an_operator_opens() {
    let lab = lab().await;
    let backlog = lab.svid("backlog").await;
    lab.open(&backlog, "nightly", &[]).await.expect(200);
    for trigger in [
        json!({"kind": "operator"}),
        json!({"kind": "operator", "name": "root"}),
        json!({"kind": "schedule", "name": "repair"}),
    ] {
        let details = json!({"purpose": "repair", "trigger": trigger}).to_string();
        let form = [
            ("subject_token", backlog.as_str()),
            ("subject_token_type", JWT),
            ("requested_token_type", TXN),
            ("audience", DOMAIN),
            ("request_details", details.as_str()),
        ];
        let refused = lab.exchange(&backlog, &form).await;
        assert_eq!(refused.error(), "invalid_request", "{trigger}");
    }
    // Nor does it come in at the operators' door: the kernel names its user, whatever it shows.
    lab.crowd.come_as(Some(5454));
    lab.open_as_operator(&repair()).await.expect(403);
}
