//! Kubernetes' own word on a service account token (`TokenReview`, authentication.k8s.io/v1).
//!
//! Only an API server knows that a pod or a service account is gone (FAILURES 26). It remembers what
//! it reviewed for about ten seconds, so a deletion shows with that delay.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;
use mandate_policy::decl::ClaimPath;
use mandate_ports::{AttestRefusal, Clock};
use mandate_token::{EvidenceRules, EvidenceToken, IdTokenKeys, check_json};
use serde_json::json;

use super::Shown;
use crate::http::{CallError, HttpClient, Roots, UnusableRoots};
use crate::oidc::{FetchError, FetchKeys, Fetched, KeyCache, OidcOptions};
use crate::turns::{Shares, Turns, count};

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
pub struct Clusters(HashMap<String, Cluster>);

struct Cluster {
    access: Arc<Access>,
    /// Those that it signs with, as it publishes them itself.
    keys: Arc<KeyCache>,
    turns: Turns,
}

struct Access {
    server: String,
    client: HttpClient,
    token: PathBuf,
}

/// On whose behalf an API server was asked.
pub(super) struct Holder(String);

/// Of whom an API server says that a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reviewed {
    username: String,
    uid: String,
    extra: HashMap<String, Vec<String>>,
}

impl Clusters {
    /// The clusters that can be asked. `clock` measures how old their keys are.
    pub fn new(access: Vec<ClusterAccess>, clock: &Arc<dyn Clock>) -> Result<Self, UnusableRoots> {
        let made = access.into_iter().map(|access| {
            let roots = access.ca.as_deref();
            let roots = roots.map_or(Roots::PublicAnd(b""), Roots::Only);
            let client = HttpClient::new(&roots, TIMEOUT)?;
            let (server, token) = (access.server.clone(), access.token);
            let access = Arc::new(Access {
                server,
                client,
                token,
            });
            let (fetch, options) = (Box::new(OwnKeys(access.clone())), OidcOptions::default());
            let keys = KeyCache::new(access.server.clone(), fetch, clock.clone(), &options);
            let cluster = Cluster {
                keys: Arc::new(keys),
                turns: Turns::new(&SHARES),
                access,
            };
            Ok((cluster.access.server.clone(), cluster))
        });
        made.collect::<Result<_, _>>().map(Self)
    }

    /// Asks the API server at `server` about a token that is good by `rules` but for what only it knows.
    /// `wanted` says of a signed one whether it could be an agent's at all. Says on whose behalf it asked.
    pub(super) async fn review(
        &self,
        server: &str,
        shown: &Shown<'_>,
        rules: &EvidenceRules<'_>,
        wanted: impl FnOnce(&EvidenceToken) -> Result<(), AttestRefusal>,
    ) -> Result<(Holder, Reviewed), AttestRefusal> {
        let unavailable = |why: String| {
            tracing::warn!(server, why, "a token review was not possible");
            AttestRefusal::Unavailable(format!("`{server}`: {why}"))
        };
        let cluster = self.0.get(server).ok_or_else(|| {
            unavailable("the authority's attest.yaml has no credentials for it".to_owned())
        })?;
        let holder = cluster.holder(shown, rules, wanted).await?;
        let turn = cluster.turns.take(&holder).await;
        let _turn = turn.map_err(|why| {
            // Anybody can cause it, and must not fill the log.
            tracing::debug!(server, holder, %why, "a token was not reviewed");
            AttestRefusal::Unavailable(format!("`{server}`: {why}"))
        })?;
        let answer = cluster.access.ask(shown.token, rules.audience).await;
        let answer = answer.map_err(unavailable)?;
        let reviewed = read(&answer, rules.audience, unavailable)?;
        Ok((Holder(holder), reviewed))
    }

    /// Remembers that a token of `holder`, shown by `from`, was good that the API server at `server` vouched for:
    /// room is kept for asking about more of them, from there too, since the cluster's keys may be gone then.
    pub(super) fn was_good(
        &self,
        server: &str,
        Holder(holder): &Holder,
        shown: &Shown<'_>,
        subject: &str,
    ) {
        if let Some(cluster) = self.0.get(server) {
            cluster.turns.was_good(subject, holder);
            cluster.turns.was_good(subject, &shown_from(shown));
        }
    }
}

