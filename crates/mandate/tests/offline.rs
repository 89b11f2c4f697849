//! What needs no server: a bundle in a folder, and a request on paper.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests may panic, and the program reads the machine's clock"
)]

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

const BUNDLE: &str = r#"
kind: AgentType
metadata: {name: clerk}
spec:
  attestation: [{process: {user: clerk}}]
  breakGlass: {contact: "@oncall", impact: Nobody is served.}
---
kind: ServerWorkload
metadata: {name: records}
spec:
  resource: https://records.acme.example
  upstream: http://127.0.0.1:9
  credential: {query: {name: key, value: "${secret:records}"}}
  observe: {until: ${until}}
  http: {passTaskId: X-Task}
  actions:
    read:
      effect: read
      match: "GET /items"
      attributes: {customer: {header: X-Customer}, page: {query: page}}
    drop: {effect: write, match: "POST /items"}
---
kind: AccessPolicy
metadata: {name: reading}
spec: {agents: [clerk], server: records, actions: [read], limits: {customer: {in: [acme]}}}
---
kind: TaskPolicy
metadata: {name: serving}
spec:
  opener: clerk
  trigger: {event: {name: case, unverified: allow}}
  ceiling: [{server: records, actions: [read]}]
  maxDuration: 5m
"#;

/// The exit code and the JSON of `mandate explain clerk records …`, observed until `until`.
fn explain(until: &str, arguments: &[&str]) -> (i32, Value) {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.yaml");
    std::fs::write(&bundle, BUNDLE.replace("${until}", until)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mandate"))
        .arg("--data")
        .arg(folder.path().join("data"))
        .args(["--output", "json", "explain", "clerk", "records"])
        .args(arguments)
        .arg("--bundle")
        .arg(&bundle)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{output:?}"));
    (output.status.code().unwrap(), value)
}

/// A date that has passed: everything is enforced.
const PASSED: &str = "2020-01-01";

#[test]
fn explain_decides_on_what_the_gateway_would_send() {
    let get = |header: &str| explain(PASSED, &["GET /items?page=1", "--header", header]);
    let (code, said) = get("X-Customer: acme");
    assert_eq!((code, &said["allowed"]), (0, &Value::Bool(true)), "{said}");
    assert!(said["waived_until"].is_null());
    // What `connection` names does not arrive, and neither does what decides then.
    let request = [
        "GET /items?page=1",
        "--header",
        "X-Customer: acme",
        "--header",
        "Connection: X-Customer",
    ];
    let (code, said) = explain(PASSED, &request);
    assert_eq!(
        (code, &said["rule"]),
        (1, &Value::from("policy.limit")),
        "{said}"
    );
    // The agent's own credential is taken out, and what passes for it is refused.
    let with = |target: &str| explain(PASSED, &[target, "--header", "X-Customer: acme"]);
    let (code, said) = with("GET /items?page=1&key=mine");
    assert_eq!(code, 0, "{said}");
    let (code, said) = with("GET /items?page=1;key=mine");
    assert_eq!(
        (code, &said["rule"]),
        (1, &Value::from("request.ambiguous")),
        "{said}"
    );
}

#[test]
fn explain_tells_what_observe_waives() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let tomorrow = mandate_model::Timestamp::from_secs(now.as_secs() + 86_400).to_string();
    let until = format!("{}Z", tomorrow.split('.').next().unwrap());
    let get = |header: &str| explain(&until, &["GET /items?page=1", "--header", header]);
    let (code, said) = get("X-Customer: acme");
    assert_eq!((code, &said["rule"]), (0, &Value::Null), "{said}");
    assert!(said["waived_until"].is_null(), "{said}");
    let (code, said) = get("X-Customer: globex");
    assert_eq!(code, 1, "{said}");
    assert_eq!(said["allowed"], true, "{said}");
    assert_eq!(said["rule"], "policy.limit", "{said}");
    let waived = said["waived_until"].as_str().unwrap();
    assert_eq!(waived, tomorrow, "{said}");
    let (_, enforced) = explain(
        PASSED,
        &["GET /items?page=1", "--header", "X-Customer: globex"],
    );
    assert_eq!(
        (&enforced["allowed"], &enforced["rule"]),
        (&Value::Bool(false), &said["rule"])
    );
}
