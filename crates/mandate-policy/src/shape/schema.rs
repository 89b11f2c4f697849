//! The JSON Schema (2020-12) that editors check bundles with, from the same tables.

use serde_json::{Map, Value, json};

use super::{API_VERSION, Field, KINDS, Kind, METADATA, Shape};

/// The JSON Schema of one document of a bundle, as it is checked in at `docs/bundle.schema.json`.
///
/// It says what fields there are. That names exist, trust rules are pinned and patterns are not
/// ambiguous is what [`load`](crate::load) checks.
pub fn json_schema() -> String {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://mandate.dev/schema/v1alpha1/bundle.json",
        "title": "Mandate bundle document",
        "oneOf": KINDS.iter().map(kind).collect::<Vec<_>>(),
    });
    // Through the canonical encoding, so that the text does not depend on whether some other
    // crate of a build switches `serde_json` to keep the order of members.
    let sorted: Value = sort(schema);
    let mut text = serde_json::to_string_pretty(&sorted).unwrap_or_default();
    text.push('\n');
    text
}

fn sort(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let sorted: std::collections::BTreeMap<String, Value> =
                members.into_iter().map(|(k, v)| (k, sort(v))).collect();
            Value::Object(sorted.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sort).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn kind(kind: &Kind) -> Value {
    json!({
        "title": kind.name,
        "description": kind.doc,
        "type": "object",
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": kind.name},
            "metadata": record(METADATA),
            "spec": shape(&kind.spec),
        },
        "required": ["kind", "metadata", "spec"],
        "additionalProperties": false,
    })
}

fn shape(shape: &Shape) -> Value {
    match shape {
        Shape::Text => json!({"type": "string", "minLength": 1}),
        Shape::Integer(least) => json!({"type": "integer", "minimum": least}),
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Duration => json!({"type": "string", "pattern": "^[1-9][0-9]*[smhd]$"}),
        Shape::Word(words) => json!({"enum": words}),
        Shape::List(item) => json!({"type": "array", "items": self::shape(item), "minItems": 1}),
        Shape::OneOrMany(item) => {
            json!({"oneOf": [self::shape(item), self::shape(&Shape::List(item))]})
        }
        Shape::Record(fields) => record(fields),
        Shape::Choice(fields) => choice(fields),
        Shape::Map(value) => json!({
            "type": "object", "additionalProperties": self::shape(value), "minProperties": 1,
        }),
        Shape::TextOr(other) => json!({"oneOf": [self::shape(&Shape::Text), self::shape(other)]}),
        Shape::Claim => json!({"oneOf": [
            self::shape(&Shape::Text), {"type": "integer"}, {"type": "boolean"},
            self::shape(&super::rules::CLAIM),
        ]}),
        Shape::Nothing => json!({"type": "object", "maxProperties": 0}),
    }
}

fn record(fields: &[Field]) -> Value {
    let required: Vec<&str> = fields
        .iter()
        .filter(|f| f.required)
        .map(|f| f.name)
        .collect();
    let properties: Map<String, Value> = fields.iter().map(property).collect();
    json!({
        "type": "object", "properties": properties, "required": required,
        "additionalProperties": false,
    })
}

fn property(field: &Field) -> (String, Value) {
    let mut schema = shape(&field.shape);
    if let Value::Object(members) = &mut schema {
        members.insert("description".to_owned(), field.doc.into());
    }
    (field.name.to_owned(), schema)
}

fn choice(fields: &[Field]) -> Value {
    let words: Vec<&str> = fields
        .iter()
        .filter(|f| matches!(f.shape, Shape::Nothing))
        .map(|f| f.name)
        .collect();
    let mut ways: Vec<Value> = fields.iter().map(one_way).collect();
    if !words.is_empty() {
        ways.push(json!({"enum": words}));
    }
    json!({"oneOf": ways})
}

fn one_way(field: &Field) -> Value {
    let mut properties = Map::from_iter([property(field)]);
    let mut required = vec![field.name];
    if field.name == "header" {
        let value = json!({"type": "string", "pattern": "\\$\\{secret:[^}]+\\}"});
        properties.insert("value".to_owned(), value);
        required.push("value");
    }
    json!({
        "type": "object", "properties": properties, "required": required,
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_schema_is_the_generated_one() {
        let checked_in = include_str!("../../../../docs/bundle.schema.json");
        assert!(
            checked_in == json_schema(),
            "docs/bundle.schema.json is stale: write `json_schema()` there"
        );
    }

    #[test]
    fn the_reference_names_every_field() {
        let reference = include_str!("../../../../docs/bundle.md");
        let mut missing = Vec::new();
        for kind in KINDS {
            if !reference.contains(&format!("## {}", kind.name)) {
                missing.push(kind.name);
            }
            visit(&kind.spec, &mut |field| {
                if !reference.contains(&format!("`{}`", field.name)) {
                    missing.push(field.name);
                }
            });
        }
        assert_eq!(missing, [""; 0]);
    }

    fn visit(shape: &Shape, see: &mut dyn FnMut(&Field)) {
        match shape {
            Shape::Record(fields) | Shape::Choice(fields) => {
                for field in *fields {
                    see(field);
                    visit(&field.shape, see);
                }
            }
            Shape::List(inner)
            | Shape::OneOrMany(inner)
            | Shape::Map(inner)
            | Shape::TextOr(inner) => {
                visit(inner, see);
            }
            Shape::Text
            | Shape::Integer(_)
            | Shape::Bool
            | Shape::Duration
            | Shape::Word(_)
            | Shape::Claim
            | Shape::Nothing => {}
        }
    }
}
