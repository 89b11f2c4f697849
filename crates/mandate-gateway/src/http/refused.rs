//! Telling of refusals: recorded, counted, or told of already.

use std::collections::BTreeMap;

use mandate_audit::{Decision, Event, What};
use mandate_decide::enforce::{
    BroughtFacts, Classified, Denial, Facts, RequestHead, Verdict, admission_record,
    brought_record, shape_of,
};
use mandate_model::BootTime;
use mandate_policy::decl::ServerWorkload;
use mandate_ports::SpoolError;

use super::exchange::{Brought, Coming, ExchangeRefusal};
use super::front::{Arrival, Front};
use super::refusal::Refusal;
use super::standing::trace_of;

/// A refusal, and whether it is recorded, counted, or already told of.
#[derive(Debug)]
pub(super) struct Refused {
    refusal: Refusal,
    telling: Telling,
}

#[derive(Debug)]
enum Telling {
    /// Before authentication: counted (C3).
    Count,
    /// After it: a record of its own, within the agent's quota.
    Record(Box<Event>),
    /// The access's own records tell it.
    Told,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            telling: Telling::Count,
        }
    }
}

impl Refused {
    pub(super) fn denial(refusal: Refusal, record: Event) -> Self {
        Self {
            refusal,
            telling: Telling::Record(Box::new(record)),
        }
    }

    pub(super) fn after_admission(refusal: Refusal) -> Self {
        Self {
            refusal,
            telling: Telling::Told,
        }
    }

    /// Of a request whose agent brought what an access token was not got for.
    pub(super) fn brought(
        front: &Front,
        coming: &Coming<'_, '_>,
        brought: &Brought<'_>,
        refusal: Refusal,
    ) -> Self {
        let (trace, span) = trace_of(coming.asked.headers).unzip();
        let facts = BroughtFacts {
            now: front.now(),
            bundle_version: coming.snapshot.versions.bundle,
            stops: coming.snapshot.stops.version(),
            right: coming.right,
            gateway: &front.gateway,
            server: coming.server,
            svid: brought.pair.svid.claims(),
            task: brought.pair.task.claims(),
        };
        // Where it exchanges for nobody, no token would have been got through it.
        let unassigned = matches!(refusal, Refusal::Exchange(ExchangeRefusal::Unassigned));
        let via = (!unassigned).then(|| front.gateway.clone());
        let record = Event {
            trace,
            span,
            via,
            rule: Some(refusal.rule()),
            detail: Some(refusal.to_string()),
            ..brought_record(&facts, words_of(coming.server, coming.asked))
        };
        Self::denial(refusal, record)
    }

    pub(super) fn after_authentication(
        front: &Front,
        facts: &Facts<'_>,
        asked: &RequestHead<'_>,
        refusal: Refusal,
        classified: Option<&Classified>,
    ) -> Self {
        // What is no decision has its own rule and words, put in below.
        let denial = if let Refusal::Denied(denial) = &refusal {
            denial.clone()
        } else {
            Denial::Spent
        };
        let mut record = decision_record(front, facts, asked, classified, &Err(denial));
        if classified.is_none() {
            let request = words_of(facts.server, asked);
            record.what = What::AccessDecided { request };
        }
        record.rule = Some(refusal.rule());
        record.detail = Some(refusal.to_string());
        Self::denial(refusal, record)
    }

    /// With `words` for what was asked, where they are known and it is no action.
    pub(super) fn in_words(mut self, words: Option<String>) -> Self {
        if let (Telling::Record(record), Some(words)) = (&mut self.telling, words)
            && let What::AccessDecided { request } = &mut record.what
        {
            *request = words;
        }
        self
    }