impl Cluster {
    /// On whose behalf it is asked. Anybody can send forged tokens, and any pod has a token that is no agent's;
    /// neither must become a flood at the API server, nor take the turns of honest ones: so signatures are
    /// checked here first, then whether it is `wanted`, and who holds such a token has a share of their own.
    /// Where the cluster does not give its keys, whoever shows it has.
    async fn holder(
        &self,
        shown: &Shown<'_>,
        rules: &EvidenceRules<'_>,
        wanted: impl FnOnce(&EvidenceToken) -> Result<(), AttestRefusal>,
    ) -> Result<String, AttestRefusal> {
        let Some(keys) = self.keys.keys(shown.kid).await else {
            return Ok(shown_from(shown));
        };
        let token = EvidenceToken::verify(shown.token, &keys, rules, shown.now)
            .map_err(|why| AttestRefusal::Broken(why.to_string()))?;
        wanted(&token)?;
        let pod = claim(&token, "/kubernetes.io/pod/uid").unwrap_or_default();
        Ok(format!("{} {pod}", token.subject()))
    }
}

impl Access {
    async fn ask(&self, token: &str, audience: &str) -> Result<Bytes, String> {
        let own = self.own_token().await?;
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        });
        let request = Request::post(self.place("/apis/authentication.k8s.io/v1/tokenreviews"))
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

    fn place(&self, path: &str) -> String {
        let base = self.server.strip_suffix('/').unwrap_or(&self.server);
        format!("{base}{path}")
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

fn shown_from(shown: &Shown<'_>) -> String {
    format!("shown from {}", shown.from.as_str())
}

/// The keys of a cluster, from its API server: the role `system:service-account-issuer-discovery`, which
/// service accounts have by default, may read them.
struct OwnKeys(Arc<Access>);

#[async_trait]
impl FetchKeys for OwnKeys {
    async fn fetch(&self) -> Result<Fetched, FetchError> {
        let Self(access) = self;
        let place = access.place("/openid/v1/jwks");
        let uri: Uri = place.parse().map_err(|_| CallError::Address(place))?;
        let own = access.own_token().await.map_err(FetchError::Credential)?;
        let request = Request::get(uri.clone())
            .header(AUTHORIZATION, own)
            .header(ACCEPT, "application/jwk-set+json, application/json")
            .body(Full::default());
        let request = request.map_err(|e| CallError::Transport(uri.clone(), e.to_string()))?;
        let (status, body) = access.client.call(request).await?;
        if status != StatusCode::OK {
            return Err(FetchError::Status(uri, status.as_u16()));
        }
        let keys = IdTokenKeys::from_jwks(&body)?;
        Ok(Fetched {
            keys,
            hint: None,
            sequence: None,
        })
    }
}

/// Reads a review strictly: everything that is not a clear yes is a no (FAILURES 27).
fn read(
    body: &[u8],
    audience: &str,
    unavailable: impl Fn(String) -> AttestRefusal,
) -> Result<Reviewed, AttestRefusal> {
    // What it says in its own words is for its own log: it may quote the token.
    let no_review = || unavailable("its answer is no review".to_owned());
    check_json(body).map_err(|_| no_review())?;
    let review: Review = serde_json::from_slice(body).map_err(|_| no_review())?;
    if review.kind != "TokenReview" {
        return Err(unavailable("it answered with something else".to_owned()));
    }
    let no = |why: &str| AttestRefusal::Broken(why.to_owned());
    let status = review.status;
    if !status.authenticated || !status.error.is_empty() {
        tracing::debug!(
            authenticated = status.authenticated,
            with_error = !status.error.is_empty(),
            "a token review said no"
        );
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
        let claim = |path: &str| claim(token, path);
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

fn claim(token: &EvidenceToken, path: &str) -> Option<String> {
    let path = ClaimPath::parse(path).ok()?;
    Some(path.find(token.claims())?.as_str()?.to_owned())
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
const SHARES: Shares = Shares {
    each_per_second: count(10),
    each_at_once: count(20),
    all_per_second: count(50),
    turns_of_each: 4,
    turns: 16,
};
