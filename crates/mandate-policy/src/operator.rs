//! What an operator may do. Operators come over the machine's own door and are its users.

use mandate_model::OperatorName;
use mandate_model::stop::Subject;

use crate::Bundle;
use crate::compile::OperatorContext;
use crate::decl::{Right, UserRule};

/// Who asks, as the kernel names them.
#[derive(Debug, Clone, Copy)]
pub struct OperatorIdentity<'a> {
    /// The user's number.
    pub uid: u32,
    /// The user's name, if the machine's user database has one.
    pub user: Option<&'a str>,
}

/// What the right would be used on, for conditions: `context.target.kind` and `.name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `agent`, `instance`, `task`, `principal`, `server`, `provider`, `gateway`, `key`, `purpose`, …
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl Target {
    /// A purpose that a task would be opened for.
    pub fn purpose(purpose: &str) -> Self {
        Self {
            kind: "purpose".to_owned(),
            name: purpose.to_owned(),
        }
    }
}

impl From<&Subject> for Target {
    fn from(subject: &Subject) -> Self {
        let text = subject.to_string();
        let (kind, name) = text.split_once(' ').unwrap_or((text.as_str(), ""));
        Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// Why an operator may not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperatorDenial {
    /// The user is no declared operator.
    #[error("user {uid} is no operator: the live bundle has no `Operator` for it")]
    NoOperator {
        /// The user's number.
        uid: u32,
    },
    /// None of the user's declarations gives the right, for this target.
    #[error("operator `{operator}` has no right `{right}` here")]
    NoRight {
        /// The operator.
        operator: OperatorName,
        /// The right asked for.
        right: Right,
    },
}

impl Bundle {
    /// Whether the user may use `right` on `target`, and as which operator. Cedar decides.
    ///
    /// A user that is declared once by name and once by number has the rights of both.
    pub fn operator_may(
        &self,
        identity: OperatorIdentity<'_>,
        right: Right,
        target: Option<&Target>,
    ) -> Result<OperatorName, OperatorDenial> {
        let is_user = |rule: &UserRule| match rule {
            UserRule::Uid(uid) => *uid == identity.uid,
            UserRule::Name(name) => identity.user == Some(name),
        };
        let context = OperatorContext {
            user: identity.user.unwrap_or_default(),
            uid: identity.uid,
            target: target.map(|t| (t.kind.as_str(), t.name.as_str())),
        };
        let mut denial = OperatorDenial::NoOperator { uid: identity.uid };
        for operator in self.operators().filter(|o| is_user(&o.user)) {
            if self
                .engine
                .rights
                .operator_may(&operator.name, right, context)
            {
                return Ok(operator.name.clone());
            }
            denial = OperatorDenial::NoRight {
                operator: operator.name.clone(),
                right,
            };
        }
        Err(denial)
    }

    /// Whether somebody is still operator `name` with `right`, whatever the conditions: asked about
    /// what an operator did before.
    pub fn still_holds(&self, name: &OperatorName, right: Right) -> bool {
        let mut operators = self.operators().peekable();
        if operators.peek().is_none() {
            return name.as_str() == BOOTSTRAP;
        }
        operators.any(|o| o.name == *name && o.rights.contains(&right))
    }
}

/// As whom the server's own user is recorded where no operator is declared.
pub const BOOTSTRAP: &str = "bootstrap";
