//! Which number of the kernel's is which file of the folder.

use std::collections::HashMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::joined;
use crate::fuse::wire;

/// A file keeps its number while it has a name, whatever that is; another file never gets it.
pub(super) struct Nodes {
    paths: HashMap<u64, PathBuf>,
    by_inode: HashMap<u64, u64>,
    next: u64,
}

impl Nodes {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            paths: HashMap::from([(ROOT, root.to_owned())]),
            by_inode: HashMap::new(),
            next: ROOT + 1,
        }
    }

    pub(super) fn path(&self, node: u64) -> io::Result<PathBuf> {
        let path = self.paths.get(&node).cloned();
        path.ok_or_else(|| Errno::NOENT.into())
    }

    pub(super) fn child(&self, folder: u64, name: &[u8]) -> io::Result<PathBuf> {
        Ok(joined(&self.path(folder)?, name))
    }

    /// What the kernel wants to know of the file at `path`.
    pub(super) fn entry(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let found = std::fs::symlink_metadata(path)?;
        let node = *self.by_inode.entry(found.ino()).or_insert_with(|| {
            self.next += 1;
            self.next
        });
        self.paths.insert(node, path.to_owned());
        Ok(wire::entry(node, &(&found).into()))
    }

    /// The file at `path` loses its name; its inode may be another file's next.
    pub(super) fn forget(&mut self, path: &Path) {
        if let Ok(found) = std::fs::symlink_metadata(path)
            && let Some(node) = self.by_inode.remove(&found.ino())
        {
            self.paths.remove(&node);
        }
    }

    pub(super) fn moved(&mut self, from: &Path, to: &Path) {
        for path in self.paths.values_mut() {
            if let Ok(rest) = path.strip_prefix(from) {
                *path = if rest.as_os_str().is_empty() {
                    to.to_owned()
                } else {
                    to.join(rest)
                };
            }
        }
    }

    /// As many entries of a folder as `size` has room for, from `offset` on.
    pub(super) fn list(&self, node: u64, offset: u64, size: u32) -> io::Result<Vec<u8>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.path(node)?)? {
            names.push(entry?.file_name());
        }
        names.sort();
        let mut listed = Vec::new();
        let offset = usize::try_from(offset).unwrap();
        for (index, name) in names.iter().enumerate().skip(offset) {
            let entry = wire::listed(index as u64 + 1, name.as_bytes());
            if listed.len() + entry.len() > usize::try_from(size).unwrap() {
                break;
            }
            listed.extend(entry);
        }
        Ok(listed)
    }
}

const ROOT: u64 = 1;
