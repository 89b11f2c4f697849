//! Checking a whole log: which record, if any, is not what was committed to.

mod expected;
mod row;
#[cfg(test)]
mod tests;

pub use expected::{Since, Verdict};
pub use row::RowFault;

use crate::{
    Checkpoint, CheckpointError, Event, Hash, NodeId, NoteKey, VerifiedCheckpoint, empty_root,
    leaf_hash, node_hash,
};
use expected::{Expected, Role};

/// Something that is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A record's bytes are not those that the tree was built from.
    #[error("record {index} was changed")]
    Changed {
        /// The record.
        index: u64,
    },
    /// Records are not there.
    #[error("records {first} to {last} are missing")]
    Missing {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// A record is not a canonical event: it was not written by this software, or was changed and
    /// its stored hash with it.
    #[error("record {index} is not a canonical event")]
    NotCanonical {
        /// The record.
        index: u64,
    },
    /// One of some records was changed and stored hashes with it. This is the smallest subtree
    /// that disagrees with what is stored above it.
    #[error("one of the records {first} to {last} was changed, and its stored hash with it")]
    Subtree {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// A stored node is missing or wrong, while the records below it are what was committed to.
    #[error("the stored node {index} of level {level} is missing or wrong; the records are not affected", index = .0.index, level = .0.level)]
    StoredNode(NodeId),
    /// A checkpoint's root is not the root of the records. Those before `first` are confirmed by
    /// an earlier checkpoint.
    #[error("records {first} to {last} are not those that the checkpoint was signed for")]
    Root {
        /// The first record that is in doubt.
        first: u64,
        /// The last.
        last: u64,
    },
    /// The records are whole, and make another root than the one that was committed last.
    #[error("the records are not those that the log's head was committed for")]
    Head,
    /// A row of the store holds something else than the records that belong there. What it holds beside
    /// them is under no tree, and nobody may be shown it.
    #[error("the row of the log that begins with record {first} {fault}")]
    Row {
        /// Where it begins.
        first: u64,
        /// What is wrong with it.
        fault: RowFault,
    },
    /// Records lie beyond the log's end, where no tree covers them.
    #[error("{count} records lie beyond the log's end, where no tree covers them")]
    Beyond {
        /// How many.
        count: u64,
    },
    /// What is stored beside a record, by which it is found, is not what the record says: searches
    /// miss it or show it where it does not belong. The record itself is not affected.
    #[error("what record {index} is found by is not what it says; the record is not affected")]
    Index {
        /// The record.
        index: u64,
    },
    /// More or fewer rows lead to records than the records say.
    #[error(
        "{found} rows lead searches to records, and by what the records say there are {expected}"
    )]
    Rows {
        /// How many there are.
        found: u64,
        /// How many there should be.
        expected: u64,
    },
    /// The checkpoint itself is not to be believed.
    #[error("{0}")]
    Checkpoint(#[from] CheckpointError),
}

/// What verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How many records were looked at.
    pub size: u64,
    /// Up to how many records a signed checkpoint confirms them.
    pub confirmed: u64,
    /// What became of a checkpoint that was kept elsewhere, if there was one to compare with.
    pub since: Option<Since>,
    /// What is wrong, by record; not more than a thousand.
    pub faults: Vec<Fault>,
    /// How many faults more there are.
    pub more: u64,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.faults.is_empty() && self.more == 0
    }
}

/// Checks records as they come, in order, in memory that does not grow with the log.
///
/// Each record is hashed, and every node of the tree above is computed anew and compared with the
/// stored one, up to the checkpoints. Whatever an attacker changes together, the lowest hash that
/// was left as it was tells.
#[derive(Debug)]
pub struct LogVerifier {
    next: u64,
    /// The complete subtrees so far, the largest first.
    peaks: Vec<Peak>,
    /// Sorted by size, the next one last.
    checkpoints: Vec<Expected>,
    since: Option<Since>,
    confirmed: u64,
    faults: Vec<Fault>,
    more: u64,
}

/// A complete subtree.
#[derive(Debug)]
struct Peak {
    /// Computed from the records; `None` where one is missing and no stored hash stands in.
    hash: Option<Hash>,
    /// The lowest nodes below that differ from what is stored: a record or a stored hash is wrong,
    /// and only a hash further up can tell which.
    suspects: Vec<NodeId>,
}

impl LogVerifier {
    /// Will compare with `checkpoints`, of any sizes in any order.
    pub fn new(checkpoints: impl IntoIterator<Item = VerifiedCheckpoint>) -> Self {
        let verifier = Self {
            next: 0,
            peaks: Vec::new(),
            checkpoints: Vec::new(),
            since: None,
            confirmed: 0,
            faults: Vec::new(),
            more: 0,
        };
        verifier.expecting(checkpoints, Role::Kept)
    }

