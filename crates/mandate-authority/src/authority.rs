//! The authority: one value that every endpoint works on.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use mandate_model::stop::Suspension;
use mandate_model::{BootTime, GatewayId, RunId, Timestamp};
use mandate_ports::{StoreError, Versions};
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, RwLock, watch};
use tokio_util::sync::CancellationToken;

use crate::breakglass::{NobodyResumes, check_left};
use crate::bundle::Compiler;
use crate::config::{Config, Ports};
use crate::gateways::{Applied, Gateways};
use crate::looks::Looks;
use crate::metrics::{Metrics, Standing};
use crate::names::Names;
use crate::possession::Proofs;
use crate::refusals::Refusals;
use crate::steady::Steady;
use crate::undurable::Undurable;
use crate::world::World;
use crate::writable::Writable;

type Findings = Box<dyn Fn() -> Vec<String> + Send + Sync>;

/// The authority. Clones share one state.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    config: Config,
    ports: Ports,
    metrics: Metrics,
    /// Commits share it, suspensions have it alone (B2): each grant and each issuance is wholly
    /// before or wholly after a suspension.
    gate: RwLock<()>,
    world: ArcSwap<World>,
    changed: watch::Sender<Versions>,
    /// One reading of the state at a time; the later ones find the work done.
    reading: tokio::sync::Mutex<()>,
    /// Suspensions that act and could not be stored (C3). Nothing is committed before they are.
    undurable: Mutex<Undurable>,
    /// This run.
    run: RunId,
    gateways: Gateways,
    refusals: Refusals,
    names: Names,
    compiler: Compiler,
    looks: Looks,
    proofs: Proofs,
    writable: Writable,
    steady: Steady,
    serial: AtomicU64,
    /// How many tokens were signed.
    signed: AtomicU64,
    /// Something was committed that no checkpoint covers.
    uncovered: Notify,
    /// The authority is told to stop: streams end.
    closing: CancellationToken,
    /// What readiness tells of too.
    beside: OnceLock<Findings>,
}

/// Why the authority does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be read or written.
    #[error("the store cannot be used: {0}")]
    Store(#[from] StoreError),
    /// Metadata, keys and endpoints are served from the root of the issuer's host.
    #[error(
        "the issuer `{0}` has a path, and the authority serves the root alone: give it a host of its own"
    )]
    IssuerPath(String),
    /// The first keys could not be made.
    #[error("the first keys could not be made: {0}")]
    Keys(String),
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({})", self.0.config.issuer)
    }
}

impl Authority {
    /// Reads the state and, in an empty store, makes the first keys.
    ///
    /// The gateways of an earlier process count as holding leases that began now (B2).
    pub async fn open(
        config: Config,
        ports: Ports,
        registry: &mut Registry,
    ) -> Result<Self, StartError> {
        check_issuer(config.issuer.as_str())?;
        let (now, start) = (ports.clock.now(), ports.clock.boot());
        let compiler = Compiler::new();
        let state = ports.state.as_ref();
        let world = World::read(
            state,
            None,
            &Undurable::default(),
            (&config, &compiler),
            now,
        )
        .await?;
        let records = ports.state.gateways().await?;
        let (mut secret, mut run) = ([0; 32], [0; 16]);
        ports.entropy.fill(&mut secret);
        ports.entropy.fill(&mut run);
        let authority = Self(Arc::new(Inner {
            proofs: Proofs::keyed(&secret),
            gateways: Gateways::after_restart(records, config.lease, start),
            metrics: Metrics::register(registry),
            gate: RwLock::new(()),
            changed: watch::Sender::new(world.told()),
            world: ArcSwap::from_pointee(world),
            reading: tokio::sync::Mutex::new(()),
            undurable: Mutex::default(),
            run: RunId::from_random(run),
            refusals: Refusals::new(),
            names: Names::new(),
            compiler,
            looks: Looks::default(),
            writable: Writable::new(),
            steady: Steady::new(now, start),
            serial: AtomicU64::new(1),
            signed: AtomicU64::new(0),
            uncovered: Notify::new(),
            closing: CancellationToken::new(),
            beside: OnceLock::new(),
            config,
            ports,
        }));
        crate::keys::first(&authority).await?;
        Ok(authority)
    }

    /// Whether the signature of the token that is issued next is verified before it leaves, though its signer
    /// vouches for it: the first one's, and then one in so many. A machine that computes wrongly is found out
    /// before long; a token that it spoilt is good for nothing.
    pub(crate) fn is_sampled(&self) -> bool {
        let signed = self.0.signed.fetch_add(1, Ordering::Relaxed);
        signed.is_multiple_of(SAMPLED)
    }

    /// The versions that are live, as they change. A signer reads its keys again when they do.
    pub fn versions(&self) -> watch::Receiver<Versions> {
        self.0.changed.subscribe()
    }

    /// This run of the authority.
    pub fn run(&self) -> RunId {
        self.0.run
    }

    /// Has readiness and status tell also what keeps another part of this process from its work: what
    /// `findings` says at that moment, in words for people. The first one that is given counts.
    pub fn tell_also(&self, findings: impl Fn() -> Vec<String> + Send + Sync + 'static) {
        let _ = self.0.beside.set(Box::new(findings));
    }

    /// What keeps the other part of this process from its work.
    pub(crate) fn beside(&self) -> Vec<String> {
        let beside = self.0.beside.get();
        beside.map(|findings| findings()).unwrap_or_default()
    }

