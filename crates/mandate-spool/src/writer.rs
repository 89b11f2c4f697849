//! The one thread that writes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mandate_audit::{Draft, SpoolChain, SpoolKey};
use mandate_model::GatewayId;
use mandate_ports::{Done, Entropy, LocalReceipt, SpoolError};
use tokio::sync::oneshot;

use crate::SpoolLimits;
use crate::format::{BLOCK, SegmentHeader};
use crate::group::{Group, MAX_RECORDS};
use crate::ledger::{GroupPlace, Ledger, Waiting};
use crate::recover::Recovered;
use crate::segment::Segment;

/// A record that is to be written, and who is told what became of it.
pub(crate) struct Append {
    pub(crate) draft: Arc<Draft>,
    pub(crate) reply: Reply,
}

/// Who is told what became of a record.
pub(crate) enum Reply {
    /// Somebody who does nothing before.
    Awaited(oneshot::Sender<Result<LocalReceipt, SpoolError>>),
    /// Nobody waits.
    Behind(Done),
}

impl Reply {
    fn is_awaited(&self) -> bool {
        matches!(self, Reply::Awaited(_))
    }

    pub(crate) fn tell(self, result: Result<LocalReceipt, SpoolError>) {
        match self {
            // Whoever asked may have gone away; the record is durable all the same.
            Reply::Awaited(reply) => drop(reply.send(result)),
            Reply::Behind(done) => done(result),
        }
    }
}

/// The ledgers of a folder. The locks are held for a clone or a push; where both are, `retired` is the outer one.
#[derive(Debug)]
pub(crate) struct Shelf {
    current: Mutex<Arc<Ledger>>,
    retired: Mutex<Vec<Arc<Ledger>>>,
}

impl Shelf {
    pub(crate) fn new(current: Arc<Ledger>, retired: Vec<Arc<Ledger>>) -> Self {
        Self {
            current: Mutex::new(current),
            retired: Mutex::new(retired),
        }
    }

    pub(crate) fn current(&self) -> Arc<Ledger> {
        let current = self.current.lock();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The retired ones with records to ship; the files of the others are deleted.
    pub(crate) fn retired(&self) -> Vec<Arc<Ledger>> {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.retain(|ledger| !(ledger.is_shipped() && ledger.delete().is_ok()));
        retired.clone()
    }

    /// What waits in all of them.
    fn waiting(&self) -> Waiting {
        let retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired
            .iter()
            .fold(self.current().waiting(), |sum, ledger| {
                sum.and(ledger.waiting())
            })
    }

    /// The former one is among the retired before anybody can see `next`: whoever looks at the current one
    /// first and at the retired ones then misses none.
    fn replace(&self, next: Arc<Ledger>) {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        retired.push(std::mem::replace(&mut *current, next));
    }
}

/// Makes a file's data durable. `fdatasync`, but for tests of its failure.
pub(crate) type SyncFile = Arc<dyn Fn(&File) -> io::Result<()> + Send + Sync>;

/// Where the next group goes.
pub(crate) struct Position {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) segment: Arc<Segment>,
    pub(crate) end: u64,
    pub(crate) filled: u64,
    pub(crate) next_group: u64,
    pub(crate) next_seq: u64,
    pub(crate) chain: SpoolChain,
}

impl Position {
    pub(crate) fn of(recovered: Recovered) -> Self {
        Self {
            ledger: Arc::new(recovered.ledger),
            segment: recovered.segment,
            end: recovered.end,
            filled: recovered.filled,
            next_group: recovered.next_group,
            next_seq: recovered.next_seq,
            chain: recovered.chain,
        }
    }

    fn next_segment(&self) -> SegmentHeader {
        SegmentHeader {
            spool: self.segment.header.spool.clone(),
            generation: self.segment.header.generation,
            first_seq: self.next_seq,
            first_group: self.next_group,
            chain: self.chain,
        }
    }
}

/// What a failed write means for the file.
enum Fault {
    /// The file is as it was, or holds only what the next group will overwrite.
    Harmless(SpoolError),
    /// Nobody knows what the file holds.
    Doubtful(SpoolError),
}

pub(crate) struct Writer {
    pub(crate) directory: PathBuf,
    pub(crate) gateway: GatewayId,
    pub(crate) limits: SpoolLimits,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) sync: SyncFile,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) at: Position,
    /// The current file's sync failed, and no new spool could be begun yet.
    pub(crate) doubtful: bool,
    /// Held as long as the thread runs; one process per folder.
    pub(crate) _lock: File,
}

impl Writer {
    /// Serves appends until nobody can send any more.
    pub(crate) fn run(mut self, appends: &Receiver<Append>) {
        while let Ok(first) = appends.recv() {
            let batch = gather(first, appends);
            let awaited = batch.iter().filter(|one| one.reply.is_awaited()).count();
            self.serve(batch);
            pause_after(awaited);
        }
    }

