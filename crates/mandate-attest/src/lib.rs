//! Attestors: evidence of a platform into attested facts, or a refusal.
//!
//! [`KernelPeers`] and [`ProcessAttestor`] tell processes of this machine apart by what the kernel
//! says of them (C5), never by what they say of themselves.
//! [`TokenAttestor`] believes tokens of declared platforms: clusters, clouds, OpenID providers, other
//! SPIFFE trust domains. [`AwsAttestor`] asks AWS which role signed a request. [`Attestors`] sends each kind of evidence to the one that knows it.
//! [`OidcPersonVerifier`] verifies the people behind tasks by their ID tokens (A2).

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::print_stderr,
        reason = "tests may panic, and say what they skip"
    )
)]

mod all;
mod aws;
#[cfg(test)]
mod fixtures;
mod http;
mod oidc;
mod peers;
mod process;
mod reach;
mod token;
mod turns;

pub use all::Attestors;
pub use aws::{AwsAttestor, AwsChallenges};
pub use http::UnusableRoots;
pub use oidc::{IssuerKeys, OidcOptions, OidcPersonVerifier};
pub use peers::KernelPeers;
pub use process::{PasswdUsers, ProcessAttestor};
pub use reach::{Reach, reach};
pub use token::{ClusterAccess, Clusters, TokenAttestor};
