//! Answers, taken apart by what the scene needs; anything else is handed back.

use mandate_model::SpiffeId;
use serde_json::Value;

use super::{Answer, Hidden};
use crate::client::members::Members;

/// An identity.
#[derive(Debug)]
pub(in crate::demo) struct Identity {
    pub(in crate::demo) id: SpiffeId,
    /// `process`, or `process-weak`.
    pub(in crate::demo) kind: String,
    pub(in crate::demo) elapsed_ms: u64,
}

/// A task in hand.
#[derive(Debug)]
pub(in crate::demo) struct Task {
    pub(in crate::demo) id: String,
    pub(in crate::demo) scope: String,
    pub(in crate::demo) elapsed_ms: u64,
}

/// A token for somebody else.
#[derive(Debug)]
pub(in crate::demo) struct Handed {
    pub(in crate::demo) token: Hidden,
    pub(in crate::demo) scope: String,
    pub(in crate::demo) elapsed_ms: u64,
}

/// An HTTP answer.
#[derive(Debug)]
pub(in crate::demo) struct Http {
    pub(in crate::demo) status: u16,
    pub(in crate::demo) body: String,
    pub(in crate::demo) elapsed_ms: u64,
}

/// A refusal, by whoever refused.
#[derive(Debug, serde::Serialize)]
pub(in crate::demo) struct Refusal {
    /// `authority` or `gateway`.
    pub(in crate::demo) by: &'static str,
    pub(in crate::demo) rule: String,
    pub(in crate::demo) why: String,
    pub(in crate::demo) elapsed_ms: u64,
}

impl Answer {
    /// An identity.
    pub(in crate::demo) fn identity(self) -> Result<Identity, Answer> {
        let Answer::Attested {
            id,
            about,
            elapsed_ms,
        } = self
        else {
            return Err(self);
        };
        Ok(Identity {
            id,
            kind: about.text("att").unwrap_or_default().to_owned(),
            elapsed_ms,
        })
    }

    /// A task.
    pub(in crate::demo) fn task(self) -> Result<Task, Answer> {
        let Answer::Task {
            task,
            scope,
            elapsed_ms,
        } = self
        else {
            return Err(self);
        };
        Ok(Task {
            id: task,
            scope,
            elapsed_ms,
        })
    }

    /// A token for a child.
    pub(in crate::demo) fn handed(self) -> Result<Handed, Answer> {
        let Answer::Handed {
            token,
            scope,
            elapsed_ms,
        } = self
        else {
            return Err(self);
        };
        Ok(Handed {
            token,
            scope,
            elapsed_ms,
        })
    }

    /// An HTTP answer with this status.
    pub(in crate::demo) fn http(self, expected: u16) -> Result<Http, Answer> {
        match self {
            Answer::Http {
                status,
                body,
                elapsed_ms,
            } if status == expected => Ok(Http {
                status,
                body,
                elapsed_ms,
            }),
            Answer::Http { .. }
            | Answer::Attested { .. }
            | Answer::Task { .. }
            | Answer::Handed { .. }
            | Answer::Refused { .. }
            | Answer::Failed { .. } => Err(self),
        }
    }

    /// A refusal: the authority's, or the gateway's as a problem document.
    pub(in crate::demo) fn refusal(self) -> Result<Refusal, Answer> {
        match self {
            Answer::Refused {
                error,
                description,
                elapsed_ms,
            } => Ok(Refusal {
                by: "authority",
                rule: error,
                why: description,
                elapsed_ms,
            }),
            Answer::Http {
                status,
                ref body,
                elapsed_ms,
            } if status >= 400 => Ok(by_gateway(status, body, elapsed_ms)),
            Answer::Http { .. }
            | Answer::Attested { .. }
            | Answer::Task { .. }
            | Answer::Handed { .. }
            | Answer::Failed { .. } => Err(self),
        }
    }
}

fn by_gateway(status: u16, body: &str, elapsed_ms: u64) -> Refusal {
    let problem: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let text = |name: &str| problem.text(name).map(str::to_owned);
    Refusal {
        by: "gateway",
        rule: text("rule").unwrap_or_else(|| status.to_string()),
        why: text("detail").unwrap_or_else(|| body.trim().to_owned()),
        elapsed_ms,
    }
}
