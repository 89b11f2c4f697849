//! `POST /control/v1/upstream-token`: a token for an upstream that verifies Mandate's (A4).
//!
//! An access token that is shown here is decided again: suspensions, task, policy.

use axum::extract::{Request, State};
use axum::response::Response;
use mandate_audit::{Decision, Event, What};
use mandate_model::mandate::{Entries, Entry};
use mandate_model::stop::{self, Lineage};
use mandate_model::{GatewayId, TaskId, Timestamp, TokenId};
use mandate_policy::decl::{Credential, ServerWorkload};
use mandate_ports::control::{UpstreamToken as Answer, UpstreamTokenRequest};
use mandate_ports::{CommitError, Conflict, KeyPurpose, Unit};
use mandate_token::{
    AccessToken, Audience, Expect, Kind, UpstreamToken, Verified, parse_scope, scope_of,
};

use super::{MAX_BODY, OwnUser};
use crate::Authority;
use crate::body;
use crate::listen::Connection;
use crate::problem::Problem;
use crate::token::pause_after;
use crate::world::{LiveBundle, World};

pub(super) async fn upstream_token(
    State(at): State<Connection>,
    _: OwnUser,
    request: Request,
) -> Result<Response, Problem> {
    let asked: UpstreamTokenRequest = body::json(request, MAX_BODY).await?;
    for tried in 0..ROUNDS {
        match round(&at.authority, &asked).await {
            Ok(Some(answer)) => {
                at.authority.metrics().issued("upstream");
                return Ok(body::answer(&answer));
            }
            Ok(None) => {
                pause_after(tried).await;
                at.authority.refresh().await?;
            }
            Err(Denied::Early(problem)) => return Err(problem),
            Err(Denied::Recorded(problem, event)) => {
                record(&at, *event).await?;
                return Err(problem);
            }
        }
    }
    Err(Problem::unavailable())
}

/// Records a refusal, up to the quota of the agent whose token was shown (C3).
async fn record(at: &Connection, event: Event) -> Result<(), Problem> {
    let refusals = at.authority.refusals();
    if let Some(agent) = event.actors.first().map(|actor| &actor.sub)
        && !refusals.is_recorded(agent)
    {
        let (door, now) = (at.door.as_str(), at.authority.now());
        refusals.count(door, "upstream-token", agent.to_string(), now);
        return Ok(());
    }
    at.authority.record(event).await?;
    Ok(())
}

/// Why there is no token.
enum Denied {
    /// The token is none of ours, or nothing could be decided.
    Early(Problem),
    /// It is ours, and a rule is broken.
    Recorded(Problem, Box<Event>),
}

impl From<Problem> for Denied {
    fn from(problem: Problem) -> Self {
        Denied::Early(problem)
    }
}

/// One try at one world; `None` if it moved.
async fn round(
    authority: &Authority,
    asked: &UpstreamTokenRequest,
) -> Result<Option<Answer>, Denied> {
    let (world, now) = (authority.world(), authority.now());
    let none = || Problem::token("bundle.none", "no bundle is live");
    let live = world.bundle().ok_or_else(none)?;
    let (server, token) = verify(authority, &world, live, &asked.access_token, now)?;
    let shown = Shown {
        authority,
        world: &world,
        live,
        server,
        token: &token,
        gateway: &asked.gateway,
        now,
    };
    let grant = match shown.decide().await {
        Ok(grant) => grant,
        Err(Denial::Unavailable) => return Err(Problem::unavailable().into()),
        Err(Denial::Rule(rule, detail)) => {
            let event = shown.refusal(rule, &detail);
            return Err(Denied::Recorded(
                Problem::token(rule, detail),
                Box::new(event),
            ));
        }
    };
    shown.issue(grant).await
}

