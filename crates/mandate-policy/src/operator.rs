//! What an operator may do: a user of the machine that comes over its own door, or a person that an
//! OpenID provider vouched for.

use mandate_model::stop::Subject;
use mandate_model::{OperatorName, ProviderName, ProviderPin};
use serde_json::{Map, Value};

use crate::Bundle;
use crate::compile::OperatorContext;
use crate::decl::Right;

/// Who asks, as somebody else than they vouches for it.
#[derive(Debug, Clone, Copy)]
pub enum OperatorIdentity<'a> {
    /// A user of the machine, in the kernel's words.
    User {
        /// The user's number.
        uid: u32,
        /// The user's name, if the machine's user database has one.
        user: Option<&'a str>,
    },
    /// A person, in the words of an OpenID provider.
    Person {
        /// The provider.
        provider: &'a ProviderName,
        /// Whose word it was when it vouched.
        pin: &'a ProviderPin,
        /// Claims of their ID token, verified; those that declarations look at are among them.
        claims: &'a Map<String, Value>,
    },
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
    /// The person is no declared operator.
    #[error(
        "the live bundle has no `Operator` whose `oidc` fits this person of trust provider `{provider}`"
    )]
    NoPerson {
        /// The provider that vouched.
        provider: ProviderName,
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
    /// Whether whoever asks may use `right` on `target`, and as which operator. Cedar decides.
    ///
    /// A user that is declared once by name and once by number has the rights of both, and so has a
    /// person whom two declarations fit.
    pub fn operator_may(
        &self,
        identity: OperatorIdentity<'_>,
        right: Right,
        target: Option<&Target>,
    ) -> Result<OperatorName, OperatorDenial> {
        let target = target.map(|t| (t.kind.as_str(), t.name.as_str()));
        let (mut denial, context) = match identity {
            OperatorIdentity::User { uid, user } => (
                OperatorDenial::NoOperator { uid },
                OperatorContext {
                    user: user.unwrap_or_default(),
                    uid: i64::from(uid),
                    provider: "",
                    target,
                },
            ),
            OperatorIdentity::Person { provider, .. } => (
                OperatorDenial::NoPerson {
                    provider: provider.clone(),
                },
                OperatorContext {
                    user: "",
                    uid: NO_UID,
                    provider: provider.as_str(),
                    target,
                },
            ),
        };
        for operator in self.operators().filter(|o| o.is(identity)) {
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

/// `context.uid` of somebody who is no user of the machine: of none it is this.
const NO_UID: i64 = -1;
/// As whom the server's own user is recorded where no operator is declared.
pub const BOOTSTRAP: &str = "bootstrap";
