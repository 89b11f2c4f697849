//! The gateway's door with TLS, reached by a client that nobody here wrote.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::server::Options;
use crate::lab::{Lab, agent, wait};

const HOST: &str = "records.test";

/// A certificate for [`HOST`] and its key.
fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).unwrap();
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
    let (cert, key) = certificate(folder.path());
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
    wait::until("the gateway knows its hosts", || {
        (get(at, &cert, "--http1.1", None) == "401 1.1").then_some(())
    });
    let worker = lab.worker();
    let root = agent::token(worker.open());
    let access = agent::token(worker.access(&root, "records"));
    assert_eq!(get(at, &cert, "--http1.1", Some(&access)), "200 1.1");
    assert_eq!(get(at, &cert, "--http2", Some(&access)), "200 2");
    assert_eq!(get(at, &cert, "--http2", None), "401 2");
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(folder.path());
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
    for door in ["--listen", "--gateway-listen", "--metrics-listen"] {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_mandate"))
            .arg("--data")
            .arg(folder.path().join("data"))
            .args(["serve", door, "0.0.0.0:0"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{door}");
    }
}
