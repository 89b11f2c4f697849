//! Tasks that an operator opens and ends at the command line, and an agent of another process works on.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::json;

use crate::lab::agent::{self, entry, resource, spiffe_id, token};
use crate::lab::{Lab, Ran};

/// What every opening says here, and `more`.
fn open(lab: &Lab, more: &[&str]) -> Ran {
    let whole = [&["task", "open", "repair", "--operator"], more].concat();
    lab.run(&whole)
}

/// A repair for the clerk, with its token in a file.
fn opened(lab: &Lab) -> (Ran, PathBuf) {
    let file = lab.data().join("task.jwt");
    let path = file.display().to_string();
    let ran = open(
        lab,
        &["--agent", "clerk", "--reason", "INC-4711", "--to", &path],
    );
    assert_eq!(ran.code, 0, "{}", ran.value);
    (ran, file)
}

#[test]
fn an_agent_works_on_what_an_operator_opened_and_the_trace_leads_to_the_operator() {
    let lab = Lab::start();
    let (ran, file) = opened(&lab);
    assert_eq!(ran.value["agent"], spiffe_id("clerk"));
    assert_eq!(ran.value["scope"], "records:read");
    assert_eq!(ran.value.get("token"), None);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let task = ran.value["task"].as_str().unwrap();

    // The token in another agent's hands opens nothing.
    let text = std::fs::read_to_string(&file).unwrap();
    let refused = lab.worker().access(&text, "records");
    assert_eq!(refused.status, 400, "{refused:?}");
    // The clerk is a process of its own, which the kernel vouches for.
    let (records, path) = (resource("records"), file.display().to_string());
    let access = lab.run(&["token", &records, "--task", &path]);
    assert_eq!(access.code, 0, "{}", access.value);
    let access = access.value["token"].as_str().unwrap();
    lab.access("/records/items/repaired", access).expect(200);
    // It was the first, so another instance of its type is too late.
    let late = lab.run(&["token", &records, "--task", &path]);
    assert_eq!(late.code, 1);
    assert!(late.value.to_string().contains("pinned"), "{}", late.value);

    let trace = crate::lab::wait::until("the gateway's record is in the log", || {
        let trace = lab.run(&["trace", task]).value;
        trace.to_string().contains("/items/").then_some(trace)
    });
    assert_eq!(trace["principal"], "operator:tester");
    assert_eq!(trace["trigger"]["kind"], "operator");
    assert_eq!(trace["trigger"]["verified"], "operator");
    assert_eq!(trace["purpose"], "repair");
    assert_eq!(trace["task"]["agent"], "clerk");
    assert_eq!(trace["task"]["reason"], "INC-4711");
    let steps = trace["task"]["steps"].as_array().unwrap();
    assert!(
        steps
            .iter()
            .any(|step| step["kind"] == "access" && step["agent"] == "clerk"),
        "{trace}"
    );
}

#[test]
fn a_token_for_a_pipe_is_all_that_is_printed() {
    let lab = Lab::start();
    let ran = open(&lab, &["--agent", &spiffe_id("clerk"), "--reason", "INC-1"]);
    assert_eq!(ran.code, 0, "{}", ran.value);
    let token = ran.value["token"].as_str().unwrap();
    let claims = agent::claims(token);
    assert_eq!(claims["sub"], "operator:tester");
    assert_eq!(claims["may_act"]["sub"], spiffe_id("clerk"));
    assert_eq!(claims["task"]["id"], ran.value["task"]);
}

#[test]
fn what_an_operator_may_not_open_is_refused_with_the_rule_and_an_exit_code() {
    let lab = Lab::start();
    let wider = [
        "--agent",
        "clerk",
        "--reason",
        "x",
        "--access",
        "records:write",
    ];
    let refused = open(&lab, &wider);
    assert_eq!(refused.code, 1);
    let said = refused.value["error"].as_str().unwrap();
    assert!(said.contains("mandate.widening"), "{said}");
    let other = open(&lab, &["--agent", "worker", "--reason", "x"]);
    assert_eq!(other.code, 1);
    assert!(other.value.to_string().contains("task_policy"));
    for incomplete in [
        &["--agent", "clerk"][..],
        &["--reason", "x"],
        &["--agent", "clerk", "--reason", "x", "--schedule", "nightly"],
        &["--agent", "no agent", "--reason", "x"],
    ] {
        assert_eq!(open(&lab, incomplete).code, 2, "{incomplete:?}");
    }
    let without = ["task", "open", "repair", "--agent", "clerk"];
    assert_eq!(lab.run(&without).code, 2, "an agent opens for itself");
}

#[test]
fn an_operator_cancels_a_task_and_all_below_it_and_says_why() {
    let lab = Lab::start();
    let worker = lab.worker();
    let root = token(worker.open());
    let part = json!([entry("records", "read")]);
    let child = token(worker.delegate(&root, "worker", &part));
    let other = token(worker.open());
    let id = agent::claims(&root)["task"]["id"].clone();
    let task = id.as_str().unwrap();

    let ran = lab.run(&["task", "cancel", task, "--reason", "wrong customer"]);
    assert_eq!(ran.code, 0, "{}", ran.value);
    assert_eq!(ran.value["task"], id);
    assert!(ran.value["version"].as_u64() > Some(0), "{}", ran.value);
    for ended in [&root, &child] {
        let refused = worker.renew(ended);
        assert!(matches!(refused.status, 400 | 403), "{refused:?}");
    }
    worker.renew(&other).expect(200);
    let found = lab.run(&["audit", "search", "--task", task, "--kind", "task_ended"]);
    let event = &found.value["records"][0]["event"];
    assert_eq!(event["detail"], "wrong customer");
    assert_eq!(event["principal"], "operator:tester");
    assert_eq!(event["what"]["state"], "cancelled");
    assert_eq!(event["what"]["count"], 2);
}

#[test]
fn a_task_that_is_over_or_unknown_or_no_task_is_not_cancelled() {
    let lab = Lab::start();
    let root = token(lab.worker().open());
    let id = agent::claims(&root)["task"]["id"].clone();
    let cancel = |task: &str, more: &[&str]| {
        let whole = [&["task", "cancel", task], more].concat();
        lab.run(&whole).code
    };
    let (task, why) = (id.as_str().unwrap(), ["--reason", "x"]);
    assert_eq!(cancel(task, &[]), 2, "a reason is asked for");
    assert_eq!(cancel("4711", &why), 2);
    assert_eq!(cancel(task, &why), 0);
    assert_eq!(cancel(task, &why), 1, "it has ended before");
    let unknown = "task-019ab000-0000-7000-8000-000000000000";
    assert_eq!(cancel(unknown, &why), 1);
}
