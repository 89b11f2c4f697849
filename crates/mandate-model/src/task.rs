//! Tasks: work with a cause, in a tree whose shape is committed to (A3).

use std::fmt;

use sha2::{Digest, Sha256};

pub use crate::delegator::{Delegator, OpeningOperator};
use crate::mandate::{Budget, MAX_DEPTH, Mandate, RawEntry};
use crate::{ActChain, Principal, ServerName, SpiffeId, TaskId, Timestamp, Trigger};

/// The task ids from the root to a task, 1 to [`MAX_DEPTH`] of them, all different.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Vec<TaskId>", into = "Vec<TaskId>")]
pub struct TaskPath {
    ancestors: Vec<TaskId>,
    leaf: TaskId,
}

/// Task ids that are no path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a task path has 1 to {MAX_DEPTH} ids, all different")]
pub struct MalformedPath;

impl TaskPath {
    /// The path of a root task.
    pub fn root_of(task: TaskId) -> Self {
        Self {
            ancestors: Vec::new(),
            leaf: task,
        }
    }

    /// The path of a child; `None` if the tree would be too deep or the id is already on the path.
    pub fn child(&self, task: TaskId) -> Option<Self> {
        let ancestors: Vec<TaskId> = self.iter().collect();
        if ancestors.len() >= usize::from(MAX_DEPTH) || ancestors.contains(&task) {
            return None;
        }
        Some(Self {
            ancestors,
            leaf: task,
        })
    }

    /// The root task.
    pub fn root(&self) -> TaskId {
        self.ancestors.first().copied().unwrap_or(self.leaf)
    }

    /// The task itself.
    pub fn leaf(&self) -> TaskId {
        self.leaf
    }

    /// The task's parent; `None` for a root task.
    pub fn parent(&self) -> Option<TaskId> {
        self.ancestors.last().copied()
    }

    /// The ids, root first.
    pub fn iter(&self) -> impl Iterator<Item = TaskId> {
        self.ancestors
            .iter()
            .copied()
            .chain(std::iter::once(self.leaf))
    }

    /// How many ids: 1 for a root task.
    pub fn depth(&self) -> u8 {
        u8::try_from(self.ancestors.len() + 1).unwrap_or(u8::MAX)
    }

    /// Whether `task` is on the path, itself included.
    pub fn contains(&self, task: &TaskId) -> bool {
        self.leaf == *task || self.ancestors.contains(task)
    }
}

impl TryFrom<Vec<TaskId>> for TaskPath {
    type Error = MalformedPath;
    fn try_from(mut ids: Vec<TaskId>) -> Result<Self, MalformedPath> {
        if ids.len() > usize::from(MAX_DEPTH) {
            return Err(MalformedPath);
        }
        let leaf = ids.pop().ok_or(MalformedPath)?;
        let all = std::iter::once(&leaf).chain(&ids);
        let different = all.collect::<std::collections::BTreeSet<_>>().len() == ids.len() + 1;
        if different {
            Ok(Self {
                ancestors: ids,
                leaf,
            })
        } else {
            Err(MalformedPath)
        }
    }
}

impl From<TaskPath> for Vec<TaskId> {
    fn from(path: TaskPath) -> Vec<TaskId> {
        path.iter().collect()
    }
}

/// A commitment to a task and to every ancestor of it: SHA-256(parent's chain ‖ canonical record).
#[derive(Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskChain([u8; 32]);

impl TaskChain {
    /// What a root task's chain follows: 32 zero bytes.
    pub const ORIGIN: TaskChain = TaskChain([0; 32]);

    /// The chain of a task, given its parent's ([`TaskChain::ORIGIN`] for a root task).
    pub fn after(parent: &TaskChain, record: &TaskRecord) -> Self {
        let mut hash = Sha256::new();
        hash.update(parent.0);
        hash.update(record.canonical());
        Self(hash.finalize().into())
    }
}

