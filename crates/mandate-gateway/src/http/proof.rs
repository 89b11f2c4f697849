//! Proofs that whoever shows a bound token has its key (RFC 9449 §4.3, §7, §9; A5).
//!
//! Every proof needs a nonce that this process gave. So it is good at this replica alone and after no
//! restart, and what the process remembers in memory is all that could come again.

use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, HeaderValue};
use mandate_decide::possession::{Room, SeenProofs, Shower};
use mandate_model::{ActorLevel, BootTime, Thumbprint, Timestamp};
use mandate_token::dpop::{HttpTarget, Nonces, ProofError, ProofFor, UnverifiedProof, only_proof};

use super::refusal::Refusal;

/// How agents write the address of a listener, whatever address it is bound to. It is configured: no
/// proof is held against what a caller or a proxy says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicAddress {
    /// What stands before every path, without a slash at its end: `http://127.0.0.1:7700`.
    Base(String),
    /// One of the hosts that the server workload declares.
    Host {
        /// Whether agents speak TLS.
        tls: bool,
        /// The port that they come to.
        port: u16,
    },
}

impl PublicAddress {
    /// What stands before every path; `host` is the one by which a request came.
    pub(super) fn base(&self, host: Option<&str>) -> Option<String> {
        match (self, host) {
            (Self::Base(base), _) => Some(base.clone()),
            (Self::Host { tls, port }, Some(host)) => {
                let scheme = if *tls { "https" } else { "http" };
                Some(format!("{scheme}://{host}:{port}"))
            }
            (Self::Host { .. }, None) => None,
        }
    }

    /// The address of a request for `path`; `host` is the declared one by which it came.
    fn target(&self, host: Option<&str>, path: &str) -> Result<HttpTarget, Refusal> {
        let base = self.base(host).ok_or(Refusal::Proof(ProofError::Target))?;
        HttpTarget::parse(&format!("{base}{path}")).map_err(|_| Refusal::Proof(ProofError::Target))
    }
}

/// The nonces of this process, and the proofs that it has seen.
#[derive(Debug)]
pub(crate) struct Proofs {
    nonces: Nonces,
    seen: Mutex<SeenProofs>,
}

/// The request that a proof must be for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) method: &'a str,
    pub(super) address: &'a PublicAddress,
    pub(super) host: Option<&'a str>,
    pub(super) path: &'a str,
    pub(super) now: Timestamp,
    pub(super) boot: BootTime,
}

impl Asking<'_> {
    /// The address at which the request came, under the name that was configured.
    pub(super) fn target(&self) -> Result<HttpTarget, Refusal> {
        self.address.target(self.host, self.path)
    }
}

/// What is shown beside a proof, and holds.
#[derive(Clone, Copy)]
pub(super) struct Beside<'a> {
    /// In `authorization`.
    pub(super) token: &'a str,
    /// In `txn-token`.
    pub(super) task: Option<&'a str>,
    /// The key that the token is bound to.
    pub(super) bound_to: Thumbprint,
    /// Whom it was issued to.
    pub(super) agent: &'a ActorLevel,
}

/// A proof with a nonce of this process. Nothing was computed for it yet.
pub(super) struct Fresh<'a>(UnverifiedProof<'a>);

impl Proofs {
    /// Those of a process that has drawn `secret`, and remembers `most` proofs. Nobody attests here.
    pub(crate) fn keyed(secret: &[u8; 32], most: usize) -> Self {
        let room = Room {
            working: most,
            reserved: 0,
        };
        Self {
            nonces: Nonces::keyed(secret),
            seen: Mutex::new(SeenProofs::new(room)),
        }
    }

    /// The nonce for the next proof.
    pub(super) fn nonce(&self, boot: BootTime) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.nonces.current(boot)).ok()
    }

    /// The one proof of a request, if its form and its nonce are good: what is cheap comes first.
    pub(super) fn fresh<'a>(
        &self,
        headers: &'a HeaderMap,
        boot: BootTime,
    ) -> Result<Fresh<'a>, Refusal> {
        let fields = headers.get_all(DPOP).iter().map(HeaderValue::as_bytes);
        let text = only_proof(fields).map_err(Refusal::Proof)?;
        let text = text.ok_or(Refusal::NoProof)?;
        let proof = UnverifiedProof::parse(text).map_err(Refusal::Proof)?;
        let given = proof.untrusted_nonce();
        if given.is_some_and(|nonce| self.nonces.is_good(nonce, boot)) {
            Ok(Fresh(proof))
        } else {
            Err(Refusal::Nonce)
        }
    }

    /// That `proof` is for this request beside what is shown, by the key that that is bound to, and
    /// shown for the first time. For tokens that hold: what is remembered is not for anybody to fill,
    /// and each agent has a share of it.
    pub(super) fn check(
        &self,
        proof: Fresh<'_>,
        asked: &Asking<'_>,
        beside: &Beside<'_>,
    ) -> Result<(), Refusal> {
        let target = asked.target()?;
        let request = ProofFor {
            method: asked.method,
            target: &target,
            access_token: Some(beside.token),
            task_token: beside.task,
        };
        let proof = proof
            .0
            .verify(&request, asked.now)
            .map_err(Refusal::Proof)?;
        if proof.key() != beside.bound_to {
            return Err(Refusal::OtherKey);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.take(&proof.id(), Shower::agent(beside.agent), asked.boot)
            .map_err(Refusal::Seen)
    }
}

pub(super) const DPOP: &str = "dpop";
pub(super) const DPOP_NONCE: &str = "dpop-nonce";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_configured_one() {
        let of = |address: &PublicAddress, host, path| {
            address.target(host, path).ok().map(|t| t.to_string())
        };
        let base = PublicAddress::Base("http://127.0.0.1:7700".to_owned());
        let full = Some("http://127.0.0.1:7700/records/a".to_owned());
        assert_eq!(of(&base, None, "/records/a"), full);
        let host = |port| PublicAddress::Host { tls: true, port };
        let records = Some("records.acme.example");
        let usual = Some("https://records.acme.example/a".to_owned());
        assert_eq!(of(&host(443), records, "/a"), usual);
        let other = Some("https://records.acme.example:8443/a".to_owned());
        assert_eq!(of(&host(8443), records, "/a"), other);
        assert_eq!(of(&host(443), None, "/a"), None);
    }
}
