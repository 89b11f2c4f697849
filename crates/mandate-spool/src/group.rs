//! A group of records: what one write and one sync make durable.

use mandate_audit::{Event, SpoolChain, SpoolKey};
use mandate_model::{GatewayId, Timestamp};
use mandate_ports::{LocalReceipt, SpoolError};

use crate::format::{self, GroupHeader, SegmentHeader};

/// The most records of a group.
pub(crate) const MAX_RECORDS: usize = 1024;
/// The most bytes of a group's body; half of the smallest segment.
pub(crate) const MAX_BODY: usize = 256 << 10;

/// Records that are numbered and encoded, and not written yet.
#[derive(Debug)]
pub(crate) struct Group {
    spool: String,
    number: u64,
    first_seq: u64,
    chain: SpoolChain,
    oldest: Timestamp,
    body: Vec<u8>,
    receipts: Vec<LocalReceipt>,
}

impl Group {
    /// An empty group that follows `chain`.
    pub(crate) fn after(spool: &str, number: u64, first_seq: u64, chain: SpoolChain) -> Self {
        Self {
            spool: spool.to_owned(),
            number,
            first_seq,
            chain,
            oldest: Timestamp::from_millis(u64::MAX),
            body: Vec::new(),
            receipts: Vec::new(),
        }
    }

    /// Numbers, encodes and adds `event`. After an error the group is as it was.
    pub(crate) fn add(&mut self, mut event: Event, gateway: &GatewayId) -> Result<(), SpoolError> {
        let key = SpoolKey {
            gateway: gateway.clone(),
            spool: self.spool.clone(),
            seq: self.next_seq(),
        };
        event.spool = Some(key.clone());
        let bytes = event
            .canonical()
            .map_err(|e| SpoolError::Encoding(e.to_string()))?;
        self.chain = self.chain.after(&bytes);
        format::push_record(&mut self.body, &bytes);
        self.oldest = self.oldest.min(event.at);
        self.receipts.push(LocalReceipt { key });
        Ok(())
    }

    /// The number of the record after its last one.
    pub(crate) fn next_seq(&self) -> u64 {
        let count = u64::try_from(self.receipts.len()).unwrap_or(u64::MAX);
        self.first_seq.saturating_add(count)
    }

    /// How many records.
    pub(crate) fn len(&self) -> usize {
        self.receipts.len()
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
            first_seq: self.first_seq,
            count: u32::try_from(self.receipts.len()).unwrap_or(u32::MAX),
            body: u32::try_from(self.body.len()).unwrap_or(u32::MAX),
            chain: self.chain,
        }
    }

    /// Its bytes at `offset` of the segment.
    pub(crate) fn encode(&self, segment: &SegmentHeader, offset: u64) -> Vec<u8> {
        let header = self.header();
        let mut bytes = header.encode(segment, offset);
        bytes.extend_from_slice(&self.body);
        bytes.resize(format::usize_of(header.length()), 0);
        bytes
    }

    /// What its callers are owed, in their order, once it is durable.
    pub(crate) fn into_receipts(self) -> Vec<LocalReceipt> {
        self.receipts
    }
}
