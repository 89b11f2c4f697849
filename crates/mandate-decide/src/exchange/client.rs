//! Who calls: a JWT-SVID as client assertion (draft-ietf-oauth-spiffe-client-auth-02 §3.1).

use mandate_model::stop::{Lineage, Shown};
use mandate_model::{ActorLevel, AgentTypeName, KeyId, Thumbprint, Timestamp, TokenId};
use mandate_policy::decl::{AgentType, Possession};
use mandate_token::dpop::DpopProof;
use mandate_token::{Confirmation, TokenError};

use super::World;
use super::error::{ClientError, ExchangeError};

/// An agent whose JWT-SVID held, of a declared type, and not suspended.
#[derive(Debug, Clone)]
pub struct AuthenticatedClient {
    actor: ActorLevel,
    agent: AgentTypeName,
    assertion: String,
    shown: Shown,
    key: KeyId,
    expires_at: Timestamp,
    proof: Option<DpopProof>,
}

impl AuthenticatedClient {
    /// Checks that `client_id`, where it was sent, names this client (RFC 7521 §4.2).
    pub fn check_id(&self, client_id: Option<&str>) -> Result<(), ExchangeError> {
        match client_id {
            Some(id) if id != self.actor.sub.as_str() => {
                Err(ExchangeError::Client(ClientError::OtherId))
            }
            Some(_) | None => Ok(()),
        }
    }

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
        self.shown.id
    }

    /// The key that signed its SVID.
    pub fn key(&self) -> &KeyId {
        &self.key
    }

    /// When its SVID expires.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// The key that its SVID is bound to, and that it has just proved to hold; `None` where its SVID
    /// is bound to none.
    pub fn holder(&self) -> Option<Thumbprint> {
        self.proof.as_ref().map(DpopProof::key)
    }

    /// The proof that it showed, good for this one request.
    pub(super) fn proof(&self) -> Option<&DpopProof> {
        self.proof.as_ref()
    }

    /// Whether `token` is, byte for byte, the SVID that it authenticated with.
    pub fn is_own_svid(&self, token: &str) -> bool {
        self.assertion == token
    }

    fn check_stops(&self, world: &World<'_>) -> Result<(), ExchangeError> {
        let holder = self.holder();
        let lineage = Lineage {
            holder: holder.as_ref(),
            actors: std::slice::from_ref(&self.actor),
            keys: std::slice::from_ref(&self.key),
            token: Some(self.shown),
            ..Lineage::NONE
        };
        Ok(world.stops.check_at_home(&lineage)?)
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
        self.0.shown.id
    }

    /// The key that it has proved to hold.
    pub fn holder(&self) -> Option<Thumbprint> {
        self.0.holder()
    }

    /// Checks that its type is declared, that it has a key where the type needs one, and that nothing
    /// about it is stopped.
    pub fn admit(self, world: &World<'_>) -> Result<AuthenticatedClient, ExchangeError> {
        let declared = declared(&self.0.actor, world)?;
        check_possession(declared, self.0.holder())?;
        self.0.check_stops(world)?;
        Ok(self.0)
    }

    /// Checks that nothing about it is stopped. Its type need not be declared any more: who wants to
    /// end what it has, needs to be allowed nothing.
    pub fn leave(self, world: &World<'_>) -> Result<LeavingClient, ExchangeError> {
        self.0.check_stops(world)?;
        Ok(LeavingClient(self.0))
    }
}

/// An agent whose JWT-SVID held, and not suspended: it may end what is its own, and nothing else.
#[derive(Debug, Clone)]
pub struct LeavingClient(AuthenticatedClient);

impl LeavingClient {
    /// The agent.
    pub fn actor(&self) -> &ActorLevel {
        &self.0.actor
    }

    /// The key that it has proved to hold.
    pub fn holder(&self) -> Option<Thumbprint> {
        self.0.holder()
    }
}

/// Verifies a client assertion at `world.now`: signature, issuer, audience, times. One that is bound
/// to a key is good beside a `proof` by that key alone (A5), and one that is bound to none beside no
/// proof: whose key would that be?
pub fn identify(
    assertion: Option<&str>,
    proof: Option<&DpopProof>,
    world: &World<'_>,
) -> Result<IdentifiedClient, ExchangeError> {
    let assertion = assertion.ok_or(ExchangeError::Client(ClientError::None))?;
    let verified = world
        .signatures
        .assertion(assertion, world.keys, world.issuer)
        .and_then(|signed| signed.check_assertion(world.issuer, world.now))
        .map_err(|why| ExchangeError::Client(client_error(why)))?;
    let svid = verified.claims();
    check_proof(svid.confirmation, proof).map_err(ExchangeError::Client)?;
    let undeclared = || ExchangeError::Client(ClientError::Undeclared(svid.agent.sub.clone()));
    Ok(IdentifiedClient(AuthenticatedClient {
        actor: svid.agent.clone(),
        agent: svid.agent.sub.agent_type().ok_or_else(undeclared)?,
        assertion: assertion.to_owned(),
        shown: Shown {
            id: svid.id,
            stops: svid.stops,
        },
        key: verified.signed_by().clone(),
        expires_at: svid.expires_at,
        proof: proof.cloned(),
    }))
}

/// [`identify`], then [`IdentifiedClient::admit`].
pub fn authenticate(
    assertion: Option<&str>,
    proof: Option<&DpopProof>,
    world: &World<'_>,
) -> Result<AuthenticatedClient, ExchangeError> {
    identify(assertion, proof, world)?.admit(world)
}

/// RFC 9449 §7.1: the proof's key is the one that the token is bound to.
fn check_proof(
    bound_to: Option<Confirmation>,
    proof: Option<&DpopProof>,
) -> Result<(), ClientError> {
    match (bound_to, proof) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(ClientError::Unbound),
        (Some(_), None) => Err(ClientError::NoProof),
        (Some(bound), Some(proof)) if bound.jkt() == Some(proof.key()) => Ok(()),
        (Some(_), Some(_)) => Err(ClientError::OtherKey),
    }
}

/// What an agent type that says `proof: required` needs.
pub(super) fn check_possession(
    declared: &AgentType,
    holder: Option<Thumbprint>,
) -> Result<(), ExchangeError> {
    if declared.proof == Possession::Required && holder.is_none() {
        let agent = declared.name.to_string();
        return Err(ExchangeError::Client(ClientError::ProofRequired { agent }));
    }
    Ok(())
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
