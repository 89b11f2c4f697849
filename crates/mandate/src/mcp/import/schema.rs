//! Attributes from a tool's schema: what of its arguments is one value, text or a whole number.

use serde_json::{Map, Value, json};

use super::names::Names;

/// An attribute that is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    /// RFC 6901.
    pub(crate) pointer: String,
    pub(crate) kind: Kind,
}

/// The type of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Integer,
    Uuid,
    Enum(Vec<String>),
}

impl Attribute {
    /// As a bundle has it.
    pub(super) fn json(&self) -> Value {
        let argument = &self.pointer;
        match &self.kind {
            Kind::Text => json!(argument),
            Kind::Integer => json!({ "argument": argument, "type": "integer" }),
            Kind::Uuid => json!({ "argument": argument, "type": "uuid" }),
            Kind::Enum(values) => json!({ "argument": argument, "type": "enum", "values": values }),
        }
    }
}

/// What a schema has.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) attributes: Vec<Attribute>,
    /// How many more than are declared.
    pub(super) more: usize,
    names: Names,
    /// Properties that were looked at: references to a whole schema within itself multiply them.
    seen: usize,
}

impl Found {
    fn add(&mut self, path: &[&str], kind: Kind) {
        if self.attributes.len() == MOST {
            self.more += 1;
            return;
        }
        let name = self.names.attribute(&path.join("_"));
        let escaped = |part: &&str| format!("/{}", part.replace('~', "~0").replace('/', "~1"));
        let pointer = path.iter().map(escaped).collect();
        self.attributes.push(Attribute {
            name,
            pointer,
            kind,
        });
    }

    /// Keys that a line or a reader could be led astray by are no attributes.
    fn walk<'s>(&mut self, schema: &'s Value, root: &'s Value, path: &mut Vec<&'s str>) {
        let properties = schema.get("properties").and_then(Value::as_object);
        for (key, schema) in properties.into_iter().flatten() {
            if self.seen == MOST_SEEN {
                self.more += 1;
                return;
            }
            self.seen += 1;
            if key.is_empty() || key.len() > LONGEST_KEY || key.chars().any(char::is_control) {
                self.more += 1;
                continue;
            }
            path.push(key);
            let schema = plainest(schema, root);
            let item = schema.get("items").map(|items| plainest(items, root));
            let kind = kind(schema).or_else(|| item.filter(|_| is(schema, "array")).and_then(kind));
            match kind {
                Some(kind) => self.add(path, kind),
                None if path.len() < DEEPEST => self.walk(schema, root, path),
                None => {}
            }
            path.pop();
        }
    }
}

/// The scalar properties of a schema, those of objects within it too.
pub(super) fn attributes(schema: &Value) -> Found {
    let mut found = Found::default();
    found.walk(schema, schema, &mut Vec::new());
    found
}

/// The arguments of a prompt, which are texts.
pub(super) fn of_texts<'n>(names: impl Iterator<Item = &'n str>) -> Found {
    let schema: Map<String, Value> = names
        .map(|name| (name.to_owned(), json!({ "type": "string" })))
        .collect();
    attributes(&json!({ "properties": schema }))
}

/// What a reference within the same schema, or a choice between this and nothing, comes to.
fn plainest<'s>(mut schema: &'s Value, root: &'s Value) -> &'s Value {
    for _ in 0..DEEPEST {
        let reference = schema.get("$ref").and_then(Value::as_str);
        let reference = reference.filter(|at| at.len() <= LONGEST_REFERENCE);
        let referred = reference.and_then(|at| root.pointer(at.strip_prefix('#')?));
        let choices = ["anyOf", "oneOf"]
            .into_iter()
            .find_map(|of| schema.get(of)?.as_array());
        let mut some = choices
            .into_iter()
            .flatten()
            .take(MOST_CHOICES)
            .filter(|choice| !is(choice, "null"));
        schema = match (referred, some.next(), some.next()) {
            (Some(referred), _, _) => referred,
            (None, Some(only), None) => only,
            (None, _, _) => return schema,
        };
    }
    schema
}

fn is(schema: &Value, name: &str) -> bool {
    schema.get("type").and_then(Value::as_str) == Some(name)
}

fn kind(schema: &Value) -> Option<Kind> {
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(only)) => vec![only],
        Some(Value::Array(some)) => {
            let some = some.iter().take(MOST_CHOICES);
            some.filter_map(Value::as_str).collect()
        }
        Some(_) => return None,
        // Words without a type are texts.
        None if schema.get("enum").is_some() => vec!["string"],
        None => return None,
    };
    let mut types = types.into_iter().filter(|name| *name != "null");
    match (types.next(), types.next()) {
        (Some("integer"), None) => Some(Kind::Integer),
        (Some("string"), None) => Some(text(schema)),
        (_, _) => None,
    }
}