fn verify<'a>(
    authority: &Authority,
    world: &World,
    live: &'a LiveBundle,
    token: &str,
    now: Timestamp,
) -> Result<(&'a ServerWorkload, Verified<AccessToken>), Problem> {
    let refused = |why: &dyn std::fmt::Display| Problem::token("token.invalid", why.to_string());
    let signed =
        AccessToken::verify_signature(token, &world.keys.set).map_err(|why| refused(&why))?;
    let issuer = &authority.config().issuer;
    for server in live.bundle.servers() {
        let Ok(audience) = Audience::parse(&server.resource) else {
            continue;
        };
        match signed.check(
            &Expect {
                issuer,
                audience: &audience,
            },
            now,
        ) {
            Ok(verified) => return Ok((server, verified)),
            Err(mandate_token::TokenError::Audience) => {}
            Err(why) => return Err(refused(&why)),
        }
    }
    Err(refused(&"it is for no declared server workload"))
}

struct Shown<'a> {
    authority: &'a Authority,
    world: &'a World,
    live: &'a LiveBundle,
    server: &'a ServerWorkload,
    token: &'a Verified<AccessToken>,
    gateway: &'a GatewayId,
    now: Timestamp,
}

/// A broken rule, or nothing that could be decided.
enum Denial {
    Rule(&'static str, String),
    Unavailable,
}

struct Granted {
    audience: Audience,
    entries: Entries,
}

impl Shown<'_> {
    async fn decide(&self) -> Result<Granted, Denial> {
        let rule = |name: &'static str, why: &str| Denial::Rule(name, why.to_owned());
        let takes = matches!(self.server.credential, Credential::MandateToken);
        let audience = self.server.upstream_audience.as_deref().filter(|_| takes);
        let audience = audience.and_then(|audience| Audience::parse(audience).ok());
        let none = || {
            rule(
                "upstream.none",
                "this server workload takes no Mandate tokens",
            )
        };
        let audience = audience.ok_or_else(none)?;
        self.check_gateway()?;
        self.check_stops()?;
        let task = self.authority.ports().state.task(self.task()).await;
        let task = task.map_err(|_| Denial::Unavailable)?;
        if !task.is_some_and(|task| task.is_live(self.now)) {
            return Err(rule("task.over", "the task is over"));
        }
        let denied = || {
            rule(
                "policy.default_deny",
                "no access policy lets the agent use this server workload",
            )
        };
        let entries = self.exercisable().ok_or_else(denied)?;
        Ok(Granted { audience, entries })
    }

    /// A server workload is served by the gateways that it is assigned to, and what a gateway got for its
    /// agent is good at that one alone.
    fn check_gateway(&self) -> Result<(), Denial> {
        let via = self.token.claims().via.as_ref();
        let own = via.is_none_or(|via| via.gateway == *self.gateway);
        if own && self.server.gateways.serves(self.gateway) {
            return Ok(());
        }
        let detail = "the server workload, or the access token, is another gateway's";
        Err(Denial::Rule("gateway.unassigned", detail.to_owned()))
    }

    fn check_stops(&self) -> Result<(), Denial> {
        let claims = self.token.claims();
        let path: Vec<TaskId> = claims.path.iter().collect();
        let key = self.token.signed_by();
        let holder = claims.agent_key();
        let lineage = Lineage {
            holder: holder.as_ref(),
            actors: claims.acting.levels(),
            path: &path,
            principal: Some(&claims.principal),
            trigger_provider: claims.trigger.provider.as_ref(),
            server: Some(&self.server.name),
            gateway: Some(self.gateway),
            keys: std::slice::from_ref(key),
            recipient: None,
            operates: false,
            token: Some(stop::Shown {
                id: claims.id,
                stops: claims.stops,
            }),
        };
        let stops = self.world.stops.check_at_home(&lineage);
        stops.map_err(|why| Denial::Rule("stopped", why.to_string()))
    }

    fn exercisable(&self) -> Option<Entries> {
        let claims = self.token.claims();
        let agent = claims.acting.actor().sub.agent_type()?;
        let could = |e: &&Entry| {
            self.live
                .bundle
                .could_exercise(&agent, &e.server, &e.action)
        };
        let kept: Vec<Entry> = claims.entries.iter().filter(could).cloned().collect();
        let kept = Entries::normalize(kept).ok()?;
        (!kept.is_empty()).then_some(kept)
    }

