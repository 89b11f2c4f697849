//! Records of one root task as a tree: principal, tasks, and in each what was done and by which rule.

use std::collections::BTreeMap;

use mandate_audit::{Decision, Event, SpoolKey, What};
use mandate_model::task::{TaskPath, WireMandate};
use mandate_model::{
    ActionName, AttributeName, AttributeValue, GatewayId, PolicyName, Principal, ServerName,
    TaskId, Timestamp, TokenId, Trigger,
};
use serde::Serialize;
use serde_json::Value;

use crate::client::log::{Record, what};
use crate::client::members::Members;
use crate::client::words;

/// The whole story of a root task.
#[derive(Debug, Serialize)]
pub(super) struct Trace {
    /// Whom it was for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) principal: Option<Principal>,
    /// What began it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trigger: Option<Trigger>,
    /// For which purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) purpose: Option<String>,
    /// Whether the log has earlier records of it than are shown.
    pub(super) left_out: bool,
    /// The root task, with all below it.
    pub(super) task: TaskNode,
}

/// A task, what was done in it, and the tasks below it.
#[derive(Debug, Serialize)]
pub(super) struct TaskNode {
    pub(super) id: TaskId,
    /// The agent that it is for.
    pub(super) agent: Option<String>,
    /// What it may do, in words.
    pub(super) mandate: Vec<String>,
    /// Why, in the words of the operator who opened it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// The policy under which a root task was opened.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) policies: Vec<PolicyName>,
    /// How it ended, if it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ended: Option<String>,
    pub(super) steps: Vec<Step>,
    pub(super) children: Vec<TaskNode>,
}

/// One thing that was done or refused.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    /// Its index in the log.
    pub(super) record: u64,
    pub(super) at: Timestamp,
    /// `access`, `token`, `refused`…
    pub(super) kind: &'static str,
    pub(super) decision: Decision,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) policies: Vec<PolicyName>,
    /// Who acted: the latest level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server: Option<ServerName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) action: Option<ActionName>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) attributes: BTreeMap<AttributeName, Vec<AttributeValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<TokenId>,
    /// The gateway that exchanged for the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) via: Option<GatewayId>,
    /// What else the record says.
    pub(super) what: Value,
    /// How an admitted access ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<Value>,
    #[serde(skip)]
    spool: Option<SpoolKey>,
}

impl Trace {
    /// The tree of `records`, all of one root task, the earliest first. `None` without records.
    pub(super) fn of(records: &[Record], left_out: bool) -> Option<Self> {
        let mut building = Building {
            left_out,
            ..Building::default()
        };
        for record in records {
            building.add(record);
        }
        building.finish()
    }
}

#[derive(Default)]
struct Building {
    principal: Option<Principal>,
    trigger: Option<Trigger>,
    purpose: Option<String>,
    /// By id, each with its parent.
    tasks: BTreeMap<TaskId, (Option<TaskId>, TaskNode)>,
    root: Option<TaskId>,
    left_out: bool,
}

impl Building {
    fn add(&mut self, record: &Record) {
        let event = &record.event;
        let Some(path) = &event.task else { return };
        self.root.get_or_insert(path.root());
        self.principal = self.principal.take().or_else(|| event.principal.clone());
        self.trigger = self.trigger.take().or_else(|| event.trigger.clone());
        if let What::TaskOpened { purpose, .. } = &event.what {
            self.purpose = Some(purpose.clone());
        }
        let node = self.node(path);
        match step_kind(&event.what) {
            Kind::Begins(mandate) => {
                node.mandate = in_words(mandate);
                node.policies.clone_from(&event.policies);
                node.agent = agent_of(event).or_else(|| node.agent.take());
                node.reason.clone_from(&event.detail);
            }
            Kind::Ends(state) => node.ended = Some(state),
            Kind::Completes(decided) => complete(node, record, decided),
            Kind::Step(kind) => node.steps.push(step(record, kind)),
        }
    }

    /// The node of the path's leaf; those above it are made where they are missing.
    fn node(&mut self, path: &TaskPath) -> &mut TaskNode {
        let mut parent = None;
        for id in path.iter() {
            self.tasks
                .entry(id)
                .or_insert_with(|| (parent, TaskNode::empty(id)));
            parent = Some(id);
        }
        let leaf = path.leaf();
        let entry = self.tasks.entry(leaf);
        &mut entry.or_insert_with(|| (None, TaskNode::empty(leaf))).1
    }

    /// Hands each task's children up along the paths that the records name: an id alone says nothing
    /// of its parent, for clocks stand still and go back.
    fn finish(mut self) -> Option<Trace> {
        let mut children: BTreeMap<TaskId, Vec<TaskId>> = BTreeMap::new();
        for (id, (parent, _)) in &self.tasks {
            if let Some(parent) = parent {
                children.entry(*parent).or_default().push(*id);
            }
        }
        let task = self.whole(self.root?, &children)?;
        Some(Trace {
            principal: self.principal,
            trigger: self.trigger,
            purpose: self.purpose,
            left_out: self.left_out,
            task,
        })
    }

