//! Every exchange, end to end.

use std::time::Duration;

use mandate_model::TaskId;
use serde_json::json;

use crate::client::get_tcp;
use crate::lab::{ASSERTION, DOMAIN, GRANT, ID_TOKEN, ISSUER, JWT, Lab, TXN, agent, reading};

/// FAILURES 15: what a client of MCP does that is refused (2026-07-28, authorization, "Scope Challenge").
#[tokio::test]
async fn a_step_up_that_joins_scopes_gets_no_more_than_the_task() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    let details = [("authorization_details", &*reading())];
    let task = lab.open(&backlog, "nightly", &details).await.token();
    let child = lab
        .delegate(&backlog, &task, "retriever", &reading())
        .await
        .token();
    let retriever = lab.svid("retriever").await;
    for scope in [
        "records:refund",
        "records:read records:refund",
        "records:read offline_access",
        "records:*",
    ] {
        let form = [
            ("subject_token", child.as_str()),
            ("subject_token_type", TXN),
            ("resource", "https://records.acme.example"),
            ("scope", scope),
        ];
        let refused = lab.exchange(&retriever, &form).await;
        assert_eq!(refused.expect(400)["error"], "invalid_scope", "{scope}");
    }
    let held = lab.access(&retriever, &child).await;
    let held = &held.expect(200)["authorization_details"][0];
    assert_eq!(held["actions"], json!(["read"]));
}

#[tokio::test]
async fn the_chain_from_evidence_to_an_access_token_is_recorded_link_by_link() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    let opened = lab
        .open(
            &backlog,
            "nightly",
            &[("authorization_details", &reading())],
        )
        .await;
    assert_eq!(opened.headers["cache-control"], "no-store");
    let task = opened.token();
    assert_eq!(opened.json()["token_type"], "N_A");
    assert_eq!(opened.json()["scope"], "records:read");
    let child = lab
        .delegate(&backlog, &task, "retriever", &reading())
        .await
        .token();
    let retriever = lab.svid("retriever").await;
    let renewed = lab.renew(&retriever, &child).await.token();
    let access = lab.access(&retriever, &renewed).await;
    assert_eq!(access.expect(200)["token_type"], "Bearer");
    assert_eq!(
        access.json()["authorization_details"][0]["actions"],
        json!(["read"])
    );

    let kinds: Vec<&str> = lab.events().await.iter().map(|e| e.what.kind()).collect();
    let chain = [
        "attested",
        "issued",
        "task_opened",
        "issued",
        "task_delegated",
        "issued",
        "attested",
        "issued",
        "issued",
        "issued",
    ];
    let from = kinds.iter().position(|kind| *kind == "attested").unwrap();
    assert_eq!(&kinds[from..], chain);
    let last = lab.events().await.pop().unwrap();
    assert_eq!(last.task.unwrap().depth(), 2);
    assert_eq!(last.actors.len(), 2);
    assert!(last.trigger.is_some() && last.principal.is_some() && last.token.is_some());
}

#[tokio::test]
async fn a_person_opens_a_task_once_and_the_task_is_bound_to_what_the_token_says() {
    let lab = Lab::new().await;
    let orchestrator = lab.svid("orchestrator").await;
    let claims = json!({"groups": ["support"], "tenant": "acme"});
    let token = lab
        .ground
        .people
        .id_token("alice", "support-app", lab.now(), &claims);
    let details = json!({"purpose": "support-case"}).to_string();
    let form = [
        ("subject_token", token.as_str()),
        ("subject_token_type", ID_TOKEN),
        ("requested_token_type", TXN),
        ("audience", DOMAIN),
        ("request_details", details.as_str()),
    ];
    let opened = lab.exchange(&orchestrator, &form).await;
    let entries = &opened.expect(200)["authorization_details"];
    let customers = entries
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["constraints"]["customer"]["in"]);
    assert!(
        customers.clone().all(|c| *c == json!(["acme"])),
        "{entries}"
    );
    let again = lab.exchange(&orchestrator, &form).await;
    assert_eq!(again.error(), "invalid_request");
    assert_eq!(lab.refused_rules().await, ["subject.used"]);
}

