//! A mandate in words, for command lines: `records:read customer=acme amount_cents<=10000`; and other things that
//! records say.

use mandate_audit::Usage;
use serde_json::{Map, Value, json};

use super::members::Members;

/// Words that are no entry of a mandate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no access: write `server:action,action attribute=value,value attribute^=prefix attribute<=number`, or an object of authorization_details as JSON"
)]
pub(crate) struct MalformedAccess(String);

/// All of `words`, each one entry, as `authorization_details` (RFC 9396).
pub(crate) fn authorization_details(words: &[String]) -> Result<Value, MalformedAccess> {
    let mut entries = Vec::new();
    for text in words {
        match json_entries(text)? {
            Some(more) => entries.extend(more),
            None => entries.push(entry(text)?),
        }
    }
    Ok(Value::Array(entries))
}

/// JSON, where the text is that: one object or a list of them. The authority checks the members.
fn json_entries(text: &str) -> Result<Option<Vec<Value>>, MalformedAccess> {
    if !text.trim_start().starts_with(['{', '[']) {
        return Ok(None);
    }
    match serde_json::from_str(text) {
        Ok(Value::Array(entries)) => Ok(Some(entries)),
        Ok(entry @ Value::Object(_)) => Ok(Some(vec![entry])),
        Ok(_) | Err(_) => Err(MalformedAccess(text.to_owned())),
    }
}

fn entry(text: &str) -> Result<Value, MalformedAccess> {
    let malformed = || MalformedAccess(text.to_owned());
    let mut words = text.split_whitespace();
    let (server, actions) = words
        .next()
        .and_then(|word| word.split_once(':'))
        .ok_or_else(malformed)?;
    let mut constraints = Map::new();
    for word in words {
        let (key, constraint) = constraint(word).ok_or_else(malformed)?;
        if constraints.insert(key.to_owned(), constraint).is_some() {
            return Err(malformed());
        }
    }
    let actions: Vec<&str> = actions.split(',').collect();
    let mut entry = json!({"type": "mandate_access", "server": server, "actions": actions});
    if let (false, Some(members)) = (constraints.is_empty(), entry.as_object_mut()) {
        members.insert("constraints".to_owned(), Value::Object(constraints));
    }
    Ok(entry)
}

fn constraint(word: &str) -> Option<(&str, Value)> {
    if let Some((key, prefix)) = word.split_once("^=") {
        return Some((key, json!({ "prefix": prefix })));
    }
    if let Some((key, max)) = word.split_once("<=") {
        return Some((key, json!({ "max": max.parse::<i64>().ok()? })));
    }
    let (key, values) = word.split_once('=')?;
    let values: Vec<&str> = values.split(',').collect();
    Some((key, json!({ "in": values })))
}

/// An entry as people read it: `records:read where customer in acme`.
pub(crate) fn of_entry(entry: &Value) -> String {
    let list = |value: &Value| -> String {
        let texts = value.as_array().into_iter().flatten();
        texts
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let server = entry.at("server").as_str().unwrap_or("?");
    let mut text = format!("{server}:{}", list(entry.at("actions")));
    let mut word = "where";
    for (key, constraint) in entry.at("constraints").as_object().into_iter().flatten() {
        for (kind, value) in constraint.as_object().into_iter().flatten() {
            let part = match kind.as_str() {
                "in" => format!("{key} in {}", list(value)),
                "prefix" => format!("{key} begins with {value}"),
                _ => format!("{key} at most {value}"),
            };
            text.push_str(&format!(" {word} {part}"));
            word = "and";
        }
    }
    text
}

/// What the reply of an LLM said it took: `1125 tokens in (1000 cached), 15 out of claude-sonnet-4-5`.
pub(crate) fn of_usage(usage: &Usage) -> String {
    let part = |count: Option<u64>, name: &str| Some(format!("{} {name}", count?));
    let side = |count: Option<u64>, unit: &str, parts: &[Option<String>]| {
        let parts: Vec<&str> = parts.iter().flatten().map(String::as_str).collect();
        let parts = match parts.as_slice() {
            [] => String::new(),
            parts => format!(" ({})", parts.join(", ")),
        };
        Some(format!("{} {unit}{parts}", count?))
    };
    let of_input = [
        part(usage.cached, "cached"),
        part(usage.cache_write, "to cache"),
    ];
    let of_output = [part(usage.reasoning, "reasoning")];
    let sides = [
        side(usage.input, "tokens in", &of_input),
        side(usage.output, "tokens out", &of_output),
    ];
    let sides: Vec<String> = sides.into_iter().flatten().collect();
    let mut text = match sides.as_slice() {
        [] => "tokens unknown".to_owned(),
        sides => sides.join(", "),
    };
    if let Some(model) = &usage.model {
        text.push_str(&format!(" of {model}"));
    }
    if let Some(why) = usage.incomplete {
        let why = serde_json::to_value(why).unwrap_or(Value::Null);
        text.push_str(&format!(" ({})", why.as_str().unwrap_or("incomplete")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<Value, MalformedAccess> {
        authorization_details(&[text.to_owned()])
    }

    #[test]
    fn reads_all_three_kinds_of_constraint() {
        let read = one("records:read,list customer=acme,beta path^=/r/ amount_cents<=100").unwrap();
        let expected = json!([{
            "type": "mandate_access", "server": "records", "actions": ["read", "list"],
            "constraints": {"customer": {"in": ["acme", "beta"]}, "path": {"prefix": "/r/"}, "amount_cents": {"max": 100}},
        }]);
        assert_eq!(read, expected);
        assert_eq!(one(&expected.to_string()).unwrap(), expected);
    }

    #[test]
    fn constraints_are_joined_as_people_join_them() {
        let read = one("records:read a=1 b<=2").unwrap();
        assert_eq!(
            of_entry(&read[0]),
            "records:read where a in 1 and b at most 2"
        );
    }

    #[test]
    fn refuses_what_says_less_than_it_seems_to() {
        for bad in [
            "",
            "records",
            "records:read customer",
            "records:read amount<=x",
            "records:read a=1 a=2",
            "{",
        ] {
            assert!(one(bad).is_err(), "{bad}");
        }
    }
}
