//! Suspensions, from an operator's word to the last byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::lab::Lab;
use crate::lab::agent::{self, Agent, attest_form, entry, spiffe_id, token};
use crate::lab::http::{Answer, Duplex, head};
use crate::lab::server::Options;
use crate::lab::wait;

#[test]
fn revoked_tokens_and_suspended_agents_stay_so_across_a_restart() {
    let mut lab = Lab::start();
    let (worker, clerk) = (lab.worker(), lab.clerk());
    let root = token(worker.open());
    let child = token(worker.delegate(&root, "clerk", &json!([entry("records", "read")])));
    let revoked = token(worker.access(&root, "records"));
    let kept = token(worker.access(&root, "records"));
    let of_clerk = token(clerk.access(&child, "records"));
    worker.post("/revoke", &[("token", &revoked)]).expect(200);
    effective(lab.suspend(&agent_type("clerk")));
    for restarted in [false, true] {
        if restarted {
            lab.server.kill();
            lab.restart();
        }
        wait::until("a revocation reaches the gateway", || {
            lab.access("/records/items/1", &revoked)
                .is_refused()
                .then_some(())
        });
        assert!(lab.access("/records/items/1", &of_clerk).is_refused());
        lab.access("/records/items/1", &kept).expect(200);
        let clerk = Agent::new(lab.server.authority(), clerk.svid.clone());
        assert!(clerk.access(&child, "records").is_refused());
        let ran = lab.run(&["token", "--identity", &lab.server.issuer()]);
        assert_eq!(ran.code, 1, "no attestation either: {}", ran.value);
    }
}

#[test]
fn suspension_voids_every_kind_of_token() {
    let lab = Lab::start();
    let (worker, clerk) = (lab.worker(), lab.clerk());
    let root = token(worker.open());
    let child = token(worker.delegate(&root, "clerk", &json!([entry("records", "read")])));
    let access = token(clerk.access(&child, "records"));
    lab.access("/records/items/1", &access).expect(200);
    effective(lab.suspend(&agent_type("clerk")));

    assert_eq!(lab.access("/records/items/2", &access).status, 403);
    for answer in [
        clerk.access(&child, "records"),
        clerk.renew(&child),
        clerk.post("/task/show", &[("token", &child)]),
        clerk.post("/task/close", &[("token", &child)]),
        clerk.post("/introspect", &[("token", &access)]),
        worker.delegate(&root, "clerk", &json!([entry("records", "read")])),
    ] {
        assert!(answer.is_refused(), "{answer:?}");
    }
    // Others go on.
    lab.access("/records/items/3", &token(worker.access(&root, "records")))
        .expect(200);
    lab.resume(&agent_type("clerk")).expect(200);
    // What was handed to it before is void too, and its delegator hands it out again.
    let again = lab.clerk();
    assert_eq!(again.access(&child, "records").status, 403);
    let id = &agent::claims(&child)["task"]["id"];
    let child = token(worker.resume(&root, id));
    lab.access("/records/items/4", &token(again.access(&child, "records")))
        .expect(200);
}

#[test]
fn suspension_of_a_task_stops_its_subtree_only() {
    let lab = Lab::start();
    let worker = lab.worker();
    let root = token(worker.open());
    let part = json!([entry("records", "read")]);
    let (left, right) = (
        token(worker.delegate(&root, "worker", &part)),
        token(worker.delegate(&root, "worker", &part)),
    );
    let below = token(worker.delegate(&left, "worker", &part));
    let access = token(worker.access(&below, "records"));
    let id = &agent::claims(&left)["task"]["id"];
    effective(lab.suspend(&json!({"kind": "task", "id": id})));
    assert_eq!(lab.access("/records/items/1", &access).status, 403);
    for stopped in [&left, &below] {
        assert_eq!(worker.access(stopped, "records").status, 403);
    }
    for free in [&root, &right] {
        lab.access("/records/items/1", &token(worker.access(free, "records")))
            .expect(200);
    }
}

#[test]
fn suspension_cuts_an_open_download() {
    let lab = Lab::start();
    let worker = lab.worker();
    let root = token(worker.open());
    let access = token(worker.access(&root, "records"));
    let mut download = begin(&lab, "GET", "/records/items/1/stream", &access, "");
    let mut lines = BufReader::new(&mut download);
    read_until_line(&mut lines);
    let proof = effective(lab.suspend(&agent_type("worker")));
    assert_eq!(proof["cut"], 1, "{proof}");
    let mut rest = Vec::new();
    let ended = lines.read_to_end(&mut rest);
    let whole = ended.is_ok() && rest.ends_with(b"0\r\n\r\n");
    assert!(!whole, "it broke off, and does not look like an end");
}

