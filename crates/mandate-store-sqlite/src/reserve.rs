//! Space that is kept for suspensions (C3).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use mandate_ports::StoreError;

/// A file that holds nothing but space. It is deleted when a unit that must not fail finds the
/// disk full, and until it stands again no other unit is tried: else those would eat what was
/// kept for the next suspension.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    stands: bool,
}

impl Reserve {
    /// The reserve at `path`. A file that an earlier process left does not count until it is
    /// found to be whole.
    pub(crate) fn at(path: PathBuf) -> Self {
        let stands = std::fs::metadata(&path).is_ok_and(|found| found.len() == SIZE);
        Self { path, stands }
    }

    /// Makes it stand, if it does not.
    pub(crate) fn restore(&mut self) -> Result<(), StoreError> {
        if self.stands {
            return Ok(());
        }
        self.write().map_err(|error| {
            self.free();
            if is_full(error.kind()) {
                StoreError::Full
            } else {
                StoreError::Unavailable(format!("the reserve cannot be written: {error}"))
            }
        })?;
        self.stands = true;
        Ok(())
    }

    /// Gives its space back to the disk.
    pub(crate) fn free(&mut self) {
        self.stands = false;
        // Where this fails, the retry that follows fails too and is reported.
        drop(std::fs::remove_file(&self.path));
    }

    fn write(&self) -> io::Result<()> {
        let mut file: File = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.path)?;
        // Written, not only sized: a hole holds no space.
        let chunk = vec![0_u8; CHUNK];
        for _ in 0..SIZE / CHUNK as u64 {
            file.write_all(&chunk)?;
        }
        file.sync_all()
    }
}

fn is_full(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Room for dozens of suspensions: each writes a dozen pages to the write-ahead log.
const SIZE: u64 = 4 << 20;
/// Written at once.
const CHUNK: usize = 128 << 10;
