//! Processes of this machine (C5).
//!
//! The boundary is the user or a unit of root's service manager. The executable's path and digest
//! only narrow within it: whoever runs as a user can do whatever else runs as that user. What a
//! process says of itself (its arguments, its name) is recorded and never evidence.
//!
//! Users are looked up by name in `/etc/passwd` alone: a name service on the network could
//! otherwise decide who an agent is.

mod digest;
mod proc;
mod rule;
mod seen;
mod unit;
mod users;
mod view;
mod writable;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mandate_model::{AttestationKind, InstanceId};
use mandate_policy::Bundle;
use mandate_ports::{AttestRefusal, Attested, Attestor, Evidence, PeerProcess, ShownFrom};
use tokio::sync::Semaphore;

pub use users::PasswdUsers;

use digest::Digests;
use proc::{Namespaces, ProcDir};
use rule::{Match, Unmatched, best_match};
use seen::{Hashing, Seen};
use view::Rule;

/// Attests processes by what the kernel says about them.
///
/// It must be able to look at the processes: as root, or as their own user.
///
/// Whoever can connect can ask for it, so what it costs is bounded: an executable is read whole only
/// where a rule that fits otherwise names a digest, one at a time and up to 1 GiB; and few of the
/// runtime's threads for blocking work, which others share, are ever taken.
#[derive(Clone)]
pub struct ProcessAttestor {
    inner: Arc<Inner>,
}

struct Inner {
    boot: String,
    namespaces: Namespaces,
    digests: Digests,
    /// For looking, which is quick.
    looking: Arc<Semaphore>,
    /// For reading whole executables, apart, so that nobody else waits behind it.
    hashing: Arc<Semaphore>,
}

/// A process and the rules that it is held against.
struct Examination {
    peer: PeerProcess,
    rules: Vec<Rule>,
}

impl ProcessAttestor {
    /// An attestor for processes in the namespaces of this one.
    pub fn new() -> io::Result<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let inner = Inner {
            boot: boot.chars().take(8).collect(),
            namespaces: Namespaces::own()?,
            digests: Digests::default(),
            looking: Arc::new(Semaphore::new(LOOKING)),
            hashing: Arc::new(Semaphore::new(HASHING)),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }
}

#[async_trait]
impl Attestor for ProcessAttestor {
    async fn attest(
        &self,
        evidence: Evidence,
        _: &ShownFrom,
        bundle: &Bundle,
    ) -> Result<Attested, AttestRefusal> {
        let peer = match evidence {
            Evidence::Process(peer) => peer,
            Evidence::Token(_) | Evidence::Aws(_) => {
                let why = "processes are attested by their connection alone";
                return Err(AttestRefusal::Broken(why.to_owned()));
            }
        };
        let rules = bundle.process_rules().iter().map(Rule::from).collect();
        let asked = Arc::new(Examination { peer, rules });
        match self.examine(Arc::clone(&asked), Turn::Look).await {
            Err(Unmatched::NeedsDigest) => self.examine(asked, Turn::Hash).await,
            looked => looked,
        }
        .map_err(AttestRefusal::from)
    }
}

/// What an examination waits for.
#[derive(Debug, Clone, Copy)]
enum Turn {
    Look,
    Hash,
}

impl ProcessAttestor {
    async fn examine(&self, asked: Arc<Examination>, turn: Turn) -> Result<Attested, Unmatched> {
        let inner = Arc::clone(&self.inner);
        let turns = match turn {
            Turn::Look => Arc::clone(&inner.looking),
            Turn::Hash => Arc::clone(&inner.hashing),
        };
        let refused = |why: &dyn std::fmt::Display| AttestRefusal::Unreadable(why.to_string());
        let permit = tokio::time::timeout(PATIENCE, turns.acquire_owned())
            .await
            .map_err(|_| refused(&"too many processes are examined now; try again"))?
            .map_err(|e| refused(&e))?;
        let examined = tokio::task::spawn_blocking(move || {
            // Held by the work, not by who waits for it: who goes away frees no thread.
            let _permit = permit;
            let hashing = match turn {
                Turn::Look => Hashing::Remembered(&inner.digests),
                Turn::Hash => Hashing::Allowed(&inner.digests),
            };
            inner.attest(&asked.peer, &asked.rules, hashing)
        });
        examined.await.map_err(|e| refused(&e))?
    }
}

impl Inner {
    /// Looks, matches, and looks again: what held at the first look and at the last held between
    /// them, since the pidfd shows that it was one process all along.
    fn attest(
        &self,
        peer: &PeerProcess,
        rules: &[Rule],
        hashing: Hashing<'_>,
    ) -> Result<Attested, Unmatched> {
        let dir = ProcDir::of(peer)?;
        let seen = Seen::look(&dir, peer, &self.namespaces)?;
        let found = best_match(rules, &seen, hashing);
        seen.check_unchanged(&dir, peer)?;
        Ok(self.attested(&seen, found?)?)
    }

    fn attested(&self, seen: &Seen, found: Match) -> Result<Attested, AttestRefusal> {
        let name = format!("{}-{}-{}", self.boot, seen.pid, seen.start_time);
        let instance = InstanceId::parse(&name);
        let kind = if found.weak {
            AttestationKind::ProcessWeak
        } else {
            AttestationKind::Process
        };
        Ok(Attested {
            agent: found.agent,
            provider: found.provider,
            instance: instance.map_err(|e| AttestRefusal::Unreadable(e.to_string()))?,
            kind,
            facts: seen.facts(),
            once: None,
        })
    }
}

/// So many look at once, and so many read executables.
const LOOKING: usize = 8;
const HASHING: usize = 1;
/// So long does one wait for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