    /// Will compare with these too, which confirm nothing: whoever took their key may have signed them.
    pub fn doubting(self, checkpoints: impl IntoIterator<Item = VerifiedCheckpoint>) -> Self {
        self.expecting(checkpoints, Role::Doubted)
    }

    /// Will say what became of `checkpoint`, which was kept elsewhere. With `doubted` it confirms nothing.
    pub fn since(self, checkpoint: VerifiedCheckpoint, doubted: bool) -> Self {
        self.expecting([checkpoint], Role::Since { doubted })
    }

    fn expecting(
        mut self,
        checkpoints: impl IntoIterator<Item = VerifiedCheckpoint>,
        role: Role,
    ) -> Self {
        let expected = checkpoints.into_iter().map(|one| Expected::new(&one, role));
        self.checkpoints.extend(expected);
        self.checkpoints
            .sort_by_key(|one| std::cmp::Reverse(one.size()));
        self.compare_with_checkpoints();
        self
    }

    /// The index of the record that it wants to see next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Checks the next record; `None` if the store has none with its index. `stored` looks up
    /// stored nodes, and is asked for those of [`NodeId::completed_by`] the record.
    pub fn record(&mut self, entry: Option<&[u8]>, stored: impl Fn(NodeId) -> Option<Hash>) {
        let mut peak = self.leaf(entry, &stored);
        for id in NodeId::completed_by(self.next).skip(1) {
            if let Some(left) = self.peaks.pop() {
                peak = self.join(id, left, peak, stored(id));
            }
        }
        self.peaks.push(peak);
        self.next += 1;
        self.compare_with_checkpoints();
    }

    /// What was found, once all records were shown of a log that says that it has `size` records and
    /// that `root` is their root.
    pub fn finish_at(self, size: u64, root: &Hash) -> Report {
        let is_another = self.root().is_some_and(|found| found != *root);
        let mut report = self.end(size);
        // Where anything else is wrong, that is why.
        if is_another && report.is_whole() {
            report.faults.push(Fault::Head);
        }
        report
    }

    /// What was found, once all records were shown.
    pub fn finish(self) -> Report {
        let size = self.next;
        self.end(size)
    }

    fn end(mut self, size: u64) -> Report {
        let signed = self.checkpoints.first().map_or(0, Expected::size);
        let out_of_reach = self.checkpoints.iter().find_map(|one| one.beyond(size));
        self.since = self.since.or(out_of_reach);
        if let Some(last) = signed.max(size).checked_sub(1) {
            self.missing(self.next, last);
        }
        for peak in std::mem::take(&mut self.peaks) {
            for id in peak.suspects {
                self.fault(wrong_record(id));
            }
        }
        self.faults.sort_by_key(position);
        Report {
            size: self.next,
            confirmed: self.confirmed,
            since: self.since,
            faults: self.faults,
            more: self.more,
        }
    }

    fn leaf(&mut self, entry: Option<&[u8]>, stored: impl Fn(NodeId) -> Option<Hash>) -> Peak {
        let id = NodeId {
            level: 0,
            index: self.next,
        };
        let (hash, stored) = (entry.map(leaf_hash), stored(id));
        if entry.is_none() {
            self.missing(self.next, self.next);
        }
        if stored.is_none() {
            self.fault(Fault::StoredNode(id));
        }
        let differs = hash.is_some() && stored.is_some() && hash != stored;
        if !differs && entry.is_some_and(|entry| !is_canonical(entry)) {
            self.fault(Fault::NotCanonical { index: self.next });
        }
        Peak {
            hash: hash.or(stored),
            suspects: if differs { vec![id] } else { Vec::new() },
        }
    }

    fn join(&mut self, id: NodeId, left: Peak, right: Peak, stored: Option<Hash>) -> Peak {
        let hash = left
            .hash
            .zip(right.hash)
            .map(|(left, right)| node_hash(&left, &right));
        let mut suspects = left.suspects;
        suspects.extend(right.suspects);
        if stored.is_none() {
            self.fault(Fault::StoredNode(id));
        } else if hash == stored {
            self.acquit(suspects.drain(..));
        } else if hash.is_some() && suspects.is_empty() {
            suspects.push(id);
        }
        self.more += drain_beyond(&mut suspects, MAX_FAULTS);
        Peak {
            hash: hash.or(stored),
            suspects,
        }
    }

    /// The records below `suspects` are what a hash above commits to: the stored nodes are wrong.
    fn acquit(&mut self, suspects: impl Iterator<Item = NodeId>) {
        for id in suspects {
            self.fault(Fault::StoredNode(id));
        }
    }

