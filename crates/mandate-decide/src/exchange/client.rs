//! Who calls: a JWT-SVID as client assertion (draft-ietf-oauth-spiffe-client-auth-02 §3.1).

use mandate_model::stop::Lineage;
use mandate_model::{ActorLevel, AgentTypeName, KeyId, Timestamp, TokenId};
use mandate_policy::decl::AgentType;
use mandate_token::{JwtSvid, TokenError};

use super::World;
use super::error::{ClientError, ExchangeError};

/// An agent whose JWT-SVID held, of a declared type, and not suspended.
#[derive(Debug, Clone)]
pub struct AuthenticatedClient {
    actor: ActorLevel,
    agent: AgentTypeName,
    assertion: String,
    token: TokenId,
    key: KeyId,
    expires_at: Timestamp,
}

impl AuthenticatedClient {
    /// The agent, as it will stand in `act`.
    pub fn actor(&self) -> &ActorLevel {
        &self.actor
    }

    /// Its type.
    pub fn agent(&self) -> &AgentTypeName {
        &self.agent
    }

    /// The id of its SVID.
    pub fn token(&self) -> TokenId {
        self.token
    }

    /// The key that signed its SVID.
    pub fn key(&self) -> &KeyId {
        &self.key
    }

    /// When its SVID expires.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Whether `token` is, byte for byte, the SVID that it authenticated with.
    pub fn is_own_svid(&self, token: &str) -> bool {
        self.assertion == token
    }

    /// Its declaration.
    pub(super) fn declaration<'a>(
        &self,
        world: &World<'a>,
    ) -> Result<&'a AgentType, ExchangeError> {
        declared(&self.actor, world)
    }
}

/// An agent whose JWT-SVID held. Nobody has asked yet whether it may go on: what it is can be
/// recorded, and that is all.
#[derive(Debug, Clone)]
pub struct IdentifiedClient(AuthenticatedClient);

impl IdentifiedClient {
    /// The agent.
    pub fn actor(&self) -> &ActorLevel {
        &self.0.actor
    }

    /// The id of its SVID.
    pub fn token(&self) -> TokenId {
        self.0.token
    }

    /// Checks that its type is declared and that nothing about it is stopped.
    pub fn admit(self, world: &World<'_>) -> Result<AuthenticatedClient, ExchangeError> {
        let client = self.0;
        declared(&client.actor, world)?;
        let lineage = Lineage {
            actors: std::slice::from_ref(&client.actor),
            keys: std::slice::from_ref(&client.key),
            tokens: std::slice::from_ref(&client.token),
            ..Lineage::NONE
        };
        world.stops.check(&lineage)?;
        Ok(client)
    }
}

/// Verifies a client assertion at `world.now`: signature, issuer, audience, times.
pub fn identify(
    assertion: Option<&str>,
    world: &World<'_>,
) -> Result<IdentifiedClient, ExchangeError> {
    let assertion = assertion.ok_or(ExchangeError::Client(ClientError::None))?;
    let verified = JwtSvid::verify_client_assertion(assertion, world.keys, world.issuer, world.now)
        .map_err(|why| ExchangeError::Client(client_error(why)))?;
    let svid = verified.claims();
    let undeclared = || ExchangeError::Client(ClientError::Undeclared(svid.agent.sub.clone()));
    Ok(IdentifiedClient(AuthenticatedClient {
        actor: svid.agent.clone(),
        agent: svid.agent.sub.agent_type().ok_or_else(undeclared)?,
        assertion: assertion.to_owned(),
        token: svid.id,
        key: verified.signed_by().clone(),
        expires_at: svid.expires_at,
    }))
}

/// [`identify`], then [`IdentifiedClient::admit`].
pub fn authenticate(
    assertion: Option<&str>,
    world: &World<'_>,
) -> Result<AuthenticatedClient, ExchangeError> {
    identify(assertion, world)?.admit(world)
}

fn declared<'a>(actor: &ActorLevel, world: &World<'a>) -> Result<&'a AgentType, ExchangeError> {
    let undeclared = || ExchangeError::Client(ClientError::Undeclared(actor.sub.clone()));
    if actor.sub.trust_domain() != world.trust_domain.as_str() {
        return Err(undeclared());
    }
    let name = actor.sub.agent_type().ok_or_else(undeclared)?;
    world.bundle.agent(&name).ok_or_else(undeclared)
}

fn client_error(why: TokenError) -> ClientError {
    if let TokenError::AssertionAudience { issuer } = why {
        ClientError::Audience { issuer }
    } else {
        ClientError::Invalid(why.to_string())
    }
}
