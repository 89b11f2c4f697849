//! The agent's side of the authority: attest, open, delegate, renew, resume, access, close
//! (`docs/tokens.md`). Tokens are opaque here and live in memory alone.

use std::sync::Arc;
use std::time::Duration;

use mandate_model::{Secret, SpiffeId, TaskId, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::holder::{Possession, ProofFailure, Prover};
use super::http::{Door, HttpError};
use super::lifetime;
use super::members::Members;
use super::way::{Way, post};

/// An agent that speaks to the authority through one door.
#[derive(Debug)]
pub(crate) struct Agent {
    way: Way,
}

/// An agent that has proved what it is.
#[derive(Debug)]
pub(crate) struct Attested {
    way: Way,
    svid: Secret<String>,
    /// What it is.
    pub(crate) id: SpiffeId,
    /// How long the proof lives.
    pub(crate) lifetime: Duration,
}

/// A token and how long it lives.
#[derive(Debug)]
pub(crate) struct Token {
    /// The token itself.
    pub(crate) text: Secret<String>,
    /// From now on.
    pub(crate) lifetime: Duration,
    /// `DPoP` where it is good beside a proof of the agent's key alone, `Bearer`, or `N_A`.
    pub(crate) token_type: String,
    /// Its scope, where it has one.
    pub(crate) scope: String,
}

/// What a root task is opened for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Open {
    /// The purpose, as a `TaskPolicy` names it.
    pub(crate) purpose: String,
    /// The user's ID token; without one the agent works on its own account.
    pub(crate) id_token: Option<String>,
    /// What an agent that works on its own says began it.
    pub(crate) trigger: Option<Value>,
    /// `authorization_details`; all that the policy allows, if `None`.
    pub(crate) access: Option<Value>,
    /// How long, in seconds.
    pub(crate) expires_in: Option<u64>,
    /// `{max_accesses, max_children}`.
    pub(crate) budget: Option<Value>,
}

/// What is handed to a child.
#[derive(Debug, Clone)]
pub(crate) struct Delegate {
    /// The child's SPIFFE ID.
    pub(crate) to: SpiffeId,
    /// `authorization_details`.
    pub(crate) access: Value,
    /// How long, in seconds.
    pub(crate) expires_in: Option<u64>,
    /// `{max_accesses, max_children}`.
    pub(crate) budget: Option<Value>,
}

/// Why an exchange gave nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    /// The authority refused, and says which rule was broken.
    #[error("{description}")]
    Refused {
        /// The OAuth error.
        error: String,
        /// The rule and the mend.
        description: String,
    },
    /// There is no answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// There is no proof of the agent's key.
    #[error(transparent)]
    Proof(#[from] ProofFailure),
    /// The answer is none that this release understands.
    #[error("the authority's answer is not understood: {0}")]
    Answer(String),
}

impl Agent {
    /// Speaks through `door`. Only a Unix socket lets the kernel vouch for a process.
    pub(crate) fn new(door: Door) -> Self {
        let way = Way { door, key: None };
        Self { way }
    }

    /// The same with a key, to which all that it gets is bound.
    pub(crate) fn with_key(door: Door, prover: Prover) -> Self {
        let key = Some(Arc::new(Possession::of(prover)));
        let way = Way { door, key };
        Self { way }
    }

    /// Proves what this process is; the kernel is the witness. `claim` is what it says it is, which
    /// can only make the authority refuse.
    pub(crate) async fn attest(&self, claim: Option<&SpiffeId>) -> Result<Attested, AgentError> {
        let token = token(&self.way, &attest_form(None, claim)).await?;
        let svid = &token.text;
        let about = introspect(&self.way, svid, svid).await?;
        let id = about.at("sub").as_str().unwrap_or_default();
        let id = SpiffeId::parse(id).map_err(|e| AgentError::Answer(e.to_string()))?;
        Ok(Attested {
            way: self.way.clone(),
            id,
            lifetime: token.lifetime,
            svid: token.text,
        })
    }

