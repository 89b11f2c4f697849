//! Audit events, their canonical encoding, the RFC 6962 tree, proofs and checkpoints.
//!
//! This crate says what a record is and what makes a log trustworthy. It stores nothing: adapters
//! keep the bytes, and everything that they keep can be checked with the functions here.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::string_slice,
        reason = "tests may panic"
    )
)]

mod checkpoint;
mod draft;
mod event;
mod note;
mod pattern;
mod spool_chain;
mod tile;
mod tile_check;
mod tree;
mod usage;
mod verify;

pub use checkpoint::{Checkpoint, CheckpointError, MalformedCheckpoint, VerifiedCheckpoint};
pub use draft::{Draft, FollowUp};
pub use event::{
    Decision, DecodeError, EncodeError, Event, MAX_EVENT_BYTES, Outcome, SpoolKey, What,
};
pub use note::{MalformedNoteKey, NoteError, NoteKey};
pub use pattern::{Numbers, Pattern};
pub use spool_chain::{MalformedSpoolChain, SpoolChain, SpoolChains, SpoolFault};
pub use tile::{
    EntryTooLong, MalformedBundle, MalformedTilePath, TILE_WIDTH, Tile, TileKind, entry_bundle,
    parse_entry_bundle,
};
pub use tile_check::{TileFault, check_tile, tiles_root};
pub use tree::{
    BuildError, Hash, NodeId, ProofInvalid, ProofPlan, Tree, empty_root, leaf_hash, node_hash,
    verify_consistency, verify_inclusion,
};
pub use usage::{Incomplete, Usage};
pub use verify::{Fault, LogVerifier, Report, RowFault, Since, Verdict, verify_log};
