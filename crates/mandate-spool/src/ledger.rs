//! What a spool has durably, and where: the index that readers and shippers use.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mandate_audit::SpoolChain;
use mandate_model::Timestamp;
use mandate_ports::{SpoolError, SpoolHead, SpooledRecord};

use crate::format::{self, GroupHeader, usize_of};
use crate::group::Written;
use crate::segment::Segment;

/// A durable group and where it is.
#[derive(Debug, Clone)]
pub(crate) struct GroupPlace {
    pub(crate) header: GroupHeader,
    pub(crate) chain_before: SpoolChain,
    pub(crate) oldest: Timestamp,
    /// What this process wrote, so that shipping it need not read it back; as long as there is room.
    pub(crate) written: Option<Arc<Written>>,
    pub(crate) segment: Arc<Segment>,
    pub(crate) offset: u64,
}

impl GroupPlace {
    fn end(&self) -> u64 {
        self.header.first_seq + u64::from(self.header.count)
    }

    /// Its records: as they were written, or read back and checked against the chain.
    fn read(&self) -> io::Result<Vec<SpooledRecord>> {
        if let Some(written) = &self.written
            && let Some(records) = self.as_written(written)
        {
            return Ok(records);
        }
        let mut body = vec![0; usize_of(u64::from(self.header.body))];
        let at = self.offset + GroupHeader::LEN;
        self.segment.file.read_exact_at(&mut body, at)?;
        self.chained(&body).ok_or_else(|| {
            io::Error::other(format!("`{}` is damaged", self.segment.path.display()))
        })
    }

    fn as_written(&self, written: &Written) -> Option<Vec<SpooledRecord>> {
        let events = format::records(&written.body)?.into_iter();
        let numbered = (self.header.first_seq..).zip(events.zip(&written.chains));
        numbered
            .map(|(seq, (event, chain))| {
                Some(SpooledRecord {
                    seq,
                    event: String::from_utf8(event.to_vec()).ok()?,
                    chain: chain.to_string(),
                })
            })
            .collect()
    }

    fn kept(&self) -> u64 {
        let body = self.written.as_ref().map_or(0, |_| self.header.body);
        u64::from(body)
    }

    fn chained(&self, body: &[u8]) -> Option<Vec<SpooledRecord>> {
        let mut chain = self.chain_before;
        let mut records = Vec::new();
        for (seq, event) in (self.header.first_seq..).zip(format::records(body)?) {
            chain = chain.after(event);
            records.push(SpooledRecord {
                seq,
                event: String::from_utf8(event.to_vec()).ok()?,
                chain: chain.to_string(),
            });
        }
        (chain == self.header.chain).then_some(records)
    }
}

/// How much waits to be shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) oldest: Option<Timestamp>,
}

impl Waiting {
    /// Both together.
    pub(crate) fn and(self, other: Waiting) -> Waiting {
        Waiting {
            records: self.records.saturating_add(other.records),
            bytes: self.bytes.saturating_add(other.bytes),
            oldest: [self.oldest, other.oldest].into_iter().flatten().min(),
        }
    }
}

#[derive(Debug)]
struct State {
    next: u64,
    chain: SpoolChain,
    unshipped: u64,
    bytes: u64,
    /// How much of that is in memory too.
    kept: u64,
    /// Not wholly shipped, in order.
    groups: VecDeque<GroupPlace>,
    /// On disk, in order. The last one is being written.
    segments: VecDeque<Arc<Segment>>,
}

/// One spool's index. The lock is held for memory operations alone, never across a read or write
/// of records.
#[derive(Debug)]
pub(crate) struct Ledger {
    spool: String,
    marker: PathBuf,
    state: Mutex<State>,
}

