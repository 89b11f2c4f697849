//! Shipped records, read. One that says what an earlier one said is not parsed again.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use mandate_audit::{Event, Pattern, SpoolKey};
use mandate_ports::{ShippedRecord, StoreError};

use crate::column::moment;
use crate::words::{Found, Word};

/// What is known of earlier records: which say the same, and what they are found by. Pure memory of what
/// reading gives, so it never needs to be right about anything that is stored.
#[derive(Debug, Default)]
pub(crate) struct Alike {
    known: HashMap<u64, Vec<Known>>,
    hash: RandomState,
    /// How much memory it takes.
    size: usize,
}

#[derive(Debug)]
struct Known {
    pattern: Pattern,
    key: SpoolKey,
    words: Arc<[Word]>,
}

impl Known {
    /// In memory, its words counted as if they were its own: of few they are not.
    fn size(&self) -> usize {
        let words = self.words.iter();
        let words: usize = words.map(|word| size_of::<Word>() + word.value.len()).sum();
        let key = self.key.spool.len() + self.key.gateway.as_str().len();
        size_of::<Self>() + self.pattern.size() + key + words
    }
}

impl Alike {
    /// What `record` is found by; `None` if it is no canonical event that names its own key.
    pub(crate) fn read(&mut self, record: &ShippedRecord) -> Result<Option<Found>, StoreError> {
        let place = self.place(&record.event);
        if let Some(found) = self.find(place, record) {
            return Ok(Some(found));
        }
        let Some(event) = canonical_event(record) else {
            return Ok(None);
        };
        let found = Found::of(&event)?;
        self.keep(place, record, &event, &found);
        Ok(Some(found))
    }

    fn find(&mut self, place: u64, record: &ShippedRecord) -> Option<Found> {
        let known = self.known.get_mut(&place)?;
        let fits = |one: &Known| {
            let numbers = one.pattern.fits(&record.event)?;
            let same = one.key.is_of_spool(&record.key) && numbers.seq == record.key.seq;
            same.then_some(numbers.at)
        };
        let (nth, at) = known
            .iter()
            .enumerate()
            .find_map(|(nth, one)| Some((nth, fits(one)?)))?;
        // What comes often is found first.
        known.swap(0, nth);
        let words = Arc::clone(&known.first()?.words);
        let at = moment(at);
        Some(Found { at, words })
    }

    fn keep(&mut self, place: u64, record: &ShippedRecord, event: &Event, found: &Found) {
        let Some(pattern) = Pattern::of(&record.event, event) else {
            return;
        };
        if self.size > MOST_BYTES {
            (self.known, self.size) = (HashMap::new(), 0);
        }
        let one = Known {
            pattern,
            key: record.key.clone(),
            words: Arc::clone(&found.words),
        };
        self.size += one.size();
        let known = self.known.entry(place).or_default();
        if known.len() >= MOST_IN_ONE_PLACE {
            let gone = known.pop().map_or(0, |one| one.size());
            self.size = self.size.saturating_sub(gone);
        }
        known.insert(0, one);
    }

    /// Where records that say the same are. What stands before the moment tells most of them from others.
    fn place(&self, record: &[u8]) -> u64 {
        let moment = record.windows(MOMENT.len()).position(|at| at == MOMENT);
        let before = moment.and_then(|moment| record.get(..moment));
        self.hash.hash_one(before.unwrap_or_default())
    }
}

fn canonical_event(record: &ShippedRecord) -> Option<Event> {
    let event = Event::parse(&record.event).ok()?;
    let canonical = event.canonical().ok()?;
    (canonical == record.event && event.spool.as_ref() == Some(&record.key)).then_some(event)
}

const MOMENT: &[u8] = b"\"at\":";
/// About a kilobyte each: those of some thousand tasks under way.
const MOST_BYTES: usize = 4 * 1024 * 1024;
const MOST_IN_ONE_PLACE: usize = 16;

#[cfg(test)]
mod tests;
