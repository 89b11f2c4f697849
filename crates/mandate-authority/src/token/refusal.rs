//! Why an exchange is refused, how it is recorded, and what the caller sees.

use axum::response::Response;
use mandate_audit::{Decision, Event, What};
use mandate_decide::exchange::{
    ActorError, Evident, ExchangeError, FormError, IdentifiedClient, OauthError, SubjectError,
};
use mandate_decide::possession::{SeenError, Shower};
use mandate_model::mandate::Budget;
use mandate_model::stop::Stopped;
use mandate_model::task::Task;
use mandate_model::{
    ActorLevel, BundleVersion, GatewayId, SpiffeId, StopVersion, Timestamp, TokenId,
};
use mandate_ports::{AttestRefusal, Conflict, PersonRefusal};
use mandate_token::dpop::ProofError;

use super::reply;
use crate::body::BodyError;
use crate::form::MalformedForm;
use crate::listen::Connection;
use crate::world::{LiveBundle, World};

/// A broken rule of the token endpoint, those of the shell included.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// A rule of the pure chain.
    #[error("{0}")]
    Exchange(#[from] ExchangeError),
    /// The connection proves no process.
    #[error(
        "`urn:mandate:token-type:process` is evidence only at the agents' Unix socket: ask there, not over the network"
    )]
    NoPeer,
    /// The evidence fits no agent type, or several.
    #[error("{0}")]
    Evidence(AttestRefusal),
    /// A person's ID token is not accepted.
    #[error("{0}")]
    Person(#[from] PersonRefusal),
    /// The proof does not hold.
    #[error("{0}")]
    Proof(ProofError),
    /// The proof has no nonce of this process, or one that is too old (RFC 9449 §8).
    #[error(
        "the proof needs the nonce that this server gives in `DPoP-Nonce`: send the request again with it (RFC 9449 §8)"
    )]
    Nonce,
    /// The proof is not taken.
    #[error("{0}")]
    Seen(SeenError),
    /// The identifier was used before.
    #[error("the subject token or the proof was used before; each is good for one use")]
    Used,
    /// The task's budget is spent.
    #[error("the task has too little of its budget left: {}", left(.0))]
    Budget(Budget),
    /// The agent type ended more than its quota (C3).
    #[error("this agent type ends tasks and revokes tokens too fast; nothing was ended, try again")]
    TooOften,
    /// The instance or its agent type replaced more keys than its quota.
    #[error(
        "this instance, or its agent type, replaces its key too fast; the key that it has is still good, try again later"
    )]
    TooManyKeys,
    /// Nothing is declared, so nothing is permitted.
    #[error("no bundle is live, so nothing is permitted; an operator applies one")]
    NoBundle,
    /// Nothing can be read or recorded now. Nothing was decided.
    #[error("nothing can be recorded now, so nothing is issued; try again")]
    Unavailable,
}

fn left(budget: &Budget) -> String {
    let count = |n: Option<u64>| n.map_or("unlimited".to_owned(), |n| n.to_string());
    format!(
        "{} accesses, {} children",
        count(budget.max_accesses),
        count(budget.max_children)
    )
}

impl Refusal {
    /// The rule that a conflict in the store stands for. A moved version is none: the chain runs
    /// anew.
    pub(super) fn of_conflict(why: Conflict) -> Self {
        match why {
            Conflict::TaskNotLive(task) => {
                ExchangeError::Subject(SubjectError::TaskOver(task)).into()
            }
            Conflict::TokenRevoked(token) => {
                ExchangeError::Stopped(Stopped::TokenRevoked(token)).into()
            }
            Conflict::NoTask(task) => {
                ExchangeError::Subject(SubjectError::UnknownTask(task)).into()
            }
            Conflict::Budget { remaining } => Refusal::Budget(remaining),
            Conflict::Pinned(_) => ExchangeError::Actor(ActorError::Pinned).into(),
            Conflict::KeyReplaced(_) => ExchangeError::Stopped(Stopped::KeyReplaced).into(),
            Conflict::Used => Refusal::Used,
            Conflict::Versions(_)
            | Conflict::NotSuspended(_)
            | Conflict::Bundle(_)
            | Conflict::NoKey(_) => Refusal::Unavailable,
        }
    }

