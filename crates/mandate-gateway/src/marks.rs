//! What this gateway has seen of the store, on disk: a store that goes back is refused (B4).

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mandate_model::stop::{StopSet, Suspension};
use mandate_model::{BundleVersion, KeysVersion, StopVersion, StoreEpoch};
use mandate_ports::Versions;

/// The highest versions seen under one epoch, and the suspensions then in force.
///
/// To accept a store that went back, an operator first suspends again what `suspensions` holds, and
/// then writes marks with the store's epoch and versions. A running gateway looks for that.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marks {
    /// The store's birth mark.
    pub epoch: StoreEpoch,
    /// The highest stop version.
    pub stops: StopVersion,
    /// The highest bundle version.
    pub bundle: BundleVersion,
    /// The highest keys version.
    pub keys: KeysVersion,
    /// What an operator restores to a store that has forgotten it.
    pub suspensions: Vec<Suspension>,
    /// The store went back, and no operator has accepted that. Its versions catch up with these by
    /// themselves, as tasks end; what it has forgotten does not come back by that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub went_back: bool,
}

/// Why a store's state is refused until an operator accepts it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WentBack {
    /// It is another store.
    #[error(
        "the authority's store has the epoch {now}, this gateway knows {known}; accept it with `mandate gateway accept`"
    )]
    Epoch {
        /// What it says.
        now: StoreEpoch,
        /// What the file says.
        known: StoreEpoch,
    },
    /// It was one of these before, and nobody has accepted it since.
    #[error(
        "the authority's store went back behind what this gateway has seen (stops version {seen}); accept it with `mandate gateway accept`"
    )]
    NotAccepted {
        /// What the file says.
        seen: StopVersion,
    },
    /// It is an older state of the same store.
    #[error(
        "the authority's store has {kind} version {now}, this gateway has seen {seen}; accept it with `mandate gateway accept`"
    )]
    Version {
        /// `stops`, `bundle` or `keys`.
        kind: &'static str,
        /// What it says.
        now: u64,
        /// What the file says.
        seen: u64,
    },
}

