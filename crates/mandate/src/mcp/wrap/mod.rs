//! A server on standard input and output, served by Streamable HTTP to the gateway and nobody else.
//!
//! Messages pass as they came. A session (revisions up to 2025-11-25) is a child process; messages of 2026-07-28 go to
//! one child that all share, if it speaks that revision, and there ids and progress tokens are ours while they are
//! under way, so that those of two clients never meet.
//!
//! What is kept for a reader is bounded: in a session a slow one slows its own child, and loses its answer if that
//! lasts; where the child is shared it loses it at once, so that nobody waits for somebody else.

mod answer;
mod door;
mod head;
mod live;
mod outlet;
mod route;
mod serve;
mod session;
mod shared;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) use door::{Door, PATH};
pub(crate) use serve::serve;
pub(crate) use shared::Discovered;

use super::child::Program;

/// What everything here needs.
pub(crate) struct Settings {
    /// What is started for each session, and once for all messages without one.
    pub(crate) program: Program,
    /// The longest message, either way.
    pub(crate) longest: usize,
    /// How many sessions there may be.
    pub(crate) sessions: usize,
    /// After how long without any use a session ends.
    pub(crate) idle: Duration,
    /// How long a child has to answer its first message.
    pub(crate) start: Duration,
    /// How many children there were.
    children: AtomicU64,
}

impl Settings {
    pub(crate) fn new(program: Program, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            longest: program.longest,
            program,
            sessions: limits.sessions,
            idle: limits.idle,
            start: limits.start,
            children: AtomicU64::new(0),
        })
    }

    /// The number of the next child.
    fn number(&self) -> u64 {
        self.children.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// See [`Settings`].
pub(crate) struct Limits {
    pub(crate) sessions: usize,
    pub(crate) idle: Duration,
    pub(crate) start: Duration,
}
