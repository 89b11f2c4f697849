//! What a run that was killed has left: the next one removes it, and says so.
//!
//! Each run marks its folder, with the users that it makes, and holds a lock on it while it lives: a
//! marked folder without a lock is a dead run's. The kernel lets go of the lock, however a run ends.

use std::fs::{DirEntry, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::cast;

/// What a run's folder is called, up to its random part.
pub(super) const PREFIX: &str = "mandate-quickstart-";
const MARK: &str = "users-made";

/// Marks `folder` as that of a run that lives as long as the file is open.
pub(super) fn mark(folder: &Path) -> std::io::Result<File> {
    let alive = File::open(folder)?;
    alive.lock()?;
    File::create(folder.join(MARK))?;
    Ok(alive)
}

/// Notes that the run is about to make a user.
pub(super) fn note_user(folder: &Path, name: &str) -> std::io::Result<()> {
    let mut file = File::options().append(true).open(folder.join(MARK))?;
    writeln!(file, "{name}")
}

/// Removes what dead runs of this user have left in `temp`; names it.
pub(super) async fn clear(temp: &Path) -> Vec<String> {
    let mut cleared = Vec::new();
    let Ok(entries) = std::fs::read_dir(temp) else {
        return cleared;
    };
    for entry in entries.flatten().filter(is_dead) {
        let folder = entry.path();
        let users = std::fs::read_to_string(folder.join(MARK)).unwrap_or_default();
        for name in ours(&users) {
            if cast::removed(&name).await {
                cleared.push(format!("user {name}"));
            }
        }
        if std::fs::remove_dir_all(&folder).is_ok() {
            cleared.push(folder.display().to_string());
        }
    }
    cleared
}

/// A folder of this user, not a link to one, marked by a run that holds it no more.
fn is_dead(entry: &DirEntry) -> bool {
    let is_run = entry.file_name().to_string_lossy().starts_with(PREFIX);
    let is_own = entry
        .metadata()
        .is_ok_and(|found| found.is_dir() && found.uid() == rustix::process::geteuid().as_raw());
    let folder = entry.path();
    is_run
        && is_own
        && folder.join(MARK).is_file()
        && File::open(folder).is_ok_and(|file| file.try_lock().is_ok())
}

/// The users in `text` that a quickstart can have made; whatever else is there is nobody of ours.
fn ours(text: &str) -> Vec<String> {
    let users = cast::AGENTS.map(cast::user).into_iter();
    users
        .filter(|user| text.lines().any(|line| line == user))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_runs_folder_is_removed_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let folder = temp.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            folder
        };
        let dead = folder("mandate-quickstart-dead");
        drop(mark(&dead).unwrap());
        let alive = folder("mandate-quickstart-alive");
        let _alive = mark(&alive).unwrap();
        let begun = folder("mandate-quickstart-begun");
        let other = folder("mandate-other");
        std::fs::write(other.join(MARK), "").unwrap();
        let cleared = clear(temp.path()).await;
        assert_eq!(cleared, [dead.display().to_string()]);
        assert!(!dead.exists());
        assert!(alive.exists() && begun.exists() && other.exists());
    }

    #[test]
    fn only_users_of_a_quickstart_are_ever_removed() {
        let temp = tempfile::tempdir().unwrap();
        let _alive = mark(temp.path()).unwrap();
        for name in ["root", "mandate-retriever", "mandate-retriever2"] {
            note_user(temp.path(), name).unwrap();
        }
        let text = std::fs::read_to_string(temp.path().join(MARK)).unwrap();
        assert_eq!(ours(&text), ["mandate-retriever"]);
    }
}
