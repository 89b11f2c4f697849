//! Records of one root task as spans: tasks, and below them what was asked for and done.

use std::collections::BTreeMap;

use mandate_audit::{Decision, Event, Outcome, SpoolKey, What};
use mandate_model::task::TaskPath;
use mandate_model::{Principal, SpiffeId, TaskId, Timestamp, TokenId, Trigger};
use sha2::{Digest, Sha256};

use super::Agent;
use super::attributes::{of_cause, of_record, of_request, of_usage, word};
use super::wire::{self, Attributes, Kind, Link, Nanos, Span, SpanId, Status, TraceId};
use crate::client::log::Record;

/// What is known of a root task's tree so far.
#[derive(Debug, Default)]
pub(super) struct Story {
    root: Option<TaskId>,
    principal: Option<Principal>,
    trigger: Option<Trigger>,
    tasks: BTreeMap<TaskId, Task>,
    steps: Vec<Step>,
    /// The step in which a token was issued.
    issued: BTreeMap<TokenId, u64>,
}

#[derive(Debug)]
struct Task {
    path: TaskPath,
    agent: Option<SpiffeId>,
    /// The record with which it began, where that is known.
    begun: Option<Record>,
    /// Why it ended, and when.
    ended: Option<(Timestamp, String)>,
    /// What was heard first and last of it or of a task below it.
    heard: (Timestamp, Timestamp),
}

/// Something that was asked for or done in a task.
#[derive(Debug)]
struct Step {
    record: Record,
    /// What a gateway said of it later.
    later: Vec<Event>,
}

impl Story {
    /// Takes in the next record.
    pub(super) fn tell(&mut self, record: &Record) {
        let event = &record.event;
        let Some(path) = &event.task else { return };
        self.root.get_or_insert(path.root());
        self.principal = self.principal.take().or_else(|| event.principal.clone());
        self.trigger = self.trigger.take().or_else(|| event.trigger.clone());
        self.hear(path, event.at);
        match &event.what {
            What::TaskOpened { may_act, .. } => self.begin(record, path, may_act.as_ref()),
            What::TaskDelegated { may_act, .. } => self.begin(record, path, Some(may_act)),
            What::TaskEnded { task, state, .. } => {
                if let Some(task) = self.tasks.get_mut(task) {
                    task.ended = Some((event.at, word(state)));
                }
            }
            What::AccessProgress {
                admitted,
                admitted_in,
                ..
            }
            | What::AccessCompleted {
                admitted,
                admitted_in,
                ..
            } => self.go_on(record, *admitted, admitted_in.as_deref()),
            What::Issued { .. } => {
                if let Some(token) = event.token {
                    self.issued.entry(token).or_insert(record.index);
                }
                self.step(record);
            }
            What::Attested { .. }
            | What::Refused { .. }
            | What::RefusedCount { .. }
            | What::AccessDecided { .. }
            | What::Suspended { .. }
            | What::SuspensionEffective { .. }
            | What::SuspensionNotEffective { .. }
            | What::Resumed { .. }
            | What::Revoked { .. }
            | What::BundleApplied { .. }
            | What::KeyChanged { .. }
            | What::Rekeyed { .. }
            | What::GatewayConnected { .. }
            | What::OperatorActed { .. }
            | What::Alarm { .. } => self.step(record),
        }
    }

    /// Every task on `path` was heard of at `at`.
    fn hear(&mut self, path: &TaskPath, at: Timestamp) {
        let mut above: Option<TaskPath> = None;
        for id in path.iter() {
            let own = match &above {
                None => Some(TaskPath::root_of(id)),
                Some(above) => above.child(id),
            };
            let Some(own) = own else { return };
            let task = self.tasks.entry(id).or_insert_with(|| Task {
                path: own.clone(),
                agent: None,
                begun: None,
                ended: None,
                heard: (at, at),
            });
            task.heard = (task.heard.0.min(at), task.heard.1.max(at));
            above = Some(own);
        }
    }

    fn begin(&mut self, record: &Record, path: &TaskPath, may_act: Option<&SpiffeId>) {
        if let Some(task) = self.tasks.get_mut(&path.leaf()) {
            let opener = record.event.actors.first().map(|actor| &actor.sub);
            task.agent = may_act.or(opener).cloned();
            task.begun = Some(record.clone());
        }
    }

