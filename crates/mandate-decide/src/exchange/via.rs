//! An access token that a gateway gets for an agent (A9).
//!
//! The agent brought it a JWT-SVID for gateways, its task token, and where the SVID is bound to a key a
//! proof of that key for the request at the gateway. The gateway forwards all three. What it gets is
//! bound to a key of its own: it is worth nothing to anybody else, and to the gateway nothing beyond
//! the server workloads that it is assigned.

use mandate_model::stop::{Lineage, Shown};
use mandate_model::{GatewayId, Thumbprint};
use mandate_policy::decl::ServerWorkload;
use mandate_token::dpop::{DpopProof, HttpTarget, ProofError, ProofFor, UnverifiedProof};
use mandate_token::{Audience, Expect, JwtSvid, Kind, Verified};

use super::World;
use super::client::{AuthenticatedClient, IdentifiedClient};
use super::error::{ClientError, ExchangeError, FormError};
use super::parse::{ACCESS, Form, GRANT, JWT, TXN};

/// A form by which a gateway asks for an access token. Nothing in it is believed yet.
pub struct ViaExchange {
    /// The gateway, as it names itself (`client_id`).
    pub gateway: GatewayId,
    /// The agent's task token.
    pub subject_token: String,
    /// The resource indicator of the server workload.
    pub resource: String,
    /// The agent's JWT-SVID.
    pub actor_token: String,
    /// The agent's proof, where it showed one.
    pub proof: Option<ActorProof>,
}

/// A proof that an agent showed to a gateway, and the request that it was shown with.
pub struct ActorProof {
    /// The proof (`actor_dpop`).
    pub proof: String,
    /// The method of the agent's request (`actor_htm`).
    pub method: String,
    /// The address at which it came to the gateway (`actor_htu`).
    pub uri: String,
}

impl std::fmt::Debug for ViaExchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ViaExchange(…)")
    }
}

impl std::fmt::Debug for ActorProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ActorProof(…)")
    }
}

/// Why a gateway gets nothing for an agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViaError {
    /// The gateway shows no key to bind the token to.
    #[error("a gateway proves a key of its own in the `DPoP` field: what it gets is bound to that")]
    NoKey,
    /// The server workload is not assigned to the gateway.
    #[error(
        "the server workload is not assigned to this gateway, so it may not exchange for agents"
    )]
    Unassigned,
    /// The SVID does not verify.
    #[error("the actor token is not valid: {0}")]
    Actor(String),
    /// The SVID is bound to a key, and nothing proves that the agent has it.
    #[error("the JWT-SVID is bound to a key: the agent proves it with `ath` and `tth`")]
    NoProof,
    /// There is a proof, and the SVID is bound to no key.
    #[error("the JWT-SVID is bound to no key, so no proof belongs beside it")]
    Unbound,
    /// The proof is by another key.
    #[error("the agent's proof is by another key than the one that its JWT-SVID is bound to")]
    OtherKey,
    /// The proof does not hold.
    #[error("the agent's proof: {0}")]
    Proof(ProofError),
    /// The proof is for another place.
    #[error(
        "the agent's proof is for an address at which the server workload is not reached at this gateway"
    )]
    Elsewhere,
}

impl ViaError {
    /// The rule's name in records and metrics.
    pub(super) fn rule(&self) -> &'static str {
        match self {
            ViaError::NoKey => "gateway.no_key",
            ViaError::Unassigned => "gateway.unassigned",
            ViaError::Actor(_) => "actor.invalid",
            ViaError::NoProof => "proof.missing",
            ViaError::Unbound => "proof.unbound",
            ViaError::OtherKey => "proof.other_key",
            ViaError::Proof(_) => "proof.invalid",
            ViaError::Elsewhere => "proof.elsewhere",
        }
    }

    /// RFC 8693 §2.2.2, RFC 9449 §5, RFC 6749 §5.2.
    pub(super) fn code(&self) -> &'static str {
        match self {
            ViaError::Unassigned => "unauthorized_client",
            ViaError::Actor(_) => "invalid_request",
            ViaError::NoKey
            | ViaError::NoProof
            | ViaError::Unbound
            | ViaError::OtherKey
            | ViaError::Proof(_)
            | ViaError::Elsewhere => "invalid_dpop_proof",
        }
    }
}

