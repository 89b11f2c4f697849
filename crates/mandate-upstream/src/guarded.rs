//! Files that others must not read or write.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// When a file was last seen to change: another one means another content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|meta| Self::from(&meta))
    }
}

impl From<&Metadata> for Stamp {
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

/// How secret a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// Others may read it, and must not write it.
    Unwritable,
    /// Others must neither read nor write it.
    Secret,
}

/// Reads a file after checking, on the open file, who else could read or write it. The error says
/// the mend and never shows content.
pub(crate) fn read(path: &Path, guard: Guard) -> Result<(Stamp, Vec<u8>), String> {
    let unreadable = |e: std::io::Error| format!("`{}` cannot be read: {e}", path.display());
    let mut file = File::open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    check(path, &meta, guard)?;
    // Room for all of it at once: growing would leave copies of a secret behind.
    let mut bytes = Vec::with_capacity(usize::try_from(meta.size()).unwrap_or(0) + 1);
    let limit = MAX_BYTES + 1;
    Read::by_ref(&mut file)
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Ok((Stamp::from(&meta), bytes))
}

fn check(path: &Path, meta: &Metadata, guard: Guard) -> Result<(), String> {
    let path = path.display();
    let (mode, owner) = (meta.mode(), meta.uid());
    let us = rustix::process::geteuid().as_raw();
    if !meta.is_file() || meta.size() > MAX_BYTES {
        return Err(format!(
            "`{path}` is no regular file of at most {MAX_BYTES} bytes"
        ));
    }
    if owner != 0 && owner != us {
        return Err(format!(
            "`{path}` belongs to user {owner}; it must belong to root or to the gateway's user: `chown {us} {path}`"
        ));
    }
    if mode & 0o022 != 0 {
        return Err(format!(
            "`{path}` can be written by others: `chmod go-w {path}`"
        ));
    }
    // A file of root's may be readable by the gateway's group; the gateway could not read it otherwise.
    let readable = if owner == 0 { 0o004 } else { 0o044 };
    if guard == Guard::Secret && mode & readable != 0 {
        return Err(format!(
            "`{path}` holds a secret and can be read by others: `chmod go-r {path}`"
        ));
    }
    Ok(())
}

/// The longest file read here.
pub(crate) const MAX_BYTES: u64 = 1 << 20;
