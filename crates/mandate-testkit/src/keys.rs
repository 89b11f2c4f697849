//! Keys as a store keeps them, made and used in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use mandate_model::{KeyId, Secret};
use mandate_ports::{
    KeyPurpose, KeyRecord, KeySource, KeyState, NewKey, Signed, Signer, SignerError,
};

/// Makes keys, and signs with those of the records that it was last given.
#[derive(Default)]
pub struct TestKeys(Mutex<BTreeMap<KeyPurpose, (KeyId, Vec<u8>)>>);

impl TestKeys {
    /// Signs with the keys of `records` that are in state `signing`, and with no other.
    pub fn load(&self, records: &[KeyRecord]) {
        let signing = records
            .iter()
            .filter(|record| record.state == KeyState::Signing);
        let ring = signing.map(|r| (r.purpose, (r.id.clone(), r.pkcs8.expose().clone())));
        *self.0.lock().unwrap() = ring.collect();
    }
}

impl Signer for TestKeys {
    fn current(&self, purpose: KeyPurpose) -> Result<KeyId, SignerError> {
        let ring = self.0.lock().unwrap();
        ring.get(&purpose)
            .map(|(id, _)| id.clone())
            .ok_or(SignerError::NoKey)
    }

    fn sign(&self, key: &KeyId, message: &[u8]) -> Result<Signed, SignerError> {
        let ring = self.0.lock().unwrap();
        let found = ring.iter().find(|(_, (id, _))| id == key);
        let (purpose, (_, pkcs8)) = found.ok_or_else(|| SignerError::NotSigning(key.clone()))?;
        let signature: Vec<u8> = if *purpose == KeyPurpose::Log {
            Ed25519KeyPair::from_pkcs8(pkcs8)
                .unwrap()
                .sign(message)
                .as_ref()
                .to_vec()
        } else {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).unwrap();
            pair.sign(&SystemRandom::new(), message)
                .unwrap()
                .as_ref()
                .to_vec()
        };
        Ok(Signed {
            key: key.clone(),
            signature: signature.try_into().unwrap(),
            vouched: false,
        })
    }
}

impl KeySource for TestKeys {
    fn generate(&self, purpose: KeyPurpose) -> Result<NewKey, SignerError> {
        let random = SystemRandom::new();
        let (pkcs8, public) = if purpose == KeyPurpose::Log {
            let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random)
                .unwrap()
                .as_ref()
                .to_vec();
            let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).unwrap();
            (pkcs8, pair.public_key().as_ref().to_vec())
        } else {
            let alg = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(alg, &random)
                .unwrap()
                .as_ref()
                .to_vec();
            let pair = EcdsaKeyPair::from_pkcs8(alg, &pkcs8).unwrap();
            (pkcs8, pair.public_key().as_ref().to_vec())
        };
        Ok(NewKey {
            pkcs8: Secret::new(pkcs8),
            public,
        })
    }
}
