//! Whether a mandate speaks of what the bundle declares (A7).

use mandate_model::mandate::{Entries, Entry};
use mandate_model::{ActionName, AttributeName, ServerName};

use crate::UnfitConstraint;
use crate::bundle::Declared;
use crate::check::check_fit;

/// Why a mandate speaks of something that the bundle does not declare.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UndeclaredEntry {
    /// There is no such server workload.
    #[error("no server workload is named `{0}`")]
    Server(ServerName),
    /// The server workload has no such action.
    #[error("server workload `{server}` has no action `{action}`")]
    Action {
        /// The server workload.
        server: ServerName,
        /// The action.
        action: ActionName,
    },
    /// The action has no such attribute.
    #[error("`{server}:{action}` has no attribute `{attribute}`")]
    Attribute {
        /// The server workload.
        server: ServerName,
        /// The action.
        action: ActionName,
        /// The attribute.
        attribute: AttributeName,
    },
    /// The constraint does not fit the attribute's type.
    #[error("constraint on `{attribute}` of `{server}:{action}`: {why}")]
    Constraint {
        /// The server workload.
        server: ServerName,
        /// The action.
        action: ActionName,
        /// The attribute.
        attribute: AttributeName,
        /// How it does not fit.
        why: UnfitConstraint,
    },
}

pub(crate) fn check(declared: &Declared, entries: &Entries) -> Result<(), UndeclaredEntry> {
    entries
        .iter()
        .try_for_each(|entry| check_entry(declared, entry))
}

fn check_entry(declared: &Declared, entry: &Entry) -> Result<(), UndeclaredEntry> {
    let (server, action) = (&entry.server, &entry.action);
    let workload = declared
        .servers
        .get(server)
        .ok_or_else(|| UndeclaredEntry::Server(server.clone()))?;
    let known = workload
        .actions
        .get(action)
        .ok_or_else(|| UndeclaredEntry::Action {
            server: server.clone(),
            action: action.clone(),
        })?;
    for (attribute, constraint) in &entry.constraints {
        let (server, action, name) = (server.clone(), action.clone(), attribute.clone());
        let Some(declared) = known.attributes.get(attribute) else {
            return Err(UndeclaredEntry::Attribute {
                server,
                action,
                attribute: name,
            });
        };
        check_fit(constraint, &declared.ty).map_err(|why| UndeclaredEntry::Constraint {
            server,
            action,
            attribute: name,
            why,
        })?;
    }
    Ok(())
}
