//! JSON objects, changed in some members and left, byte for byte, as they came in all others.

use std::fmt;

use mandate_policy::fold;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::UnreadableAnswer;

/// An object of `members`, with what `change` makes of some; `None` where all are left as they came.
pub(super) fn changed_members(
    members: &[(String, &RawValue)],
    change: impl Fn(&str, &RawValue) -> Result<Option<String>, UnreadableAnswer>,
) -> Result<Option<String>, UnreadableAnswer> {
    let changes: Result<Vec<_>, _> = members
        .iter()
        .map(|(name, value)| change(name, value))
        .collect();
    let changes = changes?;
    if changes.iter().all(Option::is_none) {
        return Ok(None);
    }
    let mut text = String::from("{");
    for ((name, value), changed) in members.iter().zip(changes) {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&serde_json::to_string(name).map_err(|_| UnreadableAnswer)?);
        text.push(':');
        text.push_str(changed.as_deref().unwrap_or(value.get()));
    }
    text.push('}');
    Ok(Some(text))
}

/// [`changed_members`] of `object`, none of whose members may be taken for one of `known`; what is no object has
/// none.
pub(super) fn changed(
    object: &RawValue,
    known: &[&str],
    change: impl Fn(&str, &RawValue) -> Result<Option<String>, UnreadableAnswer>,
) -> Result<Option<String>, UnreadableAnswer> {
    if !object.get().starts_with('{') {
        return Ok(None);
    }
    let Members(members) = read(object.get().as_bytes())?;
    check_spelling(&members, known)?;
    changed_members(&members, change)
}

pub(super) fn member<'r>(members: &[(String, &'r RawValue)], name: &str) -> Option<&'r RawValue> {
    let found = members.iter().find(|(other, _)| other == name);
    found.map(|(_, value)| *value)
}

/// Refuses members that some clients would take for one of `known`: those of another letter case.
pub(super) fn check_spelling(
    members: &[(String, &RawValue)],
    known: &[&str],
) -> Result<(), UnreadableAnswer> {
    if members.iter().any(|(name, _)| is_twin(name, known)) {
        return Err(UnreadableAnswer);
    }
    Ok(())
}

pub(super) fn is_twin(name: &str, known: &[&str]) -> bool {
    let alike = |known: &str| {
        // Of ASCII `fold` makes the same, and two texts for it.
        if name.is_ascii() && known.is_ascii() {
            return name.eq_ignore_ascii_case(known);
        }
        fold(name) == fold(known)
    };
    known.iter().any(|known| *known != name && alike(known))
}

pub(super) fn read(json: &[u8]) -> Result<Members<'_>, UnreadableAnswer> {
    serde_json::from_slice(json).map_err(|_| UnreadableAnswer)
}

/// The members of an object in their order, none of them twice.
pub(super) struct Members<'r>(pub(super) Vec<(String, &'r RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut members: Vec<(String, &'de RawValue)> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if members.len() >= MOST_MEMBERS || members.iter().any(|(other, _)| *other == name) {
                return Err(M::Error::custom(
                    "a member stands twice, or there are too many",
                ));
            }
            members.push((name, map.next_value()?));
        }
        Ok(Members(members))
    }
}

/// Whoever keeps an answer gives it to nobody else (MCP 2026-07-28, "Caching").
pub(super) const SCOPE: &str = "cacheScope";
pub(super) const PRIVATE: &str = "\"private\"";

/// No message, result or item has so many; each is compared with those before it.
pub(super) const MOST_MEMBERS: usize = 64;
