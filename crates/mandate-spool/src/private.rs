//! Nobody but the gateway's user gets at a spool: whoever could open its lock could keep the gateway
//! from starting, and records may name people.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::OpenError;
use crate::segment::sync_directory;

/// Makes `directory` if it is missing, and checks that it is private.
pub(crate) fn make_folder(directory: &Path) -> Result<(), OpenError> {
    let unusable = |e: io::Error| OpenError::unusable(directory, &e);
    make(directory).map_err(unusable)?;
    let meta = std::fs::metadata(directory).map_err(unusable)?;
    check_meta(directory, &meta, "0700")
}

/// Makes a private folder and what is missing above it. What is in a folder is lost with its name, and
/// that is durable when the folder above is synced.
pub(crate) fn make(directory: &Path) -> io::Result<()> {
    let missing = directory.ancestors().take_while(|path| !path.exists());
    let made: Vec<PathBuf> = missing.map(Path::to_owned).collect();
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    made.iter().try_for_each(|made| sync_above(made))?;
    match sync_above(directory) {
        // One that was there may lie in a folder that only others can read.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied && made.is_empty() => Ok(()),
        synced => synced,
    }
}

fn sync_above(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(above) if above.as_os_str().is_empty() => sync_directory(Path::new(".")),
        Some(above) => sync_directory(above),
        None => Ok(()),
    }
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
