//! SHA-256 thumbprints: what a key or a certificate is known by.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A SHA-256 thumbprint, base64url on the wire.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Thumbprint([u8; 32]);

/// Text that is no thumbprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a thumbprint is the base64url of 32 bytes")]
pub struct MalformedThumbprint;

impl Thumbprint {
    /// The thumbprint with these bytes.
    pub const fn new(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }

    /// The one way to make a thumbprint from text.
    pub fn parse(text: &str) -> Result<Self, MalformedThumbprint> {
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| MalformedThumbprint)?;
        bytes.try_into().map(Self).map_err(|_| MalformedThumbprint)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}
impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl TryFrom<String> for Thumbprint {
    type Error = MalformedThumbprint;
    fn try_from(text: String) -> Result<Self, MalformedThumbprint> {
        Self::parse(&text)
    }
}
impl From<Thumbprint> for String {
    fn from(thumbprint: Thumbprint) -> String {
        thumbprint.to_string()
    }
}
