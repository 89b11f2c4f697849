//! Who asks, and whether policy lets them. The code asks the literal question; Cedar answers.

use mandate_audit::{Decision, Event, What};
use mandate_model::{OperatorName, Principal};
use mandate_policy::decl::Right;
use mandate_policy::{OperatorDenial, OperatorIdentity, Target};

use crate::Authority;
use crate::listen::{Connection, NO_OPERATOR, Origin};
use crate::problem::Problem;
use crate::world::World;

/// An operator that may do what it asked for. The one maker is [`Operator::permitted`] and its
/// like; a handler that has none cannot act.
#[derive(Debug, Clone)]
pub(super) struct Operator {
    name: OperatorName,
}

/// A user of this machine, as the kernel and its user database name it.
struct Identity {
    uid: u32,
    user: Option<String>,
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
        let mut denial = OperatorDenial::NoOperator { uid: identity.uid };
        for right in rights {
            match identity.may(&at.authority, &world, *right, target) {
                Ok(name) => return Ok(Self { name }),
                Err(why) => denial = why,
            }
        }
        Err(refuse(at, &world, operation, &denial).await)
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
        if self.looks(at, operation).await.is_err() {
            tracing::error!(operator = %self.name, operation, "an operator's request is not recorded");
        }
    }
}

impl Identity {
    async fn of(at: &Connection) -> Result<Self, Problem> {
        let Origin::Process(peer) = &at.origin else {
            return Err(Problem::peer("operators come over the Unix socket"));
        };
        let (uid, users) = (peer.uid, at.authority.ports().users.clone());
        let user = at.authority.names().of(uid, users).await;
        Ok(Self { uid, user })
    }

    /// Where no bundle could say who is an operator, the user that runs the server is: it could
    /// write the store's files anyway.
    fn may(
        &self,
        authority: &Authority,
        world: &World,
        right: Right,
        target: Option<&Target>,
    ) -> Result<OperatorName, OperatorDenial> {
        let denial = OperatorDenial::NoOperator { uid: self.uid };
        match world.bundle() {
            Some(live) => {
                let identity = OperatorIdentity {
                    uid: self.uid,
                    user: self.user.as_deref(),
                };
                live.bundle.operator_may(identity, right, target)
            }
            None if self.uid == authority.config().own_uid => {
                OperatorName::parse(BOOTSTRAP).map_err(|_| denial)
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
        OperatorDenial::NoOperator { .. } => (NO_OPERATOR, None),
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
    let what = What::Refused {
        step: operation.to_owned(),
        error: "forbidden".to_owned(),
    };
    let event = Event {
        principal: Some(principal),
        rule: Some(rule.to_owned()),
        detail: Some(why.to_string()),
        bundle: Some(world.live.version()),
        stops: Some(world.stops.version()),
        ..Event::new(now, what, Decision::Denied)
    };
    match at.authority.record(event).await {
        Ok(_receipt) => Problem::forbidden(rule, why.to_string()),
        Err(why) => why.into(),
    }
}

const BOOTSTRAP: &str = "bootstrap";
