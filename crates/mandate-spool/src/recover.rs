//! Opening a folder: what is there, what was torn, what is damaged.
//!
//! The writer begins a group only after the one before it is durable. So at most the last group
//! can be torn by a crash: if a valid head of a later group follows an invalid group, that one was
//! acknowledged and is damaged.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mandate_audit::SpoolChain;
use mandate_model::Timestamp;

use crate::OpenError;
use crate::format::{self, BLOCK, GroupHeader, usize_of};
use crate::ledger::{GroupPlace, Ledger};
use crate::private;
use crate::segment::{Segment, sync_directory};

/// A spool as it was found, whole up to `end`.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) ledger: Ledger,
    /// Its last segment.
    pub(crate) segment: Arc<Segment>,
    /// Where the next group goes in it.
    pub(crate) end: u64,
    /// Up to where it is filled with zeros.
    pub(crate) filled: u64,
    pub(crate) next_group: u64,
    pub(crate) next_seq: u64,
    pub(crate) chain: SpoolChain,
    torn: bool,
}

impl Recovered {
    /// Cuts off what was never acknowledged and makes durable what was only in memory.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        if self.torn {
            self.segment.file.set_len(self.end)?;
            self.filled = self.end;
            self.torn = false;
        }
        self.segment.file.sync_all()
    }
}

/// Segment files by the spool that their names say.
pub(crate) fn list(directory: &Path) -> io::Result<BTreeMap<String, Vec<PathBuf>>> {
    let mut spools: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        match path.extension().and_then(|e| e.to_str()) {
            Some("seg") => spools.entry(spool_of(&path)).or_default().push(path),
            Some("tmp") => std::fs::remove_file(&path)?,
            _ => {}
        }
    }
    spools.values_mut().for_each(|paths| paths.sort());
    Ok(spools)
}

fn spool_of(path: &Path) -> String {
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or("");
    stem.split('-').next().unwrap_or("").to_owned()
}

/// Moves files to `damaged-<spool>`.
pub(crate) fn set_aside(directory: &Path, spool: &str, files: &[PathBuf]) -> io::Result<()> {
    let aside = directory.join(format!("damaged-{spool}"));
    private::make(&aside)?;
    for file in files {
        std::fs::rename(file, aside.join(file.file_name().unwrap_or_default()))?;
    }
    sync_directory(directory)
}

/// Reads one spool's files, in order.
pub(crate) fn recover(directory: &Path, files: &[PathBuf]) -> Result<Recovered, OpenError> {
    let (first, rest) = files.split_first().ok_or_else(|| {
        OpenError::unusable(directory, &io::Error::other("a spool without files"))
    })?;
    let mut walk = Walk::begin(directory, open(first)?)?;
    for file in rest {
        walk.go_on(open(file)?)?;
    }
    walk.finish()
}

fn open(path: &Path) -> Result<Arc<Segment>, OpenError> {
    let segment = Segment::open(path).map_err(|e| OpenError::unusable(path, &e))?;
    let segment = segment.ok_or_else(|| damaged(path, 0, "its header is not whole"))?;
    private::check(path, &segment.file)?;
    Ok(Arc::new(segment))
}

fn damaged(path: &Path, offset: u64, reason: &'static str) -> OpenError {
    OpenError::Damaged {
        file: path.to_owned(),
        offset,
        reason,
    }
}

/// A spool read up to the end of `segment`.
struct Walk {
    ledger: Ledger,
    segment: Arc<Segment>,
    bytes: Vec<u8>,
    offset: u64,
    next_group: u64,
    next_seq: u64,
    chain: SpoolChain,
}

impl Walk {
    fn begin(directory: &Path, segment: Arc<Segment>) -> Result<Self, OpenError> {
        let header = segment.header.clone();
        let mut walk = Self {
            ledger: Ledger::new(directory, segment.clone()),
            segment,
            bytes: Vec::new(),
            offset: BLOCK,
            next_group: header.first_group,
            next_seq: header.first_seq,
            chain: header.chain,
        };
        walk.scan()?;
        Ok(walk)
    }

