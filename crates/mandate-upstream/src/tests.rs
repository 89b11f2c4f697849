use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mandate_model::SecretName;
use mandate_ports::{CredentialError, Credentials};
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

use crate::{ConfigError, FileCredentials, parse_origin};

const RECORDS: &str = "https://records.internal:8443";

fn write(path: &Path, content: &str, mode: u32) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Replaces a file as careful tools do.
fn replace(path: &Path, content: &str) {
    let aside = path.with_extension("new");
    write(&aside, content, 0o600);
    std::fs::rename(aside, path).unwrap();
}

fn config(folder: &TempDir, text: &str) -> PathBuf {
    let file = folder.path().join("gateway.yaml");
    write(&file, text, 0o644);
    file
}

async fn load(folder: &TempDir, text: &str) -> Result<FileCredentials, ConfigError> {
    let env = |name: &str| (name == "RECORDS_KEY").then(|| "from-env".to_owned());
    FileCredentials::load(&config(folder, text), Box::new(env)).await
}

/// A configuration whose one secret has this source.
async fn with_source(folder: &TempDir, source: &str) -> FileCredentials {
    let text = format!("secrets: {{key: {{{source}, origins: ['{RECORDS}']}}}}");
    load(folder, &text).await.unwrap()
}

async fn key(credentials: &FileCredentials, origin: &str) -> Result<String, CredentialError> {
    let name = SecretName::parse("key").unwrap();
    let secret = credentials
        .secret(&name, &parse_origin(origin).unwrap())
        .await?;
    Ok(String::from_utf8(secret.expose().clone()).unwrap())
}

fn unreadable() -> Result<String, CredentialError> {
    Err(CredentialError::Unreadable(
        SecretName::parse("key").unwrap(),
    ))
}

fn secret_file(folder: &TempDir, content: &str, mode: u32) -> (PathBuf, String) {
    let path = folder.path().join("secret");
    write(&path, content, mode);
    let source = format!("file: {}", path.display());
    (path, source)
}

#[tokio::test]
async fn a_secret_comes_from_a_file_without_its_line_end() {
    let folder = TempDir::new().unwrap();
    let (_, source) = secret_file(&folder, "hunter2\r\n", 0o600);
    let credentials = with_source(&folder, &source).await;
    assert_eq!(key(&credentials, RECORDS).await.unwrap(), "hunter2");
    assert!(credentials.problems().is_empty());
}

#[tokio::test]
async fn keeps_what_the_port_promises() {
    let folder = TempDir::new().unwrap();
    let credentials = with_source(&folder, "env: RECORDS_KEY").await;
    let case = mandate_testkit::credentials_suite::Mapped {
        name: SecretName::parse("key").unwrap(),
        value: b"from-env".to_vec(),
        pinned: parse_origin(RECORDS).unwrap(),
        unmapped: SecretName::parse("other").unwrap(),
    };
    mandate_testkit::credentials_suite::run(&credentials, &case).await;
}

#[tokio::test]
async fn a_secret_is_sent_to_no_origin_but_those_pinned() {
    let folder = TempDir::new().unwrap();
    let credentials = with_source(&folder, "env: RECORDS_KEY").await;
    assert_eq!(key(&credentials, RECORDS).await.unwrap(), "from-env");
    for other in [
        "http://records.internal:8443",
        "https://records.internal",
        "https://records.internal.evil.example:8443",
    ] {
        let refused = key(&credentials, other).await;
        assert!(
            matches!(refused, Err(CredentialError::WrongOrigin { .. })),
            "{other}"
        );
    }
}

#[tokio::test]
async fn a_name_that_is_not_mapped_is_refused() {
    let folder = TempDir::new().unwrap();
    let credentials = load(&folder, "{}").await.unwrap();
    let refused = key(&credentials, RECORDS).await;
    assert!(matches!(refused, Err(CredentialError::Unmapped(_))));
}

#[tokio::test]
async fn a_secret_that_others_can_read_or_write_is_refused_with_the_mend() {
    for mode in [0o604, 0o644, 0o620, 0o602] {
        let folder = TempDir::new().unwrap();
        let (path, source) = secret_file(&folder, "hunter2", mode);
        let credentials = with_source(&folder, &source).await;
        assert_eq!(key(&credentials, RECORDS).await, unreadable(), "{mode:o}");
        let (_, problem) = credentials.problems().remove(0);
        assert!(problem.contains(&format!("{}", path.display())) && problem.contains("chmod go-"));

        write(&path, "hunter2", 0o600);
        credentials.refresh().await;
        assert_eq!(key(&credentials, RECORDS).await.unwrap(), "hunter2");
    }
}

#[tokio::test]
async fn an_empty_or_missing_source_is_unreadable() {
    let folder = TempDir::new().unwrap();
    let (path, source) = secret_file(&folder, "\n", 0o600);
    let credentials = with_source(&folder, &source).await;
    assert_eq!(key(&credentials, RECORDS).await, unreadable());
    std::fs::remove_file(path).unwrap();
    credentials.refresh().await;
    assert_eq!(key(&credentials, RECORDS).await, unreadable());
    let credentials = with_source(&folder, "env: UNSET").await;
    assert_eq!(key(&credentials, RECORDS).await, unreadable());
}

