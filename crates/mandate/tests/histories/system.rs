//! The whole system on a losing disk: authority, store, gateway, spool, control stream, upstream.
//!
//! It runs on one thread with time standing still, so that the same history asks the disk for the same
//! operations: nothing happens until it is asked for, one thing after the other, and between two things
//! it is waited until nothing is under way. Only then time passes, as far as the history says.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use mandate_attest::{AwsChallenges, KernelPeers, PasswdUsers};
use mandate_authority::{Authority, Config, Doors, PROOF_ROOM, Ports};
use mandate_decide::Lifetimes;
use mandate_gateway::{
    Gateway, GatewayConfig, GatewayPorts, Limits, Listener, PublicAddress, Routing, UnixControl,
};
use mandate_model::{GatewayId, Secret, Timestamp, TrustDomain};
use mandate_ports::{CheckpointStore, Clock, StateReader};
use mandate_spool::{FileSpool, OnDamage, SpoolLimits, SpoolOptions};
use mandate_store_sqlite::SqliteStore;
use mandate_testkit::clock::FixedClock;
use mandate_testkit::entropy::SeededEntropy;
use mandate_testkit::keys::TestKeys;
use mandate_testkit::losing_disk::apart::Disk;
use mandate_token::Issuer;
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::parts::{Busy, Gated, KeyPool, NoSecrets, SaidSo, hops};
use crate::people::People;
use crate::story::Without;
use crate::upstream::Upstream;
use crate::watched::Watched;

/// What outlives the process: the disk, the clock, other machines.
pub(crate) struct Machine {
    pub(crate) disk: Arc<Disk>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) entropy: Arc<SeededEntropy>,
    pub(crate) keys: Arc<KeyPool>,
    pub(crate) upstream: Upstream,
    pub(crate) people: Arc<People>,
    /// What is taken away.
    pub(crate) without: Without,
}

/// A running system.
pub(crate) struct System {
    runtime: Runtime,
    /// While it is there, time stands still: a runtime that waits for a thread passes none by itself.
    still: std::sync::mpsc::Sender<()>,
    pub(crate) at: At,
}

/// Where to reach it.
pub(crate) struct At {
    pub(crate) disk: Arc<Disk>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) upstream: Upstream,
    pub(crate) store: SqliteStore,
    pub(crate) signer: Arc<TestKeys>,
    pub(crate) said: Arc<SaidSo>,
    pub(crate) people: Arc<People>,
    pub(crate) gateway_address: SocketAddr,
    gateway: Option<Gateway>,
    gate: watch::Sender<bool>,
    busy: Busy,
    run: TempDir,
    stop: CancellationToken,
    served: Option<tokio::task::JoinHandle<()>>,
}

impl System {
    /// Starts everything on what the disk has. An error says why it cannot start.
    pub(crate) fn boot(machine: &Machine) -> Result<Self, String> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .event_interval(1)
            // One holds time, the other one does one thing after the other.
            .max_blocking_threads(2)
            .build()
            .unwrap();
        let (still, held) = std::sync::mpsc::channel();
        runtime.spawn_blocking(move || held.recv());
        let at = runtime.block_on(start(machine))?;
        Ok(Self { runtime, still, at })
    }

    /// Does something with it.
    pub(crate) fn run<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(what)
    }

    /// As when the machine loses its power: nobody is told anything.
    pub(crate) fn lose(self) {
        let Self { runtime, still, at } = self;
        {
            let _inside = runtime.enter();
            drop(at);
        }
        drop(still);
        runtime.shutdown_timeout(Duration::from_secs(5));
    }

    /// As when it is told to end.
    pub(crate) fn stop(mut self) -> Result<(), String> {
        let at = &mut self.at;
        let (gateway, served) = (at.gateway.take(), at.served.take());
        at.gate.send_replace(true);
        let at = &self.at;
        let ended = self.runtime.block_on(at.drive(async {
            if let Some(gateway) = gateway {
                gateway.stop(Duration::from_secs(5)).await;
            }
            at.stop.cancel();
            if let Some(served) = served {
                drop(served.await);
            }
            at.store.close().await;
        }));
        self.lose();
        ended.ok_or_else(|| "it does not stop".to_owned())
    }
}

