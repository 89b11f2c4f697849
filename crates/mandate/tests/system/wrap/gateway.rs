//! From a server on standard input and output to a decided call: wrapped, imported, enabled by one line, used by an agent.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::client::{Wrap, call, initialize};
use super::server::LISTS;
use crate::lab::Lab;
use crate::lab::agent;
use crate::lab::http::{Answer, Field};
use crate::lab::wait;

const TASKS: &str = "\
---
kind: TaskPolicy
metadata: {name: desk-work}
spec:
  opener: worker
  purpose: desk
  trigger: {schedule: {name: nightly, unverified: allow}}
  ceiling: [{server: desk, actions: [echo]}]
  maxDuration: 10m
";

#[test]
fn a_wrapped_server_is_used_by_what_is_enabled_and_no_other_way() {
    let lab = Lab::start();
    let tools = json!([
        { "name": "echo", "inputSchema": { "properties": { "text": { "type": "string" } } }, "annotations": { "readOnlyHint": true } },
        { "name": "environment", "inputSchema": {} },
    ]);
    let lists = lab.data().join("lists.json");
    std::fs::write(
        &lists,
        json!({ "tools/list": [{ "tools": tools }] }).to_string(),
    )
    .unwrap();
    let wrap = Wrap::start(
        "both",
        &["--env", &format!("{LISTS}={}", lists.display())],
        &[],
    );
    let imported = import(&lab, &wrap);
    map_secret(&lab, &wrap);
    // As written it is live and grants nothing; then one line of it is enabled.
    let closed = format!("{}\n---\n{imported}", lab.bundle());
    assert_eq!(lab.apply(&closed).code, 0);
    let open = format!("{}\n---\n{}{TASKS}", lab.bundle(), enabled(&imported));
    let applied = lab.apply(&open);
    assert_eq!(applied.code, 0, "{}", applied.value);
    let worker = lab.worker();
    let task = agent::token(open_task(&worker));
    let token = agent::token(worker.access(&task, "desk"));
    let ask = |fields: &[Field<'_>], message: &Value| post(&lab, &token, fields, message);
    // Without a session.
    let echo = stateless(&call("a", "echo", "hello"));
    let headers = |name| {
        [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", name),
        ]
    };
    let answer = wait::until("the secret is known", || {
        let answer = ask(&headers("echo"), &echo);
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(text(&answer), "hello");
    let denied = ask(
        &headers("environment"),
        &stateless(&call("b", "environment", "")),
    );
    assert_eq!(denied.json()["result"]["isError"], true, "{}", denied.body);
    // In a session.
    let begun = ask(&[], &initialize()).expect(200);
    let session = begun.field("mcp-session-id").unwrap();
    let fields = [
        ("mcp-session-id", session.as_str()),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    ask(&fields, &ready).expect(202);
    assert_eq!(text(&ask(&fields, &call(2, "echo", "again"))), "again");
    let list = json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/list" });
    let list = ask(&fields, &list).expect(200);
    assert!(
        list.body.contains("echo") && !list.body.contains("environment"),
        "{}",
        list.body
    );
    let denied = ask(&fields, &call(4, "environment", ""));
    assert_eq!(denied.json()["result"]["isError"], true, "{}", denied.body);
    // The agent's own token opens nothing at the server itself.
    let bearer = format!("Bearer {token}");
    let direct = [
        wrap.host(),
        ("authorization", &bearer),
        ("content-type", "application/json"),
    ];
    assert_eq!(
        wrap.raw("POST /mcp", &direct, &echo.to_string()).status,
        401
    );
}

fn import(lab: &Lab, wrap: &Wrap) -> String {
    let headers = wrap.file("headers");
    std::fs::write(&headers, format!("Authorization: Bearer {}\n", wrap.key)).unwrap();
    std::fs::set_permissions(&headers, PermissionsExt::from_mode(0o600)).unwrap();
    let out = wrap.file("desk.yaml");
    let ran = lab.run(&[
        "mcp",
        "import",
        wrap.ready["url"].as_str().unwrap(),
        "--name",
        "desk",
        "--resource",
        &agent::resource("desk"),
        "--header-file",
        headers.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ]);
    assert_eq!(ran.code, 0, "{}", ran.value);
    std::fs::read_to_string(out).unwrap()
}

fn map_secret(lab: &Lab, wrap: &Wrap) {
    let config = lab.data().join("gateway.yaml");
    let mut text = std::fs::read_to_string(&config).unwrap();
    let (key, host) = (wrap.file("key"), wrap.host().1);
    text.push_str(&format!(
        "  desk-key: {{file: \"{}\", origins: [\"http://{host}\"]}}\n",
        key.display()
    ));
    std::fs::write(config, text).unwrap();
}

/// What somebody does who takes the comment from the policy and from the line of `echo`.
fn enabled(imported: &str) -> String {
    let (server, policy) = imported.split_once("# ---\n").unwrap();
    let lines = policy
        .lines()
        .filter(|line| !line.contains("- environment"));
    let lines = lines.map(|line| line.strip_prefix("# ").unwrap());
    let policy: Vec<&str> = lines.collect();
    format!(
        "{server}---\n{}\n",
        policy.join("\n").replace("AGENT", "worker")
    )
}

fn open_task(worker: &agent::Agent) -> Answer {
    let trigger = json!({ "kind": "schedule", "name": "nightly", "item": "item-1" });
    let details = json!({ "purpose": "desk", "trigger": trigger }).to_string();
    worker.exchange(&[
        ("subject_token", &worker.svid),
        ("subject_token_type", agent::JWT),
        ("requested_token_type", agent::TXN_TOKEN),
        ("audience", agent::TRUST_DOMAIN),
        ("request_details", &details),
    ])
}

fn post(lab: &Lab, token: &str, more: &[Field<'_>], message: &Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let mut fields = vec![("authorization", bearer.as_str())];
    fields.push(("content-type", "application/json"));
    fields.push(("accept", "application/json, text/event-stream"));
    fields.extend(more);
    let body = message.to_string();
    lab.server
        .gateway()
        .call("POST", "/desk/mcp", &fields, body.as_bytes())
}

fn stateless(message: &Value) -> Value {
    let mut message = message.clone();
    let meta = &mut message["params"]["_meta"];
    meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    message
}

#[track_caller]
fn text(answer: &Answer) -> String {
    let text = answer.json()["result"]["content"][0]["text"]
        .as_str()
        .map(str::to_owned);
    text.unwrap_or_else(|| panic!("{} {}", answer.status, answer.body))
}