#[tokio::test]
async fn a_changed_file_is_read_again_and_a_removed_one_withdraws_the_secret() {
    let folder = TempDir::new().unwrap();
    let (path, source) = secret_file(&folder, "old-key", 0o600);
    let credentials = with_source(&folder, &source).await;
    replace(&path, "new-key");
    assert_eq!(
        key(&credentials, RECORDS).await.unwrap(),
        "old-key",
        "requests never read files"
    );
    credentials.refresh().await;
    assert_eq!(key(&credentials, RECORDS).await.unwrap(), "new-key");
    std::fs::remove_file(&path).unwrap();
    credentials.refresh().await;
    assert_eq!(key(&credentials, RECORDS).await, unreadable());
}

#[tokio::test]
async fn a_changed_configuration_is_taken_over_unless_it_has_mistakes() {
    let folder = TempDir::new().unwrap();
    let credentials = with_source(&folder, "env: RECORDS_KEY").await;
    replace(
        &folder.path().join("gateway.yaml"),
        "secrets: {key: {env: RECORDS_KEY}}",
    );
    credentials.refresh().await;
    assert!(
        key(&credentials, RECORDS).await.is_ok(),
        "the former one stays"
    );
    let moved = "secrets: {key: {env: RECORDS_KEY, origins: ['https://b']}}";
    replace(&folder.path().join("gateway.yaml"), moved);
    credentials.refresh().await;
    assert!(key(&credentials, RECORDS).await.is_err());
    assert!(key(&credentials, "https://b").await.is_ok());
}

#[tokio::test]
async fn a_command_runs_with_an_empty_environment() {
    let folder = TempDir::new().unwrap();
    let credentials = with_source(&folder, "command: [/usr/bin/env, '-0']").await;
    assert_eq!(
        key(&credentials, RECORDS).await,
        unreadable(),
        "it prints no variable"
    );
    let credentials = with_source(&folder, "command: [/bin/echo, hunter2]").await;
    assert_eq!(key(&credentials, RECORDS).await.unwrap(), "hunter2");
}

#[tokio::test]
async fn a_failing_command_keeps_the_former_value() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("answer");
    std::fs::write(&path, "first").unwrap();
    let credentials =
        with_source(&folder, &format!("command: [/bin/cat, {}]", path.display())).await;
    std::fs::write(&path, "second").unwrap();
    credentials.rerun_commands().await;
    assert_eq!(key(&credentials, RECORDS).await.unwrap(), "second");
    std::fs::remove_file(&path).unwrap();
    credentials.rerun_commands().await;
    assert_eq!(key(&credentials, RECORDS).await.unwrap(), "second");
    let credentials = with_source(&folder, "command: [/bin/false]").await;
    assert_eq!(key(&credentials, RECORDS).await, unreadable());
}

#[tokio::test]
async fn an_unrelated_change_of_the_configuration_keeps_what_a_command_gave() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("answer");
    std::fs::write(&path, "from-the-vault").unwrap();
    let source = format!("command: [/bin/cat, {}]", path.display());
    let credentials = with_source(&folder, &source).await;
    std::fs::remove_file(&path).unwrap();
    let file = folder.path().join("gateway.yaml");
    let key_of = |source: &str| {
        format!("secrets: {{key: {{{source}, origins: ['{RECORDS}', 'https://b']}}}}")
    };
    replace(&file, &key_of(&source));
    credentials.refresh().await;
    assert_eq!(
        key(&credentials, "https://b").await.unwrap(),
        "from-the-vault"
    );

    let other = source.replace("/bin/cat", "/usr/bin/cat");
    replace(&file, &key_of(&other));
    credentials.refresh().await;
    assert_eq!(
        key(&credentials, RECORDS).await,
        unreadable(),
        "another source"
    );
}

#[tokio::test]
async fn a_command_without_a_value_is_run_again_at_once() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("answer");
    let source = format!("command: [/bin/cat, {}]", path.display());
    let credentials = with_source(&folder, &source).await;
    assert_eq!(key(&credentials, RECORDS).await, unreadable());
    std::fs::write(&path, "from-the-vault").unwrap();
    credentials.refresh().await;
    assert_eq!(key(&credentials, RECORDS).await.unwrap(), "from-the-vault");
}

#[tokio::test]
async fn a_secret_too_short_to_be_recognised_is_refused_with_the_mend() {
    let folder = TempDir::new().unwrap();
    let (path, source) = secret_file(&folder, "12345\n", 0o600);
    let credentials = with_source(&folder, &source).await;
    assert_eq!(key(&credentials, RECORDS).await, unreadable());
    let problems = credentials.problems();
    assert!(problems[0].1.contains("use a longer one"), "{problems:?}");
    replace(&path, "123456");
    credentials.refresh().await;
    assert_eq!(key(&credentials, RECORDS).await.unwrap(), "123456");
}

