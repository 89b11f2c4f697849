//! Opening a connection to an upstream.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use mandate_ports::Origin;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

use super::pool::Sender;
use crate::lease::Lease;
use crate::socket::{GuardedIo, Socket};

/// How upstreams prove who they are. Local configuration pins it per origin (C4).
pub trait UpstreamTls: Send + Sync {
    /// The client configuration for `origin`, whose server workload names the authority `ca` if it
    /// names one; an error text for the log if there is none, as there must be for a name that local
    /// configuration does not map. ALPN is set by the gateway.
    fn client_config(
        &self,
        origin: &Origin,
        ca: Option<&str>,
    ) -> Result<Arc<rustls::ClientConfig>, String>;
}

/// Where a connection leads, and by whom its end proves what it is. Connections that differ in
/// either are never taken for each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) origin: Origin,
    /// The authority that the server workload names.
    pub(crate) ca: Option<String>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the upstream cannot be reached")]
    Tcp(#[source] std::io::Error),
    #[error("the upstream did not answer in time")]
    Timeout,
    #[error("the upstream does not prove who it is")]
    Tls(#[source] std::io::Error),
    #[error("there is no TLS trust configured for the upstream: {0}")]
    NoTrust(String),
    #[error("the upstream does not speak HTTP")]
    Http(#[source] hyper::Error),
}

/// Which HTTP a connection may speak.
#[derive(Debug, Clone, Copy)]
pub(super) enum Speaking {
    /// What the upstream prefers, where TLS lets it say so.
    Either,
    /// HTTP/1.1.
    Http1,
}

/// Opens one connection within `limit`.
pub(super) async fn connect(
    place: &Place,
    trust: Trust<'_>,
    lease: &Arc<Lease>,
    speaking: Speaking,
    limit: Duration,
) -> Result<(Sender, Arc<Socket>), ConnectError> {
    tokio::time::timeout(limit, connect_unbounded(place, trust, lease, speaking))
        .await
        .unwrap_or(Err(ConnectError::Timeout))
}

/// Whom an upstream's certificate is trusted from; `None` where there is no TLS.
pub(super) type Trust<'a> = Option<&'a Arc<rustls::ClientConfig>>;

/// What proves the upstream at `place`, as local configuration says it now.
pub(super) fn trust_in(
    place: &Place,
    tls: &dyn UpstreamTls,
) -> Result<Option<Arc<rustls::ClientConfig>>, ConnectError> {
    if place.origin.scheme != "https" {
        return Ok(None);
    }
    tls.client_config(&place.origin, place.ca.as_deref())
        .map(Some)
        .map_err(ConnectError::NoTrust)
}

async fn connect_unbounded(
    place: &Place,
    trust: Trust<'_>,
    lease: &Arc<Lease>,
    speaking: Speaking,
) -> Result<(Sender, Arc<Socket>), ConnectError> {
    let origin = &place.origin;
    let stream = TcpStream::connect((origin.host.as_str(), origin.port))
        .await
        .map_err(ConnectError::Tcp)?;
    stream.set_nodelay(true).map_err(ConnectError::Tcp)?;
    let (socket, io) = Socket::guard(stream, Arc::clone(lease));
    let sender = match trust {
        Some(trust) => over_tls(origin, trust, speaking, io).await?,
        None => http1(io).await?,
    };
    Ok((sender, socket))
}

async fn over_tls(
    origin: &Origin,
    trust: &Arc<rustls::ClientConfig>,
    speaking: Speaking,
    io: GuardedIo,
) -> Result<Sender, ConnectError> {
    let mut config = (**trust).clone();
    config.alpn_protocols = match speaking {
        Speaking::Either => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Speaking::Http1 => vec![b"http/1.1".to_vec()],
    };
    let name = ServerName::try_from(origin.host.clone())
        .map_err(|_| ConnectError::NoTrust("the host is no name or address".to_owned()))?;
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, io)
        .await
        .map_err(ConnectError::Tls)?;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2(stream).await
    } else {
        http1(stream).await
    }
}

async fn http1<T>(io: T) -> Result<Sender, ConnectError>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_headers(MAX_RESPONSE_HEADERS)
        .handshake(TokioIo::new(io))
        .await
        .map_err(ConnectError::Http)?;
    tokio::spawn(async move {
        if let Err(why) = connection.with_upgrades().await {
            tracing::debug!(%why, "an upstream connection ended");
        }
    });
    Ok(Sender::Http1(sender))
}

async fn http2<T>(io: T) -> Result<Sender, ConnectError>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .handshake(TokioIo::new(io))
        .await
        .map_err(ConnectError::Http)?;
    tokio::spawn(async move {
        if let Err(why) = connection.await {
            tracing::debug!(%why, "an upstream connection ended");
        }
    });
    Ok(Sender::Http2(sender))
}

const MAX_RESPONSE_HEADERS: usize = 128;
