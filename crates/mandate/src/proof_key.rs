//! A key of this process that it proves to have (RFC 9449): drawn when it is made, never on disk, gone
//! with the process.

use std::fmt;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use mandate_ports::{ProofSigner, SignerError};

/// The key.
pub(crate) struct ProofKey {
    pair: EcdsaKeyPair,
    point: [u8; 65],
}

impl ProofKey {
    /// A new one.
    pub(crate) fn generate() -> Result<Self, SignerError> {
        let generated = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        let pair = generated.map_err(|_: Unspecified| SignerError::Failed)?;
        let point = pair.public_key().as_ref().try_into();
        Ok(Self {
            point: point.map_err(|_| SignerError::Failed)?,
            pair,
        })
    }
}

impl ProofSigner for ProofKey {
    fn point(&self) -> [u8; 65] {
        self.point
    }

    fn sign_proof(&self, message: &[u8]) -> Result<[u8; 64], SignerError> {
        let signed = self.pair.sign(&SystemRandom::new(), message);
        let signed = signed.map_err(|_: Unspecified| SignerError::Failed)?;
        signed.as_ref().try_into().map_err(|_| SignerError::Failed)
    }
}

impl fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProofKey(…)")
    }
}
