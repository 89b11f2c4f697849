//! The two texts that a token is checked against byte for byte.

use std::fmt;
use std::sync::Arc;

/// Text that is no issuer or audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedUri {
    /// An issuer that is no URL. Whether plain `http` will do is for configuration to say.
    #[error("an issuer is a URL of visible ASCII without query and fragment (RFC 8414 §2)")]
    Issuer,
    /// An audience that is empty, too long or has other bytes.
    #[error("an audience is 1 to 2048 visible ASCII characters")]
    Audience,
}

fn is_plain(text: &str) -> bool {
    (1..=2048).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// As text.
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
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = MalformedUri;
            fn try_from(text: String) -> Result<Self, MalformedUri> {
                Self::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(text: $name) -> String {
                text.as_str().to_owned()
            }
        }
    )*};
}

texts! {
    /// An authority's issuer identifier (RFC 8414 §2); compared byte for byte.
    Issuer;
    /// Whom a token is for (A4); compared byte for byte.
    Audience;
}

impl Issuer {
    /// The one way to make an issuer from text.
    pub fn parse(text: &str) -> Result<Self, MalformedUri> {
        let is_url = text.starts_with("https://") || text.starts_with("http://");
        let fits = is_plain(text) && is_url && !text.contains(['?', '#']);
        fits.then(|| Self(text.into())).ok_or(MalformedUri::Issuer)
    }

    /// The issuer as an audience: of client assertions and of JWT-SVIDs for `/token` (A4).
    pub fn as_audience(&self) -> Audience {
        Audience(Arc::clone(&self.0))
    }
}

impl Audience {
    /// The one way to make an audience from text.
    pub fn parse(text: &str) -> Result<Self, MalformedUri> {
        is_plain(text)
            .then(|| Self(text.into()))
            .ok_or(MalformedUri::Audience)
    }

    /// The audience of task tokens: the trust domain (A4).
    pub fn of_tasks(domain: &mandate_model::TrustDomain) -> Self {
        Self(domain.id().into())
    }

    /// The audience of JWT-SVIDs that are shown to gateways (A4).
    pub fn of_gateways(domain: &mandate_model::TrustDomain) -> Self {
        Self(domain.gateways().as_str().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_a_url_without_query_and_fragment() {
        for good in [
            "https://id.acme.example",
            "http://127.0.0.1:7070",
            "https://a/b",
        ] {
            assert_eq!(Issuer::parse(good).unwrap().as_audience().as_str(), good);
        }
        for bad in [
            "",
            "id.acme.example",
            "https://a?x",
            "https://a#f",
            "https://a b",
            "ftp://a",
        ] {
            assert_eq!(Issuer::parse(bad), Err(MalformedUri::Issuer), "{bad}");
        }
        assert_eq!(Audience::parse(""), Err(MalformedUri::Audience));
        assert_eq!(Audience::parse("a b"), Err(MalformedUri::Audience));
    }
}
