//! Figures for Prometheus. Labels never carry a name of a task, a person or a token.

use std::time::Duration;

use mandate_audit::{Incomplete, Usage};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// What a decision is counted under.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    result: String,
    rule: String,
}

/// What tokens of LLMs are counted under: kinds are few, and no name comes from a reply.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    server: String,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReplyLabels {
    server: String,
    usage: &'static str,
}

/// The gateway's metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    decisions: Family<DecisionLabels, Counter>,
    decision_seconds: Histogram,
    record_seconds: Histogram,
    pub(crate) lease_seconds: Gauge<f64, std::sync::atomic::AtomicU64>,
    pub(crate) open: Gauge,
    pub(crate) unshipped: Gauge,
    pub(crate) cuts: Counter,
    llm_tokens: Family<TokenLabels, Counter>,
    llm_replies: Family<ReplyLabels, Counter>,
}

impl Metrics {
    /// Registers everything under `mandate_gateway_…`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("mandate_gateway");
        let seconds = || Histogram::new(exponential_buckets(10e-6, 2.0, 18));
        let metrics = Self {
            decisions: Family::default(),
            decision_seconds: seconds(),
            record_seconds: seconds(),
            lease_seconds: Gauge::default(),
            open: Gauge::default(),
            unshipped: Gauge::default(),
            cuts: Counter::default(),
            llm_tokens: Family::default(),
            llm_replies: Family::default(),
        };
        registry.register(
            "decisions",
            "Decisions by result and rule",
            metrics.decisions.clone(),
        );
        registry.register(
            "decision_seconds",
            "From a request's head to its decision",
            metrics.decision_seconds.clone(),
        );
        registry.register(
            "record_seconds",
            "Until a record is durable in the spool",
            metrics.record_seconds.clone(),
        );
        registry.register(
            "lease_seconds",
            "What is left of the lease",
            metrics.lease_seconds.clone(),
        );
        registry.register(
            "open_accesses",
            "Admitted accesses under way",
            metrics.open.clone(),
        );
        registry.register(
            "unshipped_records",
            "Records not yet in the log",
            metrics.unshipped.clone(),
        );
        registry.register(
            "cut_accesses",
            "Admitted accesses that were cut",
            metrics.cuts.clone(),
        );
        registry.register(
            "llm_tokens",
            "Tokens that replies of LLMs say were used, by server workload and kind",
            metrics.llm_tokens.clone(),
        );
        registry.register(
            "llm_replies",
            "Replies of LLMs, by server workload and whether they said what they took",
            metrics.llm_replies.clone(),
        );
        metrics
    }

    /// Counts what a reply of the LLM `server` said.
    pub(crate) fn used(&self, server: &str, usage: &Usage) {
        for (kind, count) in usage.counts() {
            let server = server.to_owned();
            let labels = TokenLabels { server, kind };
            self.llm_tokens.get_or_create(&labels).inc_by(count);
        }
        let usage = match usage.incomplete {
            None => "complete",
            Some(Incomplete::NotSaid) => "not_said",
            Some(Incomplete::BrokeOff) => "broke_off",
            Some(Incomplete::TooLong) => "too_long",
            Some(Incomplete::Encoded) => "encoded",
            Some(Incomplete::Unreadable) => "unreadable",
        };
        let server = server.to_owned();
        let labels = ReplyLabels { server, usage };
        self.llm_replies.get_or_create(&labels).inc();
    }

    /// Counts one decision.
    pub(crate) fn decided(&self, result: &str, rule: &str, took: Duration) {
        let labels = DecisionLabels {
            result: result.to_owned(),
            rule: rule.to_owned(),
        };
        self.decisions.get_or_create(&labels).inc();
        self.decision_seconds.observe(took.as_secs_f64());
    }

    /// Counts one record.
    pub(crate) fn record_appended(&self, took: Duration) {
        self.record_seconds.observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_counted_by_server_workload_and_kind() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let usage = Usage {
            model: Some("a-name-that-anybody-may-choose".to_owned()),
            input: Some(5),
            output: Some(2),
            ..Usage::default()
        };
        metrics.used("gpt", &usage);
        let cut = Usage {
            incomplete: Some(Incomplete::BrokeOff),
            ..usage
        };
        metrics.used("gpt", &cut);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"mandate_gateway_llm_tokens_total{server="gpt",kind="input"} 10"#,
            r#"mandate_gateway_llm_tokens_total{server="gpt",kind="output"} 4"#,
            r#"mandate_gateway_llm_replies_total{server="gpt",usage="complete"} 1"#,
            r#"mandate_gateway_llm_replies_total{server="gpt",usage="broke_off"} 1"#,
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        assert!(!text.contains("anybody"), "{text}");
    }
}
