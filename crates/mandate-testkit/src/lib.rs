//! Fakes with faults, fixed clock, seeded entropy, test issuers, contract suites.

pub mod attest_suite;
pub mod oidc_issuer;
pub mod spool_suite;
