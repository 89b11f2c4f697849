//! What stands in for the machine: evidence and keys; and what tells when nothing is under way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use mandate_audit::Draft;
use mandate_gateway::UpstreamTls;
use mandate_model::{
    AgentTypeName, AttestationKind, InstanceId, ProviderName, Secret, SecretName, Timestamp,
};
use mandate_policy::Bundle;
use mandate_ports::{
    AttestRefusal, Attested, Attestor, Clock, CredentialError, Credentials, Done, Evidence,
    KeyPurpose, KeySource, LocalReceipt, NewKey, Once, Origin, ShownFrom, SignerError, Spool,
    SpoolError, SpoolHead, SpooledRecord,
};
use mandate_testkit::clock::FixedClock;
use mandate_testkit::keys::TestKeys;
use tokio::sync::{Mutex, Notify, watch};

/// Whatever is asked of other threads, one after the other, in the order in which it was asked for; and nobody
/// hears an answer before everybody else has gone on as far as they can. How long a thread takes then never
/// decides who is first.
#[derive(Clone, Default)]
pub(crate) struct Busy(Arc<Counts>);

#[derive(Default)]
struct Counts {
    working: AtomicUsize,
    /// How often something was asked for.
    asked: AtomicUsize,
    changed: Notify,
    /// First come, first served.
    turn: Mutex<()>,
}

impl Busy {
    fn begin(&self) -> Working {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        self.0.working.fetch_add(1, Ordering::SeqCst);
        Working(self.clone())
    }

