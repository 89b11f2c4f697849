//! Ways to an upstream, and the load that goes each of them.

use std::net::SocketAddr;
use std::time::Duration;

use crate::figures::{Samples, us};
use crate::load::{Run, Shot, closed_loop, fixed_rate};
use crate::process::Process;

/// A way to the upstream: where its load goes, and who works for it.
#[derive(Debug)]
pub struct Way<'a> {
    pub name: &'static str,
    pub to: SocketAddr,
    process: Option<&'a Process>,
    runs: Vec<Run>,
    busy: Duration,
    pub steady: Samples,
}

impl<'a> Way<'a> {
    pub fn new(name: &'static str, to: SocketAddr, process: Option<&'a Process>) -> Self {
        Self {
            name,
            to,
            process,
            runs: Vec::new(),
            busy: Duration::ZERO,
            steady: Samples::default(),
        }
    }

    /// A closed loop: what it serves, and what its process runs for that.
    /// Tells how many requests were answered.
    pub async fn saturate(&mut self, shot: &Shot, connections: usize, span: Duration) -> usize {
        let cpu = || self.process.map_or(Duration::ZERO, Process::cpu);
        let before = cpu();
        let run = closed_loop(self.to, shot, connections, span).await;
        self.busy += cpu() - before;
        let answered = run.latencies.len();
        self.runs.push(run);
        answered
    }

    /// Latencies at 1,000 requests a second. Tells how many were answered.
    pub async fn pace(&mut self, shot: &Shot, span: Duration) -> usize {
        let latencies = fixed_rate(self.to, shot, 1000, span).await;
        let answered = latencies.len();
        self.steady.extend(latencies);
        answered
    }

    /// Resident memory of its process.
    pub fn resident_mib(&self) -> Option<f64> {
        self.process.map(Process::resident_mib)
    }

    /// The median run.
    pub fn median(&mut self) -> &Run {
        self.runs
            .sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
        &self.runs[self.runs.len() / 2]
    }

    pub fn report(&mut self) {
        let served: f64 = self.runs.iter().map(|run| run.latencies.len() as f64).sum();
        let each = self.busy.as_secs_f64() * 1e6 / served;
        let name = format!("{} (its own CPU {each:.1} µs a request)", self.name);
        report(&name, self.median());
    }
}

/// Says what a run came to.
pub fn report(name: &str, run: &Run) {
    println!(
        "{name}: {:.0}/s, p50 {}, p99 {}",
        run.per_second,
        us(run.latencies.median()),
        us(run.latencies.p99())
    );
}
