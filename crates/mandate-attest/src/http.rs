//! An HTTP client for those whose word is asked for: bounded in time and size, never redirected.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Certificates that cannot be trusted roots.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the additional certificates for trust providers are unusable: {0}")]
pub struct UnusableRoots(String);

/// Why there is no answer. For the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    #[error("`{0}` is no address that is asked: `https`, or `http` on this machine")]
    Address(String),
    #[error("no answer from `{0}` in time")]
    Timeout(Uri),
    #[error("no whole answer from `{0}`: {1}")]
    Transport(Uri, String),
}

/// Which certificates are trusted.
pub(crate) enum Roots<'a> {
    /// Those of the public web, and these (PEM).
    PublicAnd(&'a [u8]),
    /// These alone (PEM).
    Only(&'a [u8]),
}

/// A client.
pub(crate) struct HttpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
}

impl HttpClient {
    /// A client that trusts `roots` and waits so long for a whole answer.
    pub(crate) fn new(roots: &Roots<'_>, timeout: Duration) -> Result<Self, UnusableRoots> {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls_config(roots)?)
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .build();
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        Ok(Self { client, timeout })
    }

    /// The answer to `request`, whatever its status; a redirect is an answer like others.
    pub(crate) async fn call(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), CallError> {
        let uri = request.uri().clone();
        tokio::time::timeout(self.timeout, self.call_untimed(request))
            .await
            .unwrap_or(Err(CallError::Timeout(uri)))
    }

    async fn call_untimed(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), CallError> {
        let uri = request.uri().clone();
        let failed = |e: &dyn std::fmt::Display| CallError::Transport(uri.clone(), e.to_string());
        let sent = self.client.request(request).await;
        let response = sent.map_err(|e| failed(&e))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BYTES).collect();
        Ok((status, body.await.map_err(|e| failed(&e))?.to_bytes()))
    }
}

/// Plain HTTP is for what is on this machine, and only where who sends us there is on it too: an
/// issuer elsewhere must not make us speak to what listens here.
pub(crate) fn address(text: &str, sender_is_loopback: bool) -> Result<Uri, CallError> {
    let malformed = || CallError::Address(text.chars().take(200).collect());
    let uri: Uri = text.parse().map_err(|_| malformed())?;
    let allowed = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => sender_is_loopback && is_loopback(text),
        Some(_) | None => false,
    };
    if allowed { Ok(uri) } else { Err(malformed()) }
}

pub(crate) fn is_loopback(text: &str) -> bool {
    let uri: Option<Uri> = text.parse().ok();
    uri.is_some_and(|uri| {
        uri.scheme_str() == Some("http")
            && matches!(uri.host(), Some("127.0.0.1" | "localhost" | "[::1]"))
    })
}

fn tls_config(trusted: &Roots<'_>) -> Result<rustls::ClientConfig, UnusableRoots> {
    let unusable = |e: &dyn std::fmt::Display| UnusableRoots(e.to_string());
    let mut roots = RootCertStore::empty();
    let pem = match trusted {
        Roots::PublicAnd(pem) => {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            pem
        }
        Roots::Only(pem) => pem,
    };
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|e| unusable(&e))?;
        roots.add(certificate).map_err(|e| unusable(&e))?;
    }
    if roots.is_empty() {
        return Err(unusable(&"there is no certificate in it"));
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

    #[test]
    fn a_client_that_would_trust_nobody_is_an_error() {
        let timeout = Duration::from_secs(1);
        assert!(HttpClient::new(&Roots::Only(b""), timeout).is_err());
    }
}
