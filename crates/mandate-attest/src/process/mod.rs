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

use async_trait::async_trait;
use mandate_model::{AttestationKind, InstanceId};
use mandate_policy::Bundle;
use mandate_ports::{AttestRefusal, Attested, Attestor, Evidence, PeerProcess};

pub use users::PasswdUsers;

use digest::Digests;
use proc::{Namespaces, ProcDir};
use rule::{Match, best_match};
use seen::Seen;
use view::Rule;

/// Attests processes by what the kernel says about them.
///
/// It must be able to look at the processes: as root, or as their own user.
#[derive(Clone)]
pub struct ProcessAttestor {
    inner: Arc<Inner>,
}

struct Inner {
    boot: String,
    namespaces: Namespaces,
    digests: Digests,
}

impl ProcessAttestor {
    /// An attestor for processes in the namespaces of this one.
    pub fn new() -> io::Result<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let inner = Inner {
            boot: boot.chars().take(8).collect(),
            namespaces: Namespaces::own()?,
            digests: Digests::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }
}

#[async_trait]
impl Attestor for ProcessAttestor {
    async fn attest(&self, evidence: Evidence, bundle: &Bundle) -> Result<Attested, AttestRefusal> {
        let Evidence::Process(peer) = evidence;
        let rules: Vec<Rule> = bundle.process_rules().iter().map(Rule::from).collect();
        let inner = self.inner.clone();
        // Hashing a large executable takes long.
        tokio::task::spawn_blocking(move || inner.attest(&peer, &rules))
            .await
            .unwrap_or_else(|e| Err(AttestRefusal::Unreadable(e.to_string())))
    }
}

impl Inner {
    /// Looks, matches, and looks again: what held at the first look and at the last held between
    /// them, since the pidfd shows that it was one process all along.
    fn attest(&self, peer: &PeerProcess, rules: &[Rule]) -> Result<Attested, AttestRefusal> {
        let dir = ProcDir::of(peer)?;
        let seen = Seen::look(&dir, peer, &self.namespaces, &self.digests)?;
        let found = best_match(rules, &seen);
        seen.check_unchanged(&dir, peer)?;
        self.attested(&seen, found?)
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
        })
    }
}

#[cfg(test)]
mod tests;
