//! The doors with TLS, reached by a client that nobody here wrote.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::http::Field;
use crate::lab::server::{Options, Server};
use crate::lab::{Lab, agent};

const HOST: &str = "records.test";

/// A certificate for `host` and its key.
pub(crate) fn certificate(folder: &Path, host: &str) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec![host.to_owned()]).unwrap();
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    (cert, key)
}

/// Status and HTTP version of a GET by curl, which checks the certificate.
fn get(at: SocketAddr, cert: &Path, version: &str, token: Option<&str>) -> String {
    let header = token.map(|token| format!("authorization: Bearer {token}"));
    let output = Command::new("curl")
        .args(["--silent", "--show-error", version])
        .args([
            "--write-out",
            "%{http_code} %{http_version}",
            "--output",
            "/dev/null",
        ])
        .args(["--resolve", &format!("{HOST}:{}:127.0.0.1", at.port())])
        .arg("--cacert")
        .arg(cert)
        .args(header.iter().flat_map(|header| ["--header", header]))
        .arg(format!("https://{HOST}:{}/items/1", at.port()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn agents_elsewhere_come_over_tls_by_host() {
    if Command::new("curl").arg("--version").output().is_err() {
        println!("skipped: curl is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(folder.path(), HOST);
    let tls = Some((cert.clone(), key));
    let lab = Lab::without_bundle(
        Options {
            tls,
            ..Options::default()
        },
        None,
    );
    let resource = "resource: https://records.acme.example\n";
    let hosts = format!("{resource}  http: {{hosts: [{HOST}]}}\n");
    let applied = lab.apply(&lab.bundle().replace(resource, &hosts));
    assert_eq!(applied.code, 0, "{}", applied.value);
    let at = lab.server.gateway_tls();
    assert_eq!(get(at, &cert, "--http1.1", None), "401 1.1");
    let worker = lab.worker();
    let root = agent::token(worker.open());
    let access = agent::token(worker.access(&root, "records"));
    assert_eq!(get(at, &cert, "--http1.1", Some(&access)), "200 1.1");
    assert_eq!(get(at, &cert, "--http2", Some(&access)), "200 2");
    assert_eq!(get(at, &cert, "--http2", None), "401 2");
}

/// The body of an answer by the token endpoint at `url`, or what curl says of its failure.
fn ask(url: &str, trust: &[&Path], form: &[Field<'_>]) -> Result<String, Option<i32>> {
    let trust = trust.iter().flat_map(|cert| [Path::new("--cacert"), cert]);
    let pairs = form.iter().map(|(name, value)| format!("{name}={value}"));
    let output = Command::new("curl")
        .args(["--silent", "--http2", "--max-time", "30"])
        .args(["--write-out", " %{http_code} %{http_version}"])
        .args(trust)
        .args(pairs.flat_map(|pair| ["--data-urlencode".to_owned(), pair]))
        .arg(url)
        .output()
        .unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(output.status.code())
    }
}

#[test]
fn agents_and_verifiers_elsewhere_come_to_the_token_endpoint_over_tls() {
    if Command::new("curl").arg("--version").output().is_err() {
        println!("skipped: curl is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(folder.path(), "127.0.0.1");
    let lab = Lab::with(Options {
        listen_tls: Some((cert.clone(), key)),
        ..Options::default()
    });
    let issuer = lab.server.issuer();
    assert!(issuer.starts_with("https://127.0.0.1:"), "{issuer}");
    let metadata = format!("{issuer}/.well-known/oauth-authorization-server");
    let said = ask(&metadata, &[&cert], &[]).unwrap();
    let endpoint = format!("\"token_endpoint\":\"{issuer}/token\"");
    assert!(
        said.contains(&endpoint) && said.ends_with(" 200 1.1"),
        "{said}"
    );

    let worker = lab.worker();
    let details = r#"{"purpose": "nightly", "trigger": {"kind": "schedule", "name": "nightly", "item": "item-1"}}"#;
    let open = [
        ("grant_type", agent::EXCHANGE),
        ("subject_token", &worker.svid),
        ("subject_token_type", agent::JWT),
        ("requested_token_type", agent::TXN_TOKEN),
        ("audience", agent::TRUST_DOMAIN),
        ("request_details", details),
    ];
    let token = format!("{issuer}/token");
    let opened = ask(&token, &[&cert], &[&open, &worker.client()[..]].concat()).unwrap();
    assert!(opened.ends_with(" 200 1.1"), "{opened}");
    let refused = ask(&token, &[&cert], &open).unwrap();
    assert!(refused.ends_with(" 401 1.1"), "{refused}");

    assert_eq!(ask(&metadata, &[], &[]), Err(Some(60)), "nobody vouches");
    let clear = metadata.replace("https://", "http://");
    assert!(ask(&clear, &[], &[]).is_err(), "nothing is said in clear");
}

#[test]
fn an_issuer_without_tls_is_refused_at_a_door_that_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(folder.path(), HOST);
    let serve = |data: &str, more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_mandate"))
            .arg("--data")
            .arg(folder.path().join(data))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(["--gateway-listen", "127.0.0.1:0"])
            .args(["--metrics-listen", "127.0.0.1:0", "--listen-cert"])
            .arg(&cert)
            .arg("--listen-key")
            .arg(&key)
            .args(more)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = serve("new", &["--issuer", "http://id.acme.example"]);
    assert!(said.contains("is not https"), "{said}");
    assert!(!folder.path().join("new/server.json").exists());

    let kept = Server::start(
        &folder.path().join("kept"),
        &folder.path().join("log"),
        &Options::default(),
    );
    kept.unwrap().stop();
    let said = serve("kept", &[]);
    assert!(said.contains("is not https"), "{said}");
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(folder.path(), HOST);
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mandate"))
        .arg("--data")
        .arg(folder.path().join("data"))
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--gateway-listen",
            "127.0.0.1:0",
        ])
        .args([
            "--metrics-listen",
            "127.0.0.1:0",
            "--tls-listen",
            "127.0.0.1:0",
            "--tls-cert",
        ])
        .arg(cert)
        .arg("--tls-key")
        .arg(&key)
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("can be read by other users"), "{said}");
}

#[test]
fn tokens_are_not_served_in_clear_on_other_addresses() {
    for (door, mend) in [
        ("--listen", "--listen-cert FILE and --listen-key FILE"),
        ("--gateway-listen", "--tls-listen"),
        ("--metrics-listen", "a proxy with TLS"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_mandate"))
            .arg("--data")
            .arg(folder.path().join("data"))
            .args(["serve", door, "0.0.0.0:0"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{door}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(mend), "{said}");
    }
}
