//! Signing keys and where they are in their life (C7).

use mandate_model::{KeyId, Secret, Timestamp};
use mandate_ports::{Conflict, KeyRecord, KeyState, StoreError};
use rusqlite::{Connection, Row, params};

use crate::column::{get, moment, timestamp, word, word_of};
use crate::failure::{Outcome, store_error};
use crate::head::Head;

/// A key is added.
pub(crate) fn add(db: &Connection, head: &mut Head, key: &KeyRecord) -> Outcome<()> {
    let rows = db
        .prepare_cached(
            "INSERT INTO signing_key (id, purpose, state, since, pkcs8, public)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            key.id.as_str(),
            word_of(&key.purpose)?,
            word_of(&key.state)?,
            moment(key.since),
            key.pkcs8.expose(),
            key.public
        ])?;
    if rows == 0 {
        return Err(Conflict::Used.into());
    }
    head.versions.keys = head.versions.keys.next();
    Ok(())
}

/// A key changes its state. A retired one has no private part any more, and stays retired. The log's
/// key is never retired, since old checkpoints are to be verified: its private part goes when it
/// signs no more.
pub(crate) fn set_state(
    db: &Connection,
    head: &mut Head,
    key: &KeyId,
    state: KeyState,
    since: Timestamp,
) -> Outcome<()> {
    let rows = db
        .prepare_cached(
            "UPDATE signing_key SET state = ?2, since = ?3,
             pkcs8 = iif(?2 = 'retired' OR (?2 = 'verifying' AND purpose = 'log'), x'', pkcs8)
             WHERE id = ?1 AND state != 'retired'",
        )?
        .execute(params![key.as_str(), word_of(&state)?, moment(since)])?;
    if rows == 0 {
        return Err(Conflict::NoKey(key.clone()).into());
    }
    head.versions.keys = head.versions.keys.next();
    Ok(())
}

/// Every key that signs or verifies tokens, or has yet to.
pub(crate) fn ids(db: &Connection) -> Result<Vec<KeyId>, StoreError> {
    let mut statement = db
        .prepare_cached("SELECT id FROM signing_key WHERE purpose != 'log' AND state != 'retired'")
        .map_err(store_error)?;
    let mut rows = statement.query([]).map_err(store_error)?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next().map_err(store_error)? {
        ids.push(word("a key id", get(row, "id")?)?);
    }
    Ok(ids)
}

/// Every key that is not retired, the oldest first.
pub(crate) fn keys(db: &Connection) -> Result<Vec<KeyRecord>, StoreError> {
    let mut statement = db
        .prepare_cached(
            "SELECT id, purpose, state, since, pkcs8, public FROM signing_key
             WHERE state != 'retired' ORDER BY since, id",
        )
        .map_err(store_error)?;
    let mut rows = statement.query([]).map_err(store_error)?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next().map_err(store_error)? {
        keys.push(from_row(row)?);
    }
    Ok(keys)
}

fn from_row(row: &Row<'_>) -> Result<KeyRecord, StoreError> {
    Ok(KeyRecord {
        id: word("a key id", get(row, "id")?)?,
        purpose: word("a key's purpose", get(row, "purpose")?)?,
        state: word("a key's state", get(row, "state")?)?,
        since: timestamp(get(row, "since")?),
        pkcs8: Secret::new(get(row, "pkcs8")?),
        public: get(row, "public")?,
    })
}
