//! A folder's names: as they are found now, and as they are on disk.

use std::collections::BTreeMap;

use super::Fate;
use crate::random::Random;

type Names = BTreeMap<Vec<u8>, u64>;

/// The names of one folder, each with its file's number.
#[derive(Debug, Clone, Default)]
pub(super) struct Folder {
    now: Names,
    durable: Names,
    pending: Vec<(u64, Change)>,
}

#[derive(Debug, Clone)]
enum Change {
    Put(Vec<u8>, u64),
    Take(Vec<u8>),
    /// Of one name to another, in the place of whatever had it.
    Move(Vec<u8>, Vec<u8>, u64),
}

impl Change {
    fn apply(&self, to: &mut Names) {
        match self {
            Change::Put(name, node) => drop(to.insert(name.clone(), *node)),
            Change::Take(name) => drop(to.remove(name)),
            Change::Move(from, name, node) => {
                to.remove(from);
                to.insert(name.clone(), *node);
            }
        }
    }
}

impl Folder {
    pub(super) fn get(&self, name: &[u8]) -> Option<u64> {
        self.now.get(name).copied()
    }

    pub(super) fn names(&self) -> &Names {
        &self.now
    }

    pub(super) fn put(&mut self, number: u64, name: &[u8], node: u64) {
        self.change(number, Change::Put(name.to_vec(), node));
    }

    pub(super) fn take(&mut self, number: u64, name: &[u8]) {
        self.change(number, Change::Take(name.to_vec()));
    }

    pub(super) fn rename(&mut self, number: u64, from: &[u8], to: &[u8], node: u64) {
        self.change(number, Change::Move(from.to_vec(), to.to_vec(), node));
    }

    fn change(&mut self, number: u64, change: Change) {
        change.apply(&mut self.now);
        self.pending.push((number, change));
    }

    pub(super) fn sync(&mut self) {
        self.durable.clone_from(&self.now);
        self.pending.clear();
    }

    /// The numbers of the operations that are not durable.
    pub(super) fn pending(&self) -> impl Iterator<Item = u64> {
        self.pending.iter().map(|(number, _)| *number)
    }

    /// As a machine finds it that starts again. A file system keeps the changes of a folder in order.
    pub(super) fn after_crash(&self, fate: Fate, kept_until: u64, random: &mut Random) -> Self {
        let until = match fate {
            Fate::Lost => 0,
            Fate::Kept => u64::MAX,
            Fate::FirstPart => kept_until,
            Fate::Torn { .. } => {
                let first = random.below(self.pending.len() as u64 + 1);
                let last = first
                    .checked_sub(1)
                    .map(|last| usize::try_from(last).unwrap());
                last.map_or(0, |last| self.pending[last].0)
            }
        };
        let mut found = self.durable.clone();
        for (number, change) in &self.pending {
            if *number <= until && until > 0 {
                change.apply(&mut found);
            }
        }
        Self {
            now: found.clone(),
            durable: found,
            pending: Vec::new(),
        }
    }
}