    /// The next segment must begin exactly where this one ends.
    fn go_on(&mut self, segment: Arc<Segment>) -> Result<(), OpenError> {
        let header = &segment.header;
        let fits = header.first_group == self.next_group
            && header.first_seq == self.next_seq
            && header.chain == self.chain;
        if !fits {
            let reason = "records are missing between here and the next file";
            return Err(damaged(&self.segment.path, self.offset, reason));
        }
        self.ledger.add_segment(segment.clone());
        self.segment = segment;
        self.scan()
    }

    fn scan(&mut self) -> Result<(), OpenError> {
        self.bytes.clear();
        self.offset = BLOCK;
        let mut file = &self.segment.file;
        io::Seek::rewind(&mut file)
            .and_then(|()| file.read_to_end(&mut self.bytes))
            .map_err(|e| OpenError::unusable(&self.segment.path, &e))?;
        while let Some(place) = self.next_whole_group() {
            self.offset += place.header.length();
            self.next_group = place.header.number + 1;
            self.next_seq = place.header.first_seq + u64::from(place.header.count);
            self.chain = place.header.chain;
            self.ledger.add_group(place);
        }
        if self.a_later_group_follows() {
            let reason = "an acknowledged group of records is not whole";
            return Err(damaged(&self.segment.path, self.offset, reason));
        }
        Ok(())
    }

    fn next_whole_group(&self) -> Option<GroupPlace> {
        let bytes = self.bytes.get(usize_of(self.offset)..)?;
        let header = GroupHeader::decode(bytes, &self.segment.header, self.offset)?;
        let body = bytes
            .get(usize_of(GroupHeader::LEN)..)?
            .get(..usize_of(u64::from(header.body)))?;
        let records = format::records(body)?;
        let chain = records
            .iter()
            .fold(self.chain, |chain, record| chain.after(record));
        let follows = header.number == self.next_group
            && header.first_seq == self.next_seq
            && u32::try_from(records.len()) == Ok(header.count)
            && header.chain == chain;
        follows.then(|| GroupPlace {
            written: None,
            header,
            chain_before: self.chain,
            oldest: oldest(&records),
            segment: self.segment.clone(),
            offset: self.offset,
        })
    }

    fn a_later_group_follows(&self) -> bool {
        let length = u64::try_from(self.bytes.len()).unwrap_or(u64::MAX);
        (self.offset..length)
            .step_by(usize_of(BLOCK))
            .skip(1)
            .any(|at| {
                let rest = self.bytes.get(usize_of(at)..).unwrap_or_default();
                GroupHeader::decode(rest, &self.segment.header, at).is_some()
            })
    }

    fn finish(self) -> Result<Recovered, OpenError> {
        let marked = self.ledger.marked();
        if marked > self.next_seq {
            let reason = "records that were shipped already are missing from here on";
            return Err(damaged(&self.segment.path, self.offset, reason));
        }
        let tail = self.bytes.get(usize_of(self.offset)..).unwrap_or_default();
        let recovered = Recovered {
            torn: tail.iter().any(|b| *b != 0),
            filled: u64::try_from(self.bytes.len())
                .unwrap_or(0)
                .max(self.offset),
            segment: self.segment,
            end: self.offset,
            next_group: self.next_group,
            next_seq: self.next_seq,
            chain: self.chain,
            ledger: self.ledger,
        };
        match recovered.ledger.shipped(marked) {
            Ok(()) => Ok(recovered),
            Err(error) => Err(OpenError::unusable(
                directory_of(&recovered),
                &io::Error::other(error),
            )),
        }
    }
}

fn directory_of(recovered: &Recovered) -> &Path {
    let path = &recovered.segment.path;
    path.parent().unwrap_or(path)
}

fn oldest(records: &[&[u8]]) -> Timestamp {
    #[derive(serde::Deserialize)]
    struct Dated {
        at: Timestamp,
    }
    let dated = |record: &&[u8]| serde_json::from_slice::<Dated>(record).map(|d| d.at).ok();
    let earliest = records.iter().filter_map(dated).min();
    // A record without a time counts as ancient: better shipped at once than never.
    earliest.unwrap_or(Timestamp::from_millis(0))
}
