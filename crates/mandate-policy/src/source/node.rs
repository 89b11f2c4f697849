//! YAML as a tree whose every node knows its place.
//!
//! The tree, and not serde's derived readers, because those stop at the first mistake.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::mistake::Place;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) at: Place,
}

/// What a node holds.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    /// A number that is no 64-bit integer.
    Number,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A member's name and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) at: Place,
}

impl Node {
    /// The value of the member `name` of a mapping. `None` too if this is no mapping: the shape
    /// check has said so already.
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.member(name).map(|(_, node)| node)
    }

    /// The member `name` of a mapping, with its key.
    pub(crate) fn member(&self, name: &str) -> Option<(&Key, &Node)> {
        self.members().find(|(key, _)| key.name == name)
    }

    /// The members of a mapping; nothing for anything else.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&Key, &Node)> {
        let members: &[(Key, Node)] = match &self.value {
            Value::Map(members) => members,
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Number
            | Value::Text(_)
            | Value::List(_) => &[],
        };
        members.iter().map(|(key, node)| (key, node))
    }

    /// The items of a list; a node that is no list is a list of itself, for `one or many`.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Number
            | Value::Text(_)
            | Value::Map(_) => std::slice::from_ref(self),
        }
    }

    /// The text of a text node.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Number
            | Value::List(_)
            | Value::Map(_) => None,
        }
    }

    /// The number of an integer node.
    pub(crate) fn integer(&self) -> Option<i64> {
        match self.value {
            Value::Integer(n) => Some(n),
            Value::Null
            | Value::Bool(_)
            | Value::Number
            | Value::Text(_)
            | Value::List(_)
            | Value::Map(_) => None,
        }
    }

    /// Whether this is `true`.
    pub(crate) fn is_true(&self) -> bool {
        matches!(self.value, Value::Bool(true))
    }

    /// What it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Integer(_) | Value::Number => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// A node as the YAML reader gives it; places are relative to the document.
pub(super) enum Raw {
    Scalar(Value),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_bool<E>(self, b: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Bool(b)))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Integer(n)))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(
            i64::try_from(n).map_or(Value::Number, Value::Integer),
        ))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Number))
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Number))
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Text(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Raw::Map(members))
    }
}
