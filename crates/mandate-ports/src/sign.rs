//! Keys and signatures.

use mandate_model::{KeyId, Secret, Timestamp};

/// What a key signs. Never two of these.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum KeyPurpose {
    /// JWT-SVIDs (ES256).
    Svid,
    /// Task tokens, access tokens and tokens for upstreams (ES256).
    Oauth,
    /// Checkpoints of the log (Ed25519).
    Log,
}

/// Where a key is in its life (C7).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Published, not signing yet: verifiers are still fetching it.
    Announced,
    /// Signing. One per purpose.
    Signing,
    /// Not signing any more; what it signed is still honoured.
    Verifying,
    /// Gone from the published sets.
    Retired,
}

/// A key as a store keeps it.
#[derive(Debug)]
pub struct KeyRecord {
    /// Its `kid`.
    pub id: KeyId,
    /// What it signs.
    pub purpose: KeyPurpose,
    /// Where it is in its life.
    pub state: KeyState,
    /// Since when.
    pub since: Timestamp,
    /// PKCS#8, DER.
    pub pkcs8: Secret<Vec<u8>>,
    /// The public key: an uncompressed P-256 point (65 bytes) or an Ed25519 key (32 bytes).
    pub public: Vec<u8>,
}

/// A signature and the key that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The key.
    pub key: KeyId,
    /// 64 bytes: `r ‖ s` for ES256, RFC 8032 for Ed25519.
    pub signature: [u8; 64],
    /// Whether the signer holds the key itself and has shown, when it took it over, that what it signs with
    /// it verifies by the public key. A signature that came from elsewhere is verified before it is used.
    pub vouched: bool,
}

/// Signs with the current key of a purpose. Private keys never leave it.
pub trait Signer: Send + Sync {
    /// The key that `sign` would use now; goes into the header before signing.
    fn current(&self, purpose: KeyPurpose) -> Result<KeyId, SignerError>;

    /// Signs `message` with `key`, which must be in state `signing`.
    fn sign(&self, key: &KeyId, message: &[u8]) -> Result<Signed, SignerError>;
}

/// A new key pair, not in any store yet.
#[derive(Debug)]
pub struct NewKey {
    /// PKCS#8, DER.
    pub pkcs8: Secret<Vec<u8>>,
    /// The public key, as in [`KeyRecord::public`].
    pub public: Vec<u8>,
}

/// Makes key pairs.
pub trait KeySource: Send + Sync {
    /// A new key pair for `purpose`: P-256 for tokens, Ed25519 for checkpoints. It is kept nowhere.
    fn generate(&self, purpose: KeyPurpose) -> Result<NewKey, SignerError>;
}

/// Why nothing was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignerError {
    /// No key of that purpose signs now.
    #[error("no key for this purpose is in state `signing`")]
    NoKey,
    /// The key is not, or no longer, signing: begin again with `current`.
    #[error("key `{0}` is not in state `signing`")]
    NotSigning(KeyId),
    /// The cryptographic library failed.
    #[error("signing failed")]
    Failed,
}
