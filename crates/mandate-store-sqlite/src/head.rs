//! What moves with every commit, in memory while a group is applied.

use mandate_audit::Tree;
use mandate_model::{BundleVersion, KeysVersion, StopVersion, StoreEpoch, Timestamp};
use mandate_ports::{LogHead, StoreError, Versions};
use rusqlite::{Connection, params};

use crate::column::{get, int, moment, timestamp, uint, word};
use crate::failure::{Outcome, damaged, store_error};
use crate::log;

/// The versions, and the log's right edge.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) versions: Versions,
    pub(crate) tree: Tree,
    /// The latest moment that the authority told of. The store has no clock.
    pub(crate) latest: Timestamp,
}

impl Head {
    /// Writes the first row of a new store.
    pub(crate) fn create(
        db: &Connection,
        epoch: StoreEpoch,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let root = mandate_audit::empty_root();
        db.execute(
            "INSERT INTO meta (only, epoch, stops, bundle, keys, log_size, log_root, latest)
             VALUES (0, ?1, 0, 0, 0, 0, ?2, ?3)",
            params![epoch.to_string(), root, moment(now)],
        )
        .map_err(store_error)?;
        Ok(())
    }

    /// The committed head. The root that the nodes give must be the one that was committed.
    pub(crate) fn load(db: &Connection) -> Result<Self, StoreError> {
        let (versions, log_head, latest) = read(db)?;
        let tree = Tree::load(log_head.size, |id| log::node(db, id))
            .map_err(|e| damaged("the log's tree", e))?;
        if tree.root() != log_head.root {
            return Err(damaged(
                "the log's tree",
                "its nodes do not give the committed root",
            ));
        }
        Ok(Self {
            versions,
            tree,
            latest,
        })
    }

    /// Writes it, if `before` is still what the store has: a compare-and-set of the log's head
    /// (C8). Zero rows mean that somebody else wrote, against the lock on the folder.
    pub(crate) fn store(&self, db: &Connection, before: &Head) -> Outcome<()> {
        let rows = db
            .prepare_cached(
                "UPDATE meta SET stops = ?1, bundle = ?2, keys = ?3, log_size = ?4, log_root = ?5,
                 latest = ?6 WHERE log_size = ?7",
            )?
            .execute(params![
                int(self.versions.stops.get()),
                int(self.versions.bundle.get()),
                int(self.versions.keys.get()),
                int(self.tree.size()),
                self.tree.root(),
                moment(self.latest),
                int(before.tree.size()),
            ])?;
        if rows == 1 {
            Ok(())
        } else {
            Err(damaged("the log's head", "another process has written it").into())
        }
    }

    /// Moves the stop version.
    pub(crate) fn move_stops(&mut self) -> StopVersion {
        self.versions.stops = self.versions.stops.next();
        self.versions.stops
    }

    /// The log's head.
    pub(crate) fn log(&self) -> LogHead {
        LogHead {
            size: self.tree.size(),
            root: self.tree.root(),
        }
    }
}

/// The committed versions, log head and latest moment.
pub(crate) fn read(db: &Connection) -> Result<(Versions, LogHead, Timestamp), StoreError> {
    let row = |row: &rusqlite::Row<'_>| Ok(from_row(row));
    db.prepare_cached("SELECT epoch, stops, bundle, keys, log_size, log_root, latest FROM meta")
        .and_then(|mut statement| statement.query_row([], row))
        .map_err(store_error)?
}

fn from_row(row: &rusqlite::Row<'_>) -> Result<(Versions, LogHead, Timestamp), StoreError> {
    let number = |name| get(row, name).map(uint);
    let versions = Versions {
        epoch: word("the store's epoch", get(row, "epoch")?)?,
        stops: StopVersion::new(number("stops")?),
        bundle: BundleVersion::new(number("bundle")?),
        keys: KeysVersion::new(number("keys")?),
    };
    let head = LogHead {
        size: number("log_size")?,
        root: get(row, "log_root")?,
    };
    Ok((versions, head, timestamp(get(row, "latest")?)))
}
