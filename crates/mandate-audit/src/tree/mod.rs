//! The Merkle tree over the log (RFC 6962 §2.1).

mod proof;
#[cfg(test)]
mod tests;

use sha2::{Digest, Sha256};

pub use proof::{BuildError, ProofInvalid, ProofPlan, verify_consistency, verify_inclusion};

/// The hash of a leaf, of a node or of a whole tree: SHA-256.
pub type Hash = [u8; 32];

/// The hash of an entry: `SHA-256(0x00 ‖ entry)` (RFC 6962 §2.1).
pub fn leaf_hash(entry: &[u8]) -> Hash {
    let mut hash = Sha256::new();
    hash.update([0x00]);
    hash.update(entry);
    hash.finalize().into()
}

/// The hash of a node: `SHA-256(0x01 ‖ left ‖ right)` (RFC 6962 §2.1).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut hash = Sha256::new();
    hash.update([0x01]);
    hash.update(left);
    hash.update(right);
    hash.finalize().into()
}

/// The root of a tree without leaves: the hash of nothing (RFC 6962 §2.1).
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// A complete subtree: it covers the `2^level` leaves from `index · 2^level` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    /// 0 is a leaf.
    pub level: u8,
    /// Counts the complete subtrees of that level, from 0.
    pub index: u64,
}

impl NodeId {
    /// The nodes that become complete when leaf `leaf` is appended, lowest first: the leaf itself,
    /// and an ancestor for each subtree that it is the last leaf of.
    pub fn completed_by(leaf: u64) -> impl Iterator<Item = NodeId> {
        (0_u8..=63)
            .take_while(move |level| u32::from(*level) <= leaf.trailing_ones())
            .map(move |level| NodeId {
                level,
                index: leaf >> level,
            })
    }

    /// The leaves that it covers: the first, and the one after the last.
    pub fn leaves(self) -> std::ops::Range<u64> {
        let width = 1_u64.checked_shl(u32::from(self.level)).unwrap_or(u64::MAX);
        let first = self.index.saturating_mul(width);
        first..first.saturating_add(width)
    }
}

/// A tree that grows at its right edge. It holds the roots of its complete subtrees, at most 64
/// hashes; whoever stores the log keeps the nodes that [`Tree::append`] hands out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    /// One per bit of `size` that is set, the largest first.
    peaks: Vec<Hash>,
}

impl Tree {
    /// The tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree of `size` leaves, from stored nodes. `Err` names the first node that is not there.
    pub fn load<E>(
        size: u64,
        node: impl FnMut(NodeId) -> Result<Option<Hash>, E>,
    ) -> Result<Self, BuildError<E>> {
        let peaks = proof::read_all(proof::subtrees(0, size), node)?;
        Ok(Self { size, peaks })
    }

    /// How many leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf, and hands each node that it completes to `store`, lowest first.
    pub fn append(&mut self, leaf: Hash, mut store: impl FnMut(NodeId, Hash)) {
        let mut hash = leaf;
        for id in NodeId::completed_by(self.size) {
            if id.level > 0
                && let Some(left) = self.peaks.pop()
            {
                hash = node_hash(&left, &hash);
            }
            store(id, hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root over all leaves.
    pub fn root(&self) -> Hash {
        fold_right(&self.peaks).unwrap_or_else(empty_root)
    }
}

/// The root over complete subtrees of falling size: the rightmost two are joined first.
fn fold_right(subtrees: &[Hash]) -> Option<Hash> {
    let (last, rest) = subtrees.split_last()?;
    Some(
        rest.iter()
            .rev()
            .fold(*last, |right, left| node_hash(left, &right)),
    )
}
