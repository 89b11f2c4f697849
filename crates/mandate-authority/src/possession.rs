//! Proofs of possession at the authority's own door (RFC 9449 §5, §8; A5).
//!
//! Every proof needs a nonce of this process. So how old a proof can be is for this process's clock
//! to say and not for the caller's; proofs that somebody had made in advance are worth nothing; and
//! what this process remembers is all that could come again. The store remembers too, in the same
//! unit as what is issued: of two processes, or of one that went on from a copy of its memory, only
//! one issues on a proof.

use std::sync::{Mutex, PoisonError};

use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue};
use mandate_decide::possession::{Room, SeenProofs, Shower};
use mandate_model::{Instance, SpiffeId, Thumbprint};
use mandate_token::dpop::{
    DpopProof, HttpTarget, Nonces, ProofError, ProofFor, UnverifiedProof, only_proof,
};

use crate::Authority;
use crate::token::Refusal;

/// The nonces of this process, and the proofs that it has seen.
#[derive(Debug)]
pub(crate) struct Proofs {
    nonces: Nonces,
    seen: Mutex<SeenProofs>,
}

impl Proofs {
    /// Those of a process that has drawn `secret`, and has `room` for proofs.
    pub(crate) fn keyed(secret: &[u8; 32], room: Room) -> Self {
        Self {
            nonces: Nonces::keyed(secret),
            seen: Mutex::new(SeenProofs::new(room)),
        }
    }
}

/// What a request showed of a key: a proof that holds, or nothing. It is not used up yet.
#[derive(Debug)]
pub(crate) struct ShownProof {
    proof: Option<DpopProof>,
    taken: bool,
    /// Whether it was counted that its key takes another's place.
    counted: bool,
}

impl ShownProof {
    /// The proof among the fields of a `POST` to `path`, if there is one. What is cheap comes first:
    /// the form, then the nonce, then what the proof is for, and then its signature.
    pub(crate) fn of(
        authority: &Authority,
        fields: &HeaderMap,
        path: &str,
    ) -> Result<Self, Refusal> {
        let values = fields.get_all(DPOP).iter().map(HeaderValue::as_bytes);
        let proof = match only_proof(values).map_err(Refusal::Proof)? {
            None => None,
            Some(text) => Some(held(authority, text, path)?),
        };
        let taken = proof.is_none();
        Ok(Self {
            proof,
            taken,
            counted: false,
        })
    }

    /// The proof.
    pub(crate) fn proof(&self) -> Option<&DpopProof> {
        self.proof.as_ref()
    }

    /// Uses the proof up. For callers who proved what they are: what a process can remember is not
    /// for anybody to fill, and of these each has a share.
    pub(crate) fn take(&mut self, authority: &Authority, by: Shower) -> Result<(), Refusal> {
        let Some(proof) = self.proof.as_ref().filter(|_| !self.taken) else {
            return Ok(());
        };
        let seen = &authority.proofs().seen;
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.take(&proof.id(), by, authority.boot())
            .map_err(Refusal::Seen)?;
        self.taken = true;
        Ok(())
    }

    /// Counts that its key takes the place of `live`, the key of an instance of an agent type, if it
    /// does: once, however often the exchange begins again.
    pub(crate) fn replace(
        &mut self,
        authority: &Authority,
        live: Option<Thumbprint>,
        (agent, instance): (&SpiffeId, &Instance),
    ) -> Result<(), Refusal> {
        let replaces = |proof: &DpopProof| live.is_some_and(|live| live != proof.key());
        if self.counted || !self.proof.as_ref().is_some_and(replaces) {
            return Ok(());
        }
        if !authority.rekeys().may_replace(agent, instance) {
            return Err(Refusal::TooManyKeys);
        }
        self.counted = true;
        Ok(())
    }
}

fn held(authority: &Authority, text: &str, path: &str) -> Result<DpopProof, Refusal> {
    let unverified = UnverifiedProof::parse(text).map_err(Refusal::Proof)?;
    let nonces = &authority.proofs().nonces;
    let given = unverified.untrusted_nonce();
    if !given.is_some_and(|nonce| nonces.is_good(nonce, authority.boot())) {
        return Err(Refusal::Nonce);
    }
    // The address that the authority was configured with, whatever a proxy or a caller says.
    let issuer = authority.config().issuer.as_str();
    let uri = format!("{}{path}", issuer.trim_end_matches('/'));
    let target = HttpTarget::parse(&uri).map_err(|_| Refusal::Proof(ProofError::Target))?;
    let request = ProofFor {
        method: "POST",
        target: &target,
        access_token: None,
        task_token: None,
    };
    unverified
        .verify(&request, authority.now())
        .map_err(Refusal::Proof)
}

/// The answer with the nonce for the next proof (RFC 9449 §8.2): whoever has none yet has one then.
pub(crate) fn with_nonce(authority: &Authority, mut response: Response) -> Response {
    let nonce = authority.proofs().nonces.current(authority.boot());
    if let Ok(value) = HeaderValue::from_str(&nonce) {
        response.headers_mut().insert(DPOP_NONCE, value);
    }
    response
}

const DPOP: HeaderName = HeaderName::from_static("dpop");
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