/// Reads a decoded form, sent by a gateway. A parameter that comes twice is an error, not a choice.
pub fn parse_via(form: Vec<(String, String)>) -> Result<ViaExchange, ExchangeError> {
    parse_form(form).map_err(ExchangeError::Form)
}

fn parse_form(form: Vec<(String, String)>) -> Result<ViaExchange, FormError> {
    let mut form = Form::new(form)?;
    if form.take("grant_type").as_deref() != Some(GRANT) {
        return Err(FormError::GrantType);
    }
    for foreign in ["client_assertion", "client_assertion_type"] {
        // A gateway's connection says what it is.
        if form.take(foreign).is_some() {
            return Err(FormError::Unexpected(foreign));
        }
    }
    let gateway = form
        .parsed("client_id")?
        .ok_or(FormError::Missing("client_id"))?;
    typed(&mut form, "subject_token_type", &[TXN])?;
    typed(&mut form, "actor_token_type", &[JWT])?;
    if let Some(other) = form.take("requested_token_type")
        && other != ACCESS
    {
        return Err(not_taken("requested_token_type"));
    }
    let asked = ViaExchange {
        gateway,
        subject_token: form.need("subject_token")?,
        resource: form.need("resource")?,
        actor_token: form.need("actor_token")?,
        proof: actor_proof(&mut form)?,
    };
    form.end()?;
    Ok(asked)
}

fn typed(form: &mut Form, name: &'static str, taken: &[&str]) -> Result<(), FormError> {
    let kind = form.need(name)?;
    if taken.contains(&kind.as_str()) {
        Ok(())
    } else {
        Err(not_taken(name))
    }
}

fn not_taken(parameter: &'static str) -> FormError {
    FormError::TokenType {
        parameter,
        mend: "a gateway exchanges a txn_token with an actor's jwt for an access_token",
    }
}

fn actor_proof(form: &mut Form) -> Result<Option<ActorProof>, FormError> {
    let Some(proof) = form.take("actor_dpop") else {
        return match form.take("actor_htm").or(form.take("actor_htu")) {
            None => Ok(None),
            Some(_) => Err(FormError::Missing("actor_dpop")),
        };
    };
    Ok(Some(ActorProof {
        proof,
        method: form.need("actor_htm")?,
        uri: form.need("actor_htu")?,
    }))
}

/// A gateway that asks on its own account: its connection says that it is one, for which whoever calls
/// [`authenticate_gateway`] vouches, and it has proved the key that it gets tokens for.
#[derive(Debug, Clone)]
pub struct AuthenticatedGateway {
    id: GatewayId,
    proof: DpopProof,
}

/// Takes the word of a connection for `id`, with a `proof` of its key (RFC 9449 §5), if the gateway is
/// not stopped.
pub fn authenticate_gateway(
    id: &GatewayId,
    proof: Option<&DpopProof>,
    world: &World<'_>,
) -> Result<AuthenticatedGateway, ExchangeError> {
    let proof = proof.ok_or(ExchangeError::Via(ViaError::NoKey))?;
    world.stops.check(&Lineage {
        gateway: Some(id),
        ..Lineage::NONE
    })?;
    Ok(AuthenticatedGateway {
        id: id.clone(),
        proof: proof.clone(),
    })
}

/// The gateway that asks in an agent's place, and where it was asked.
#[derive(Debug, Clone)]
pub(super) struct InPlace {
    gateway: AuthenticatedGateway,
    /// The address that the agent's proof is for, where it showed one.
    reached: Option<HttpTarget>,
}

impl InPlace {
    pub(super) fn gateway(&self) -> &GatewayId {
        &self.gateway.id
    }

    /// The key that the token is bound to.
    pub(super) fn key(&self) -> Thumbprint {
        self.gateway.proof.key()
    }

    /// Good for this one request, as the agent's own is.
    pub(super) fn proof(&self) -> &DpopProof {
        &self.gateway.proof
    }

