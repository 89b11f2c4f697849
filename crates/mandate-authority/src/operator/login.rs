//! How a session of an operator begins: by an ID token that was got for a login here.

use axum::extract::{Request, State};
use axum::response::Response;
use mandate_audit::{Decision, Event, What};
use mandate_model::{OperatorName, Principal, ProviderName, Timestamp, TokenId};
use mandate_policy::OperatorIdentity;
use mandate_policy::decl::{OidcProvider, ProviderKind};
use mandate_ports::{Change, CommitError, Conflict, KeyPurpose, PersonRefusal, Unit};
use mandate_token::{IdToken, Kind, LoginSecret, OperatorSession};
use serde_json::{Value, json};

use super::person;
use super::session::{audience, check_stops, provider, refuse};
use crate::Authority;
use crate::body;
use crate::listen::{Connection, NO_OPERATOR};
use crate::problem::Problem;
use crate::token::pause_after;
use crate::world::{LiveBundle, World};

/// Where operators can prove who they are.
#[utoipa::path(
    get, path = "/operator/v1/login", tag = "operators",
    responses((status = 200, description = "The OpenID providers at which operators are declared: name, issuer, the client id to use, and whether the ID token must have the nonce that binds it to this authority", body = Object)),
)]
pub(crate) async fn providers(State(at): State<Connection>) -> Response {
    let world = at.authority.world();
    let config = at.authority.config();
    let found = world.bundle().map_or_else(Vec::new, declared);
    body::answer(&json!({
        "issuer": config.issuer.as_str(), "trust_domain": config.trust_domain, "providers": found,
    }))
}

/// The providers at which operators of a bundle are declared.
fn declared(live: &LiveBundle) -> Vec<serde_json::Value> {
    let mut found = Vec::new();
    for provider in live.bundle.providers() {
        let mut rules = person::rules(&live.bundle, &provider.name);
        if let (Some(_), ProviderKind::Oidc(oidc)) = (rules.next(), &provider.kind) {
            found.push(json!({
                "provider": provider.name, "issuer": oidc.issuer, "client_id": oidc.audience,
                "nonce": if oidc.dangerous_unbound_logins { "optional" } else { "required" },
            }));
        }
    }
    found
}

/// What begins a session.
#[derive(serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Begin {
    /// The trust provider that issued the ID token.
    #[schema(value_type = String)]
    provider: ProviderName,
    /// The ID token: fresh, and good for one session.
    id_token: String,
    /// What its `nonce` was made of, with this authority's issuer; absent where it has none.
    #[serde(default)]
    login_secret: Option<String>,
}

/// A session.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub(crate) struct Begun {
    /// To be sent as `Authorization: Bearer`.
    session: String,
    /// Its id, as records name it.
    #[schema(value_type = String)]
    id: TokenId,
    /// When it ends.
    #[schema(value_type = u64)]
    expires_at: Timestamp,
    /// Whom records name.
    #[schema(value_type = String)]
    operator: OperatorName,
}

/// Takes an ID token for a session.
#[utoipa::path(
    post, path = "/operator/v1/session", tag = "operators",
    request_body = Begin,
    responses(
        (status = 200, description = "A session", body = Begun),
        (status = 401, description = "The ID token is not accepted", body = crate::openapi::ProblemBody),
        (status = 403, description = "No operator, or a suspended one", body = crate::openapi::ProblemBody),
        (status = 409, description = "The ID token was used before", body = crate::openapi::ProblemBody),
        (status = 503, description = "Nothing can be recorded, or the provider's keys cannot be had", body = crate::openapi::ProblemBody),
    ),
)]
pub(crate) async fn begin(
    State(at): State<Connection>,
    request: Request,
) -> Result<Response, Problem> {
    let asked: Begin = body::json(request, MAX_BEGIN).await?;
    for tried in 0..ROUNDS {
        if let Some(begun) = round(&at, &asked).await? {
            at.authority.metrics().issued("operator-session");
            return Ok(body::answer(&begun));
        }
        pause_after(tried).await;
        at.authority.refresh().await?;
    }
    Err(Problem::unavailable())
}

/// One try at one world; `None` if it moved.
async fn round(at: &Connection, asked: &Begin) -> Result<Option<Begun>, Problem> {
    let (authority, world) = (&at.authority, at.authority.world());
    let nobody = || refuse(at, NO_OPERATOR, Problem::forbidden(NO_OPERATOR, NOBODY));
    let live = world.bundle().ok_or_else(nobody)?;
    // A stranger has nobody's keys fetched, and learns of no provider that operators do not use.
    if person::rules(&live.bundle, &asked.provider)
        .next()
        .is_none()
    {
        return Err(nobody());
    }
    let token = verified(at, live, asked).await?;
    // The provider of the bundle by which the token was verified.
    let provider = provider(live, &asked.provider).ok_or_else(nobody)?;
    check_nonce(authority, provider, asked, &token).map_err(|why| {
        let problem = Problem::session("session.nonce", why);
        refuse(at, "session.nonce", problem)
    })?;
    let pin = provider.pin();
    let person = person::kept(
        &live.bundle,
        &asked.provider,
        token.subject(),
        token.claims(),
    );
    let identity = OperatorIdentity::Person {
        provider: &asked.provider,
        pin: &pin,
        claims: &person,
    };
    let operator = live.bundle.operators().find(|o| o.is(identity));
    let operator = operator.ok_or_else(nobody)?.name.clone();
    let now = authority.now();
    let session = OperatorSession {
        issuer: authority.config().issuer.clone(),
        audience: audience(authority)?,
        operator,
        provider: asked.provider.clone(),
        pin,
        person,
        confirmation: None,
        id: TokenId::new(now, authority.random()),
        stops: world.stops.version(),
        issued_at: now,
        expires_at: now.plus(authority.config().lifetimes.operator_session),
    };
    check_stops(&world, live, &session, None).map_err(|why| refuse(at, "stopped", why))?;
    issue(authority, &world, session, &token).await
}

