//! `narrow`: the one function by which authority is handed on.

use super::{Budget, Mandate, MandateRequest};
use crate::{ActionName, ServerName, Timestamp};

/// How a request goes beyond the mandate that it should be a part of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Widening {
    /// An entry is not within one entry of the parent.
    #[error(
        "`{server}:{action}` with these constraints is not within one entry of the parent's mandate"
    )]
    Entry {
        /// The server of the first entry outside.
        server: ServerName,
        /// Its action.
        action: ActionName,
    },
    /// It would begin before the parent.
    #[error("it would begin before the parent's mandate does")]
    Begins,
    /// It would outlive the parent.
    #[error("it would outlive the parent's mandate, which ends at {parent_ends}")]
    Outlives {
        /// When the parent ends.
        parent_ends: Timestamp,
    },
    /// More accesses than the parent has, or no number where the parent is limited.
    #[error("`max_accesses` must be said and be at most {0}, as the parent's mandate is limited")]
    Accesses(u64),
    /// More children than the parent has, or no number where the parent is limited.
    #[error("`max_children` must be said and be at most {0}, as the parent's mandate is limited")]
    Children(u64),
    /// Deeper than the parent.
    #[error("`max_depth` is at most {0}, as the parent's mandate says")]
    Depth(u8),
}

/// The part of `parent` that `request` asks for, or how it asks for more.
///
/// Total, and sound but not complete: two entries of the parent are never combined to cover one of
/// the child. Reflexive, transitive, antisymmetric on normal forms, monotone in time, depth and
/// budget; no request admitted under the result is refused under the parent.
pub fn narrow(parent: &Mandate, request: &MandateRequest) -> Result<Mandate, Widening> {
    let entries = match &request.entries {
        None => parent.entries.clone(),
        Some(entries) => match entries.first_outside(&parent.entries) {
            None => entries.clone(),
            Some(e) => {
                return Err(Widening::Entry {
                    server: e.server.clone(),
                    action: e.action.clone(),
                });
            }
        },
    };
    Ok(Mandate {
        entries,
        not_before: narrow_beginning(parent.not_before, request.not_before)?,
        expires_at: narrow_end(parent.expires_at, request.expires_at)?,
        budget: Budget {
            max_accesses: narrow_count(parent.budget.max_accesses, request.budget.max_accesses)
                .map_err(Widening::Accesses)?,
            max_children: narrow_count(parent.budget.max_children, request.budget.max_children)
                .map_err(Widening::Children)?,
        },
        max_depth: match request.max_depth.unwrap_or(parent.max_depth) {
            depth if depth <= parent.max_depth => depth,
            _ => return Err(Widening::Depth(parent.max_depth)),
        },
    })
}

fn narrow_beginning(
    parent: Option<Timestamp>,
    request: Option<Timestamp>,
) -> Result<Option<Timestamp>, Widening> {
    match (parent, request) {
        (Some(parent), Some(request)) if request < parent => Err(Widening::Begins),
        (parent, request) => Ok(request.or(parent)),
    }
}

fn narrow_end(parent: Timestamp, request: Option<Timestamp>) -> Result<Timestamp, Widening> {
    match request {
        Some(request) if request > parent => Err(Widening::Outlives {
            parent_ends: parent,
        }),
        Some(request) => Ok(request),
        None => Ok(parent),
    }
}

fn narrow_count(parent: Option<u64>, request: Option<u64>) -> Result<Option<u64>, u64> {
    match (parent, request) {
        (None, request) => Ok(request),
        (Some(limit), Some(n)) if n <= limit => Ok(Some(n)),
        (Some(limit), _) => Err(limit),
    }
}
