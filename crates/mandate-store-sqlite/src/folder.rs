//! The folder that the store lives in: private, and one server's at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mandate_ports::StoreError;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("another server has `{}` open; stop it, or give this one a folder of its own", .0.display())]
    Locked(PathBuf),
    /// Others than the owner may look into it, and private keys are in there.
    #[error("`{}` has mode {mode:03o}; private keys are in it: `chmod {mend} {}`", path.display(), path.display())]
    Exposed {
        /// The folder or file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode that it should have.
        mend: &'static str,
    },
    /// The folder or a file in it cannot be used.
    #[error("`{}` cannot be opened: {error}", path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It was made by another release.
    #[error(
        "the store has schema version {found}, and this release knows version {known}; use the release that made it"
    )]
    Schema {
        /// The file's version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A folder that this process has to itself until this is dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Takes the folder, and makes it where there is none.
    pub(crate) fn claim(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Folder {
            path: path.to_owned(),
            error,
        };
        make_durably(path).map_err(failed)?;
        check_private(path, "700")?;
        let lock = private_file(&path.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // SQLite would make the file readable for all; it gives `-wal` and `-shm` the same mode.
        private_file(&path.join(DATABASE))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The database.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// The ballast; see `reserve.rs`.
    pub(crate) fn reserve(&self) -> PathBuf {
        self.path.join("reserve")
    }
}

/// Makes `folder` and what is missing above it. What is in a folder is lost with its name, and that is
/// durable when the folder above is synced: SQLite syncs the names in this one, and none above.
fn make_durably(folder: &Path) -> io::Result<()> {
    let missing = folder.ancestors().take_while(|path| !path.exists());
    let made: Vec<PathBuf> = missing.map(Path::to_owned).collect();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    made.iter().try_for_each(|made| sync_above(made))?;
    match sync_above(folder) {
        // One that was there may lie in a folder that only others can read.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied && made.is_empty() => Ok(()),
        synced => synced,
    }
}

fn sync_above(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(above) if above.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(above) => File::open(above)?.sync_all(),
        None => Ok(()),
    }
}

/// Opens `path`, which nobody else may read; makes it where there is none.
fn private_file(path: &Path) -> Result<File, OpenError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| OpenError::Folder {
            path: path.to_owned(),
            error,
        })?;
    check_private(path, "600")?;
    Ok(file)
}

fn check_private(path: &Path, mend: &'static str) -> Result<(), OpenError> {
    let found = std::fs::metadata(path).map_err(|error| OpenError::Folder {
        path: path.to_owned(),
        error,
    })?;
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(OpenError::Exposed { path, mode, mend });
    }
    Ok(())
}

/// The database's name in its folder.
pub(crate) const DATABASE: &str = "mandate.db";
