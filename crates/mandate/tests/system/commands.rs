//! Commands that people type, at their edges: what they ask, what they leave behind, what they hand out.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use mandate_audit::{NoteKey, SpoolChain};
use serde_json::{Value, json};

use crate::lab::agent::token;
use crate::lab::server::PROGRAM;
use crate::lab::{Lab, wait};

fn live(lab: &Lab) -> u64 {
    let live = lab.operators().get("/operator/v1/bundle", &[]);
    live.expect(200).json()["version"].as_u64().unwrap()
}

/// A command whose two outputs matter.
fn raw(lab: &Lab, arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.arg("--data").arg(lab.data()).args(arguments);
    command.output().unwrap()
}

#[test]
fn going_back_shows_its_plan_and_is_asked_about_too() {
    let lab = Lab::start();
    let first = live(&lab);
    let without = lab
        .bundle()
        .replace("actions: [read, write]}", "actions: [read]}");
    assert_eq!(lab.apply(&without).code, 0);
    let back = first.to_string();
    let unasked = lab.run(&["apply", "--back", &back]);
    assert_eq!(unasked.code, 2, "{}", unasked.value);
    assert_eq!(live(&lab), first + 1, "nobody agreed");
    let shown = raw(&lab, &["apply", "--back", &back]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("gains") && shown.contains("records:write"),
        "{shown}"
    );
    let agreed = lab.run(&["apply", "--back", &back, "--yes"]);
    assert_eq!(agreed.code, 0, "{}", agreed.value);
    assert_eq!(agreed.value["plan"]["gains"][0]["action"], "write");
    assert_eq!(live(&lab), first + 2);
    let unknown = lab.run(&["apply", "--back", "99", "--yes"]);
    assert_eq!(unknown.code, 1, "{}", unknown.value);
}

#[test]
fn a_task_that_exec_opened_ends_also_when_its_command_does_not_start() {
    let lab = Lab::start();
    let opens = "\n---\nkind: TaskPolicy\nmetadata: {name: errands}\nspec:\n  opener: clerk\n  \
        trigger: {schedule: {name: nightly, itemId: required, unverified: allow}}\n  \
        ceiling: [{server: records, actions: [read]}]\n  maxDuration: 1h\n";
    let applied = lab.apply(&format!("{}{opens}", lab.bundle()));
    assert_eq!(applied.code, 0, "{}", applied.value);
    let cause = [
        "--purpose",
        "errands",
        "--schedule",
        "nightly",
        "--item",
        "1",
    ];
    for (program, code) in [("/no/such/command", 1), ("/bin/true", 0)] {
        let mut arguments = vec!["exec"];
        arguments.extend(cause);
        arguments.extend(["--", program]);
        let ran = raw(&lab, &arguments);
        assert_eq!(ran.status.code(), Some(code), "{ran:?}");
    }
    let count = |kind: &str| {
        let found = lab.run(&["audit", "search", "--kind", kind]);
        found.value["records"].as_array().unwrap().len()
    };
    assert_eq!((count("task_opened"), count("task_ended")), (2, 2));
}

#[test]
fn a_checkpoint_to_keep_comes_with_a_word_on_what_is_withheld() {
    let lab = Lab::start();
    wait::until("a checkpoint is signed", || {
        let note = raw(&lab, &["audit", "verify", "--checkpoint"]);
        note.status.success().then_some(())
    });
    let versions = lab.operators().get("/operator/v1/status", &[]);
    let status = versions.expect(200).json();
    let versions = &status["versions"];
    let lease = json!({
        "gateway": "elsewhere", "run": status["run"], "stops": versions["stops"], "bundle": versions["bundle"],
        "keys": versions["keys"],
        "head": {"spool": "s-1", "next": 3, "chain": SpoolChain::ORIGIN.to_string()},
    });
    lab.control().json("/control/v1/lease", &lease).expect(200);
    let kept = raw(&lab, &["audit", "verify", "--checkpoint"]);
    assert_eq!(kept.status.code(), Some(3), "{kept:?}");
    let note = String::from_utf8(kept.stdout).unwrap();
    assert!(
        !note.contains("elsewhere") && note.contains("\n— "),
        "{note}"
    );
    let said = String::from_utf8(kept.stderr).unwrap();
    assert!(
        said.contains("`elsewhere`, spool `s-1`: records 0 to 2"),
        "{said}"
    );
}

#[test]
fn a_proof_is_handed_out_under_a_checkpoint_that_the_logs_key_signed() {
    let lab = Lab::start();
    wait::until("the first record is under a checkpoint", || {
        let proved = lab.run(&["audit", "prove", "0"]);
        (proved.code == 0).then_some(())
    });
    let other = NoteKey::new("https://elsewhere.example", [7; 32]).unwrap();
    let proved = lab.run(&["audit", "prove", "0", "--key", &other.to_string()]);
    assert_eq!(proved.code, 1, "{}", proved.value);
}

#[test]
fn an_export_appears_whole_and_for_its_owner_alone() {
    let mut lab = Lab::start();
    let path = lab.data().join("export.jsonl");
    let to = path.display().to_string();
    let exported = lab.run(&["audit", "export", "--to", &to]);
    assert_eq!(exported.code, 0, "{}", exported.value);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = std::fs::read_to_string(&path).unwrap();
    let lines = before
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_eq!(
        lines.count() as u64,
        exported.value["records"].as_u64().unwrap()
    );
    lab.server.kill();
    let failed = lab.run(&["audit", "export", "--to", &to]);
    assert_eq!(failed.code, 4, "{}", failed.value);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
}

#[test]
fn a_trace_that_leaves_records_out_says_so_and_keeps_its_causes() {
    let lab = Lab::start();
    let worker = lab.worker();
    let task = token(worker.open());
    for _ in 0..5 {
        token(worker.access(&task, "records"));
    }
    let opened = lab.run(&["audit", "search", "--kind", "task_opened"]);
    let index = opened.value["records"][0]["index"].to_string();
    let whole = lab.run(&["trace", &index]);
    assert_eq!(whole.value["left_out"], false, "{}", whole.value);
    let latest = lab.run(&["trace", &index, "--limit", "2"]);
    assert_eq!(latest.value["left_out"], true, "{}", latest.value);
    assert_eq!(latest.value["purpose"], whole.value["purpose"]);
    assert_eq!(
        latest.value["task"]["mandate"],
        whole.value["task"]["mandate"]
    );
    assert_eq!(latest.value["task"]["steps"].as_array().unwrap().len(), 2);
}

#[test]
fn an_identity_for_another_audience_is_refused_to_a_false_claim() {
    let lab = Lab::start();
    let issuer = lab.server.issuer();
    let right = lab.run(&["token", "--identity", &issuer]);
    assert_eq!(right.code, 0, "{}", right.value);
    let whoami = lab.run(&["whoami"]);
    let own = whoami.value["sub"].as_str().unwrap_or_default().to_owned();
    let false_claim = own.replace("/clerk", "/worker");
    assert_ne!(own, false_claim, "{}", whoami.value);
    let claimed = lab.run(&["token", "--identity", &issuer, "--as", &false_claim]);
    assert_eq!(claimed.code, 1, "{}", claimed.value);
}
