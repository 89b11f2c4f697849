//! Small readers. Each gives nothing where the shape check has said what is wrong already.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use mandate_model::mandate::{Constraint, MalformedConstraint};
use mandate_model::{AttributeName, AttributeType};

use crate::decl::Action;
use crate::mistake::{Mistakes, Place, did_you_mean};
use crate::source::Node;

/// A time span: a whole number above zero and `s`, `m`, `h` or `d`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let number = text.strip_suffix(unit)?;
    let plain = number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
    let n: u64 = number.parse().ok().filter(|_| plain)?;
    Some(Duration::from_secs(n.checked_mul(seconds)?))
}

/// The time span under `field`.
pub(super) fn duration(node: &Node, field: &str) -> Option<Duration> {
    parse_duration(node.get(field)?.text()?)
}

/// The text under `field`.
pub(super) fn text(node: &Node, field: &str) -> Option<String> {
    Some(node.get(field)?.text()?.to_owned())
}

/// Parses a text node; a text that is no `T` is a mistake.
pub(super) fn parsed<T>(node: &Node, mistakes: &mut Mistakes) -> Option<T>
where
    T: FromStr,
    T::Err: Display,
{
    match node.text()?.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            mistakes.error(node.at, error.to_string(), "");
            None
        }
    }
}

/// A name that has to be declared; one that is not is a mistake with a hint.
pub(super) fn known<T>(
    node: &Node,
    declared: &BTreeMap<T, Place>,
    what: &str,
    mistakes: &mut Mistakes,
) -> Option<T>
where
    T: Ord + Borrow<str> + Clone,
{
    let name = node.text().filter(|text| !text.trim().is_empty())?;
    let found = declared.get_key_value(name).map(|(name, _)| name.clone());
    if found.is_none() {
        let message = format!("no {what} is named `{name}`");
        let help = did_you_mean(name, declared.keys().map(|k| k.borrow()));
        mistakes.error(node.at, message, help);
    }
    found
}

/// Every declared name of the list under `field`.
pub(super) fn known_list<T>(
    node: &Node,
    field: &str,
    declared: &BTreeMap<T, Place>,
    what: &str,
    mistakes: &mut Mistakes,
) -> BTreeSet<T>
where
    T: Ord + Borrow<str> + Clone,
{
    let items = node.get(field).map_or(&[] as &[Node], Node::items);
    items
        .iter()
        .filter_map(|item| known(item, declared, what, mistakes))
        .collect()
}

/// The constraints under `field`, each checked against the attributes of every one of `actions`.
pub(super) fn constraints(
    node: &Node,
    field: &str,
    actions: &[&Action],
    mistakes: &mut Mistakes,
) -> BTreeMap<AttributeName, Constraint> {
    let mut found = BTreeMap::new();
    let members = node.get(field).into_iter().flat_map(Node::members);
    for (key, value) in members {
        let Some(constraint) = constraint(value, mistakes) else {
            continue;
        };
        let Some(name) = attribute_name(&key.name, key.at, actions, mistakes) else {
            continue;
        };
        let unfit = actions.iter().find_map(|action| {
            let ty = &action.attributes.get(&name)?.ty;
            Some((action, check_fit(&constraint, ty).err()?))
        });
        match unfit {
            None => {
                found.insert(name, constraint);
            }
            Some((action, why)) => {
                let message = format!("`{name}` of `{}`: {why}", action.name);
                let help = "`in` is for strings, uuids and enums, `prefix` for strings, `max` for integers";
                mistakes.error(value.at, message, help);
            }
        }
    }
    found
}

/// An attribute that each of `actions` has; one that is missing anywhere is a mistake.
pub(super) fn attribute_name(
    name: &str,
    at: Place,
    actions: &[&Action],
    mistakes: &mut Mistakes,
) -> Option<AttributeName> {
    for action in actions {
        if !action.attributes.contains_key(name) {
            let message = format!("action `{}` has no attribute `{name}`", action.name);
            let help = did_you_mean(name, action.attributes.keys().map(AttributeName::as_str));
            mistakes.error(at, message, help);
            return None;
        }
    }
    match AttributeName::parse(name) {
        Ok(name) => Some(name),
        Err(error) => {
            mistakes.error(at, error.to_string(), "");
            None
        }
    }
}

