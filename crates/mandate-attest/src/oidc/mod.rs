//! People, by ID tokens of declared OpenID providers (A2).
//!
//! Keys are fetched from the issuer that the bundle declares and from nowhere that a token names.
//! They are kept per provider: used while fresh, used and renewed beside while stale, and never
//! used when too old. A token with an unknown `kid` makes the set be fetched again, but only so
//! often per issuer, since anybody can invent a `kid`.

mod fetch;
mod keys;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use mandate_model::{ProviderName, Timestamp};
use mandate_policy::Bundle;
use mandate_policy::decl::{OidcProvider, ProviderKind};
use mandate_ports::{Clock, PersonRefusal, PersonVerifier};
use mandate_token::{IdToken, UnverifiedIdToken};

use fetch::Fetcher;
use keys::KeyCache;

pub use fetch::UnusableRoots;

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
    fetcher: Arc<Fetcher>,
    clock: Arc<dyn Clock>,
    options: OidcOptions,
    /// By issuer and place of keys: a bundle that changes them starts anew. Held for a look-up.
    caches: Mutex<HashMap<Source, Arc<KeyCache>>>,
}

/// Where a provider's keys come from. All of it is declared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Source {
    issuer: String,
    jwks_uri: Option<String>,
}

impl OidcPersonVerifier {
    /// A verifier without keys; it fetches them when they are first needed. `clock` measures ages.
    pub fn new(options: OidcOptions, clock: Arc<dyn Clock>) -> Result<Self, UnusableRoots> {
        Ok(Self {
            fetcher: Arc::new(Fetcher::new(&options.extra_roots, options.timeout)?),
            clock,
            options,
            caches: Mutex::default(),
        })
    }

    fn cache(&self, provider: &OidcProvider) -> Arc<KeyCache> {
        let source = Source {
            issuer: provider.issuer.clone(),
            jwks_uri: provider.jwks_uri.clone(),
        };
        let mut caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        if caches.len() >= MAX_CACHES && !caches.contains_key(&source) {
            caches.clear();
        }
        let new = |source: &Source| {
            let (fetcher, clock) = (self.fetcher.clone(), self.clock.clone());
            Arc::new(KeyCache::new(source.clone(), fetcher, clock, &self.options))
        };
        let cache = caches.entry(source);
        cache.or_insert_with_key(new).clone()
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
        let keys = self.cache(declared).keys(kid.as_deref()).await;
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
        Some(ProviderKind::Process) | None => Err(PersonRefusal::Token(format!(
            "`{name}` is no trust provider for people"
        ))),
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

/// More providers than any bundle has; former ones go when it is reached.
const MAX_CACHES: usize = 64;

#[cfg(test)]
mod tests;
