//! People, by ID tokens of declared OpenID providers (A2).
//!
//! Keys are fetched from the issuer that the bundle declares and from nowhere that a token names.

mod fetch;
mod keys;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mandate_model::{ProviderName, Timestamp};
use mandate_policy::Bundle;
use mandate_policy::decl::{OidcProvider, ProviderKind};
use mandate_ports::{PersonRefusal, PersonVerifier};
use mandate_token::{IdToken, UnverifiedIdToken};

pub(crate) use fetch::{FetchError, Fetched};
pub use keys::IssuerKeys;
pub(crate) use keys::{FetchKeys, KeyCache, Source};

/// How keys are fetched and kept.
#[derive(Debug, Clone)]
pub struct OidcOptions {
    /// How long a key set is used before it is renewed.
    pub max_age: Duration,
    /// How long it is used at most, while it cannot be renewed.
    pub max_stale: Duration,
    /// How many fetches per issuer at once; afterwards as many per minute.
    pub fetches_per_minute: NonZeroU32,
    /// How long one fetch may take.
    pub timeout: Duration,
    /// Certificates (PEM) of authorities to trust besides the public ones.
    pub extra_roots: Vec<u8>,
}

impl Default for OidcOptions {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(300),
            max_stale: Duration::from_secs(3600),
            fetches_per_minute: NonZeroU32::MIN.saturating_add(5),
            timeout: Duration::from_secs(5),
            extra_roots: Vec::new(),
        }
    }
}

/// Verifies ID tokens of people.
pub struct OidcPersonVerifier {
    keys: Arc<IssuerKeys>,
}

impl OidcPersonVerifier {
    /// A verifier with these keys.
    pub fn new(keys: Arc<IssuerKeys>) -> Self {
        Self { keys }
    }
}

#[async_trait]
impl PersonVerifier for OidcPersonVerifier {
    async fn verify(
        &self,
        provider: &ProviderName,
        token: &str,
        bundle: &Bundle,
        now: Timestamp,
    ) -> Result<IdToken, PersonRefusal> {
        let declared = oidc_provider(bundle, provider)?;
        let refused = |e: mandate_token::IdTokenError| PersonRefusal::Token(e.to_string());
        let kid = check_unverified(token, declared).map_err(refused)?;
        let source = Source::Issuer {
            issuer: declared.issuer.clone(),
            jwks_uri: declared.jwks_uri.clone(),
        };
        let keys = self.keys.of(&source, kid.as_deref()).await;
        let keys = keys.ok_or_else(|| PersonRefusal::Unavailable(provider.clone()))?;
        IdToken::verify(token, &keys, &declared.issuer, &declared.audience, now).map_err(refused)
    }
}

fn oidc_provider<'a>(
    bundle: &'a Bundle,
    name: &ProviderName,
) -> Result<&'a OidcProvider, PersonRefusal> {
    match bundle.provider(name).map(|provider| &provider.kind) {
        Some(ProviderKind::Oidc(oidc)) => Ok(oidc),
        Some(ProviderKind::Process | ProviderKind::Token(_) | ProviderKind::Aws(_)) | None => Err(
            PersonRefusal::Token(format!("`{name}` is no trust provider for people")),
        ),
    }
}

/// Refuses what needs no key to be refused: such a token must not cause a fetch.
fn check_unverified(
    token: &str,
    provider: &OidcProvider,
) -> Result<Option<String>, mandate_token::IdTokenError> {
    let unverified = UnverifiedIdToken::parse(token)?;
    if unverified.untrusted_issuer() == Some(&provider.issuer) {
        Ok(unverified.untrusted_kid().map(str::to_owned))
    } else {
        Err(mandate_token::IdTokenError::Issuer)
    }
}

#[cfg(test)]
mod tests;
