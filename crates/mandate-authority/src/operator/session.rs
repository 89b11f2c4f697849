//! Sessions of operators who come over the network: an ID token once, for minutes.
//!
//! A session is signed and kept nowhere, so that it outlives a restart and a provider that is down.
//! It ends at its expiry, by `session/end`, by a suspension of the operator, of the provider or of the
//! key that signed it, and with the bundle that no longer names the person, or names their provider for
//! another one. How it begins: `login.rs`.

use axum::extract::{Request, State};
use http::{HeaderMap, header};
use mandate_audit::{Decision, Event, What};
use mandate_model::stop::{Lineage, Shown};
use mandate_model::{Principal, ProviderName};
use mandate_policy::OperatorIdentity;
use mandate_policy::decl::OidcProvider;
use mandate_ports::{Change, Unit};
use mandate_token::{Audience, Expect, Kind, OperatorSession, Verified};

use crate::Authority;
use crate::listen::{Connection, SessionHolder};
use crate::problem::Problem;
use crate::world::{LiveBundle, World};

/// Ends the session that it comes with.
#[utoipa::path(
    post, path = "/operator/v1/session/end", tag = "operators",
    responses(
        (status = 204, description = "It has ended"),
        (status = 401, description = "There is no session that holds", body = crate::openapi::ProblemBody),
    ),
)]
pub(crate) async fn end(
    State(at): State<Connection>,
    request: Request,
) -> Result<http::StatusCode, Problem> {
    let holder = holder(&at, request.headers())?;
    let session = holder.session.claims();
    let world = at.authority.world();
    let token = session.id;
    let event = Event {
        principal: Some(Principal::Operator(session.operator.clone())),
        bundle: Some(world.live.version()),
        stops: Some(world.stops.version()),
        token: Some(token),
        ..Event::new(
            at.authority.now(),
            What::Revoked { token },
            Decision::Allowed,
        )
    };
    let until = session.expires_at;
    let unit = Unit {
        changes: vec![Change::RevokeToken { token, until }],
        events: vec![event],
        ..Unit::default()
    };
    at.authority.commit(unit).await?;
    Ok(http::StatusCode::NO_CONTENT)
}

/// Who sent a request with these headers: whoever holds the session in `Authorization`
/// (RFC 6750 §2.1). What it may do is asked later, of the live bundle.
pub(super) fn holder(at: &Connection, headers: &HeaderMap) -> Result<SessionHolder, Problem> {
    let authority = &at.authority;
    let none = |detail: &str| {
        let problem = Problem::session("session.none", detail);
        refuse(at, "session.none", problem)
    };
    let text = bearer(headers).ok_or_else(|| none(NO_SESSION))?;
    let (world, now) = (authority.world(), authority.now());
    let (issuer, audience) = (&authority.config().issuer, &audience(authority)?);
    let expect = Expect { issuer, audience };
    let session = OperatorSession::verify(text, &world.keys.set, &expect, now)
        .map_err(|why| none(&format!("the session is not accepted: {why}; {LOG_IN}")))?;
    if session.claims().confirmation.is_some() {
        return Err(none(
            "the session is bound to a key, and no proof came with it",
        ));
    }
    let live = world.bundle().ok_or_else(|| none("no bundle is live"))?;
    check(at, &world, live, &session)?;
    let prefix = at.origin.prefix();
    Ok(SessionHolder { session, prefix })
}

/// That a session still holds: by the live bundle its provider is the one that vouched, and nothing has
/// stopped it.
pub(super) fn check(
    at: &Connection,
    world: &World,
    live: &LiveBundle,
    session: &Verified<OperatorSession>,
) -> Result<(), Problem> {
    match stopped(world, live, session) {
        None => Ok(()),
        Some((rule, problem)) => Err(refuse(at, rule, problem)),
    }
}

/// By which rule a session holds no more, if there is one.
pub(super) fn stopped(
    world: &World,
    live: &LiveBundle,
    session: &Verified<OperatorSession>,
) -> Option<(&'static str, Problem)> {
    let claims = session.claims();
    if provider(live, &claims.provider).is_none_or(|now| now.pin() != claims.pin) {
        let rule = "session.provider";
        return Some((rule, Problem::session(rule, OTHER_PROVIDER)));
    }
    let key = Some(session.signed_by());
    let stopped = check_stops(world, live, claims, key).err();
    stopped.map(|why| ("session.stopped", why))
}

/// The operator under whichever name, the provider, the key and the session itself.
pub(super) fn check_stops(
    world: &World,
    live: &LiveBundle,
    session: &OperatorSession,
    key: Option<&mandate_model::KeyId>,
) -> Result<(), Problem> {
    let identity = OperatorIdentity::Person {
        provider: &session.provider,
        pin: &session.pin,
        claims: &session.person,
    };
    let named = live.bundle.operators().filter(|o| o.is(identity));
    let names = named.map(|o| &o.name).chain([&session.operator]);
    for name in names {
        let operator = Principal::Operator(name.clone());
        let lineage = Lineage {
            principal: Some(&operator),
            trigger_provider: Some(&session.provider),
            keys: key.map(std::slice::from_ref).unwrap_or_default(),
            operates: true,
            token: key.map(|_| Shown {
                id: session.id,
                stops: session.stops,
            }),
            ..Lineage::NONE
        };
        world
            .stops
            .check_at_home(&lineage)
            .map_err(|why| Problem::session("session.stopped", format!("{why}; {LOG_IN}")))?;
    }
    Ok(())
}

/// A provider for people of a bundle.
pub(super) fn provider<'a>(live: &'a LiveBundle, name: &ProviderName) -> Option<&'a OidcProvider> {
    live.bundle.provider(name)?.oidc()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let one = all.next().filter(|_| all.next().is_none())?;
    let (scheme, token) = one.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("Bearer")
        .then_some(token.trim())
}

/// The operators' interface, as the audience of sessions (A4): no token of another kind is for it.
pub(super) fn audience(authority: &Authority) -> Result<Audience, Problem> {
    let issuer = authority.config().issuer.as_str();
    Audience::parse(&format!("{issuer}/operator/v1")).map_err(|_| Problem::unavailable())
}

/// Counts a refusal of somebody who has not proved who they are (C3).
pub(super) fn refuse(at: &Connection, rule: &'static str, problem: Problem) -> Problem {
    let (authority, door) = (&at.authority, at.door.as_str());
    authority.metrics().refused(rule);
    let now = authority.now();
    authority
        .refusals()
        .count(door, rule, at.origin.prefix(), now);
    problem
}

const NO_SESSION: &str = "`Authorization: Bearer` with an operator's session is needed, once; `mandate login` begins one";
const OTHER_PROVIDER: &str = "the live bundle says of the trust provider by which this session began that it is another one; `mandate login` begins another session";
const LOG_IN: &str = "`mandate login` begins another one";
