//! A store that an operator restored from a backup, and a gateway that knows more than it (B4).

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::lab::Lab;
use crate::lab::agent::{spiffe_id, token};
use crate::lab::server::{Options, Server};
use crate::lab::wait;

fn lab() -> Lab {
    Lab::with(Options {
        lease: 1,
        ..Options::default()
    })
}

fn clerk() -> Value {
    json!({"kind": "agent", "id": spiffe_id("clerk")})
}

/// What an operator's backup is: the folder of a store that nobody has open.
fn copy(from: &Path, to: &Path) {
    drop(std::fs::remove_dir_all(to));
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// A server whose store is from before `clerk` was suspended, and whose gateway knows of that.
fn restored() -> Lab {
    let mut lab = lab();
    let worker = lab.worker();
    let root = token(worker.open());
    lab.access("/records/items/1", &token(worker.access(&root, "records")))
        .expect(200);
    let (store, backup) = (lab.data().join("store"), lab.data().join("backup"));
    lab.server.stop();
    copy(&store, &backup);
    lab.restart();
    let proof = lab.suspend(&clerk()).expect(200).json();
    assert_eq!(proof["acknowledged"], 1, "{proof}");
    lab.server.stop();
    copy(&backup, &store);
    lab.restart();
    lab
}

/// How the gateway answers a worker that has just been attested.
fn admitted(lab: &Lab) -> u16 {
    let worker = lab.worker();
    let root = token(worker.open());
    let token = token(worker.access(&root, "records"));
    lab.access("/records/items/1", &token).status
}

fn readiness(lab: &Lab) -> (u16, String) {
    let answer = lab.server.metrics().get("/readyz", &[]);
    (answer.status, answer.body)
}

fn suspended(lab: &Lab) -> Vec<Value> {
    let in_force = lab.run(&["suspensions"]).value;
    in_force["suspensions"].as_array().unwrap().clone()
}

#[test]
fn a_restored_store_is_refused_until_an_operator_accepts_it_and_forgets_no_suspension() {
    let lab = restored();
    // The store has forgotten the suspension; the gateway has not, and lets nobody through.
    assert_eq!(suspended(&lab), Vec::<Value>::new());
    lab.clerk();
    let worker = lab.worker();
    let root = token(worker.open());
    let access = || {
        let token = token(worker.access(&root, "records"));
        lab.access("/records/items/1", &token)
    };
    assert_eq!(access().status, 503);
    let (status, said) = readiness(&lab);
    assert_eq!(status, 503);
    assert!(said.contains("mandate gateway accept"), "{said}");
    let status = lab.run(&["status"]).value;
    let findings = status["findings"].to_string();
    assert!(findings.contains("mandate gateway accept"), "{findings}");

    // The versions of the store move on, and pass what the gateway has seen.
    for _ in 0..4 {
        let task = token(worker.open());
        worker.post("/task/close", &[("token", &task)]).expect(204);
    }
    wait::until("the gateway has looked again", || {
        let (_, said) = readiness(&lab);
        said.contains("went back behind what this gateway has seen")
            .then_some(())
    });
    assert_eq!(access().status, 503);

    let accepted = lab.run(&["gateway", "accept"]);
    assert_eq!(accepted.code, 0, "{}", accepted.value);
    assert_eq!(accepted.value["restored"], 1, "{}", accepted.value);
    let in_force = suspended(&lab);
    assert_eq!(in_force.len(), 1, "{in_force:?}");
    assert_eq!(in_force[0]["subject"], clerk());
    assert_eq!(in_force[0]["operator"], "operator:tester");
    assert_eq!(in_force[0]["reason"], "INC-1");
    // Which tokens the store has forgotten to be void, nobody knows: all are.
    assert_eq!(worker.access(&root, "records").status, 403);
    wait::until("the gateway admits again", || {
        (admitted(&lab) == 200).then_some(())
    });
    let ran = lab.run(&["token", "--identity", &lab.server.issuer()]);
    assert_eq!(ran.code, 1, "clerk is not attested: {}", ran.value);
    wait::until("it is ready, and has shipped what it recorded", || {
        let metrics = lab.server.metrics().get("/metrics", &[]).body;
        let shipped = metrics.contains("\nmandate_gateway_unshipped_records 0\n");
        (readiness(&lab).0 == 200 && shipped).then_some(())
    });
    // Accepting once more does no harm.
    let again = lab.run(&["gateway", "accept"]);
    assert_eq!(
        (again.code, &again.value["restored"]),
        (0, &json!(0)),
        "{}",
        again.value
    );
    wait::until("the gateway admits after that too", || {
        (admitted(&lab) == 200).then_some(())
    });
    let log = lab.run(&["audit", "search", "--kind", "suspended"]).value;
    assert_eq!(log["records"].as_array().unwrap().len(), 1, "{log}");
    let verified = lab.run(&["audit", "verify"]);
    assert_eq!(verified.code, 0, "{}", verified.value);
}

#[test]
fn a_refusal_and_an_acceptance_outlive_the_server() {
    let mut lab = restored();
    let refused = |lab: &Lab| readiness(lab).1.contains("mandate gateway accept");
    assert!(refused(&lab));
    lab.server.kill();
    lab.restart();
    assert!(refused(&lab));
    assert_eq!(lab.run(&["gateway", "accept"]).code, 0);
    lab.server.kill();
    lab.restart();
    assert_eq!(suspended(&lab).len(), 1);
    assert_eq!(readiness(&lab).0, 200);
    let worker = lab.worker();
    let access = token(worker.access(&token(worker.open()), "records"));
    lab.access("/records/items/1", &access).expect(200);
}

#[test]
fn a_gateway_whose_file_is_damaged_starts_only_after_it_was_set_aside() {
    let mut lab = lab();
    lab.suspend(&clerk()).expect(200);
    lab.server.stop();
    let marks = lab.data().join("gateway.json");
    std::fs::write(&marks, "{\"epoch\":").unwrap();
    let (data, log) = (lab.data().to_owned(), lab.log_file());
    let options = Options {
        lease: 1,
        ..Options::default()
    };
    let why = Server::start(&data, &log, &options).unwrap_err();
    assert!(why.contains("is damaged"), "{why}");
    assert!(why.contains("mandate gateway accept"), "{why}");
    let ran = lab.run(&["gateway", "accept"]);
    assert_eq!(ran.code, 1, "{}", ran.value);
    assert!(
        ran.value["error"]
            .as_str()
            .unwrap()
            .contains("gateway.json.damaged-0")
    );
    let aside = lab.data().join("gateway.json.damaged-0");
    assert_eq!(std::fs::read(aside).unwrap(), b"{\"epoch\":");
    lab.restart();
    let worker = lab.worker();
    let access = token(worker.access(&token(worker.open()), "records"));
    lab.access("/records/items/1", &access).expect(200);
    assert_eq!(suspended(&lab).len(), 1, "the store had not lost it");
}