    /// The rule's name in records and metrics.
    pub(crate) fn rule(&self) -> &'static str {
        match self {
            Refusal::Exchange(why) => why.rule(),
            Refusal::NoPeer => "evidence.no_peer",
            Refusal::Evidence(AttestRefusal::NoRule { .. }) => "evidence.no_rule",
            Refusal::Evidence(AttestRefusal::Ambiguous) => "evidence.ambiguous",
            Refusal::Evidence(AttestRefusal::Gone) => "evidence.gone",
            Refusal::Evidence(AttestRefusal::Unreadable(_)) => "evidence.unreadable",
            Refusal::Evidence(AttestRefusal::Broken(_)) => "evidence.broken",
            Refusal::Evidence(AttestRefusal::Unavailable(_)) => "evidence.unavailable",
            Refusal::Person(PersonRefusal::Token(_)) => "person.token",
            Refusal::Person(PersonRefusal::Unavailable(_)) => "person.unavailable",
            Refusal::Proof(_) => "proof.invalid",
            Refusal::Nonce => "proof.nonce",
            Refusal::Seen(SeenError::Again) => "proof.used",
            Refusal::Seen(SeenError::Share) => "quota.proofs",
            Refusal::Seen(SeenError::Full) => "proof.too_many",
            Refusal::Used => "subject.used",
            Refusal::Budget(_) => "budget.spent",
            Refusal::TooOften => "quota.ends",
            Refusal::TooManyKeys => "quota.keys",
            Refusal::NoBundle => "bundle.none",
            Refusal::Unavailable => "unavailable",
        }
    }

    /// What the caller sees (RFC 6749 §5.2, RFC 8693 §2.2.2).
    pub(crate) fn oauth(&self) -> OauthError {
        let (code, status) = match self {
            Refusal::Exchange(why) => return why.oauth(),
            Refusal::NoPeer | Refusal::Used | Refusal::Person(PersonRefusal::Token(_)) => {
                ("invalid_request", 400)
            }
            // RFC 9449 §5, §8.
            Refusal::Proof(_) | Refusal::Seen(SeenError::Again) => ("invalid_dpop_proof", 400),
            Refusal::Nonce => ("use_dpop_nonce", 400),
            Refusal::Evidence(
                AttestRefusal::NoRule { .. }
                | AttestRefusal::Ambiguous
                | AttestRefusal::Gone
                | AttestRefusal::Unreadable(_)
                | AttestRefusal::Broken(_),
            ) => ("invalid_client", 401),
            Refusal::Budget(_) | Refusal::NoBundle => ("access_denied", 403),
            Refusal::Person(PersonRefusal::Unavailable(_))
            | Refusal::Evidence(AttestRefusal::Unavailable(_))
            | Refusal::Seen(SeenError::Share | SeenError::Full)
            | Refusal::TooOften
            | Refusal::TooManyKeys
            | Refusal::Unavailable => ("temporarily_unavailable", 503),
        };
        OauthError { code, status }
    }

    /// What only the log is told.
    fn aside(&self) -> Option<String> {
        match self {
            Refusal::Evidence(AttestRefusal::NoRule { nearest }) => Some(nearest.clone()),
            Refusal::Evidence(AttestRefusal::Unreadable(why) | AttestRefusal::Unavailable(why)) => {
                Some(why.clone())
            }
            Refusal::Evidence(
                AttestRefusal::Ambiguous | AttestRefusal::Gone | AttestRefusal::Broken(_),
            )
            | Refusal::Exchange(_)
            | Refusal::NoPeer
            | Refusal::Person(_)
            | Refusal::Proof(_)
            | Refusal::Nonce
            | Refusal::Seen(_)
            | Refusal::Used
            | Refusal::Budget(_)
            | Refusal::TooOften
            | Refusal::TooManyKeys
            | Refusal::NoBundle
            | Refusal::Unavailable => None,
        }
    }
}

