//! Bundles, keys, metrics, health: what an operator relies on.

use serde_json::{Value, json};

use crate::lab::Lab;
use crate::lab::agent::{self, token};
use crate::lab::http::Answer;
use crate::lab::server::{Options, PROGRAM};
use crate::lab::wait;

#[test]
fn broken_bundle_leaves_the_last_good_one_live() {
    let lab = Lab::start();
    let worker = lab.worker();
    let task = token(worker.open());
    let access = token(worker.access(&task, "records"));
    let before = live(&lab);
    for broken in [
        lab.bundle()
            .replace("agents: [worker, clerk]", "agents: [nobody]"),
        lab.bundle().replace("effect: read", "effect: reed"),
        lab.bundle().replace("kind: Operator", "kind: Operatr"),
        format!("{}---\n{{", lab.bundle()),
        lab.bundle()
            .replace("breakGlass: {contact: \"#tests\", impact: Tests fail.}", ""),
    ] {
        assert_eq!(lab.apply(&broken).code, 1);
        // Past the command's own check, straight at the authority.
        let answer = apply(&lab, &broken, before["version"].as_u64().unwrap());
        assert_eq!(answer.status, 422, "{answer:?}");
        assert_eq!(live(&lab), before);
    }
    lab.access("/records/items/1", &access).expect(200);
    worker.access(&task, "records").expect(200);
}

#[test]
fn apply_is_all_or_nothing() {
    let mut lab = Lab::start();
    let before = live(&lab);
    let version = before["version"].as_u64().unwrap();
    let good = lab.bundle().replace("maxDuration: 2h", "maxDuration: 90m");
    let files = json!([
        ["a.yaml", good],
        ["b.yaml", "kind: AgentType\nmetadata: {name: half}\n"]
    ]);
    let body = json!({"files": files, "base": version});
    let answer = lab.operators().json("/operator/v1/bundle/apply", &body);
    assert_eq!(
        answer.status, 422,
        "one good file and one bad one: {answer:?}"
    );
    assert_eq!(live(&lab), before);

    // Two operators who saw the same version: one of them is told to look again.
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| apply(&lab, &good, version).status));
        both.map(|one| one.join().unwrap()).into()
    });
    assert!(
        answers.contains(&200) && answers.contains(&409),
        "{answers:?}"
    );
    let after = live(&lab);
    assert_eq!(after["version"], version + 1);
    lab.server.kill();
    lab.restart();
    assert_eq!(live(&lab), after);
}

/// Nothing here happens because a lease is renewed or runs out.
fn long_leased() -> Lab {
    Lab::with(Options {
        lease: 300,
        ..Options::default()
    })
}

#[test]
fn apply_returns_when_the_gateway_decides_by_the_bundle() {
    let lab = long_leased();
    let worker = lab.worker();
    let task = token(worker.open());
    let access = token(worker.access(&task, "records"));
    // The gateway that stands between is asked right after each, without a wait.
    let without = format!(
        "{}\n---\napiVersion: mandate.dev/v1alpha1\nkind: Guardrail\nmetadata: {{name: no-reads}}\n\
         spec: {{forbid: 'context.effect == \"read\"'}}\n",
        lab.bundle()
    );
    for (bundle, status) in [(&without, 403), (&lab.bundle(), 200), (&without, 403)] {
        let applied = lab.apply(bundle);
        assert_eq!(applied.code, 0, "{}", applied.value);
        assert_eq!(applied.value["effective"], true, "{}", applied.value);
        let gateway = &applied.value["gateways"][0];
        assert_eq!(gateway["id"], "local");
        assert!(gateway["after_ms"].is_u64(), "{gateway}");
        lab.access("/records/items/1", &access).expect(status);
    }
    let version = live(&lab)["version"].as_u64().unwrap() - 1;
    let back = lab.run(&["apply", "--back", &version.to_string(), "--yes"]);
    assert_eq!((back.code, &back.value["effective"]), (0, &json!(true)));
    lab.access("/records/items/1", &access).expect(200);
}

#[test]
fn apply_names_a_gateway_that_does_not_get_the_bundle_and_exits_with_3() {
    let lab = long_leased();
    let status = lab
        .operators()
        .get("/operator/v1/status", &[])
        .expect(200)
        .json();
    let versions = &status["versions"];
    // A gateway that holds a lease and is never heard of again.
    let lease = json!({
        "gateway": "elsewhere", "run": status["run"], "stops": versions["stops"], "bundle": versions["bundle"],
        "keys": versions["keys"],
        "head": {"spool": "s-1", "next": 0, "chain": mandate_audit::SpoolChain::ORIGIN.to_string()},
    });
    lab.control().json("/control/v1/lease", &lease).expect(200);
    let file = lab.data().join("again.yaml");
    std::fs::write(&file, format!("{}# A remark.\n", lab.bundle())).unwrap();
    let file = file.display().to_string();
    let late = lab.run(&["apply", &file, "--yes", "--wait", "1"]);
    assert_eq!(
        (late.code, &late.value["effective"]),
        (3, &json!(false)),
        "{}",
        late.value
    );
    let gateways = late.value["gateways"].as_array().unwrap();
    let states: Vec<_> = gateways
        .iter()
        .map(|g| (&g["id"], &g["effective"]))
        .collect();
    let (elsewhere, local) = (json!("elsewhere"), json!("local"));
    assert_eq!(
        states,
        [(&elsewhere, &json!(false)), (&local, &json!(true))]
    );
    let without = lab.run(&["apply", &file, "--yes", "--wait", "0"]);
    assert_eq!(without.code, 0, "nothing was waited for: {}", without.value);
}

