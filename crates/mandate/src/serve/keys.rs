//! Signing keys: made here, kept by the store, held in memory for signing (the `Signer` port).

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair, UnparsedPublicKey,
};
use mandate_model::{KeyId, Secret};
use mandate_ports::{
    KeyPurpose, KeyRecord, KeySource, KeyState, NewKey, Signed, Signer, SignerError,
};

/// Signs with the keys that the store has in state `signing`. Replaced whole when they change.
#[derive(Default)]
pub(crate) struct KeySigner {
    ring: ArcSwap<Ring>,
}

#[derive(Default)]
struct Ring {
    current: HashMap<KeyPurpose, KeyId>,
    pairs: HashMap<KeyId, Pair>,
}

enum Pair {
    Es256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A key that the cryptographic library refuses.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// What the store holds is no key.
    #[error("key `{0}` in the store is damaged")]
    Damaged(KeyId),
}

impl KeySigner {
    /// Takes over the keys of the store.
    pub(crate) fn load(&self, records: &[KeyRecord]) -> Result<(), KeyError> {
        let mut ring = Ring::default();
        for record in records.iter().filter(|r| r.state == KeyState::Signing) {
            let pair = Pair::read(record).ok_or_else(|| KeyError::Damaged(record.id.clone()))?;
            ring.current.insert(record.purpose, record.id.clone());
            ring.pairs.insert(record.id.clone(), pair);
        }
        self.ring.store(Arc::new(ring));
        Ok(())
    }
}

impl Signer for KeySigner {
    fn current(&self, purpose: KeyPurpose) -> Result<KeyId, SignerError> {
        let ring = self.ring.load();
        ring.current
            .get(&purpose)
            .cloned()
            .ok_or(SignerError::NoKey)
    }

    fn sign(&self, key: &KeyId, message: &[u8]) -> Result<Signed, SignerError> {
        let ring = self.ring.load();
        let pair = ring
            .pairs
            .get(key)
            .ok_or_else(|| SignerError::NotSigning(key.clone()))?;
        let signature = pair.sign(message).ok_or(SignerError::Failed)?;
        Ok(Signed {
            key: key.clone(),
            signature,
            vouched: true,
        })
    }
}

impl Pair {
    /// The pair of a record whose two halves belong together, as a signature shows.
    fn read(record: &KeyRecord) -> Option<Self> {
        let pair = Self::parse(record.purpose, record.pkcs8.expose())?;
        (pair.public() == record.public && pair.is_good_for(TRIAL)).then_some(pair)
    }

    /// Whether what it signs verifies. Nobody verifies each of its signatures afterwards.
    fn is_good_for(&self, message: &[u8]) -> bool {
        let verified = self.sign(message).map(|signature| match self {
            Pair::Es256(pair) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key())
                    .verify(message, &signature)
            }
            Pair::Ed25519(pair) => {
                UnparsedPublicKey::new(&ED25519, pair.public_key()).verify(message, &signature)
            }
        });
        verified.is_some_and(|verified| verified.is_ok())
    }

    fn parse(purpose: KeyPurpose, pkcs8: &[u8]) -> Option<Self> {
        Some(match purpose {
            KeyPurpose::Svid | KeyPurpose::Oauth => {
                Pair::Es256(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).ok()?)
            }
            KeyPurpose::Log => Pair::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8).ok()?),
        })
    }

    fn public(&self) -> &[u8] {
        match self {
            Pair::Es256(pair) => pair.public_key().as_ref(),
            Pair::Ed25519(pair) => pair.public_key().as_ref(),
        }
    }

    fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        match self {
            Pair::Es256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).ok()?;
                signature.as_ref().try_into().ok()
            }
            Pair::Ed25519(pair) => pair.sign(message).as_ref().try_into().ok(),
        }
    }
}

/// Makes keys with the cryptographic library. They are kept nowhere but by the caller.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NewKeys;

impl KeySource for NewKeys {
    fn generate(&self, purpose: KeyPurpose) -> Result<NewKey, SignerError> {
        let random = SystemRandom::new();
        let document = match purpose {
            KeyPurpose::Svid | KeyPurpose::Oauth => {
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            }
            KeyPurpose::Log => Ed25519KeyPair::generate_pkcs8(&random),
        };
        let document = document.map_err(|_| SignerError::Failed)?;
        let pkcs8 = Secret::new(document.as_ref().to_vec());
        let pair = Pair::parse(purpose, pkcs8.expose()).ok_or(SignerError::Failed)?;
        let public = pair.public().to_vec();
        Ok(NewKey { pkcs8, public })
    }
}

/// No token begins like this.
const TRIAL: &[u8] = b"a trial signature of mandate";

#[cfg(test)]
mod tests {
    use super::*;

    fn key(purpose: KeyPurpose, state: KeyState) -> KeyRecord {
        let NewKey { pkcs8, public } = NewKeys.generate(purpose).unwrap();
        KeyRecord {
            id: KeyId::parse(&format!("{purpose:?}")).unwrap(),
            purpose,
            state,
            since: mandate_model::Timestamp::from_secs(1),
            pkcs8,
            public,
        }
    }

    #[test]
    fn signs_with_the_key_of_the_purpose_and_what_it_signs_verifies() {
        let (svid, log) = (
            key(KeyPurpose::Svid, KeyState::Signing),
            key(KeyPurpose::Log, KeyState::Signing),
        );
        let public = (svid.public.clone(), log.public.clone());
        let signer = KeySigner::default();
        signer.load(&[svid, log]).unwrap();
        let signed = |purpose| {
            let key = signer.current(purpose).unwrap();
            signer.sign(&key, b"message").unwrap().signature
        };
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public.0)
            .verify(b"message", &signed(KeyPurpose::Svid))
            .unwrap();
        UnparsedPublicKey::new(&ED25519, public.1)
            .verify(b"message", &signed(KeyPurpose::Log))
            .unwrap();
        assert_eq!(signer.current(KeyPurpose::Oauth), Err(SignerError::NoKey));
    }

    #[test]
    fn does_not_sign_with_a_key_that_is_only_announced() {
        let record = key(KeyPurpose::Oauth, KeyState::Announced);
        let id = record.id.clone();
        let signer = KeySigner::default();
        signer.load(&[record]).unwrap();
        assert_eq!(signer.current(KeyPurpose::Oauth), Err(SignerError::NoKey));
        assert_eq!(signer.sign(&id, b"m"), Err(SignerError::NotSigning(id)));
    }

    #[test]
    fn keeps_what_the_ports_promise() {
        mandate_testkit::signer_suite::run(&NewKeys, |keys| {
            let signer = KeySigner::default();
            signer.load(&keys).unwrap();
            signer
        });
    }

    #[test]
    fn refuses_a_private_key_that_is_not_the_public_ones() {
        let mut record = key(KeyPurpose::Svid, KeyState::Signing);
        record.public = key(KeyPurpose::Svid, KeyState::Signing).public;
        let loaded = KeySigner::default().load(&[record]);
        assert!(matches!(loaded, Err(KeyError::Damaged(_))));
    }
}