    fn compare_with_checkpoints(&mut self) {
        while let Some(expected) = self.checkpoints.pop_if(|one| one.size() <= self.next) {
            let verdict = match self.root() {
                Some(root) if root == *expected.root() => Verdict::Consistent,
                Some(_) => Verdict::Forked,
                // A record is missing, which was said.
                None => Verdict::Undecided,
            };
            self.since = self.since.or(expected.since(verdict));
            match verdict {
                Verdict::Consistent if expected.confirms() => self.confirm(),
                Verdict::Forked => self.fault(Fault::Root {
                    first: self.confirmed,
                    last: self.next.saturating_sub(1),
                }),
                Verdict::Consistent | Verdict::Undecided | Verdict::RolledBack => {}
            }
        }
    }

    fn confirm(&mut self) {
        self.confirmed = self.next;
        let mut peaks = std::mem::take(&mut self.peaks);
        for peak in &mut peaks {
            self.acquit(peak.suspects.drain(..));
        }
        self.peaks = peaks;
    }

    fn root(&self) -> Option<Hash> {
        let mut peaks = self.peaks.iter().rev().map(|peak| peak.hash);
        let Some(last) = peaks.next() else {
            return Some(empty_root());
        };
        peaks.try_fold(last?, |right, left| Some(node_hash(&left?, &right)))
    }

    fn missing(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        if let Some(Fault::Missing { last: until, .. }) = self.faults.last_mut()
            && until.checked_add(1) == Some(first)
        {
            *until = last;
        } else {
            self.fault(Fault::Missing { first, last });
        }
    }

    fn fault(&mut self, fault: Fault) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(fault);
        } else {
            self.more += 1;
        }
    }
}

/// Checks a log at once: `entries` in ascending order of their indexes, the stored nodes, and the
/// latest signed checkpoint as it is stored, which `key` should have signed.
pub fn verify_log<E: AsRef<[u8]>>(
    entries: impl IntoIterator<Item = (u64, E)>,
    stored: impl Fn(NodeId) -> Option<Hash>,
    checkpoint: Option<&str>,
    key: &NoteKey,
) -> Report {
    let (checkpoint, fault) = match checkpoint.map(|note| Checkpoint::open(note, key)) {
        Some(Ok(checkpoint)) => (Some(checkpoint), None),
        Some(Err(error)) => (None, Some(Fault::Checkpoint(error))),
        None => (None, None),
    };
    let mut verifier = LogVerifier::new(checkpoint);
    for (index, entry) in entries {
        let gap = index.saturating_sub(verifier.next());
        if gap > MAX_GAP {
            verifier.missing(verifier.next(), index - 1);
            break;
        }
        (0..gap).for_each(|_| verifier.record(None, &stored));
        verifier.record(Some(entry.as_ref()), &stored);
    }
    let mut report = verifier.finish();
    report.faults.extend(fault);
    report
}

/// Whether `entry` is exactly what an event encodes to.
fn is_canonical(entry: &[u8]) -> bool {
    Event::parse(entry)
        .ok()
        .and_then(|event| event.canonical().ok())
        .is_some_and(|canonical| canonical == entry)
}

fn wrong_record(id: NodeId) -> Fault {
    if id.level == 0 {
        return Fault::Changed { index: id.index };
    }
    let leaves = id.leaves();
    Fault::Subtree {
        first: leaves.start,
        last: leaves.end.saturating_sub(1),
    }
}

/// Particular faults before general ones, then by record.
fn position(fault: &Fault) -> (u8, u64) {
    match fault {
        Fault::Changed { index } | Fault::NotCanonical { index } => (0, *index),
        Fault::Missing { first, .. } => (0, *first),
        Fault::Subtree { first, .. } => (1, *first),
        Fault::StoredNode(id) => (2, id.leaves().start),
        Fault::Row { first, .. } => (3, *first),
        Fault::Index { index } => (3, *index),
        Fault::Root { first, .. } => (4, *first),
        Fault::Head | Fault::Beyond { .. } | Fault::Rows { .. } => (5, 0),
        Fault::Checkpoint(_) => (6, 0),
    }
}

fn drain_beyond<T>(items: &mut Vec<T>, limit: usize) -> u64 {
    let beyond = items.len().saturating_sub(limit);
    items.truncate(limit);
    u64::try_from(beyond).unwrap_or(u64::MAX)
}

/// Whoever has a thousand faults does not need the next one by name.
const MAX_FAULTS: usize = 1_000;
/// More missing records in one row than this are not walked one by one: an index that was changed
/// on disk could be anything.
const MAX_GAP: u64 = 1 << 20;
