//! Between our types and SQLite's columns.

use mandate_model::{TaskId, Timestamp, TokenId};
use mandate_ports::StoreError;
use rusqlite::Row;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::{damaged, store_error};

/// A count or version. Bit for bit, so that no value is refused; none is compared by SQLite.
pub(crate) fn int(n: u64) -> i64 {
    n.cast_signed()
}

/// A count or version, back.
pub(crate) fn uint(n: i64) -> u64 {
    n.cast_unsigned()
}

/// A moment, which SQLite compares: "for ever" stays later than everything.
pub(crate) fn moment(at: Timestamp) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
}

/// A moment, back.
pub(crate) fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// Text of a value that is read back by [`parse`].
pub(crate) fn json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    let value = serde_json::to_value(value).map_err(|e| damaged("a value has no JSON form", e))?;
    String::from_utf8(mandate_model::canonical_json(&value))
        .map_err(|e| damaged("a value has no text form", e))
}

/// A value from its stored text.
pub(crate) fn parse<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|e| damaged(what, e))
}

/// A value from the text of a type that reads itself from text.
pub(crate) fn word<T: DeserializeOwned>(what: &str, text: String) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::String(text)).map_err(|e| damaged(what, e))
}

/// The word that an enum without content is written as.
pub(crate) fn word_of<T: Serialize>(value: &T) -> Result<String, StoreError> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        Ok(_) | Err(_) => Err(damaged("a value", "it is not written as a word")),
    }
}

/// A column of `row`.
pub(crate) fn get<T: rusqlite::types::FromSql>(row: &Row<'_>, name: &str) -> Result<T, StoreError> {
    row.get(name).map_err(store_error)
}

/// Sixteen bytes to the identifier that they are.
pub(crate) trait FromUuid: Sized {
    /// `None` if they are no such identifier.
    fn from_uuid(bytes: &[u8]) -> Option<Self>;
}

impl FromUuid for TaskId {
    fn from_uuid(bytes: &[u8]) -> Option<Self> {
        TaskId::parse(&format!("task-{}", hyphenated(bytes)?)).ok()
    }
}

impl FromUuid for TokenId {
    fn from_uuid(bytes: &[u8]) -> Option<Self> {
        TokenId::parse(&format!("tok-{}", hyphenated(bytes)?)).ok()
    }
}

/// An identifier from its stored bytes.
pub(crate) fn id<T: FromUuid>(bytes: &[u8]) -> Result<T, StoreError> {
    T::from_uuid(bytes).ok_or_else(|| damaged("an identifier", "it is not the bytes of a UUID"))
}

/// RFC 9562 §4: eight, four, four, four and twelve digits.
fn hyphenated(bytes: &[u8]) -> Option<String> {
    let number = u128::from_be_bytes(bytes.try_into().ok()?);
    let part = |shift: u32, digits: u32| number >> shift & ((1 << (4 * digits)) - 1);
    Some(format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        part(96, 8),
        part(80, 4),
        part(64, 4),
        part(48, 4),
        part(0, 12)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_survive_their_bytes() {
        let task = TaskId::new(Timestamp::from_millis(1_700_000_000_123), [0xa5; 10]);
        assert_eq!(id::<TaskId>(task.as_bytes()), Ok(task));
        assert!(id::<TaskId>(&[0; 15]).is_err());
    }

    #[test]
    fn for_ever_is_later_than_every_moment() {
        assert!(moment(Timestamp::from_millis(u64::MAX)) > moment(Timestamp::from_secs(1 << 40)));
    }
}
