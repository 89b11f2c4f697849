//! The authority, put together from store, keys, attestor and clocks.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mandate_attest::{
    Attestors, AwsChallenges, KernelPeers, OidcPersonVerifier, PasswdUsers, ProcessAttestor,
    TokenAttestor,
};
use mandate_audit::NoteKey;
use mandate_authority::{Authority, Config, PROOF_ROOM, Ports, log_origin};
use mandate_decide::Lifetimes;
use mandate_ports::{Clock, Entropy, KeyPurpose, KeyRecord, StateReader, Versions};
use mandate_store_sqlite::SqliteStore;
use mandate_token::Issuer;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::attest::LocalAttest;
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
    let ports = ports(store, signer, data)?;
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
        connections: super::hardening::connections(),
        run: data.run(),
        own_uid: rustix::process::geteuid().as_raw(),
        proofs: PROOF_ROOM,
    })
}

fn ports(store: SqliteStore, signer: Arc<KeySigner>, data: &DataDir) -> Result<Ports, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let processes = ProcessAttestor::new()
        .map_err(|e| failed(&e, "processes cannot be attested without /proc"))?;
    let local = LocalAttest::read(&data.attest_config())?;
    let keys = Arc::new(local.keys(Arc::clone(&clock))?);
    let tokens = TokenAttestor::new(
        Arc::clone(&keys),
        local.clusters(&clock)?,
        Arc::clone(&clock),
    );
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let challenges = AwsChallenges::new(Arc::clone(&clock), Arc::clone(&entropy));
    let challenges = Arc::new(challenges);
    let aws = local.aws(Arc::clone(&challenges), Arc::clone(&clock))?;
    let attestor = Attestors::new(processes, tokens, aws);
    let people = OidcPersonVerifier::new(keys);
    let store = Arc::new(store);
    Ok(Ports {
        writer: store.clone(),
        state: store.clone(),
        log: store.clone(),
        checkpoints: store,
        signer,
        key_source: Arc::new(NewKeys),
        attestor: Arc::new(attestor),
        challenges,
        peers: Arc::new(KernelPeers),
        people: Arc::new(people),
        users: Arc::new(PasswdUsers),
        clock,
        entropy,
    })
}

impl Built {
    /// Reads the keys again whenever they change, until `end`.
    pub(super) async fn follow_keys(self, end: CancellationToken) {
        let (versions, keyring) = (self.authority.versions(), Arc::new(self.keyring));
        let read = move || {
            let keyring = Arc::clone(&keyring);
            async move { keyring.refresh().await }
        };
        follow(versions, end, read).await;
    }
}

/// Calls `read` whenever the keys are another version than the one that it read last. While it
/// fails nothing is issued, since the old key signs no more: it is called again and again.
async fn follow<F: Future<Output = Result<(), Failure>>>(
    mut versions: watch::Receiver<Versions>,
    end: CancellationToken,
    mut read: impl FnMut() -> F,
) {
    let mut seen = versions.borrow_and_update().keys;
    let mut wait = FIRST_WAIT;
    loop {
        let now = versions.borrow_and_update().keys;
        let mut behind = now != seen;
        if behind {
            match read().await {
                Ok(()) => (seen, behind, wait) = (now, false, FIRST_WAIT),
                Err(why) => tracing::error!(why = why.broke, "the keys could not be read again"),
            }
        }
        let changed = tokio::select! {
            () = end.cancelled() => return,
            changed = versions.changed() => changed,
            () = tokio::time::sleep(wait), if behind => {
                wait = (wait * 2).min(LONGEST_WAIT);
                Ok(())
            }
        };
        if changed.is_err() {
            return;
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
        let lines = self.lines(&records);
        let path = self.published.clone();
        let published = tokio::task::spawn_blocking(move || publish(&path, &lines)).await;
        let published = published.map_err(std::io::Error::other).flatten();
        published.map_err(|e| Failure::file(&self.published, &e))
    }

    /// The log's public keys, as verifiers read them.
    fn lines(&self, records: &[KeyRecord]) -> Vec<String> {
        let log = records.iter().filter(|r| r.purpose == KeyPurpose::Log);
        log.filter_map(|record| {
            let public: [u8; 32] = record.public.clone().try_into().ok()?;
            let key = NoteKey::new(&self.origin, public).ok()?;
            Some(key.to_string())
        })
        .collect()
    }
}

/// Adds the public keys of the log to their file. None is ever taken out: old checkpoints stay
/// verifiable. The file is replaced whole, so that a crash leaves the old one or the new one.
fn publish(path: &Path, lines: &[String]) -> std::io::Result<()> {
    let known = match std::fs::read_to_string(path) {
        Ok(known) => known,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(e),
    };
    let is_new = |line: &&String| !known.lines().any(|known| known == *line);
    let new: Vec<&String> = lines.iter().filter(is_new).collect();
    if new.is_empty() {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(known.as_bytes())?;
    for line in new {
        writeln!(file, "{line}")?;
    }
    let everyone_reads = std::fs::Permissions::from_mode(0o644);
    file.as_file().set_permissions(everyone_reads)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    std::fs::File::open(folder)?.sync_all()
}

fn failed(why: &dyn std::fmt::Display, mend: &str) -> Failure {
    Failure::failed(why.to_string(), mend)
}

/// How long verifiers may keep key sets: a new key signs after it at the earliest.
const KEY_CACHE: Duration = Duration::from_secs(300);
/// Between two tries to read keys that could not be read.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use mandate_model::{BundleVersion, KeysVersion, StopVersion, StoreEpoch};

    use super::*;

    fn versions(keys: u64) -> Versions {
        Versions {
            epoch: StoreEpoch::from_random([7; 16]),
            stops: StopVersion::new(0),
            bundle: BundleVersion::new(0),
            keys: KeysVersion::new(keys),
        }
    }

    #[tokio::test]
    async fn keys_that_could_not_be_read_are_read_again_without_another_change() {
        let (changed, seen) = watch::channel(versions(1));
        let end = CancellationToken::new();
        let tried = std::cell::Cell::new(0);
        let read = || {
            tried.set(tried.get() + 1);
            let is_third = tried.get() == 3;
            if is_third {
                end.cancel();
            }
            std::future::ready(if is_third {
                Ok(())
            } else {
                Err(failed(&"the disk", ""))
            })
        };
        let following = follow(seen, end.clone(), read);
        let changing = async { changed.send(versions(2)) };
        let both = async { tokio::join!(following, changing).1 };
        let sent = tokio::time::timeout(Duration::from_secs(60), both).await;
        assert!(sent.unwrap().is_ok());
        assert_eq!(tried.get(), 3);
    }

    #[test]
    fn the_logs_keys_are_added_and_none_is_taken_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log-key");
        let said = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
        publish(&path, &said(&["one"])).unwrap();
        let before = std::fs::metadata(&path).unwrap();
        publish(&path, &said(&["two", "one"])).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        let after = std::fs::metadata(&path).unwrap();
        assert_eq!(after.permissions().mode() & 0o777, 0o644);
        let inode = |found: &std::fs::Metadata| std::os::unix::fs::MetadataExt::ino(found);
        assert_ne!(inode(&before), inode(&after), "replaced, not rewritten");
        publish(&path, &said(&["two"])).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }
}
