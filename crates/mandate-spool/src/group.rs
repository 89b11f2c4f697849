//! A group of records: what one write and one sync make durable.

use std::sync::Arc;

use mandate_audit::{Draft, SpoolChain, SpoolKey};
use mandate_model::Timestamp;
use mandate_ports::{LocalReceipt, SpoolError};

use crate::format::{self, GroupHeader, SegmentHeader};

/// The most records of a group.
pub(crate) const MAX_RECORDS: usize = 1024;
/// The most bytes of a group's body; half of the smallest segment.
pub(crate) const MAX_BODY: usize = 256 << 10;

/// Records that are numbered and encoded, and not written yet.
#[derive(Debug)]
pub(crate) struct Group {
    /// The name of its first record.
    first: SpoolKey,
    number: u64,
    before: SpoolChain,
    oldest: Timestamp,
    body: Vec<u8>,
    chains: Vec<SpoolChain>,
}

/// A group's records as they were written: its body, and the chain's value after each.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) body: Vec<u8>,
    pub(crate) chains: Vec<SpoolChain>,
}

impl Group {
    /// An empty group that follows `chain`, and whose first record gets the name `first`.
    pub(crate) fn after(first: SpoolKey, number: u64, chain: SpoolChain) -> Self {
        Self {
            first,
            number,
            before: chain,
            oldest: Timestamp::from_millis(u64::MAX),
            body: Vec::new(),
            chains: Vec::new(),
        }
    }

    /// Names, numbers and adds `draft`. After an error the group is as it was.
    pub(crate) fn add(&mut self, draft: &Draft) -> Result<(), SpoolError> {
        let key = self.key(self.len());
        let chain = self.chain();
        let record = format::push_record(&mut self.body, |body| draft.write_named(&key, body))?;
        self.chains.push(chain.after(record));
        self.oldest = self.oldest.min(draft.at());
        Ok(())
    }

    fn key(&self, place: usize) -> SpoolKey {
        let place = u64::try_from(place).unwrap_or(u64::MAX);
        SpoolKey {
            seq: self.first.seq.saturating_add(place),
            ..self.first.clone()
        }
    }

    fn chain(&self) -> SpoolChain {
        self.chains.last().copied().unwrap_or(self.before)
    }

    /// The number of the record after its last one.
    pub(crate) fn next_seq(&self) -> u64 {
        self.key(self.len()).seq
    }

    /// How many records.
    pub(crate) fn len(&self) -> usize {
        self.chains.len()
    }

    /// How many bytes of body.
    pub(crate) fn bytes(&self) -> u64 {
        u64::try_from(self.body.len()).unwrap_or(u64::MAX)
    }

    /// Whether one more record, however long, might not fit.
    pub(crate) fn is_full(&self) -> bool {
        let room = MAX_BODY.saturating_sub(self.body.len());
        self.len() >= MAX_RECORDS || room < mandate_audit::MAX_EVENT_BYTES + 4
    }

    /// The earliest time that a record names.
    pub(crate) fn oldest(&self) -> Timestamp {
        self.oldest
    }

    /// Its header.
    pub(crate) fn header(&self) -> GroupHeader {
        GroupHeader {
            number: self.number,
            first_seq: self.first.seq,
            count: u32::try_from(self.len()).unwrap_or(u32::MAX),
            body: u32::try_from(self.body.len()).unwrap_or(u32::MAX),
            chain: self.chain(),
        }
    }

    /// Its bytes at `offset` of the segment.
    pub(crate) fn encode(&self, segment: &SegmentHeader, offset: u64) -> Vec<u8> {
        let header = self.header();
        let mut bytes = header.encode(segment, offset);
        bytes.reserve_exact(format::usize_of(header.length()).saturating_sub(bytes.len()));
        bytes.extend_from_slice(&self.body);
        bytes.resize(format::usize_of(header.length()), 0);
        bytes
    }

    /// What its callers are owed, in their order, once it is durable.
    pub(crate) fn receipts(&self) -> impl Iterator<Item = LocalReceipt> {
        (0..self.len()).map(|place| LocalReceipt {
            key: self.key(place),
        })
    }

    /// Its records, once they are written.
    pub(crate) fn into_written(self) -> Arc<Written> {
        Arc::new(Written {
            body: self.body,
            chains: self.chains,
        })
    }
}
