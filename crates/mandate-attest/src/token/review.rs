//! Kubernetes' own word on a service account token (`TokenReview`, authentication.k8s.io/v1).
//!
//! Only an API server knows that a pod or a service account is gone (FAILURES 26). It remembers what
//! it reviewed for about ten seconds, so a deletion shows with that delay.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use mandate_policy::decl::ClaimPath;
use mandate_ports::AttestRefusal;
use mandate_token::{EvidenceToken, check_json};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::http::{HttpClient, Roots, UnusableRoots};

/// How the authority reaches an API server: from its own configuration, never from a bundle, since it
/// says where a credential is sent (C4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterAccess {
    /// The `https` URL, as the bundle's `apiServer` says it.
    pub server: String,
    /// The certificates (PEM) that may have signed its own, those alone; without any, the public
    /// web's.
    pub ca: Option<Vec<u8>>,
    /// The file with the token of a service account that may create token reviews. Read again for
    /// each review, since the kubelet replaces it.
    pub token: PathBuf,
}

/// The API servers that review tokens.
#[derive(Default)]
pub struct Clusters(HashMap<String, Arc<Cluster>>);

struct Cluster {
    client: HttpClient,
    token: PathBuf,
    limiter: DefaultDirectRateLimiter,
    turns: Semaphore,
}

/// Of whom an API server says that a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reviewed {
    username: String,
    uid: String,
    extra: HashMap<String, Vec<String>>,
}

impl Clusters {
    /// The clusters that can be asked.
    pub fn new(access: Vec<ClusterAccess>) -> Result<Self, UnusableRoots> {
        let made = access.into_iter().map(|access| {
            let roots = access.ca.as_deref();
            let roots = roots.map_or(Roots::PublicAnd(b""), Roots::Only);
            let client = HttpClient::new(&roots, TIMEOUT)?;
            let cluster = Cluster {
                client,
                token: access.token,
                limiter: RateLimiter::direct(Quota::per_second(PER_SECOND)),
                turns: Semaphore::new(TURNS),
            };
            Ok((access.server, Arc::new(cluster)))
        });
        made.collect::<Result<_, _>>().map(Self)
    }

    /// Asks the API server at `server` about `token`.
    pub(super) async fn review(
        &self,
        server: &str,
        token: &str,
        audience: &str,
    ) -> Result<Reviewed, AttestRefusal> {
        let unavailable = |why: String| {
            tracing::warn!(server, why, "a token review was not possible");
            AttestRefusal::Unavailable(format!("`{server}`: {why}"))
        };
        let cluster = self.0.get(server).ok_or_else(|| {
            unavailable("the authority's attest.yaml has no credentials for it".to_owned())
        })?;
        // Anybody can send forged tokens: they must not become a flood at the API server.
        if cluster.limiter.check().is_err() {
            return Err(unavailable("too many tokens are shown at once".to_owned()));
        }
        let turn = cluster.turns.acquire().await;
        let _turn = turn.map_err(|e| unavailable(e.to_string()))?;
        let answer = cluster.ask(server, token, audience).await;
        read(&answer.map_err(unavailable)?, audience, unavailable)
    }
}

