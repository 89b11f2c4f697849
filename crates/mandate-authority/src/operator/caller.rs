//! Who asks, and whether policy lets them. The code asks the literal question; Cedar answers.

use std::sync::Arc;

use mandate_audit::{Decision, Event, What};
use mandate_model::{OperatorName, Principal};
use mandate_policy::decl::Right;
use mandate_policy::{BOOTSTRAP, OperatorDenial, OperatorIdentity, Target};

use super::session;
use crate::Authority;
use crate::breakglass;
use crate::listen::{Connection, NO_OPERATOR, Origin, SessionHolder};
use crate::problem::Problem;
use crate::world::{LiveBundle, World};

/// An operator that may do what it asked for. The one maker is [`Operator::permitted`] and its
/// like; a handler that has none cannot act.
#[derive(Debug, Clone)]
pub(super) struct Operator {
    name: OperatorName,
    identity: Identity,
    /// The server's own user, where no operator is declared.
    bootstrap: bool,
}

/// Who it is, in the words of somebody else than they.
#[derive(Debug, Clone)]
enum Identity {
    /// A user of this machine, as the kernel and its user database name it.
    User { uid: u32, user: Option<String> },
    /// A person with a session.
    Person(Arc<SessionHolder>),
}

impl Operator {
    /// The peer of `at`, if it may use `right` on `target`. A refusal is recorded.
    pub(super) async fn permitted(
        at: &Connection,
        operation: &'static str,
        right: Right,
        target: Option<&Target>,
    ) -> Result<Self, Problem> {
        Self::one_of(at, operation, &[right], target).await
    }

    /// The peer of `at`, if it is any operator with any right.
    pub(super) async fn any(at: &Connection, operation: &'static str) -> Result<Self, Problem> {
        Self::one_of(at, operation, &Right::ALL, None).await
    }

    /// The peer of `at`, if it may use one of `rights` on `target`. A refusal is recorded once.
    pub(super) async fn one_of(
        at: &Connection,
        operation: &'static str,
        rights: &[Right],
        target: Option<&Target>,
    ) -> Result<Self, Problem> {
        let world = at.authority.world();
        let identity = Identity::of(at).await?;
        identity.check_stops(at, &world, operation).await?;
        let mut denial = identity.unknown();
        for right in rights {
            match identity.may(&at.authority, &world, *right, target) {
                Ok((name, bootstrap)) => {
                    return Ok(Self {
                        name,
                        identity,
                        bootstrap,
                    });
                }
                Err(why) => denial = why,
            }
        }
        Err(refuse(at, &world, operation, &denial).await)
    }

