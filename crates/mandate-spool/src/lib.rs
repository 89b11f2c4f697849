//! A gateway's local spool of records: hash-chained, grouped, durable before a reply (C2).
//!
//! A spool is a folder of segment files. One thread writes: all appends that wait become one
//! group, one write and one `fdatasync`, and only then does any of them get its receipt.
//! Segments are filled with zeros ahead of the records, so that a sync need not change the file's
//! size or its extents.
//!
//! What was acknowledged is never given up silently. A group that was never acknowledged may be
//! torn by a crash, and is cut off at the next start. Damage before it refuses to open, and names
//! the file. Bits that rot in the very last group cannot be told from a torn one here; the head
//! that the authority committed with the last lease renewal tells.
//!
//! Rejected: a database (slower, and a second recovery to trust), one file per record, and going
//! on with a file whose sync failed (nobody can know what the disk holds then).

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::print_stderr,
        reason = "tests may panic, and say what they skip"
    )
)]

mod format;
mod group;
mod ledger;
mod options;
mod private;
mod recover;
mod segment;
mod spool;
mod writer;

pub use options::{OnDamage, OpenError, SpoolLimits, SpoolOptions};
pub use spool::FileSpool;

#[cfg(test)]
mod behind_tests;
#[cfg(test)]
mod tests;
