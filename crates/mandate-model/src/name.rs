//! Names that a bundle declares.

use std::fmt;

/// A name that is not of the form `[a-z0-9]([a-z0-9-_.]*[a-z0-9])?`, at most 63 bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{input}` is no {kind}: 1 to 63 of a-z, 0-9, `-`, `_` and `.`, beginning and ending with a letter or digit"
)]
pub struct MalformedName {
    kind: &'static str,
    input: String,
}

fn is_name(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.')
        })
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The one way to make this name from text.
            pub fn parse(text: &str) -> Result<Self, MalformedName> {
                if is_name(text) {
                    Ok(Self(text.into()))
                } else {
                    let input = text.chars().take(80).collect();
                    Err(MalformedName { kind: $kind, input })
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = MalformedName;
            fn try_from(text: String) -> Result<Self, MalformedName> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl std::str::FromStr for $name {
            type Err = MalformedName;
            fn from_str(text: &str) -> Result<Self, MalformedName> {
                Self::parse(text)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )*};
}

names! {
    /// The name of an agent type; the last segment of its SPIFFE ID.
    AgentTypeName = "agent type name";
    /// The name of a server workload.
    ServerName = "server workload name";
    /// The name of an action of a server workload.
    ActionName = "action name";
    /// The name of a resource attribute.
    AttributeName = "attribute name";
    /// The name of a trust provider.
    ProviderName = "trust provider name";
    /// The name of an access policy, a task policy or a guardrail.
    PolicyName = "policy name";
    /// The name of an operator declaration.
    OperatorName = "operator name";
    /// The name of a secret that a bundle mentions and local configuration maps (C4).
    SecretName = "secret name";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_names_and_refuses_what_differs_by_one_detail() {
        for good in ["a", "customer-records", "x.y_z", "0a"] {
            assert_eq!(ServerName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "A", "a b", "a/b", "*", "é", &"a".repeat(64)] {
            assert!(ServerName::parse(bad).is_err(), "{bad}");
        }
    }
}