    /// Tells of it. A refusal that should be recorded and cannot be is another refusal.
    pub(super) async fn recorded(
        self,
        front: &Front,
        arrival: &Arrival,
        began: BootTime,
    ) -> Refusal {
        let rule = self.refusal.rule();
        let now = front.now();
        tracing::debug!(rule, listener = %arrival.listener, "an access is refused");
        match self.telling {
            Telling::Told => return self.refusal,
            Telling::Count => {
                let listener = &arrival.listener;
                front
                    .refusals
                    .unauthenticated(listener, &rule, arrival.peer, now);
            }
            Telling::Record(record) => {
                let agent = record.actors.first().map(|actor| actor.sub.clone());
                let own_record = agent.is_none_or(|agent| {
                    front
                        .refusals
                        .has_quota(&arrival.listener, &rule, &agent, now)
                });
                if own_record && let Err(why) = append(front, *record).await {
                    return Refusal::Unrecorded(why);
                }
            }
        }
        let took = front.gate.clock.boot().since(began);
        front.metrics.decided("denied", &rule, took);
        self.refusal
    }
}

/// Records a refusal; one that is too long, without the attributes that make it so.
async fn append(front: &Front, record: Event) -> Result<(), SpoolError> {
    match front.recorder.append(record.clone()).await {
        Err(SpoolError::Encoding(why)) => {
            tracing::warn!(why, "a refusal is recorded without its attributes");
            front.recorder.append(short(record)).await.map(drop)
        }
        other => other.map(drop),
    }
}

/// `record` without what a caller can make long.
pub(super) fn short(record: Event) -> Event {
    Event {
        attributes: BTreeMap::new(),
        trace: None,
        span: None,
        ..record
    }
}

pub(super) fn decision_record(
    front: &Front,
    facts: &Facts<'_>,
    asked: &RequestHead<'_>,
    classified: Option<&Classified>,
    verdict: &Verdict,
) -> Event {
    let (trace, span) = trace_of(asked.headers).unzip();
    Event {
        trace,
        span,
        ..admission_record(facts, classified, verdict, |value| front.hashed(value))
    }
}

pub(super) fn count(front: &Front, record: &Event, began: BootTime) {
    let result = match record.decision {
        Decision::WouldDeny => "would_deny",
        Decision::Allowed | Decision::Denied | Decision::Noted if record.without_lease => {
            "allowed_without_lease"
        }
        Decision::Allowed | Decision::Denied | Decision::Noted => "allowed",
    };
    let took = front.gate.clock.boot().since(began);
    let rule = record.rule.as_deref().unwrap_or_default();
    front.metrics.decided(result, rule, took);
}

/// What was asked for: the action's pattern, or where it is no action, method and path as they came.
fn words_of(server: &ServerWorkload, asked: &RequestHead<'_>) -> String {
    shape_of(server, asked).unwrap_or_else(|| as_received(asked.method, asked.path_and_query))
}

/// Never the query, which may hold a secret, and no more than a record has room for. What a path
/// cannot hold by RFC 3986 §3.3 is escaped, so that nobody takes it for a pattern or for more records.
fn as_received(method: &str, target: &str) -> String {
    let path = target.split('?').next().unwrap_or_default();
    let (method, path) = (bounded(method, METHOD_BYTES), bounded(path, PATH_BYTES));
    format!("{method} {path}")
}

fn bounded(text: &str, most: usize) -> String {
    let mut shown = String::new();
    for byte in text.bytes() {
        if shown.len() >= most {
            shown.push('…');
            break;
        }
        let plain = byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
        if plain {
            shown.push(char::from(byte));
        } else {
            shown.push_str(&format!("%{byte:02X}"));
        }
    }
    shown
}

const METHOD_BYTES: usize = 20;
const PATH_BYTES: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_no_action_is_recorded_as_it_came_without_its_query() {
        let asked = as_received("GET", "/admin/%2e%2e/users?key=hunter2");
        assert_eq!(asked, "GET /admin/%2e%2e/users");
        assert_eq!(
            as_received("GET", "/a{b}\n\u{e9}"),
            "GET /a%7Bb%7D%0A%C3%A9"
        );
        let long = as_received(&"M".repeat(500), &"/x".repeat(5_000));
        assert!(long.len() < 400 && long.ends_with('…'), "{long}");
    }
}