impl Cluster {
    async fn ask(&self, server: &str, token: &str, audience: &str) -> Result<Bytes, String> {
        let own = self.own_token().await?;
        let base = server.strip_suffix('/').unwrap_or(server);
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        });
        let request = Request::post(format!("{base}/apis/authentication.k8s.io/v1/tokenreviews"))
            .header(AUTHORIZATION, own)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(review.to_string()))
            .map_err(|e| e.to_string())?;
        let (status, body) = self.client.call(request).await.map_err(|e| e.to_string())?;
        // It answers a creation with 201, and some that stand in front of it with 200.
        if status == StatusCode::CREATED || status == StatusCode::OK {
            return Ok(body);
        }
        Err(match status {
            StatusCode::UNAUTHORIZED => "our own service account token is not accepted".to_owned(),
            StatusCode::FORBIDDEN => {
                "our own service account may not create token reviews: bind it to `system:auth-delegator`".to_owned()
            }
            other => format!("it answered with status {}", other.as_u16()),
        })
    }

    async fn own_token(&self) -> Result<HeaderValue, String> {
        let shown = self.token.display();
        let read = tokio::fs::read_to_string(&self.token).await;
        let text = read.map_err(|e| format!("`{shown}`: {e}"))?;
        let value = HeaderValue::try_from(format!("Bearer {}", text.trim()));
        let mut value = value.map_err(|_| format!("`{shown}` holds no token"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Reads a review strictly: everything that is not a clear yes is a no (FAILURES 27).
fn read(
    body: &[u8],
    audience: &str,
    unavailable: impl Fn(String) -> AttestRefusal,
) -> Result<Reviewed, AttestRefusal> {
    check_json(body).map_err(|e| unavailable(e.to_string()))?;
    let review: Review =
        serde_json::from_slice(body).map_err(|e| unavailable(format!("its answer: {e}")))?;
    if review.kind != "TokenReview" {
        return Err(unavailable("it answered with something else".to_owned()));
    }
    let no = |why: &str| AttestRefusal::Broken(why.to_owned());
    let status = review.status;
    if !status.authenticated || !status.error.is_empty() {
        tracing::debug!(error = status.error, "a token review said no");
        return Err(no(
            "the cluster does not vouch for this token, or not any more",
        ));
    }
    if !status.audiences.iter().any(|one| one == audience) {
        return Err(no(
            "the cluster did not check that the token is for this audience",
        ));
    }
    let user = status
        .user
        .ok_or_else(|| unavailable("it names nobody".to_owned()))?;
    Ok(Reviewed {
        username: user.username,
        uid: user.uid,
        extra: user.extra,
    })
}

impl Reviewed {
    /// The claims are what the API server says of the token: it may know other kinds of tokens, whose
    /// claims it has not looked at.
    pub(super) fn check_agrees(&self, token: &EvidenceToken) -> Result<(), AttestRefusal> {
        let claim = |path: &str| {
            let found = ClaimPath::parse(path)
                .ok()?
                .find(token.claims())?
                .as_str()?;
            Some(found.to_owned())
        };
        let extra = |name: &str| {
            let values = self
                .extra
                .get(&format!("authentication.kubernetes.io/{name}"))?;
            values.first().cloned()
        };
        let is_service_account = self.username.starts_with("system:serviceaccount:");
        let same_pod = claim("/kubernetes.io/pod/name") == extra("pod-name")
            && claim("/kubernetes.io/pod/uid") == extra("pod-uid");
        // Kubernetes 1.30 and later tell the node; what is told must agree.
        let node = extra("node-name");
        let same_node = node.is_none() || node == claim("/kubernetes.io/node/name");
        let agrees = is_service_account
            && self.username == token.subject()
            && Some(&self.uid) == claim("/kubernetes.io/serviceaccount/uid").as_ref()
            && same_pod
            && same_node;
        let why = "the cluster says of the token another service account, pod or node than it does";
        agrees
            .then_some(())
            .ok_or_else(|| AttestRefusal::Broken(why.to_owned()))
    }
}

#[derive(serde::Deserialize)]
struct Review {
    kind: String,
    status: Status,
}

#[derive(serde::Deserialize)]
struct Status {
    #[serde(default)]
    authenticated: bool,
    #[serde(default)]
    error: String,
    #[serde(default)]
    audiences: Vec<String>,
    #[serde(default)]
    user: Option<User>,
}

#[derive(serde::Deserialize)]
struct User {
    /// Absent where nobody was authenticated.
    #[serde(default)]
    username: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    extra: HashMap<String, Vec<String>>,
}

const TIMEOUT: Duration = Duration::from_secs(5);
const TURNS: usize = 16;
const PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(49);