/// One of each kind: what is said of refusals is held against them. A new kind breaks [`Refusal::oauth`],
/// next to which this stands.
#[cfg(test)]
pub(crate) fn one_refusal_of_each_kind() -> Vec<Refusal> {
    use mandate_decide::exchange::{ClientError, FormError, GrantError};

    let text = String::new;
    let exchange = [
        ExchangeError::Form(FormError::GrantType),
        ExchangeError::Form(FormError::Missing("token")),
        ExchangeError::Client(ClientError::NoProof),
        ExchangeError::Client(ClientError::None),
        ExchangeError::Actor(ActorError::OtherHolder),
        ExchangeError::Grant(GrantError::Open(text())),
        ExchangeError::Stopped(Stopped::KeyReplaced),
    ];
    let evidence = [
        AttestRefusal::NoRule { nearest: text() },
        AttestRefusal::Ambiguous,
        AttestRefusal::Gone,
        AttestRefusal::Unreadable(text()),
        AttestRefusal::Broken(text()),
        AttestRefusal::Unavailable(text()),
    ];
    let others = [
        Refusal::NoPeer,
        Refusal::Person(PersonRefusal::Token(text())),
        Refusal::Proof(ProofError::Target),
        Refusal::Nonce,
        Refusal::Seen(SeenError::Again),
        Refusal::Seen(SeenError::Full),
        Refusal::Used,
        Refusal::Budget(Budget::default()),
        Refusal::TooOften,
        Refusal::NoBundle,
        Refusal::Unavailable,
    ];
    let exchange = exchange.into_iter().map(Refusal::from);
    let evidence = evidence.into_iter().map(Refusal::Evidence);
    exchange.chain(evidence).chain(others).collect()
}

/// An authenticated caller and what is known of its request: what the record of a refusal says.
#[derive(Debug)]
pub(crate) struct Caller {
    agent: SpiffeId,
    shower: Shower,
    step: &'static str,
    template: Event,
    shown: Vec<TokenId>,
}

impl Caller {
    /// A client that authenticated with its JWT-SVID.
    pub(crate) fn client(step: &'static str, client: &IdentifiedClient, world: &World) -> Self {
        let shower = Shower::agent(client.actor());
        let mut caller = Self::new(step, client.actor().clone(), shower, world);
        caller.shows(client.token());
        caller.template.jkt = client.holder();
        caller
    }

    /// A token was shown beside the request.
    pub(super) fn shows(&mut self, token: TokenId) {
        self.shown.push(token);
    }

    /// Whose share of the memory a proof takes.
    pub(crate) fn shower(&self) -> Shower {
        self.shower.clone()
    }

    /// The tokens that were shown: what is decided rests on them.
    pub(super) fn shown(&self) -> &[TokenId] {
        &self.shown
    }

    /// A process whose evidence held.
    pub(super) fn attested(id: SpiffeId, evident: &Evident, world: &World) -> Self {
        let level = ActorLevel {
            sub: id,
            inst: evident.instance.clone(),
            prv: evident.provider.clone(),
            att: evident.kind,
            host: None,
        };
        let shower = Shower::attesting(&level);
        Self::new("attest", level, shower, world)
    }

    fn new(step: &'static str, actor: ActorLevel, shower: Shower, world: &World) -> Self {
        let what = What::Refused {
            step: step.to_owned(),
            error: String::new(),
        };
        let versions: (BundleVersion, StopVersion) = (world.live.version(), world.stops.version());
        let template = Event {
            bundle: Some(versions.0),
            stops: Some(versions.1),
            actors: vec![actor.clone()],
            ..Event::new(Timestamp::from_millis(0), what, Decision::Denied)
        };
        Self {
            agent: actor.sub,
            shower,
            step,
            template,
            shown: Vec::new(),
        }
    }