    /// An agent that was attested before and holds `svid`, whoever shows it `now`.
    pub(crate) async fn with_svid(
        &self,
        svid: Secret<String>,
        now: Timestamp,
    ) -> Result<Attested, AgentError> {
        let about = introspect(&self.way, &svid, &svid).await?;
        let id = about.text("sub").unwrap_or_default();
        let id = SpiffeId::parse(id).map_err(|_| AgentError::Answer(EXPIRED.to_owned()))?;
        Ok(Attested {
            way: self.way.clone(),
            id,
            lifetime: lifetime::left(&about, now),
            svid,
        })
    }

    /// A JWT-SVID of this process for another audience; `claim` as in [`attest`](Self::attest).
    pub(crate) async fn svid_for(
        &self,
        audience: &str,
        claim: Option<&SpiffeId>,
    ) -> Result<Token, AgentError> {
        token(&self.way, &attest_form(Some(audience), claim)).await
    }
}

fn attest_form<'a>(
    audience: Option<&'a str>,
    claim: Option<&'a SpiffeId>,
) -> Vec<(&'static str, Option<&'a str>)> {
    vec![
        ("grant_type", Some(EXCHANGE)),
        ("subject_token", Some("process")),
        ("subject_token_type", Some(PROCESS)),
        ("audience", audience),
        ("requested_actor", claim.map(SpiffeId::as_str)),
    ]
}

impl Attested {
    /// The JWT-SVID. Where it goes from here is the caller's responsibility.
    pub(crate) fn svid(&self) -> &str {
        self.svid.expose()
    }

    /// Who proves its key, if it has one.
    pub(crate) fn prover(&self) -> Option<&Prover> {
        self.way.key.as_ref().map(|key| &key.prover)
    }

    fn domain(&self) -> String {
        format!("spiffe://{}", self.id.trust_domain())
    }

    /// Opens a root task.
    pub(crate) async fn open(&self, open: &Open) -> Result<Token, AgentError> {
        let details = compact(json!({
            "purpose": open.purpose,
            "trigger": open.trigger,
            "expires_in": open.expires_in,
            "budget": open.budget,
        }));
        let (subject, kind) = match &open.id_token {
            Some(token) => (token.as_str(), ID_TOKEN),
            None => (self.svid(), JWT),
        };
        let access = open.access.as_ref().map(Value::to_string);
        self.exchange(&[
            ("subject_token", Some(subject)),
            ("subject_token_type", Some(kind)),
            ("requested_token_type", Some(TXN_TOKEN)),
            ("audience", Some(&self.domain())),
            ("authorization_details", access.as_deref()),
            ("request_details", Some(&details)),
        ])
        .await
    }

    /// Hands a part of the task of `parent` to another agent.
    pub(crate) async fn delegate(
        &self,
        parent: &str,
        delegate: &Delegate,
    ) -> Result<Token, AgentError> {
        let details = compact(json!({
            "expires_in": delegate.expires_in,
            "budget": delegate.budget,
        }));
        let access = delegate.access.to_string();
        self.exchange(&[
            ("subject_token", Some(parent)),
            ("subject_token_type", Some(TXN_TOKEN)),
            ("requested_token_type", Some(TXN_TOKEN)),
            ("audience", Some(&self.domain())),
            ("requested_actor", Some(delegate.to.as_str())),
            ("authorization_details", Some(&access)),
            ("request_details", Some(&details)),
        ])
        .await
    }

    /// Another token of the same task, while the present one lives.
    pub(crate) async fn renew(&self, task: &str) -> Result<Token, AgentError> {
        self.exchange(&[
            ("subject_token", Some(task)),
            ("subject_token_type", Some(TXN_TOKEN)),
            ("requested_token_type", Some(TXN_TOKEN)),
            ("audience", Some(&self.domain())),
        ])
        .await
    }