    fn step(&mut self, record: &Record) {
        self.steps.push(Step {
            record: record.clone(),
            later: Vec::new(),
        });
    }

    /// What becomes of an access belongs to the record of its decision, which its spool numbers. Where that
    /// one is left out, it stands for itself.
    fn go_on(&mut self, record: &Record, admitted: u64, admitted_in: Option<&str>) {
        let begun = |key: &SpoolKey| {
            let later = record.event.spool.as_ref()?;
            let spool = admitted_in.unwrap_or(&later.spool);
            let same = key.gateway == later.gateway && key.spool == spool && key.seq == admitted;
            same.then_some(())
        };
        let decided = self.steps.iter_mut().rev().find(|step| {
            let is_decision = matches!(step.record.event.what, What::AccessDecided { .. });
            is_decision && step.record.event.spool.as_ref().and_then(begun).is_some()
        });
        match decided {
            Some(step) => step.later.push(record.event.clone()),
            None => self.step(record),
        }
    }

    /// The spans, each with the agent type whose doing it is. Nothing without records.
    pub(super) fn spans(&self, left_out: bool) -> Vec<(Agent, Span)> {
        let Some(root) = self.root else {
            return Vec::new();
        };
        let trace = trace_id(root);
        let tasks = self.tasks.iter().map(|(id, task)| {
            let mut span = self.of_task(&trace, *id, task);
            if *id == root {
                of_cause(
                    self.principal.as_ref(),
                    self.trigger.as_ref(),
                    &mut span.attributes,
                );
                if left_out {
                    span.attributes.yes("mandate.left_out");
                }
            }
            (agent(task.agent.as_ref()), span)
        });
        let steps = self.steps.iter().map(|step| {
            let actor = step.record.event.actors.first().map(|actor| &actor.sub);
            (agent(actor), self.of_step(&trace, step))
        });
        tasks.chain(steps).collect()
    }

    fn of_task(&self, trace: &TraceId, id: TaskId, task: &Task) -> Span {
        let mut attributes = match &task.begun {
            Some(begun) => of_record(begun.index, &begun.event),
            None => Attributes::default(),
        };
        attributes.text("mandate.task.id", id);
        if let Some(name) = task.agent.as_ref().and_then(SpiffeId::agent_type) {
            attributes.text("gen_ai.agent.name", name);
        }
        let begin = task.begun.as_ref().map_or(task.heard.0, |b| b.event.at);
        let (end, state) = match self.end_of(&task.path) {
            Some((at, state)) => (*at, state.as_str()),
            None => (task.heard.1, "open"),
        };
        attributes.text("mandate.task.state", state);
        Span {
            trace_id: trace.clone(),
            span_id: task_span(id),
            parent_span_id: task.path.parent().map(task_span),
            name: format!("task {}", name_of(task)),
            kind: Kind::Internal,
            start_time_unix_nano: begin.into(),
            end_time_unix_nano: end.max(begin).into(),
            attributes,
            events: Vec::new(),
            links: Vec::new(),
            status: Status::default(),
        }
    }

    /// A task ends with the first of those above it.
    fn end_of(&self, path: &TaskPath) -> Option<&(Timestamp, String)> {
        let ends = path
            .iter()
            .filter_map(|id| self.tasks.get(&id)?.ended.as_ref());
        ends.min_by_key(|(at, _)| *at)
    }

    fn of_step(&self, trace: &TraceId, step: &Step) -> Span {
        let event = &step.record.event;
        let mut attributes = of_record(step.record.index, event);
        if let What::AccessDecided { request } = &event.what {
            of_request(request, event.action.is_some(), &mut attributes);
        }
        let said = std::iter::once(event).chain(&step.later);
        let (mut end, mut status) = (event.at, Status::default());
        for event in said {
            end = end.max(event.at);
            if let Some(error) = of_end(event, &mut attributes) {
                attributes.text("error.type", &error);
                status = Status::error(error);
            }
        }
        Span {
            trace_id: trace.clone(),
            span_id: record_span(trace, step.record.index),
            parent_span_id: event.task.as_ref().map(|path| task_span(path.leaf())),
            name: happened(event),
            kind: Kind::Client,
            start_time_unix_nano: event.at.into(),
            end_time_unix_nano: end.into(),
            attributes,
            events: step.later.iter().filter_map(progress).collect(),
            links: self.links(trace, step),
            status,
        }
    }

