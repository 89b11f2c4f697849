//! Keys of agents, and proofs of them (RFC 9449).

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use mandate_model::{Thumbprint, Timestamp};
use mandate_ports::{ProofSigner, SignerError};
use mandate_token::dpop::{HttpTarget, ProofRequest, UnsignedProof, thumbprint_of_point};

/// A key of an agent.
#[derive(Debug)]
pub struct AgentKey {
    pair: EcdsaKeyPair,
    point: [u8; 65],
    drawn: AtomicU64,
}

/// What a proof is made for.
#[derive(Debug, Clone, Copy)]
pub struct Proving<'a> {
    /// The request's method.
    pub method: &'a str,
    /// Its address.
    pub uri: &'a str,
    /// The moment.
    pub now: Timestamp,
    /// The token beside it.
    pub token: Option<&'a str>,
    /// The task token beside it.
    pub task: Option<&'a str>,
    /// The server's nonce.
    pub nonce: Option<&'a str>,
}

impl AgentKey {
    /// A new key.
    ///
    /// # Panics
    /// Without randomness.
    pub fn generate() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = pair.public_key().as_ref().try_into().unwrap();
        Self {
            pair,
            point,
            drawn: AtomicU64::new(0),
        }
    }

    /// What it is known by.
    pub fn thumbprint(&self) -> Thumbprint {
        thumbprint_of_point(&self.point)
    }

    /// A proof, another one each time.
    ///
    /// # Panics
    /// If `uri` is no address.
    pub fn prove(&self, proving: &Proving<'_>) -> String {
        let jti = self.drawn.fetch_add(1, Ordering::Relaxed).to_string();
        let unsigned = UnsignedProof::of(&ProofRequest {
            point: &self.point,
            jti: &jti,
            method: proving.method,
            target: &HttpTarget::parse(proving.uri).unwrap(),
            now: proving.now,
            access_token: proving.token,
            task_token: proving.task,
            nonce: proving.nonce,
        });
        let signature = self.sign_proof(unsigned.signing_input()).unwrap();
        unsigned.assemble(&signature)
    }
}

impl ProofSigner for AgentKey {
    fn point(&self) -> [u8; 65] {
        self.point
    }

    fn sign_proof(&self, message: &[u8]) -> Result<[u8; 64], SignerError> {
        let signed = self.pair.sign(&SystemRandom::new(), message);
        let signed = signed.map_err(|_| SignerError::Failed)?;
        signed.as_ref().try_into().map_err(|_| SignerError::Failed)
    }
}

/// An agent with a key, and the nonce that a server gave it last.
#[derive(Debug)]
pub struct Holder {
    /// Its key.
    pub key: AgentKey,
    /// The nonce.
    pub nonce: Option<String>,
}

impl Holder {
    /// A new key, and no nonce yet.
    pub fn generate() -> Self {
        Self {
            key: AgentKey::generate(),
            nonce: None,
        }
    }

    /// A proof with the nonce, for a `method` at `uri` beside the `tokens` that are shown: the one in
    /// `authorization`, and the task token.
    pub fn prove(
        &self,
        (method, uri): (&str, &str),
        (token, task): (Option<&str>, Option<&str>),
        now: Timestamp,
    ) -> String {
        self.key.prove(&Proving {
            method,
            uri,
            now,
            token,
            task,
            nonce: self.nonce.as_deref(),
        })
    }
}