    /// Checks that `server` is assigned to the gateway, and that the agent's proof is for its address
    /// there: else a gateway could use a proof that was made for another server workload, or for
    /// another gateway.
    pub(super) fn check(&self, server: &ServerWorkload) -> Result<(), ExchangeError> {
        let id = self.gateway();
        if !server.gateways.is_assigned(id) {
            return Err(ExchangeError::Via(ViaError::Unassigned));
        }
        let reached = |target: &HttpTarget| server.gateways.is_reached(id, target.as_str());
        if self.reached.as_ref().is_none_or(reached) {
            Ok(())
        } else {
            Err(ExchangeError::Via(ViaError::Elsewhere))
        }
    }
}

/// Verifies the agent's SVID at `world.now`: signature, issuer, times, and the audience that SVIDs for
/// gateways have (A4), which no client assertion has. One that is bound to a key is good beside a proof
/// of that key alone, which is for this SVID, this task token, and the request at the gateway.
pub fn identify_via(
    asked: &ViaExchange,
    gateway: AuthenticatedGateway,
    world: &World<'_>,
) -> Result<IdentifiedClient, ExchangeError> {
    let verified = verify_actor(&asked.actor_token, world).map_err(ExchangeError::Via)?;
    let svid = verified.claims();
    let proved = match &asked.proof {
        None => None,
        Some(proof) => Some(verify_proof(proof, asked, world).map_err(ExchangeError::Via)?),
    };
    check_key(svid, proved.as_ref().map(|(proof, _)| proof)).map_err(ExchangeError::Via)?;
    let undeclared = || ExchangeError::Client(ClientError::Undeclared(svid.agent.sub.clone()));
    let (proof, reached) = proved.unzip();
    Ok(IdentifiedClient::of(AuthenticatedClient {
        actor: svid.agent.clone(),
        agent: svid.agent.sub.agent_type().ok_or_else(undeclared)?,
        assertion: asked.actor_token.clone(),
        shown: Shown {
            id: svid.id,
            stops: svid.stops,
        },
        key: verified.signed_by().clone(),
        expires_at: svid.expires_at,
        proof,
        via: Some(InPlace { gateway, reached }),
    }))
}

fn verify_actor(token: &str, world: &World<'_>) -> Result<Verified<JwtSvid>, ViaError> {
    let invalid = |why: &dyn std::fmt::Display| ViaError::Actor(why.to_string());
    let gateways = world.trust_domain.gateways();
    let audience = Audience::parse(gateways.as_str()).map_err(|why| invalid(&why))?;
    let expect = Expect {
        issuer: world.issuer,
        audience: &audience,
    };
    JwtSvid::verify(token, world.keys, &expect, world.now).map_err(|why| invalid(&why))
}

/// The proof as any server would check it (RFC 9449 §4.3), but for its nonce: that is the gateway's, which
/// has asked for it. How old the proof can be is for `world.now` to say, and that it is used once for
/// the store.
fn verify_proof(
    shown: &ActorProof,
    asked: &ViaExchange,
    world: &World<'_>,
) -> Result<(DpopProof, HttpTarget), ViaError> {
    let target = HttpTarget::parse(&shown.uri).map_err(|_| ViaError::Proof(ProofError::Target))?;
    let request = ProofFor {
        method: &shown.method,
        target: &target,
        access_token: Some(&asked.actor_token),
        task_token: Some(&asked.subject_token),
    };
    let proof = UnverifiedProof::parse(&shown.proof)
        .and_then(|proof| proof.verify(&request, world.now))
        .map_err(ViaError::Proof)?;
    Ok((proof, target))
}

/// RFC 9449 §7.1: the proof's key is the one that the SVID is bound to.
fn check_key(svid: &JwtSvid, proof: Option<&DpopProof>) -> Result<(), ViaError> {
    match (svid.confirmation, proof) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(ViaError::Unbound),
        (Some(_), None) => Err(ViaError::NoProof),
        (Some(bound), Some(proof)) if bound.jkt() == Some(proof.key()) => Ok(()),
        (Some(_), Some(_)) => Err(ViaError::OtherKey),
    }
}
