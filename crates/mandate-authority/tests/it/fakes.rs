//! What the test decides in place of the machine: evidence, and whether the disk is full.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mandate_attest::KernelPeers;
use mandate_model::stop::{StopSet, Subject};
use mandate_model::task::Task;
use mandate_model::{
    AgentTypeName, AttestationKind, BundleVersion, Instance, InstanceId, KeyId, Principal,
    ProviderName, TaskId, Thumbprint, Timestamp,
};
use mandate_policy::Bundle;
use mandate_ports::{
    AttestRefusal, Attested, Attestor, BundleRecord, Challenge, Challenges, CommitError, Committed,
    EntryRange, Evidence, GatewayRecord, KeyPurpose, KeyRecord, LogHead, LogReader, Matches, Once,
    PeerProcess, Peers, Search, ShownFrom, Signed, Signer, SignerError, StateReader, StoreError,
    Unit, Versions, Writer,
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
    async fn attest(
        &self,
        evidence: Evidence,
        from: &ShownFrom,
        _: &Bundle,
    ) -> Result<Attested, AttestRefusal> {
        let mut once = None;
        let (kind, fact) = match evidence {
            Evidence::Process(peer) => (AttestationKind::Process, peer.pid.to_string()),
            Evidence::Token(token) => match token.expose().as_str() {
                "broken" => return Err(AttestRefusal::Broken("it is broken".to_owned())),
                "unavailable" => {
                    let why = "https://idp.example is down".to_owned();
                    return Err(AttestRefusal::Unavailable(why));
                }
                other => (AttestationKind::Oidc, other.to_owned()),
            },
            Evidence::Aws(request) => {
                once = Some(Once {
                    scope: "aws-challenge",
                    id: request.expose().clone(),
                    until: Timestamp::from_secs(1_900_000_000),
                });
                (AttestationKind::Aws, "a role".to_owned())
            }
        };
        let said = self.0.lock().unwrap().clone();
        let nearest = "the test says nothing".to_owned();
        let (agent, instance) = said.ok_or(AttestRefusal::NoRule { nearest })?;
        Ok(Attested {
            agent: AgentTypeName::parse(&agent).unwrap(),
            provider: ProviderName::parse("process").unwrap(),
            instance: InstanceId::parse(&instance).unwrap(),
            kind,
            facts: [
                ("fact".to_owned(), fact),
                ("from".to_owned(), from.as_str().to_owned()),
            ]
            .into(),
            once,
        })
    }
}

impl Challenges for SaidSo {
    fn challenge(&self) -> Challenge {
        Challenge {
            value: "sign-this".to_owned(),
            expires_in: 120,
        }
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
    refuses: AtomicUsize,
}

impl Slow {
    pub(crate) fn of(keys: Arc<TestKeys>, clock: Arc<FixedClock>) -> Self {
        let next = Mutex::default();
        let refuses = AtomicUsize::new(0);
        Self {
            keys,
            clock,
            next,
            refuses,
        }
    }

    /// So many signatures for the log fail next.
    pub(crate) fn refuse(&self, count: usize) {
        self.refuses.store(count, Ordering::SeqCst);
    }

    /// How many of them are still to fail.
    pub(crate) fn refuses(&self) -> usize {
        self.refuses.load(Ordering::SeqCst)
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
        let less = |left: usize| left.checked_sub(1);
        if key.as_str().starts_with("log-")
            && self
                .refuses
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
                .is_ok()
        {
            return Err(SignerError::Failed);
        }
        self.clock
            .pass(std::mem::take(&mut *self.next.lock().unwrap()));
        self.keys.sign(key, message)
    }
}

/// The store's writer, and whether its disk is full or hangs.
pub(crate) struct Disk {
    store: Arc<SqliteStore>,
    full: AtomicBool,
    /// The next issuance is stored, and the answer is that it was not.
    forgets: AtomicBool,
    hangs: watch::Sender<bool>,
    waiting: watch::Sender<usize>,
    first: Mutex<Option<Unit>>,
}

impl Disk {
    pub(crate) fn of(store: Arc<SqliteStore>) -> Self {
        Self {
            store,
            full: AtomicBool::new(false),
            forgets: AtomicBool::new(false),
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

    /// The next issuance is stored, and whoever waits for it hears that it failed.
    pub(crate) fn forget_to_answer(&self) {
        self.forgets.store(true, Ordering::SeqCst);
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
            if self.forgets.swap(false, Ordering::SeqCst) {
                self.store.commit(unit).await?;
                let lost = "the answer was lost".to_owned();
                return Err(CommitError::Store(StoreError::Unavailable(lost)));
            }
        }
        self.store.commit(unit).await
    }
}

/// The store's state, and how often it was read.
pub(crate) struct Reads {
    store: Arc<SqliteStore>,
    stops: AtomicUsize,
    versions: watch::Sender<usize>,
    ahead: Mutex<Option<(usize, Unit)>>,
}

impl Reads {
    pub(crate) fn of(store: Arc<SqliteStore>) -> Self {
        Self {
            store,
            stops: AtomicUsize::new(0),
            versions: watch::Sender::new(0),
            ahead: Mutex::new(None),
        }
    }

