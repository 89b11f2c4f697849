//! The exchange and the enforcement as chains of typed steps.
//!
//! Everything here is a pure function of values: the surfaces load state, call, commit and reply;
//! `mandate explain` calls the very same functions. Each step's result has private fields and one
//! maker, so a handler cannot skip a step:
//!
//! ```text
//! form → ParsedExchange → AuthenticatedClient → VerifiedSubject → Grant | Refusal
//! request → Classified → VerifiedAccess → Admission | Denial
//! ```

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "tests may panic"
    )
)]

pub mod enforce;
pub mod exchange;
mod lifetimes;
pub mod possession;

pub use lifetimes::Lifetimes;
