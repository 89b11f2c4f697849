//! Attestors: evidence of a platform into attested facts, or a refusal.
//!
//! [`KernelPeers`] and [`ProcessAttestor`] tell processes of this machine apart by what the kernel
//! says of them (C5), never by what they say of themselves.
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

#[cfg(test)]
mod fixtures;
mod oidc;
mod peers;
mod process;

pub use oidc::{OidcOptions, OidcPersonVerifier, UnusableRoots};
pub use peers::KernelPeers;
pub use process::{PasswdUsers, ProcessAttestor};