    /// Who it is, for questions about declarations.
    pub(super) fn identity(&self) -> OperatorIdentity<'_> {
        self.identity.view()
    }

    /// Whether it was stopped by `world`, since it was permitted.
    pub(super) fn is_stopped(&self, world: &World) -> bool {
        let Some(live) = world.bundle() else {
            return false;
        };
        match &self.identity {
            Identity::Person(holder) => session::stopped(world, live, &holder.session).is_some(),
            Identity::User { .. } => self.identity.suspended(world, live).is_some(),
        }
    }

    /// Whether it is operator `bootstrap`, with every right.
    pub(super) fn is_bootstrap(&self) -> bool {
        self.bootstrap
    }

    /// Whether this is the person whom a record names as `principal`: by the same name, or by another
    /// declaration that fits them. A declaration is a person, whichever door they come through.
    pub(super) fn is(&self, at: &Connection, principal: &Principal) -> bool {
        let Principal::Operator(name) = principal else {
            return false;
        };
        let world = at.authority.world();
        let declared = world
            .bundle()
            .and_then(|live| live.bundle.operators().find(|o| o.name == *name));
        *name == self.name
            || match declared {
                Some(declared) => declared.is(self.identity()),
                None => {
                    name.as_str() == BOOTSTRAP
                        && self.identity.is_user(at.authority.config().own_uid)
                }
            }
    }

    /// A refusal of this operator by another rule than those of rights, recorded.
    pub(super) async fn refused(
        &self,
        at: &Connection,
        operation: &'static str,
        rule: &'static str,
        detail: String,
    ) -> Problem {
        at.authority.metrics().refused(rule);
        let world = at.authority.world();
        let problem = Problem::forbidden(rule, detail.clone());
        let refusal = (self.principal(), rule, detail);
        record_refusal(at, &world, operation, refusal, problem).await
    }

    /// What came of this operator's request. If nothing did, since there is no such thing or the
    /// state is another one, that is recorded too: somebody tried.
    pub(super) async fn outcome<T>(
        &self,
        at: &Connection,
        operation: &'static str,
        outcome: Result<T, Problem>,
    ) -> Result<T, Problem> {
        let problem = match outcome {
            Ok(done) => return Ok(done),
            Err(problem) => problem,
        };
        let Some((rule, detail)) = problem.declined() else {
            return Err(problem);
        };
        let refusal = (self.principal(), rule, detail.to_owned());
        let world = at.authority.world();
        Err(record_refusal(at, &world, operation, refusal, problem.clone()).await)
    }

    /// Whom records name.
    pub(super) fn name(&self) -> &OperatorName {
        &self.name
    }

    /// Whom records name, as a principal.
    pub(super) fn principal(&self) -> Principal {
        Principal::Operator(self.name.clone())
    }

    /// A record of what this operator did.
    pub(super) fn event(&self, authority: &Authority, what: What) -> Event {
        let world = authority.world();
        Event {
            principal: Some(self.principal()),
            bundle: Some(world.live.version()),
            stops: Some(world.stops.version()),
            ..Event::new(authority.now(), what, Decision::Allowed)
        }
    }

    /// Records that this operator looked at something. Nothing is shown without the record.
    pub(super) async fn looks(&self, at: &Connection, operation: &str) -> Result<(), Problem> {
        let what = What::OperatorActed {
            operation: operation.to_owned(),
        };
        let event = self.event(&at.authority, what);
        at.authority.record(event).await?;
        Ok(())
    }

    /// Records it if that is possible: what an operator needs when nothing can be written is shown
    /// all the same.
    pub(super) async fn looks_even_unrecorded(&self, at: &Connection, operation: &str) {
        let recorded = tokio::time::timeout(LOOK_TIMEOUT, self.looks(at, operation)).await;
        if !matches!(recorded, Ok(Ok(()))) {
            tracing::error!(operator = %self.name, operation, "an operator's request is not recorded");
        }
    }
}

impl Identity {
    async fn of(at: &Connection) -> Result<Self, Problem> {
        let peer = match &at.origin {
            Origin::Process(peer) => peer,
            Origin::Session(holder) => return Ok(Self::Person(Arc::clone(holder))),
            Origin::Network(_) => {
                let detail = "operators come over the Unix socket, or with a session";
                return Err(Problem::peer(detail));
            }
        };
        let (uid, users) = (peer.uid, at.authority.ports().users.clone());
        let user = at.authority.names().of(uid, users).await;
        Ok(Self::User { uid, user })
    }

