//! What the test decides in place of the machine: evidence, and whether the disk is full.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mandate_attest::KernelPeers;
use mandate_model::{AgentTypeName, AttestationKind, InstanceId, KeyId, ProviderName};
use mandate_policy::Bundle;
use mandate_ports::{
    AttestRefusal, Attested, Attestor, CommitError, Committed, Evidence, KeyPurpose, PeerProcess,
    Peers, Signed, Signer, SignerError, StoreError, Unit, Writer,
};
use mandate_store_sqlite::SqliteStore;
use mandate_testkit::clock::FixedClock;
use mandate_testkit::keys::TestKeys;
use tokio::sync::watch;

/// Says what the test says: which agent type the next evidence is of.
#[derive(Default)]
pub(crate) struct SaidSo(Mutex<Option<(String, String)>>);

impl SaidSo {
    pub(crate) fn say(&self, agent: &str, instance: &str) {
        *self.0.lock().unwrap() = Some((agent.to_owned(), instance.to_owned()));
    }
}

#[async_trait]
impl Attestor for SaidSo {
    async fn attest(&self, evidence: Evidence, _: &Bundle) -> Result<Attested, AttestRefusal> {
        let Evidence::Process(peer) = evidence;
        let said = self.0.lock().unwrap().clone();
        let nearest = "the test says nothing".to_owned();
        let (agent, instance) = said.ok_or(AttestRefusal::NoRule { nearest })?;
        Ok(Attested {
            agent: AgentTypeName::parse(&agent).unwrap(),
            provider: ProviderName::parse("process").unwrap(),
            instance: InstanceId::parse(&instance).unwrap(),
            kind: AttestationKind::Process,
            facts: [("pid".to_owned(), peer.pid.to_string())].into(),
        })
    }
}

/// The kernel's word on peers, but for their user: a test has no other users of the machine.
#[derive(Default)]
pub(crate) struct Crowd(Mutex<Option<u32>>);

impl Crowd {
    /// From now on peers are of this user; of their own if it is `None`.
    pub(crate) fn come_as(&self, uid: Option<u32>) {
        *self.0.lock().unwrap() = uid;
    }
}

impl Peers for Crowd {
    fn peer(&self, socket: BorrowedFd<'_>) -> std::io::Result<PeerProcess> {
        let peer = KernelPeers.peer(socket)?;
        let uid = self.0.lock().unwrap().unwrap_or(peer.uid);
        Ok(PeerProcess { uid, ..peer })
    }
}

/// A signer that can take its time.
pub(crate) struct Slow {
    keys: Arc<TestKeys>,
    clock: Arc<FixedClock>,
    next: Mutex<Duration>,
}

impl Slow {
    pub(crate) fn of(keys: Arc<TestKeys>, clock: Arc<FixedClock>) -> Self {
        let next = Mutex::default();
        Self { keys, clock, next }
    }

    /// The next signature takes so long.
    pub(crate) fn take(&self, span: Duration) {
        *self.next.lock().unwrap() = span;
    }
}

impl Signer for Slow {
    fn current(&self, purpose: KeyPurpose) -> Result<KeyId, SignerError> {
        self.keys.current(purpose)
    }

    fn sign(&self, key: &KeyId, message: &[u8]) -> Result<Signed, SignerError> {
        self.clock
            .pass(std::mem::take(&mut *self.next.lock().unwrap()));
        self.keys.sign(key, message)
    }
}

/// The store's writer, and whether its disk is full or hangs.
pub(crate) struct Disk {
    store: Arc<SqliteStore>,
    full: AtomicBool,
    hangs: watch::Sender<bool>,
    waiting: watch::Sender<usize>,
    first: Mutex<Option<Unit>>,
}

impl Disk {
    pub(crate) fn of(store: Arc<SqliteStore>) -> Self {
        Self {
            store,
            full: AtomicBool::new(false),
            hangs: watch::Sender::new(false),
            waiting: watch::Sender::new(0),
            first: Mutex::new(None),
        }
    }

    /// From now on nothing is written, until it goes on.
    pub(crate) fn hang(&self, hangs: bool) {
        self.hangs.send_replace(hangs);
    }

    /// Until so many writes have begun to hang.
    pub(crate) async fn until_waiting(&self, count: usize) {
        let mut waiting = self.waiting.subscribe();
        waiting.wait_for(|seen| *seen >= count).await.unwrap();
    }

    /// Commits `unit` between the next decision to issue and its commit, as another authority at
    /// the same store would.
    pub(crate) fn get_ahead(&self, unit: Unit) {
        *self.first.lock().unwrap() = Some(unit);
    }

    pub(crate) fn fill(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }
}

#[async_trait]
impl Writer for Disk {
    async fn commit(&self, unit: Unit) -> Result<Committed, CommitError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(CommitError::Store(StoreError::Full));
        }
        if *self.hangs.borrow() {
            self.waiting.send_modify(|count| *count += 1);
            let mut hangs = self.hangs.subscribe();
            hangs.wait_for(|hangs| !hangs).await.unwrap();
        }
        if unit.expect.is_some() {
            let first = self.first.lock().unwrap().take();
            if let Some(first) = first {
                self.store.commit(first).await?;
            }
        }
        self.store.commit(unit).await
    }
}