#[tokio::test]
async fn every_mistake_is_reported_at_once() {
    let folder = TempDir::new().unwrap();
    let text = "
secrets:
  unpinned: {env: A}
  two: {env: A, file: /a, origins: ['https://a']}
  relative: {file: a, origins: ['https://a']}
  no-origin: {env: A, origins: ['https://a/path']}
  Bad Name: {env: A, origins: ['https://a']}
origins:
  'https://a': {ca: /nonexistent/ca.pem}
";
    let Err(ConfigError::Mistakes { mistakes, .. }) = load(&folder, text).await else {
        panic!("it has mistakes");
    };
    let keys: Vec<&str> = mistakes.iter().map(|m| m.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "secrets.Bad Name",
            "secrets.no-origin.origins",
            "secrets.relative",
            "secrets.two",
            "secrets.unpinned.origins",
            "origins.https://a.ca",
        ]
    );
}

#[tokio::test]
async fn an_unknown_field_is_an_error() {
    let folder = TempDir::new().unwrap();
    for text in [
        "secretz: {}",
        "secrets: {key: {env: A, origins: ['https://a'], orgins: []}}",
        "origins: {'https://a': {ca: /a, insecure: true}}",
    ] {
        let refused = load(&folder, text).await;
        assert!(
            matches!(refused, Err(ConfigError::Malformed { .. })),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_configuration_that_others_can_write_is_refused() {
    let folder = TempDir::new().unwrap();
    let file = config(&folder, "{}");
    write(&file, "{}", 0o666);
    let refused = FileCredentials::load(&file, Box::new(|_| None)).await;
    assert!(matches!(refused, Err(ConfigError::Unreadable(_))));
}

#[tokio::test]
async fn debug_output_has_no_secret() {
    let folder = TempDir::new().unwrap();
    let credentials = with_source(&folder, "env: RECORDS_KEY").await;
    assert!(!format!("{credentials:?}").contains("from-env"));
}

/// One handshake over a pipe: whether the client of `credentials` accepts a server that shows a
/// certificate of the authority in `ca.pem`.
async fn handshake(
    credentials: &FileCredentials,
    origin: &str,
    ca: Option<&str>,
    server: rustls::ServerConfig,
) -> std::io::Result<()> {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let client = credentials.tls_config(&parse_origin(origin).unwrap(), ca);
    let client = client.map_err(std::io::Error::other)?;
    let name = "records.internal".try_into().unwrap();
    let connecting = tokio_rustls::TlsConnector::from(client).connect(name, ours);
    let accepting = tokio_rustls::TlsAcceptor::from(Arc::new(server)).accept(theirs);
    let (connected, _) = tokio::join!(connecting, accepting);
    connected.map(drop)
}

fn authority_and_server() -> (String, impl Fn() -> rustls::ServerConfig) {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::from_params(&params, &ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["records.internal".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let (certificate, key) = (leaf.der().clone(), key.serialize_pem());
    let server = move || {
        let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap()
    };
    (ca.pem(), server)
}

#[tokio::test]
async fn trust_in_a_private_authority_holds_for_its_origin_alone() {
    let folder = TempDir::new().unwrap();
    let (pem, server) = authority_and_server();
    let ca = folder.path().join("ca.pem");
    write(&ca, &pem, 0o644);
    let text = format!("origins: {{'{RECORDS}': {{ca: {}}}}}", ca.display());
    let credentials = load(&folder, &text).await.unwrap();
    handshake(&credentials, RECORDS, None, server())
        .await
        .unwrap();
    let elsewhere = handshake(&credentials, "https://records.internal", None, server()).await;
    assert!(elsewhere.is_err());
}

#[tokio::test]
async fn an_authority_is_known_by_the_name_that_is_mapped_and_by_no_other() {
    let folder = TempDir::new().unwrap();
    let (pem, server) = authority_and_server();
    let (ca, other) = (
        folder.path().join("ca.pem"),
        folder.path().join("other.pem"),
    );
    write(&ca, &pem, 0o644);
    write(&other, &authority_and_server().0, 0o644);
    let text = format!(
        "cas: {{acme: {}}}\norigins: {{'{RECORDS}': {{ca: {}}}}}",
        ca.display(),
        other.display()
    );
    let credentials = load(&folder, &text).await.unwrap();
    let elsewhere = "https://records.internal";
    handshake(&credentials, elsewhere, Some("acme"), server())
        .await
        .unwrap();
    assert!(
        handshake(&credentials, elsewhere, None, server())
            .await
            .is_err()
    );
    let unmapped = handshake(&credentials, elsewhere, Some("acne"), server()).await;
    assert!(
        unmapped
            .unwrap_err()
            .to_string()
            .contains("`acne` is not mapped")
    );
    // A bundle's name does not undo what is pinned here.
    assert!(
        handshake(&credentials, RECORDS, Some("acme"), server())
            .await
            .is_err()
    );
    assert!(
        handshake(&credentials, RECORDS, Some("acne"), server())
            .await
            .is_err()
    );
}
