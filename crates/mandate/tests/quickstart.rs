//! The quickstart is the acceptance test of the whole: it runs as a user would run it, from real
//! processes, and each of the seven scenes is asserted from what was observed and from the audit log.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests may panic"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// One run, for all tests of this file.
struct Run {
    result: Value,
    log: Vec<Value>,
}

fn run() -> &'static Run {
    static RUN: OnceLock<Run> = OnceLock::new();
    RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let export = folder.path().join("log.jsonl");
        let output = Command::new(env!("CARGO_BIN_EXE_mandate"))
            .args(["quickstart", "--output", "json", "--export"])
            .arg(&export)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        Run {
            result: serde_json::from_slice(&output.stdout).unwrap(),
            log: records(&export),
        }
    })
}

fn records(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

impl Run {
    fn facts(&self, scene: usize) -> &Value {
        &self.result["scenes"][scene - 1]["facts"]
    }

    /// Whether a record of the log fits.
    fn recorded(&self, fits: impl Fn(&Value) -> bool) -> bool {
        self.log.iter().any(|record| fits(&record["event"]))
    }

    /// The type of the acting agent of a record.
    fn actor(event: &Value) -> &str {
        let id = event["actors"][0]["sub"].as_str().unwrap_or_default();
        id.rsplit('/').next().unwrap()
    }
}

#[test]
fn scene_1_alice_opens_a_task_at_the_orchestrator() {
    let run = run();
    let facts = run.facts(1);
    assert_eq!(facts["agent"], "spiffe://acme.example/agent/orchestrator");
    assert_eq!(facts["scope"], "records:read");
    let task = &facts["task"];
    let opened = |event: &Value| {
        event["what"]["kind"] == "task_opened"
            && event["principal"] == "user:login:alice"
            && event["task"][0] == *task
            && event["what"]["mandate"]["entries"][0]["constraints"]["customer"]["in"][0] == "acme"
            && Run::actor(event) == "orchestrator"
    };
    assert!(run.recorded(opened));
}

#[test]
fn scene_2_the_retriever_reads_through_the_gateway_without_the_key() {
    let run = run();
    let facts = run.facts(2);
    assert_eq!(facts["agent"], "spiffe://acme.example/agent/retriever");
    assert_eq!(facts["status"], 200);
    assert!(facts["body"].as_str().unwrap().contains("gold"));
    assert_eq!(facts["past_the_gateway"], 401);
    let (root, child) = (&run.facts(1)["task"], &facts["task"]);
    assert_ne!(root, child);
    let read = |event: &Value| {
        event["what"]["kind"] == "access_decided"
            && event["decision"] == "allowed"
            && event["policies"][0] == "reading"
            && event["attributes"]["customer"][0] == "acme"
            && event["task"][0] == *root
            && event["task"][1] == *child
            && Run::actor(event) == "retriever"
            && event["actors"][1]["sub"] == "spiffe://acme.example/agent/orchestrator"
            && event["principal"] == "user:login:alice"
    };
    assert!(run.recorded(read));
}

#[test]
fn scene_3_another_customer_is_refused_by_the_tasks_mandate() {
    let run = run();
    let refusal = &run.facts(3)["refusal"];
    assert_eq!(refusal["by"], "gateway");
    assert_eq!(refusal["rule"], "mandate.unfit");
    assert!(refusal["why"].as_str().unwrap().contains("mandate"));
    let denied = |event: &Value| {
        event["what"]["kind"] == "access_decided"
            && event["decision"] == "denied"
            && event["rule"] == "mandate.unfit"
            && event["attributes"]["customer"][0] == "globex"
    };
    assert!(run.recorded(denied));
}

#[test]
fn scene_4_no_policy_no_evidence_and_no_widening() {
    let run = run();
    let facts = run.facts(4);
    for (name, error) in [
        ("stray", "invalid_client"),
        ("widening", "invalid_authorization_details"),
        ("summarizer_is_given", "invalid_authorization_details"),
    ] {
        assert_eq!(facts[name]["by"], "authority", "{name}");
        assert_eq!(facts[name]["rule"], error, "{name}: {}", facts[name]);
    }
    assert_eq!(facts["summarizer_opens"]["by"], "authority");
    let refused = |step: &'static str, agent: &'static str| {
        run.recorded(move |event| {
            event["what"]["kind"] == "refused"
                && event["what"]["step"] == step
                && event["decision"] == "denied"
                && Run::actor(event) == agent
        })
    };
    assert!(refused("open", "summarizer"));
    assert!(refused("delegate", "orchestrator"));
    assert!(refused("delegate", "retriever"));
    let stray = facts["stray_pid"].to_string();
    let attested = |pid: &str| {
        run.recorded(|event| {
            event["what"]["kind"] == "attested" && event["what"]["facts"]["pid"] == pid
        })
    };
    assert!(attested(&run.facts(2)["pid"].to_string()));
    assert!(!attested(&stray));
}

#[test]
fn scene_5_the_trace_leads_from_alice_to_each_access() {
    let run = run();
    let trace = &run.facts(5)["trace"];
    assert_eq!(trace["principal"], "user:login:alice");
    assert_eq!(trace["purpose"], "support-case");
    assert_eq!(trace["task"]["agent"], "orchestrator");
    let child = &trace["task"]["children"][0];
    assert_eq!(child["agent"], "retriever");
    let steps = child["steps"].as_array().unwrap();
    let access = |decision: &str| {
        let is = |step: &&Value| step["kind"] == "access" && step["decision"] == decision;
        steps.iter().find(is).unwrap()
    };
    assert_eq!(access("allowed")["policies"][0], "reading");
    assert_eq!(access("allowed")["outcome"]["status"], 200);
    assert_eq!(access("denied")["rule"], "mandate.unfit");
}

#[test]
fn scene_6_a_suspension_cuts_holds_over_a_restart_and_is_lifted() {
    let run = run();
    let facts = run.facts(6);
    let proof = &facts["proof"];
    assert_eq!(proof["effective"], true);
    assert_eq!(proof["acknowledged"], 1);
    assert_eq!(proof["cut"], 1, "the download");
    assert!(proof["after_ms"].as_u64().unwrap() < 5_000, "{proof}");
    assert_eq!(facts["download"]["whole"], false);
    assert!(facts["download"]["bytes"].as_u64().unwrap() > 0);
    assert_eq!(facts["last_byte_before_effective"], true);
    for stopped in [
        "token_in_hand",
        "next_access",
        "after_restart",
        "attestation_after_restart",
    ] {
        let why = facts[stopped]["why"].as_str().unwrap();
        assert!(
            why.contains("agent retriever is suspended"),
            "{stopped}: {why}"
        );
    }
    assert_eq!(facts["resumed"], true);
    let is = |kind: &'static str| run.recorded(move |event| event["what"]["kind"] == kind);
    assert!(is("suspended") && is("suspension_effective") && is("resumed"));
    let cut = |event: &Value| {
        event["what"]["kind"] == "access_completed" && event["what"]["outcome"] == "cut"
    };
    assert!(run.recorded(cut));
}

#[test]
fn scene_7_the_log_is_whole_until_a_byte_changes_and_then_the_record_is_named() {
    let run = run();
    let facts = run.facts(7);
    assert_eq!(facts["before"]["whole"], true);
    assert_eq!(facts["bytes_changed"], 1);
    assert_eq!(facts["after"]["whole"], false);
    let tampered = run.log.iter().find(|record| {
        record["event"]["what"]["kind"] == "access_decided"
            && record["event"]["attributes"]["customer"][0] == "globex"
    });
    let index = &tampered.unwrap()["index"];
    let first = &facts["after"]["faults"][0];
    assert_eq!(first["first"], *index);
    assert_eq!(first["message"], format!("record {index} was changed"));
}

#[test]
fn nothing_is_left_behind() {
    assert_eq!(run().result["left_behind"], serde_json::json!([]));
}

/// The folder that a running quickstart holds its lock on.
fn folder_of(pid: u32) -> PathBuf {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = open.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
    let is_run = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("mandate-quickstart-")
    };
    links.into_iter().find(is_run).unwrap()
}

#[test]
fn what_a_killed_run_left_is_gone_after_the_next_one() {
    let start = || {
        Command::new(env!("CARGO_BIN_EXE_mandate"))
            .arg("quickstart")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut killed = start();
    let mut line = String::new();
    let mut lines = BufReader::new(killed.stdout.take().unwrap());
    while !line.contains("A Mandate server") {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "it ended");
    }
    let folder = folder_of(killed.id());
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(folder.exists());
    let next = start().wait_with_output().unwrap();
    assert!(next.status.success());
    assert!(!folder.exists(), "{}", folder.display());
}
