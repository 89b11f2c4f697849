//! `attest.yaml`: how this authority reaches those whose word on evidence it asks for.
//!
//! It is local and no part of a bundle, since it says where credentials are and where they are sent
//! (C4): who may write a bundle must not be able to have a file of this machine sent somewhere.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mandate_attest::{
    AwsAttestor, AwsChallenges, ClusterAccess, Clusters, IssuerKeys, OidcOptions,
};
use mandate_ports::Clock;

use crate::failure::Failure;

/// The local configuration of attestation.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct LocalAttest {
    clusters: Vec<ClusterAccess>,
    roots: Vec<u8>,
    dangerous_sts: Option<String>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    clusters: Vec<RawCluster>,
    #[serde(default)]
    roots: Option<PathBuf>,
    #[serde(default)]
    dangerous_sts: Option<String>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCluster {
    server: String,
    #[serde(default)]
    ca: Option<PathBuf>,
    token: PathBuf,
}

impl LocalAttest {
    /// Reads `path`; nothing is configured where there is no such file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(Failure::file(path, &e)),
        };
        check_unwritable(path)?;
        let malformed = |e: &dyn std::fmt::Display| {
            let mend = "say it as docs/attestation.md does";
            Failure::failed(format!("{} is malformed: {e}", path.display()), mend)
        };
        let raw: Raw = serde_saphyr::from_str(&text).map_err(|e| malformed(&e))?;
        let clusters = raw.clusters.into_iter().map(cluster);
        Ok(Self {
            clusters: clusters.collect::<Result<_, _>>()?,
            roots: raw.roots.map_or(Ok(Vec::new()), |roots| pem(&roots))?,
            dangerous_sts: raw.dangerous_sts.map(imitation).transpose()?,
        })
    }

    /// Keys of issuers, fetched with the certificates that are trusted here.
    pub(crate) fn keys(&self, clock: Arc<dyn Clock>) -> Result<IssuerKeys, Failure> {
        let options = OidcOptions {
            extra_roots: self.roots.clone(),
            ..OidcOptions::default()
        };
        IssuerKeys::new(options, clock).map_err(|e| unusable(&e))
    }

    /// Asks AWS; or what imitates it on this machine, which is said aloud.
    pub(crate) fn aws(
        &self,
        challenges: Arc<AwsChallenges>,
        clock: Arc<dyn Clock>,
    ) -> Result<AwsAttestor, Failure> {
        let aws = AwsAttestor::new(challenges, clock).map_err(|e| unusable(&e))?;
        if let Some(url) = &self.dangerous_sts {
            tracing::warn!(
                url,
                "attest.yaml: an IMITATION OF AWS says who is who; never where anything matters"
            );
        }
        Ok(aws.dangerous_asking_instead(self.dangerous_sts.clone()))
    }

    /// The clusters that can be asked.
    pub(crate) fn clusters(&self, clock: &Arc<dyn Clock>) -> Result<Clusters, Failure> {
        Clusters::new(self.clusters.clone(), clock).map_err(|e| unusable(&e))
    }

    /// Whether there are credentials for the API server at `server`.
    pub(crate) fn reaches(&self, server: &str) -> bool {
        self.clusters.iter().any(|cluster| cluster.server == server)
    }
}

fn unusable(why: &dyn std::fmt::Display) -> Failure {
    Failure::failed(
        why.to_string(),
        "mend the certificates that attest.yaml names",
    )
}

fn is_local(url: &str) -> bool {
    let local = ["http://127.0.0.1:", "http://[::1]:", "http://localhost:"];
    local.iter().any(|start| url.starts_with(start))
}

fn imitation(url: String) -> Result<String, Failure> {
    if is_local(&url) {
        return Ok(url);
    }
    Err(Failure::failed(
        format!("attest.yaml: `{url}` is no address of this machine"),
        "an imitation of AWS is for tests on one machine; leave `dangerous_sts` out",
    ))
}

fn cluster(raw: RawCluster) -> Result<ClusterAccess, Failure> {
    let RawCluster { server, ca, token } = raw;
    if !server.starts_with("https://") && !is_local(&server) {
        return Err(Failure::failed(
            format!("attest.yaml: `{server}` is no `https` URL"),
            "a token must not travel in clear",
        ));
    }
    for file in ca.iter().chain([&token]) {
        if !file.is_absolute() {
            return Err(Failure::failed(
                format!("attest.yaml: `{}` is no absolute path", file.display()),
                "say where it is from the root on",
            ));
        }
    }
    let ca = ca.map(|ca| pem(&ca)).transpose()?;
    Ok(ClusterAccess { server, ca, token })
}

fn pem(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|e| Failure::file(path, &e))
}

/// Who can write it can have our credentials sent to themself.
fn check_unwritable(path: &Path) -> Result<(), Failure> {
    let found = std::fs::metadata(path).map_err(|e| Failure::file(path, &e))?;
    let own = rustix::process::geteuid().as_raw();
    let shown = path.display();
    if found.permissions().mode() & 0o022 == 0 && [own, 0].contains(&found.uid()) {
        return Ok(());
    }
    Err(Failure::failed(
        format!("{shown} can be written by others"),
        format!("see that nobody has, then `chown {own} {shown}; chmod go-w {shown}`"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, mode: u32) -> Result<LocalAttest, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("attest.yaml");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        LocalAttest::read(&path)
    }

    #[test]
    fn without_the_file_nothing_is_configured() {
        let nowhere = Path::new("/nonexistent/attest.yaml");
        assert_eq!(LocalAttest::read(nowhere), Ok(LocalAttest::default()));
    }

    #[test]
    fn a_cluster_has_credentials_under_the_exact_address_that_bundles_say() {
        let text = "clusters: [{server: \"https://10.0.0.1:6443\", token: /run/token}]";
        let local = read(text, 0o600).unwrap();
        assert!(local.reaches("https://10.0.0.1:6443"));
        assert!(!local.reaches("https://10.0.0.1:6443/"));
        let clock: Arc<dyn Clock> = Arc::new(crate::serve::machine::SystemClock);
        assert!(local.clusters(&clock).is_ok());
    }

    #[test]
    fn what_would_send_a_token_in_clear_or_is_unknown_is_refused() {
        for bad in [
            "clusters: [{server: \"http://10.0.0.1:6443\", token: /run/token}]",
            "clusters: [{server: \"http://127.0.0.1.evil.example\", token: /run/token}]",
            "clusters: [{server: \"https://10.0.0.1:6443\", token: token}]",
            "clusters: [{server: \"https://10.0.0.1:6443\"}]",
            "clusters: [{server: \"https://10.0.0.1\", token: /run/token, insecure: true}]",
            "roots: /nonexistent/roots.pem",
            "dangerous_sts: \"https://sts.evil.example\"",
        ] {
            assert!(read(bad, 0o600).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_that_others_can_write_is_refused() {
        assert!(read("clusters: []", 0o644).is_ok());
        assert!(read("clusters: []", 0o666).is_err());
    }
}
