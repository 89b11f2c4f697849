//! The tools of an MCP server as somebody accepted them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use mandate_model::canonical_json;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// By the name of each tool, what the server said of it when it was accepted. No other tool is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest(BTreeMap<String, Accepted>);

/// A tool as it was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) digest: ToolDigest,
    /// What that is of, as JSON, where the manifest has it.
    pub(crate) definition: Option<String>,
}

impl Manifest {
    pub(crate) fn of(tools: BTreeMap<String, Accepted>) -> Self {
        Self(tools)
    }

    /// The digest of the tool of this name, if it was accepted.
    pub fn tool(&self, name: &str) -> Option<&ToolDigest> {
        self.0.get(name).map(|accepted| &accepted.digest)
    }

    /// What the server said of the tool of this name when it was accepted, as JSON, where the manifest has that.
    pub fn definition(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.definition.as_deref()
    }

    /// Every accepted tool, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ToolDigest)> {
        let all = self.0.iter();
        all.map(|(name, accepted)| (name.as_str(), &accepted.digest))
    }
}

/// SHA-256 over all that a server says of a tool: its item of `tools/list` as canonical JSON
/// ([`canonical_json`]). Written `sha256:` and 64 digits of lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ToolDigest([u8; 32]);

impl ToolDigest {
    /// Of an item of `tools/list`.
    pub fn of(tool: &Value) -> Self {
        Self(Sha256::digest(canonical_json(tool)).into())
    }
}

impl fmt::Display for ToolDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ToolDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no digest of a tool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a digest is `sha256:` and 64 digits of lower-case hex")]
pub struct MalformedDigest;

impl FromStr for ToolDigest {
    type Err = MalformedDigest;

    fn from_str(text: &str) -> Result<Self, MalformedDigest> {
        let hex = text.strip_prefix(PREFIX).ok_or(MalformedDigest)?;
        let lower = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hex.len() != 64 || !lower {
            return Err(MalformedDigest);
        }
        let mut digest = [0; 32];
        for (n, byte) in digest.iter_mut().enumerate() {
            let two = hex.get(2 * n..2 * n + 2).ok_or(MalformedDigest)?;
            *byte = u8::from_str_radix(two, 16).map_err(|_| MalformedDigest)?;
        }
        Ok(Self(digest))
    }
}

const PREFIX: &str = "sha256:";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_digest_is_of_what_is_said_and_not_of_how_it_is_written() {
        let tool: Value = serde_json::from_str(
            r#"{ "name":"refund", "inputSchema":{"type":"object","properties":{}}}"#,
        )
        .unwrap();
        let same = json!({"inputSchema": {"properties": {}, "type": "object"}, "name": "refund"});
        assert_eq!(ToolDigest::of(&tool), ToolDigest::of(&same));
        let text = ToolDigest::of(&tool).to_string();
        assert_eq!(text.parse(), Ok(ToolDigest::of(&tool)));
        for other in [
            json!({"name": "refund", "inputSchema": {"type": "object", "properties": {}}, "description": ""}),
            json!({"name": "refund", "inputSchema": {"type": "object", "properties": {"a": {}}}}),
            json!({"name": "Refund", "inputSchema": {"type": "object", "properties": {}}}),
        ] {
            assert_ne!(ToolDigest::of(&other), ToolDigest::of(&tool), "{other}");
        }
    }

    #[test]
    fn a_text_that_is_no_digest_is_none() {
        let good = ToolDigest::of(&json!({})).to_string();
        for bad in [
            "",
            "sha256:",
            good.trim_start_matches(PREFIX),
            &good.to_uppercase(),
            &format!("{good}0"),
            &good.replace("sha256", "sha512"),
        ] {
            assert_eq!(bad.parse::<ToolDigest>(), Err(MalformedDigest), "{bad}");
        }
    }
}
