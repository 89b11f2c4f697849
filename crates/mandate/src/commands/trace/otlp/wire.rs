//! OTLP/JSON (opentelemetry-proto 1.x, JSON mapping): ids in hex, 64-bit numbers as text, enums as numbers.

use mandate_model::Timestamp;
use serde::{Serialize, Serializer};

/// `ExportTraceServiceRequest`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Traces {
    pub(super) resource_spans: Vec<ResourceSpans>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResourceSpans {
    pub(super) resource: Resource,
    pub(super) scope_spans: Vec<ScopeSpans>,
    pub(super) schema_url: &'static str,
    #[serde(skip)]
    pub(super) agent: super::Agent,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Resource {
    pub(super) attributes: Attributes,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ScopeSpans {
    pub(super) scope: Scope,
    pub(super) spans: Vec<Span>,
    pub(super) schema_url: &'static str,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Scope {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Span {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parent_span_id: Option<SpanId>,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) start_time_unix_nano: Nanos,
    pub(super) end_time_unix_nano: Nanos,
    pub(super) attributes: Attributes,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) events: Vec<Event>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) links: Vec<Link>,
    pub(super) status: Status,
}

/// 16 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TraceId(pub(super) String);

/// 8 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SpanId(pub(super) String);

/// `SpanKind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Internal,
    Client,
}

/// Nanoseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Nanos(u128);

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    pub(super) time_unix_nano: Nanos,
    pub(super) name: &'static str,
    pub(super) attributes: Attributes,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Link {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) attributes: Attributes,
}

/// `Status`: nothing said, or an error with its description.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Status {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// `KeyValue`s in the order in which they were said.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Attributes(Vec<KeyValue>);

#[derive(Debug, Clone, Serialize)]
struct KeyValue {
    key: String,
    value: Value,
}

/// `AnyValue`, as far as it is used here.
#[derive(Debug, Clone, Serialize)]
enum Value {
    #[serde(rename = "stringValue")]
    Text(String),
    #[serde(rename = "boolValue")]
    Bool(bool),
    #[serde(rename = "intValue")]
    Number(String),
    #[serde(rename = "arrayValue")]
    List { values: Vec<Value> },
}

impl Status {
    /// `STATUS_CODE_ERROR`.
    pub(super) fn error(message: impl Into<String>) -> Self {
        Self {
            code: Some(2),
            message: Some(message.into()),
        }
    }
}

impl Attributes {
    pub(super) fn text(&mut self, key: impl Into<String>, value: impl ToString) {
        self.push(key, Value::Text(value.to_string()));
    }

    pub(super) fn number(&mut self, key: impl Into<String>, value: u64) {
        self.push(key, Value::Number(value.to_string()));
    }

    pub(super) fn yes(&mut self, key: impl Into<String>) {
        self.push(key, Value::Bool(true));
    }

    /// Nothing, where there are none.
    pub(super) fn texts(
        &mut self,
        key: impl Into<String>,
        values: impl IntoIterator<Item = impl ToString>,
    ) {
        let text = |value: &dyn ToString| Value::Text(value.to_string());
        let values: Vec<Value> = values.into_iter().map(|value| text(&value)).collect();
        if !values.is_empty() {
            self.push(key, Value::List { values });
        }
    }

    fn push(&mut self, key: impl Into<String>, value: Value) {
        let key = key.into();
        self.0.push(KeyValue { key, value });
    }
}

impl From<Timestamp> for Nanos {
    fn from(at: Timestamp) -> Self {
        Self(u128::from(at.as_millis()) * 1_000_000)
    }
}

impl Serialize for Nanos {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl Serialize for SpanId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(match self {
            Kind::Internal => 1,
            Kind::Client => 3,
        })
    }
}
