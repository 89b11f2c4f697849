//! `POST /token`: the six exchanges of `docs/tokens.md`.
//!
//! ```text
//! form → ParsedExchange → AuthenticatedClient → Grant → Sealed → commit → Receipted → reply
//! ```
//!
//! Everything from the second arrow on is made anew when the world has moved before the commit
//! (B4). A refusal takes the same road: it is recorded before it is sent.

mod chain;
mod issue;
mod refusal;
mod reply;
mod via;

use axum::extract::{Request, State};
use axum::response::Response;
use mandate_decide::exchange::{Fresh, ParsedExchange, Step, ViaExchange, parse};
use mandate_model::stop::Subject;
use mandate_model::{TaskId, TokenId};
use mandate_ports::{Conflict, KeyState};

use crate::form::{self, Pairs};
use crate::listen::Connection;
use crate::possession::{ShownProof, with_nonce};
pub(crate) use chain::{authenticate, authenticate_leaving, exchange_world, line_of};
pub(crate) use issue::{Issued, NotIssued, issue};
#[cfg(test)]
pub(crate) use refusal::one_refusal_of_each_kind;
pub(crate) use refusal::{Caller, Refusal, Refused};
pub(crate) use via::token_for_agent;

/// Exchanges.
#[utoipa::path(
    post, path = "/token", tag = "agents",
    request_body(content_type = "application/x-www-form-urlencoded", content = crate::openapi::TokenRequest),
    responses(
        (status = 200, description = "A token (RFC 8693 §2.2.1)", body = crate::openapi::TokenResponse),
        (status = 400, description = "A rule is broken", body = crate::openapi::OauthErrorBody),
        (status = 401, description = "The caller did not prove what it is", body = crate::openapi::OauthErrorBody),
        (status = 403, description = "Something about the request is suspended", body = crate::openapi::OauthErrorBody),
        (status = 503, description = "Nothing can be recorded now", body = crate::openapi::OauthErrorBody),
    ),
)]
pub(crate) async fn token(State(at): State<Connection>, request: Request) -> Response {
    let response = match exchange(&at, request).await {
        Ok(response) => response,
        Err(refused) => refused.reply(&at).await,
    };
    with_nonce(&at.authority, response)
}

async fn exchange(at: &Connection, request: Request) -> Result<Response, Refused> {
    let (shown, form) = read(at, request).await?;
    let parsed = parse(form, &at.authority.config().trust_domain).map_err(Refused::early)?;
    rounds(at, &Asked::Agent(parsed), shown).await
}

/// What a request shows of a key, and its form.
async fn read(at: &Connection, request: Request) -> Result<(ShownProof, Pairs), Refused> {
    let shown = ShownProof::of(&at.authority, request.headers(), request.uri().path());
    let shown = shown.map_err(Refused::early)?;
    let form = form::read(request).await;
    Ok((shown, form.map_err(|why| Refused::form(&why))?))
}

/// Who asks, and for what.
enum Asked {
    /// An agent, or whoever has the evidence of one.
    Agent(ParsedExchange),
    /// A gateway for an agent.
    Gateway(ViaExchange),
}

async fn rounds(
    at: &Connection,
    asked: &Asked,
    mut shown: ShownProof,
) -> Result<Response, Refused> {
    for tried in 0..ROUNDS {
        if let Some(response) = round(at, asked, &mut shown).await? {
            return Ok(response);
        }
        pause_after(tried).await;
        at.authority
            .refresh()
            .await
            .map_err(|_| Refused::unavailable())?;
    }
    Err(Refused::unavailable())
}

/// A world that moved is read again at once. One that seems to move again and again is a signer that
/// has not taken over the store's new keys yet: that takes a moment.
pub(crate) async fn pause_after(tried: usize) {
    if tried > 1 {
        tokio::time::sleep(PAUSE).await;
    }
}

/// One try at one world; `None` if the world moved before the commit.
async fn round(
    at: &Connection,
    asked: &Asked,
    shown: &mut ShownProof,
) -> Result<Option<Response>, Refused> {
    let authority = &at.authority;
    let world = authority.world();
    let live = world.bundle().ok_or_else(Refused::no_bundle)?;
    let now = authority.now();
    let fresh = Fresh {
        task: TaskId::new(now, authority.random()),
        token: TokenId::new(now, authority.random()),
    };
    let mut chain = chain::Chain {
        at,
        world: &world,
        live,
        now,
        fresh,
        shown,
    };
    let (grant, caller) = match asked {
        Asked::Agent(parsed) => chain.decide(parsed).await?,
        Asked::Gateway(asked) => chain.decide_via(asked).await?,
    };
    match issue(authority, &world, grant, chain.now, caller.shown()).await {
        Ok(issued) => {
            authority.metrics().issued(asked.kind());
            Ok(Some(reply::granted(&issued, authority.now())))
        }
        Err(NotIssued::Moved) => Ok(None),
        // Another key was bound between reading and storing.
        Err(NotIssued::Conflict(Conflict::KeyReplaced(_))) if asked.is_attestation() => Ok(None),
        Err(NotIssued::Conflict(why)) => Err(caller.refused(Refusal::of_conflict(why))),
        Err(NotIssued::Unavailable) => Err(Refused::unavailable()),
    }
}

/// The exchange's name in records.
fn name_of(step: &Step) -> &'static str {
    match step {
        Step::Attest { .. } => "attest",
        Step::AttestHosted { .. } => "attest-hosted",
        Step::Open(_) => "open",
        Step::Delegate(_) => "delegate",
        Step::Renew { .. } => "renew",
        Step::Resume(_) => "resume",
        Step::Access { .. } => "access",
    }
}

impl Asked {
    /// What it is for, in metrics.
    fn kind(&self) -> &'static str {
        match self {
            Asked::Agent(parsed) => kind_of(&parsed.step),
            Asked::Gateway(_) => "access",
        }
    }

    fn is_attestation(&self) -> bool {
        matches!(self, Asked::Agent(parsed) if matches!(parsed.step, Step::Attest { .. }))
    }
}

fn kind_of(step: &Step) -> &'static str {
    match step {
        Step::Attest { .. } | Step::AttestHosted { .. } => "jwt-svid",
        Step::Open(_) | Step::Delegate(_) | Step::Renew { .. } | Step::Resume(_) => "task",
        Step::Access { .. } => "access",
    }
}

impl crate::world::World {
    /// Whether the snapshot knows `key` as one that signs, and nobody has suspended it.
    pub(crate) fn may_sign(&self, key: &mandate_model::KeyId) -> bool {
        let is_signing = |known: &crate::world::PublicKey| known.state == KeyState::Signing;
        let known = self.keys.all.iter().find(|known| known.id == *key);
        known.is_some_and(is_signing) && !self.is_suspended(key)
    }

    /// Whether somebody has suspended `key`.
    pub(crate) fn is_suspended(&self, key: &mandate_model::KeyId) -> bool {
        let subject = Subject::Key { id: key.clone() };
        self.stops.suspension(&subject).is_some()
    }
}

/// How often an exchange begins again because the world moved.
pub(crate) const ROUNDS: usize = 12;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