async fn start(machine: &Machine) -> Result<At, String> {
    let (data, clock) = (machine.disk.path(), Arc::clone(&machine.clock));
    let run = tempfile::tempdir().unwrap();
    let busy = Busy::default();
    let store = SqliteStore::open(&data.join("store"), machine.entropy.bytes(), clock.now());
    let store = store.map_err(|why| format!("the store does not open: {why}"))?;
    // What its thread tidies first is done before it says no to this.
    drop(store.keep_checkpoint(String::new()).await);
    let signer = Arc::new(TestKeys::default());
    let records = store.keys().await.map_err(|why| why.to_string())?;
    signer.load(&records);
    let said = Arc::new(SaidSo::at(clock.clone()));
    let mut registry = Registry::default();
    let watched = Arc::new(Watched {
        store: store.clone(),
        busy: busy.clone(),
        without: machine.without,
    });
    let ports = Ports {
        writer: watched.clone(),
        state: watched.clone(),
        log: watched.clone(),
        checkpoints: watched,
        signer: signer.clone(),
        key_source: machine.keys.clone(),
        attestor: said.clone(),
        challenges: Arc::new(AwsChallenges::new(clock.clone(), machine.entropy.clone())),
        peers: Arc::new(KernelPeers),
        people: machine.people.clone(),
        users: Arc::new(PasswdUsers),
        clock: clock.clone(),
        entropy: machine.entropy.clone(),
    };
    let authority = Authority::open(config(&run), ports, &mut registry).await;
    let authority = authority.map_err(|why| format!("the authority does not start: {why}"))?;
    let records = store.keys().await.map_err(|why| why.to_string())?;
    signer.load(&records);
    tokio::spawn(follow(signer.clone(), store.clone(), authority.clone()));
    let doors = Doors::open(&authority, None, None).unwrap();
    let (gate, gated) = watch::channel(false);
    let gateway = gateway(machine, &run, gated, busy.clone(), &mut registry);
    let (gateway, gateway_address) = gateway?;
    let stop = CancellationToken::new();
    let served = tokio::spawn({
        let stop = stop.clone();
        async move { authority.serve(doors, Arc::new(registry), stop).await }
    });
    let at = At {
        disk: Arc::clone(&machine.disk),
        clock,
        upstream: machine.upstream.clone(),
        store,
        signer,
        said,
        people: machine.people.clone(),
        gateway_address,
        gateway: Some(gateway),
        gate,
        busy,
        run,
        stop,
        served: Some(served),
    };
    at.quiet().await;
    Ok(at)
}

fn gateway(
    machine: &Machine,
    run: &TempDir,
    gated: watch::Receiver<bool>,
    busy: Busy,
    registry: &mut Registry,
) -> Result<(Gateway, SocketAddr), String> {
    let gateway_id = GatewayId::parse(GATEWAY).unwrap();
    let options = SpoolOptions {
        directory: machine.disk.path().join("spool"),
        gateway: gateway_id.clone(),
        limits: SpoolLimits::default(),
        on_damage: OnDamage::Refuse,
    };
    let spool = FileSpool::open(options, machine.entropy.clone());
    let spool = spool.map_err(|why| format!("the spool does not open: {why}"))?;
    let config = GatewayConfig {
        id: gateway_id,
        marks_path: machine.disk.path().join("gateway.json"),
        lease_grace: Duration::from_secs(30),
        limits: Limits::default(),
        attribute_key: Secret::new(vec![7; 32]),
        session_key: Secret::new(vec![7; 32]),
    };
    let ports = GatewayPorts {
        control: Arc::new(UnixControl::new(run.path().join("control.sock"))),
        spool: Arc::new(Gated {
            spool: Arc::new(spool),
            gate: gated,
            busy,
            lists_nothing: machine.without.shipped,
            alters: Arc::new(machine.without.faithful.into()),
        }),
        credentials: Arc::new(NoSecrets),
        tls: Arc::new(NoSecrets),
        clock: machine.clock.clone(),
        entropy: machine.entropy.clone(),
        key: Arc::new(mandate_testkit::proofs::AgentKey::generate()),
    };
    machine.upstream.serve();
    let gateway = Gateway::start(config, ports, registry);
    let mut gateway = gateway.map_err(|why| format!("the gateway does not start: {why}"))?;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway_address = socket.local_addr().unwrap();
    let listener = Listener {
        name: "agents".to_owned(),
        socket,
        routing: Routing::Path,
        public: PublicAddress::Base(format!("http://{gateway_address}")),
        tls: None,
    };
    gateway.listen(listener).unwrap();
    Ok((gateway, gateway_address))
}

fn config(run: &TempDir) -> Config {
    Config {
        issuer: Issuer::parse("http://127.0.0.1:7701").unwrap(),
        trust_domain: TrustDomain::parse("acme.example").unwrap(),
        lifetimes: Lifetimes::default(),
        lease: LEASE,
        key_cache: Duration::from_secs(300),
        connections: 64,
        run: run.path().to_owned(),
        own_uid: rustix::process::geteuid().as_raw(),
        proofs: PROOF_ROOM,
    }
}

