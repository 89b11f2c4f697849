//! Binding a verified claim to the ceiling.

use std::collections::BTreeMap;

use mandate_model::AttributeName;
use mandate_model::mandate::{Constraint, Entries, Entry};
use serde_json::{Map, Value};

use super::OpenDenial;
use crate::bundle::Declared;
use crate::decl::{PersonRule, TaskPolicy};

pub(super) fn check_claims(
    policy: &TaskPolicy,
    rule: &PersonRule,
    claims: &Map<String, Value>,
) -> Result<(), OpenDenial> {
    match lacking(claims, &rule.claims) {
        None => Ok(()),
        Some(claim) => Err(OpenDenial::Claim {
            policy: policy.name.clone(),
            claim: claim.to_owned(),
        }),
    }
}

/// The first of `wanted` that `claims` do not have: the claim is the text, or a list that holds it.
fn lacking<'a>(
    claims: &Map<String, Value>,
    wanted: &'a BTreeMap<String, String>,
) -> Option<&'a str> {
    let holds = |(claim, wanted): &(&String, &String)| match claims.get(*claim) {
        Some(Value::String(text)) => text == *wanted,
        Some(Value::Array(items)) => items.iter().any(|i| i.as_str() == Some(wanted)),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => false,
    };
    let lacks = wanted.iter().find(|c| !holds(c));
    lacks.map(|(claim, _)| claim.as_str())
}

/// Whether `claims` have all of `wanted`.
pub(crate) fn has_claims(claims: &Map<String, Value>, wanted: &BTreeMap<String, String>) -> bool {
    lacking(claims, wanted).is_none()
}

/// The ceiling with each bound attribute pinned to its claim, wherever an action has it.
pub(super) fn bind(
    declared: &Declared,
    policy: &TaskPolicy,
    rule: &PersonRule,
    claims: &Map<String, Value>,
) -> Result<Entries, OpenDenial> {
    let mut entries: Vec<Entry> = policy.ceiling.iter().cloned().collect();
    for (attribute, claim) in &rule.bind {
        let unbindable = || OpenDenial::Unbindable {
            policy: policy.name.clone(),
            claim: claim.clone(),
        };
        let value = claims
            .get(claim)
            .and_then(Value::as_str)
            .ok_or_else(unbindable)?;
        // Refuses empty texts, control characters and `*` too.
        let pin = Constraint::one_of([value.to_owned()]).map_err(|_| unbindable())?;
        entries = entries
            .into_iter()
            .map(|entry| pin_entry(declared, entry, attribute, &pin))
            .filter_map(Result::transpose)
            .collect::<Result<_, Unfit>>()
            .map_err(|Unfit| unbindable())?;
    }
    let outside = || OpenDenial::OutsideCeiling {
        policy: policy.name.clone(),
    };
    let entries = Entries::normalize(entries).map_err(|_| outside())?;
    if entries.is_empty() {
        Err(outside())
    } else {
        Ok(entries)
    }
}

struct Unfit;

/// `entry` with `attribute` pinned; nothing if the policy's own constraint excludes the value, or if
/// the action has no such attribute and so could not be bound.
fn pin_entry(
    declared: &Declared,
    mut entry: Entry,
    attribute: &AttributeName,
    pin: &Constraint,
) -> Result<Option<Entry>, Unfit> {
    let Some(ty) = declared.attribute_type(&entry.server, &entry.action, attribute) else {
        return Ok(None);
    };
    crate::check::check_fit(pin, ty).map_err(|_| Unfit)?;
    let excluded = entry
        .constraints
        .get(attribute)
        .is_some_and(|own| !pin.is_within(own));
    if excluded {
        return Ok(None);
    }
    entry.constraints.insert(attribute.clone(), pin.clone());
    Ok(Some(entry))
}
