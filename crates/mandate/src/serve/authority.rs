//! The authority, put together from store, keys, attestor and clocks.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mandate_attest::{KernelPeers, OidcOptions, OidcPersonVerifier, PasswdUsers, ProcessAttestor};
use mandate_audit::NoteKey;
use mandate_authority::{Authority, Config, Ports, log_origin};
use mandate_decide::Lifetimes;
use mandate_ports::{Clock, KeyPurpose, KeyRecord, StateReader};
use mandate_store_sqlite::SqliteStore;
use mandate_token::Issuer;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use super::identity::Identity;
use super::keys::{KeySigner, NewKeys};
use super::machine::{SystemClock, SystemEntropy};
use crate::context::DataDir;
use crate::failure::Failure;

/// The authority and what it rests on.
pub(super) struct Built {
    pub(super) authority: Authority,
    keyring: Keyring,
}

/// Keeps signer and published log keys in step with the store.
struct Keyring {
    signer: Arc<KeySigner>,
    store: SqliteStore,
    origin: String,
    published: PathBuf,
}

/// Builds it on `store`. In an empty store the first keys are made.
pub(super) async fn build(
    store: SqliteStore,
    identity: &Identity,
    lease: Duration,
    data: &DataDir,
    registry: &mut Registry,
) -> Result<Built, Failure> {
    let signer = Arc::new(KeySigner::default());
    let keyring = Keyring {
        signer: Arc::clone(&signer),
        store: store.clone(),
        origin: log_origin(&identity.trust_domain),
        published: data.log_keys(),
    };
    keyring.refresh().await?;
    let config = config(identity, lease, data)?;
    let ports = ports(store, signer)?;
    let authority = Authority::open(config, ports, registry).await;
    let authority = authority.map_err(|e| failed(&e, "`mandate doctor` may know why"))?;
    // The first keys may have been made just now.
    keyring.refresh().await?;
    Ok(Built { authority, keyring })
}

fn config(identity: &Identity, lease: Duration, data: &DataDir) -> Result<Config, Failure> {
    let issuer = Issuer::parse(&identity.issuer)
        .map_err(|e| Failure::usage(e.to_string(), "say --issuer with a URL"))?;
    Ok(Config {
        issuer,
        trust_domain: identity.trust_domain.clone(),
        lifetimes: Lifetimes::default(),
        lease,
        key_cache: KEY_CACHE,
        run: data.run(),
        own_uid: rustix::process::geteuid().as_raw(),
    })
}

fn ports(store: SqliteStore, signer: Arc<KeySigner>) -> Result<Ports, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let attestor = ProcessAttestor::new()
        .map_err(|e| failed(&e, "processes cannot be attested without /proc"))?;
    let people = OidcPersonVerifier::new(OidcOptions::default(), Arc::clone(&clock))
        .map_err(|e| failed(&e, ""))?;
    let store = Arc::new(store);
    Ok(Ports {
        writer: store.clone(),
        state: store.clone(),
        log: store.clone(),
        checkpoints: store,
        signer,
        key_source: Arc::new(NewKeys),
        attestor: Arc::new(attestor),
        peers: Arc::new(KernelPeers),
        people: Arc::new(people),
        users: Arc::new(PasswdUsers),
        clock,
        entropy: Arc::new(SystemEntropy),
    })
}

impl Built {
    /// Reads the keys again whenever they change, until `end`.
    pub(super) async fn follow_keys(self, end: CancellationToken) {
        let mut versions = self.authority.versions();
        let mut seen = versions.borrow_and_update().keys;
        loop {
            let changed = tokio::select! {
                () = end.cancelled() => return,
                changed = versions.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            let now = versions.borrow_and_update().keys;
            if now == seen {
                continue;
            }
            match self.keyring.refresh().await {
                Ok(()) => seen = now,
                // Old keys go on signing; the next version tries again.
                Err(why) => tracing::error!(why = why.broke, "the keys could not be read again"),
            }
        }
    }
}

impl Keyring {
    async fn refresh(&self) -> Result<(), Failure> {
        let records = self.store.keys().await;
        let records = records.map_err(|e| failed(&e, "`mandate doctor` may know why"))?;
        self.signer
            .load(&records)
            .map_err(|e| failed(&e, "restore the store from a backup"))?;
        self.publish(&records)
    }

    /// Adds the public keys of the log to their file. None is ever taken out: old checkpoints stay
    /// verifiable.
    fn publish(&self, records: &[KeyRecord]) -> Result<(), Failure> {
        let file_failed = |e: std::io::Error| Failure::file(&self.published, &e);
        let known = match std::fs::read_to_string(&self.published) {
            Ok(known) => known,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(file_failed(e)),
        };
        let mut text = known.clone();
        for record in records.iter().filter(|r| r.purpose == KeyPurpose::Log) {
            let public: Option<[u8; 32]> = record.public.clone().try_into().ok();
            let key = public.and_then(|public| NoteKey::new(&self.origin, public).ok());
            let line = key.map(|key| key.to_string()).unwrap_or_default();
            if !text.lines().any(|known| known == line) {
                text.push_str(&line);
                text.push('\n');
            }
        }
        if text == known {
            return Ok(());
        }
        std::fs::write(&self.published, text).map_err(file_failed)
    }
}

fn failed(why: &dyn std::fmt::Display, mend: &str) -> Failure {
    Failure::failed(why.to_string(), mend)
}

/// How long verifiers may keep key sets: a new key signs after it at the earliest.
const KEY_CACHE: Duration = Duration::from_secs(300);