    /// To the caller's own trace, as far as it said which, and to the exchange that gave the token.
    fn links(&self, trace: &TraceId, step: &Step) -> Vec<Link> {
        let event = &step.record.event;
        let link = |trace_id, span_id, what: &str| {
            let mut attributes = Attributes::default();
            attributes.text("mandate.link", what);
            Link {
                trace_id,
                span_id,
                attributes,
            }
        };
        let callers = event.trace.clone().zip(event.span.clone());
        let callers = callers
            .map(|(trace, span)| link(TraceId(trace), SpanId(span), "claimed_by_the_caller"));
        let issued = event.token.and_then(|token| self.issued.get(&token));
        let issued = issued
            .filter(|index| **index != step.record.index)
            .map(|index| link(trace.clone(), record_span(trace, *index), "token_issued"));
        callers.into_iter().chain(issued).collect()
    }
}

/// What an event says about how it went; the error, if it went wrong.
fn of_end(event: &Event, said: &mut Attributes) -> Option<String> {
    if event.decision == Decision::Denied {
        return Some(event.rule.clone().unwrap_or_else(|| "denied".to_owned()));
    }
    let What::AccessCompleted {
        outcome,
        status,
        bytes_up,
        bytes_down,
        usage,
        ..
    } = &event.what
    else {
        return None;
    };
    if let Some(usage) = usage {
        of_usage(usage, said);
    }
    said.text("mandate.outcome", word(outcome));
    said.number("mandate.bytes_up", *bytes_up);
    said.number("mandate.bytes_down", *bytes_down);
    if let Some(status) = status {
        said.number("http.response.status_code", u64::from(*status));
    }
    match (outcome, status) {
        (Outcome::Completed, Some(status)) if *status >= 400 => Some(status.to_string()),
        (Outcome::Completed, _) => None,
        (_, _) => Some(event.rule.clone().unwrap_or_else(|| word(outcome))),
    }
}

fn progress(event: &Event) -> Option<wire::Event> {
    let What::AccessProgress {
        bytes_up,
        bytes_down,
        ..
    } = event.what
    else {
        return None;
    };
    let mut attributes = Attributes::default();
    attributes.number("mandate.bytes_up", bytes_up);
    attributes.number("mandate.bytes_down", bytes_down);
    Some(wire::Event {
        time_unix_nano: Nanos::from(event.at),
        name: "mandate.progress",
        attributes,
    })
}

/// A root task is named by its purpose, others by the agent type that they are for: few names, as
/// viewers want it.
fn name_of(task: &Task) -> String {
    let begun = task.begun.as_ref().map(|begun| &begun.event.what);
    if let Some(What::TaskOpened { purpose, .. }) = begun {
        return purpose.clone();
    }
    let agent = task.agent.as_ref().and_then(SpiffeId::agent_type);
    agent.map_or_else(|| "?".to_owned(), |name| name.to_string())
}

fn happened(event: &Event) -> String {
    if let What::AccessDecided { request } = &event.what {
        let template = event.action.as_ref().map(|_| request.as_str());
        return template.unwrap_or("access").to_owned();
    }
    if let What::Issued { token_kind, .. } = &event.what {
        return format!("issue {token_kind}");
    }
    if let What::Refused { step, .. } = &event.what {
        return step.clone();
    }
    event.what.kind().to_owned()
}

fn agent(id: Option<&SpiffeId>) -> Agent {
    id.cloned().map_or(Agent::Authority, Agent::Type)
}

/// A root task's 128 bits are its trace's: whoever has the one has the other.
fn trace_id(root: TaskId) -> TraceId {
    TraceId(hex(root.as_bytes()))
}

fn task_span(id: TaskId) -> SpanId {
    span_id("task", id.as_bytes(), 0)
}

fn record_span(trace: &TraceId, index: u64) -> SpanId {
    span_id("record", trace.0.as_bytes(), index)
}

fn span_id(kind: &str, of: &[u8], number: u64) -> SpanId {
    let mut hash = Sha256::new();
    hash.update(kind);
    hash.update([0]);
    hash.update(of);
    hash.update(number.to_be_bytes());
    let hash: [u8; 32] = hash.finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = hash;
    SpanId(hex(&[a, b, c, d, e, f, g, h]))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