#[tokio::test]
async fn a_task_is_resumed_by_its_opener_and_by_its_delegator_and_by_nobody_else() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    let root = lab.open(&backlog, "nightly", &[]).await.token();
    let child = lab
        .delegate(&backlog, &root, "retriever", &reading())
        .await
        .token();
    lab.pass(Duration::from_secs(200));
    let backlog = lab.svid("backlog").await;
    let root_id = task_id(&lab, 0).await;
    let child_id = task_id(&lab, 1).await;
    lab.resume_task(&backlog, &backlog, JWT, &root_id)
        .await
        .expect(200);
    lab.resume_task(&backlog, &root, TXN, &child_id)
        .await
        .expect(200);
    let retriever = lab.svid("retriever").await;
    let refused = lab.resume_task(&retriever, &retriever, JWT, &root_id).await;
    assert_eq!(refused.error(), "invalid_request");
    let refused = lab.resume_task(&retriever, &child, TXN, &root_id).await;
    assert_eq!(refused.error(), "invalid_request");
    assert_eq!(
        lab.refused_rules().await,
        ["actor.not_delegator", "actor.not_delegator"]
    );
}

#[tokio::test]
async fn a_host_vouches_for_its_hosted_agent_and_for_no_other() {
    let lab = Lab::new().await;
    let host = lab.svid("orchestrator").await;
    let (helper, retriever) = (
        format!("{DOMAIN}/agent/helper"),
        format!("{DOMAIN}/agent/retriever"),
    );
    let form = |of: &'static str, actor| {
        [
            ("subject_token", of),
            ("subject_token_type", JWT),
            ("requested_actor", actor),
        ]
    };
    let host: &'static str = host.leak();
    let hosted = lab.exchange(host, &form(host, &helper)).await.token();
    let refused = lab.exchange(host, &form(host, &retriever)).await;
    assert_eq!(refused.error(), "invalid_request");
    let hosted: &'static str = hosted.leak();
    let nested = lab.exchange(hosted, &form(hosted, &helper)).await;
    assert_eq!(nested.error(), "invalid_request");
    assert_eq!(lab.refused_rules().await, ["hosted_by", "actor.nested"]);
}

#[tokio::test]
async fn a_budget_is_spent_token_by_token() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    let trigger = json!({"kind": "schedule", "name": "nightly", "item": "1"});
    let details = json!({"purpose": "nightly", "trigger": trigger, "budget": {"max_accesses": 1}})
        .to_string();
    let form = [
        ("subject_token", backlog.as_str()),
        ("subject_token_type", JWT),
        ("requested_token_type", TXN),
        ("audience", DOMAIN),
        ("request_details", details.as_str()),
        ("authorization_details", &reading()),
    ];
    let task = lab.exchange(&backlog, &form).await.token();
    lab.access(&backlog, &task).await.expect(200);
    assert_eq!(lab.access(&backlog, &task).await.error(), "access_denied");
    assert_eq!(lab.refused_rules().await, ["budget.spent"]);
}

#[tokio::test]
async fn a_budget_is_spent_once_however_many_ask_at_once() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    let trigger = json!({"kind": "schedule", "name": "nightly", "item": "1"});
    let details = json!({"purpose": "nightly", "trigger": trigger, "budget": {"max_accesses": 3}})
        .to_string();
    let form = [
        ("subject_token", backlog.as_str()),
        ("subject_token_type", JWT),
        ("requested_token_type", TXN),
        ("audience", DOMAIN),
        ("request_details", details.as_str()),
        ("authorization_details", &reading()),
    ];
    let task = lab.exchange(&backlog, &form).await.token();
    let many = (0..16).map(|_| lab.access(&backlog, &task));
    let answers = futures_util::future::join_all(many).await;
    let got = answers.iter().filter(|a| a.status.is_success()).count();
    assert_eq!(got, 3);
    assert_eq!(lab.refused_rules().await, ["budget.spent"; 13]);
}