    /// The request is about `task`.
    pub(crate) fn in_task(&mut self, task: &Task) {
        self.template.task = Some(task.path.clone());
        self.template.principal = Some(task.principal.clone());
        self.template.trigger = Some(task.trigger.clone());
        self.template.actors.truncate(1);
        self.template
            .actors
            .extend(task.act.levels().iter().cloned());
    }

    /// A gateway asks in its place.
    pub(super) fn came_via(&mut self, gateway: &GatewayId) {
        self.template.via = Some(gateway.clone());
    }

    /// The request is for the server workload with this resource indicator, if there is one.
    pub(super) fn for_resource(&mut self, resource: &str, live: &LiveBundle) {
        let server = live.bundle.server_by_resource(resource);
        self.template.server = server.map(|server| server.name.clone());
    }

    /// The refusal of this caller.
    pub(crate) fn refused(self, why: Refusal) -> Refused {
        Refused {
            why,
            caller: Some(Box::new(self)),
        }
    }

    /// A record of what this caller did, with everything that is known.
    pub(crate) fn event(self, at: Timestamp, what: What, decision: Decision) -> Event {
        Event {
            at,
            what,
            decision,
            ..self.template
        }
    }
}

/// A refusal on its way out.
#[derive(Debug)]
pub(crate) struct Refused {
    why: Refusal,
    /// Absent before authentication.
    caller: Option<Box<Caller>>,
}

impl Refused {
    /// Before authentication.
    pub(crate) fn early(why: impl Into<Refusal>) -> Self {
        Self {
            why: why.into(),
            caller: None,
        }
    }

    pub(crate) fn unavailable() -> Self {
        Self::early(Refusal::Unavailable)
    }

    pub(crate) fn no_bundle() -> Self {
        Self::early(Refusal::NoBundle)
    }

    pub(crate) fn form(why: &MalformedForm) -> Self {
        let why = match why {
            MalformedForm::Body(BodyError::TooLarge(_)) => FormError::TooLarge("more than 256 KiB"),
            MalformedForm::Body(BodyError::ContentType(_) | BodyError::Broken)
            | MalformedForm::Percent
            | MalformedForm::Utf8
            | MalformedForm::NoValue => FormError::Malformed {
                parameter: "body",
                why: why.to_string(),
            },
        };
        Self::early(ExchangeError::Form(why))
    }

    /// Records it (C3), then says it. If it cannot be recorded, the caller learns only that.
    pub(crate) async fn reply(self, at: &Connection) -> Response {
        let authority = &at.authority;
        let (now, rule) = (authority.now(), self.why.rule());
        authority.metrics().refused(rule);
        let oauth = self.why.oauth();
        if matches!(self.why, Refusal::Unavailable) {
            return reply::refused(oauth, &self.why.to_string());
        }
        let aside = self.why.aside();
        let Some(caller) = self.caller else {
            tracing::debug!(rule, ?aside, "refused before authentication");
            authority
                .refusals()
                .count(at.door.as_str(), rule, at.origin.prefix(), now);
            return reply::refused(oauth, &self.why.to_string());
        };
        tracing::debug!(rule, agent = %caller.agent, step = caller.step, "refused");
        if !authority.refusals().is_recorded(&caller.agent) {
            authority
                .refusals()
                .count(at.door.as_str(), rule, caller.agent.to_string(), now);
            return reply::refused(oauth, &self.why.to_string());
        }
        let step = caller.step.to_owned();
        let what = What::Refused {
            step,
            error: oauth.code.to_owned(),
        };
        let event = Event {
            rule: Some(rule.to_owned()),
            detail: Some(aside.unwrap_or_else(|| self.why.to_string())),
            ..caller.event(now, what, Decision::Denied)
        };
        match authority.record(event).await {
            Ok(_receipt) => reply::refused(oauth, &self.why.to_string()),
            Err(_) => reply::refused(
                Refusal::Unavailable.oauth(),
                &Refusal::Unavailable.to_string(),
            ),
        }
    }
}