    async fn issue(&self, grant: Granted) -> Result<Option<Answer>, Denied> {
        let (authority, claims) = (self.authority, self.token.claims());
        let signer = &authority.ports().signer;
        let current = signer.current(KeyPurpose::Oauth).ok();
        let Some(key) = current.filter(|key| self.world.may_sign(key)) else {
            return Ok(None);
        };
        let ours = |why: &dyn std::fmt::Display| {
            tracing::error!(%why, "a token for an upstream could not be made");
            Problem::unavailable()
        };
        let scope = parse_scope(&scope_of(&grant.entries)).map_err(|why| ours(&why))?;
        let lifetime = authority.config().lifetimes.access;
        let token = UpstreamToken {
            issuer: claims.issuer.clone(),
            audience: grant.audience,
            principal: claims.principal.clone(),
            acting: claims.acting.clone(),
            root: claims.path.root(),
            task: self.task(),
            scope,
            id: TokenId::new(self.now, authority.random()),
            stops: self.world.stops.version(),
            issued_at: self.now,
            expires_at: self.now.plus(lifetime).min(claims.expires_at),
        };
        let unsigned = token.clone().unsigned(&key).map_err(|why| ours(&why))?;
        let signed = signer
            .sign(&key, unsigned.signing_input())
            .map_err(|why| ours(&why))?;
        let checked = unsigned.assemble(&signed.signature);
        let checked = checked
            .check(&self.world.keys.set, &token, self.now)
            .map_err(|why| ours(&why))?;
        let what = What::Issued {
            token_kind: "upstream".to_owned(),
            audience: token.audience.to_string(),
            expires_at: token.expires_at.floor_to_secs(),
            key,
            scope: Some(token.scope.to_string()),
        };
        let event = Event {
            token: Some(token.id),
            ..self.event(what, Decision::Allowed)
        };
        let unit = Unit {
            expect: Some(self.world.versions),
            live_tasks: vec![(self.task(), authority.now())],
            shown_tokens: vec![claims.id],
            events: vec![event],
            ..Unit::default()
        };
        match authority.commit(unit).await {
            Ok(_receipt) => Ok(Some(Answer {
                token: checked.expose_text().to_owned(),
                expires_at: token.expires_at.floor_to_secs(),
            })),
            // What ended or was revoked in between is found to be so in the next round.
            Err(CommitError::Conflict(
                Conflict::Versions(_) | Conflict::TaskNotLive(_) | Conflict::TokenRevoked(_),
            )) => Ok(None),
            Err(why) => Err(Problem::from(why).into()),
        }
    }

    fn task(&self) -> TaskId {
        self.token.claims().path.leaf()
    }

    fn refusal(&self, rule: &'static str, detail: &str) -> Event {
        self.authority.metrics().refused(rule);
        let what = What::Refused {
            step: "upstream-token".to_owned(),
            error: "token".to_owned(),
        };
        Event {
            rule: Some(rule.to_owned()),
            detail: Some(detail.to_owned()),
            ..self.event(what, Decision::Denied)
        }
    }

    fn event(&self, what: What, decision: Decision) -> Event {
        let claims = self.token.claims();
        Event {
            actors: claims.acting.levels().to_vec(),
            task: Some(claims.path.clone()),
            principal: Some(claims.principal.clone()),
            trigger: Some(claims.trigger.clone()),
            server: Some(self.server.name.clone()),
            bundle: Some(self.live.version),
            stops: Some(self.world.stops.version()),
            token: Some(claims.id),
            gateway: Some(self.gateway.clone()),
            via: claims.via.as_ref().map(|via| via.gateway.clone()),
            ..Event::new(self.now, what, decision)
        }
    }
}

const ROUNDS: usize = 12;
