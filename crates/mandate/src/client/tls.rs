//! TLS to a server elsewhere, or to an OpenID provider.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::http::Door;
use crate::failure::Failure;

/// Whom this command trusts to name servers.
#[derive(Clone)]
pub(crate) struct Trust(Arc<ClientConfig>);

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust(…)")
    }
}

impl Trust {
    /// The public authorities, and those of `extra` (PEM).
    pub(crate) fn of(extra: Option<&Path>) -> Result<Self, Failure> {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(path) = extra {
            let pem = std::fs::read(path).map_err(|e| Failure::file(path, &e))?;
            let before = roots.len();
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let added = certificate
                    .map_err(|e| e.to_string())
                    .and_then(|c| roots.add(c).map_err(|e| e.to_string()));
                added.map_err(|why| unusable(path, &why))?;
            }
            if roots.len() == before {
                return Err(unusable(path, "it holds no certificate"));
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| Failure::failed(format!("TLS cannot be used: {e}"), ""))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }
}

fn unusable(path: &Path, why: &str) -> Failure {
    Failure::usage(
        format!("{}: {why}", path.display()),
        "a PEM file with the certificates of the authorities to trust",
    )
}

/// A server to speak TLS with.
#[derive(Clone)]
pub(crate) struct Tls {
    authority: String,
    address: String,
    name: ServerName<'static>,
    trust: Trust,
}

impl Tls {
    /// `host:port` as it stands in a URL.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let io = TcpStream::connect(&self.address).await?;
        let connector = TlsConnector::from(Arc::clone(&self.trust.0));
        connector.connect(self.name.clone(), io).await
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({})", self.authority)
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.authority == other.authority
    }
}
impl Eq for Tls {}

/// The door of an `https` URL, or of an `http` one on this machine; and the URL's path with its query.
pub(crate) fn door_of(url: &str, trust: &Trust) -> Result<(Door, String), Failure> {
    let wrong = |why: &str| {
        Failure::usage(
            format!("`{url}` is no address to speak to: {why}"),
            "an `https` URL; `http` is for this machine alone",
        )
    };
    let uri: http::Uri = url.parse().map_err(|_| wrong("it is no URL"))?;
    let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
    if authority.as_str().contains('@') {
        return Err(wrong("it names a user"));
    }
    let path = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let host = authority.host();
    match uri.scheme_str() {
        Some("https") => {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            let name = ServerName::try_from(bare.to_owned());
            let name = name.map_err(|_| wrong("its host has no name that a certificate could"))?;
            let port = authority.port_u16().unwrap_or(443);
            Ok((
                Door::Tls(Tls {
                    authority: authority.to_string(),
                    address: format!("{host}:{port}"),
                    name,
                    trust: trust.clone(),
                }),
                path,
            ))
        }
        Some("http") if matches!(host, "127.0.0.1" | "localhost" | "[::1]") => {
            let port = authority.port_u16().unwrap_or(80);
            Ok((Door::Tcp(format!("{host}:{port}")), path))
        }
        Some("http") => Err(wrong("it is not encrypted")),
        Some(_) | None => Err(wrong("it is neither `https` nor `http`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_encrypted_or_on_this_machine_is_spoken_to() {
        let trust = Trust::of(None).unwrap();
        for (url, shown, path) in [
            ("https://id.example/a?b=c", "https://id.example", "/a?b=c"),
            ("https://id.example:8443", "https://id.example:8443", "/"),
            ("https://[::1]:1/", "https://[::1]:1", "/"),
            ("http://127.0.0.1:7701", "http://127.0.0.1:7701", "/"),
            ("http://localhost/x", "http://localhost:80", "/x"),
        ] {
            let (door, found) = door_of(url, &trust).unwrap();
            assert_eq!((door.to_string().as_str(), found.as_str()), (shown, path));
        }
        for url in [
            "http://id.example",
            "http://127.0.0.1.example/",
            "http://127.0.0.1@id.example/",
            "https://me@id.example/",
            "ftp://id.example",
            "/operator",
            "id.example",
        ] {
            assert!(door_of(url, &trust).is_err(), "{url}");
        }
    }

    #[test]
    fn certificates_that_are_none_are_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        for text in ["", "nothing"] {
            std::fs::write(&path, text).unwrap();
            assert!(Trust::of(Some(&path)).is_err(), "{text}");
        }
    }
}
