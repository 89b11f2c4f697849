//! An agent that calls another agent: one tree from the user to what the called one did.

use serde_json::{Value, json};

use crate::lab::Lab;
use crate::lab::agent::{claims, entry, spiffe_id, token};
use crate::lab::http::{Answer, Field};

/// The bundle with the agent `clerk` as a server workload, which verifies tokens of the authority.
fn bundle(lab: &Lab) -> String {
    let ceiling = "anyUser: true}}\n  ceiling:\n";
    let helper = format!(
        "---\nkind: ServerWorkload\nmetadata: {{name: helper}}\nspec:\n  resource: https://helper.acme.example\n  upstream: http://{}\n  upstreamAudience: https://helper.internal\n  credential: {{mandateToken: {{}}}}\n  a2a: {{agent: clerk}}\n  actions:\n    ask: {{effect: read, match: [rpc SendMessage, rpc message/send]}}\n---\nkind: AccessPolicy\nmetadata: {{name: helper}}\nspec: {{agents: [worker], server: helper, actions: [ask]}}\n",
        lab.upstream.address
    );
    let bundle = lab.bundle();
    assert!(bundle.contains(ceiling));
    let with = format!("{ceiling}    - {{server: helper, actions: [ask]}}\n");
    bundle.replacen(ceiling, &with, 1) + &helper
}

fn call(lab: &Lab, access: &str, task: Option<&str>) -> Answer {
    let bearer = format!("Bearer {access}");
    let mut fields: Vec<Field<'_>> = vec![
        ("authorization", &bearer),
        ("content-type", "application/json"),
    ];
    fields.extend(task.map(|task| ("txn-token", task)));
    let message = json!({"messageId": "m-1", "role": "ROLE_USER", "parts": [{"text": "Hello"}]});
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}});
    let body = body.to_string();
    lab.server
        .gateway()
        .call("POST", "/helper/", &fields, body.as_bytes())
}

#[test]
fn what_a_called_agent_does_leads_to_the_user_who_began_it() {
    let lab = Lab::start();
    let applied = lab.apply(&bundle(&lab));
    assert_eq!(applied.code, 0, "{}", applied.value);
    let (worker, clerk) = (lab.worker(), lab.clerk());
    let root = token(worker.open_for(&lab.id_token("alice")));
    let access = token(worker.access(&root, "helper"));
    let handed = token(worker.delegate(&root, "clerk", &json!([entry("records", "read")])));
    call(&lab, &access, Some(&handed)).expect(200);

    // What the called agent is shown: who calls, for whom and in which task, and its own task.
    let seen = lab.upstream.seen("/").pop().unwrap();
    assert_eq!(seen.field("txn-token"), Some(handed.as_str()));
    let authorization = seen.field("authorization").unwrap();
    let said = claims(authorization.strip_prefix("Bearer ").unwrap());
    assert_eq!(said["aud"], "https://helper.internal");
    assert_eq!(said["client_id"], spiffe_id("worker"));
    assert_eq!(said["act"]["sub"], spiffe_id("worker"));
    assert_eq!(said["sub"], "user:login:alice");
    let task = claims(&root)["task"]["id"].clone();
    assert_eq!(said["task"]["id"], task);

    // With that it does what was delegated to it, and no more.
    let own = token(clerk.access(&handed, "records"));
    lab.access("/records/items/called", &own).expect(200);
    clerk.access(&handed, "helper").expect(400);

    let story = || {
        let ran = lab.run(&["trace", task.as_str().unwrap()]);
        assert_eq!(ran.code, 0, "{}", ran.value);
        let child = &ran.value["task"]["children"][0];
        let done = |node: &Value| -> Vec<Value> {
            let steps = node["steps"].as_array().into_iter().flatten();
            let accesses = steps.filter(|step| step["kind"] == "access");
            accesses
                .map(|step| step["what"]["request"].clone())
                .collect()
        };
        let whole = done(&ran.value["task"]) == ["rpc SendMessage"]
            && done(child) == ["GET /items/{item}/**"];
        whole.then_some(ran.value)
    };
    let story = crate::lab::wait::until("both accesses are in the log", story);
    assert_eq!(story["principal"], "user:login:alice");
    assert_eq!(story["trigger"]["kind"], "user");
    assert_eq!(story["task"]["agent"], "worker");
    assert_eq!(story["task"]["children"][0]["agent"], "clerk");

    // A suspended agent is called by nobody, and the runbook says who is concerned.
    let runbook = lab.run(&["runbook", "clerk"]);
    assert_eq!(runbook.value["called_as"], json!(["helper"]));
    let clerk = json!({"kind": "agent", "id": spiffe_id("clerk")});
    lab.suspend(&clerk).expect(200);
    let refused = call(&lab, &access, None).expect(200).json();
    assert_eq!(refused["error"]["data"]["rule"], "stopped");
    // What was issued before it is void, for whomever is called.
    lab.resume(&clerk).expect(200);
    let refused = call(&lab, &access, None).expect(200).json();
    assert_eq!(refused["error"]["data"]["rule"], "stopped");
    let access = token(worker.access(&root, "helper"));
    let answered = call(&lab, &access, None).expect(200).json();
    assert_eq!(answered, json!({"target": "/"}));
}
