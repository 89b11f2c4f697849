//! What moves with every commit, in memory while a group is applied.

use mandate_audit::Tree;
use mandate_model::{BundleVersion, KeysVersion, StopVersion, StoreEpoch, Timestamp};
use mandate_ports::{LogHead, StoreError, Versions};
use rusqlite::{Connection, params};

use crate::column::{get, int, moment, timestamp, uint, word};
use crate::failure::{Outcome, damaged, store_error};
use crate::heard::Heard;
use crate::log;

/// The versions, and the log's right edge.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) versions: Versions,
    /// The stop version with which a suspension last began or ended.
    pub(crate) suspended: StopVersion,
    pub(crate) tree: Tree,
    /// What time it is, as far as the authority told.
    pub(crate) heard: Heard,
    /// When the last token expires that was recorded as issued.
    pub(crate) last_expiry: Timestamp,
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
            "INSERT INTO meta (only, epoch, stops, suspended, bundle, keys, log_size, log_root, latest,
             steady, since) VALUES (0, ?1, 0, 0, 0, 0, 0, ?2, ?3, ?3, ?3)",
            params![epoch.to_string(), root, moment(now)],
        )
        .map_err(store_error)?;
        Ok(())
    }

    /// The committed head. The root that the nodes give must be the one that was committed.
    pub(crate) fn load(db: &Connection) -> Result<Self, StoreError> {
        let stored = read(db)?;
        let tree = Tree::load(stored.log.size, |id| log::node(db, id))
            .map_err(|e| damaged("the log's tree", e))?;
        if tree.root() != stored.log.root {
            return Err(damaged(
                "the log's tree",
                "its nodes do not give the committed root",
            ));
        }
        Ok(Self {
            versions: stored.versions,
            suspended: stored.suspended,
            tree,
            heard: stored.heard,
            last_expiry: stored.last_expiry,
        })
    }

    /// Whether a decision made against `expected` still holds. Ended tasks and revoked tokens are
    /// looked up by name; of the stops, suspensions alone make every decision anew. A later version
    /// than the store's own is of another past.
    pub(crate) fn bears(&self, expected: Versions) -> bool {
        let now = self.versions;
        let stops = now.stops;
        self.suspended <= expected.stops
            && expected.stops <= stops
            && Versions { stops, ..expected } == now
    }

    /// Writes it, if `before` is still what the store has: a compare-and-set of the log's head
    /// (C8). Zero rows mean that somebody else wrote, against the lock on the folder.
    pub(crate) fn store(&self, db: &Connection, before: &Head) -> Outcome<()> {
        let rows = db
            .prepare_cached(
                "UPDATE meta SET stops = ?1, bundle = ?2, keys = ?3, log_size = ?4, log_root = ?5,
                 latest = ?6, suspended = ?7, steady = ?8, since = ?9, last_expiry = ?10
                 WHERE log_size = ?11",
            )?
            .execute(params![
                int(self.versions.stops.get()),
                int(self.versions.bundle.get()),
                int(self.versions.keys.get()),
                int(self.tree.size()),
                self.tree.root(),
                moment(self.heard.latest),
                int(self.suspended.get()),
                moment(self.heard.steady),
                moment(self.heard.since),
                moment(self.last_expiry),
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

    /// Moves the stop version for a suspension that begins or ends.
    pub(crate) fn move_suspensions(&mut self) -> StopVersion {
        self.suspended = self.move_stops();
        self.suspended
    }

    /// Moves the stop version past `beyond`, if it is not above it anyway, for a suspension that
    /// begins or ends.
    pub(crate) fn move_suspensions_past(&mut self, beyond: StopVersion) -> StopVersion {
        self.versions.stops = self.versions.stops.max(beyond);
        self.move_suspensions()
    }

    /// A token was issued that expires at `end`.
    pub(crate) fn issued_until(&mut self, end: Timestamp) {
        self.last_expiry = self.last_expiry.max(end);
    }

    /// The log's head.
    pub(crate) fn log(&self) -> LogHead {
        LogHead {
            size: self.tree.size(),
            root: self.tree.root(),
        }
    }
}

/// The head as it is committed; fields as in [`Head`].
pub(crate) struct Stored {
    pub(crate) versions: Versions,
    suspended: StopVersion,
    pub(crate) log: LogHead,
    heard: Heard,
    last_expiry: Timestamp,
}

/// The committed head, without the tree.
pub(crate) fn read(db: &Connection) -> Result<Stored, StoreError> {
    let row = |row: &rusqlite::Row<'_>| Ok(from_row(row));
    db.prepare_cached("SELECT * FROM meta")
        .and_then(|mut statement| statement.query_row([], row))
        .map_err(store_error)?
}

fn from_row(row: &rusqlite::Row<'_>) -> Result<Stored, StoreError> {
    let number = |name| get(row, name).map(uint);
    let versions = Versions {
        epoch: word("the store's epoch", get(row, "epoch")?)?,
        stops: StopVersion::new(number("stops")?),
        bundle: BundleVersion::new(number("bundle")?),
        keys: KeysVersion::new(number("keys")?),
    };
    Ok(Stored {
        versions,
        suspended: StopVersion::new(number("suspended")?),
        log: LogHead {
            size: number("log_size")?,
            root: get(row, "log_root")?,
        },
        heard: Heard {
            latest: timestamp(get(row, "latest")?),
            steady: timestamp(get(row, "steady")?),
            since: timestamp(get(row, "since")?),
        },
        last_expiry: timestamp(get(row, "last_expiry")?),
    })
}
