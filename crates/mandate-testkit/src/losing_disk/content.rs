//! A file's bytes: as they are read, and as they are on disk.

use super::Fate;
use crate::random::Random;

/// The bytes of one file.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<(u64, Change)>,
}

#[derive(Debug, Clone)]
enum Change {
    Bytes { at: usize, bytes: Vec<u8> },
    Length(usize),
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Change::Bytes { at, bytes } => {
                let end = at + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*at..end].copy_from_slice(bytes);
            }
            Change::Length(length) => to.resize(*length, 0),
        }
    }
}

impl Content {
    /// As they are read.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.now
    }

    /// Writes, as operation `number`.
    pub(super) fn write(&mut self, number: u64, at: usize, bytes: &[u8]) {
        let bytes = bytes.to_vec();
        self.change(number, Change::Bytes { at, bytes });
    }

    /// Cuts or extends, as operation `number`.
    pub(super) fn set_length(&mut self, number: u64, length: usize) {
        self.change(number, Change::Length(length));
    }

    fn change(&mut self, number: u64, change: Change) {
        change.apply(&mut self.now);
        self.pending.push((number, change));
    }

    /// Makes all of it durable.
    pub(super) fn sync(&mut self) {
        for (_, change) in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// A sync failed: what was to be written counts as written and is nowhere.
    pub(super) fn lose_what_is_pending(&mut self) {
        // The length is the file system's own, and not lost with the pages.
        for (_, change) in self.pending.drain(..) {
            if let Change::Length(_) = change {
                change.apply(&mut self.durable);
            }
        }
    }

    /// The numbers of the operations that are not durable.
    pub(super) fn pending(&self) -> impl Iterator<Item = u64> {
        self.pending.iter().map(|(number, _)| *number)
    }

    /// As a machine finds it that starts again; `kept_until` is the last operation that
    /// [`Fate::FirstPart`] keeps.
    pub(super) fn after_crash(&self, fate: Fate, kept_until: u64, random: &mut Random) -> Self {
        let mut found = self.durable.clone();
        for (number, change) in &self.pending {
            match fate {
                Fate::Lost => {}
                Fate::Kept => change.apply(&mut found),
                Fate::FirstPart if *number <= kept_until => change.apply(&mut found),
                Fate::FirstPart => {}
                Fate::Torn { sector } => tear(change, sector, random, &mut found),
            }
        }
        Self {
            now: found.clone(),
            durable: found,
            pending: Vec::new(),
        }
    }
}

/// Some sectors of a write; a length or none.
fn tear(change: &Change, sector: usize, random: &mut Random, found: &mut Vec<u8>) {
    let (at, bytes) = match change {
        Change::Bytes { at, bytes } => (*at, bytes),
        Change::Length(_) => {
            if random.chance(1, 2) {
                change.apply(found);
            }
            return;
        }
    };
    // Bytes beyond the end of a file that was not made longer are nobody's.
    if random.chance(1, 2) && found.len() < at + bytes.len() {
        found.resize(at + bytes.len(), 0);
    }
    // Of each write a share of its own, so that nearly all and nearly nothing both occur.
    let share = random.below(9);
    let mut begin = at;
    while begin < at + bytes.len() {
        let end = ((begin / sector + 1) * sector).min(at + bytes.len());
        if random.chance(share, 8) {
            let end = end.min(found.len());
            if begin < end {
                found[begin..end].copy_from_slice(&bytes[begin - at..end - at]);
            }
        }
        begin = end;
    }
}
