//! The key that a token is bound to (`cnf`, RFC 7800 §3.1).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A SHA-256 thumbprint, base64url on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Thumbprint([u8; 32]);

/// Text that is no thumbprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a thumbprint is the base64url of 32 bytes")]
pub struct MalformedThumbprint;

/// Which key a holder must prove to have. Exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Confirmation {
    /// A DPoP key by its JWK thumbprint (RFC 9449 §6.1).
    #[serde(rename = "jkt")]
    Jkt(Thumbprint),
    /// A client certificate (RFC 8705 §3.1).
    #[serde(rename = "x5t#S256")]
    X5tS256(Thumbprint),
}

impl Thumbprint {
    /// The thumbprint with these bytes.
    pub const fn new(sha256: [u8; 32]) -> Self {
        Self(sha256)
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
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| MalformedThumbprint)?;
        bytes.try_into().map(Self).map_err(|_| MalformedThumbprint)
    }
}
impl From<Thumbprint> for String {
    fn from(thumbprint: Thumbprint) -> String {
        thumbprint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confirmation_names_exactly_one_key() {
        let jkt = Thumbprint::new([7; 32]);
        let one = format!(r#"{{"jkt":"{jkt}"}}"#);
        let read = |text: &str| serde_json::from_str::<Confirmation>(text);
        assert_eq!(read(&one).unwrap(), Confirmation::Jkt(jkt));
        for bad in [
            "{}".to_owned(),
            format!(r#"{{"jkt":"{jkt}","x5t#S256":"{jkt}"}}"#),
            format!(r#"{{"kid":"{jkt}"}}"#),
            r#"{"jkt":"AAAA"}"#.to_owned(),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }
}