impl Ledger {
    /// The ledger of a spool whose segments hold nothing yet.
    pub(crate) fn new(directory: &Path, segment: Arc<Segment>) -> Self {
        let header = &segment.header;
        let state = State {
            next: header.first_seq,
            chain: header.chain,
            unshipped: header.first_seq,
            bytes: 0,
            kept: 0,
            groups: VecDeque::new(),
            segments: VecDeque::new(),
        };
        let ledger = Self {
            spool: header.spool.clone(),
            marker: directory.join(format!("{}.shipped", header.spool)),
            state: Mutex::new(state),
        };
        ledger.add_segment(segment);
        ledger
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add_segment(&self, segment: Arc<Segment>) {
        self.state().segments.push_back(segment);
    }

    /// Publishes a group that is durable.
    pub(crate) fn add_group(&self, mut place: GroupPlace) {
        let mut state = self.state();
        if state.kept + place.kept() > MOST_KEPT {
            place.written = None;
        }
        state.kept += place.kept();
        state.next = place.end();
        state.chain = place.header.chain;
        state.bytes += u64::from(place.header.body);
        state.groups.push_back(place);
    }

    pub(crate) fn head(&self) -> SpoolHead {
        let state = self.state();
        SpoolHead {
            spool: self.spool.clone(),
            next: state.next,
            chain: state.chain.to_string(),
        }
    }

    pub(crate) fn unshipped_from(&self) -> u64 {
        self.state().unshipped
    }

    pub(crate) fn waiting(&self) -> Waiting {
        let state = self.state();
        Waiting {
            records: state.next - state.unshipped,
            bytes: state.bytes,
            oldest: state.groups.front().map(|g| g.oldest),
        }
    }

    /// Records from `from` on. What was shipped may be gone, and asking for it is an error.
    pub(crate) fn read(&self, from: u64, limit: usize) -> Result<Vec<SpooledRecord>, SpoolError> {
        let mut records: Vec<SpooledRecord> = Vec::new();
        for place in self.places(from, limit)? {
            let group = place
                .read()
                .map_err(|e| SpoolError::Unwritable(format!("reading back: {e}")))?;
            records.extend(group.into_iter().filter(|r| r.seq >= from));
        }
        records.truncate(limit);
        Ok(records)
    }

    fn places(&self, from: u64, limit: usize) -> Result<Vec<GroupPlace>, SpoolError> {
        let state = self.state();
        if from < state.unshipped {
            let have = state.unshipped;
            return Err(SpoolError::Unwritable(format!(
                "records below {have} were shipped and may be deleted"
            )));
        }
        let until = from.saturating_add(u64::try_from(limit).unwrap_or(u64::MAX));
        let first = state.groups.partition_point(|g| g.end() <= from);
        let wanted = state.groups.iter().skip(first);
        Ok(wanted
            .take_while(|g| g.header.first_seq < until)
            .cloned()
            .collect())
    }

    /// Forgets everything below `next` and deletes segments without anything else.
    pub(crate) fn shipped(&self, next: u64) -> Result<(), SpoolError> {
        let (mark, gone) = self.forget(next)?;
        // The marker only saves shipping twice: it may lag after a crash, never lead.
        let written = write_marker(&self.marker, mark);
        let deleted = gone.iter().try_for_each(|segment| segment.delete());
        written
            .and(deleted)
            .map_err(|e| SpoolError::Unwritable(e.to_string()))
    }

    fn forget(&self, next: u64) -> Result<(u64, Vec<Arc<Segment>>), SpoolError> {
        let mut state = self.state();
        if next > state.next {
            let have = state.next;
            return Err(SpoolError::Unwritable(format!(
                "{next} cannot be shipped: there are {have} records"
            )));
        }
        state.unshipped = state.unshipped.max(next);
        let mark = state.unshipped;
        while let Some(group) = state.groups.pop_front_if(|g| g.end() <= mark) {
            state.bytes -= u64::from(group.header.body);
            state.kept -= group.kept();
        }
        let mut gone = Vec::new();
        while state
            .segments
            .get(1)
            .is_some_and(|s| s.header.first_seq <= mark)
        {
            gone.extend(state.segments.pop_front());
        }
        Ok((mark, gone))
    }

    /// Whether nothing waits.
    pub(crate) fn is_shipped(&self) -> bool {
        let state = self.state();
        state.unshipped == state.next
    }

    /// Deletes all its files.
    pub(crate) fn delete(&self) -> io::Result<()> {
        let segments = std::mem::take(&mut self.state().segments);
        segments.iter().try_for_each(|segment| segment.delete())?;
        match std::fs::remove_file(&self.marker) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Where the marker of a recovered spool says that shipping stands.
    pub(crate) fn marked(&self) -> u64 {
        let text = std::fs::read_to_string(&self.marker).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }
}

/// The most bytes of records that wait to be shipped and are kept in memory.
const MOST_KEPT: u64 = 4 << 20;

fn write_marker(path: &Path, next: u64) -> io::Result<()> {
    let aside = path.with_extension("shipped-tmp");
    let mut file = crate::private::file_options()
        .create(true)
        .truncate(true)
        .open(&aside)?;
    io::Write::write_all(&mut file, next.to_string().as_bytes())?;
    std::fs::rename(&aside, path)
}
