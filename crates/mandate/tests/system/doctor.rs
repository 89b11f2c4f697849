//! `mandate doctor` and readiness: nothing is well while every access would fail.

use serde_json::{Value, json};

use crate::lab::server::Options;
use crate::lab::{Lab, Ran};

/// What `doctor` found wrong, by check.
fn bad(ran: &Ran) -> Vec<(String, String)> {
    let findings = ran.value["findings"].as_array().unwrap();
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    let bad = findings.iter().filter(|f| f["state"] == "bad");
    bad.map(|f| (text(f, "check"), text(f, "found"))).collect()
}

#[track_caller]
fn says(lab: &Lab, check: &str, part: &str) {
    let ran = lab.run(&["doctor"]);
    let found = bad(&ran);
    let is_said = found
        .iter()
        .any(|(c, text)| c == check && text.contains(part));
    assert!(is_said && ran.code == 1, "{check} {part}: {}", ran.value);
}

fn well(lab: &Lab) {
    let ran = lab.run(&["doctor"]);
    assert_eq!((bad(&ran), ran.code), (Vec::new(), 0), "{}", ran.value);
}

#[test]
fn doctor_finds_what_keeps_accesses_from_their_upstreams() {
    let lab = Lab::start();
    well(&lab);
    let config = lab.data().join("gateway.yaml");
    let mapped = std::fs::read_to_string(&config).unwrap();
    let upstream = lab.upstream.address.to_string();
    std::fs::write(&config, mapped.replace(&upstream, "127.0.0.1:1")).unwrap();
    says(&lab, "upstreams", "does not let it go");
    std::fs::write(&config, "secrets: {}\n").unwrap();
    says(&lab, "upstreams", "does not map");
    std::fs::remove_file(&config).unwrap();
    says(&lab, "upstreams", "there is no gateway.yaml");
    std::fs::write(&config, &mapped).unwrap();
    // Port 1 is nobody's.
    let dead = lab.bundle().replace(
        &format!("resource: https://dark.acme.example\n  upstream: http://{upstream}"),
        "resource: https://dark.acme.example\n  upstream: http://127.0.0.1:1",
    );
    assert_eq!(lab.apply(&dead).code, 0);
    says(&lab, "upstreams", "dark: nothing answers");
}

#[test]
fn everything_suspended_is_not_ready_and_doctor_says_so() {
    let lab = Lab::start();
    let readyz = || lab.server.metrics().get("/readyz", &[]);
    for (subject, said) in [
        (json!({"kind": "everything"}), "everything is suspended"),
        (
            json!({"kind": "gateway", "id": "local"}),
            "gateway `local` is suspended",
        ),
    ] {
        readyz().expect(200);
        lab.suspend(&subject).expect(200);
        assert!(readyz().expect(503).body.contains(said), "{said}");
        says(&lab, "readiness", said);
        lab.resume(&subject).expect(200);
    }
    well(&lab);
    // One server workload's suspension is worth a look, and keeps nothing else from working.
    lab.suspend(&json!({"kind": "server", "name": "dark"}))
        .expect(200);
    readyz().expect(200);
    let ran = lab.run(&["doctor"]);
    let warned = ran.value["findings"].as_array().unwrap().iter();
    assert!(
        warned
            .clone()
            .any(|f| f["check"] == "suspensions" && f["state"] == "warning")
    );
    assert_eq!(ran.code, 0, "{}", ran.value);
}

#[test]
fn a_server_that_has_stopped_and_a_folder_of_everybody_are_bad() {
    let mut lab = Lab::without_bundle(Options::default(), None);
    lab.server.stop();
    let ran = lab.run(&["doctor"]);
    assert!(
        bad(&ran).iter().any(|(check, _)| check == "server"),
        "{}",
        ran.value
    );
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(lab.data(), mode).unwrap();
    says(&lab, "data", "mode 777");
    let refused = lab.run(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--gateway-listen",
        "127.0.0.1:0",
        "--metrics-listen",
        "127.0.0.1:0",
    ]);
    assert_eq!(refused.code, 1, "{}", refused.value);
    assert!(
        refused.value["mend"]
            .as_str()
            .unwrap()
            .contains("chmod go-w")
    );
}
