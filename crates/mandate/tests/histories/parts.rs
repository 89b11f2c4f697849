//! What stands in for the machine: evidence and keys; and what tells when nothing is under way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use mandate_audit::Draft;
use mandate_gateway::UpstreamTls;
use mandate_model::{AgentTypeName, AttestationKind, InstanceId, ProviderName, Secret, SecretName};
use mandate_policy::Bundle;
use mandate_ports::{
    AttestRefusal, Attested, Attestor, CredentialError, Credentials, Evidence, KeyPurpose,
    KeySource, LocalReceipt, NewKey, Origin, ShownFrom, SignerError, Spool, SpoolError, SpoolHead,
    SpooledRecord,
};
use mandate_testkit::keys::TestKeys;
use tokio::sync::{Notify, watch};

/// Counts what threads of their own are asked for and have not answered.
#[derive(Clone, Default)]
pub(crate) struct Busy(Arc<(AtomicUsize, Notify, AtomicUsize)>);

impl Busy {
    pub(crate) fn begin(&self) -> Working {
        self.0.2.fetch_add(1, Ordering::SeqCst);
        self.0.0.fetch_add(1, Ordering::SeqCst);
        Working(self.clone())
    }

    /// How often something was asked for.
    pub(crate) fn count(&self) -> usize {
        self.0.2.load(Ordering::SeqCst)
    }

    /// Until nothing is under way.
    pub(crate) async fn over(&self) {
        loop {
            let mut changed = std::pin::pin!(self.0.1.notified());
            changed.as_mut().enable();
            if self.0.0.load(Ordering::SeqCst) == 0 {
                return;
            }
            changed.await;
        }
    }
}

/// Something that is under way.
pub(crate) struct Working(Busy);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.0.0.fetch_sub(1, Ordering::SeqCst);
        self.0.0.1.notify_waiters();
    }
}

/// Does `what` while the runtime's one blocking thread does nothing, so that nobody else is at the disk: two
/// threads there at once would be another order each time.
/// Whatever else can go on does so first.
pub(crate) async fn alone<T>(what: impl Future<Output = T>) -> T {
    for _ in 0..2 {
        drop(tokio::task::spawn_blocking(|| ()).await);
        for _ in 0..YIELDS {
            tokio::task::yield_now().await;
        }
    }
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
    done
}

/// As many hops from task to task as anything here takes before it waits for somebody outside.
pub(crate) const YIELDS: usize = 25;

/// Says what the history says: which agent type the next evidence is of.
#[derive(Default)]
pub(crate) struct SaidSo(Mutex<(String, String)>);

impl SaidSo {
    pub(crate) fn say(&self, agent: &str, instance: &str) {
        *self.0.lock().unwrap() = (agent.to_owned(), instance.to_owned());
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
        let (agent, instance) = self.0.lock().unwrap().clone();
        Ok(Attested {
            agent: AgentTypeName::parse(&agent).unwrap(),
            provider: ProviderName::parse("process").unwrap(),
            instance: InstanceId::parse(&instance).unwrap(),
            kind: AttestationKind::Process,
            facts: BTreeMap::new(),
            once: None,
        })
    }
}

/// The same keys for the same history, each once.
#[derive(Default)]
pub(crate) struct KeyPool(Mutex<BTreeMap<KeyPurpose, usize>>);

static KEYS: Mutex<BTreeMap<KeyPurpose, Vec<Pair>>> = Mutex::new(BTreeMap::new());
type Pair = (Vec<u8>, Vec<u8>);

impl KeyPool {
    /// The pool of a history that begins with one key of each purpose.
    pub(crate) fn after_the_first() -> Self {
        let first = [KeyPurpose::Svid, KeyPurpose::Oauth, KeyPurpose::Log];
        Self(Mutex::new(first.map(|purpose| (purpose, 1)).into()))
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

/// The gateway's spool. Its records are read, and so shipped, while the gate is open.
#[derive(Clone)]
pub(crate) struct Gated {
    pub(crate) spool: Arc<dyn Spool>,
    pub(crate) gate: watch::Receiver<bool>,
    pub(crate) busy: Busy,
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
        let _working = self.busy.begin();
        alone(self.spool.append_draft(draft)).await
    }

    fn head(&self) -> SpoolHead {
        self.spool.head()
    }

    async fn read(&self, from: u64, limit: usize) -> Result<Vec<SpooledRecord>, SpoolError> {
        let mut gate = self.gate.clone();
        let closed = |_| SpoolError::Unwritable("the history is over".to_owned());
        gate.wait_for(|open| *open).await.map_err(closed)?;
        let _working = self.busy.begin();
        self.spool.read(from, limit).await
    }

    fn unshipped_from(&self) -> u64 {
        self.spool.unshipped_from()
    }

    async fn shipped(&self, next: u64) -> Result<(), SpoolError> {
        let _working = self.busy.begin();
        self.spool.shipped(next).await
    }

    fn current(&self) -> Arc<dyn Spool> {
        self.around(self.spool.current())
    }

    fn retired(&self) -> Vec<Arc<dyn Spool>> {
        let retired = self.spool.retired().into_iter();
        retired.map(|spool| self.around(spool)).collect()
    }
}