    /// How often something was asked for.
    pub(crate) fn count(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// Until nothing is under way.
    pub(crate) async fn over(&self) {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            if self.0.working.load(Ordering::SeqCst) == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Does `what`, which is asked of the runtime's one blocking thread.
    pub(crate) async fn look<T>(&self, what: impl Future<Output = T>) -> T {
        let _working = self.begin();
        let _turn = self.0.turn.lock().await;
        self.settle().await;
        let done = what.await;
        self.settle().await;
        done
    }

    /// Does `what`, which is asked of a thread of its own, while the blocking thread does nothing: two of them at
    /// the disk would be another order each time.
    pub(crate) async fn alone<T>(&self, what: impl Future<Output = T>) -> T {
        let _working = self.begin();
        let _turn = self.0.turn.lock().await;
        self.settle().await;
        let (over, held) = std::sync::mpsc::channel::<()>();
        let (begin, begun) = tokio::sync::oneshot::channel();
        tokio::task::spawn_blocking(move || {
            // Nobody waits, if the system is gone.
            let _ = begin.send(());
            let _ = held.recv();
        });
        drop(begun.await);
        let done = what.await;
        drop(over);
        self.settle().await;
        done
    }

    /// Until nobody can go on, and the blocking thread has done what it was asked for by others.
    async fn settle(&self) {
        let (mut before, mut same) = (usize::MAX, 0);
        while same < 2 {
            drop(tokio::task::spawn_blocking(|| ()).await);
            hops().await;
            let now = self.count();
            same = if now == before { same + 1 } else { 0 };
            before = now;
        }
    }
}

/// Something that is under way.
struct Working(Busy);

impl Drop for Working {
    fn drop(&mut self) {
        let counts = &self.0.0;
        counts.working.fetch_sub(1, Ordering::SeqCst);
        counts.changed.notify_waiters();
    }
}

/// Lets every task go on for as long as it needs nobody outside.
pub(crate) async fn hops() {
    for _ in 0..YIELDS {
        tokio::task::yield_now().await;
    }
}

/// As many hops from task to task as anything here takes before it waits for somebody outside.
const YIELDS: usize = 50;

/// Says what the history says: which agent type the next evidence is of, and until when it is good. It is good for
/// one use, as what AWS signs is.
pub(crate) struct SaidSo {
    clock: Arc<FixedClock>,
    next: std::sync::Mutex<(String, String, Timestamp)>,
}

impl SaidSo {
    pub(crate) fn at(clock: Arc<FixedClock>) -> Self {
        let next = (String::new(), String::new(), Timestamp::from_secs(0));
        Self {
            clock,
            next: std::sync::Mutex::new(next),
        }
    }

    pub(crate) fn say(&self, agent: &str, instance: &str, until: Timestamp) {
        *self.next.lock().unwrap() = (agent.to_owned(), instance.to_owned(), until);
    }
}

#[async_trait]
impl Attestor for SaidSo {
    async fn attest(
        &self,
        _: Evidence,
        _: &ShownFrom,
        _: &Bundle,
    ) -> Result<Attested, AttestRefusal> {
        let (agent, instance, until) = self.next.lock().unwrap().clone();
        if self.clock.now() >= until {
            return Err(AttestRefusal::Broken("it has expired".to_owned()));
        }
        Ok(Attested {
            agent: AgentTypeName::parse(&agent).unwrap(),
            provider: ProviderName::parse("process").unwrap(),
            instance: InstanceId::parse(&instance).unwrap(),
            kind: AttestationKind::Process,
            facts: BTreeMap::new(),
            once: Some(Once {
                scope: "history",
                id: instance,
                until,
            }),
        })
    }
}

/// The same keys for the same history, each once.
#[derive(Default)]
pub(crate) struct KeyPool(std::sync::Mutex<BTreeMap<KeyPurpose, usize>>);

static KEYS: std::sync::Mutex<BTreeMap<KeyPurpose, Vec<Pair>>> =
    std::sync::Mutex::new(BTreeMap::new());
type Pair = (Vec<u8>, Vec<u8>);

impl KeyPool {
    /// The pool of a history that begins with one key of each purpose.
    pub(crate) fn after_the_first() -> Self {
        let first = [KeyPurpose::Svid, KeyPurpose::Oauth, KeyPurpose::Log];
        Self(std::sync::Mutex::new(
            first.map(|purpose| (purpose, 1)).into(),
        ))
    }
}

impl KeySource for KeyPool {
    fn generate(&self, purpose: KeyPurpose) -> Result<NewKey, SignerError> {
        let mut used = self.0.lock().unwrap();
        let used = used.entry(purpose).or_insert(0);
        let mut keys = KEYS.lock().unwrap();
        let keys = keys.entry(purpose).or_default();
        if keys.len() <= *used {
            let made = TestKeys::default().generate(purpose)?;
            keys.push((made.pkcs8.expose().clone(), made.public));
        }
        let (pkcs8, public) = keys[*used].clone();
        *used += 1;
        Ok(NewKey {
            pkcs8: Secret::new(pkcs8),
            public,
        })
    }
}

/// No server workload here wants a secret.
pub(crate) struct NoSecrets;

#[async_trait]
impl Credentials for NoSecrets {
    async fn secret(
        &self,
        name: &SecretName,
        _: &Origin,
    ) -> Result<Arc<Secret<Vec<u8>>>, CredentialError> {
        Err(CredentialError::Unmapped(name.clone()))
    }
}

impl UpstreamTls for NoSecrets {
    fn client_config(
        &self,
        _: &Origin,
        _: Option<&str>,
    ) -> Result<Arc<rustls::ClientConfig>, String> {
        Err("no upstream here speaks TLS".to_owned())
    }
}

const ALLOWED: &str = "\"allowed\"";

/// The gateway's spool. Its records are read, and so shipped, while the gate is open.
#[derive(Clone)]
pub(crate) struct Gated {
    pub(crate) spool: Arc<dyn Spool>,
    pub(crate) gate: watch::Receiver<bool>,
    pub(crate) busy: Busy,
    /// Nothing is on its list while nothing is shipped: what is on no list counts as shipped.
    pub(crate) lists_nothing: bool,
    /// What is shipped says of what was allowed that it was denied: the first time, if ever.
    pub(crate) alters: Arc<AtomicBool>,
}

impl Gated {
    fn around(&self, spool: Arc<dyn Spool>) -> Arc<dyn Spool> {
        Arc::new(Self {
            spool,
            ..self.clone()
        })
    }
}

#[async_trait]
impl Spool for Gated {
    async fn append_draft(&self, draft: Arc<Draft>) -> Result<LocalReceipt, SpoolError> {
        self.busy.alone(self.spool.append_draft(draft)).await
    }

    fn append_behind(&self, draft: Arc<Draft>, done: Done) {
        let spool = self.clone();
        tokio::spawn(async move { done(spool.append_draft(draft).await) });
    }

    fn head(&self) -> SpoolHead {
        self.spool.head()
    }

    async fn read(&self, from: u64, limit: usize) -> Result<Vec<SpooledRecord>, SpoolError> {
        let mut gate = self.gate.clone();
        let closed = |_| SpoolError::Unwritable("the history is over".to_owned());
        gate.wait_for(|open| *open).await.map_err(closed)?;
        let mut records = self.busy.look(self.spool.read(from, limit)).await?;
        let allowed = |record: &&mut SpooledRecord| record.event.contains(ALLOWED);
        if self.alters.load(Ordering::SeqCst)
            && let Some(record) = records.iter_mut().find(allowed)
        {
            record.event = record.event.replace(ALLOWED, "\"denied\"");
            self.alters.store(false, Ordering::SeqCst);
        }
        Ok(records)
    }

    fn unshipped_from(&self) -> u64 {
        self.spool.unshipped_from()
    }

    async fn shipped(&self, next: u64) -> Result<(), SpoolError> {
        self.busy.look(self.spool.shipped(next)).await
    }

    fn current(&self) -> Arc<dyn Spool> {
        self.around(self.spool.current())
    }

    fn retired(&self) -> Vec<Arc<dyn Spool>> {
        let retired = self.spool.retired().into_iter();
        retired.map(|spool| self.around(spool)).collect()
    }

    fn to_ship(&self) -> Vec<Arc<dyn Spool>> {
        if self.lists_nothing && !*self.gate.borrow() {
            return Vec::new();
        }
        let spools = self.spool.to_ship().into_iter();
        spools.map(|spool| self.around(spool)).collect()
    }
}
