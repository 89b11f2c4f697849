//! Doors with TLS, for agents and verifiers on other machines: the gateway's, which has server
//! workloads by their hosts, and the authority's. Certificates are read at the start.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::sockets::Bound;
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub(crate) struct TlsArgs {
    /// The gateway with TLS, for agents elsewhere: server workloads by their hosts
    #[arg(long, value_name = "ADDRESS", requires_all = ["tls_cert", "tls_key"])]
    tls_listen: Option<SocketAddr>,
    /// Its certificate and those that lead to its CA, PEM
    #[arg(long, value_name = "FILE", requires = "tls_listen")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key, PEM, readable by this user alone
    #[arg(long, value_name = "FILE", requires = "tls_listen")]
    tls_key: Option<PathBuf>,
    /// The port that agents come to, where something stands between them and --tls-listen: proofs of
    /// possession name it [default: the port of --tls-listen]
    #[arg(long, value_name = "PORT", requires = "tls_listen")]
    tls_public_port: Option<u16>,
    /// TLS at --listen, and nothing else there: its certificate and those that lead to its CA, PEM
    #[arg(long, value_name = "FILE", requires = "listen_key")]
    listen_cert: Option<PathBuf>,
    /// The certificate's key, PEM, readable by this user alone
    #[arg(long, value_name = "FILE", requires = "listen_cert")]
    listen_key: Option<PathBuf>,
}

/// A bound socket and what is spoken on it.
pub(super) struct TlsDoor {
    pub(super) bound: Bound,
    pub(super) config: Arc<ServerConfig>,
    /// The port that agents come to.
    pub(super) public_port: u16,
}

impl TlsArgs {
    /// Whether the authority's door speaks TLS.
    pub(super) fn guards_listen(&self) -> bool {
        self.listen_cert.is_some()
    }

    /// Reads the files for the authority's door, if it speaks TLS.
    pub(super) fn listen(&self) -> Result<Option<Arc<ServerConfig>>, Failure> {
        match (&self.listen_cert, &self.listen_key) {
            (Some(cert), Some(key)) => Ok(Some(Arc::new(config(cert, key)?))),
            (None, _) | (_, None) => Ok(None),
        }
    }

    /// Reads the files for the gateway's door and binds it, if it is asked for.
    pub(super) fn door(&self) -> Result<Option<TlsDoor>, Failure> {
        let (Some(address), Some(cert), Some(key)) =
            (self.tls_listen, &self.tls_cert, &self.tls_key)
        else {
            return Ok(None);
        };
        let config = Arc::new(config(cert, key)?);
        let bound = Bound::at("--tls-listen", address)?;
        let public_port = self.tls_public_port.unwrap_or(bound.address.port());
        Ok(Some(TlsDoor {
            bound,
            config,
            public_port,
        }))
    }
}

fn config(cert: &Path, key: &Path) -> Result<ServerConfig, Failure> {
    let unusable = |file: &Path, why: &dyn std::fmt::Display| {
        let broke = format!("{}: {why}", file.display());
        Failure::failed(broke, "say a PEM file with the certificate, or its key")
    };
    check_private(key)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(cert)
        .map_err(|e| unusable(cert, &e))?
        .collect();
    let chain = chain.map_err(|e| unusable(cert, &e))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| unusable(key, &e))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| unusable(cert, &e))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|e| unusable(cert, &e))
}

/// A key that others can read is not a key any more.
fn check_private(key: &Path) -> Result<(), Failure> {
    let mode = std::fs::metadata(key)
        .map_err(|e| Failure::file(key, &e))?
        .permissions()
        .mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Failure::failed(
        format!("{} can be read by other users", key.display()),
        format!(
            "`chmod 600 {}`, and get a new key if others may have read it",
            key.display()
        ),
    ))
}
