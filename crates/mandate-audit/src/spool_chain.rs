//! The hash chain of a gateway's spool (C2).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// A commitment to every record of a spool so far: SHA-256(the chain before ‖ canonical event),
/// beginning with 32 zero bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpoolChain([u8; 32]);

impl SpoolChain {
    /// The chain of a spool without records.
    pub const fn new() -> Self {
        Self([0; 32])
    }

    /// Goes on to the chain that includes the record with this canonical encoding.
    pub fn advance(&mut self, event: &[u8]) {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(event);
        self.0 = hash.finalize().into();
    }

    /// Base64url without padding: 43 characters.
    pub fn to_text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Reads [`to_text`](Self::to_text) back; each chain has exactly one text.
    pub fn parse(text: &str) -> Result<Self, MalformedSpoolChain> {
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| MalformedSpoolChain)?;
        bytes.try_into().map(Self).map_err(|_| MalformedSpoolChain)
    }
}

impl Default for SpoolChain {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SpoolChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

/// Text that is no spool chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a spool chain is the base64url of 32 bytes, without padding")]
pub struct MalformedSpoolChain;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depends_on_every_record_and_their_order() {
        let chain = |events: &[&[u8]]| {
            let mut chain = SpoolChain::new();
            events.iter().for_each(|e| chain.advance(e));
            chain
        };
        assert_eq!(chain(&[b"a", b"b"]), chain(&[b"a", b"b"]));
        assert_ne!(chain(&[b"a", b"b"]), chain(&[b"b", b"a"]));
        assert_ne!(chain(&[b"a"]), chain(&[b"a", b""]));
        assert_ne!(chain(&[]), chain(&[b""]));
    }

    #[test]
    fn has_one_text() {
        let mut chain = SpoolChain::new();
        chain.advance(b"event");
        assert_eq!(SpoolChain::parse(&chain.to_text()), Ok(chain));
        let padded = format!("{}=", chain.to_text());
        assert_eq!(SpoolChain::parse(&padded), Err(MalformedSpoolChain));
        assert_eq!(SpoolChain::parse("AAAA"), Err(MalformedSpoolChain));
    }
}
