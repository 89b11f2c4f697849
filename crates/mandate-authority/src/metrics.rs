//! What Prometheus is told. Names and labels are part of the interface.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

type Labelled = Family<[(&'static str, &'static str); 1], Counter>;

/// The authority's metrics, registered once. Labels have a bounded set of values: never a name
/// that a caller chose.
#[derive(Debug, Clone)]
pub struct Metrics {
    issued: Labelled,
    refused: Labelled,
    commit_failed: Labelled,
    commit_seconds: Histogram,
    suspend_seconds: Histogram,
    gateways: Gauge,
    streams: Gauge,
    suspensions: Gauge,
    log_records: Gauge,
    bundle_version: Gauge,
}

impl Metrics {
    /// Registers all of them in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let latency = || Histogram::new(exponential_buckets(0.000_5, 2.0, 16));
        let metrics = Self {
            issued: Family::default(),
            refused: Family::default(),
            commit_failed: Family::default(),
            commit_seconds: latency(),
            suspend_seconds: latency(),
            gateways: Gauge::default(),
            streams: Gauge::default(),
            suspensions: Gauge::default(),
            log_records: Gauge::default(),
            bundle_version: Gauge::default(),
        };
        let r = registry;
        r.register(
            "mandate_issued",
            "Tokens issued, by kind",
            metrics.issued.clone(),
        );
        r.register(
            "mandate_refused",
            "Requests refused, by rule",
            metrics.refused.clone(),
        );
        let failed = metrics.commit_failed.clone();
        r.register(
            "mandate_commit_failed",
            "Commits that failed, by cause",
            failed,
        );
        let seconds = metrics.commit_seconds.clone();
        r.register(
            "mandate_commit_seconds",
            "From handing in a unit to its receipt",
            seconds,
        );
        let seconds = metrics.suspend_seconds.clone();
        r.register(
            "mandate_suspend_seconds",
            "From commit to effect of a suspension",
            seconds,
        );
        let gateways = metrics.gateways.clone();
        r.register(
            "mandate_gateways_leased",
            "Gateways that may hold a lease now",
            gateways,
        );
        r.register(
            "mandate_streams_open",
            "Open control streams",
            metrics.streams.clone(),
        );
        let suspensions = metrics.suspensions.clone();
        r.register("mandate_suspensions", "Suspensions in force", suspensions);
        r.register(
            "mandate_log_records",
            "Records in the log",
            metrics.log_records.clone(),
        );
        let bundle = metrics.bundle_version.clone();
        r.register(
            "mandate_bundle_version",
            "The live bundle's version",
            bundle,
        );
        metrics
    }

    /// A token of `kind` left.
    pub(crate) fn issued(&self, kind: &'static str) {
        self.issued.get_or_create(&[("kind", kind)]).inc();
    }

    /// A request broke `rule`.
    pub(crate) fn refused(&self, rule: &'static str) {
        self.refused.get_or_create(&[("rule", rule)]).inc();
    }

    /// A commit failed for `cause`.
    pub(crate) fn commit_failed(&self, cause: &'static str) {
        self.commit_failed.get_or_create(&[("cause", cause)]).inc();
    }

    /// A commit took `time`.
    pub(crate) fn committed(&self, time: Duration) {
        self.commit_seconds.observe(time.as_secs_f64());
    }

    /// A suspension was effective after `time`.
    pub(crate) fn suspended(&self, time: Duration) {
        self.suspend_seconds.observe(time.as_secs_f64());
    }

    /// What stands now.
    pub(crate) fn set(&self, now: Standing) {
        self.gateways.set(now.gateways);
        self.streams.set(now.streams);
        self.suspensions.set(now.suspensions);
        self.log_records.set(now.log_records);
        self.bundle_version.set(now.bundle_version);
    }
}

/// Figures that are read when somebody asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) gateways: i64,
    pub(crate) streams: i64,
    pub(crate) suspensions: i64,
    pub(crate) log_records: i64,
    pub(crate) bundle_version: i64,
}
