//! Fakes with faults, fixed clock, seeded entropy, test issuers, contract suites.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "this crate is for tests, which may panic and say why they skip"
)]

pub mod attest_suite;
pub mod clock;
pub mod credentials_suite;
pub mod disk;
pub mod entropy;
mod fuse;
pub mod keys;
pub mod losing_disk;
pub mod machine_suite;
pub mod oidc_issuer;
pub mod peers_suite;
pub mod person_suite;
pub mod proofs;
pub mod random;
pub mod signer_suite;
pub mod spool_suite;
pub mod store_suite;
pub mod turning_disk;
