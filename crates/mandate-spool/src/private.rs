//! Nobody but the gateway's user gets at a spool: whoever could open its lock could keep the gateway
//! from starting, and records may name people.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::OpenError;

/// Makes `directory` if it is missing, and checks that it is private.
pub(crate) fn make_folder(directory: &Path) -> Result<(), OpenError> {
    let unusable = |e: io::Error| OpenError::unusable(directory, &e);
    make(directory).map_err(unusable)?;
    let meta = std::fs::metadata(directory).map_err(unusable)?;
    check_meta(directory, &meta, "0700")
}

/// Makes a private folder, if it is missing.
pub(crate) fn make(directory: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

/// How files of a spool are opened.
pub(crate) fn file_options() -> OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    options
}

/// Refuses a file that others own, or can open.
pub(crate) fn check(path: &Path, file: &File) -> Result<(), OpenError> {
    let meta = file.metadata().map_err(|e| OpenError::unusable(path, &e))?;
    check_meta(path, &meta, "0600")
}

fn check_meta(path: &Path, meta: &Metadata, mode: &'static str) -> Result<(), OpenError> {
    let user = rustix::process::geteuid().as_raw();
    if meta.uid() == user && meta.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(OpenError::Exposed {
        path: path.to_owned(),
        user,
        mode,
    })
}
