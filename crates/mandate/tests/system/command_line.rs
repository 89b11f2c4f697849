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
