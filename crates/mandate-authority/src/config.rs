//! What the program decides for the authority before any door opens.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mandate_decide::Lifetimes;
use mandate_decide::possession::Room;
use mandate_model::TrustDomain;
use mandate_ports::{
    Attestor, Challenges, CheckpointStore, Clock, Entropy, KeySource, LogReader, Peers,
    PersonVerifier, Signer, StateReader, Users, Writer,
};
use mandate_token::Issuer;

/// Settings, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// `iss` of every token, and the only audience of client assertions.
    pub issuer: Issuer,
    /// The authority's name space.
    pub trust_domain: TrustDomain,
    /// How long things live.
    pub lifetimes: Lifetimes,
    /// A gateway's lease. 15 s by default.
    pub lease: Duration,
    /// How long verifiers may keep key sets, and how often SPIFFE bundles are looked at again.
    pub key_cache: Duration,
    /// The most connections of agents and verifiers over the network, and as many of agents at their
    /// socket: as many as leave the process descriptors for operators, gateways and the store.
    pub connections: usize,
    /// How many proofs of possession are remembered: [`PROOF_ROOM`], where nothing speaks against it.
    pub proofs: Room,
    /// Where the Unix sockets are made.
    pub run: PathBuf,
    /// The user that the server runs as: operator `bootstrap` until a bundle is live, and the
    /// only user at the control socket.
    pub own_uid: u32,
}

#[cfg(test)]
impl Config {
    /// What nothing in a test depends on.
    pub(crate) fn of_tests() -> Self {
        Self {
            issuer: Issuer::parse("http://127.0.0.1:7701").unwrap(),
            trust_domain: TrustDomain::parse("acme.example").unwrap(),
            lifetimes: Lifetimes::default(),
            lease: Duration::from_secs(15),
            key_cache: Duration::from_secs(300),
            connections: 64,
            run: PathBuf::new(),
            own_uid: 0,
            proofs: PROOF_ROOM,
        }
    }
}

/// Everything outside, as traits.
#[derive(Clone)]
pub struct Ports {
    /// The one writer.
    pub writer: Arc<dyn Writer>,
    /// Committed state.
    pub state: Arc<dyn StateReader>,
    /// The log.
    pub log: Arc<dyn LogReader>,
    /// Where signed checkpoints are kept.
    pub checkpoints: Arc<dyn CheckpointStore>,
    /// Keys.
    pub signer: Arc<dyn Signer>,
    /// Makes keys.
    pub key_source: Arc<dyn KeySource>,
    /// Evidence.
    pub attestor: Arc<dyn Attestor>,
    /// Numbers for callers to sign.
    pub challenges: Arc<dyn Challenges>,
    /// The kernel's word on peers of Unix sockets.
    pub peers: Arc<dyn Peers>,
    /// People's ID tokens.
    pub people: Arc<dyn PersonVerifier>,
    /// Users of this machine.
    pub users: Arc<dyn Users>,
    /// Clocks.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// A thousand a second for as long as one is remembered; and two hundred and fifty a second for agents
/// that attest, whatever the others do.
pub const PROOF_ROOM: Room = Room {
    working: 250_000,
    reserved: 60_000,
};
