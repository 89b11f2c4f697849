//! Asking the authority.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Response, StatusCode};
use mandate_model::{GatewayId, Secret, Thumbprint};
use mandate_ports::{Entropy, ProofSigner};
use mandate_token::dpop::{HttpTarget, ProofRequest, UnsignedProof, thumbprint_of_point};
use mandate_token::{AccessToken, Audience, Expect, Kind, Verified};

use super::refused::{ExchangeRefusal, Fault};
use super::{Got, Wanted};
use crate::control::Client;
use crate::http::front::Front;
use crate::http::proof::{DPOP, DPOP_NONCE};
use crate::http::refusal::Refusal;

/// Speaks to the authority as this gateway: by its connection, and by a key that what it gets is bound to.
pub(crate) struct Asker {
    parts: AskerParts,
    /// The authority's, for the next proof.
    nonce: Mutex<Option<String>>,
}

/// What a gateway asks with.
pub(crate) struct AskerParts {
    pub(crate) client: Client,
    pub(crate) gateway: GatewayId,
    pub(crate) key: Arc<dyn ProofSigner>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

#[derive(serde::Deserialize)]
struct Answer {
    access_token: String,
}

#[derive(serde::Deserialize)]
struct ErrorAnswer {
    error: String,
    #[serde(default)]
    error_description: String,
}

impl Asker {
    pub(crate) fn new(parts: AskerParts) -> Self {
        Self {
            parts,
            nonce: Mutex::default(),
        }
    }

    /// The access token for what is `wanted` (RFC 8693), within a bounded time or not at all.
    pub(super) async fn ask(&self, front: &Front, wanted: &Wanted<'_>) -> Result<Got, Refusal> {
        let form = self.form(wanted)?;
        let asked = tokio::time::timeout(LIMIT, self.post(front, &form)).await;
        let answer = asked.unwrap_or_else(|_| Err(no_answer(&"not in time")))?;
        let text = Secret::new(read(&answer)?);
        let token = self.verify(front, wanted, text.expose())?;
        Ok(Got {
            text: Arc::new(text),
            token,
        })
    }

    fn form(&self, wanted: &Wanted<'_>) -> Result<String, Refusal> {
        let (brought, asking) = (wanted.brought, wanted.asking);
        let target = asking.target()?;
        let mut pairs = vec![
            ("grant_type", GRANT),
            ("client_id", self.parts.gateway.as_str()),
            ("subject_token", brought.task_text),
            ("subject_token_type", TXN),
            ("actor_token", brought.svid_text),
            ("actor_token_type", JWT),
            ("resource", &wanted.server.resource),
        ];
        if let Some(proof) = brought.proof {
            pairs.push(("actor_dpop", proof));
            pairs.push(("actor_htm", asking.method));
            pairs.push(("actor_htu", target.as_str()));
        }
        Ok(crate::control::form(&pairs))
    }

    /// Posts `form`; once more where the authority asks for its nonce (RFC 9449 §8). It has done nothing
    /// then.
    async fn post(&self, front: &Front, form: &str) -> Result<Response<Bytes>, Refusal> {
        let answer = self.post_once(front, form).await?;
        if answer.status() == StatusCode::BAD_REQUEST
            && error_of(&answer).is_some_and(|why| why.error == "use_dpop_nonce")
        {
            return self.post_once(front, form).await;
        }
        Ok(answer)
    }

    async fn post_once(&self, front: &Front, form: &str) -> Result<Response<Bytes>, Refusal> {
        let proof = self.prove(front)?;
        let field = (HeaderName::from_static(DPOP), proof);
        let client = &self.parts.client;
        let answer = client.post_form(PATH, field, form.to_owned()).await;
        let answer = answer.map_err(|why| no_answer(&why))?;
        if let Some(nonce) = answer.headers().get(DPOP_NONCE)
            && let Ok(nonce) = nonce.to_str()
        {
            let mut known = self.nonce.lock().unwrap_or_else(PoisonError::into_inner);
            *known = Some(nonce.to_owned());
        }
        Ok(answer)
    }

    /// A proof of this gateway's key for the authority's endpoint, under the name by which it was configured.
    fn prove(&self, front: &Front) -> Result<String, Refusal> {
        let issuer = front.snapshot()?.issuer.to_string();
        let target = HttpTarget::parse(&format!("{}{PATH}", issuer.trim_end_matches('/')));
        let target = target.map_err(|why| no_answer(&why))?;
        let mut random = [0; 16];
        self.parts.entropy.fill(&mut random);
        let jti: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let nonce = self.nonce.lock().unwrap_or_else(PoisonError::into_inner);
        let nonce = nonce.clone();
        let unsigned = UnsignedProof::of(&ProofRequest {
            point: &self.parts.key.point(),
            jti: &jti,
            method: "POST",
            target: &target,
            now: front.now(),
            access_token: None,
            task_token: None,
            nonce: nonce.as_deref(),
        });
        let signed = self.parts.key.sign_proof(unsigned.signing_input());
        let signature = signed.map_err(|why| no_answer(&why))?;
        Ok(unsigned.assemble(&signature))
    }

    fn key(&self) -> Thumbprint {
        thumbprint_of_point(&self.parts.key.point())
    }

    /// That what came is what was asked for: for this server workload, of this agent in this task, got by
    /// this gateway and bound to its key.
    fn verify(
        &self,
        front: &Front,
        wanted: &Wanted<'_>,
        text: &str,
    ) -> Result<Verified<AccessToken>, Refusal> {
        let snapshot = front.snapshot()?;
        let audience = Audience::parse(&wanted.server.resource).map_err(|why| no_answer(&why))?;
        let expect = Expect {
            issuer: &snapshot.issuer,
            audience: &audience,
        };
        let token = AccessToken::verify(text, &snapshot.keys, &expect, front.now());
        let token = token.map_err(|why| no_answer(&why))?;
        let (claims, brought) = (token.claims(), wanted.brought);
        let bound_to = claims.confirmation.and_then(|bound| bound.jkt());
        let via = claims.via.as_ref();
        let is_asked = *claims.acting.actor() == brought.owner()
            && claims.path.leaf() == brought.task()
            && bound_to == Some(self.key())
            && via.is_some_and(|via| via.gateway == self.parts.gateway);
        if is_asked {
            Ok(token)
        } else {
            Err(no_answer(&"an access token for something else came"))
        }
    }
}

fn read(answer: &Response<Bytes>) -> Result<String, Refusal> {
    if answer.status() == StatusCode::OK {
        let read: Result<Answer, _> = serde_json::from_slice(answer.body());
        return read
            .map(|answer| answer.access_token)
            .map_err(|_| no_answer(&"an answer without access token"));
    }
    let Some(why) = error_of(answer) else {
        return Err(no_answer(&answer.status()));
    };
    Err(Refusal::Exchange(ExchangeRefusal::Denied {
        fault: Fault::of(&why.error),
        description: why.error_description,
    }))
}

fn error_of(answer: &Response<Bytes>) -> Option<ErrorAnswer> {
    serde_json::from_slice(answer.body()).ok()
}

fn no_answer(why: &dyn std::fmt::Display) -> Refusal {
    tracing::warn!(%why, "no access token for an agent");
    Refusal::Exchange(ExchangeRefusal::NoAnswer)
}

const PATH: &str = "/control/v1/token";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const TXN: &str = "urn:ietf:params:oauth:token-type:txn_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const LIMIT: Duration = Duration::from_secs(5);
