//! A node against a shape: every difference is a mistake, and none hides another.

use super::{Field, NOT_YET, Shape};
use crate::mistake::{Mistakes, Place, did_you_mean};
use crate::source::{Node, Value};

/// Notes each way in which `node`, found under the name `what`, is not of `shape`.
pub(crate) fn check(node: &Node, shape: &Shape, what: &str, mistakes: &mut Mistakes) {
    match shape {
        Shape::Text => check_text(node, what, mistakes),
        Shape::Integer(least) => match node.integer() {
            Some(n) if n >= *least => {}
            Some(_) => mistakes.error(node.at, format!("`{what}` is at least {least}"), ""),
            None => expected(node, what, "a whole number", mistakes),
        },
        Shape::Bool => {
            if !matches!(node.value, Value::Bool(_)) {
                expected(node, what, "`true` or `false`", mistakes);
            }
        }
        Shape::Duration => check_duration(node, what, mistakes),
        Shape::Word(words) => check_word(node, words, what, mistakes),
        Shape::List(item) => check_list(node, item, what, mistakes),
        Shape::OneOrMany(item) => match &node.value {
            Value::List(_) => check_list(node, item, what, mistakes),
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Number
            | Value::Text(_)
            | Value::Map(_) => check(node, item, what, mistakes),
        },
        Shape::Record(fields) => check_record(node, fields, what, mistakes),
        Shape::Choice(fields) => check_choice(node, fields, what, mistakes),
        Shape::Map(value) => check_map(node, value, what, mistakes),
        Shape::TextOr(other) => match &node.value {
            Value::Map(_) => check(node, other, what, mistakes),
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Number
            | Value::Text(_)
            | Value::List(_) => check_text(node, what, mistakes),
        },
        Shape::Claim => check_claim(node, what, mistakes),
        Shape::Nothing => {
            if !is_nothing(node) {
                expected(node, what, "`{}`", mistakes);
            }
        }
    }
}

fn check_claim(node: &Node, what: &str, mistakes: &mut Mistakes) {
    match &node.value {
        Value::Map(members) if members.len() == 1 => {
            check(node, &super::rules::CLAIM, what, mistakes);
        }
        Value::Map(_) => {
            let message = format!("`{what}` says exactly one of like, oneOf, has");
            mistakes.error(
                node.at,
                message,
                "keep one of them, or say the value itself",
            );
        }
        Value::Text(_) => check_text(node, what, mistakes),
        Value::Bool(_) | Value::Integer(_) => {}
        Value::Null | Value::Number | Value::List(_) => {
            let shape = "text, a whole number, `true`, `false`, or one of like, oneOf, has";
            expected(node, what, shape, mistakes);
        }
    }
}

fn expected(node: &Node, what: &str, shape: &str, mistakes: &mut Mistakes) {
    let message = format!("`{what}` is {}, and should be {shape}", node.kind());
    let help = match (&node.value, shape) {
        (Value::Bool(_) | Value::Integer(_) | Value::Number, "text") => "put it in quotes",
        _ => "",
    };
    mistakes.error(node.at, message, help);
}

fn is_nothing(node: &Node) -> bool {
    match &node.value {
        Value::Null => true,
        Value::Map(members) => members.is_empty(),
        Value::Bool(_) | Value::Integer(_) | Value::Number | Value::Text(_) | Value::List(_) => {
            false
        }
    }
}

fn check_text(node: &Node, what: &str, mistakes: &mut Mistakes) {
    match node.text() {
        Some(text) if text.trim().is_empty() => {
            mistakes.error(
                node.at,
                format!("`{what}` is empty"),
                "say it, or leave it out",
            );
        }
        Some(_) => {}
        None => expected(node, what, "text", mistakes),
    }
}

fn check_duration(node: &Node, what: &str, mistakes: &mut Mistakes) {
    if node.text().and_then(crate::check::parse_duration).is_none() {
        let message = format!("`{what}` is no time span");
        mistakes.error(
            node.at,
            message,
            "a whole number and `s`, `m`, `h` or `d`: `90s`, `10m`, `2h`",
        );
    }
}

fn check_word(node: &Node, words: &[&str], what: &str, mistakes: &mut Mistakes) {
    match node.text() {
        Some(text) if words.contains(&text) => {}
        Some(text) => {
            let message = format!("`{text}` is no value of `{what}`");
            mistakes.error(node.at, message, did_you_mean(text, words.iter().copied()));
        }
        None => expected(
            node,
            what,
            &format!("one of {}", words.join(", ")),
            mistakes,
        ),
    }
}

