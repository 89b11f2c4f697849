//! The key of an agent (RFC 9449): drawn when the process starts, never on disk, gone with it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use mandate_ports::{Clock, ProofSigner};
use mandate_token::dpop::{HttpTarget, ProofRequest, UnsignedProof};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::http::{CALL, Door, HttpError};
use crate::proof_key::ProofKey;
use crate::serve::machine::{SystemClock, random_hex};

/// A key of this process, and the nonces that servers gave for proofs of it.
pub(crate) struct Holder {
    key: ProofKey,
    /// By scheme and authority.
    nonces: Mutex<HashMap<String, String>>,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProofFailure {
    /// The address is none.
    #[error("`{0}` is no address that a proof could be for: `http(s)://HOST/PATH`")]
    Address(String),
    /// The library failed.
    #[error("no key could be made or used")]
    Key,
    /// The process that has the key does not answer.
    #[error("`mandate exec`, which has the key, gives no proof: {0}")]
    Lent(#[from] HttpError),
    /// It answers something else.
    #[error("`mandate exec`, which has the key, gives no proof: {0}")]
    Answer(String),
}

/// What a proof is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// The request's method.
    pub(crate) method: String,
    /// Its address.
    pub(crate) url: String,
    /// The access token beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) access_token: Option<String>,
    /// The task token beside it, at a gateway that exchanges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) task_token: Option<String>,
    /// The nonce that its server gave last, where whoever asks knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nonce: Option<String>,
}

/// A proof on its way to whoever asked for it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Given {
    /// The proof.
    pub(crate) proof: String,
}

impl Holder {
    /// A new key.
    pub(crate) fn generate() -> Result<Self, ProofFailure> {
        Ok(Self {
            key: ProofKey::generate().map_err(|_| ProofFailure::Key)?,
            nonces: Mutex::default(),
        })
    }

    /// A proof, another one each time, with the nonce that is known for its server.
    pub(crate) fn prove(&self, wanted: &Wanted) -> Result<String, ProofFailure> {
        let malformed = || ProofFailure::Address(wanted.url.clone());
        let target = HttpTarget::parse(&wanted.url).map_err(|_| malformed())?;
        if let Some(nonce) = &wanted.nonce {
            self.learn(&target, nonce);
        }
        let nonce = self.nonces().get(origin(&target)).cloned();
        let unsigned = UnsignedProof::of(&ProofRequest {
            point: &self.key.point(),
            jti: &random_hex(),
            method: &wanted.method,
            target: &target,
            now: SystemClock.now(),
            access_token: wanted.access_token.as_deref(),
            task_token: wanted.task_token.as_deref(),
            nonce: nonce.as_deref(),
        });
        let signature = self.key.sign_proof(unsigned.signing_input());
        let signature = signature.map_err(|_| ProofFailure::Key)?;
        Ok(unsigned.assemble(&signature))
    }

    /// The nonce for the next proof for the server of `target`.
    fn learn(&self, target: &HttpTarget, nonce: &str) {
        let mut nonces = self.nonces();
        // More servers than any agent speaks to.
        if nonces.len() >= MOST_SERVERS {
            nonces.clear();
        }
        nonces.insert(origin(target).to_owned(), nonce.to_owned());
    }

    fn nonces(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.nonces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Holder(…)")
    }
}

/// Scheme and authority: who gives a nonce.
fn origin(target: &HttpTarget) -> &str {
    let text = target.as_str();
    let authority = text.find("://").map_or(0, |at| at + 3);
    let path = text.get(authority..).and_then(|rest| rest.find('/'));
    let end = path.map_or(text.len(), |at| authority + at);
    text.get(..end).unwrap_or(text)
}

/// Who makes the proofs of an agent.
#[derive(Debug, Clone)]
pub(crate) enum Prover {
    /// This process has the key.
    Own(Arc<Holder>),
    /// `mandate exec` has it, behind this door.
    Lent(Door),
}

impl Prover {
    /// A proof.
    pub(crate) async fn prove(&self, wanted: &Wanted) -> Result<String, ProofFailure> {
        let door = match self {
            Prover::Own(holder) => return holder.prove(wanted),
            Prover::Lent(door) => door,
        };
        let answer = |why: &dyn fmt::Display| ProofFailure::Answer(why.to_string());
        let body = serde_json::to_value(wanted).map_err(|e| answer(&e))?;
        let given = door.call(door.json("/proof", &body)?, CALL).await?;
        if !given.status.is_success() {
            return Err(answer(&given.status));
        }
        let given: Given = serde_json::from_slice(&given.body).map_err(|e| answer(&e))?;
        Ok(given.proof)
    }
}

/// A key and the authority that it is proved to: `htu` is the address that the authority was
/// configured with, whatever door it is spoken to through.
#[derive(Debug)]
pub(crate) struct Possession {
    pub(crate) prover: Prover,
    issuer: OnceCell<String>,
}

impl Possession {
    pub(crate) fn of(prover: Prover) -> Self {
        Self {
            prover,
            issuer: OnceCell::new(),
        }
    }

    /// The address of `path` at the authority behind `door`.
    pub(crate) async fn address(&self, door: &Door, path: &str) -> Result<String, ProofFailure> {
        let issuer = self.issuer.get_or_try_init(|| issuer_of(door)).await?;
        Ok(format!("{}{path}", issuer.trim_end_matches('/')))
    }
}

/// RFC 8414 §3.2.
async fn issuer_of(door: &Door) -> Result<String, ProofFailure> {
    let request = door.get("/.well-known/oauth-authorization-server")?;
    let answer = door.call(request, CALL).await?;
    #[derive(Deserialize)]
    struct Metadata {
        issuer: String,
    }
    let metadata: Result<Metadata, _> = serde_json::from_slice(&answer.body);
    metadata
        .map(|metadata| metadata.issuer)
        .map_err(|e| ProofFailure::Answer(format!("the authority's metadata: {e}")))
}

const MOST_SERVERS: usize = 1_000;

#[cfg(test)]
mod tests {
    use mandate_token::dpop::UnverifiedProof;

    use super::*;

    #[test]
    fn a_nonce_is_for_the_server_that_gave_it() {
        let holder = Holder::generate().unwrap();
        let nonce_in = |url: &str, nonce: Option<&str>| {
            let wanted = Wanted {
                method: "GET".to_owned(),
                url: url.to_owned(),
                access_token: None,
                task_token: None,
                nonce: nonce.map(str::to_owned),
            };
            let proof = holder.prove(&wanted).unwrap();
            let proof = UnverifiedProof::parse(&proof).unwrap();
            proof.untrusted_nonce().map(str::to_owned)
        };
        assert_eq!(nonce_in("https://a.example/x", None), None);
        let given = Some("n-1".to_owned());
        assert_eq!(nonce_in("https://a.example/x", Some("n-1")), given);
        assert_eq!(nonce_in("https://a.example:443/y?z", None), given);
        assert_eq!(nonce_in("https://a.example:8443/x", None), None);
        assert_eq!(nonce_in("http://a.example/x", None), None);
    }
}
