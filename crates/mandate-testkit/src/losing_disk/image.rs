//! Everything that is on a disk.

use std::collections::BTreeMap;

use super::Fate;
use super::content::Content;
use super::folder::Folder;
use crate::random::Random;

/// Files and folders, with what of them is durable. An empty one by default.
#[derive(Debug, Clone)]
pub struct Image {
    pub(super) nodes: BTreeMap<u64, Node>,
    pub(super) next: u64,
    /// Counts operations over all mounts, so that any two can be told apart.
    pub(super) operations: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Its permissions.
    pub(super) mode: u32,
    /// The last path that it had, for the trace.
    pub(super) path: String,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    File(Content),
    Folder(Folder),
}

impl Default for Image {
    fn default() -> Self {
        let root = Node {
            mode: 0o700,
            path: String::new(),
            kind: Kind::Folder(Folder::default()),
        };
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            next: ROOT + 1,
            operations: 0,
        }
    }
}

impl Image {
    /// Files of SQLite that tell processes of one machine what is in the log: nobody syncs them, the kernel
    /// writes them when it likes, and after a crash they are made anew. They count for nothing here.
    pub(super) fn is_counted(path: &str) -> bool {
        !path.ends_with("-shm")
    }

    /// The bytes of the file at `path`, as they are read.
    pub fn read(&self, path: &str) -> Option<&[u8]> {
        let mut node = ROOT;
        for name in path.split('/') {
            let Kind::Folder(folder) = &self.nodes.get(&node)?.kind else {
                return None;
            };
            node = folder.get(name.as_bytes())?;
        }
        match &self.nodes.get(&node)?.kind {
            Kind::File(content) => Some(content.bytes()),
            Kind::Folder(_) => None,
        }
    }

    /// The same, once everything is durable.
    pub fn after_all_is_synced(&self) -> Self {
        self.after_crash(Fate::Kept, &Random::new(0))
    }

    pub(super) fn after_crash(&self, fate: Fate, random: &Random) -> Self {
        let mut pending: Vec<u64> = self.nodes.values().flat_map(Node::pending).collect();
        pending.sort_unstable();
        pending.dedup();
        let first = random.apart(b"first").below(pending.len() as u64 + 1);
        let kept_until = pending
            .iter()
            .take(usize::try_from(first).unwrap())
            .next_back();
        let kept_until = kept_until.copied().unwrap_or(0);
        let mut found = Self {
            nodes: BTreeMap::new(),
            ..*self
        };
        let mut reached = vec![ROOT];
        while let Some(number) = reached.pop() {
            let node = self.nodes[&number].after_crash(fate, kept_until, random);
            if let Kind::Folder(folder) = &node.kind {
                reached.extend(folder.names().values());
            }
            found.nodes.insert(number, node);
        }
        found
    }
}

impl Node {
    fn pending(&self) -> Vec<u64> {
        match &self.kind {
            _ if !Image::is_counted(&self.path) => Vec::new(),
            Kind::File(content) => content.pending().collect(),
            Kind::Folder(folder) => folder.pending().collect(),
        }
    }

    fn after_crash(&self, fate: Fate, kept_until: u64, random: &Random) -> Self {
        let random = &mut random.apart(self.path.as_bytes());
        let kind = match &self.kind {
            Kind::File(_) if !Image::is_counted(&self.path) => Kind::File(Content::default()),
            Kind::File(content) => Kind::File(content.after_crash(fate, kept_until, random)),
            Kind::Folder(folder) => Kind::Folder(folder.after_crash(fate, kept_until, random)),
        };
        Self {
            mode: self.mode,
            path: self.path.clone(),
            kind,
        }
    }
}

pub(super) const ROOT: u64 = 1;
