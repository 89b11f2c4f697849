//! One segment file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

use crate::format::{BLOCK, SegmentHeader, usize_of};
use crate::private;

/// A segment file and what its header says. Shared by the writer and by readers; only the writer
/// writes, and never where a reader was told to look.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) header: SegmentHeader,
    pub(crate) file: File,
}

impl Segment {
    /// Makes the segment durable under its own name, or not at all: written aside, synced, renamed.
    /// A crash before the rename leaves a `.tmp` file, which the next start deletes.
    pub(crate) fn create(directory: &Path, header: SegmentHeader) -> io::Result<Self> {
        let path = directory.join(file_name(&header));
        let aside = path.with_extension("tmp");
        let made = Self::write_header(&aside, &header)
            .and_then(|file| std::fs::rename(&aside, &path).map(|()| file))
            .and_then(|file| sync_directory(directory).map(|()| file));
        match made {
            Ok(file) => Ok(Self { path, header, file }),
            Err(error) => {
                // Best effort: the next start deletes what is left.
                let _ = std::fs::remove_file(&aside);
                let _ = std::fs::remove_file(&path);
                Err(error)
            }
        }
    }

    fn write_header(aside: &Path, header: &SegmentHeader) -> io::Result<File> {
        let file = private::file_options()
            .create(true)
            .truncate(true)
            .open(aside)?;
        file.write_all_at(&header.encode(), 0)?;
        file.sync_all()?;
        Ok(file)
    }

    /// Opens an existing segment; `None` if its header is damaged or names another file.
    pub(crate) fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = private::file_options().open(path)?;
        let mut block = vec![0; usize_of(BLOCK)];
        let whole = match file.read_exact_at(&mut block, 0) {
            Ok(()) => SegmentHeader::decode(&block),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(e) => return Err(e),
        };
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        Ok(whole
            .filter(|header| file_name(header) == name)
            .map(|header| Self {
                path: path.to_owned(),
                header,
                file,
            }))
    }

    /// Fills `from..to` with zeros on disk. An error leaves the records before `from` as they were.
    pub(crate) fn fill(&self, from: u64, to: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), from, to - from) {
            // A file system without it says so; the zeros below reserve the space too.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
        self.file.write_all_at(&vec![0; usize_of(to - from)], from)
    }

    /// Deletes the file.
    pub(crate) fn delete(&self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

/// `<spool>-<first record>.seg`: sorts by spool, then by record.
fn file_name(header: &SegmentHeader) -> String {
    format!("{}-{:020}.seg", header.spool, header.first_seq)
}

/// Makes names in `directory` durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
