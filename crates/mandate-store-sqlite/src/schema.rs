//! The tables. `user_version` is the schema's version.

use std::time::Duration;

use mandate_ports::StoreError;
use rusqlite::Connection;

use crate::failure::store_error;

/// The version of [`TABLES`].
pub(crate) const VERSION: i64 = 4;

/// What a writing connection is set to, each time that it is opened.
///
/// `synchronous=FULL` syncs the write-ahead log at each commit: what was answered survives a crash
/// of the machine. `secure_delete` overwrites wiped private keys in the file.
const WRITING: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA foreign_keys = ON;
    PRAGMA secure_delete = ON;
    PRAGMA trusted_schema = OFF;
    PRAGMA temp_store = MEMORY;
    PRAGMA cell_size_check = ON;
";

/// Sets `connection` up for writing.
pub(crate) fn prepare_for_writing(connection: &Connection) -> Result<(), StoreError> {
    connection.set_prepared_statement_cache_capacity(64);
    connection.busy_timeout(BUSY).map_err(store_error)?;
    connection.execute_batch(WRITING).map_err(store_error)
}

/// How long a statement waits for a lock of another process.
pub(crate) const BUSY: Duration = Duration::from_secs(2);

/// The schema version of the file; 0 if it is new.
pub(crate) fn version(connection: &Connection) -> Result<i64, StoreError> {
    connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(store_error)
}

/// Makes the tables of a new store, and what `fill` puts into them, all or nothing.
pub(crate) fn create(
    db: &Connection,
    fill: impl FnOnce(&Connection) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let transaction = db.unchecked_transaction().map_err(store_error)?;
    transaction.execute_batch(TABLES).map_err(store_error)?;
    fill(&transaction)?;
    transaction.commit().map_err(store_error)
}

