//! People, and who vouches for them: an OpenID provider of another machine, whose keys are known.

use std::sync::Arc;

use async_trait::async_trait;
use mandate_model::{ProviderName, Timestamp};
use mandate_policy::Bundle;
use mandate_ports::{PersonRefusal, PersonVerifier};
use mandate_testkit::oidc_issuer::OidcIssuer;
use mandate_token::{IdToken, IdTokenKeys};
use serde_json::json;
use tokio::runtime::Builder;

/// Outlives crashes. Nobody asks it anything: it only signs.
pub(crate) struct People {
    issuer: Arc<OidcIssuer>,
    keys: IdTokenKeys,
}

impl People {
    pub(crate) fn new() -> Arc<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let issuer = runtime.block_on(OidcIssuer::start());
        let keys = IdTokenKeys::from_jwks(issuer.jwks().to_string().as_bytes()).unwrap();
        Arc::new(Self { issuer, keys })
    }

    pub(crate) fn issuer(&self) -> &str {
        self.issuer.issuer()
    }

    /// A new ID token of somebody.
    pub(crate) fn id_token(&self, whose: &str, now: Timestamp) -> String {
        self.issuer.id_token(whose, AUDIENCE, now, &json!({}))
    }
}

#[async_trait]
impl PersonVerifier for People {
    async fn verify(
        &self,
        _: &ProviderName,
        token: &str,
        _: &Bundle,
        now: Timestamp,
    ) -> Result<IdToken, PersonRefusal> {
        IdToken::verify(token, &self.keys, self.issuer(), AUDIENCE, now)
            .map_err(|why| PersonRefusal::Token(why.to_string()))
    }
}

const AUDIENCE: &str = "support-app";