#[test]
fn commands_that_take_long_write_no_progress_where_nobody_watches() {
    let lab = Lab::start();
    let file = lab.data().join("export.jsonl").display().to_string();
    let suspend = ["suspend", "server", "dark", "--reason", "INC-1"];
    for arguments in [
        &["audit", "verify"][..],
        &["audit", "export", "--to", &file],
        &["audit", "search"],
        &["status"],
        &suspend,
    ] {
        for format in ["text", "json"] {
            let output = std::process::Command::new(PROGRAM)
                .arg("--data")
                .arg(lab.data())
                .args(["--output", format])
                .args(arguments)
                .output()
                .unwrap();
            assert!(!output.stdout.is_empty(), "{arguments:?}");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(said, "", "{arguments:?} {format}");
            assert!(!output.stdout.contains(&b'\x1b'), "{arguments:?} {format}");
        }
    }
}

#[test]
fn rotation_voids_no_live_token() {
    let lab = Lab::start();
    let worker = lab.worker();
    let task = token(worker.open());
    let access = token(worker.access(&task, "records"));
    for purpose in ["oauth", "svid", "log"] {
        let rotated = lab.run(&["keys", "rotate", purpose]);
        assert_eq!(rotated.code, 0, "{}", rotated.value);
        let new = rotated.value["key"].as_str().unwrap().to_owned();
        assert_eq!(rotated.value["state"], "announced");
        if purpose == "log" {
            continue;
        }
        // Verifiers can fetch it, and it does not sign yet.
        let path = if purpose == "oauth" {
            "/jwks"
        } else {
            "/spiffe/bundle"
        };
        let published = lab.server.authority().get(path, &[]).expect(200);
        assert!(published.body.contains(&new), "{path}: {}", published.body);
        let fresh = match purpose {
            "oauth" => token(worker.access(&task, "records")),
            _ => lab.worker().svid,
        };
        assert_ne!(agent::header(&fresh)["kid"], new);
    }
    wait::until("the gateway has the new keys and admits", || {
        (lab.access("/records/items/1", &access).status == 200).then_some(())
    });
    worker.renew(&task).expect(200);
    assert_eq!(lab.run(&["audit", "verify"]).code, 0);
}

#[test]
fn health_and_readiness_tell_the_truth() {
    let lab = Lab::without_bundle(Options::default(), None);
    let at = |path: &str| lab.server.metrics().get(path, &[]);
    assert_eq!(at("/healthz").status, 200);
    let waiting = at("/readyz").expect(503);
    assert!(
        waiting.body.contains("no bundle is live"),
        "{}",
        waiting.body
    );
    let nothing = lab.access("/records/items/1", "x");
    assert!(nothing.is_refused(), "{nothing:?}");
    assert!(
        lab.agents()
            .form("/token", &agent::attest_form(None))
            .is_refused()
    );
    assert_eq!(lab.apply(&lab.bundle()).code, 0);
    at("/readyz").expect(200);
    lab.worker();
}

#[test]
fn metrics_are_open_metrics_and_count() {
    let lab = Lab::start();
    let worker = lab.worker();
    let task = token(worker.open());
    let access = token(worker.access(&task, "records"));
    lab.access("/records/items/1", &access).expect(200);
    assert_eq!(lab.access("/inner/items/1", &access).status, 401);
    // Gauges are set once a second.
    let answer = wait::until("the lease is measured", || {
        let answer = lab.server.metrics().get("/metrics", &[]).expect(200);
        let unset = answer.body.contains("mandate_gateway_lease_seconds 0.0");
        (!unset).then_some(answer)
    });
    assert!(
        answer.head.contains("application/openmetrics-text"),
        "{}",
        answer.head
    );
    let samples = parse_metrics(&answer.body);
    let sum = |name: &str| -> f64 {
        let of_name = samples
            .iter()
            .filter(|(series, _)| series.split('{').next() == Some(name));
        of_name.map(|(_, value)| value).sum()
    };
    assert!(
        sum("mandate_gateway_decisions_total") >= 2.0,
        "{}",
        answer.body
    );
    assert!(
        sum("mandate_gateway_lease_seconds") > 0.0,
        "{}",
        answer.body
    );
    // No name of a task or a person is a label: their number has no bound.
    let id = agent::claims(&task)["task"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(!answer.body.contains(&id));
}

/// The version and digest that are live.
fn live(lab: &Lab) -> Value {
    let status = lab
        .operators()
        .get("/operator/v1/status", &[])
        .expect(200)
        .json();
    status["bundle"].clone()
}

fn apply(lab: &Lab, bundle: &str, base: u64) -> Answer {
    let body = json!({"files": [["bundle.yaml", bundle]], "base": base});
    lab.operators().json("/operator/v1/bundle/apply", &body)
}

/// Series and values; every line must be one of the format's.
fn parse_metrics(text: &str) -> Vec<(String, f64)> {
    let body = text.strip_suffix("# EOF\n").expect("the end is marked");
    let mut samples = Vec::new();
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let known = ["HELP ", "TYPE ", "UNIT "]
                .iter()
                .any(|word| comment.starts_with(word));
            assert!(known, "{line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect(line);
        samples.push((series.to_owned(), value.parse().expect(line)));
    }
    samples
}
