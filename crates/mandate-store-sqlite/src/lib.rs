//! The stores of one machine, on SQLite.