/// As the program does: whenever a version moves, the signer takes over the store's keys.
async fn follow(signer: Arc<TestKeys>, store: SqliteStore, authority: Authority) {
    let mut versions = authority.versions();
    while versions.changed().await.is_ok() {
        if let Ok(records) = store.keys().await {
            signer.load(&records);
        }
    }
}

impl At {
    /// One of the authority's sockets.
    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.run.path().join(name)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether the gateway admits.
    pub(crate) fn is_ready(&self) -> bool {
        self.gateway
            .as_ref()
            .is_some_and(|gateway| gateway.status().ready)
    }

    /// What keeps the gateway from admitting.
    pub(crate) fn trouble(&self) -> String {
        let status = self.gateway.as_ref().map(Gateway::status);
        format!("{status:?}")
    }

    /// Whether the gateway has applied all that the store has.
    pub(crate) async fn is_up_to_date(&self) -> bool {
        let applied = self
            .gateway
            .as_ref()
            .and_then(|gateway| gateway.status().versions);
        applied.is_some() && applied == self.store.versions().await.ok()
    }

    /// Until nothing is under way any more.
    pub(crate) async fn quiet(&self) {
        self.busy.over().await;
        // What the store's thread tidies after an answer is done before it says no to this.
        drop(self.store.keep_checkpoint(String::new()).await);
        let (mut before, mut same) = (None, 0);
        for _ in 0..PATIENCE {
            self.busy.over().await;
            // Whatever was asked of the blocking thread has been done after this.
            drop(tokio::task::spawn_blocking(|| ()).await);
            hops().await;
            let gateway = self.gateway.as_ref().map(Gateway::status);
            let counts = (
                self.disk.operations(),
                self.upstream.count(),
                self.busy.count(),
            );
            let now = Some((counts, gateway));
            same = if now == before { same + 1 } else { 0 };
            if same == 2 {
                return;
            }
            before = now;
        }
        panic!("it never comes to rest: {before:?}");
    }

    /// Time passes, and what is due is done.
    pub(crate) async fn pass(&self, span: Duration) {
        let mut left = span;
        while !left.is_zero() && !self.disk.has_crashed() {
            let step = if left > Duration::from_secs(20) { 5 } else { 1 };
            let step = left.min(Duration::from_secs(step));
            self.jump(step).await;
            left -= step;
        }
    }

    /// Time has passed at once, as for a machine that slept.
    pub(crate) async fn jump(&self, span: Duration) {
        self.clock.pass(span);
        tokio::time::advance(span).await;
        self.quiet().await;
    }

    /// Waits for `what`, and lets time pass while nothing else happens. `None` if the disk crashes before,
    /// or if it takes longer than two minutes.
    pub(crate) async fn drive<T>(&self, what: impl Future<Output = T>) -> Option<T> {
        let mut what = pin!(what);
        for _ in 0..120 {
            tokio::select! {
                biased;
                done = &mut what => return Some(done),
                () = self.quiet() => {}
            }
            if self.disk.has_crashed() {
                return None;
            }
            self.clock.pass(SECOND);
            tokio::time::advance(SECOND).await;
        }
        None
    }

    /// Lets time pass until `is_so`; whether it became so in a minute.
    pub(crate) async fn until(&self, is_so: impl Fn() -> bool) -> bool {
        for _ in 0..60 {
            self.quiet().await;
            if is_so() || self.disk.has_crashed() {
                return is_so();
            }
            self.clock.pass(SECOND);
            tokio::time::advance(SECOND).await;
        }
        is_so()
    }

    /// Records are shipped from now on, or not.
    pub(crate) fn let_ship(&self, so: bool) {
        self.gate.send_replace(so);
    }

    /// Ships all that waits; whether that succeeded.
    pub(crate) async fn ship(&self) -> bool {
        self.gate.send_replace(true);
        let unshipped = || {
            self.gateway
                .as_ref()
                .map_or(0, |gateway| gateway.status().unshipped)
        };
        let shipped = self.until(|| unshipped() == 0).await;
        self.gate.send_replace(false);
        shipped
    }
}

/// The one gateway.
pub(crate) const GATEWAY: &str = "local";
/// A gateway's lease.
pub(crate) const LEASE: Duration = Duration::from_secs(15);
const SECOND: Duration = Duration::from_secs(1);
/// More looks than anything here takes.
const PATIENCE: usize = 10_000;
