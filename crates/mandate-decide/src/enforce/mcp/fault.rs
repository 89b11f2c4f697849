//! What is wrong with a message, in MCP's own terms.

use super::super::body::UnreadableBody;
use super::message::{Era, FIRST_STATELESS};

/// Why a message is none that is decided on. It is denied, and forwarded nowhere.
///
/// Statuses and codes are those of MCP 2026-07-28 ("Streamable HTTP", "Error Codes") where it has some: a client
/// that finds none of them in a 400 takes the server for one of an earlier revision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum McpFault {
    /// It is not JSON, or JSON with more than one meaning.
    #[error("{0}")]
    Unreadable(#[from] UnreadableBody),
    /// It is sent as something else than JSON.
    #[error("a message is `application/json`, in UTF-8 and without a content encoding")]
    ContentType,
    /// It is no one JSON-RPC message.
    #[error("{0}")]
    NotAMessage(&'static str),
    /// A header field that repeats the body differs from it, is missing or cannot be read.
    #[error("{0}")]
    Header(&'static str),
    /// Of a revision that is not spoken here.
    #[error("this revision of MCP is not spoken here")]
    Version {
        /// What was asked for.
        requested: String,
    },
    /// The client has not said that it knows tasks.
    #[error(
        "say in `_meta` that the client knows tasks: `{TASKS}` among the extensions of its capabilities"
    )]
    TasksUnknown,
    /// `params` is not as its method wants it.
    #[error("{0}")]
    Params(&'static str),
    /// No such method is forwarded.
    #[error("this method is not forwarded")]
    Method {
        /// Of which revision the message is.
        era: Era,
    },
    /// What is not decided on here, and therefore denied.
    #[error("{0}")]
    Unsupported(&'static str),
}

/// The revisions that are spoken (`protocolVersion`), the oldest first.
pub(super) const REVISIONS: [&str; 5] = [
    "2024-11-05",
    "2025-03-26",
    "2025-06-18",
    "2025-11-25",
    "2026-07-28",
];

/// The extension of tasks.
pub(super) const TASKS: &str = "io.modelcontextprotocol/tasks";

impl McpFault {
    /// The extension that a client must say it knows, where that is what is wrong.
    pub fn required_extension(&self) -> Option<&'static str> {
        (*self == McpFault::TasksUnknown).then_some(TASKS)
    }

    /// The rule's name in records, metrics and replies.
    pub fn rule(&self) -> &'static str {
        match self {
            McpFault::Unreadable(_) | McpFault::ContentType | McpFault::NotAMessage(_) => {
                "mcp.message"
            }
            McpFault::Header(_) => "mcp.header",
            McpFault::Version { .. } => "mcp.version",
            McpFault::TasksUnknown => "mcp.capability",
            McpFault::Params(_) => "mcp.params",
            McpFault::Method { .. } => "mcp.method",
            McpFault::Unsupported(_) => "mcp.unsupported",
        }
    }

    /// The revisions that a client is told of which asked for `requested`: those that say their version in each
    /// message, if it does that itself.
    pub fn supported(requested: &str) -> &'static [&'static str] {
        let from = REVISIONS
            .iter()
            .position(|revision| *revision >= FIRST_STATELESS);
        match from {
            Some(from) if requested >= FIRST_STATELESS => REVISIONS.get(from..).unwrap_or_default(),
            Some(_) | None => &REVISIONS,
        }
    }

    /// The status of the reply.
    pub fn status(&self) -> u16 {
        match self {
            McpFault::ContentType => 415,
            McpFault::Method {
                era: Era::Stateless,
            } => 404,
            McpFault::Method { era: Era::Sessions } => 200,
            McpFault::Unsupported(_) => 200,
            McpFault::Unreadable(_)
            | McpFault::NotAMessage(_)
            | McpFault::Header(_)
            | McpFault::Version { .. }
            | McpFault::TasksUnknown
            | McpFault::Params(_) => 400,
        }
    }

    /// The `code` of the reply's JSON-RPC error; `None` where it is the one of denials.
    pub fn code(&self) -> Option<i64> {
        Some(match self {
            McpFault::Unreadable(_) => -32700,
            McpFault::ContentType | McpFault::NotAMessage(_) => -32600,
            McpFault::Header(_) => -32020,
            McpFault::Version { .. } => -32022,
            McpFault::TasksUnknown => -32021,
            McpFault::Params(_) => -32602,
            McpFault::Method { .. } => -32601,
            McpFault::Unsupported(_) => return None,
        })
    }
}
