//! What the quickstart tells its agents to do, and what they answer: JSON, a line each.

mod answers;

use mandate_model::{Secret, SpiffeId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(super) use answers::{Handed, Identity, Refusal};

/// A piece of work.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Order {
    /// Prove what you are. `claim` is what a liar says it is.
    Attest { claim: Option<SpiffeId> },
    /// Open a root task for this user.
    Open {
        purpose: String,
        id_token: Option<Hidden>,
        /// Without a user: what began it, as the agent says.
        event: Option<String>,
        access: Value,
        expires_in: u64,
    },
    /// Hand a part of your task on. The answer holds the child's token.
    Delegate { to: SpiffeId, access: Value },
    /// Get another token for a task that you handed on, whose token is void.
    Resume { task: mandate_model::TaskId },
    /// This is your task now.
    Accept { token: Hidden },
    /// Get an access token for `resource` and send a request through the gateway.
    Fetch { resource: String, url: String },
    /// Send a request with the access token of the last `Fetch`, without asking for another.
    Replay { url: String },
    /// Send a request straight to the upstream, with nothing in hand.
    GoAround { url: String },
    /// As `Fetch`, for a long answer: the order is answered with the first bytes, and
    /// [`Line::Ended`] follows when it is over.
    Download { resource: String, url: String },
}

/// A line that an agent writes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    /// The answer to the order before.
    Answer(Answer),
    /// The download ended.
    Ended(Ended),
}

/// What came of an order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Answer {
    /// What the authority took the process for.
    Attested {
        id: SpiffeId,
        about: Value,
        elapsed_ms: u64,
    },
    /// The task is in hand.
    Task {
        task: String,
        scope: String,
        elapsed_ms: u64,
    },
    /// The child's task token, to be handed to the child.
    Handed {
        token: Hidden,
        scope: String,
        elapsed_ms: u64,
    },
    /// An HTTP answer.
    Http {
        status: u16,
        body: String,
        elapsed_ms: u64,
    },
    /// The authority refused.
    Refused {
        error: String,
        description: String,
        elapsed_ms: u64,
    },
    /// Something else went wrong.
    Failed { why: String },
}

/// How a download ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ended {
    /// How many bytes came.
    pub(super) bytes: u64,
    /// Whether the body came to its own end.
    pub(super) whole: bool,
    /// When the last byte came, in milliseconds since the epoch.
    pub(super) last_byte_at: u64,
}

/// A token on its way from one process to another. Not shown by `Debug`.
#[derive(Debug)]
pub(super) struct Hidden(pub(super) Secret<String>);

impl Hidden {
    /// Takes charge of a token.
    pub(super) fn new(text: &str) -> Self {
        Self(Secret::new(text.to_owned()))
    }
}

impl Serialize for Hidden {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|text| Self(Secret::new(text)))
    }
}