fn constraint(node: &Node, mistakes: &mut Mistakes) -> Option<Constraint> {
    let mut found = Vec::new();
    if let Some(list) = node.get("in") {
        let values = list
            .items()
            .iter()
            .filter_map(|n| n.text().map(str::to_owned));
        let repeated = |e: &MalformedConstraint| {
            // The shape check has named these already, with their own places.
            matches!(
                e,
                MalformedConstraint::DuplicateValue(_) | MalformedConstraint::EmptyIn
            )
        };
        found.push(Constraint::one_of(values).map_err(|e| (list.at, repeated(&e), e)));
    }
    if let Some(prefix) = node.get("prefix")
        && let Some(text) = prefix.text()
    {
        let made = Constraint::prefix(text.to_owned());
        found.push(made.map_err(|e| (prefix.at, false, e)));
    }
    if let Some(max) = node.get("max")
        && let Some(n) = max.integer()
    {
        found.push(Constraint::at_most(n).map_err(|e| (max.at, true, e)));
    }
    if found.len() > 1 || node.members().next().is_none() {
        let message = "a constraint is exactly one of `in`, `prefix` and `max`";
        mistakes.error(node.at, message, "keep one of them");
        return None;
    }
    match found.pop()? {
        Ok(constraint) => Some(constraint),
        Err((at, said, error)) => {
            if !said {
                mistakes.error(at, error.to_string(), "");
            }
            None
        }
    }
}

/// Why a constraint does not fit the attribute that it is about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnfitConstraint {
    /// The kind of constraint is not for attributes of this type (A7).
    #[error("`{constraint}` is no constraint for type `{ty}`")]
    Kind {
        /// `in`, `prefix` or `max`.
        constraint: &'static str,
        /// The attribute's type.
        ty: &'static str,
    },
    /// A value is no value of the attribute's type in its canonical form.
    #[error("`{value}` is no value of type `{ty}` in canonical form")]
    Value {
        /// The value.
        value: String,
        /// The attribute's type.
        ty: &'static str,
    },
}

/// Whether `constraint` can be about an attribute of type `ty` (A7).
pub(crate) fn check_fit(
    constraint: &Constraint,
    ty: &AttributeType,
) -> Result<(), UnfitConstraint> {
    let kind = |constraint| {
        let ty = ty.name();
        Err(UnfitConstraint::Kind { constraint, ty })
    };
    match (constraint, ty) {
        (Constraint::Max(_), AttributeType::Integer)
        | (Constraint::Prefix(_), AttributeType::String) => Ok(()),
        (Constraint::Prefix(prefix), AttributeType::Path) if ty.parse(prefix).is_ok() => Ok(()),
        (Constraint::Prefix(prefix), AttributeType::Path) => Err(UnfitConstraint::Value {
            value: prefix.clone(),
            ty: ty.name(),
        }),
        (Constraint::In(_), AttributeType::Integer) => kind("in"),
        (
            Constraint::In(values),
            AttributeType::String
            | AttributeType::Uuid
            | AttributeType::Path
            | AttributeType::Enum(_),
        ) => match values.iter().find(|value| ty.parse(value).is_err()) {
            None => Ok(()),
            Some(value) => Err(UnfitConstraint::Value {
                value: value.clone(),
                ty: ty.name(),
            }),
        },
        (
            Constraint::Prefix(_),
            AttributeType::Integer | AttributeType::Uuid | AttributeType::Enum(_),
        ) => kind("prefix"),
        (
            Constraint::Max(_),
            AttributeType::String
            | AttributeType::Uuid
            | AttributeType::Path
            | AttributeType::Enum(_),
        ) => kind("max"),
    }
}