/// FAILURES 1: whoever holds everything else gets nothing without proving what it is.
#[tokio::test]
async fn nothing_is_exchanged_shown_or_ended_without_a_client() {
    let lab = Lab::new().await;
    let orchestrator = lab.svid("orchestrator").await;
    let root = lab.open(&orchestrator, "morning", &[]).await.token();
    let child = format!("{DOMAIN}/agent/retriever");
    let helper = format!("{DOMAIN}/agent/helper");
    let opening = json!({"purpose": "morning", "trigger": {"kind": "schedule", "name": "morning"}});
    let resuming = json!({"task": TaskId::new(lab.now(), [1; 10])}).to_string();
    let (opening, entries) = (opening.to_string(), reading());
    let of_task = [
        ("subject_token", root.as_str()),
        ("subject_token_type", TXN),
        ("requested_token_type", TXN),
        ("audience", DOMAIN),
    ];
    let own = [
        ("subject_token", orchestrator.as_str()),
        ("subject_token_type", JWT),
    ];
    let txn = [("requested_token_type", TXN), ("audience", DOMAIN)];
    let records = ("resource", "https://records.acme.example");
    let delegating = [
        ("requested_actor", child.as_str()),
        ("authorization_details", entries.as_str()),
    ];
    let forms: [(&str, Vec<(&str, &str)>); 6] = [
        (
            "open",
            [&own[..], &txn, &[("request_details", &opening)]].concat(),
        ),
        ("delegate", [&of_task[..], &delegating].concat()),
        ("renew", of_task.to_vec()),
        (
            "resume",
            [&of_task[..], &[("request_details", &resuming)]].concat(),
        ),
        ("access", [&of_task[..2], &[records]].concat()),
        (
            "attest-hosted",
            [&own[..], &[("requested_actor", &helper)]].concat(),
        ),
    ];
    for (step, form) in forms {
        let grant = [("grant_type", GRANT)];
        let answer = lab.form("/token", &[&grant[..], &form].concat()).await;
        assert!(!answer.status.is_success(), "{step}: {}", answer.text);
        assert!(answer.json().get("access_token").is_none(), "{step}");
        // The very same with a client gets as far as the rules of that step.
        let with = lab.exchange(&orchestrator, &form).await;
        assert_ne!(
            with.error_if_any(),
            "invalid_client",
            "{step}: {}",
            with.text
        );
    }
    for path in ["/introspect", "/revoke", "/task/show", "/task/close"] {
        let answer = lab.form(path, &[("token", &root)]).await;
        let refused = (answer.status.as_u16(), answer.error());
        assert_eq!(refused, (401, "invalid_client".to_owned()), "{path}");
    }
    lab.renew(&orchestrator, &root).await.expect(200);
}

#[tokio::test]
async fn introspection_tells_an_agent_of_its_own_good_tokens_and_nothing_else() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    let task = lab
        .open(
            &backlog,
            "nightly",
            &[("authorization_details", &reading())],
        )
        .await
        .token();
    let access = lab.access(&backlog, &task).await.token();
    let told = introspect(&lab, &backlog, &access).await;
    assert_eq!(told["active"], true);
    assert_eq!(told["client_id"], format!("{DOMAIN}/agent/backlog"));
    assert_eq!(told["authorization_details"][0]["server"], "records");
    assert!(told["act"].is_object() && told["txn"].is_string() && told["task"].is_object());
    let inactive = json!({"active": false});
    let other = lab.svid("summarizer").await;
    assert_eq!(introspect(&lab, &other, &access).await, inactive);
    assert_eq!(introspect(&lab, &backlog, "nonsense").await, inactive);
    let close = assertion(&backlog, &task);
    assert_eq!(lab.form("/task/close", &close).await.status, 204);
    assert_eq!(introspect(&lab, &backlog, &access).await, inactive);
    assert_eq!(introspect(&lab, &backlog, &task).await, inactive);
}

#[tokio::test]
async fn a_revoked_token_is_void_and_a_revoked_task_token_takes_its_subtree_along() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    let root = lab.open(&backlog, "nightly", &[]).await.token();
    let child = lab
        .delegate(&backlog, &root, "retriever", &reading())
        .await
        .token();
    let retriever = lab.svid("retriever").await;
    let access = lab.access(&retriever, &child).await.token();
    let not_mine = lab.form("/revoke", &assertion(&backlog, &access)).await;
    assert_eq!(not_mine.error(), "invalid_request");
    lab.form("/revoke", &assertion(&retriever, &access))
        .await
        .expect(200);
    let inactive = json!({"active": false});
    assert_eq!(introspect(&lab, &retriever, &access).await, inactive);
    lab.form("/revoke", &assertion(&backlog, "nonsense"))
        .await
        .expect(200);
    lab.form("/revoke", &assertion(&backlog, &root))
        .await
        .expect(200);
    assert!(!lab.access(&retriever, &child).await.status.is_success());
    assert!(!lab.renew(&backlog, &root).await.status.is_success());
    // Both records reach their cause.
    let events = lab.events().await;
    let of = |kind: &str| events.iter().find(|e| e.what.kind() == kind).unwrap();
    for (event, depth) in [(of("revoked"), 2), (of("task_ended"), 1)] {
        let path = event.task.as_ref().unwrap();
        assert_eq!(path.iter().count(), depth, "{event:?}");
        assert!(event.principal.is_some() && event.trigger.is_some());
    }
}