    /// Reads what has changed in the store and publishes it.
    ///
    /// When this returns, the snapshot is at least as new as the store was when it was called.
    pub(crate) async fn refresh(&self) -> Result<Arc<World>, StoreError> {
        let _one = self.0.reading.lock().await;
        loop {
            let undurable = self.undurable().clone();
            let old = self.world();
            let state = self.0.ports.state.as_ref();
            let now = self.now();
            let with = (&self.0.config, &self.0.compiler);
            let new = World::read(state, Some(&old), &undurable, with, now).await?;
            if let Some(new) = self.publish(new, &undurable) {
                return Ok(new);
            }
        }
    }

    /// Publishes `new`, if no suspension came to memory while it was read.
    fn publish(&self, new: World, undurable: &Undurable) -> Option<Arc<World>> {
        let present = self.undurable();
        if *present != *undurable {
            return None;
        }
        let new = Arc::new(new);
        let old = self.0.world.swap(Arc::clone(&new));
        drop(present);
        let versions = new.told();
        // What became durable is news, also where what is told stays the same.
        let is_durable = new.versions != old.versions;
        self.0
            .changed
            .send_if_modified(|seen| std::mem::replace(seen, versions) != versions || is_durable);
        Some(new)
    }

    /// Puts `suspension` in force without the store (C3), and publishes it.
    pub(crate) fn suspend_in_memory(
        &self,
        suspension: Suspension,
    ) -> Result<Arc<World>, NobodyResumes> {
        let mut undurable = self.undurable();
        let old = self.world();
        check_left(&old, [suspension.clone()])?;
        let version = old.stops.version().next();
        let suspension = Suspension {
            version,
            ..suspension
        };
        undurable.add(suspension.clone());
        let new = Arc::new(World {
            versions: old.versions,
            stops: Arc::new(old.stops.with(version, [suspension])),
            live: old.live.clone(),
            keys: old.keys.clone(),
            undurable: old.undurable + 1,
        });
        self.0.world.store(Arc::clone(&new));
        drop(undurable);
        self.0.changed.send_replace(new.told());
        Ok(new)
    }

    /// Counts a lease as granted, unless a suspension came to memory that the store does not know
    /// (C3). One lock makes it wholly before such a suspension, which then waits for this gateway,
    /// or wholly after, and then it is none.
    pub(crate) fn granted(&self, id: &GatewayId, lease: Duration, applied: Applied) -> bool {
        let undurable = self.undurable();
        if !undurable.is_empty() {
            return false;
        }
        self.gateways().granted(id, lease, applied, self.boot());
        true
    }

    pub(crate) fn world(&self) -> Arc<World> {
        self.0.world.load_full()
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn ports(&self) -> &Ports {
        &self.0.ports
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn gateways(&self) -> &Gateways {
        &self.0.gateways
    }

    pub(crate) fn names(&self) -> &Names {
        &self.0.names
    }

    pub(crate) fn compiler(&self) -> &Compiler {
        &self.0.compiler
    }

    pub(crate) fn looks(&self) -> &Looks {
        &self.0.looks
    }

    pub(crate) fn proofs(&self) -> &Proofs {
        &self.0.proofs
    }

    pub(crate) fn refusals(&self) -> &Refusals {
        &self.0.refusals
    }

    pub(crate) fn writable(&self) -> &Writable {
        &self.0.writable
    }

    pub(crate) fn gate(&self) -> &RwLock<()> {
        &self.0.gate
    }

    pub(crate) fn uncovered(&self) -> &Notify {
        &self.0.uncovered
    }

    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.0.closing
    }

    /// Short and without await.
    pub(crate) fn undurable(&self) -> MutexGuard<'_, Undurable> {
        self.0
            .undurable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.ports.clock.now()
    }

    pub(crate) fn boot(&self) -> BootTime {
        self.0.ports.clock.boot()
    }

    /// The time, for what must not happen too early: a wall clock that jumps forward does not move
    /// it. Never later than [`now`](Self::now).
    pub(crate) fn steady(&self) -> Timestamp {
        self.0.steady.at(self.now(), self.boot())
    }

    /// A number that no other call gets.
    pub(crate) fn serial(&self) -> u64 {
        self.0.serial.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.ports.entropy.fill(&mut bytes);
        bytes
    }

    /// Brings the gauges up to date.
    pub(crate) async fn measure(&self) {
        let (world, gateways) = (self.world(), self.0.gateways.view(self.boot()));
        let head = self.0.ports.log.head().await;
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.0.metrics.set(Standing {
            gateways: count(gateways.iter().filter(|g| g.leased).count()),
            streams: count(gateways.iter().filter(|g| g.streaming).count()),
            suspensions: count(world.stops.suspensions().count()),
            log_records: head.map_or(-1, |head| i64::try_from(head.size).unwrap_or(i64::MAX)),
            bundle_version: i64::try_from(world.live.version().get()).unwrap_or(i64::MAX),
        });
    }
}

fn check_issuer(issuer: &str) -> Result<(), StartError> {
    let after_scheme = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    match after_scheme.split_once('/') {
        None => Ok(()),
        Some(_) => Err(StartError::IssuerPath(issuer.to_owned())),
    }
}

/// One in so many signatures that a signer vouches for is verified all the same.
const SAMPLED: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_has_no_path() {
        assert!(check_issuer("https://a.example:7701").is_ok());
        assert!(check_issuer("https://a.example/tenant").is_err());
        assert!(check_issuer("https://a.example/").is_err());
    }
}
