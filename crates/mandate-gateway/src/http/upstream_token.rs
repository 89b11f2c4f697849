//! Tokens of the authority for upstreams that verify them (A4).

use std::sync::Arc;
use std::time::Duration;

use mandate_model::{GatewayId, Secret, Timestamp};
use mandate_policy::decl::{Credential, ServerWorkload};
use mandate_ports::Origin;
use mandate_ports::control::{UpstreamToken, UpstreamTokenRequest};
use sha2::{Digest, Sha256};

use super::inject::origin_of;
use super::refusal::Refusal;
use crate::control::{Client, ControlError};

/// Asks for them, and keeps each for its life and for the access token that it was got with.
pub(crate) struct UpstreamTokens {
    client: Client,
    gateway: GatewayId,
    kept: moka::sync::Cache<For, Kept>,
}

/// What a token was got with, and for whom: a bundle may change either under the same access token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct For {
    access_token: [u8; 32],
    audience: Option<String>,
    origin: Origin,
}

#[derive(Clone)]
struct Kept {
    token: Arc<Secret<String>>,
    until: Timestamp,
}

impl UpstreamTokens {
    pub(crate) fn new(client: Client, gateway: GatewayId) -> Self {
        let kept = moka::sync::Cache::builder()
            .max_capacity(4096)
            .time_to_live(Duration::from_secs(300))
            .build();
        Self {
            client,
            gateway,
            kept,
        }
    }

    /// The token for `server`, if its credential is one.
    pub(super) async fn of(
        &self,
        server: &ServerWorkload,
        access_token: &str,
        now: Timestamp,
    ) -> Result<Option<Arc<Secret<String>>>, Refusal> {
        if server.credential != Credential::MandateToken {
            return Ok(None);
        }
        let key = For {
            access_token: Sha256::digest(access_token).into(),
            audience: server.upstream_audience.clone(),
            origin: origin_of(&server.upstream),
        };
        if let Some(kept) = self.kept.get(&key)
            && now < kept.until
        {
            return Ok(Some(kept.token));
        }
        let fresh = self.ask(access_token).await?;
        self.kept.insert(key, fresh.clone());
        Ok(Some(fresh.token))
    }

    async fn ask(&self, access_token: &str) -> Result<Kept, Refusal> {
        let request = UpstreamTokenRequest {
            gateway: self.gateway.clone(),
            access_token: access_token.to_owned(),
        };
        let limit = Duration::from_secs(5);
        let answer: Result<UpstreamToken, ControlError> = self
            .client
            .post("/control/v1/upstream-token", &request, limit)
            .await;
        match answer {
            Ok(answer) => Ok(Kept {
                token: Arc::new(Secret::new(answer.token)),
                until: answer.expires_at,
            }),
            Err(why) => {
                tracing::warn!(%why, "no token for an upstream");
                Err(Refusal::UpstreamToken)
            }
        }
    }
}
