//! Entries as `authorization_details` carry them (RFC 9396): closed, so that an unknown member is
//! an error and never a silent widening.

use std::collections::BTreeMap;

use super::{Constraint, Constraints, Entries, Entry, MalformedConstraint, TooLarge};
use crate::{ActionName, AttributeName, ServerName};

/// Why `authorization_details` are not entries of a mandate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedEntry {
    /// `type` is not `mandate_access`.
    #[error("`type` is `mandate_access`")]
    Type,
    /// `actions` is empty.
    #[error("`actions` lists at least one action: an empty list permits nothing")]
    NoActions,
    /// `actions` has the same name twice.
    #[error("`actions` lists `{0}` twice")]
    DuplicateAction(ActionName),
    /// A constraint is malformed.
    #[error("constraint `{key}`: {why}")]
    Constraint {
        /// The attribute's name.
        key: AttributeName,
        /// What is wrong.
        why: MalformedConstraint,
    },
    /// Too large.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// One object of `authorization_details`, shape only. Unknown members are errors.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawEntry {
    r#type: String,
    server: ServerName,
    actions: Vec<ActionName>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    constraints: BTreeMap<AttributeName, RawConstraint>,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
enum RawConstraint {
    In(Vec<String>),
    Prefix(String),
    Max(i64),
}

/// Checks `raw` and brings it into normal form.
pub fn parse_entries(raw: Vec<RawEntry>) -> Result<Entries, MalformedEntry> {
    let mut entries = Vec::new();
    for raw in raw {
        split(raw, &mut entries)?;
    }
    Ok(Entries::normalize(entries)?)
}

fn split(raw: RawEntry, into: &mut Vec<Entry>) -> Result<(), MalformedEntry> {
    if raw.r#type != TYPE {
        return Err(MalformedEntry::Type);
    }
    if raw.actions.is_empty() {
        return Err(MalformedEntry::NoActions);
    }
    let mut constraints = Constraints::new();
    for (key, constraint) in raw.constraints {
        match check(constraint) {
            Ok(constraint) => constraints.insert(key, constraint),
            Err(why) => return Err(MalformedEntry::Constraint { key, why }),
        };
    }
    let mut seen = std::collections::BTreeSet::new();
    for action in raw.actions {
        if !seen.insert(action.clone()) {
            return Err(MalformedEntry::DuplicateAction(action));
        }
        into.push(Entry {
            server: raw.server.clone(),
            action,
            constraints: constraints.clone(),
        });
    }
    Ok(())
}

fn check(raw: RawConstraint) -> Result<Constraint, MalformedConstraint> {
    match raw {
        RawConstraint::In(values) => Constraint::one_of(values),
        RawConstraint::Prefix(text) => Constraint::prefix(text),
        RawConstraint::Max(n) => Constraint::at_most(n),
    }
}

impl Entries {
    /// The entries as `authorization_details`, one object per entry.
    pub fn to_wire(&self) -> Vec<RawEntry> {
        self.iter().map(RawEntry::from_entry).collect()
    }
}

impl RawEntry {
    fn from_entry(entry: &Entry) -> Self {
        let raw = |constraint: &Constraint| match constraint {
            Constraint::In(set) => RawConstraint::In(set.iter().cloned().collect()),
            Constraint::Prefix(text) => RawConstraint::Prefix(text.clone()),
            Constraint::Max(n) => RawConstraint::Max(*n),
        };
        Self {
            r#type: TYPE.to_owned(),
            server: entry.server.clone(),
            actions: vec![entry.action.clone()],
            constraints: entry
                .constraints
                .iter()
                .map(|(k, c)| (k.clone(), raw(c)))
                .collect(),
        }
    }
}

const TYPE: &str = "mandate_access";
