//! Narrow traits between the core and the world, and what each of them promises.
//!
//! Adapters implement them, surfaces use them, the program puts both together. Signatures speak of
//! our own types only. Each trait has a contract suite in `mandate-testkit`, and every adapter's
//! tests run it.

mod attest;
mod clock;
pub mod control;
mod log;
mod sign;
mod spool;
mod store;
mod upstream;

pub use attest::{
    AttestRefusal, Attested, Attestor, Challenge, Challenges, Evidence, Once, PeerProcess, Peers,
    PersonRefusal, PersonVerifier, Users,
};
pub use clock::{Clock, Entropy};
pub use log::{
    CheckpointRefusal, CheckpointStore, EntryRange, LogHead, LogReader, LogReceipt, Matches, Search,
};
pub use sign::{KeyPurpose, KeyRecord, KeySource, KeyState, NewKey, Signed, Signer, SignerError};
pub use spool::{Done, LocalReceipt, Spool, SpoolError, SpoolHead, SpooledRecord};
pub use store::{
    BundleRecord, Change, CommitError, Committed, Conflict, GatewayRecord, HeldKey, Ingested,
    ShippedRecord, StateReader, StoreError, Unit, Versions, Writer,
};
pub use upstream::{CredentialError, Credentials, MIN_SECRET, Origin};
