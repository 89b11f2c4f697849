//! Inclusion and consistency (RFC 6962 §2.1.1, §2.1.2): which nodes prove it, and checking it.

use super::{Hash, NodeId, empty_root, fold_right, node_hash};

/// What a proof is made of: for each of its hashes, the range of leaves that it covers.
///
/// A plan names the stored nodes that it needs before it asks for any, so that they can be fetched
/// in whatever way suits a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofPlan {
    ranges: Vec<(u64, u64)>,
}

/// Why a proof or a tree could not be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BuildError<E> {
    /// A node that a complete log of this size has is not stored.
    #[error("node {index} of level {level} is missing from the store", level = .0.level, index = .0.index)]
    Missing(NodeId),
    /// Reading failed.
    #[error("{0}")]
    Read(E),
}

/// A proof that proves nothing: one of its hashes, a root, an index or a size is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not lead to the root of the tree")]
pub struct ProofInvalid;

impl ProofPlan {
    /// The audit path of leaf `index` in the tree of `size` leaves; `None` if there is no such leaf.
    pub fn inclusion(index: u64, size: u64) -> Option<Self> {
        if index >= size {
            return None;
        }
        let (mut low, mut high) = (0, size);
        let mut ranges = Vec::new();
        while high - low > 1 {
            let middle = low + split(high - low);
            if index < middle {
                ranges.push((middle, high));
                high = middle;
            } else {
                ranges.push((low, middle));
                low = middle;
            }
        }
        ranges.reverse();
        Some(Self { ranges })
    }

    /// The proof that the tree of `old` leaves is a prefix of the tree of `new` leaves; `None` if
    /// it is larger. Nothing is needed to prove it of the empty tree or of the same one.
    pub fn consistency(old: u64, new: u64) -> Option<Self> {
        if old > new {
            return None;
        }
        let mut ranges = Vec::new();
        if old > 0 && old < new {
            collect_consistency(old, new, &mut ranges);
        }
        Some(Self { ranges })
    }

    /// The root of the tree of `size` leaves, as a plan of one hash; of none for the empty tree.
    pub fn root(size: u64) -> Self {
        let ranges = if size == 0 {
            Vec::new()
        } else {
            vec![(0, size)]
        };
        Self { ranges }
    }

    /// The stored nodes that it needs.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.ranges
            .iter()
            .flat_map(|(low, high)| subtrees(*low, *high))
    }

    /// The hashes, from nodes that `node` looks up.
    pub fn build<E>(
        &self,
        mut node: impl FnMut(NodeId) -> Result<Option<Hash>, E>,
    ) -> Result<Vec<Hash>, BuildError<E>> {
        let mut hashes = Vec::with_capacity(self.ranges.len());
        for (low, high) in &self.ranges {
            let parts = read_all(subtrees(*low, *high), &mut node)?;
            hashes.push(fold_right(&parts).unwrap_or_else(empty_root));
        }
        Ok(hashes)
    }
}

/// RFC 6962 §2.1.2, `SUBPROOF`, without recursion: walk down to where the old tree ends.
fn collect_consistency(old: u64, new: u64, ranges: &mut Vec<(u64, u64)>) {
    let (mut low, mut high) = (0, new);
    while high > old {
        let middle = low + split(high - low);
        if old <= middle {
            ranges.push((middle, high));
            high = middle;
        } else {
            ranges.push((low, middle));
            low = middle;
        }
    }
    // The old tree's own last subtree; left out where it is the old tree itself.
    if low > 0 {
        ranges.push((low, high));
    }
    ranges.reverse();
}

/// Checks that the leaf with hash `leaf` is number `index` of the tree of `size` leaves with `root`
/// (RFC 9162 §2.1.3.2, the same tree as RFC 6962).
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofInvalid> {
    let mut walk = Walk::from(index, size.checked_sub(1).filter(|last| index <= *last))?;
    let mut hash = *leaf;
    for sibling in proof {
        hash = if walk.sibling_is_left()? {
            node_hash(sibling, &hash)
        } else {
            node_hash(&hash, sibling)
        };
        walk.up();
    }
    walk.ends_at_top(&hash, root)
}

/// A tree that somebody remembers: what a proof of consistency compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known<'a> {
    size: u64,
    root: &'a Hash,
}