#[tokio::test]
async fn the_agent_in_may_act_sees_its_tree_and_ends_a_child() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    let root = lab.open(&backlog, "nightly", &[]).await.token();
    let child = lab
        .delegate(&backlog, &root, "retriever", &reading())
        .await
        .token();
    let tree = lab
        .form("/task/show", &assertion(&backlog, &root))
        .await
        .expect(200);
    assert_eq!(tree["tasks"].as_array().unwrap().len(), 2);
    let retriever = lab.svid("retriever").await;
    let refused = lab.form("/task/show", &assertion(&retriever, &root)).await;
    assert_eq!(refused.error(), "invalid_request");
    let child_id = tree["tasks"][1]["id"].as_str().unwrap();
    let mut close = assertion(&backlog, &root).to_vec();
    close.push(("task", child_id));
    assert_eq!(lab.form("/task/close", &close).await.status, 204);
    assert!(!lab.renew(&retriever, &child).await.status.is_success());
    lab.renew(&backlog, &root).await.expect(200);
}

#[tokio::test]
async fn discovery_says_what_there_is_in_both_places() {
    let lab = Lab::new().await;
    let one = get(&lab, "/.well-known/oauth-authorization-server").await;
    assert_eq!(one, get(&lab, "/.well-known/openid-configuration").await);
    assert_eq!(one["issuer"], ISSUER);
    assert_eq!(one["authorization_endpoint"], format!("{ISSUER}/authorize"));
    // What OpenID Connect Discovery §3 requires of every provider.
    for (member, value) in [
        ("subject_types_supported", json!(["public"])),
        ("id_token_signing_alg_values_supported", json!(["ES256"])),
    ] {
        assert_eq!(one[member], value);
    }
    assert_eq!(
        one["token_endpoint_auth_methods_supported"],
        json!(["spiffe_jwt"])
    );
    let jwks = get(&lab, "/jwks").await;
    let bundle = get(&lab, "/spiffe/bundle").await;
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 1);
    assert_eq!(bundle["keys"][0]["use"], "jwt-svid");
    assert_ne!(jwks["keys"][0]["kid"], bundle["keys"][0]["kid"]);
}

#[tokio::test]
async fn an_exchange_goes_on_after_a_suspension_of_another_agent() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    lab.suspend(agent("executor")).await;
    lab.open(&backlog, "nightly", &[]).await.expect(200);
}

async fn get(lab: &Lab, path: &str) -> serde_json::Value {
    crate::client::get(&lab.socket("agent.sock"), path)
        .await
        .expect(200)
}

#[tokio::test]
async fn readiness_tells_why_it_is_not_ready() {
    let lab = Lab::empty().await;
    let answer = get_tcp(lab.observe, "/readyz").await.expect(503);
    assert_eq!(answer["findings"], json!(["no bundle is live"]));
    lab.apply(&lab.bundle(), 0).await.expect(200);
    get_tcp(lab.observe, "/readyz").await.expect(200);
    lab.svid("backlog").await;
    let metrics = get_tcp(lab.observe, "/metrics").await.text;
    assert!(
        metrics.contains("mandate_issued_total{kind=\"jwt-svid\"} 1"),
        "{metrics}"
    );
}

fn assertion<'a>(svid: &'a str, token: &'a str) -> [(&'a str, &'a str); 3] {
    [
        ("token", token),
        ("client_assertion_type", ASSERTION),
        ("client_assertion", svid),
    ]
}

async fn introspect(lab: &Lab, svid: &str, token: &str) -> serde_json::Value {
    lab.form("/introspect", &assertion(svid, token))
        .await
        .expect(200)
}

/// The id of the `n`th task that was recorded.
async fn task_id(lab: &Lab, n: usize) -> String {
    let began = |kind: &str| kind == "task_opened" || kind == "task_delegated";
    let events = lab.events().await;
    let tasks = events.iter().filter(|e| began(e.what.kind()));
    let mut tasks = tasks.map(|e| e.task.as_ref().unwrap().leaf().to_string());
    tasks.nth(n).unwrap()
}
