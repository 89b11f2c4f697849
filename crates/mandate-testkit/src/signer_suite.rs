//! What every [`Signer`] with its [`KeySource`] must do.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
use mandate_model::{KeyId, Timestamp};
use mandate_ports::{KeyPurpose, KeyRecord, KeySource, KeyState, Signer, SignerError};

/// Runs every case. `load` makes a signer of the keys that a store would give it.
pub fn run<S: Signer>(source: &impl KeySource, load: impl Fn(Vec<KeyRecord>) -> S) {
    for purpose in [KeyPurpose::Svid, KeyPurpose::Oauth, KeyPurpose::Log] {
        signs_with_the_key_of_its_purpose(source, &load, purpose);
        for state in [KeyState::Announced, KeyState::Verifying, KeyState::Retired] {
            does_not_sign_in(source, &load, purpose, state);
        }
    }
    let (one, two) = (
        source.generate(KeyPurpose::Svid).unwrap(),
        source.generate(KeyPurpose::Svid).unwrap(),
    );
    assert_ne!(one.public, two.public, "no two keys are the same");
}

fn signs_with_the_key_of_its_purpose<S: Signer>(
    source: &impl KeySource,
    load: &impl Fn(Vec<KeyRecord>) -> S,
    purpose: KeyPurpose,
) {
    let key = record(source, purpose, KeyState::Signing);
    let (id, public) = (key.id.clone(), key.public.clone());
    let signer = load(vec![key]);
    assert_eq!(signer.current(purpose).as_ref(), Ok(&id));
    let signed = signer.sign(&id, b"message").unwrap();
    assert_eq!(signed.key, id);
    match purpose {
        KeyPurpose::Svid | KeyPurpose::Oauth => {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public)
                .verify(b"message", &signed.signature)
        }
        KeyPurpose::Log => {
            UnparsedPublicKey::new(&ED25519, public).verify(b"message", &signed.signature)
        }
    }
    .unwrap();
    for other in [KeyPurpose::Svid, KeyPurpose::Oauth, KeyPurpose::Log] {
        if other != purpose {
            assert_eq!(
                signer.current(other),
                Err(SignerError::NoKey),
                "one key has one purpose"
            );
        }
    }
}

fn does_not_sign_in<S: Signer>(
    source: &impl KeySource,
    load: &impl Fn(Vec<KeyRecord>) -> S,
    purpose: KeyPurpose,
    state: KeyState,
) {
    let key = record(source, purpose, state);
    let id = key.id.clone();
    let signer = load(vec![key]);
    assert_eq!(signer.current(purpose), Err(SignerError::NoKey));
    assert_eq!(
        signer.sign(&id, b"message"),
        Err(SignerError::NotSigning(id))
    );
}

fn record(source: &impl KeySource, purpose: KeyPurpose, state: KeyState) -> KeyRecord {
    let new = source.generate(purpose).unwrap();
    KeyRecord {
        id: KeyId::parse(&format!("{purpose:?}-{state:?}")).unwrap(),
        purpose,
        state,
        since: Timestamp::from_secs(1),
        pkcs8: new.pkcs8,
        public: new.public,
    }
}