    fn serve(&mut self, batch: Vec<Append>) {
        let mut waiting = batch.into_iter();
        while waiting.len() > 0 {
            if let Err(error) = self.leave_doubtful_file() {
                waiting.for_each(|append| append.reply.tell(Err(error.clone())));
                return;
            }
            let (group, replies) = self.stage(&mut waiting);
            if group.len() > 0 {
                self.commit(group, replies);
            }
        }
    }

    /// Takes appends until a group is full or none is left. Those that cannot be staged are
    /// refused at once.
    fn stage(&self, appends: &mut impl Iterator<Item = Append>) -> (Group, Vec<Reply>) {
        let spool = &self.at.segment.header.spool;
        let key = SpoolKey {
            gateway: self.gateway.clone(),
            spool: spool.clone(),
            seq: self.at.next_seq,
        };
        let mut group = Group::after(key, self.at.next_group, self.at.chain);
        let mut replies = Vec::new();
        // What is shipped meanwhile makes room for the next group.
        let waiting = self.shelf.waiting();
        while !group.is_full() {
            let Some(Append { draft, reply }) = appends.next() else {
                break;
            };
            let staged = self
                .check_unshipped(&draft, &group, waiting)
                .and_then(|()| group.add(&draft));
            match staged {
                Ok(()) => replies.push(reply),
                Err(error) => reply.tell(Err(error)),
            }
        }
        (group, replies)
    }

    /// What begins or prolongs an access is refused where too much waits. What tells of the rest
    /// (ends, refusals, alarms) is no exposure but the account of one, and has a headroom.
    fn check_unshipped(
        &self,
        draft: &Draft,
        group: &Group,
        waiting: Waiting,
    ) -> Result<(), SpoolError> {
        let staged = u64::try_from(group.len()).unwrap_or(u64::MAX);
        let records = waiting.records.saturating_add(staged);
        let bytes = waiting.bytes.saturating_add(group.bytes());
        let limits = &self.limits;
        let fits = if draft.exposes() {
            let age = waiting.oldest.map(|oldest| draft.at().since(oldest));
            records < limits.max_unshipped_records
                && bytes < limits.max_unshipped_bytes
                && age.is_none_or(|age| age <= limits.max_unshipped_age)
        } else {
            records < limits.max_unshipped_records.saturating_mul(HEADROOM)
                && bytes < limits.max_unshipped_bytes.saturating_mul(HEADROOM)
        };
        if fits {
            Ok(())
        } else {
            Err(SpoolError::Unshipped)
        }
    }

    fn commit(&mut self, group: Group, replies: Vec<Reply>) {
        match self.write(&group) {
            Ok(()) => {
                let receipts: Vec<_> = group.receipts().collect();
                self.publish(group);
                for (reply, receipt) in replies.into_iter().zip(receipts) {
                    reply.tell(Ok(receipt));
                }
            }
            Err(Fault::Harmless(error)) => refuse(replies, &error),
            Err(Fault::Doubtful(error)) => {
                tracing::error!(%error, "the spool's file is given up; a new spool begins");
                self.doubtful = true;
                // If it cannot begin now, the next append tries again and says why it failed.
                let _ = self.leave_doubtful_file();
                refuse(replies, &error);
            }
        }
    }

    /// After `Ok`, the group is durable. A crash before the sync leaves it torn or
    /// whole, and nobody was told of it.
    fn write(&mut self, group: &Group) -> Result<(), Fault> {
        let harmless = |e: io::Error| Fault::Harmless(spool_error(&e));
        let doubtful = |e: io::Error| Fault::Doubtful(spool_error(&e));
        let length = group.header().length();
        if self.at.end + length > self.limits.segment_bytes {
            self.rotate().map_err(harmless)?;
        }
        self.fill(self.at.end + length).map_err(harmless)?;
        let bytes = group.encode(&self.at.segment.header, self.at.end);
        match self.at.segment.file.write_all_at(&bytes, self.at.end) {
            Err(e) if e.kind() == io::ErrorKind::StorageFull => return Err(harmless(e)),
            written => written.map_err(doubtful)?,
        }
        (self.sync)(&self.at.segment.file).map_err(doubtful)
    }

    /// Begins the next segment. The former one is whole: its last group was synced.
    fn rotate(&mut self) -> io::Result<()> {
        let segment = Arc::new(Segment::create(&self.directory, self.at.next_segment())?);
        self.at.ledger.add_segment(segment.clone());
        self.at.segment = segment;
        self.at.end = BLOCK;
        self.at.filled = BLOCK;
        Ok(())
    }

    /// Sees that the file is filled with zeros up to `to` at least; they become durable with the
    /// next group.
    fn fill(&mut self, to: u64) -> io::Result<()> {
        if self.at.filled >= to {
            return Ok(());
        }
        let chunk = to
            .next_multiple_of(FILL)
            .min(self.limits.segment_bytes.max(to));
        self.at.segment.fill(self.at.filled, chunk)?;
        self.at.filled = chunk;
        Ok(())
    }