/// Signature, issuer, audience and times; and as fresh as where a person opens a task (A2).
async fn verified(at: &Connection, live: &LiveBundle, asked: &Begin) -> Result<IdToken, Problem> {
    let (authority, now) = (&at.authority, at.authority.now());
    let people = &authority.ports().people;
    let verified = people.verify(&asked.provider, &asked.id_token, &live.bundle, now);
    let token = match verified.await {
        Ok(token) => token,
        Err(PersonRefusal::Token(why)) => {
            let problem = Problem::session("session.id_token", why);
            return Err(refuse(at, "session.id_token", problem));
        }
        Err(why @ PersonRefusal::Unavailable(_)) => {
            tracing::warn!(%why, "an operator could not log in");
            return Err(Problem::elsewhere(why.to_string()));
        }
    };
    // Fetching keys takes its time.
    let age = authority.now().since(token.issued_at());
    if age > authority.config().lifetimes.id_token_age {
        let detail = "the ID token is older than 5 minutes; log in again";
        let problem = Problem::session("session.id_token_age", detail);
        return Err(refuse(at, "session.id_token_age", problem));
    }
    Ok(token)
}

/// That the token was got for a login at this authority (OpenID Connect Core §3.1.3.7, 11). One that
/// was got for another one, and shown to it, has that one's nonce; so has one that was got for
/// something else altogether.
fn check_nonce(
    authority: &Authority,
    provider: &OidcProvider,
    asked: &Begin,
    token: &IdToken,
) -> Result<(), &'static str> {
    let nonce = token.claims().get("nonce");
    match (asked.login_secret.as_deref(), nonce) {
        (Some(text), Some(Value::String(nonce))) => {
            let secret = LoginSecret::parse(text).ok_or(NO_SECRET)?;
            let ours = secret.nonce(&authority.config().issuer);
            (*nonce == ours).then_some(()).ok_or(OTHER_LOGIN)
        }
        (None, None) if provider.dangerous_unbound_logins => Ok(()),
        (None, None) => Err(UNBOUND),
        (Some(_), None) => Err(NO_NONCE),
        (None | Some(_), Some(_)) => Err(OTHER_LOGIN),
    }
}

async fn issue(
    authority: &Authority,
    world: &World,
    session: OperatorSession,
    token: &IdToken,
) -> Result<Option<Begun>, Problem> {
    let signer = &authority.ports().signer;
    let current = signer.current(KeyPurpose::Oauth).ok();
    let Some(key) = current.filter(|key| world.may_sign(key)) else {
        return Ok(None);
    };
    let ours = |why: &dyn std::fmt::Display| {
        tracing::error!(%why, "a session could not be made");
        Problem::unavailable()
    };
    let unsigned = session.clone().unsigned(&key).map_err(|why| ours(&why))?;
    let signed = signer.sign(&key, unsigned.signing_input());
    let signature = signed.map_err(|why| ours(&why))?.signature;
    let checked = unsigned.assemble(&signature);
    let checked = checked
        .check(&world.keys.set, &session, authority.now())
        .map_err(|why| ours(&why))?;
    let event = |what| Event {
        principal: Some(Principal::Operator(session.operator.clone())),
        bundle: Some(world.live.version()),
        stops: Some(world.stops.version()),
        token: Some(session.id),
        ..Event::new(session.issued_at, what, Decision::Allowed)
    };
    let expires_at = session.expires_at.floor_to_secs();
    let issued = What::Issued {
        token_kind: "operator-session".to_owned(),
        audience: session.audience.to_string(),
        expires_at,
        key,
        scope: None,
    };
    let operation = format!("operator-session at {}", session.provider);
    let unit = Unit {
        expect: Some(world.versions),
        changes: vec![Change::UseOnce {
            scope: "operator-session".to_owned(),
            id: format!("{}/{}", session.provider, token.replay_id()),
            // Verifiers allow for other people's clocks; so does our memory.
            until: token.expires_at().plus(ID_TOKEN_SLACK),
        }],
        events: vec![event(What::OperatorActed { operation }), event(issued)],
        ..Unit::default()
    };
    match authority.commit(unit).await {
        Ok(_receipt) => Ok(Some(Begun {
            session: checked.expose_text().to_owned(),
            id: session.id,
            expires_at,
            operator: session.operator,
        })),
        Err(CommitError::Conflict(Conflict::Versions(_))) => Ok(None),
        Err(why) => Err(why.into()),
    }
}

const NOBODY: &str =
    "this person is no operator: the live bundle has no `Operator` whose `oidc` fits";
const NO_SECRET: &str = "`login_secret` is no 32 bytes as base64url";
const NO_NONCE: &str = "the ID token has no `nonce`, so `login_secret` says nothing of it";
const UNBOUND: &str = "the ID token has no `nonce` that binds it to this authority; `mandate login` gets one that has, or the trust provider says `nonce: optional`";
const OTHER_LOGIN: &str = "the ID token was got for another login or another authority: its `nonce` is not made of this one's issuer and `login_secret`";
const ID_TOKEN_SLACK: std::time::Duration = std::time::Duration::from_secs(120);
const MAX_BEGIN: usize = 64 * 1024;
const ROUNDS: usize = 12;