    /// A task with all below it. Each is taken once, so this ends whatever the records say.
    fn whole(&mut self, id: TaskId, children: &BTreeMap<TaskId, Vec<TaskId>>) -> Option<TaskNode> {
        let (_, mut node) = self.tasks.remove(&id)?;
        for child in children.get(&id).into_iter().flatten() {
            node.children.extend(self.whole(*child, children));
        }
        Some(node)
    }
}

impl TaskNode {
    fn empty(id: TaskId) -> Self {
        Self {
            id,
            agent: None,
            mandate: Vec::new(),
            reason: None,
            policies: Vec::new(),
            ended: None,
            steps: Vec::new(),
            children: Vec::new(),
        }
    }
}

/// What an event means for its task.
enum Kind<'a> {
    Begins(&'a WireMandate),
    Ends(String),
    /// The number of the decision's record, and the spool that gave it, if another than its own.
    Completes((u64, Option<&'a str>)),
    Step(&'static str),
}

fn step_kind(event: &What) -> Kind<'_> {
    match event {
        What::TaskOpened { mandate, .. } | What::TaskDelegated { mandate, .. } => {
            Kind::Begins(mandate)
        }
        What::TaskEnded { state, .. } => Kind::Ends(format!("{state:?}").to_lowercase()),
        What::AccessCompleted {
            admitted,
            admitted_in,
            ..
        } => Kind::Completes((*admitted, admitted_in.as_deref())),
        What::AccessDecided { .. } => Kind::Step("access"),
        What::AccessProgress { .. } => Kind::Step("progress"),
        What::Issued { .. } => Kind::Step("token"),
        What::Refused { .. } => Kind::Step("refused"),
        What::Revoked { .. } => Kind::Step("revoked"),
        What::Attested { .. }
        | What::RefusedCount { .. }
        | What::Suspended { .. }
        | What::SuspensionEffective { .. }
        | What::SuspensionNotEffective { .. }
        | What::Resumed { .. }
        | What::BundleApplied { .. }
        | What::KeyChanged { .. }
        | What::Rekeyed { .. }
        | What::GatewayConnected { .. }
        | What::OperatorActed { .. }
        | What::Alarm { .. } => Kind::Step("note"),
    }
}

fn step(record: &Record, kind: &'static str) -> Step {
    let event = &record.event;
    Step {
        record: record.index,
        at: event.at,
        kind,
        decision: event.decision,
        rule: event.rule.clone(),
        detail: event.detail.clone(),
        policies: event.policies.clone(),
        agent: event.actors.first().map(|actor| short(actor.sub.as_str())),
        server: event.server.clone(),
        action: event.action.clone(),
        attributes: event.attributes.clone(),
        token: event.token,
        via: event.via.clone(),
        what: what(event),
        outcome: None,
        spool: event.spool.clone(),
    }
}

/// The end of an access belongs to the record of its decision, which its spool numbers.
fn complete(node: &mut TaskNode, record: &Record, (admitted, spool): (u64, Option<&str>)) {
    let Some(end) = &record.event.spool else {
        return;
    };
    let spool = spool.unwrap_or(&end.spool);
    let decided = node.steps.iter_mut().find(|step| {
        step.spool.as_ref().is_some_and(|begin| {
            begin.gateway == end.gateway && begin.spool == spool && begin.seq == admitted
        })
    });
    if let Some(step) = decided {
        step.outcome = Some(outcome(&record.event));
    }
}

/// How an access ended, and by which rule if not well.
fn outcome(event: &Event) -> Value {
    let mut outcome = what(event);
    if let Some(members) = outcome.as_object_mut() {
        let why = [("rule", &event.rule), ("detail", &event.detail)];
        let said = why
            .into_iter()
            .filter_map(|(name, text)| Some((name, text.clone()?)));
        members.extend(said.map(|(name, text)| (name.to_owned(), text.into())));
    }
    outcome
}

fn agent_of(event: &Event) -> Option<String> {
    if let What::TaskDelegated { may_act, .. }
    | What::TaskOpened {
        may_act: Some(may_act),
        ..
    } = &event.what
    {
        return Some(short(may_act.as_str()));
    }
    event.actors.first().map(|actor| short(actor.sub.as_str()))
}

/// The last part of a SPIFFE ID: the agent type's name.
fn short(id: &str) -> String {
    id.rsplit('/').next().unwrap_or(id).to_owned()
}

/// A mandate as people read it: `records:read where customer in acme`.
fn in_words(mandate: &WireMandate) -> Vec<String> {
    let value = serde_json::to_value(mandate).unwrap_or(Value::Null);
    let entries = value.at("entries").as_array().cloned().unwrap_or_default();
    entries.iter().map(words::of_entry).collect()
}

#[cfg(test)]
pub(super) mod tests;