impl fmt::Display for TaskChain {
    /// Base64url without padding.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use base64::Engine;
        f.write_str(&base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(self.0))
    }
}
impl fmt::Debug for TaskChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is no task chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a task chain is the base64url of 32 bytes")]
pub struct MalformedChain;

impl TryFrom<String> for TaskChain {
    type Error = MalformedChain;
    fn try_from(text: String) -> Result<Self, MalformedChain> {
        use base64::Engine;
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| MalformedChain)?;
        bytes.try_into().map(Self).map_err(|_| MalformedChain)
    }
}
impl From<TaskChain> for String {
    fn from(chain: TaskChain) -> String {
        chain.to_string()
    }
}

/// The part of a task that its chain commits to: what never changes while it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRecord {
    /// The task.
    pub id: TaskId,
    /// Its parent; `None` for a root task.
    pub parent: Option<TaskId>,
    /// Its mandate, as it was when the task began.
    pub mandate: Mandate,
    /// Who delegated it; for a root task who opened it.
    pub delegator: Delegator,
    /// The agent type that it is for.
    pub may_act: SpiffeId,
}

impl TaskRecord {
    /// The record's one encoding: JSON with sorted members, no white space, integers only.
    pub fn canonical(&self) -> Vec<u8> {
        crate::canonical_json(&serde_json::json!({
            "id": self.id,
            "parent": self.parent,
            "mandate": WireMandate::from(&self.mandate),
            "delegator": self.delegator,
            "may_act": self.may_act,
            "expires_at": self.mandate.expires_at,
        }))
    }
}

/// A mandate as stores and records write it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireMandate {
    entries: Vec<RawEntry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_before: Option<Timestamp>,
    expires_at: Timestamp,
    #[serde(default)]
    budget: Budget,
    max_depth: u8,
}

impl From<&Mandate> for WireMandate {
    fn from(mandate: &Mandate) -> Self {
        Self {
            entries: mandate.entries.to_wire(),
            not_before: mandate.not_before,
            expires_at: mandate.expires_at,
            budget: mandate.budget,
            max_depth: mandate.max_depth,
        }
    }
}

impl TryFrom<WireMandate> for Mandate {
    type Error = crate::mandate::MalformedEntry;
    fn try_from(wire: WireMandate) -> Result<Self, Self::Error> {
        Ok(Self {
            entries: crate::mandate::parse_entries(wire.entries)?,
            not_before: wire.not_before,
            expires_at: wire.expires_at,
            budget: wire.budget,
            max_depth: wire.max_depth,
        })
    }
}

/// How a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// It may act until its mandate expires.
    Open,
    /// It ended in its own time.
    Closed,
    /// It was ended from outside, with everything below it.
    Cancelled,
}

/// A task as the authority keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// What its chain commits to.
    pub record: TaskRecord,
    /// Root to leaf.
    pub path: TaskPath,
    /// The commitment.
    pub chain: TaskChain,
    /// Who the whole tree works for.
    pub principal: Principal,
    /// Why the tree began.
    pub trigger: Trigger,
    /// What the root task is for, in the words of its `TaskPolicy`.
    pub purpose: String,
    /// Who delegated it, latest first; empty for a root task.
    pub act: ActChain,
    /// The one instance that may act in it, once pinned (A5); the opener's for a root task that an
    /// agent opened, the first user's for one that an operator opened.
    pub instance: Option<crate::Instance>,
    /// The key that whoever acts in it must have, where its delegator named one (A5).
    pub key: Option<crate::Thumbprint>,
    /// How it stands.
    pub state: TaskState,
    /// What is left of its budget after what it handed to children (A8).
    pub remaining: Budget,
    /// When it was opened or delegated.
    pub created_at: Timestamp,
}

