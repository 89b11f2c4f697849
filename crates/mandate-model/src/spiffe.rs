//! SPIFFE identifiers (SPIFFE-ID §2), parsed by hand: a generic URL parser accepts too much.

use std::fmt;
use std::sync::Arc;

use crate::AgentTypeName;

/// Why text is not a SPIFFE ID or trust domain name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedSpiffeId {
    /// It does not begin with `spiffe://`.
    #[error("a SPIFFE ID begins with `spiffe://` (SPIFFE-ID §2)")]
    Scheme,
    /// The trust domain has other bytes than `[a-z0-9._-]`, none, or more than 255.
    #[error("a trust domain is 1 to 255 of a-z, 0-9, `.`, `-` and `_` (SPIFFE-ID §2.1)")]
    TrustDomain,
    /// A path segment is empty, `.` or `..`, or has other bytes than `[A-Za-z0-9._-]`.
    #[error(
        "path segments are of A-Z, a-z, 0-9, `.`, `-` and `_`, never empty, `.` or `..` (SPIFFE-ID §2.2)"
    )]
    Path,
    /// It is longer than 2048 bytes.
    #[error("a SPIFFE ID has at most 2048 bytes (SPIFFE-ID §2.3)")]
    TooLong,
    /// It has no path, so it names a trust domain and no workload.
    #[error("an agent's SPIFFE ID has a path")]
    NoPath,
}

/// One authority's name space, such as `acme.example`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The one way to make a trust domain from text, without the `spiffe://`.
    pub fn parse(text: &str) -> Result<Self, MalformedSpiffeId> {
        let fits = (1..=255).contains(&text.len()) && text.bytes().all(is_domain_byte);
        fits.then(|| Self(text.into()))
            .ok_or(MalformedSpiffeId::TrustDomain)
    }

    /// The name, without the scheme.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The SPIFFE ID of the trust domain itself: the audience of task tokens (A4).
    pub fn id(&self) -> String {
        format!("spiffe://{}", self.0)
    }

    /// The SPIFFE ID of an agent type: one per type, `spiffe://<trust domain>/agent/<name>`.
    pub fn agent(&self, name: &AgentTypeName) -> SpiffeId {
        SpiffeId {
            text: format!("spiffe://{}/agent/{name}", self.0).into(),
            domain: self.0.len(),
        }
    }

    /// The SPIFFE ID of the authority: who asks for a token where an operator does, and no workload.
    pub fn authority(&self) -> SpiffeId {
        SpiffeId {
            text: format!("spiffe://{}/mandate/authority", self.0).into(),
            domain: self.0.len(),
        }
    }

    /// The SPIFFE ID of the gateway fleet: the audience of JWT-SVIDs shown to gateways (A4).
    pub fn gateways(&self) -> SpiffeId {
        SpiffeId {
            text: format!("spiffe://{}/mandate/gateway", self.0).into(),
            domain: self.0.len(),
        }
    }
}

/// A workload's SPIFFE ID: a trust domain and a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId {
    text: Arc<str>,
    domain: usize,
}

impl SpiffeId {
    /// The one way to make a SPIFFE ID from text.
    pub fn parse(text: &str) -> Result<Self, MalformedSpiffeId> {
        if text.len() > 2048 {
            return Err(MalformedSpiffeId::TooLong);
        }
        let rest = text
            .strip_prefix("spiffe://")
            .ok_or(MalformedSpiffeId::Scheme)?;
        let (domain, path) = rest.split_once('/').ok_or(MalformedSpiffeId::NoPath)?;
        TrustDomain::parse(domain)?;
        if path.split('/').all(is_segment) {
            Ok(Self {
                text: text.into(),
                domain: domain.len(),
            })
        } else {
            Err(MalformedSpiffeId::Path)
        }
    }

    /// The whole identifier.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name of its trust domain.
    pub fn trust_domain(&self) -> &str {
        let start = SCHEME.len();
        self.text
            .get(start..start + self.domain)
            .unwrap_or_default()
    }

    /// Its path, with the leading slash.
    pub fn path(&self) -> &str {
        self.text
            .get(SCHEME.len() + self.domain..)
            .unwrap_or_default()
    }

    /// The agent type that it names, where its path is of the form `/agent/<name>`.
    pub fn agent_type(&self) -> Option<AgentTypeName> {
        AgentTypeName::parse(self.path().strip_prefix("/agent/")?).ok()
    }
}

fn is_domain_byte(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_')
}

fn is_segment(segment: &str) -> bool {
    !segment.is_empty()
        && segment != "."
        && segment != ".."
        && segment
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

const SCHEME: &str = "spiffe://";

macro_rules! text_impls {
    ($name:ident, $field:tt) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.$field)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.$field)
            }
        }
        impl TryFrom<String> for $name {
            type Error = MalformedSpiffeId;
            fn try_from(text: String) -> Result<Self, MalformedSpiffeId> {
                Self::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.$field.as_ref().to_owned()
            }
        }
        impl std::str::FromStr for $name {
            type Err = MalformedSpiffeId;
            fn from_str(text: &str) -> Result<Self, MalformedSpiffeId> {
                Self::parse(text)
            }
        }
    };
}
text_impls!(TrustDomain, 0);
text_impls!(SpiffeId, text);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_an_id_apart() {
        let id = SpiffeId::parse("spiffe://acme.example/agent/retriever").unwrap();
        assert_eq!(
            (id.trust_domain(), id.path()),
            ("acme.example", "/agent/retriever")
        );
        assert_eq!(id.agent_type().unwrap().as_str(), "retriever");
    }

    #[test]
    fn refuses_what_the_standard_forbids() {
        use MalformedSpiffeId::*;
        let cases = [
            ("https://a/b", Scheme),
            ("spiffe://a", NoPath),
            ("spiffe://A/b", TrustDomain),
            ("spiffe:///b", TrustDomain),
            ("spiffe://user@a/b", TrustDomain),
            ("spiffe://a:1/b", TrustDomain),
            ("spiffe://a/", Path),
            ("spiffe://a/b/", Path),
            ("spiffe://a/b//c", Path),
            ("spiffe://a/../c", Path),
            ("spiffe://a/%62", Path),
            ("spiffe://a/b?q", Path),
            ("spiffe://a/b#f", Path),
        ];
        for (text, why) in cases {
            assert_eq!(SpiffeId::parse(text), Err(why), "{text}");
        }
        assert_eq!(
            SpiffeId::parse(&format!("spiffe://a/{}", "b".repeat(2048))),
            Err(TooLong)
        );
    }
}
