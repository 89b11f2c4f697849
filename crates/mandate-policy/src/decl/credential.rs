//! How a gateway authenticates to an upstream (C4). Secrets are named here, never held.

use mandate_model::SecretName;

/// What a gateway injects into a request that it forwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Nothing.
    None,
    /// A header.
    Header {
        /// Its name, in lower case.
        name: String,
        /// Its value.
        value: SecretTemplate,
    },
    /// HTTP basic authentication (RFC 7617).
    Basic {
        /// The user.
        user: String,
        /// The password.
        secret: SecretName,
    },
    /// A query parameter.
    Query {
        /// Its name.
        name: String,
        /// Its value, before percent-encoding.
        value: SecretTemplate,
    },
    /// A token of this authority for `upstreamAudience`, for upstreams that verify it (A4).
    MandateToken,
}

impl Credential {
    /// The secret that local configuration has to map and pin, if it needs one.
    pub fn secret(&self) -> Option<&SecretName> {
        match self {
            Credential::None | Credential::MandateToken => None,
            Credential::Header { value, .. } | Credential::Query { value, .. } => {
                Some(&value.secret)
            }
            Credential::Basic { secret, .. } => Some(secret),
        }
    }

    /// The header field that it is put into, in lower case.
    pub fn header(&self) -> Option<&str> {
        match self {
            Credential::Header { name, .. } => Some(name),
            Credential::Basic { .. } | Credential::MandateToken => Some("authorization"),
            Credential::Query { .. } | Credential::None => None,
        }
    }

    /// Its kind in bundles: `none`, `header`, `basic`, `query` or `mandateToken`.
    pub fn kind(&self) -> &'static str {
        match self {
            Credential::None => "none",
            Credential::Header { .. } => "header",
            Credential::Basic { .. } => "basic",
            Credential::Query { .. } => "query",
            Credential::MandateToken => "mandateToken",
        }
    }
}

/// Text around exactly one secret: `Bearer ${secret:records-key}`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretTemplate {
    /// What stands before the secret.
    pub before: String,
    /// The secret.
    pub secret: SecretName,
    /// What stands after it.
    pub after: String,
}

/// Why text is no [`SecretTemplate`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MalformedTemplate {
    #[error("the value has no `${{secret:name}}`")]
    NoSecret,
    #[error("the value has more than one `${{…}}`")]
    Several,
    #[error("`${{` is not closed by `}}`")]
    Unclosed,
    #[error("{0}")]
    Name(#[from] mandate_model::MalformedName),
    #[error("the value has control characters")]
    Control,
}

impl SecretTemplate {
    pub(crate) fn parse(text: &str) -> Result<Self, MalformedTemplate> {
        let (before, rest) = text
            .split_once("${secret:")
            .ok_or(MalformedTemplate::NoSecret)?;
        let (name, after) = rest.split_once('}').ok_or(MalformedTemplate::Unclosed)?;
        if before.contains("${") || after.contains("${") {
            return Err(MalformedTemplate::Several);
        }
        if text.chars().any(char::is_control) {
            return Err(MalformedTemplate::Control);
        }
        Ok(Self {
            before: before.to_owned(),
            secret: SecretName::parse(name)?,
            after: after.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_has_exactly_one_secret() {
        let good = SecretTemplate::parse("Bearer ${secret:records-key}").unwrap();
        assert_eq!(
            (
                good.before.as_str(),
                good.secret.as_str(),
                good.after.as_str()
            ),
            ("Bearer ", "records-key", "")
        );
        for bad in [
            "Bearer hunter2",
            "${secret:a}${secret:b}",
            "${secret:a",
            "${secret:A}",
            "${env:a}",
            "x\n${secret:a}",
        ] {
            assert!(SecretTemplate::parse(bad).is_err(), "{bad}");
        }
    }
}
