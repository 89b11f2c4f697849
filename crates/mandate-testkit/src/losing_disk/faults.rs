//! What fails, when, and for how long.

use rustix::io::Errno;

use crate::random::Random;

/// Something that fails.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fault {
    /// Which operations.
    pub on: On,
    /// Only those of files whose path begins so; of all, if it is empty.
    pub under: String,
    /// How many of them still work.
    pub after: u64,
    /// How long.
    pub lasts: Lasts,
    /// Whether the disk says that it is full; otherwise that it failed.
    pub full: bool,
}

/// Which operations fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum On {
    /// Writes and changes of lengths.
    Writes,
    /// Syncs, of files and folders.
    Syncs,
    /// New names, other names, no names.
    Names,
    /// All that change something or make it durable.
    Everything,
}

/// How long something fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Lasts {
    /// Once.
    Once,
    /// Until the disk is mended.
    UntilMended,
}

#[derive(Debug)]
pub(super) struct Faults {
    planned: Vec<Fault>,
    random: Random,
}

impl Faults {
    pub(super) fn new(random: Random) -> Self {
        Self {
            planned: Vec::new(),
            random,
        }
    }

    pub(super) fn plan(&mut self, fault: Fault) {
        self.planned.push(fault);
    }

    pub(super) fn mend(&mut self) {
        self.planned.clear();
    }

    /// What decides how much of what fails has happened.
    pub(super) fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// Whether this operation fails, and how.
    pub(super) fn strike(&mut self, on: On, path: &str) -> Option<Errno> {
        let at = self.planned.iter_mut().position(|fault| {
            let fits =
                (fault.on == on || fault.on == On::Everything) && path.starts_with(&fault.under);
            let spared = fits && fault.after > 0;
            if spared {
                fault.after -= 1;
            }
            fits && !spared
        })?;
        let fault = &self.planned[at];
        let errno = if fault.full { Errno::NOSPC } else { Errno::IO };
        if fault.lasts == Lasts::Once {
            self.planned.remove(at);
        }
        Some(errno)
    }
}