impl Task {
    /// Whether it may act at `now`, its ancestors aside.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.state == TaskState::Open && now < self.record.mandate.expires_at
    }

    /// The servers that its mandate names.
    pub fn servers(&self) -> impl Iterator<Item = &ServerName> {
        self.record.mandate.entries.iter().map(|e| &e.server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ActorLevel, AttestationKind, InstanceId, OperatorName, ProviderName};

    fn id(n: u8) -> TaskId {
        TaskId::new(Timestamp::from_millis(1), [n; 10])
    }

    fn record(n: u8, until: u64) -> TaskRecord {
        TaskRecord {
            id: id(n),
            parent: None,
            mandate: Mandate {
                entries: crate::mandate::Entries::default(),
                not_before: None,
                expires_at: Timestamp::from_secs(until),
                budget: Budget::default(),
                max_depth: 8,
            },
            delegator: Delegator::Agent(ActorLevel {
                sub: SpiffeId::parse("spiffe://a/agent/o").unwrap(),
                inst: InstanceId::parse("i").unwrap(),
                prv: ProviderName::parse("p").unwrap(),
                att: AttestationKind::Process,
                host: None,
            }),
            may_act: SpiffeId::parse("spiffe://a/agent/r").unwrap(),
        }
    }

    #[test]
    fn a_path_is_bounded_and_has_no_loop() {
        let mut path = TaskPath::root_of(id(0));
        for n in 1..MAX_DEPTH {
            path = path.child(id(n)).unwrap();
        }
        assert_eq!(
            (path.depth(), path.root(), path.leaf()),
            (MAX_DEPTH, id(0), id(7))
        );
        assert_eq!(path.parent(), Some(id(6)));
        assert!(path.child(id(9)).is_none(), "too deep");
        assert!(TaskPath::root_of(id(0)).child(id(0)).is_none(), "a loop");
        assert_eq!(TaskPath::try_from(vec![]), Err(MalformedPath));
        assert_eq!(TaskPath::try_from(vec![id(1), id(1)]), Err(MalformedPath));
        assert_eq!(
            TaskPath::try_from(path.iter().collect::<Vec<_>>()),
            Ok(path)
        );
    }

    #[test]
    fn a_chain_depends_on_every_member_and_on_the_parent() {
        let one = TaskChain::after(&TaskChain::ORIGIN, &record(1, 10));
        assert_eq!(one, TaskChain::after(&TaskChain::ORIGIN, &record(1, 10)));
        assert_ne!(one, TaskChain::after(&TaskChain::ORIGIN, &record(1, 11)));
        assert_ne!(one, TaskChain::after(&TaskChain::ORIGIN, &record(2, 10)));
        assert_ne!(one, TaskChain::after(&one, &record(1, 10)));
        assert_eq!(TaskChain::try_from(one.to_string()), Ok(one));
    }

    #[test]
    fn a_delegator_is_an_agent_or_an_operator_and_its_form_says_which() {
        let named = |name: &str| Delegator::operator(OperatorName::parse(name).unwrap());
        for delegator in [record(1, 10).delegator, named("oncall")] {
            let text = serde_json::to_string(&delegator).unwrap();
            assert_eq!(
                serde_json::from_str::<Delegator>(&text).unwrap(),
                delegator,
                "{text}"
            );
        }
        let both = r#"{"sub":"spiffe://a/agent/o","operator":"oncall"}"#;
        assert!(serde_json::from_str::<Delegator>(both).is_err());
        let chain = |delegator| {
            let opened = TaskRecord {
                delegator,
                ..record(1, 10)
            };
            TaskChain::after(&TaskChain::ORIGIN, &opened)
        };
        assert_ne!(chain(named("oncall")), chain(named("platform")));
    }

    #[test]
    fn the_canonical_record_is_sorted() {
        let text = String::from_utf8(record(1, 10).canonical()).unwrap();
        let places: Vec<_> = [
            "\"delegator\"",
            "\"expires_at\"",
            "\"id\"",
            "\"mandate\"",
            "\"may_act\"",
            "\"parent\"",
        ]
        .iter()
        .map(|key| text.find(key).unwrap())
        .collect();
        assert!(places.is_sorted(), "{text}");
    }
}
