//! The stores of one machine, on SQLite: authority state and log in one file, `mandate.db`.
//!
//! One thread writes. It groups all units that wait into one transaction, so that one sync serves
//! many, with a savepoint per unit, so that each is atomic by itself. Reads go to connections of
//! their own and see committed state alone.
//!
//! Rejected: one connection for everybody (readers would wait for syncs), an `EXCLUSIVE` lock in
//! SQLite (nobody could verify the log while the server runs; a lock file keeps a second server
//! out), and a cache of rows beside SQLite's own (a second truth).

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::panic, reason = "tests may panic")
)]

mod alike;
mod apply;
mod bundles;
mod column;
mod failure;
mod folder;
mod gateways;
mod group;
mod head;
mod heard;
mod holders;
mod ingest;
mod keys;
mod log;
mod lot;
mod lots;
mod read;
mod recent;
mod reserve;
mod schema;
mod search;
mod stops;
mod store;
mod tasks;
#[cfg(test)]
mod tests;
mod verify;
mod words;
mod writer;

pub use folder::OpenError;
pub use gateways::Announced;
pub use read::LogFile;
pub use store::SqliteStore;
pub use verify::Verification;
