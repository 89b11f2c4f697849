//! Endpoints for agents and verifiers beside `/token`.

mod challenge;
mod identify;
mod introspect;
mod keys;
mod metadata;
mod revoke;
mod tasks;

use axum::Router;
use axum::routing::{get, post};
use mandate_decide::exchange::{
    self, AuthenticatedClient, ExchangeError, FormError, LeavingClient,
};
use mandate_token::dpop::DpopProof;

use crate::form::{self, Pairs};
use crate::listen::Connection;
use crate::possession::ShownProof;
use crate::problem::Problem;
use crate::token::{self, Caller, Refused, authenticate, authenticate_leaving, exchange_world};
use crate::world::World;

pub(crate) use challenge::__path_challenge;
pub(crate) use introspect::__path_introspect;
pub(crate) use keys::{__path_jwks, __path_spiffe_bundle};
pub(crate) use metadata::{__path_authorize, __path_metadata, __path_openid_configuration};
pub(crate) use revoke::__path_revoke;
pub(crate) use tasks::{__path_close, __path_show};

/// The routes for agents and verifiers, over the network and at the agents' socket.
pub(crate) fn router() -> Router<Connection> {
    Router::new()
        .route("/token", post(token::token))
        .route(
            "/.well-known/oauth-authorization-server",
            get(metadata::metadata),
        )
        .route(
            "/.well-known/openid-configuration",
            get(metadata::openid_configuration),
        )
        .route("/authorize", get(metadata::authorize))
        .route("/jwks", get(keys::jwks))
        .route("/spiffe/bundle", get(keys::spiffe_bundle))
        .route("/attestation-challenge", post(challenge::challenge))
        .route("/introspect", post(introspect::introspect))
        .route("/revoke", post(revoke::revoke))
        .route("/task/show", post(tasks::show))
        .route("/task/close", post(tasks::close))
        .fallback(|| async { Problem::unknown("no such path") })
}

/// A form whose sender authenticated with a client assertion.
struct Authenticated<C> {
    client: C,
    caller: Caller,
    /// The parameters beside the assertion, each at most once.
    rest: Pairs,
}

/// How a client assertion is believed.
type Believe<C> = fn(
    &'static str,
    Option<&str>,
    Option<&DpopProof>,
    &exchange::World<'_>,
    &World,
) -> Result<(C, Caller), Refused>;

impl Authenticated<AuthenticatedClient> {
    /// Reads the form and authenticates its sender against `world`.
    async fn read(
        at: &Connection,
        world: &World,
        step: &'static str,
        request: axum::extract::Request,
    ) -> Result<Self, Refused> {
        Self::read_as(at, world, step, request, authenticate).await
    }
}

impl Authenticated<LeavingClient> {
    /// Reads the form of somebody who wants to end something that is its own.
    async fn read_leaving(
        at: &Connection,
        world: &World,
        step: &'static str,
        request: axum::extract::Request,
    ) -> Result<Self, Refused> {
        Self::read_as(at, world, step, request, authenticate_leaving).await
    }
}

impl<C> Authenticated<C> {
    async fn read_as(
        at: &Connection,
        world: &World,
        step: &'static str,
        request: axum::extract::Request,
        believe: Believe<C>,
    ) -> Result<Self, Refused> {
        let (fields, path) = (request.headers(), request.uri().path());
        let mut shown = ShownProof::of(&at.authority, fields, path).map_err(Refused::early)?;
        let mut form = form::read(request)
            .await
            .map_err(|why| Refused::form(&why))?;
        refuse_repeated(&form).map_err(|why| Refused::early(ExchangeError::Form(why)))?;
        let live = world.bundle().ok_or_else(Refused::no_bundle)?;
        let kind = take(&mut form, "client_assertion_type");
        let assertion =
            take(&mut form, "client_assertion").filter(|_| kind.as_deref() == Some(SPIFFE));
        let view = exchange_world(&at.authority, world, live, at.authority.now());
        let (client, caller) = believe(step, assertion.as_deref(), shown.proof(), &view, world)?;
        if let Err(why) = shown.take(&at.authority, caller.shower()) {
            return Err(caller.refused(why));
        }
        Ok(Self {
            client,
            caller,
            rest: form,
        })
    }

    /// A parameter's value; one without a value counts as omitted (RFC 6749 §3.2).
    fn take(&mut self, name: &str) -> Option<String> {
        take(&mut self.rest, name)
    }
}

fn take(form: &mut Pairs, name: &str) -> Option<String> {
    let at = form.iter().position(|(n, _)| n == name)?;
    Some(form.swap_remove(at).1).filter(|value| !value.is_empty())
}

fn refuse_repeated(form: &Pairs) -> Result<(), FormError> {
    if form.len() > MAX_PARAMETERS {
        return Err(FormError::TooLarge("more than 24 parameters"));
    }
    for (n, (name, _)) in form.iter().enumerate() {
        if form.iter().skip(n + 1).any(|(other, _)| other == name) {
            return Err(FormError::Repeated(name.chars().take(40).collect()));
        }
    }
    Ok(())
}

const MAX_PARAMETERS: usize = 24;
const SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