    fn view(&self) -> OperatorIdentity<'_> {
        match self {
            Identity::User { uid, user } => OperatorIdentity::User {
                uid: *uid,
                user: user.as_deref(),
            },
            Identity::Person(holder) => {
                let session = holder.session.claims();
                OperatorIdentity::Person {
                    provider: &session.provider,
                    pin: &session.pin,
                    claims: &session.person,
                }
            }
        }
    }

    fn is_user(&self, number: u32) -> bool {
        matches!(self, Identity::User { uid, .. } if *uid == number)
    }

    /// A suspended operator does nothing, whichever door they come through, and does not lift that
    /// either. Where no operator is declared there is nobody else: the server's own user goes on.
    async fn check_stops(
        &self,
        at: &Connection,
        world: &World,
        operation: &'static str,
    ) -> Result<(), Problem> {
        let Some(live) = world.bundle() else {
            return Ok(());
        };
        if let Identity::Person(holder) = self {
            return session::check(at, world, live, &holder.session);
        }
        let Some(name) = self.suspended(world, live) else {
            return Ok(());
        };
        let rule = "operator.suspended";
        let detail = format!("operator `{name}` is suspended; another operator resumes it");
        at.authority.metrics().refused(rule);
        let problem = Problem::forbidden(rule, detail.clone());
        let refusal = (Principal::Operator(name.clone()), rule, detail);
        Err(record_refusal(at, world, operation, refusal, problem).await)
    }

    /// The first of its names that is suspended.
    fn suspended<'a>(&self, world: &World, live: &'a LiveBundle) -> Option<&'a OperatorName> {
        let names = live.bundle.operators().filter(|o| o.is(self.view()));
        names
            .map(|o| &o.name)
            .find(|name| breakglass::is_suspended(name, &world.stops))
    }

    fn unknown(&self) -> OperatorDenial {
        match self {
            Identity::User { uid, .. } => OperatorDenial::NoOperator { uid: *uid },
            Identity::Person(holder) => OperatorDenial::NoPerson {
                provider: holder.session.claims().provider.clone(),
            },
        }
    }

    /// Where no bundle says who is an operator, the user that runs the server is: it could write
    /// the store's files anyway. Says whether that is so.
    fn may(
        &self,
        authority: &Authority,
        world: &World,
        right: Right,
        target: Option<&Target>,
    ) -> Result<(OperatorName, bool), OperatorDenial> {
        let denial = self.unknown();
        let declares = |live: &&LiveBundle| live.bundle.operators().next().is_some();
        match world.bundle().filter(declares) {
            Some(live) => {
                let may = live.bundle.operator_may(self.view(), right, target);
                may.map(|name| (name, false))
            }
            None if self.is_user(authority.config().own_uid) => {
                let name = OperatorName::parse(BOOTSTRAP).map_err(|_| denial)?;
                Ok((name, true))
            }
            None => Err(denial),
        }
    }
}

async fn refuse(
    at: &Connection,
    world: &World,
    operation: &'static str,
    why: &OperatorDenial,
) -> Problem {
    let (rule, principal) = match why {
        OperatorDenial::NoOperator { .. } | OperatorDenial::NoPerson { .. } => (NO_OPERATOR, None),
        OperatorDenial::NoRight { operator, .. } => (
            "operator.no_right",
            Some(Principal::Operator(operator.clone())),
        ),
    };
    let now = at.authority.now();
    at.authority.metrics().refused(rule);
    let Some(principal) = principal else {
        // Anybody on this machine can cause these (C3).
        at.authority
            .refusals()
            .count(at.door.as_str(), rule, at.origin.prefix(), now);
        return Problem::forbidden(rule, why.to_string());
    };
    let problem = Problem::forbidden(rule, why.to_string());
    let refusal = (principal, rule, why.to_string());
    record_refusal(at, world, operation, refusal, problem).await
}

/// Records a refusal, up to the operator's quota (C3), and gives back `problem`, which says it. If
/// it cannot be recorded, the caller learns only that.
async fn record_refusal(
    at: &Connection,
    world: &World,
    operation: &'static str,
    (principal, rule, detail): (Principal, &str, String),
    problem: Problem,
) -> Problem {
    let refusals = at.authority.refusals();
    if !refusals.is_recorded(&principal) {
        let (source, now) = (principal.to_string(), at.authority.now());
        refusals.count(at.door.as_str(), "operator.refused", source, now);
        return problem;
    }
    let what = What::Refused {
        step: operation.to_owned(),
        error: "forbidden".to_owned(),
    };
    let event = Event {
        principal: Some(principal),
        rule: Some(rule.to_owned()),
        detail: Some(detail),
        bundle: Some(world.live.version()),
        stops: Some(world.stops.version()),
        ..Event::new(at.authority.now(), what, Decision::Denied)
    };
    match at.authority.record(event).await {
        Ok(_receipt) => problem,
        Err(why) => why.into(),
    }
}

/// How long an answer waits for a record that it could do without.
const LOOK_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);