/// Checks that the tree of `old` leaves with `old_root` is a prefix of the tree of `new` leaves
/// with `new_root` (RFC 9162 §2.1.4.2).
pub fn verify_consistency(
    (old, old_root): (u64, &Hash),
    (new, new_root): (u64, &Hash),
    proof: &[Hash],
) -> Result<(), ProofInvalid> {
    let (old, new) = (
        Known {
            size: old,
            root: old_root,
        },
        Known {
            size: new,
            root: new_root,
        },
    );
    if old.size == 0 || old.size == new.size {
        return trivially_consistent(old, new, proof);
    }
    consistent(old, new, proof)
}

fn trivially_consistent(old: Known, new: Known, proof: &[Hash]) -> Result<(), ProofInvalid> {
    let expected = if old.size == 0 {
        empty_root()
    } else {
        *new.root
    };
    (proof.is_empty() && *old.root == expected)
        .then_some(())
        .ok_or(ProofInvalid)
}

fn consistent(old: Known, new: Known, proof: &[Hash]) -> Result<(), ProofInvalid> {
    let last = new.size.checked_sub(1).filter(|last| old.size <= *last);
    let mut walk = Walk::from(old.size - 1, last)?;
    walk.skip_complete();
    let (first, rest) = if old.size.is_power_of_two() {
        (old.root, proof)
    } else {
        proof.split_first().ok_or(ProofInvalid)?
    };
    let (mut was, mut is) = (*first, *first);
    for sibling in rest {
        if walk.sibling_is_left()? {
            was = node_hash(sibling, &was);
            is = node_hash(sibling, &is);
        } else {
            is = node_hash(&is, sibling);
        }
        walk.up();
    }
    if was != *old.root {
        return Err(ProofInvalid);
    }
    walk.ends_at_top(&is, new.root)
}

/// A way from a node to the root: its index and the last index, at the level reached.
struct Walk {
    at: u64,
    last: u64,
}

impl Walk {
    fn from(at: u64, last: Option<u64>) -> Result<Self, ProofInvalid> {
        let last = last.ok_or(ProofInvalid)?;
        Ok(Self { at, last })
    }

    /// Up while the node is a right child: to the subtree that ends where it ends.
    fn skip_complete(&mut self) {
        let steps = self.at.trailing_ones();
        self.at = self.at.checked_shr(steps).unwrap_or(0);
        self.last = self.last.checked_shr(steps).unwrap_or(0);
    }

    /// Whether the next hash of the proof stands left of the node. An error at the root.
    fn sibling_is_left(&mut self) -> Result<bool, ProofInvalid> {
        if self.last == 0 {
            return Err(ProofInvalid);
        }
        let left = self.at % 2 == 1 || self.at == self.last;
        // A node at the right edge without a left sibling stands in for its ancestors.
        while left && self.at.is_multiple_of(2) && self.at != 0 {
            self.up();
        }
        Ok(left)
    }

    fn up(&mut self) {
        self.at >>= 1;
        self.last >>= 1;
    }

    fn ends_at_top(&self, hash: &Hash, root: &Hash) -> Result<(), ProofInvalid> {
        (self.last == 0 && hash == root)
            .then_some(())
            .ok_or(ProofInvalid)
    }
}

/// The largest power of two below `width` (RFC 6962 §2.1, `k`); `width` is at least 2.
fn split(width: u64) -> u64 {
    1 << (width.saturating_sub(1)).checked_ilog2().unwrap_or(0)
}

/// The complete subtrees that cover the leaves from `low` up to `high`, left to right. `low` is a
/// multiple of the largest of them, as every range of RFC 6962's recursion is.
pub(super) fn subtrees(low: u64, high: u64) -> impl Iterator<Item = NodeId> {
    let mut at = low;
    std::iter::from_fn(move || {
        let level = (high - at).checked_ilog2()?;
        let id = NodeId {
            level: u8::try_from(level).ok()?,
            index: at >> level,
        };
        at += 1 << level;
        Some(id)
    })
}

pub(super) fn read_all<E>(
    ids: impl Iterator<Item = NodeId>,
    mut node: impl FnMut(NodeId) -> Result<Option<Hash>, E>,
) -> Result<Vec<Hash>, BuildError<E>> {
    ids.map(|id| match node(id) {
        Ok(Some(hash)) => Ok(hash),
        Ok(None) => Err(BuildError::Missing(id)),
        Err(error) => Err(BuildError::Read(error)),
    })
    .collect()
}
