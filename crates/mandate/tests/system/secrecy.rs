//! Secrets and tokens are where they belong and nowhere else: not in logs, records, metrics, answers or files.

use std::path::Path;

use serde_json::json;

use crate::lab::Lab;
use crate::lab::agent::{self, entry, token};
use crate::lab::http::Answer;
use crate::lab::server::Options;
use crate::lab::wait;

#[test]
fn secrets_and_tokens_appear_in_no_log_record_metric_answer_or_file() {
    let mut lab = Lab::with(Options {
        log: "trace",
        ..Options::default()
    });
    let worker = lab.worker();
    let id_token = lab.id_token("alice");
    let root = token(worker.open_for(&id_token));
    let child = token(worker.delegate(&root, "worker", &json!([entry("records", "read")])));
    let access = token(worker.access(&child, "records"));
    let aware = token(worker.access(&root, "aware"));
    lab.access("/aware/items/1", &aware).expect(200);
    let upstream = lab.upstream.seen("/items/1")[0]
        .field("authorization")
        .unwrap()
        .to_owned();

    let mut answers = refusals(&lab, &worker, [&id_token, &root, &child, &access, &aware]);
    for path in [
        "status",
        "bundle",
        "keys",
        "suspensions",
        "log/search?limit=1000",
        "log/entries?first=0&limit=1000",
    ] {
        let path = format!("/operator/v1/{path}");
        answers.push(lab.operators().get(&path, &[]).expect(200));
    }
    answers.push(lab.server.metrics().get("/metrics", &[]).expect(200));
    lab.suspend(&json!({"kind": "everything"})).expect(200);
    lab.server.stop();

    let key = lab.key.clone();
    let upstream = upstream.trim_start_matches("Bearer ").to_owned();
    for (what, secret) in [
        ("the upstream's key", &key),
        ("the SVID", &worker.svid),
        ("the ID token", &id_token),
        ("the root's token", &root),
        ("the child's token", &child),
        ("the access token", &access),
        ("the upstream's token", &upstream),
    ] {
        // A token without its signature is one that somebody could still recognise; its signature is the secret.
        let secret = secret.rsplit('.').next().unwrap();
        let told = answers.iter().find(|answer| answer.body.contains(secret));
        assert!(told.is_none(), "{what} is in an answer: {told:?}");
        let log = std::fs::read_to_string(lab.log_file()).unwrap();
        assert!(!log.contains(secret), "{what} is in the log");
        for file in files(lab.data()) {
            let is_source = file.ends_with("records-key");
            let holds = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).contains(secret);
            assert!(is_source || !holds, "{what} is in {}", file.display());
        }
    }
}

#[test]
fn the_agents_token_and_what_it_says_of_itself_never_reach_the_upstream() {
    let lab = Lab::start();
    let worker = lab.worker();
    let access = token(worker.access(&token(worker.open()), "records"));
    let bearer = format!("Bearer {access}");
    let said = [
        ("authorization", bearer.as_str()),
        ("x-forwarded-user", "mallory"),
        ("x-forwarded-for", "192.0.2.1"),
        ("forwarded", "for=192.0.2.1"),
        ("x-remote-user", "mallory"),
        ("cookie", "session=1"),
    ];
    lab.server
        .gateway()
        .get("/records/items/clean", &said)
        .expect(200);
    let seen = &lab.upstream.seen("/items/clean")[0];
    assert_eq!(
        seen.field("authorization"),
        Some(format!("Bearer {}", lab.key).as_str())
    );
    assert!(!seen.head.contains(&access));
    assert!(
        !seen.head.contains("mallory") && !seen.head.contains("192.0.2.1"),
        "{}",
        seen.head
    );
}

#[test]
fn an_answer_that_echoes_the_credential_is_withheld_and_a_redirect_not_followed() {
    let lab = Lab::start();
    let worker = lab.worker();
    let task = token(worker.open());
    let access = token(worker.access(&task, "records"));
    let echoed = lab.access("/records/items/1/echo", &access).expect(502);
    assert!(!echoed.body.contains(&lab.key), "{}", echoed.body);
    let redirected = lab.access("/records/items/1/elsewhere", &access);
    assert_eq!(redirected.status, 302);
    assert_eq!(lab.upstream.seen("/items/1").len(), 2, "asked once each");
}

#[test]
fn nobody_reads_the_servers_memory_or_its_keys() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::start();
    let endpoints = std::fs::read(lab.data().join("run/endpoints.json")).unwrap();
    let endpoints: serde_json::Value = serde_json::from_slice(&endpoints).unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", endpoints["pid"])).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let public = ["log-keys", "endpoints.json", "lock"];
    for file in files(lab.data()) {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        let is_public = public.iter().any(|name| file.ends_with(name));
        assert!(
            is_public || mode & 0o077 == 0,
            "{}: {mode:o}",
            file.display()
        );
    }
}

/// Tokens at the wrong places, in the wrong form: what is refused must not be repeated.
fn refusals(lab: &Lab, worker: &agent::Agent, tokens: [&String; 5]) -> Vec<Answer> {
    let mut answers = Vec::new();
    for token in tokens {
        let cut = token.get(1..).unwrap();
        for shown in [token.as_str(), cut] {
            answers.push(worker.renew(shown));
            answers.push(worker.open_for(shown));
            answers.push(worker.access(shown, "nowhere"));
            answers.push(lab.access("/inner/items/1", shown));
            answers.push(lab.access(&format!("/records/items/{shown}?q={shown}"), shown));
            answers.push(worker.post("/task/show", &[("token", shown), ("token", shown)]));
        }
    }
    answers.retain(|answer| answer.status != 200);
    wait::until("the gateway answers", || {
        lab.access("/records", "x").is_refused().then_some(())
    });
    answers
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.extend(files(&entry.path())),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}
