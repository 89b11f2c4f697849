//! The condition of a permit, in parts that can be named one by one.

use std::fmt;

use mandate_model::AttributeName;
use mandate_model::mandate::Constraint;

use super::text::quoted;
use crate::decl::AccessPolicy;

/// One part of a condition; all parts must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) kind: PartKind,
    pub(crate) expression: String,
}

/// Which field of an access policy a part comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PartKind {
    /// `taskMustFix`.
    MustFix(AttributeName),
    /// `limits`.
    Limit(AttributeName),
    /// `when`.
    When,
}

impl fmt::Display for PartKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PartKind::MustFix(name) => write!(f, "`taskMustFix` of `{name}`"),
            PartKind::Limit(name) => write!(f, "`limits` on `{name}`"),
            PartKind::When => f.write_str("`when`"),
        }
    }
}

pub(super) fn parts(policy: &AccessPolicy) -> Vec<Part> {
    let fixed = policy.task_must_fix.iter().map(|name| Part {
        kind: PartKind::MustFix(name.clone()),
        expression: format!("context.task.fixes.contains({})", quoted(name.as_str())),
    });
    let limits = policy.limits.iter().map(|(name, constraint)| Part {
        kind: PartKind::Limit(name.clone()),
        expression: limit(name, constraint),
    });
    // On lines of its own, so that a comment at the end of the expression ends there.
    let when = policy.when.iter().map(|when| Part {
        kind: PartKind::When,
        expression: format!("{when}\n"),
    });
    fixed.chain(limits).chain(when).collect()
}

/// The constraint as Cedar. A request without the attribute does not fit.
fn limit(name: &AttributeName, constraint: &Constraint) -> String {
    let key = quoted(name.as_str());
    let value = format!("context.attributes[{key}]");
    let fits = match constraint {
        Constraint::In(values) => {
            let list: Vec<String> = values.iter().map(|v| quoted(v)).collect();
            format!("[{}].contains({value})", list.join(", "))
        }
        // A prefix has no `*` (it would not have parsed), so the pattern's one star is ours.
        Constraint::Prefix(text) => format!("{value} like {}", pattern(text)),
        Constraint::Max(max) => format!("0 <= {value} && {value} <= {max}"),
    };
    format!("context.attributes has {key} && ({fits})")
}

fn pattern(prefix: &str) -> String {
    let mut literal = quoted(prefix);
    literal.pop();
    literal.push_str("*\"");
    literal
}
