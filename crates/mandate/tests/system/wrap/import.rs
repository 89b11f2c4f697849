//! `mandate mcp import`: of a command, and of a URL, which is the same server behind `mandate mcp wrap`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::client::Wrap;
use super::server::{self, LISTS, MODE};
use crate::lab::server::PROGRAM;

pub(super) const AGENT: &str = "kind: AgentType\nmetadata: {name: clerk}\nspec:\n  attestation: [{process: {user: clerk}}]\n  breakGlass: {contact: \"@oncall\", impact: Nobody is served.}\n";

/// The exit code, and what it says: the result, or the failure.
pub(super) fn run(data: &Path, arguments: &[&str]) -> (i32, Value) {
    let output = Command::new(PROGRAM)
        .arg("--data")
        .arg(data)
        .args(["--output", "json"])
        .args(arguments)
        .output()
        .unwrap();
    let said = if output.stdout.is_empty() {
        &output.stderr
    } else {
        &output.stdout
    };
    let value = serde_json::from_slice(said).unwrap_or_else(|_| panic!("{output:?}"));
    (output.status.code().unwrap(), value)
}

/// A server's lists, in a file.
pub(super) fn lists(folder: &Path, lists: &Value) -> String {
    let path = folder.join("lists.json");
    std::fs::write(&path, lists.to_string()).unwrap();
    format!("{LISTS}={}", path.display())
}

/// Of a command.
fn import(folder: &Path, mode: &str, declared: &Value, more: &[&str]) -> (i32, Value) {
    let (lists, mode) = (lists(folder, declared), format!("{MODE}={mode}"));
    let command = server::command();
    let mut arguments = vec!["mcp", "import", "--env", &lists, "--env", &mode];
    arguments.extend(more);
    arguments.push("--");
    arguments.extend(command.iter().map(String::as_str));
    run(folder, &arguments)
}

pub(super) fn tool(name: &str, annotations: &Value) -> Value {
    let schema = json!({ "type": "object", "properties": { "customerId": { "type": "string" } } });
    json!({ "name": name, "inputSchema": schema, "annotations": annotations })
}

/// Two pages of tools, a prompt, a template.
fn declared() -> Value {
    json!({
        "tools/list": [
            { "tools": [tool("look_up", &json!({ "readOnlyHint": true }))], "nextCursor": "1" },
            { "tools": [], "nextCursor": "2" },
            { "tools": [tool("refund", &json!({}))] },
        ],
        "prompts/list": [{ "prompts": [{ "name": "summary" }] }],
        "resources/templates/list": [{ "resourceTemplates": [{ "name": "r", "uriTemplate": "file:///{a}" }] }],
    })
}

#[test]
fn what_is_written_is_checked_and_grants_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    std::fs::create_dir(&bundle).unwrap();
    std::fs::write(bundle.join("agents.yaml"), AGENT).unwrap();
    let out = bundle.join("desk.yaml");
    let out = out.to_str().unwrap();
    for mode in ["both", "sessions"] {
        let revision = if mode == "both" {
            "2026-07-28"
        } else {
            "2025-11-25"
        };
        let options = ["--name", "desk", "--out", out];
        let (code, said) = import(folder.path(), mode, &declared(), &options);
        assert_eq!(
            (code, &said["actions"], &said["revision"]),
            (0, &json!(4), &json!(revision)),
            "{said}"
        );
        let (code, checked) = run(folder.path(), &["check", bundle.to_str().unwrap()]);
        assert_eq!((code, &checked["mistakes"]), (0, &json!([])), "{checked}");
        let (code, access) = run(
            folder.path(),
            &["access", "--bundle", bundle.to_str().unwrap()],
        );
        assert_eq!(code, 0, "{access}");
        assert!(!access.to_string().contains("look_up"), "{access}");
        // A file that is there stays as it is.
        let (code, failure) = import(folder.path(), mode, &declared(), &options);
        assert_eq!(code, 1, "{failure}");
        std::fs::remove_file(out).unwrap();
    }
    let (code, said) = import(folder.path(), "both", &declared(), &[]);
    assert_eq!(code, 0, "{said}");
    let document = &said["documents"][0];
    assert_eq!(
        document["metadata"]["name"], "mcp",
        "it says no name in this revision"
    );
    let action = json!({ "effect": "read", "match": "tool look_up", "attributes": { "customer_id": "/customerId" } });
    assert_eq!(document["spec"]["actions"]["look_up"], action);
    assert_eq!(document["spec"]["actions"]["refund"]["effect"], "write");
}

