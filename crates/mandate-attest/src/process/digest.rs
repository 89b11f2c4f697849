//! Digests of executables.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// Remembers digests of files that have not changed since.
#[derive(Debug, Default)]
pub(super) struct Digests {
    known: Mutex<HashMap<Version, String>>,
}

/// A file's content changes only with one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Version {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Digests {
    /// SHA-256 of an open file, in hex. `file` may be open for its path alone; it is opened again
    /// for reading through its descriptor, so that no name can be swapped in between.
    pub(super) fn sha256(&self, file: &File) -> io::Result<String> {
        let version = Version::from(&file.metadata()?);
        if let Some(digest) = self.known().get(&version) {
            return Ok(digest.clone());
        }
        let mut readable = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let mut hash = Sha256::new();
        io::copy(&mut readable, &mut hash)?;
        let digest: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        if Version::from(&readable.metadata()?) != version {
            return Err(io::Error::other("it was changed while it was read"));
        }
        self.remember(version, &digest);
        Ok(digest)
    }

    fn remember(&self, version: Version, digest: &str) {
        let mut known = self.known();
        // An agent cannot fill the memory by changing its executable again and again.
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(version, digest.to_owned());
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<Version, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<&Metadata> for Version {
    fn from(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

const MAX_KNOWN: usize = 256;
