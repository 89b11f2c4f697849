//! What the command line answers to mistakes, and where it cannot write.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::lab::Lab;
use crate::lab::agent::token;
use crate::lab::server::PROGRAM;

fn run(arguments: &[&str], stdout: Stdio) -> Output {
    Command::new(PROGRAM)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .output()
        .unwrap()
}

fn failure(output: &Output) -> Value {
    serde_json::from_slice(&output.stderr)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn a_wrong_command_line_fails_as_everything_else_does() {
    for (arguments, said) in [
        (&["suspnd", "--output", "json"][..], "suspnd"),
        (&["--output=json", "suspend", "agent", "x"], "--reason"),
        (
            &["audit", "search", "--decision", "maybe", "--output", "json"],
            "maybe",
        ),
        (
            &["task", "open", "nightly", "--output", "json"],
            "what began it",
        ),
    ] {
        let output = run(arguments, Stdio::piped());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let failure = failure(&output);
        assert!(
            failure["error"].as_str().unwrap().contains(said),
            "{failure}"
        );
        assert!(!failure["mend"].as_str().unwrap().is_empty(), "{failure}");
        assert_eq!(failure["exit"], 2);
    }
    let plain = run(&["suspnd", "--color", "never"], Stdio::piped());
    let text = String::from_utf8(plain.stderr).unwrap();
    assert!(
        text.starts_with("error: ") && text.contains(" mend: "),
        "{text}"
    );
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = run(&["schema", "--output", "json"], full.into());
    assert_eq!(output.status.code(), Some(1));
    let said = failure(&output);
    assert!(
        said["error"]
            .as_str()
            .unwrap()
            .contains("could not be written"),
        "{said}"
    );
    assert_eq!(run(&["schema"], Stdio::null()).status.code(), Some(0));
}

#[test]
fn check_shows_no_line_that_nobody_can_read_and_takes_no_emptiness_for_a_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    let path = file.display().to_string();
    std::fs::write(&file, format!("kind: {}\n", "x".repeat(1 << 20))).unwrap();
    let output = run(&["check", &path], Stdio::piped());
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.len() < 3 << 20, "{}", output.stdout.len());
    let text = format!(
        "# {}\nkind: Operatr\nmetadata: {{name: x}}\nspec: {{}}\n",
        "x".repeat(1 << 20)
    );
    std::fs::write(&file, text).unwrap();
    let output = run(&["check", &path], Stdio::piped());
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(
        shown.len() < 10_000 && shown.contains("a.yaml:2:"),
        "{}",
        shown.len()
    );
    for nothing in ["", "# later\n", "---\n\n---\n"] {
        std::fs::write(&file, nothing).unwrap();
        let output = run(&["check", &path, "--output", "json"], Stdio::piped());
        assert_eq!(output.status.code(), Some(2), "{nothing:?}");
        assert!(
            failure(&output)["error"]
                .as_str()
                .unwrap()
                .contains("declares nothing")
        );
    }
}

#[test]
fn a_checkpoint_is_json_where_json_is_asked_for() {
    let lab = Lab::start();
    token(lab.worker().open());
    let ran = lab.run(&["audit", "verify", "--checkpoint"]);
    let note = ran.value["checkpoint"].as_str().unwrap();
    assert!(note.starts_with("acme.example"), "{note}");
}

#[test]
fn a_server_that_cannot_have_its_port_settles_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let shown = data.display().to_string();
    let serve = [
        "--data",
        &shown,
        "--output",
        "json",
        "serve",
        "--gateway-listen",
        "127.0.0.1:0",
        "--metrics-listen",
        "127.0.0.1:0",
        "--listen",
    ];
    let output = run(&[&serve[..], &[&address]].concat(), Stdio::piped());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!data.exists(), "neither trust domain nor issuer is fixed");
}

#[test]
fn a_trust_domain_that_contradicts_the_folder_is_refused_with_the_mend() {
    let mut lab = Lab::start();
    lab.server.stop();
    let ran = lab.run(&[
        "serve",
        "--trust-domain",
        "other.example",
        "--listen",
        "127.0.0.1:0",
        "--gateway-listen",
        "127.0.0.1:0",
        "--metrics-listen",
        "127.0.0.1:0",
    ]);
    assert_eq!(ran.code, 2, "{}", ran.value);
    assert!(
        ran.value["mend"].as_str().unwrap().contains("--data DIR"),
        "{}",
        ran.value
    );
}

#[test]
fn a_delegated_token_is_said_to_be_the_childs() {
    let lab = Lab::start();
    let clerks = lab
        .bundle()
        .replace("opener: worker", "opener: clerk")
        .replace("  federation:", "  maySpawn: [worker]\n  federation:");
    assert_eq!(lab.apply(&clerks).code, 0);
    let child = lab.data().join("child").display().to_string();
    let data = lab.data().display().to_string();
    let worker = crate::lab::agent::spiffe_id("worker");
    // A task belongs to the instance that opened it: both are done within one `exec`.
    let exec = [
        "exec",
        "--purpose",
        "nightly",
        "--schedule",
        "nightly",
        "--item",
        "i-1",
        "--",
    ];
    let delegate = [
        PROGRAM,
        "--data",
        &data,
        "--output",
        "json",
        "task",
        "delegate",
        &worker,
        "--access",
        "records:read",
        "--to",
        &child,
    ];
    let delegated = lab.run(&[&exec[..], &delegate].concat());
    assert_eq!(delegated.value["agent"], worker, "{}", delegated.value);
}

#[test]
fn apply_names_an_error_and_no_warning_that_stands_before_it() {
    let lab = Lab::start();
    let checked = lab.run(&["check", &{
        let file = lab.data().join("b.yaml");
        std::fs::write(&file, broken(&lab)).unwrap();
        file.display().to_string()
    }]);
    let first = &checked.value["mistakes"][0];
    assert_eq!(first["severity"], "warning", "{}", checked.value);
    let refused = lab.apply(&broken(&lab));
    let said = refused.value["error"].as_str().unwrap();
    assert!(said.contains("Operatr"), "{said}");
}

/// A bundle whose first mistake is a warning.
fn broken(lab: &Lab) -> String {
    let operatr =
        "apiVersion: mandate.dev/v1alpha1\nkind: Operatr\nmetadata: {name: x}\nspec: {}\n";
    let passed = "credential: none\n  observe: {until: \"2020-01-01T00:00:00Z\"}\n";
    let bundle = lab.bundle().replace("credential: none\n", passed);
    format!("{bundle}\n---\n{operatr}")
}
