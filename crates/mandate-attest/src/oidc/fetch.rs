//! Fetching the documents that say an issuer's keys.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use mandate_token::{IdTokenKeys, JwksError, SpiffeBundle};
use rustix::fs::{Mode, OFlags};

use super::Source;
use crate::http::{CallError, HttpClient, Roots, UnusableRoots, address, is_loopback};

/// Why an issuer's keys cannot be had. For the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("`{0}` answered with status {1} (redirects are not followed)")]
    Status(Uri, u16),
    #[error("the discovery document of `{0}` is malformed: {1}")]
    Discovery(String, String),
    #[error("the discovery document of `{0}` names another issuer (OpenID Connect Discovery §4.3)")]
    Issuer(String),
    #[error("`{0}` cannot be read as a bundle: {1}")]
    File(String, String),
    #[error("our own credential: {0}")]
    Credential(String),
    #[error(transparent)]
    Keys(#[from] JwksError),
    #[error("the bundle's `spiffe_sequence` is {}, and it was {seen} (SPIFFE Trust Domain and Bundle §4.1.1): an older bundle is not taken", told(*.now))]
    WentBack {
        /// `None` where it says none any more.
        now: Option<u64>,
        seen: u64,
    },
}

fn told(sequence: Option<u64>) -> String {
    sequence.map_or_else(|| "absent".to_owned(), |sequence| sequence.to_string())
}

/// Keys as they were fetched.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) keys: IdTokenKeys,
    /// When to look again, where the document says it.
    pub(crate) hint: Option<Duration>,
    /// Which of a trust domain's bundles it is, where the document says it.
    pub(crate) sequence: Option<u64>,
}

/// Fetches keys.
pub(super) struct Fetcher {
    client: HttpClient,
}

impl Fetcher {
    /// One that trusts the public authorities and those of `extra_roots` (PEM).
    pub(super) fn new(extra_roots: &[u8], timeout: Duration) -> Result<Self, UnusableRoots> {
        let client = HttpClient::new(&Roots::PublicAnd(extra_roots), timeout)?;
        Ok(Self { client })
    }

    /// The keys of a source, from where they are declared or where its discovery document says.
    pub(super) async fn keys(&self, source: &Source) -> Result<Fetched, FetchError> {
        match source {
            Source::Issuer { issuer, jwks_uri } => {
                let jwks_uri = match jwks_uri {
                    Some(declared) => address(declared, is_loopback(issuer))?,
                    None => self.discover(issuer).await?,
                };
                let keys = IdTokenKeys::from_jwks(&self.get(jwks_uri).await?)?;
                Ok(Fetched {
                    keys,
                    hint: None,
                    sequence: None,
                })
            }
            Source::BundleAt(url) => {
                let place = address(url, is_loopback(url))?;
                bundle(&self.get(place).await?)
            }
            Source::BundleIn(path) => {
                let (path, name) = (path.clone(), path.clone());
                let read = tokio::task::spawn_blocking(move || read_file(&path));
                let unreadable = |why: String| FetchError::File(name, why);
                match read.await {
                    Ok(Ok(bytes)) => bundle(&bytes),
                    Ok(Err(why)) => Err(unreadable(why.to_string())),
                    Err(why) => Err(unreadable(why.to_string())),
                }
            }
        }
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
        Ok(address(&discovery.jwks_uri, is_loopback(issuer))?)
    }

    async fn get(&self, uri: Uri) -> Result<Bytes, FetchError> {
        let request = Request::get(uri.clone()).body(Full::default());
        let request = request.map_err(|e| CallError::Transport(uri.clone(), e.to_string()))?;
        let (status, body) = self.client.call(request).await?;
        if status == StatusCode::OK {
            Ok(body)
        } else {
            Err(FetchError::Status(uri, status.as_u16()))
        }
    }
}

fn bundle(json: &[u8]) -> Result<Fetched, FetchError> {
    let bundle = SpiffeBundle::from_json(json)?;
    Ok(Fetched {
        keys: bundle.keys,
        hint: bundle.refresh_hint.map(Duration::from_secs),
        sequence: bundle.sequence,
    })
}

/// A pipe that nobody writes to must not hold us, nor a device feed us without end.
fn read_file(path: &str) -> std::io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[derive(serde::Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// What is longer is refused as too long a key set.
const MAX_FILE: u64 = 256 * 1024;
