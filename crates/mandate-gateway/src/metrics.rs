//! Figures for Prometheus. Labels never carry a name of a task, a person or a token.

use std::time::Duration;

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
        metrics
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
