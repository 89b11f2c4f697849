//! An operator makes a root task, for an agent type that may open one (A2).

use mandate_model::mandate::Entries;
use mandate_model::stop::{Stopped, Subject};
use mandate_model::task::{Delegator, TaskRecord};
use mandate_model::{OperatorName, SpiffeId};
use mandate_policy::{OpenRequest, TriggerEvidence};

use super::attest::declared_agent;
use super::error::{ExchangeError, GrantError};
use super::open::{check_beginning, purpose, root_grant, root_mandate, root_task};
use super::parse::RequestDetails;
use super::renew::check_opens;
use super::{Fresh, Grant, World};

/// What an operator asks for.
#[derive(Debug)]
pub struct OperatorOpen {
    /// The agent type that the task is for.
    pub agent: SpiffeId,
    /// The mandate; the ceiling where absent.
    pub entries: Option<Entries>,
    /// Why, in the operator's words: for the record.
    pub reason: String,
    /// The purpose and the limits.
    pub details: RequestDetails,
}

/// Grants the task token of a new root task, for the agent type that `asked` names.
///
/// `operator` is who came through the operators' own door, and whom policy lets open this. No agent
/// is a party to it, so the task belongs to no instance yet.
pub fn open_by_operator(
    operator: &OperatorName,
    asked: &OperatorOpen,
    world: &World<'_>,
    fresh: &Fresh,
) -> Result<Grant, ExchangeError> {
    let purpose = purpose(&asked.details)?;
    check_beginning(&asked.details, world)?;
    check_opens(operator, world)?;
    let agent = declared_agent(&asked.agent, world)?;
    let request = OpenRequest {
        opener: &agent.name,
        purpose,
        trigger: TriggerEvidence::Operator { name: operator },
        now: world.now,
    };
    let ceiling = world
        .bundle
        .open_task(&request)
        .map_err(|why| ExchangeError::Grant(GrantError::Open(why.to_string())))?;
    // It is no level of the lineage before it acts.
    let opener = Subject::Agent {
        id: agent.id.clone(),
    };
    if world.stops.suspension(&opener).is_some() {
        return Err(ExchangeError::Stopped(Stopped::Suspended(opener)));
    }
    let entries = asked.entries.as_ref();
    let record = TaskRecord {
        id: fresh.task,
        parent: None,
        mandate: root_mandate(entries, None, &asked.details, &ceiling, world)?,
        delegator: Delegator::operator(operator.clone()),
        may_act: agent.id.clone(),
    };
    let task = root_task(record, None, purpose, &ceiling, world);
    let mut grant = root_grant(None, &task, &ceiling, world, fresh)?;
    for event in &mut grant.events {
        event.detail = Some(asked.reason.clone());
    }
    Ok(grant)
}
