//! MCP servers of this machine and elsewhere, spoken to as a bridge ([`wrap`]) or as a client ([`read`]).
//!
//! Messages stay the text that they came as: what a bridge must change in one (an id) is changed in place, and
//! a tool's declaration is what the server wrote. Typed messages of a library would lose what they do not know.

pub(crate) mod accept;
pub(crate) mod child;
pub(crate) mod environment;
pub(crate) mod import;
mod lines;
pub(crate) mod message;
pub(crate) mod plain;
pub(crate) mod read;
pub(crate) mod secret_file;
pub(crate) mod whole_file;
pub(crate) mod wrap;

/// The revision in which each message stands for itself.
pub(crate) const STATELESS: &str = "2026-07-28";

/// The revisions with sessions, the oldest first.
pub(crate) const WITH_SESSIONS: [&str; 4] =
    ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
