//! Operators: users of the machine and what they may do.

use std::collections::BTreeSet;
use std::fmt;

use mandate_model::OperatorName;

use super::UserRule;

/// An operator of this authority, recognised as a user of its machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Operator {
    /// Its name: whom records name.
    pub name: OperatorName,
    /// The user.
    pub user: UserRule,
    /// What it may do.
    pub rights: BTreeSet<Right>,
    /// A further Cedar condition, which sees `context.target` and `context.user`.
    pub when: Option<String>,
}

/// Something that an operator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// Suspend any subject, and drill it.
    Suspend,
    /// Lift a suspension.
    Resume,
    /// Apply a bundle, or go back to an earlier one.
    Apply,
    /// Apply a bundle that changes an upstream or a credential (C4); needed beside `apply`.
    Upstreams,
    /// Open tasks as their trigger, close and cancel tasks.
    Tasks,
    /// Revoke tokens.
    Tokens,
    /// Read the audit log.
    Audit,
    /// Rotate and revoke signing keys.
    Keys,
    /// Accept a store's new epoch at a gateway, and assign gateways.
    Gateways,
    /// See status, the live bundle and the task tree.
    Inspect,
}

impl Right {
    /// Every right.
    pub const ALL: [Right; 10] = [
        Right::Suspend,
        Right::Resume,
        Right::Apply,
        Right::Upstreams,
        Right::Tasks,
        Right::Tokens,
        Right::Audit,
        Right::Keys,
        Right::Gateways,
        Right::Inspect,
    ];

    /// Its name in bundles.
    pub fn as_str(self) -> &'static str {
        match self {
            Right::Suspend => "suspend",
            Right::Resume => "resume",
            Right::Apply => "apply",
            Right::Upstreams => "upstreams",
            Right::Tasks => "tasks",
            Right::Tokens => "tokens",
            Right::Audit => "audit",
            Right::Keys => "keys",
            Right::Gateways => "gateways",
            Right::Inspect => "inspect",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|right| right.as_str() == text)
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
