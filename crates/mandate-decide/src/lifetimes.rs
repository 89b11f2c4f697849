//! How long things live (DESIGN §3.2). Each can be shortened; none can be lengthened past these.

use std::time::Duration;

/// Lifetimes of what the authority issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// JWT-SVIDs.
    pub svid: Duration,
    /// Task tokens; the task itself may live longer.
    pub task_token: Duration,
    /// Access tokens.
    pub access: Duration,
    /// Sessions of operators who come over the network.
    pub operator_session: Duration,
    /// Tasks whose task policy says nothing else.
    pub task: Duration,
    /// How old a person's ID token may be when it opens a task (A2).
    pub id_token_age: Duration,
}

impl Lifetimes {
    /// The longest that a token of an agent lives.
    pub fn for_agents(&self) -> Duration {
        self.svid.max(self.task_token).max(self.access)
    }

    /// The longest that any token lives.
    pub fn longest(&self) -> Duration {
        self.for_agents().max(self.operator_session)
    }
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            svid: Duration::from_secs(300),
            task_token: Duration::from_secs(300),
            access: Duration::from_secs(120),
            operator_session: Duration::from_secs(900),
            task: Duration::from_secs(3600),
            id_token_age: Duration::from_secs(300),
        }
    }
}
