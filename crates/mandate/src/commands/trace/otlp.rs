//! A root task as an OpenTelemetry trace: one span for each task, and below it one for each exchange and access.
//!
//! Trace and span ids follow from the ids of task and record alone, so that the same task is the same trace
//! whoever exports it, and how often. No token, no secret and no body is in a record, and so none is here.

mod attributes;
mod send;
mod spans;
#[cfg(test)]
mod tests;
mod wire;

use crate::client::log::Record;

pub(super) use send::Collector;
pub(super) use wire::Traces;

use spans::Story;
use wire::{ResourceSpans, Scope, ScopeSpans, Span};

/// The trace of `records`, all of one root task, the earliest first. `left_out`: there are earlier ones.
pub(super) fn trace(records: &[Record], left_out: bool) -> Traces {
    let mut story = Story::default();
    records.iter().for_each(|record| story.tell(record));
    grouped(story.spans(left_out))
}

impl Traces {
    /// The trace's id, and how many spans it has; nothing of an empty one.
    pub(super) fn summary(&self) -> Option<(String, u64)> {
        let groups = self.resource_spans.iter();
        let mut spans = groups.flat_map(|group| group.scope_spans.iter().flat_map(|s| &s.spans));
        let trace = spans.next()?.trace_id.0.clone();
        let more = u64::try_from(spans.count()).unwrap_or(u64::MAX);
        Some((trace, more.saturating_add(1)))
    }

    /// The same trace in requests of at most `most` spans: a receiver limits what it takes at once.
    pub(super) fn in_parts(self, most: usize) -> Vec<Traces> {
        let mut spans: Vec<(Agent, Span)> = Vec::new();
        for group in self.resource_spans {
            let agent = group.agent;
            let own = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.extend(own.map(|span| (agent.clone(), span)));
        }
        let mut parts = Vec::new();
        while !spans.is_empty() {
            let rest = spans.split_off(most.clamp(1, spans.len()));
            parts.push(grouped(std::mem::replace(&mut spans, rest)));
        }
        parts
    }
}

/// Whose doing a span is: an agent type by its SPIFFE ID, or the authority itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Agent {
    Authority,
    Type(mandate_model::SpiffeId),
}

/// One resource for each agent type, in a fixed order.
fn grouped(spans: Vec<(Agent, Span)>) -> Traces {
    let mut groups: std::collections::BTreeMap<Agent, Vec<Span>> = Default::default();
    for (agent, span) in spans {
        groups.entry(agent).or_default().push(span);
    }
    let group = |(agent, spans): (Agent, Vec<Span>)| ResourceSpans {
        resource: attributes::of_resource(&agent),
        scope_spans: vec![ScopeSpans {
            scope: Scope {
                name: "mandate",
                version: env!("CARGO_PKG_VERSION"),
            },
            spans,
            schema_url: SCHEMA,
        }],
        schema_url: SCHEMA,
        agent,
    };
    Traces {
        resource_spans: groups.into_iter().map(group).collect(),
    }
}

/// The semantic conventions whose names are used. `gen_ai.agent.name` is of the conventions for generative AI, 0.1.0.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.43.0";