/// Why marks cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MarksError {
    /// Reading or writing failed.
    #[error("`{path}`: {why}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What failed.
        #[source]
        why: std::io::Error,
    },
    /// The file is not what this gateway wrote.
    #[error(
        "`{path}` is damaged ({why}); accept the authority's state anew with `mandate gateway accept`"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl Marks {
    /// Reads the marks at `path`; `None` where this gateway has never seen a store.
    pub fn read(path: &Path) -> Result<Option<Self>, MarksError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(io_error(path, why)),
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| MarksError::Damaged {
                path: path.to_owned(),
                why: e.to_string(),
            })
    }

    /// Moves damaged marks at `path` aside, so that a gateway can start without them; tells where they
    /// are then. For an operator who accepts the store's state as it is: which suspensions this gateway
    /// knew cannot be told any more. `None` where the marks are not damaged; nothing is moved then.
    ///
    /// # Errors
    /// If the file cannot be read or renamed.
    pub fn set_aside_damaged(path: &Path) -> Result<Option<PathBuf>, MarksError> {
        match Self::read(path) {
            Err(MarksError::Damaged { .. }) => {}
            Ok(_) => return Ok(None),
            Err(why) => return Err(why),
        }
        let moved = (0_u32..).map(|n| suffixed(path, &format!(".damaged-{n}")));
        let aside = moved.into_iter().find(|to| !to.exists());
        let aside = aside.unwrap_or_else(|| suffixed(path, ".damaged"));
        std::fs::rename(path, &aside)
            .and_then(|()| sync_folder_of(path))
            .map_err(|why| io_error(path, why))?;
        Ok(Some(aside))
    }

    /// Replaces the marks at `path`, durably, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), MarksError> {
        self.replace(path).map_err(|why| io_error(path, why))
    }

    fn replace(&self, path: &Path) -> std::io::Result<()> {
        // An operator who accepts a store and the gateway itself may write at the same moment: neither
        // renames what the other has written half.
        let new = suffixed(path, &format!(".new-{}", std::process::id()));
        let mut file = std::fs::File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&new)?;
        // One that an earlier crash left keeps its mode otherwise.
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        // A crash before this line leaves the old marks, after it the new ones.
        std::fs::rename(&new, path)?;
        sync_folder_of(path)
    }

    /// The marks after `versions` with `stops` were applied. Suspensions after `durable` are in the
    /// authority's memory alone: a store that comes back without them has lost what it never had.
    pub(crate) fn of(versions: &Versions, durable: StopVersion, stops: &StopSet) -> Self {
        let kept = stops.suspensions().filter(|s| s.version <= durable);
        let mut suspensions: Vec<_> = kept.cloned().collect();
        suspensions.sort_by(|a, b| a.subject.cmp(&b.subject));
        Self {
            epoch: versions.epoch,
            stops: durable,
            bundle: versions.bundle,
            keys: versions.keys,
            suspensions,
            went_back: false,
        }
    }

    /// Whether these are marks that only an operator can have put in the place of `known`.
    pub(crate) fn goes_back_from(&self, known: &Marks) -> bool {
        self.epoch != known.epoch
            || self.stops < known.stops
            || self.bundle < known.bundle
            || self.keys < known.keys
    }

    /// Refuses another epoch, and whatever was refused before and is not accepted.
    pub fn check_epoch(&self, now: StoreEpoch) -> Result<(), WentBack> {
        if now != self.epoch {
            return Err(WentBack::Epoch {
                now,
                known: self.epoch,
            });
        }
        if self.went_back {
            return Err(WentBack::NotAccepted { seen: self.stops });
        }
        Ok(())
    }

    /// Refuses lower versions than were seen. Equal ones are the same state.
    pub fn check(&self, kind: &'static str, now: u64) -> Result<(), WentBack> {
        let seen = match kind {
            "stops" => self.stops.get(),
            "bundle" => self.bundle.get(),
            _keys => self.keys.get(),
        };
        if now >= seen {
            Ok(())
        } else {
            Err(WentBack::Version { kind, now, seen })
        }
    }
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn io_error(path: &Path, why: std::io::Error) -> MarksError {
    MarksError::Io {
        path: path.to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks() -> Marks {
        Marks {
            epoch: StoreEpoch::from_random([1; 16]),
            stops: StopVersion::new(5),
            bundle: BundleVersion::new(3),
            keys: KeysVersion::new(2),
            suspensions: Vec::new(),
            went_back: false,
        }
    }

    #[test]
    fn marks_survive_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("marks.json");
        assert_eq!(Marks::read(&path).unwrap(), None);
        marks().write(&path).unwrap();
        assert_eq!(Marks::read(&path).unwrap(), Some(marks()));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn only_damaged_marks_are_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("marks.json");
        assert_eq!(Marks::set_aside_damaged(&path).unwrap(), None);
        marks().write(&path).unwrap();
        assert_eq!(Marks::set_aside_damaged(&path).unwrap(), None);
        for n in 0..2 {
            std::fs::write(&path, b"{}").unwrap();
            let read = Marks::read(&path);
            assert!(matches!(read, Err(MarksError::Damaged { .. })));
            let aside = Marks::set_aside_damaged(&path).unwrap().unwrap();
            assert!(aside.ends_with(format!("marks.json.damaged-{n}")));
            assert_eq!(std::fs::read(aside).unwrap(), b"{}");
            assert_eq!(Marks::read(&path).unwrap(), None);
        }
    }

    #[test]
    fn another_epoch_and_each_lower_version_is_refused() {
        let marks = marks();
        assert_eq!(marks.check_epoch(marks.epoch), Ok(()));
        let other = StoreEpoch::from_random([2; 16]);
        assert!(marks.check_epoch(other).is_err());
        let refused = Marks {
            went_back: true,
            ..marks.clone()
        };
        let seen = marks.stops;
        let not_accepted = Err(WentBack::NotAccepted { seen });
        assert_eq!(refused.check_epoch(marks.epoch), not_accepted);
        for (kind, seen) in [("stops", 5), ("bundle", 3), ("keys", 2)] {
            assert_eq!(marks.check(kind, seen), Ok(()));
            assert_eq!(marks.check(kind, seen + 1), Ok(()));
            let now = seen - 1;
            assert_eq!(
                marks.check(kind, now),
                Err(WentBack::Version { kind, now, seen })
            );
        }
    }
}
