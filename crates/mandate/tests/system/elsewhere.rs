//! Operators who come over TLS, by a session, with the command line of every day.

use serde_json::{Value, json};

use crate::lab::Lab;
use crate::lab::server::Options;
use crate::tls::certificate;

const AMY: &str = r#"
---
apiVersion: mandate.dev/v1alpha1
kind: TrustProvider
metadata: {name: staff}
spec: {oidc: {issuer: "${login}", audience: mandate-cli, nonce: optional}}
---
apiVersion: mandate.dev/v1alpha1
kind: Operator
metadata: {name: amy}
spec: {oidc: {provider: staff, claims: {sub: amy}}, rights: [suspend, resume, inspect, audit]}
"#;

#[test]
fn an_operator_elsewhere_logs_in_over_tls_and_has_the_commands_of_every_day() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(folder.path(), "127.0.0.1");
    let tls = (cert.clone(), key);
    let lab = Lab::without_bundle(
        Options {
            listen_tls: Some(tls),
            ..Options::default()
        },
        None,
    );
    let amy = AMY.replace("${login}", &lab.server.dev_issuer_url());
    let applied = lab.apply(&format!("{}{amy}", lab.bundle()));
    assert_eq!(applied.code, 0, "{}", applied.value);
    let (url, runtime) = (lab.server.issuer(), folder.path().join("runtime"));
    let proof = folder.path().join("id-token");
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let (runtime, cert, proof_path) = (path(&runtime), path(&cert), path(&proof));
    let elsewhere = ["--authority", &url, "--runtime-dir", &runtime];
    let run = |words: &[&str], trusted: bool| {
        let ca: &[&str] = if trusted { &["--ca", &cert] } else { &[] };
        lab.run(&[words, &elsewhere[..], ca].concat())
    };
    let login = ["login", "--id-token", &proof_path];
    let id_token = |user: &str| lab.login(&json!({"user": user, "audience": "mandate-cli"}));
    std::fs::write(&proof, id_token("eve")).unwrap();
    assert_ne!(run(&login, false).code, 0, "nobody named the server");
    let refused = run(&login, true);
    assert_eq!(refused.code, 1, "{}", refused.value);
    assert_ne!(run(&["status"], true).code, 0, "there is no session yet");

    std::fs::write(&proof, id_token("amy")).unwrap();
    let begun = run(&login, true);
    assert_eq!((begun.code, &begun.value["operator"]), (0, &json!("amy")));
    assert_ne!(run(&login, true).code, 0, "the ID token is used up");
    assert_eq!(run(&["status"], true).value["operator"], "amy");
    let suspended = run(&["suspend", "agent", "clerk", "--reason", "INC-1"], true);
    assert_eq!(suspended.code, 0, "{}", suspended.value);
    let there: Value = lab.run(&["suspensions"]).value;
    assert_eq!(there["suspensions"][0]["operator"], "operator:amy");
    for words in [
        &["suspensions"][..],
        &["access"],
        &["runbook", "clerk"],
        &["audit", "search", "--kind", "suspended"],
        &["resume", "agent", "clerk", "--reason", "over"],
    ] {
        let ran = run(words, true);
        assert_eq!(ran.code, 0, "{words:?}: {}", ran.value);
    }
    // What she has no right to, and what is done on the server's own machine.
    assert_eq!(run(&["keys", "rotate", "oauth"], true).code, 1);
    assert_eq!(run(&["gateway", "accept"], true).code, 2);

    assert_eq!(run(&["logout"], true).code, 0);
    assert_ne!(run(&["status"], true).code, 0);
    assert_ne!(run(&["logout"], true).code, 0);
}
