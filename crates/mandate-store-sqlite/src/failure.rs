//! What goes wrong while a unit is applied, and what SQLite's errors mean.

use mandate_audit::EncodeError;
use mandate_ports::{CommitError, Conflict, StoreError};
use rusqlite::ErrorCode;

/// Why a unit was not applied.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The unit's own fault; the group goes on without it.
    Unit(CommitError),
    /// The store's fault; nobody of the group is served.
    Store(StoreError),
}

pub(crate) type Outcome<T> = Result<T, Failure>;

impl From<Conflict> for Failure {
    fn from(conflict: Conflict) -> Self {
        Failure::Unit(CommitError::Conflict(conflict))
    }
}

impl From<EncodeError> for Failure {
    fn from(error: EncodeError) -> Self {
        let why = StoreError::Unavailable(format!("a record of the unit has no encoding: {error}"));
        Failure::Unit(CommitError::Store(why))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Store(error)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Store(store_error(error))
    }
}

impl From<Failure> for CommitError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unit(error) => error,
            Failure::Store(error) => CommitError::Store(error),
        }
    }
}

/// What `error` means for whoever asked the store for something.
pub(crate) fn store_error(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full,
        Some(
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation,
        ) => StoreError::Damaged(error.to_string()),
        // SQLite's word for it names the database, whose fault it is not.
        Some(ErrorCode::ReadOnly) => {
            StoreError::Unavailable(format!("its disk or file is read-only ({error})"))
        }
        // The file answered, but not with what the schema says: a value of another type, no row.
        None => StoreError::Damaged(error.to_string()),
        Some(_) => StoreError::Unavailable(error.to_string()),
    }
}

/// Stored text or bytes that are not what was once written there.
pub(crate) fn damaged(what: &str, why: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(format!("{what}: {why}"))
}