    fn publish(&mut self, group: Group) {
        let header = group.header();
        let (oldest, next_seq) = (group.oldest(), group.next_seq());
        self.at.ledger.add_group(GroupPlace {
            header,
            chain_before: self.at.chain,
            oldest,
            written: Some(group.into_written()),
            segment: self.at.segment.clone(),
            offset: self.at.end,
        });
        self.at.end += header.length();
        self.at.next_group += 1;
        self.at.next_seq = next_seq;
        self.at.chain = header.chain;
    }

    /// Begins a new spool if the current file is in doubt.
    fn leave_doubtful_file(&mut self) -> Result<(), SpoolError> {
        if self.doubtful {
            let generation = self.at.segment.header.generation + 1;
            self.at =
                begin(&self.directory, generation, &*self.entropy).map_err(|e| spool_error(&e))?;
            self.shelf.replace(self.at.ledger.clone());
            self.doubtful = false;
        }
        Ok(())
    }
}

/// Makes a new spool with a random name.
pub(crate) fn begin(
    directory: &std::path::Path,
    generation: u64,
    entropy: &dyn Entropy,
) -> io::Result<Position> {
    let mut name = [0; 16];
    entropy.fill(&mut name);
    let header = SegmentHeader {
        spool: format!("{:032x}", u128::from_be_bytes(name)),
        generation,
        first_seq: 0,
        first_group: 0,
        chain: SpoolChain::ORIGIN,
    };
    let segment = Arc::new(Segment::create(directory, header)?);
    Ok(Position {
        ledger: Arc::new(Ledger::new(directory, segment.clone())),
        segment,
        end: BLOCK,
        filled: BLOCK,
        next_group: 0,
        next_seq: 0,
        chain: SpoolChain::ORIGIN,
    })
}

/// `first` and what came with it. Records that nobody waits for are written together with the next one that
/// somebody does; if none comes, after [`BEHIND`].
fn gather(first: Append, appends: &Receiver<Append>) -> Vec<Append> {
    let mut batch = vec![first];
    batch.extend(appends.try_iter().take(MAX_RECORDS - 1));
    // However often another one comes before it, the last look is `BEHIND` after the first at the latest.
    for _ in 0..LOOKS {
        if batch.len() >= MAX_RECORDS || batch.iter().any(|one| one.reply.is_awaited()) {
            break;
        }
        match appends.recv_timeout(BEHIND / LOOKS) {
            Ok(next) => batch.push(next),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    batch.extend(
        appends
            .try_iter()
            .take(MAX_RECORDS.saturating_sub(batch.len())),
    );
    batch
}

/// When many wait for records, more are under way: a sync of its own for each handful of them would take
/// the processors from who sends them. The pause is in proportion, so that after few records there is none.
fn pause_after(awaited: usize) {
    if awaited >= MANY {
        let awaited = u32::try_from(awaited).unwrap_or(u32::MAX);
        std::thread::park_timeout(EACH.saturating_mul(awaited).min(LONGEST_PAUSE));
    }
}

fn refuse(replies: Vec<Reply>, error: &SpoolError) {
    replies
        .into_iter()
        .for_each(|reply| reply.tell(Err(error.clone())));
}

fn spool_error(error: &io::Error) -> SpoolError {
    let kind = error.kind();
    if kind == io::ErrorKind::StorageFull || kind == io::ErrorKind::QuotaExceeded {
        SpoolError::Full
    } else {
        SpoolError::Unwritable(error.to_string())
    }
}

/// How many times as much as admissions leave may wait of everything else.
const HEADROOM: u64 = 2;
/// How long a record that nobody waits for is kept back, and how often it is looked for company meanwhile.
const BEHIND: Duration = Duration::from_millis(4);
const LOOKS: u32 = 8;
/// From so many waiting on, the next group is given the time to grow: so much for each of them.
const MANY: usize = 8;
const EACH: Duration = Duration::from_micros(12);
const LONGEST_PAUSE: Duration = Duration::from_millis(1);
/// How far ahead zeros are written.
const FILL: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use mandate_testkit::entropy::SeededEntropy;

    use super::*;

    /// Whoever waits for an acknowledgement takes a spool that is on no list for shipped.
    #[test]
    fn the_next_spool_is_seen_only_once_the_former_one_is_among_the_retired() {
        let folder = tempfile::tempdir().unwrap();
        let entropy = SeededEntropy::new(1);
        let begun = |generation| begin(folder.path(), generation, &entropy).unwrap().ledger;
        let (former, next) = (begun(0), begun(1));
        let shelf = Shelf::new(former.clone(), Vec::new());
        // While this is held, nobody is added to them.
        let retired = shelf.retired.lock().unwrap();
        std::thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel();
            let (shelf, next) = (&shelf, next.clone());
            scope.spawn(move || {
                tell.send(()).unwrap();
                shelf.replace(next);
            });
            told.recv().unwrap();
            for _ in 0..10_000 {
                assert!(Arc::ptr_eq(&shelf.current(), &former));
                std::thread::yield_now();
            }
            drop(retired);
        });
        assert!(Arc::ptr_eq(&shelf.current(), &next));
        assert!(Arc::ptr_eq(&shelf.retired.lock().unwrap()[0], &former));
    }
}