    /// How often the stops were read.
    pub(crate) fn stops(&self) -> usize {
        self.stops.load(Ordering::SeqCst)
    }

    /// How often the versions were.
    pub(crate) fn versions(&self) -> usize {
        *self.versions.borrow()
    }

    /// Commits `unit` right before the versions are read for the `count`th time from now.
    pub(crate) fn get_ahead(&self, count: usize, unit: Unit) {
        *self.ahead.lock().unwrap() = Some((count, unit));
    }

    fn due(&self) -> Option<Unit> {
        let mut ahead = self.ahead.lock().unwrap();
        let (count, _) = ahead.as_mut()?;
        *count -= 1;
        if *count > 0 {
            return None;
        }
        ahead.take().map(|(_, unit)| unit)
    }

    /// Until the authority has looked so often again whether anything moved: once a second, before
    /// it moves keys.
    pub(crate) async fn until_looked(&self, times: usize) {
        let mut versions = self.versions.subscribe();
        let until = *versions.borrow() + times;
        versions.wait_for(|seen| *seen >= until).await.unwrap();
    }
}

#[async_trait]
impl StateReader for Reads {
    async fn versions(&self) -> Result<Versions, StoreError> {
        self.versions.send_modify(|seen| *seen += 1);
        if let Some(unit) = self.due() {
            self.store.commit(unit).await.unwrap();
        }
        self.store.versions().await
    }

    async fn stops(&self, now: Timestamp) -> Result<StopSet, StoreError> {
        self.stops.fetch_add(1, Ordering::SeqCst);
        self.store.stops(now).await
    }

    async fn suspenders(&self, subject: &Subject) -> Result<Vec<Principal>, StoreError> {
        self.store.suspenders(subject).await
    }

    async fn bundle(
        &self,
        version: Option<BundleVersion>,
    ) -> Result<Option<(BundleVersion, BundleRecord)>, StoreError> {
        self.store.bundle(version).await
    }

    async fn task(&self, id: TaskId) -> Result<Option<Task>, StoreError> {
        self.store.task(id).await
    }

    async fn live_key(
        &self,
        instance: &Instance,
        at: Timestamp,
    ) -> Result<Option<Thumbprint>, StoreError> {
        self.store.live_key(instance, at).await
    }

    async fn subtree(&self, id: TaskId) -> Result<Vec<Task>, StoreError> {
        self.store.subtree(id).await
    }

    async fn keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        self.store.keys().await
    }

    async fn gateways(&self) -> Result<Vec<GatewayRecord>, StoreError> {
        self.store.gateways().await
    }
}

/// The log; its searches say that it is damaged, when the test says so.
pub(crate) struct Logs {
    store: Arc<SqliteStore>,
    damaged: AtomicBool,
}

impl Logs {
    pub(crate) fn of(store: Arc<SqliteStore>) -> Self {
        Self {
            store,
            damaged: AtomicBool::new(false),
        }
    }

    /// From now on what a search asks for may be missing.
    pub(crate) fn damage(&self) {
        self.damaged.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl LogReader for Logs {
    async fn head(&self) -> Result<LogHead, StoreError> {
        self.store.head().await
    }

    async fn entries(&self, first: u64, limit: usize) -> Result<EntryRange, StoreError> {
        self.store.entries(first, limit).await
    }

    async fn node(&self, level: u8, index: u64) -> Result<Option<[u8; 32]>, StoreError> {
        self.store.node(level, index).await
    }

    async fn checkpoint(&self) -> Result<Option<String>, StoreError> {
        self.store.checkpoint().await
    }

    async fn search(&self, search: &Search) -> Result<Matches, StoreError> {
        let mut found = self.store.search(search).await?;
        if self.damaged.load(Ordering::SeqCst) {
            found.records.clear();
            found.damaged.push(0);
        }
        Ok(found)
    }
}
