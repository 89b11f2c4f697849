//! What a log is compared with, and what became of a checkpoint that was kept elsewhere.

use crate::{Checkpoint, Hash, VerifiedCheckpoint};

/// What a log says to a checkpoint that was kept elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// How many records it was of.
    pub size: u64,
    /// What became of them.
    pub verdict: Verdict,
}

/// What became of the records that a checkpoint was signed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The log's tree begins with them. One of which only the hash is left is a fault of its own.
    Consistent,
    /// The log has fewer records than it had.
    RolledBack,
    /// The log has as many, and other ones.
    Forked,
    /// Some are missing, so that nobody can tell.
    Undecided,
}

/// A checkpoint that the log is to be compared with.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    checkpoint: Checkpoint,
    role: Role,
}

/// Where a checkpoint is from, and what it is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Kept beside the log.
    Kept,
    /// Kept beside the log, by a key that somebody else may have.
    Doubted,
    /// Kept elsewhere.
    Since {
        /// By a key that somebody else may have.
        doubted: bool,
    },
}

impl Expected {
    pub(super) fn new(checkpoint: &VerifiedCheckpoint, role: Role) -> Self {
        let checkpoint = Checkpoint::clone(checkpoint);
        Self { checkpoint, role }
    }

    pub(super) fn size(&self) -> u64 {
        self.checkpoint.size()
    }

    pub(super) fn root(&self) -> &Hash {
        self.checkpoint.root()
    }

    /// Whether records that it was signed for are confirmed by it.
    pub(super) fn confirms(&self) -> bool {
        match self.role {
            Role::Kept | Role::Since { doubted: false } => true,
            Role::Doubted | Role::Since { doubted: true } => false,
        }
    }

    /// The verdict, if this is the one that was kept elsewhere.
    pub(super) fn since(&self, verdict: Verdict) -> Option<Since> {
        let size = self.size();
        match self.role {
            Role::Since { .. } => Some(Since { size, verdict }),
            Role::Kept | Role::Doubted => None,
        }
    }

    /// The same of one that no record reached, in a log that says that it has `size` of them.
    pub(super) fn beyond(&self, size: u64) -> Option<Since> {
        self.since(if self.size() > size {
            Verdict::RolledBack
        } else {
            Verdict::Undecided
        })
    }
}
