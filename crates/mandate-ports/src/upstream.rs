//! Secrets for upstreams (C4).

use async_trait::async_trait;
use mandate_model::{Secret, SecretName};

/// Where a request goes: what a secret is pinned to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// `http` or `https`.
    pub scheme: String,
    /// Lower case; an IPv6 address without brackets.
    pub host: String,
    /// Always said.
    pub port: u16,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "{}://[{}]:{}", self.scheme, self.host, self.port)
        } else {
            write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
        }
    }
}

/// Why there is no secret to inject. The access is denied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Local configuration does not map the name.
    #[error("secret `{0}` is not mapped by this gateway's local configuration")]
    Unmapped(SecretName),
    /// It is mapped, but not for this origin.
    #[error(
        "secret `{name}` is not pinned to `{origin}`; add the origin to its `origins` in this gateway's local configuration"
    )]
    WrongOrigin {
        /// The secret.
        name: SecretName,
        /// Where it would have gone.
        origin: Origin,
    },
    /// Its source cannot be read.
    #[error("secret `{0}` cannot be read from its source")]
    Unreadable(SecretName),
}

/// The fewest bytes of a secret. A shorter one could be guessed, and an upstream's echo of it could not
/// be told from an accident.
pub const MIN_SECRET: usize = 6;

/// Named secrets, mapped and pinned by this gateway's local configuration.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// The secret `name`, to be sent to `origin` and nowhere else; at least [`MIN_SECRET`] bytes.
    async fn secret(
        &self,
        name: &SecretName,
        origin: &Origin,
    ) -> Result<std::sync::Arc<Secret<Vec<u8>>>, CredentialError>;
}
