//! A misspelt name is never answered as if all were well.

use serde_json::json;

use crate::lab::Lab;
use crate::lab::agent::{claims, token};

#[test]
fn a_filter_that_can_match_nothing_is_an_error_with_the_name_that_was_meant() {
    let lab = Lab::start();
    for (arguments, code, mend) in [
        (
            &["access", "--agent", "wroker"][..],
            1,
            "did you mean `worker`?",
        ),
        (
            &["access", "--server", "recrods"],
            1,
            "did you mean `records`?",
        ),
        (
            &["audit", "search", "--agent", "wroker"],
            1,
            "did you mean `worker`?",
        ),
        (
            &["audit", "search", "--server", "recrods"],
            1,
            "did you mean `records`?",
        ),
    ] {
        let ran = lab.run(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.value);
        assert_eq!(ran.value["mend"], mend, "{arguments:?}");
    }
    for arguments in [
        &["audit", "search", "--decision", "denie"][..],
        &["audit", "search", "--kind", "suspendd"],
    ] {
        let ran = lab.run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.value);
    }
    // Well spelt, and nothing is there.
    let none = lab.run(&["audit", "search", "--agent", "worker", "--kind", "alarm"]);
    assert_eq!((none.code, &none.value["records"]), (0, &json!([])));
}

#[test]
fn a_suspension_of_a_misspelt_name_says_which_was_meant() {
    let lab = Lab::start();
    let text = |arguments: &[&str]| {
        let mut command = std::process::Command::new(crate::lab::server::PROGRAM);
        let output = command
            .arg("--data")
            .arg(lab.data())
            .args(arguments)
            .output();
        let output = output.unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (code, said) = text(&["suspend", "agent", "wroker", "--reason", "INC-1"]);
    assert_eq!(code, Some(3));
    assert!(said.contains("did you mean `worker`?"), "{said}");
    // Whoever mistyped it takes it back alone.
    let (code, _) = text(&["resume", "agent", "wroker", "--reason", "mistyped"]);
    assert_eq!(code, Some(0));
    let (_, said) = text(&["audit", "search", "--kind", "suspended"]);
    assert!(said.contains("agent wroker"), "{said}");
}

#[test]
fn the_id_of_an_identity_is_traced_to_its_issuance() {
    let lab = Lab::start();
    let worker = lab.worker();
    let id = claims(&worker.svid)["jti"].as_str().unwrap().to_owned();
    let ran = lab.run(&["trace", &id]);
    let said = ran.value["error"].as_str().unwrap();
    assert!(said.contains("(issued) belongs to no task"), "{said}");
    let task = token(worker.open());
    let id = claims(&task)["jti"].as_str().unwrap().to_owned();
    assert_eq!(lab.run(&["trace", &id]).code, 0);
}

#[test]
fn a_task_that_was_revoked_is_traced_to_its_end() {
    let lab = Lab::start();
    let worker = lab.worker();
    let task = token(worker.open());
    worker.post("/revoke", &[("token", &task)]).expect(200);
    let id = claims(&task)["task"]["id"].as_str().unwrap().to_owned();
    let ran = lab.run(&["trace", &id]);
    assert_eq!(ran.value["task"]["ended"], "cancelled", "{}", ran.value);
}
