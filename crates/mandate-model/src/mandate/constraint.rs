//! The three kinds of constraint, each with its own subset test.

use std::collections::BTreeSet;

use crate::AttributeValue;

/// What the values of one attribute may be. Values are held in canonical form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Constraint {
    /// One of these texts; never empty.
    In(BTreeSet<String>),
    /// A text that begins with this one; never empty.
    Prefix(String),
    /// A whole number from 0 to this one. A negative number never fits: no mandate that speaks of
    /// "at most 100" means "minus a million" as well.
    Max(i64),
}

/// Why a constraint is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedConstraint {
    /// `in` without a value: an empty list means nothing, and never "everything".
    #[error("`in` lists no value: an empty list permits nothing; leave the entry out instead")]
    EmptyIn,
    /// `in` with the same value twice.
    #[error("`in` lists `{0}` twice")]
    DuplicateValue(String),
    /// `in` or `prefix` with `*`: there are no patterns.
    #[error("`{0}` is not a value: there are no wildcards; use `prefix`, or leave the key out")]
    Wildcard(String),
    /// A text that is empty, too long or has control characters.
    #[error("a constraint's text is 1 to 1024 bytes without control characters")]
    Text,
    /// `max` below zero.
    #[error("`max` is at least 0")]
    NegativeMax,
}

impl Constraint {
    /// A set of texts.
    pub fn one_of(values: impl IntoIterator<Item = String>) -> Result<Self, MalformedConstraint> {
        let mut set = BTreeSet::new();
        for value in values {
            check_text(&value)?;
            if let Some(twice) = set.replace(value) {
                return Err(MalformedConstraint::DuplicateValue(twice));
            }
        }
        if set.is_empty() {
            Err(MalformedConstraint::EmptyIn)
        } else {
            Ok(Self::In(set))
        }
    }

    /// A beginning.
    pub fn prefix(text: String) -> Result<Self, MalformedConstraint> {
        check_text(&text).map(|()| Self::Prefix(text))
    }

    /// An upper bound.
    pub fn at_most(n: i64) -> Result<Self, MalformedConstraint> {
        if n < 0 {
            Err(MalformedConstraint::NegativeMax)
        } else {
            Ok(Self::Max(n))
        }
    }

    /// Whether `value` fits.
    pub fn admits(&self, value: &AttributeValue) -> bool {
        match (self, value) {
            (Constraint::In(set), AttributeValue::Text(text)) => set.contains(text),
            (Constraint::Prefix(prefix), AttributeValue::Text(text)) => text.starts_with(prefix),
            (Constraint::Max(max), AttributeValue::Integer(n)) => (0..=*max).contains(n),
            (Constraint::In(_) | Constraint::Prefix(_), AttributeValue::Integer(_))
            | (Constraint::Max(_), AttributeValue::Text(_)) => false,
        }
    }

    /// Whether every value that fits `self` fits `outer`.
    pub fn is_within(&self, outer: &Constraint) -> bool {
        match (self, outer) {
            (Constraint::In(inner), Constraint::In(outer)) => inner.is_subset(outer),
            (Constraint::In(inner), Constraint::Prefix(p)) => {
                inner.iter().all(|v| v.starts_with(p))
            }
            (Constraint::Prefix(inner), Constraint::Prefix(outer)) => inner.starts_with(outer),
            (Constraint::Max(inner), Constraint::Max(outer)) => inner <= outer,
            (Constraint::Prefix(_), Constraint::In(_) | Constraint::Max(_))
            | (Constraint::In(_), Constraint::Max(_))
            | (Constraint::Max(_), Constraint::In(_) | Constraint::Prefix(_)) => false,
        }
    }

    /// The one value that it admits, where that is so.
    pub fn single_value(&self) -> Option<&str> {
        match self {
            Constraint::In(set) if set.len() == 1 => set.first().map(String::as_str),
            Constraint::In(_) | Constraint::Prefix(_) | Constraint::Max(_) => None,
        }
    }
}

fn check_text(text: &str) -> Result<(), MalformedConstraint> {
    if !(1..=1024).contains(&text.len()) || text.chars().any(char::is_control) {
        return Err(MalformedConstraint::Text);
    }
    if text.contains('*') {
        return Err(MalformedConstraint::Wildcard(text.to_owned()));
    }
    Ok(())
}
