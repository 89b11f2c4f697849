//! Tasks as people and agents see them, and their end.

use mandate_audit::What;
use mandate_model::mandate::{Budget, RawEntry};
use mandate_model::task::{Delegator, Task, TaskState};
use mandate_model::{
    InstanceId, Principal, ProviderName, SpiffeId, TaskId, Thumbprint, Timestamp, Trigger,
};
use mandate_ports::{Change, StoreError};

use crate::Authority;

/// A task, as `/task/show` and the operators' interface say it.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
pub(crate) struct TaskView {
    /// `task-…`.
    #[schema(value_type = String)]
    id: TaskId,
    /// Its parent; absent for a root task.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    parent: Option<TaskId>,
    /// `open`, `closed` or `cancelled`; an open one can have expired.
    #[schema(value_type = String)]
    state: TaskState,
    /// What the root task is for.
    purpose: String,
    /// Whom it is for.
    #[schema(value_type = String)]
    principal: Principal,
    /// What began it.
    #[schema(value_type = Object)]
    trigger: Trigger,
    /// The agent type that may act in it.
    #[schema(value_type = String)]
    may_act: SpiffeId,
    /// The one instance that may, once pinned.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    instance: Option<InstanceId>,
    /// The provider that names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    provider: Option<ProviderName>,
    /// The key that it must have, where its delegator named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    jkt: Option<Thumbprint>,
    /// Who delegated or opened it: the level of an agent, or `{"operator": name}`.
    #[schema(value_type = Object)]
    delegator: Delegator,
    /// The mandate's entries.
    #[schema(value_type = Vec<Object>)]
    authorization_details: Vec<RawEntry>,
    /// Milliseconds since the epoch.
    #[schema(value_type = u64)]
    created_at: Timestamp,
    /// Milliseconds since the epoch.
    #[schema(value_type = u64)]
    expires_at: Timestamp,
    /// What it may still spend and hand on.
    #[schema(value_type = Object)]
    remaining: Budget,
}

impl From<&Task> for TaskView {
    fn from(task: &Task) -> Self {
        let record = &task.record;
        Self {
            id: record.id,
            parent: record.parent,
            state: task.state,
            purpose: task.purpose.clone(),
            principal: task.principal.clone(),
            trigger: task.trigger.clone(),
            may_act: record.may_act.clone(),
            instance: task.instance.as_ref().map(|pinned| pinned.id.clone()),
            provider: task.instance.as_ref().map(|pinned| pinned.provider.clone()),
            jkt: task.key,
            delegator: record.delegator.clone(),
            authorization_details: record.mandate.entries.to_wire(),
            created_at: task.created_at,
            expires_at: record.mandate.expires_at,
            remaining: task.remaining,
        }
    }
}

/// What ends `task` with all below it, and the record of it.
///
/// The last access token of the subtree expires no later than its lifetime from `now`; until then
/// the end is told to gateways, which see no other tokens. Here the task itself is read.
pub(crate) async fn ending(
    authority: &Authority,
    task: TaskId,
    state: TaskState,
    now: Timestamp,
) -> Result<(Change, What), StoreError> {
    let below = authority.ports().state.subtree(task).await?;
    let count = below.iter().filter(|t| t.state == TaskState::Open).count() as u64;
    let until = now.plus(authority.config().lifetimes.access + SKEW);
    Ok((
        Change::EndTask { task, state, until },
        What::TaskEnded { task, state, count },
    ))
}

/// Room for clocks that differ.
const SKEW: std::time::Duration = std::time::Duration::from_secs(60);
