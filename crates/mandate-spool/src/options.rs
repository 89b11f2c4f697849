//! How a spool is opened, and why it is not.

use std::path::PathBuf;
use std::time::Duration;

use mandate_model::GatewayId;

/// Where a spool is and how it behaves.
#[derive(Debug, Clone)]
pub struct SpoolOptions {
    /// The folder; made if it is missing, for the gateway's user alone. One process at a time.
    pub directory: PathBuf,
    /// The gateway instance, part of every record's key.
    pub gateway: GatewayId,
    /// Sizes.
    pub limits: SpoolLimits,
    /// What to do about damaged files.
    pub on_damage: OnDamage,
}

/// Sizes of a spool. Each has a sane default.
///
/// What may wait to be shipped is said for records on whose account something is let happen:
/// admissions and the progress of what was admitted. Twice as much may wait of all records together,
/// however old, so that cuts, ends, refusals and alarms are not lost while the disk has room. What
/// waits in spools that were closed counts as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolLimits {
    /// A segment file's size, in bytes; at least 512 KiB.
    pub segment_bytes: u64,
    /// How many records may wait to be shipped.
    pub max_unshipped_records: u64,
    /// How many bytes of records may wait to be shipped.
    pub max_unshipped_bytes: u64,
    /// How much later than the oldest waiting record a new one may be.
    pub max_unshipped_age: Duration,
}

impl Default for SpoolLimits {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            max_unshipped_records: 1_000_000,
            max_unshipped_bytes: 1 << 30,
            max_unshipped_age: Duration::from_secs(60),
        }
    }
}

/// What to do when acknowledged records turn out damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDamage {
    /// Refuse to open, naming the file.
    #[default]
    Refuse,
    /// Move the damaged spool's files to a folder `damaged-<spool>` beside them and begin a new
    /// spool. For an operator to choose: the records in them are then not shipped.
    StartNew,
}

/// Why a spool cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "spool folder `{}` is in use by another process; stop that one or give this gateway a folder of its own",
        .0.display()
    )]
    InUse(PathBuf),
    /// The folder or a file in it cannot be used.
    #[error("`{}` cannot be used for the spool: {reason}", .path.display())]
    Unusable {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Others than the gateway's user own the folder or a file in it, or can open it.
    #[error(
        "`{}` must belong to the gateway's user and to nobody else: `chown {user} {} && chmod {mode} {}`",
        .path.display(), .path.display(), .path.display()
    )]
    Exposed {
        /// The folder or file.
        path: PathBuf,
        /// The gateway's user.
        user: u32,
        /// The mode that it must have.
        mode: &'static str,
    },
    /// Acknowledged records are damaged.
    #[error(
        "spool file `{}` is damaged at byte {offset}: {reason}; restore the file, or start a new spool, which sets the damaged files aside",
        .file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
}

impl OpenError {
    pub(crate) fn unusable(path: &std::path::Path, error: &std::io::Error) -> Self {
        OpenError::Unusable {
            path: path.to_owned(),
            reason: error.to_string(),
        }
    }
}
