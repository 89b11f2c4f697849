//! A disk that keeps what was synced, and of the rest as much or as little as disks do.
//!
//! It is a file system in memory that knows of each file what is durable (its bytes as of the last
//! `fsync` or `fdatasync` of that file) and what is not yet, and of each folder the same of its names.
//! [`crash`](LosingDisk::crash) stops it at a moment that is counted in operations; from then on nothing
//! changes any more, and [`after_crash`](LosingDisk::after_crash) tells what a machine would find when it
//! starts again: nothing of what was not synced, all of it, the first part of it, or any part of it, sector
//! by sector, so that writes are torn and come in another order. Names obey their folder's `fsync`, and
//! never a file's.
//!
//! It also fails as it is told: once or until it is mended, a write, a sync, a change of names. A write
//! that fails may have happened in part. A sync that fails may have happened, or has lost what was to be
//! synced for good, as on Linux: what is read back is then not what is on disk, and the next sync says
//! that all is well.
//!
//! The kernel is between it and whoever is tested: real files, locks and mappings, nothing to be built in.
//! Whoever maps files must not be the process that serves them: the kernel waits for the server while it
//! holds the mappings of the process, for which the server would wait. [`apart`] serves disks in a process
//! of their own.
//!
//! What it does not do: give back old bytes of other files in place of new ones that were lost (they are
//! zeros), tear a sector, lie about syncs unless it is told to ([`LosingDisk::ignore_syncs`]), or fail reads.

pub mod apart;
mod content;
mod faults;
mod folder;
mod image;
mod passage;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

pub use faults::{Fault, Lasts, On};
pub use image::Image;

use crate::fuse;
use crate::random::Random;
use faults::Faults;
use passage::Passage;

/// The disk, mounted.
#[derive(Debug)]
pub struct LosingDisk {
    mounted: TempDir,
    state: Arc<Mutex<State>>,
}

/// What becomes of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Fate {
    /// All of it is lost.
    Lost,
    /// None of it is: only the process crashed.
    Kept,
    /// What came first is there, whatever file it is of, and what came later is not.
    FirstPart,
    /// Of each file any sectors of this size, of each folder the first changes of its names.
    Torn {
        /// Bytes that are written wholly or not at all.
        sector: usize,
    },
}

/// An operation that changes something or makes it durable.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Operation {
    /// Counts them.
    pub number: u64,
    /// `write`, `sync`, `length`, `create`, …
    pub what: String,
    /// Of which file.
    pub path: String,
    /// Where in it; for a change of names, zero.
    pub at: u64,
    /// How many bytes.
    pub length: u64,
    /// How it ended.
    pub end: End,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum End {
    /// As it should.
    Done,
    /// It was told to fail.
    Failed,
    /// The disk crashed before it.
    Crashed,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, what, .. } = self;
        write!(f, "{number:>5} {what:<7} {}", self.path)?;
        if self.length > 0 {
            write!(f, " {}+{}", self.at, self.length)?;
        }
        match self.end {
            End::Done => Ok(()),
            End::Failed => f.write_str("  FAILS"),
            End::Crashed => f.write_str("  CRASH"),
        }
    }
}

/// What is in it, and what it is told to do.
#[derive(Debug)]
struct State {
    image: Image,
    faults: Faults,
    done: Vec<Operation>,
    crash_at: Option<u64>,
    crashed: bool,
    ignored: Vec<String>,
}

impl LosingDisk {
    /// Mounts a disk with what is in `image`; `None`, said aloud, where that is not permitted. `seed`
    /// decides what is left open by faults.
    pub fn mount(image: Image, seed: u64) -> Option<Self> {
        let mounted = tempfile::tempdir().unwrap();
        let state = Arc::new(Mutex::new(State {
            image,
            faults: Faults::new(Random::new(seed)),
            done: Vec::new(),
            crash_at: None,
            crashed: false,
            ignored: Vec::new(),
        }));
        fuse::mount("losing", mounted.path(), Passage::new(Arc::clone(&state)))?;
        Some(Self { mounted, state })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.mounted.path()
    }

    /// How many operations it has seen that change something or make it durable.
    pub fn operations(&self) -> u64 {
        self.state().done.len() as u64
    }

    /// Those operations, the first one first.
    pub fn trace(&self) -> Vec<Operation> {
        self.state().done.clone()
    }

    /// Crashes once so many operations more are done.
    pub fn crash_after(&self, operations: u64) {
        let mut state = self.state();
        state.crash_at = Some(state.done.len() as u64 + operations);
    }

    /// Crashes now: nothing changes any more.
    pub fn crash(&self) {
        self.state().crashed = true;
    }

    /// Whether it has crashed.
    pub fn has_crashed(&self) -> bool {
        self.state().crashed
    }

    /// Has something fail.
    pub fn fail(&self, fault: Fault) {
        self.state().faults.plan(fault);
    }

    /// Nothing fails from now on. What was lost stays lost.
    pub fn mend(&self) {
        self.state().faults.mend();
    }

    /// From now on syncs of files whose path has one of `parts` in it are answered and not done, as if
    /// whoever is tested had forgotten them. A part that ends with a slash names one folder.
    pub fn ignore_syncs(&self, parts: &[&str]) {
        self.state().ignored = parts.iter().map(ToString::to_string).collect();
    }

    /// What a machine finds that starts again after [`crash`](Self::crash). `seed` decides what is left
    /// open by `fate`.
    pub fn after_crash(&self, fate: Fate, seed: u64) -> Image {
        let state = self.state();
        assert!(state.crashed, "it has not crashed");
        state.image.after_crash(fate, &Random::new(seed))
    }

    /// What is on it now, synced or not.
    pub fn image(&self) -> Image {
        self.state().image.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LosingDisk {
    fn drop(&mut self) {
        fuse::unmount(self.path());
    }
}
