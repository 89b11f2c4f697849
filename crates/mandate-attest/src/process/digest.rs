//! Digests of executables.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
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
    /// SHA-256 of `file` in hex, if it need not be read for that.
    pub(super) fn remembered(&self, file: &File) -> io::Result<Option<String>> {
        let version = Version::from(&file.metadata()?);
        Ok(self.known().get(&version).cloned())
    }

    /// SHA-256 of an open file, in hex. `file` may be open for its path alone; it is opened again
    /// for reading through its descriptor, so that no name can be swapped in between. Reads all of
    /// it, up to [`MAX_SIZE`]; a larger one is an error.
    pub(super) fn sha256(&self, file: &File) -> io::Result<String> {
        let version = Version::from(&file.metadata()?);
        if let Some(digest) = self.known().get(&version) {
            return Ok(digest.clone());
        }
        if version.size > MAX_SIZE {
            return Err(io::Error::other("it is larger than 1 GiB"));
        }
        let mut readable = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let mut hash = Sha256::new();
        // It may grow meanwhile; then the comparison below refuses it.
        io::copy(&mut (&mut readable).take(version.size), &mut hash)?;
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
/// Executables are smaller; what is larger would keep others waiting.
pub(super) const MAX_SIZE: u64 = 1 << 30;
