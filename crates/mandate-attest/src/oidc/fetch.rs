//! Fetching an issuer's documents: bounded in time and size, never redirected.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use mandate_token::{IdTokenKeys, JwksError};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::Source;

/// Certificates that cannot be trusted roots.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the additional certificates for OpenID providers are unusable: {0}")]
pub struct UnusableRoots(String);

/// Why an issuer's keys cannot be had. For the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("`{0}` is no address that keys are fetched from: `https`, or `http` on this machine")]
    Address(String),
    #[error("no answer from `{0}` in time")]
    Timeout(Uri),
    #[error("no whole answer from `{0}`: {1}")]
    Transport(Uri, String),
    #[error("`{0}` answered with status {1} (redirects are not followed)")]
    Status(Uri, u16),
    #[error("the discovery document of `{0}` is malformed: {1}")]
    Discovery(String, String),
    #[error("the discovery document of `{0}` names another issuer (OpenID Connect Discovery §4.3)")]
    Issuer(String),
    #[error(transparent)]
    Keys(#[from] JwksError),
}

/// An HTTP client for issuers.
pub(super) struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    timeout: Duration,
}

impl Fetcher {
    /// A client that trusts the public authorities and those of `extra_roots` (PEM).
    pub(super) fn new(extra_roots: &[u8], timeout: Duration) -> Result<Self, UnusableRoots> {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls_config(extra_roots)?)
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .build();
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        Ok(Self { client, timeout })
    }

    /// The keys of an issuer, from where they are declared or where its discovery document says.
    pub(super) async fn keys(&self, source: &Source) -> Result<IdTokenKeys, FetchError> {
        let jwks_uri = match &source.jwks_uri {
            Some(declared) => address(declared, is_loopback(&source.issuer))?,
            None => self.discover(&source.issuer).await?,
        };
        Ok(IdTokenKeys::from_jwks(&self.get(jwks_uri).await?)?)
    }

    async fn discover(&self, issuer: &str) -> Result<Uri, FetchError> {
        let base = issuer.strip_suffix('/').unwrap_or(issuer);
        let place = format!("{base}/.well-known/openid-configuration");
        let document = self.get(address(&place, is_loopback(issuer))?).await?;
        let discovery: Discovery = serde_json::from_slice(&document)
            .map_err(|e| FetchError::Discovery(issuer.to_owned(), e.to_string()))?;
        if discovery.issuer != issuer {
            return Err(FetchError::Issuer(issuer.to_owned()));
        }
        address(&discovery.jwks_uri, is_loopback(issuer))
    }

    async fn get(&self, uri: Uri) -> Result<Bytes, FetchError> {
        tokio::time::timeout(self.timeout, self.get_untimed(uri.clone()))
            .await
            .unwrap_or(Err(FetchError::Timeout(uri)))
    }

    async fn get_untimed(&self, uri: Uri) -> Result<Bytes, FetchError> {
        let failed = |e: &dyn std::fmt::Display| FetchError::Transport(uri.clone(), e.to_string());
        let response = self.client.get(uri.clone()).await.map_err(|e| failed(&e))?;
        if response.status() != http::StatusCode::OK {
            let status = response.status().as_u16();
            return Err(FetchError::Status(uri, status));
        }
        let body = Limited::new(response.into_body(), MAX_BYTES).collect();
        Ok(body.await.map_err(|e| failed(&e))?.to_bytes())
    }
}

#[derive(serde::Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// Plain HTTP is for an issuer on this machine, and only for it: an issuer elsewhere must not make
/// us speak to what listens here.
fn address(text: &str, issuer_is_loopback: bool) -> Result<Uri, FetchError> {
    let malformed = || FetchError::Address(text.chars().take(200).collect());
    let uri: Uri = text.parse().map_err(|_| malformed())?;
    let allowed = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => issuer_is_loopback && is_loopback(text),
        Some(_) | None => false,
    };
    if allowed { Ok(uri) } else { Err(malformed()) }
}

fn is_loopback(text: &str) -> bool {
    let uri: Option<Uri> = text.parse().ok();
    uri.is_some_and(|uri| {
        uri.scheme_str() == Some("http")
            && matches!(uri.host(), Some("127.0.0.1" | "localhost" | "[::1]"))
    })
}

fn tls_config(extra_roots: &[u8]) -> Result<rustls::ClientConfig, UnusableRoots> {
    let unusable = |e: &dyn std::fmt::Display| UnusableRoots(e.to_string());
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for certificate in CertificateDer::pem_slice_iter(extra_roots) {
        let certificate = certificate.map_err(|e| unusable(&e))?;
        roots.add(certificate).map_err(|e| unusable(&e))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| unusable(&e))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

const MAX_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_issuers_on_this_machine() {
        let fits = |text, loopback| address(text, loopback).is_ok();
        assert!(fits("https://login.example/keys", false));
        assert!(fits("http://127.0.0.1:8080/keys", true));
        assert!(!fits("http://127.0.0.1:8080/keys", false), "not for others");
        assert!(!fits("http://login.example/keys", true));
        assert!(!fits("http://127.0.0.1.evil.example/keys", true));
        assert!(!fits("http://127.0.0.1@evil.example/keys", true));
        assert!(!fits("file:///etc/passwd", true));
        assert!(!fits("/keys", true));
    }
}
