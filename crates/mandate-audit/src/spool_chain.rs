//! The hash chain of a gateway's spool (C2).

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_model::GatewayId;
use sha2::{Digest, Sha256};

use crate::SpoolKey;

/// The chain's value over the records of a spool so far: `SHA-256(value before ‖ record)`, from 32
/// zero bytes on. Two spools with the same value hold the same records in the same order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpoolChain([u8; 32]);

/// Text that is no chain value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a spool's chain value is the base64url of 32 bytes, without padding")]
pub struct MalformedSpoolChain;

impl SpoolChain {
    /// The value of a spool without records.
    pub const ORIGIN: SpoolChain = SpoolChain([0; 32]);

    /// The value after one record more, given as the bytes that the log hashes.
    #[must_use]
    pub fn after(&self, record: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(record);
        Self(hash.finalize().into())
    }

    /// Reads the text form, of which each value has exactly one.
    pub fn parse(text: &str) -> Result<Self, MalformedSpoolChain> {
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| MalformedSpoolChain)?;
        bytes.try_into().map(Self).map_err(|_| MalformedSpoolChain)
    }

    /// The value from its bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for SpoolChain {
    /// Base64url without padding.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for SpoolChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for SpoolChain {
    type Error = MalformedSpoolChain;
    fn try_from(text: String) -> Result<Self, MalformedSpoolChain> {
        Self::parse(&text)
    }
}

impl From<SpoolChain> for String {
    fn from(chain: SpoolChain) -> String {
        chain.to_string()
    }
}

/// A spool of which the log has something else than its gateway shipped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "spool `{spool}` of gateway `{gateway}`: the log differs from what was shipped from record {seq} on"
)]
pub struct SpoolFault {
    /// The gateway.
    pub gateway: GatewayId,
    /// The spool.
    pub spool: String,
    /// The first number that is known to differ.
    pub seq: u64,
}

/// The chains of all spools, computed anew from the log's records as they come.
#[derive(Debug, Default)]
pub struct SpoolChains(BTreeMap<(GatewayId, String), (u64, SpoolChain)>);

impl SpoolChains {
    /// Takes in the next record that names `key`. Each spool's numbers run from 0 without a gap.
    pub fn record(&mut self, key: &SpoolKey, bytes: &[u8]) -> Result<(), SpoolFault> {
        let spool = (key.gateway.clone(), key.spool.clone());
        let (next, chain) = self.0.entry(spool).or_insert((0, SpoolChain::ORIGIN));
        let fits = *next == key.seq;
        (*next, *chain) = (key.seq.saturating_add(1), chain.after(bytes));
        fits.then_some(()).ok_or_else(|| SpoolFault {
            gateway: key.gateway.clone(),
            spool: key.spool.clone(),
            seq: key.seq,
        })
    }

    /// The next number of a spool, and its chain's value before it.
    pub fn head(&self, gateway: &GatewayId, spool: &str) -> (u64, SpoolChain) {
        let spool = (gateway.clone(), spool.to_owned());
        self.0
            .get(&spool)
            .copied()
            .unwrap_or((0, SpoolChain::ORIGIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_depends_on_each_record_and_on_their_order() {
        let of = |records: &[&[u8]]| {
            records
                .iter()
                .fold(SpoolChain::ORIGIN, |chain, record| chain.after(record))
        };
        assert_eq!(of(&[b"a", b"b"]), of(&[b"a", b"b"]));
        assert_ne!(of(&[b"a", b"b"]), of(&[b"b", b"a"]));
        assert_ne!(of(&[b"a", b"b"]), of(&[b"ab"]));
        let first: [u8; 32] = Sha256::digest([&[0; 32][..], b"a"].concat()).into();
        assert_eq!(of(&[b"a"]).as_bytes(), &first);
    }

    #[test]
    fn a_value_has_one_text_form() {
        let chain = SpoolChain::ORIGIN.after(b"a");
        let text = chain.to_string();
        assert_eq!(SpoolChain::parse(&text), Ok(chain));
        for bad in [
            format!("{text}="),
            text[1..].to_owned(),
            String::new(),
            "~".repeat(43),
        ] {
            assert_eq!(SpoolChain::parse(&bad), Err(MalformedSpoolChain), "{bad}");
        }
    }

    #[test]
    fn a_record_out_of_line_is_named() {
        let gateway = GatewayId::parse("g1").unwrap();
        let key = |seq| SpoolKey {
            gateway: gateway.clone(),
            spool: "s".to_owned(),
            seq,
        };
        let mut chains = SpoolChains::default();
        assert_eq!(chains.record(&key(0), b"a"), Ok(()));
        assert_eq!(chains.record(&key(1), b"b"), Ok(()));
        let both = SpoolChain::ORIGIN.after(b"a").after(b"b");
        assert_eq!(chains.head(&gateway, "s"), (2, both));
        assert_eq!(
            chains.record(&key(3), b"c").map_err(|fault| fault.seq),
            Err(3)
        );
        assert_eq!(chains.head(&gateway, "other"), (0, SpoolChain::ORIGIN));
    }
}
