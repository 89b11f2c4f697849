//! What began a task, and how sure that is (A2).

use std::fmt;

use crate::{MalformedId, OperatorName, ProviderName, SpiffeId};

/// Who a task is for: the token's `sub`, the same all the way down the tree.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub enum Principal {
    /// A person, as a trust provider names them: `user:<provider>:<subject>`.
    User {
        /// The provider whose ID token proved it.
        provider: ProviderName,
        /// The ID token's `sub`.
        subject: String,
    },
    /// An operator of this authority: `operator:<name>`.
    Operator(OperatorName),
    /// An agent that began on its own: its SPIFFE ID.
    Agent(SpiffeId),
}

impl Principal {
    /// Reads a principal from a token's `sub`.
    pub fn parse(text: &str) -> Result<Self, MalformedId> {
        let malformed = || MalformedId::of_principal(text);
        if let Some(rest) = text.strip_prefix("user:") {
            let (provider, subject) = rest.split_once(':').ok_or_else(malformed)?;
            let provider = ProviderName::parse(provider).map_err(|_| malformed())?;
            if subject.is_empty() || subject.len() > 255 || subject.chars().any(char::is_control) {
                return Err(malformed());
            }
            return Ok(Principal::User {
                provider,
                subject: subject.to_owned(),
            });
        }
        if let Some(name) = text.strip_prefix("operator:") {
            return OperatorName::parse(name)
                .map(Principal::Operator)
                .map_err(|_| malformed());
        }
        SpiffeId::parse(text)
            .map(Principal::Agent)
            .map_err(|_| malformed())
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Principal::User { provider, subject } => write!(f, "user:{provider}:{subject}"),
            Principal::Operator(name) => write!(f, "operator:{name}"),
            Principal::Agent(id) => write!(f, "{id}"),
        }
    }
}

impl TryFrom<String> for Principal {
    type Error = MalformedId;
    fn try_from(text: String) -> Result<Self, MalformedId> {
        Self::parse(&text)
    }
}

impl From<Principal> for String {
    fn from(principal: Principal) -> String {
        principal.to_string()
    }
}

/// What kind of cause began a root task.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum TriggerKind {
    /// A person asked.
    User,
    /// A schedule fired.
    Schedule {
        /// The schedule's name.
        name: String,
    },
    /// An event arrived.
    Event {
        /// The event's name.
        name: String,
    },
    /// An operator asked.
    Operator,
}

impl TriggerKind {
    /// `user`, `schedule`, `event` or `operator`.
    pub fn as_str(&self) -> &'static str {
        match self {
            TriggerKind::User => "user",
            TriggerKind::Schedule { .. } => "schedule",
            TriggerKind::Event { .. } => "event",
            TriggerKind::Operator => "operator",
        }
    }
}

/// Who vouches for a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verified {
    /// A person proved themself by an ID token.
    User,
    /// An operator, over the operators' own door.
    Operator,
    /// A declared source signed it.
    Source,
    /// Nobody: the agent claims it.
    None,
}

/// The cause of a root task. Immutable; every task below carries the same one (`tctx.trigger`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Trigger {
    /// What kind of cause.
    #[serde(flatten)]
    pub kind: TriggerKind,
    /// Who vouches for it.
    pub verified: Verified,
    /// The trust provider that vouched, where one did; a suspension of it stops the task (A1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderName>,
    /// The item of the schedule or event: "backlog item 4711 of the 02:00 run".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            TriggerKind::User | TriggerKind::Operator => write!(f, "{}", self.kind.as_str())?,
            TriggerKind::Schedule { name } | TriggerKind::Event { name } => {
                write!(f, "{} `{name}`", self.kind.as_str())?;
            }
        }
        if let Some(item) = &self.item {
            write!(f, " item `{item}`")?;
        }
        match self.verified {
            Verified::None => f.write_str(" (claimed, not verified)"),
            Verified::User | Verified::Operator | Verified::Source => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_survive_their_text_form() {
        for text in [
            "user:login:alice",
            "user:login:a:b",
            "operator:root",
            "spiffe://a.example/agent/x",
        ] {
            assert_eq!(Principal::parse(text).unwrap().to_string(), text);
        }
        for bad in [
            "alice",
            "user:login",
            "user::alice",
            "user:login:",
            "operator:",
            "user:login:a\nb",
        ] {
            assert!(Principal::parse(bad).is_err(), "{bad:?}");
        }
    }
}