#[test]
fn suspension_cuts_an_open_upload() {
    let lab = Lab::start();
    let worker = lab.worker();
    let root = token(worker.open());
    lab.until_writes_are_admitted(&worker, &root);
    let access = token(worker.access(&root, "records"));
    let length = format!("content-length: {}\r\n", 8 << 20);
    let mut upload = begin(&lab, "POST", "/records/items/up", &access, &length);
    upload.write_all(&[b'x'; 10_000]).unwrap();
    upload.flush().unwrap();
    let received = || {
        lab.upstream
            .seen("/items/up")
            .first()
            .map_or(0, |seen| seen.body)
    };
    wait::until("the upload streams", || {
        (received() >= 10_000).then_some(())
    });
    let proof = effective(lab.suspend(&json!({"kind": "server", "name": "records"})));
    assert_eq!([&proof["cut"], &proof["unknown"]], [1, 1], "{proof}");
    let at_effect = received();
    // Whatever is sent from now on goes nowhere; soon it cannot even be sent.
    wait::until("the connection is reset", || {
        upload.write_all(&[b'y'; 4096]).is_err().then_some(())
    });
    assert_eq!(received(), at_effect);
    assert!(!lab.upstream.seen("/items/up")[0].whole);
}

#[test]
fn nothing_is_issued_after_a_suspension_is_effective() {
    let lab = Lab::start();
    let worker = lab.worker();
    let root = token(worker.open());
    let task = json!({"kind": "task", "id": agent::claims(&root)["task"]["id"]});
    let effective_now = AtomicBool::new(false);
    let issue = || {
        let mut issued = Vec::new();
        loop {
            let began_after = effective_now.load(Ordering::SeqCst);
            let answer = worker.access(&root, "records");
            match (answer.status, began_after) {
                (200, false) => issued.push(answer.text("access_token")),
                (200, true) => panic!("issued after the suspension was effective"),
                (403, true) => return issued,
                (403, false) => {}
                _ => panic!("{answer:?}"),
            }
        }
    };
    let issued: Vec<String> = std::thread::scope(|scope| {
        let issuers: Vec<_> = (0..3).map(|_| scope.spawn(issue)).collect();
        wait::until("tokens are issued", || {
            (lab.run(&["status"]).code == 0).then_some(())
        });
        effective(lab.suspend(&task));
        effective_now.store(true, Ordering::SeqCst);
        issuers
            .into_iter()
            .flat_map(|issuer| issuer.join().unwrap())
            .collect()
    });
    assert!(!issued.is_empty());
    for token in issued.iter().rev().take(20) {
        assert_eq!(lab.access("/records/items/1", token).status, 403);
    }
}

#[test]
fn silent_gateway_is_waited_for_until_its_lease_ends() {
    let lab = Lab::with(Options {
        lease: 2,
        ..Options::default()
    });
    let told = lab.suspend(&json!({"kind": "server", "name": "dark"}));
    let proof = effective(told);
    assert_eq!(
        [&proof["gateways"], &proof["acknowledged"]],
        [1, 1],
        "{proof}"
    );

    let status = lab.operators().get("/operator/v1/status", &[]);
    let run = status.expect(200).json()["run"].clone();
    let asked = json!({"gateway": "silent", "run": run, "stops": 0, "bundle": 0, "keys": 0,
        "head": {"spool": "0123456789abcdef", "next": 0, "chain": "A".repeat(43)}});
    let granted = lab
        .control()
        .json("/control/v1/lease", &asked)
        .expect(200)
        .json();
    assert_eq!(granted["lease_ms"], 2_000);
    let begin = wait::now();
    let proof = effective(lab.suspend(&agent_type("clerk")));
    assert_eq!(
        [
            &proof["gateways"],
            &proof["acknowledged"],
            &proof["lease_bounded"]
        ],
        [2, 1, 1],
        "{proof}"
    );
    assert!(begin.elapsed().as_millis() >= 1_900, "{proof}");
    // Its lease has run out for good: nobody waits for it again.
    let proof = effective(lab.suspend(&agent_type("worker")));
    assert_eq!(proof["gateways"], 1, "{proof}");
}

#[test]
fn a_suspended_agent_is_not_attested_and_others_are() {
    let lab = Lab::start();
    effective(lab.suspend(&agent_type("worker")));
    let answer = lab.agents().form("/token", &attest_form(None));
    assert_eq!(answer.status, 403, "{answer:?}");
    lab.clerk();
}

/// The proof of a suspension that is effective and durable.
#[track_caller]
fn effective(answer: Answer) -> Value {
    let proof = answer.expect(200).json();
    assert_eq!(
        [&proof["effective"], &proof["durable"]],
        [true, true],
        "{proof}"
    );
    proof
}

fn agent_type(name: &str) -> Value {
    json!({"kind": "agent", "id": spiffe_id(name)})
}

/// Sends a request's head and leaves the connection open.
fn begin(lab: &Lab, method: &str, target: &str, token: &str, more: &str) -> Box<dyn Duplex> {
    let bearer = format!("Bearer {token}");
    let head = head(method, target, &[("authorization", &bearer)]);
    let mut stream = lab.server.gateway().connect().unwrap();
    write!(stream, "{head}{more}\r\n").unwrap();
    stream.flush().unwrap();
    stream
}

/// Reads until the upstream's first line is there.
fn read_until_line(reader: &mut impl BufRead) {
    let mut line = String::new();
    while !line.starts_with("line") {
        line.clear();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "no line came");
    }
}