/// Integers are counts, versions, or milliseconds since the Unix epoch; ids of tasks and tokens
/// are the sixteen bytes of their UUID.
const TABLES: &str = "
    -- One row: what moves with every commit.
    CREATE TABLE meta (
        only     INTEGER PRIMARY KEY CHECK (only = 0),
        epoch    TEXT NOT NULL,
        stops    INTEGER NOT NULL,
        -- The stop version with which a suspension last began or ended.
        suspended INTEGER NOT NULL,
        bundle   INTEGER NOT NULL,
        keys     INTEGER NOT NULL,
        log_size INTEGER NOT NULL,
        log_root BLOB NOT NULL,
        -- What time it is, as far as the authority told; see `heard.rs`.
        latest   INTEGER NOT NULL,
        steady   INTEGER NOT NULL,
        since    INTEGER NOT NULL,
        -- When the last token expires that was recorded as issued.
        last_expiry INTEGER NOT NULL DEFAULT 0,
        -- Counts reopenings after a failed write; see `writer.rs`.
        scars    INTEGER NOT NULL DEFAULT 0
    ) STRICT;

    CREATE TABLE task (
        id            BLOB PRIMARY KEY CHECK (length(id) = 16),
        parent        BLOB REFERENCES task (id),
        root          BLOB NOT NULL REFERENCES task (id),
        depth         INTEGER NOT NULL,
        state         TEXT NOT NULL CHECK (state IN ('open', 'closed', 'cancelled')),
        expires_at    INTEGER NOT NULL,
        created_at    INTEGER NOT NULL,
        -- Of the one instance that may act in it: its provider, and what that calls it.
        provider      TEXT,
        instance      TEXT CHECK ((instance IS NULL) = (provider IS NULL)),
        left_accesses INTEGER,
        left_children INTEGER,
        principal     TEXT NOT NULL,
        may_act       TEXT NOT NULL,
        fixed         TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX task_parent ON task (parent);

    CREATE TABLE suspension (subject TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
    -- Everyone who suspended a subject that is suspended, in order.
    CREATE TABLE suspender (
        no       INTEGER PRIMARY KEY,
        subject  TEXT NOT NULL REFERENCES suspension (subject) DEFERRABLE INITIALLY DEFERRED,
        operator TEXT NOT NULL,
        UNIQUE (subject, operator)
    ) STRICT;
    -- What was issued under a subject before it was last resumed, with a lower stop version, is void.
    CREATE TABLE resumption (
        subject TEXT PRIMARY KEY,
        version INTEGER NOT NULL,
        until   INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX resumption_until ON resumption (until);
    CREATE TABLE ended_task (task BLOB PRIMARY KEY, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE INDEX ended_task_until ON ended_task (until);
    CREATE TABLE revoked_token (token BLOB PRIMARY KEY, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE INDEX revoked_token_until ON revoked_token (until);
    -- Each instance's live key, until everything that is bound to it has expired.
    CREATE TABLE instance_key (
        provider TEXT NOT NULL,
        instance TEXT NOT NULL,
        jkt      BLOB NOT NULL CHECK (length(jkt) = 32),
        until    INTEGER NOT NULL,
        PRIMARY KEY (provider, instance)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX instance_key_until ON instance_key (until);
    CREATE TABLE replaced_key (jkt BLOB PRIMARY KEY, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE INDEX replaced_key_until ON replaced_key (until);
    CREATE TABLE used_once (
        scope TEXT NOT NULL,
        id    TEXT NOT NULL,
        until INTEGER NOT NULL,
        PRIMARY KEY (scope, id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX used_once_until ON used_once (until);

    CREATE TABLE bundle (
        version  INTEGER PRIMARY KEY,
        files    TEXT NOT NULL,
        digest   TEXT NOT NULL,
        operator TEXT NOT NULL,
        at       INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE signing_key (
        id      TEXT PRIMARY KEY,
        purpose TEXT NOT NULL,
        state   TEXT NOT NULL CHECK (state IN ('announced', 'signing', 'verifying', 'retired')),
        since   INTEGER NOT NULL,
        pkcs8   BLOB NOT NULL,
        public  BLOB NOT NULL
    ) STRICT;

    CREATE TABLE gateway (
        id       TEXT PRIMARY KEY,
        lease_ms INTEGER NOT NULL,
        at       INTEGER NOT NULL,
        stops    INTEGER NOT NULL,
        spool    TEXT NOT NULL,
        next     INTEGER NOT NULL,
        chain    TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- Each spool: what of it is in the log, and what its gateway announced last.
    CREATE TABLE spool (
        no              INTEGER PRIMARY KEY,
        gateway         TEXT NOT NULL,
        name            TEXT NOT NULL,
        next            INTEGER NOT NULL DEFAULT 0,
        chain           TEXT NOT NULL,
        announced_next  INTEGER NOT NULL DEFAULT 0,
        announced_chain TEXT NOT NULL,
        UNIQUE (gateway, name)
    ) STRICT;
    -- Where the log has a spool's records: `count` of them from `seq` on, from index `idx` on.
    CREATE TABLE spool_part (
        spool INTEGER NOT NULL REFERENCES spool (no),
        seq   INTEGER NOT NULL,
        count INTEGER NOT NULL,
        idx   INTEGER NOT NULL,
        PRIMARY KEY (spool, seq)
    ) STRICT, WITHOUT ROWID;
    -- Alarms that the log already tells of: a gateway that tries again and again fills nothing.
    CREATE TABLE spool_alarm (
        spool  INTEGER NOT NULL REFERENCES spool (no),
        seq    INTEGER NOT NULL,
        digest BLOB NOT NULL,
        PRIMARY KEY (spool, seq, digest)
    ) STRICT, WITHOUT ROWID;

    -- Lots: records that were appended together, each with its length before it; see `lot.rs`.
    CREATE TABLE log (
        first    INTEGER PRIMARY KEY,
        count    INTEGER NOT NULL,
        earliest INTEGER NOT NULL,
        latest   INTEGER NOT NULL,
        entries  BLOB NOT NULL
    ) STRICT;
    -- A row for each different word that records of a lot are found by; see `words.rs`.
    CREATE TABLE found_by (
        sort  INTEGER NOT NULL,
        value BLOB NOT NULL,
        first INTEGER NOT NULL,
        PRIMARY KEY (sort, value, first)
    ) STRICT, WITHOUT ROWID;
    -- The tree: the hashes of the complete subtrees (RFC 6962) that each lot completed. Not in the
    -- lot's own row, so that a record that is lost does not take its hash with it.
    CREATE TABLE node (first INTEGER PRIMARY KEY, hashes BLOB NOT NULL) STRICT;
    CREATE TABLE checkpoint (size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;

    PRAGMA user_version = 4;
";