    /// Another token of a task whose token is lost: a root task of one's own, or a child's by its
    /// parent's token.
    pub(crate) async fn resume(
        &self,
        task: TaskId,
        parent: Option<&str>,
    ) -> Result<Token, AgentError> {
        let (subject, kind) = match parent {
            Some(token) => (token, TXN_TOKEN),
            None => (self.svid(), JWT),
        };
        let details = json!({ "task": task }).to_string();
        self.exchange(&[
            ("subject_token", Some(subject)),
            ("subject_token_type", Some(kind)),
            ("requested_token_type", Some(TXN_TOKEN)),
            ("audience", Some(&self.domain())),
            ("request_details", Some(&details)),
        ])
        .await
    }

    /// A token for one server workload.
    pub(crate) async fn access(&self, task: &str, resource: &str) -> Result<Token, AgentError> {
        self.exchange(&[
            ("subject_token", Some(task)),
            ("subject_token_type", Some(TXN_TOKEN)),
            ("resource", Some(resource)),
        ])
        .await
    }

    /// The task of a task token, and the tree below it.
    pub(crate) async fn show(&self, task: &str) -> Result<Value, AgentError> {
        self.post("/task/show", &[("token", Some(task))]).await
    }

    /// Ends the task of a task token, or `child` below it.
    pub(crate) async fn close(
        &self,
        task: &str,
        child: Option<TaskId>,
    ) -> Result<Value, AgentError> {
        let child = child.map(|id| id.to_string());
        let pairs = [("token", Some(task)), ("task", child.as_deref())];
        self.post("/task/close", &pairs).await
    }

    /// What the authority says about a token of this agent (RFC 7662).
    pub(crate) async fn introspect(&self, token: &Secret<String>) -> Result<Value, AgentError> {
        introspect(&self.way, token, &self.svid).await
    }

    async fn post(&self, path: &str, pairs: &[(&str, Option<&str>)]) -> Result<Value, AgentError> {
        let mut form = pairs.to_vec();
        form.extend(client(self.svid()));
        post(&self.way, path, &form).await
    }

    async fn exchange(&self, pairs: &[(&str, Option<&str>)]) -> Result<Token, AgentError> {
        let mut form = vec![("grant_type", Some(EXCHANGE))];
        form.extend_from_slice(pairs);
        form.extend(client(self.svid()));
        token(&self.way, &form).await
    }
}

/// Client authentication (draft-ietf-oauth-spiffe-client-auth-02 §3.1).
fn client(svid: &str) -> [(&'static str, Option<&str>); 2] {
    [
        ("client_assertion_type", Some(JWT_SPIFFE)),
        ("client_assertion", Some(svid)),
    ]
}

async fn introspect(
    way: &Way,
    token: &Secret<String>,
    svid: &Secret<String>,
) -> Result<Value, AgentError> {
    let mut form = vec![("token", Some(token.expose().as_str()))];
    form.extend(client(svid.expose()));
    post(way, "/introspect", &form).await
}

async fn token(way: &Way, form: &[(&str, Option<&str>)]) -> Result<Token, AgentError> {
    let answer: Issued = serde_json::from_value(post(way, "/token", form).await?)
        .map_err(|e| AgentError::Answer(e.to_string()))?;
    Ok(Token {
        text: Secret::new(answer.access_token),
        lifetime: Duration::from_secs(answer.expires_in),
        token_type: answer.token_type,
        scope: answer.scope,
    })
}

/// A JSON object without the members that are null.
fn compact(mut value: Value) -> String {
    if let Some(members) = value.as_object_mut() {
        members.retain(|_, member| !member.is_null());
    }
    value.to_string()
}

/// RFC 8693 §2.2.1.
#[derive(Deserialize)]
struct Issued {
    access_token: String,
    #[serde(default)]
    token_type: String,
    #[serde(default)]
    expires_in: u64,
    #[serde(default)]
    scope: String,
}

const EXPIRED: &str = "it does not know this JWT-SVID";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT_SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
const PROCESS: &str = "urn:mandate:token-type:process";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const TXN_TOKEN: &str = "urn:ietf:params:oauth:token-type:txn_token";
