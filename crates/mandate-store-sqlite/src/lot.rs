//! Lots: records that were appended together and are one row.
//!
//! A row, an entry in each index and two nodes of the tree for every single record made taking records
//! over the dearest part of an access. Of a lot there is one row of records, one of the nodes that
//! they completed, and one for each different word that any of them is found by. A search finds
//! lots and then looks at their records; so a lot is kept short.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use mandate_audit::{Hash, NodeId, leaf_hash};

use crate::words::{Found, Word};

/// Records on their way into one row.
#[derive(Debug, Default)]
pub(crate) struct Lot {
    pub(crate) leaves: Vec<Hash>,
    /// Each with its length before it.
    pub(crate) entries: Vec<u8>,
    pub(crate) times: Option<(i64, i64)>,
    pub(crate) words: HashSet<Word>,
    /// Those that the last few different ones among its records were found by.
    lately: VecDeque<Arc<[Word]>>,
}

impl Lot {
    /// Adds a record: its bytes, and what it is to be found by.
    pub(crate) fn add(&mut self, entry: &[u8], found: &Found) {
        self.leaves.push(leaf_hash(entry));
        let length = u32::try_from(entry.len()).unwrap_or(u32::MAX);
        self.entries.extend_from_slice(&length.to_le_bytes());
        self.entries.extend_from_slice(entry);
        let (earliest, latest) = self.times.unwrap_or((found.at, found.at));
        self.times = Some((earliest.min(found.at), latest.max(found.at)));
        if !self.lately.iter().any(|one| Arc::ptr_eq(one, &found.words)) {
            self.words.extend(found.words.iter().cloned());
            self.lately.truncate(LATELY - 1);
            self.lately.push_front(Arc::clone(&found.words));
        }
    }

    /// How many records.
    pub(crate) fn len(&self) -> usize {
        self.leaves.len()
    }

    /// Whether the next record belongs into another one.
    pub(crate) fn is_full(&self) -> bool {
        self.len() >= MAX_RECORDS || self.entries.len() >= MAX_BYTES
    }
}

/// The records in a lot's bytes; it ends before the first that is not whole.
pub(crate) fn entries(bytes: &[u8]) -> Entries<'_> {
    Entries { left: bytes }
}

/// Reads the records of a lot, one after the other.
pub(crate) struct Entries<'a> {
    left: &'a [u8],
}

impl<'a> Entries<'a> {
    /// What was not read yet. At the end: what is no record.
    pub(crate) fn left(&self) -> &'a [u8] {
        self.left
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.left.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (entry, rest) = rest.split_at_checked(length)?;
        self.left = rest;
        Some(entry)
    }
}

/// The last leaf under `id`: with it the node was complete, so the lot of that leaf has its hash.
pub(crate) fn completed_with(id: NodeId) -> u64 {
    id.leaves().end.saturating_sub(1)
}

/// The hash of `id` among `hashes`, those that the lot whose first record is `first` completed: of each
/// record its leaf and then the nodes above that it completed, lowest first.
pub(crate) fn node(first: u64, hashes: &[u8], id: NodeId) -> Option<Hash> {
    let leaf = completed_with(id);
    let place = completed_before(leaf).checked_sub(completed_before(first))?;
    let place = usize::try_from(place.checked_add(u64::from(id.level))?).ok()?;
    let (whole, _) = hashes.as_chunks::<32>();
    whole.get(place).copied()
}

/// Whether `bytes` are as many as the hashes that the records `of` completed.
pub(crate) fn is_of(of: Range<u64>, bytes: usize) -> bool {
    let hashes = completed_before(of.end).checked_sub(completed_before(of.start));
    let length = hashes.and_then(|hashes| hashes.checked_mul(32));
    length.is_some_and(|length| u64::try_from(bytes) == Ok(length))
}

/// How many nodes the leaves before `leaf` complete. Each completes itself, and of the 2n − 1 nodes of
/// a complete tree of n leaves all are complete: so twice the leaves, less one for each such tree.
fn completed_before(leaf: u64) -> u64 {
    (leaf.saturating_mul(2)).saturating_sub(u64::from(leaf.count_ones()))
}

/// Searches look at all records of a lot.
const MAX_RECORDS: usize = 128;
const MAX_BYTES: usize = 512 * 1024;
const LATELY: usize = 8;

#[cfg(test)]
mod tests {
    use mandate_audit::Tree;

    use super::*;

    #[test]
    fn every_node_is_found_in_the_lot_that_completed_it() {
        let mut tree = Tree::default();
        let (mut all, mut lots) = (Vec::new(), Vec::new());
        for (first, count) in [(0_u64, 1_u64), (1, 7), (8, 5), (13, 20), (33, 31)] {
            let mut hashes = Vec::new();
            for n in first..first + count {
                tree.append(leaf_hash(&n.to_be_bytes()), |id, hash| {
                    all.push((id, hash));
                    hashes.extend_from_slice(&hash);
                });
            }
            lots.push((first, hashes));
        }
        assert_eq!(all.len(), 64 * 2 - 1);
        for (id, hash) in all {
            let leaf = completed_with(id);
            let (first, hashes) = lots.iter().rfind(|(first, _)| *first <= leaf).unwrap();
            assert_eq!(node(*first, hashes, id), Some(hash), "{id:?}");
        }
    }

    #[test]
    fn a_node_of_another_lot_is_not_there() {
        let hashes = [7; 32 * 3];
        let leaf = |index| NodeId { level: 0, index };
        assert_eq!(node(2, &hashes, leaf(1)), None);
        assert_eq!(node(2, &hashes, leaf(9)), None);
    }

    #[test]
    fn records_end_before_one_that_is_not_whole() {
        let mut lot = Lot::default();
        for entry in [&b"one"[..], b"", b"three"] {
            lot.add(
                entry,
                &Found {
                    at: 1,
                    words: Arc::new([]),
                },
            );
        }
        let read: Vec<_> = entries(&lot.entries).collect();
        assert_eq!(read, [&b"one"[..], b"", b"three"]);
        let cut = lot.entries.get(..lot.entries.len() - 1).unwrap();
        assert_eq!(entries(cut).count(), 2);
    }
}