#[test]
fn a_url_is_read_with_what_its_server_wants() {
    let folder = tempfile::tempdir().unwrap();
    let lists = lists(folder.path(), &declared());
    let headers = folder.path().join("headers");
    for mode in ["both", "sessions"] {
        let wrap = Wrap::start(mode, &["--env", &lists], &[]);
        let url = wrap.ready["url"].as_str().unwrap();
        let (code, refused) = run(folder.path(), &["mcp", "import", url]);
        assert_eq!(code, 1);
        assert!(
            refused["error"].as_str().unwrap().contains("401"),
            "{refused}"
        );
        std::fs::write(&headers, format!("Authorization: Bearer {}\n", wrap.key)).unwrap();
        std::fs::set_permissions(&headers, PermissionsExt::from_mode(0o600)).unwrap();
        let file = ["--header-file", headers.to_str().unwrap()];
        let (code, said) = run(
            folder.path(),
            &[&["mcp", "import", url, "--name", "desk"], &file[..]].concat(),
        );
        assert_eq!(code, 0, "{said}");
        let spec = &said["documents"][0]["spec"];
        assert_eq!(spec["actions"].as_object().unwrap().len(), 4);
        assert_eq!(spec["upstream"], url.strip_suffix("/mcp").unwrap());
        let credential = json!({ "header": "Authorization", "value": "Bearer ${secret:desk-key}" });
        assert_eq!(spec["credential"], credential);
        assert!(!said.to_string().contains(&wrap.key));
        let (code, elsewhere) = run(
            folder.path(),
            &[&["mcp", "import", &url.replace("/mcp", "/x")], &file[..]].concat(),
        );
        assert_eq!(code, 1, "{elsewhere}");
    }
    // Nobody is there any more.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (code, _) = run(
        folder.path(),
        &["mcp", "import", &format!("http://{free}/mcp")],
    );
    assert_eq!(code, 4);
    let (code, _) = run(folder.path(), &["mcp", "import"]);
    assert_eq!(code, 2);
}

#[test]
fn a_hostile_server_is_refused_or_written_as_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |declared: Value, part: &str| {
        let (code, failure) = import(folder.path(), "both", &declared, &[]);
        assert_eq!(code, 1, "{failure}");
        let error = failure["error"].as_str().unwrap();
        assert!(error.contains(part), "{error}");
    };
    let (a, none) = (tool("a\u{1b}[31m", &json!({})), json!({}));
    refused(
        json!({ "tools/list": [{ "tools": [a, a] }] }),
        "`a\\u{1b}[31m` twice",
    );
    let pages = json!([{ "tools": [tool("a", &none)], "nextCursor": "1" }, { "tools": [], "nextCursor": "1" }]);
    refused(json!({ "tools/list": pages }), "the same page");
    let many: Vec<Value> = (0..2_001).map(|n| tool(&n.to_string(), &none)).collect();
    refused(json!({ "tools/list": [{ "tools": many }] }), "2,000 items");
    refused(
        json!({ "tools/list": [{ "tools": [{ "name": 1 }] }] }),
        "cannot be read",
    );
    refused(
        json!({ "tools/list": [{ "tools": "all" }] }),
        "cannot be read",
    );
    refused(
        json!({ "tools/list": [{ "tools": [tool("two words", &none)] }] }),
        "no tool",
    );
    refused(json!({}), "no tool");
    let long = "x".repeat(9 << 20);
    refused(
        json!({ "tools/list": [{ "tools": [tool(&long, &none)] }] }),
        "the server ended",
    );
    // Names and words that would be YAML of their own.
    let evil = "a\n---\nkind: Operator\nmetadata: {name: evil}\nspec: {rights: [apply], uid: 0}\n";
    let mut tools = vec![tool("x,y:#", &none), tool("no", &none)];
    tools[0]["description"] = json!(evil);
    let (code, said) = import(
        folder.path(),
        "both",
        &json!({ "tools/list": [{ "tools": tools }] }),
        &[],
    );
    assert_eq!(code, 0, "{said}");
    assert_eq!(said["documents"].as_array().unwrap().len(), 1);
    let actions = said["documents"][0]["spec"]["actions"].as_object().unwrap();
    let names: std::collections::BTreeSet<_> = actions.keys().map(String::as_str).collect();
    assert_eq!(names, ["no", "x-y"].into());
}
