//! Bytes on disk.
//!
//! A segment is a header block and then groups, each beginning on a block of 512 bytes, so that a
//! torn write of one group cannot touch the sector of an acknowledged one. Integers are
//! little-endian.
//!
//! The magic bytes contain 0xFF, which UTF-8 never does: no record, whatever an agent put into it,
//! can look like the head of a group.

use mandate_audit::SpoolChain;
use sha2::{Digest, Sha256};

/// Groups begin on multiples of this.
pub(crate) const BLOCK: u64 = 512;

const SEGMENT_MAGIC: [u8; 8] = *b"\xFFMNDSEG1";
const GROUP_MAGIC: [u8; 8] = *b"\xFFMNDGRP1";

/// The head of a segment file, one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// The spool's random name, 32 hex digits.
    pub(crate) spool: String,
    /// Counts the spools of a folder; the highest is the one that goes on.
    pub(crate) generation: u64,
    /// The number of its first record.
    pub(crate) first_seq: u64,
    /// The number of its first group.
    pub(crate) first_group: u64,
    /// The chain before its first record.
    pub(crate) chain: SpoolChain,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = SEGMENT_MAGIC.to_vec();
        out.extend_from_slice(self.spool.as_bytes());
        for number in [self.generation, self.first_seq, self.first_group] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(self.chain.to_string().as_bytes());
        let check = Sha256::digest(&out);
        out.extend_from_slice(&check);
        out.resize(usize_of(BLOCK), 0);
        out
    }

    pub(crate) fn decode(block: &[u8]) -> Option<Self> {
        let mut rest = block;
        let magic: [u8; 8] = take(&mut rest)?;
        let spool: [u8; 32] = take(&mut rest)?;
        let header = Self {
            spool: String::from_utf8(spool.to_vec()).ok()?,
            generation: u64::from_le_bytes(take(&mut rest)?),
            first_seq: u64::from_le_bytes(take(&mut rest)?),
            first_group: u64::from_le_bytes(take(&mut rest)?),
            chain: chain(&mut rest)?,
        };
        (magic == SEGMENT_MAGIC && block.get(..usize_of(BLOCK)) == Some(header.encode().as_slice()))
            .then_some(header)
    }
}

/// The head of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    /// Counts the groups of a spool.
    pub(crate) number: u64,
    /// The number of its first record.
    pub(crate) first_seq: u64,
    /// How many records.
    pub(crate) count: u32,
    /// How many bytes follow the header.
    pub(crate) body: u32,
    /// The chain after its last record.
    pub(crate) chain: SpoolChain,
}

impl GroupHeader {
    /// Encoded length.
    pub(crate) const LEN: u64 = 8 + 8 + 8 + 4 + 4 + 43 + 32;

    /// The header for this place: elsewhere it does not decode.
    pub(crate) fn encode(&self, segment: &SegmentHeader, offset: u64) -> Vec<u8> {
        let mut out = GROUP_MAGIC.to_vec();
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.first_seq.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.body.to_le_bytes());
        out.extend_from_slice(self.chain.to_string().as_bytes());
        let mut check = Sha256::new();
        check.update(segment.encode());
        check.update(offset.to_le_bytes());
        check.update(&out);
        out.extend_from_slice(&check.finalize());
        out
    }

    pub(crate) fn decode(bytes: &[u8], segment: &SegmentHeader, offset: u64) -> Option<Self> {
        let mut rest = bytes;
        if take(&mut rest) != Some(GROUP_MAGIC) {
            return None;
        }
        let header = Self {
            number: u64::from_le_bytes(take(&mut rest)?),
            first_seq: u64::from_le_bytes(take(&mut rest)?),
            count: u32::from_le_bytes(take(&mut rest)?),
            body: u32::from_le_bytes(take(&mut rest)?),
            chain: chain(&mut rest)?,
        };
        let whole = header.encode(segment, offset);
        (bytes.get(..whole.len()) == Some(whole.as_slice())).then_some(header)
    }

    /// Header and body, up to the next block.
    pub(crate) fn length(&self) -> u64 {
        (Self::LEN + u64::from(self.body)).next_multiple_of(BLOCK)
    }
}

/// Adds the record that `write` writes to a group's body. After an error the body is as it was.
pub(crate) fn push_record<E>(
    body: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<&[u8], E> {
    let begin = body.len();
    body.extend_from_slice(&[0; 4]);
    if let Err(why) = write(body) {
        body.truncate(begin);
        return Err(why);
    }
    let (_, with_length) = body.split_at_mut(begin);
    let (length, record) = with_length.split_at_mut(4);
    length.copy_from_slice(
        &u32::try_from(record.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    );
    Ok(record)
}

/// The records of a group's body.
pub(crate) fn records(mut body: &[u8]) -> Option<Vec<&[u8]>> {
    let mut records = Vec::new();
    while !body.is_empty() {
        let len = u32::from_le_bytes(take(&mut body)?);
        let (record, rest) = body.split_at_checked(usize::try_from(len).ok()?)?;
        records.push(record);
        body = rest;
    }
    Some(records)
}

/// A number of bytes as an index; what does not fit is larger than any buffer.
pub(crate) fn usize_of(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn chain(bytes: &mut &[u8]) -> Option<SpoolChain> {
    let text: [u8; 43] = take(bytes)?;
    SpoolChain::parse(std::str::from_utf8(&text).ok()?).ok()
}
