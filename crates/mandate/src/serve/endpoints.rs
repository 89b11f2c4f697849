//! Where a running server listens, in a file that every user of the machine may read.

use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// The addresses of a running server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Endpoints {
    /// `iss` of its tokens.
    pub(crate) issuer: String,
    /// Its name space.
    pub(crate) trust_domain: String,
    /// Token endpoint, metadata, keys.
    pub(crate) authority: SocketAddr,
    /// The gateway: `http://<this>/<server workload>/…`.
    pub(crate) gateway: SocketAddr,
    /// How agents write the gateway's address, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gateway_url: Option<String>,
    /// The gateway with TLS: `https://<a host of a server workload>/…`, at this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gateway_tls: Option<SocketAddr>,
    /// Metrics and health.
    pub(crate) metrics: SocketAddr,
    /// The test issuer for people, with `--dev`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dev_issuer: Option<SocketAddr>,
    /// The server's process.
    pub(crate) pid: u32,
}

impl Endpoints {
    /// How agents write the gateway's address.
    pub(crate) fn gateway_url(&self) -> String {
        let plain = || format!("http://{}", self.gateway);
        self.gateway_url.clone().unwrap_or_else(plain)
    }

    /// Reads them from the folder of a running server.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read(path).map_err(|e| {
            let mend = if e.kind() == std::io::ErrorKind::PermissionDenied {
                "run this as a user who can reach the path"
            } else {
                "start the server with `mandate serve`, or point --data at a running one"
            };
            Failure::unreachable(format!("{}: {e}", path.display()), mend)
        })?;
        serde_json::from_slice(&text).map_err(|e| {
            Failure::failed(
                format!("{}: {e}", path.display()),
                "restart the server; it writes this file anew",
            )
        })
    }

    /// Writes them; the file appears whole.
    pub(crate) fn write(&self, path: &Path) -> std::io::Result<()> {
        use std::io::Write;
        use std::os::unix::fs::PermissionsExt;
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec_pretty(self).map_err(std::io::Error::other)?)?;
        file.as_file()
            .set_permissions(std::fs::Permissions::from_mode(0o644))?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    }
}