fn text(schema: &Value) -> Kind {
    if schema.get("format").and_then(Value::as_str) == Some("uuid") {
        return Kind::Uuid;
    }
    let values = schema.get("enum").and_then(Value::as_array);
    // One more for `null`.
    let Some(values) = values.filter(|values| values.len() <= MOST_WORDS + 1) else {
        return Kind::Text;
    };
    let is_word = |word: &&str| {
        !word.is_empty() && word.len() <= LONGEST_KEY && !word.chars().any(char::is_control)
    };
    let words: Vec<String> = values
        .iter()
        .filter_map(Value::as_str)
        .filter(is_word)
        .map(str::to_owned)
        .collect();
    let mut once = words.clone();
    once.sort_unstable();
    once.dedup();
    let all = values.iter().filter(|value| !value.is_null()).count();
    let fits = !words.is_empty() && words.len() == all && once.len() == all && all <= MOST_WORDS;
    if fits { Kind::Enum(words) } else { Kind::Text }
}

const MOST: usize = 32;
/// Of a whole schema, so that none takes longer than a moment.
const MOST_SEEN: usize = 10_000;
/// Of one property, as are the following.
const MOST_CHOICES: usize = 16;
const LONGEST_REFERENCE: usize = 1024;
const MOST_WORDS: usize = 100;
const DEEPEST: usize = 4;
const LONGEST_KEY: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn found(schema: &Value) -> Vec<(String, String, Kind)> {
        let found = attributes(schema).attributes.into_iter();
        found.map(|a| (a.name, a.pointer, a.kind)).collect()
    }

    #[test]
    fn what_is_one_value_is_an_attribute() {
        let schema = json!({
            "type": "object",
            "$defs": { "Color": { "type": "string", "enum": ["red", "no"] }, "Loop": { "$ref": "#/$defs/Loop" } },
            "properties": {
                "a": { "type": "string" },
                "b": { "type": "integer" },
                "c": { "$ref": "#/$defs/Color" },
                "d": { "anyOf": [{ "type": "string", "format": "uuid" }, { "type": "null" }] },
                "e": { "type": "object", "properties": { "customerId": { "type": ["string", "null"] }, "x/y~": { "type": "string" } } },
                "f": { "type": "array", "items": { "type": "string" } },
                "g": { "type": "number" },
                "h": { "type": "boolean" },
                "i": { "anyOf": [{ "type": "string" }, { "type": "integer" }] },
                "j": { "$ref": "#/$defs/Loop" },
                "k": { "$ref": "https://evil.example/schema" },
                "l": { "type": "string", "enum": ["a", 1] },
            },
        });
        let expected = [
            ("a", "/a", Kind::Text),
            ("b", "/b", Kind::Integer),
            (
                "c",
                "/c",
                Kind::Enum(vec!["red".to_owned(), "no".to_owned()]),
            ),
            ("d", "/d", Kind::Uuid),
            ("e_customer_id", "/e/customerId", Kind::Text),
            ("e_x_y", "/e/x~1y~0", Kind::Text),
            ("f", "/f", Kind::Text),
            ("l", "/l", Kind::Text),
        ];
        let expected = expected.map(|(n, p, k)| (n.to_owned(), p.to_owned(), k));
        assert_eq!(found(&schema), expected);
    }

    #[test]
    fn a_schema_of_any_shape_ends() {
        let mut deep = json!({ "type": "string" });
        for _ in 0..60 {
            deep = json!({ "properties": { "a": deep, "b": { "type": "string" } } });
        }
        assert_eq!(found(&deep).len(), DEEPEST);
        let many: Map<String, Value> = (0..500)
            .map(|n| (n.to_string(), json!({ "type": "integer" })))
            .collect();
        let many = attributes(&json!({ "properties": many }));
        assert_eq!((many.attributes.len(), many.more), (MOST, 500 - MOST));
        // Each property is the whole schema again: 2,000 to the power of 4.
        let itself: Map<String, Value> = (0..2_000)
            .map(|n| (n.to_string(), json!({ "$ref": "#" })))
            .collect();
        let itself = attributes(&json!({ "properties": itself }));
        assert_eq!((itself.attributes.len(), itself.seen), (0, MOST_SEEN));
        for odd in [
            json!(null),
            json!([]),
            json!({ "properties": 1 }),
            json!({ "properties": { "a": 1 } }),
        ] {
            assert_eq!(found(&odd), []);
        }
    }
}
