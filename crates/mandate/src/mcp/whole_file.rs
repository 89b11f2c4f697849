//! Files for people to read, which appear whole or not at all.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::failure::Failure;

/// Writes `text` to `path`, in place of what is there. Where that is a symbolic link the link is replaced, and what it
/// leads to stays.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let file = beside(path, text).map_err(|e| Failure::file(path, &e))?;
    let written = file.persist(path);
    written.map(drop).map_err(|e| Failure::file(path, &e.error))
}

/// Writes `text` to `path`, where nothing may be yet.
pub(crate) fn create(path: &Path, text: &str) -> Result<(), Failure> {
    let file = beside(path, text).map_err(|e| Failure::file(path, &e))?;
    let written = file.persist_noclobber(path);
    written.map(drop).map_err(|e| Failure::file(path, &e.error))
}

/// A file of another name, which nobody can have put there, in the same folder.
fn beside(path: &Path, text: &str) -> std::io::Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    let mut file = tempfile::Builder::new()
        // No secret: who may read it is said by the umask, as for other documents.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_link_is_followed_and_nothing_is_left_beside() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["desk.yaml", "other"].map(|name| folder.path().join(name));
        std::fs::write(&other, "other").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        // What somebody else put where this used to write first.
        let beside = path.with_extension("yaml.new");
        std::os::unix::fs::symlink(&other, &beside).unwrap();
        assert!(create(&path, "one").is_err(), "something is there");
        replace(&path, "two").unwrap();
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!((read(&path), read(&other)), ("two".into(), "other".into()));
        assert!(!std::fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
        create(&folder.path().join("new"), "three").unwrap();
        assert_eq!(read(&folder.path().join("new")), "three");
    }
}