fn check_list(node: &Node, item: &Shape, what: &str, mistakes: &mut Mistakes) {
    match &node.value {
        Value::List(items) if items.is_empty() => empty(node.at, what, mistakes),
        Value::List(items) => {
            for node in items {
                check(node, item, what, mistakes);
            }
            check_repeats(items, what, mistakes);
        }
        Value::Null
        | Value::Bool(_)
        | Value::Integer(_)
        | Value::Number
        | Value::Text(_)
        | Value::Map(_) => expected(node, what, "a list", mistakes),
    }
}

fn check_repeats(items: &[Node], what: &str, mistakes: &mut Mistakes) {
    let mut seen = std::collections::BTreeSet::new();
    for node in items {
        if let Some(text) = node.text()
            && !seen.insert(text)
        {
            let message = format!("`{what}` lists `{text}` twice");
            mistakes.error(node.at, message, "remove one of them");
        }
    }
}

fn empty(at: Place, what: &str, mistakes: &mut Mistakes) {
    let message = format!("`{what}` is empty; an empty list never means everything");
    mistakes.error(at, message, "list what is meant, or leave it out");
}

fn check_map(node: &Node, shape: &Shape, what: &str, mistakes: &mut Mistakes) {
    match &node.value {
        Value::Map(members) if members.is_empty() => empty(node.at, what, mistakes),
        Value::Map(members) => {
            for (key, value) in members {
                check(value, shape, &key.name, mistakes);
            }
        }
        Value::Null
        | Value::Bool(_)
        | Value::Integer(_)
        | Value::Number
        | Value::Text(_)
        | Value::List(_) => expected(node, what, "a mapping of names", mistakes),
    }
}

fn check_record(node: &Node, fields: &[Field], what: &str, mistakes: &mut Mistakes) {
    if !matches!(node.value, Value::Map(_)) {
        return expected(node, what, "a mapping", mistakes);
    }
    check_members(node, fields, &[], what, mistakes);
    for field in fields.iter().filter(|f| f.required) {
        if node.get(field.name).is_none() {
            let message = format!("`{what}` lacks `{}`", field.name);
            mistakes.error(node.at, message, format!("add it: {}", field.doc));
        }
    }
}

/// Checks members that `fields` know and notes the others; `beside` lists further names that
/// belong here and are checked elsewhere.
fn check_members(
    node: &Node,
    fields: &[Field],
    beside: &[&str],
    what: &str,
    mistakes: &mut Mistakes,
) {
    for (key, value) in node.members() {
        match fields.iter().find(|field| field.name == key.name) {
            Some(field) => check(value, &field.shape, field.name, mistakes),
            None if beside.contains(&key.name.as_str()) => {}
            None if NOT_YET.contains(&key.name.as_str()) => {
                let message = format!("`{}` is not supported by this version", key.name);
                let known: Vec<String> = fields.iter().map(|f| format!("`{}`", f.name)).collect();
                mistakes.error(key.at, message, format!("it knows {}", known.join(", ")));
            }
            None => {
                let message = format!("`{what}` has no field `{}`", key.name);
                let names = fields.iter().map(|f| f.name).chain(beside.iter().copied());
                mistakes.error(key.at, message, did_you_mean(&key.name, names));
            }
        }
    }
}

fn check_choice(node: &Node, fields: &[Field], what: &str, mistakes: &mut Mistakes) {
    let names: Vec<&str> = fields.iter().map(|f| f.name).collect();
    match &node.value {
        Value::Text(word) => {
            let bare = |f: &&Field| matches!(f.shape, Shape::Nothing);
            if !fields.iter().filter(bare).any(|f| f.name == word) {
                let message = format!("`{word}` is no `{what}`");
                mistakes.error(node.at, message, did_you_mean(word, names));
            }
        }
        Value::Map(members) => {
            // `credential: {header: …, value: …}` is the one choice with a member beside it.
            let beside: &[&str] = if node.get("header").is_some() {
                &["value"]
            } else {
                &[]
            };
            check_members(node, fields, beside, what, mistakes);
            let chosen = members
                .iter()
                .filter(|(k, _)| names.contains(&k.name.as_str()));
            let unknown = !members.is_empty() && chosen.clone().count() == 0;
            if chosen.count() != 1 && !unknown {
                let message = format!("`{what}` says exactly one of {}", names.join(", "));
                mistakes.error(node.at, message, "keep one of them");
            }
        }
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Number | Value::List(_) => {
            expected(
                node,
                what,
                &format!("one of {}", names.join(", ")),
                mistakes,
            );
        }
    }
}
