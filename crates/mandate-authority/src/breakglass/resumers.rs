//! That somebody is always left who can lift suspensions, and for whom no provider has to vouch.

use mandate_model::stop::{StopSet, Subject, Suspension};
use mandate_model::{OperatorName, Principal};
use mandate_policy::Bundle;
use mandate_policy::decl::Right;

use crate::world::World;

/// Those who can resume whatever happens to a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resumers {
    /// No operator is declared, so the user that runs the server can.
    Own,
    /// These operators of the server's machine.
    Declared(Vec<OperatorName>),
}

/// A suspension that nobody is left to lift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "nobody would be left who can resume: of the operators by `uid` or `unixUser` with the right `resume` and without `when` this is the last that is not suspended; give the right to another one first"
)]
pub(crate) struct NobodyResumes;

impl Resumers {
    /// Those of `bundle`.
    pub(crate) fn of(bundle: &Bundle) -> Self {
        let mut operators = bundle.operators().peekable();
        if operators.peek().is_none() {
            return Self::Own;
        }
        let can = operators.filter(|operator| operator.has_at_the_door(Right::Resume));
        Self::Declared(can.map(|operator| operator.name.clone()).collect())
    }

    fn of_world(world: &World) -> Self {
        world
            .bundle()
            .map_or(Self::Own, |live| Self::of(&live.bundle))
    }

    /// Whether one of them is not suspended.
    pub(crate) fn is_one_left(&self, stops: &StopSet) -> bool {
        match self {
            Self::Own => true,
            Self::Declared(names) => names.iter().any(|name| !is_suspended(name, stops)),
        }
    }
}

/// That `more` suspensions leave somebody who can lift them. Where nobody was left before, they make
/// it no worse, and break-glass is not refused.
pub(crate) fn check_left(
    world: &World,
    more: impl IntoIterator<Item = Suspension>,
) -> Result<(), NobodyResumes> {
    let mut more = more.into_iter().filter(stops_an_operator).peekable();
    if more.peek().is_none() {
        return Ok(());
    }
    let resumers = Resumers::of_world(world);
    let after = world.stops.with(world.stops.version(), more);
    if resumers.is_one_left(&after) || !resumers.is_one_left(&world.stops) {
        Ok(())
    } else {
        Err(NobodyResumes)
    }
}

fn stops_an_operator(suspension: &Suspension) -> bool {
    matches!(
        suspension.subject,
        Subject::Principal {
            id: Principal::Operator(_)
        }
    )
}

/// Whether operator `name` is suspended. "Everything" stops what agents do and no operator.
pub(crate) fn is_suspended(name: &OperatorName, stops: &StopSet) -> bool {
    let id = Principal::Operator(name.clone());
    stops.suspension(&Subject::Principal { id }).is_some()
}
