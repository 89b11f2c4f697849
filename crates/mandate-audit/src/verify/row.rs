//! What can be wrong with a row that holds several records.

/// Why a row of the store is not to be believed. Where it begins, how many records it says it has, how many its
/// bytes have, and where the next row begins must all agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RowFault {
    /// It has no record: the one that it takes the place of is missing, or is in the row before.
    #[error("holds no record")]
    Empty,
    /// Its number of records is not that of the records in it.
    #[error("says that it holds {said} records, and it holds {held}")]
    Count {
        /// What it says; nonsense is possible.
        said: i64,
        /// How many there are.
        held: u64,
    },
    /// It goes on where another row begins or the log has ended: something was put behind its last record, or
    /// another row into it.
    #[error(
        "holds {held} records, and there is room for {room} before the next row or the log's end"
    )]
    Overlap {
        /// How many there are.
        held: u64,
        /// How many there can be.
        room: u64,
    },
    /// After its last record there are bytes that are none.
    #[error("ends with bytes that are no record")]
    Leftover,
}
