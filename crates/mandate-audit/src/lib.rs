//! Audit events, their canonical encoding, the RFC 6962 tree, proofs and checkpoints.
//!
//! This crate says what a record is and what makes a log trustworthy. It stores nothing: adapters
//! keep the bytes, and everything that they keep can be checked with the functions here.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

mod event;
mod spool_chain;

pub use event::{
    Decision, DecodeError, EncodeError, Event, MAX_EVENT_BYTES, Outcome, SpoolKey, What,
};
pub use spool_chain::{MalformedSpoolChain, SpoolChain};
