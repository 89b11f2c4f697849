//! Reading the log. Writing it is part of every [`Unit`](crate::Unit).

use std::collections::HashMap;

use async_trait::async_trait;
use mandate_audit::NodeId;
use mandate_model::{ServerName, SpiffeId, TaskId, Timestamp, TokenId};

use crate::StoreError;

/// Proof that a record is sequenced in the log and durable. Made by stores alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogReceipt {
    /// The record's index in the log, from 0.
    pub index: u64,
}

/// Where the log stands: a committed size and the root hash at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogHead {
    /// How many records.
    pub size: u64,
    /// The RFC 6962 root over them.
    pub root: [u8; 32],
}

/// Some records, from an index on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRange {
    /// The index of the first.
    pub first: u64,
    /// The bytes of each, as they are on disk.
    pub entries: Vec<Vec<u8>>,
}

/// What to look for. All that is `Some` must match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// Records of this task and of every task below it.
    pub under_task: Option<TaskId>,
    /// Records of this task's whole tree.
    pub root_task: Option<TaskId>,
    /// Records in which this agent type acts, latest level.
    pub agent: Option<SpiffeId>,
    /// Records of this server workload.
    pub server: Option<ServerName>,
    /// The record of this token's issuance and all that were done with it.
    pub token: Option<TokenId>,
    /// Records of this kind (`access_decided`, …).
    pub kind: Option<String>,
    /// `allowed`, `denied`, `would_deny` or `noted`.
    pub decision: Option<String>,
    /// Not earlier.
    pub since: Option<Timestamp>,
    /// Earlier.
    pub until: Option<Timestamp>,
    /// Only below this index; for paging backwards.
    pub before: Option<u64>,
    /// At most so many, the latest first.
    pub limit: usize,
}

/// What a search found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matches {
    /// Indexes and bytes of matching records, the latest first.
    pub records: Vec<(u64, Vec<u8>)>,
    /// Where the search met what was not committed like that, the latest first, some of them at least:
    /// records that should be found may be missing. Verification names what is wrong.
    pub damaged: Vec<u64>,
}

/// Reads the log.
#[async_trait]
pub trait LogReader: Send + Sync {
    /// The committed head.
    async fn head(&self) -> Result<LogHead, StoreError>;

    /// At most `limit` entries from index `first` on, raw, without gaps up to the log's end.
    ///
    /// # Errors
    /// If one of them is not as it was committed.
    async fn entries(&self, first: u64, limit: usize) -> Result<EntryRange, StoreError>;

    /// A stored node of the tree: `level` 0 are leaf hashes, `index` counts complete subtrees of
    /// that level. `None` if it is not complete yet.
    async fn node(&self, level: u8, index: u64) -> Result<Option<[u8; 32]>, StoreError>;

    /// Those of the nodes `ids` that are stored; for proofs and verification, which need many.
    async fn nodes(&self, ids: &[NodeId]) -> Result<HashMap<NodeId, [u8; 32]>, StoreError> {
        let mut found = HashMap::with_capacity(ids.len());
        for id in ids {
            if let Some(hash) = self.node(id.level, id.index).await? {
                found.insert(*id, hash);
            }
        }
        Ok(found)
    }

    /// The latest signed checkpoint, as a C2SP signed note.
    async fn checkpoint(&self) -> Result<Option<String>, StoreError>;

    /// Matching records, the latest first. None is told of that is not as it was committed.
    async fn search(&self, search: &Search) -> Result<Matches, StoreError>;
}

/// Why a checkpoint is not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointRefusal {
    /// It is no checkpoint.
    #[error("not a checkpoint: {0}")]
    Malformed(String),
    /// It speaks of records that are not committed.
    #[error("the checkpoint is of {size} records, and {committed} are committed")]
    Beyond {
        /// Its size.
        size: u64,
        /// The log's.
        committed: u64,
    },
    /// Its root is not the log's at its size.
    #[error("the checkpoint's root is not the log's root at {size} records")]
    Root {
        /// Its size.
        size: u64,
    },
    /// There is another one of this size, or a later one.
    #[error(
        "the checkpoint is of {size} records, and the latest one kept is of {latest}; one checkpoint per size, in order"
    )]
    Taken {
        /// Its size.
        size: u64,
        /// The latest one's size.
        latest: u64,
    },
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Keeps signed checkpoints beside the log that they are about (C8).
#[async_trait]
pub trait CheckpointStore: Send + Sync {
    /// Keeps `note`, a signed checkpoint whose signature the caller has verified, durably. Its size
    /// and root must be those of a committed head, and sizes only grow, so that there is never
    /// a second one of a size. The same note again is accepted and changes nothing.
    async fn keep_checkpoint(&self, note: String) -> Result<(), CheckpointRefusal>;
}
