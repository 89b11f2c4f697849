//! JSON-RPC messages, read as far as a bridge must, and otherwise left as they came.

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::Deserializer;
use serde_json::value::RawValue;

/// An id or a progress token: text, or a whole number.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Id {
    /// Text.
    Text(String),
    /// A whole number.
    Number(i64),
}

impl Id {
    fn of(raw: &RawValue) -> Option<Self> {
        let json = raw.get();
        if let Ok(number) = serde_json::from_str(json) {
            return Some(Self::Number(number));
        }
        serde_json::from_str(json).ok().map(Self::Text)
    }
}

/// As JSON.
impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Text(text) => write!(f, "{}", serde_json::Value::from(text.as_str())),
            Id::Number(number) => write!(f, "{number}"),
        }
    }
}

/// Why text is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// It is not JSON, or has a member twice.
    #[error("it is not JSON in UTF-8, or a member stands twice")]
    Json,
    /// It is JSON, and no message.
    #[error("{0}")]
    NoMessage(&'static str),
}

impl Malformed {
    /// The code of the JSON-RPC error.
    pub(crate) fn code(self) -> i64 {
        match self {
            Malformed::Json => -32700,
            Malformed::NoMessage(_) => -32600,
        }
    }
}

/// What a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It will be answered.
    Request {
        /// The sender's.
        id: Id,
        /// What is asked for.
        method: String,
    },
    /// It will not.
    Notification {
        /// What happened.
        method: String,
    },
    /// An answer.
    Response {
        /// Of the request; `None` where the other side could not read it.
        id: Option<Id>,
        /// Of the error, where it is one.
        code: Option<i64>,
    },
}

/// One message: its text in one line, and what of it matters to whoever passes it on.
#[derive(Clone)]
pub(crate) struct Message {
    /// Without line breaks, which JSON has between tokens alone.
    text: String,
    kind: Kind,
    id_at: Option<Range<usize>>,
    /// `_meta` of a request or notification, or of a result.
    meta: Meta,
    /// `params.progressToken`, which a notification of progress is of.
    progress: Token,
    /// `params.requestId`, which `notifications/cancelled` is about.
    cancels: Option<Id>,
    revision: Option<String>,
    /// What `Mcp-Name` repeats.
    named: Option<String>,
}

/// A token and where it stands.
type Token = Option<(Id, Range<usize>)>;

#[derive(Debug, Clone, Default)]
struct Meta {
    claim: Option<String>,
    has_capabilities: bool,
    token: Token,
    subscription: Token,
    wants_logs: bool,
}

impl fmt::Debug for Message {
    /// Without what is said in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").finish_non_exhaustive()
    }
}

impl Message {
    /// Reads one message; a batch is none.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed::Json)?;
        let text = text.trim_matches([' ', '\t', '\n', '\r']);
        if !text.starts_with('{') {
            let json = serde_json::from_str::<&RawValue>(text).is_ok();
            return Err(if json {
                Malformed::NoMessage("a message is one JSON object; batches are none")
            } else {
                Malformed::Json
            });
        }
        let raw: Envelope<'_> = serde_json::from_str(text).map_err(|_| Malformed::Json)?;
        if raw.jsonrpc.map(RawValue::get) != Some("\"2.0\"") {
            return Err(Malformed::NoMessage("`jsonrpc` must be \"2.0\""));
        }
        let kind = raw.kind()?;
        let params = raw.params.map(Params::of).transpose()?.unwrap_or_default();
        let result = raw.result.map(Params::of).transpose()?.unwrap_or_default();
        let meta = params.meta.or(result.meta);
        let meta = meta.map(|meta| Meta::of(text, meta)).transpose()?;
        Ok(Self {
            id_at: raw.id.and_then(|id| span(text, id)),
            meta: meta.unwrap_or_default(),
            progress: params.progress.and_then(|raw| token(text, raw)),
            cancels: params.request.and_then(Id::of),
            revision: result.revision,
            named: params.named(&kind),
            kind,
            // It was read, so that these stand between tokens alone; what was found keeps its place.
            text: text.replace(['\n', '\r'], " "),
        })
    }

    /// The message as one line, without its end.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What it is.
    pub(crate) fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The revision that it says it is of, each message for itself.
    pub(crate) fn claim(&self) -> Option<&str> {
        self.meta.claim.as_deref()
    }

    /// Whether it says what its client can do, as each message of 2026-07-28 must.
    pub(crate) fn has_capabilities(&self) -> bool {
        self.meta.has_capabilities
    }

    /// The name, URI or task that `Mcp-Name` must repeat, of methods that have one (MCP 2026-07-28, "Standard
    /// Request Headers").
    pub(crate) fn named(&self) -> Option<&str> {
        self.named.as_deref()
    }

    /// The token by which a request wants to hear of progress.
    pub(crate) fn token(&self) -> Option<&Id> {
        self.meta.token.as_ref().map(|(token, _)| token)
    }

    /// Whether a request asks for log messages (2026-07-28).
    pub(crate) fn wants_logs(&self) -> bool {
        self.meta.wants_logs
    }

    /// The token that a notification of progress is of.
    pub(crate) fn progress(&self) -> Option<&Id> {
        self.progress.as_ref().map(|(token, _)| token)
    }

    /// The request that a notification of a subscription, or its end, belongs to.
    pub(crate) fn subscription(&self) -> Option<&Id> {
        self.meta.subscription.as_ref().map(|(id, _)| id)
    }

    /// The request that `notifications/cancelled` is about.
    pub(crate) fn cancels(&self) -> Option<&Id> {
        self.cancels.as_ref()
    }

    /// Whether it is a notification that a request was cancelled.
    pub(crate) fn is_cancellation(&self) -> bool {
        matches!(&self.kind, Kind::Notification { method } if method == "notifications/cancelled")
    }

    /// What the answer to `initialize` says is spoken.
    pub(crate) fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// The text with another id; in the places where the former stands beside it, other ones too.
    pub(crate) fn with(&self, changed: &Changed<'_>) -> Option<String> {
        let mut edits: Vec<(Range<usize>, String)> = Vec::new();
        let mut edit = |at: Option<Range<usize>>, id: Option<&Id>| {
            if let (Some(at), Some(id)) = (at, id) {
                edits.push((at, id.to_string()));
            }
        };
        let at = |token: &Token| token.as_ref().map(|(_, at)| at.clone());
        edit(self.id_at.clone(), changed.id);
        edit(at(&self.meta.token), changed.token);
        edit(at(&self.progress), changed.progress);
        edit(at(&self.meta.subscription), changed.subscription);
        edits.sort_by_key(|(at, _)| at.start);
        let (mut text, mut from) = (String::with_capacity(self.text.len()), 0);
        for (at, new) in edits {
            text.push_str(self.text.get(from..at.start)?);
            text.push_str(&new);
            from = at.end;
        }
        text.push_str(self.text.get(from..)?);
        Some(text)
    }
}

/// What [`Message::with`] replaces, where the message has it.
#[derive(Debug, Default)]
pub(crate) struct Changed<'a> {
    pub(crate) id: Option<&'a Id>,
    pub(crate) token: Option<&'a Id>,
    pub(crate) progress: Option<&'a Id>,
    pub(crate) subscription: Option<&'a Id>,
}

#[derive(Deserialize)]
struct Envelope<'r> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'r RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'r RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'r RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'r RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'r RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'r RawValue>,
}

/// `null` is said, and something else than nothing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Envelope<'_> {
    fn kind(&self) -> Result<Kind, Malformed> {
        let is_answer = self.result.is_some() || self.error.is_some();
        let id = self.id.map(Id::of);
        match (self.method, id) {
            (Some(_), _) if is_answer => Err(Malformed::NoMessage(
                "a message with a `method` has no `result` and no `error`",
            )),
            (Some(_), Some(None)) => {
                Err(Malformed::NoMessage("`id` must be text or a whole number"))
            }
            (Some(method), id) => {
                let method = serde_json::from_str(method.get())
                    .map_err(|_| Malformed::NoMessage("`method` must be text"))?;
                Ok(match id.flatten() {
                    Some(id) => Kind::Request { id, method },
                    None => Kind::Notification { method },
                })
            }
            (None, id) if is_answer => Ok(Kind::Response {
                id: id.flatten(),
                code: self.error.and_then(code),
            }),
            (None, _) => Err(Malformed::NoMessage(
                "a message has a `method`, or an `id` with `result` or `error`",
            )),
        }
    }
}

/// Where an error has no code that can be read it is still one.
fn code(error: &RawValue) -> Option<i64> {
    #[derive(Deserialize)]
    struct Code {
        code: i64,
    }
    let code = serde_json::from_str::<Code>(error.get()).map(|error| error.code);
    Some(code.unwrap_or(INTERNAL))
}

#[derive(Default)]
struct Params<'r> {
    meta: Option<&'r RawValue>,
    progress: Option<&'r RawValue>,
    request: Option<&'r RawValue>,
    revision: Option<String>,
    name: Option<&'r RawValue>,
    uri: Option<&'r RawValue>,
    task: Option<&'r RawValue>,
}

impl<'r> Params<'r> {
    fn named(&self, kind: &Kind) -> Option<String> {
        let Kind::Request { method, .. } = kind else {
            return None;
        };
        let named = match method.as_str() {
            "tools/call" | "prompts/get" => self.name,
            "resources/read" => self.uri,
            "tasks/get" | "tasks/update" | "tasks/cancel" => self.task,
            _ => None,
        };
        named.and_then(text_of)
    }

    /// Of `params` or a `result`. In what is no object nothing is found.
    fn of(raw: &'r RawValue) -> Result<Self, Malformed> {
        #[derive(Deserialize)]
        struct Read<'r> {
            #[serde(borrow, default, rename = "_meta")]
            meta: Option<&'r RawValue>,
            #[serde(borrow, default, rename = "progressToken")]
            progress: Option<&'r RawValue>,
            #[serde(borrow, default, rename = "requestId")]
            request: Option<&'r RawValue>,
            #[serde(borrow, default, rename = "protocolVersion")]
            revision: Option<&'r RawValue>,
            #[serde(borrow, default)]
            name: Option<&'r RawValue>,
            #[serde(borrow, default)]
            uri: Option<&'r RawValue>,
            #[serde(borrow, default, rename = "taskId")]
            task: Option<&'r RawValue>,
        }
        if !raw.get().starts_with('{') {
            return Ok(Self::default());
        }
        let read: Read<'_> = serde_json::from_str(raw.get()).map_err(|_| Malformed::Json)?;
        Ok(Self {
            meta: read.meta,
            progress: read.progress,
            request: read.request,
            revision: read.revision.and_then(text_of),
            name: read.name,
            uri: read.uri,
            task: read.task,
        })
    }
}

impl Meta {
    fn of(text: &str, raw: &RawValue) -> Result<Self, Malformed> {
        #[derive(Deserialize)]
        struct Read<'r> {
            #[serde(borrow, default, rename = "io.modelcontextprotocol/protocolVersion")]
            claim: Option<&'r RawValue>,
            #[serde(borrow, default, rename = "io.modelcontextprotocol/clientCapabilities")]
            capabilities: Option<&'r RawValue>,
            #[serde(borrow, default, rename = "io.modelcontextprotocol/subscriptionId")]
            subscription: Option<&'r RawValue>,
            #[serde(borrow, default, rename = "io.modelcontextprotocol/logLevel")]
            level: Option<&'r RawValue>,
            #[serde(borrow, default, rename = "progressToken")]
            token: Option<&'r RawValue>,
        }
        if !raw.get().starts_with('{') {
            return Ok(Self::default());
        }
        let read: Read<'_> = serde_json::from_str(raw.get()).map_err(|_| Malformed::Json)?;
        Ok(Self {
            claim: read.claim.and_then(text_of),
            has_capabilities: read.capabilities.is_some_and(|c| c.get().starts_with('{')),
            token: read.token.and_then(|raw| token(text, raw)),
            subscription: read.subscription.and_then(|raw| token(text, raw)),
            wants_logs: read.level.is_some(),
        })
    }
}

fn text_of(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

fn token(text: &str, raw: &RawValue) -> Token {
    Some((Id::of(raw)?, span(text, raw)?))
}

/// Where `part`, which was read from `text`, stands in it.
fn span(text: &str, part: &RawValue) -> Option<Range<usize>> {
    let part = part.get();
    let start = part.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (text.get(start..end) == Some(part)).then_some(start..end)
}

/// A JSON-RPC error as one line. Without an id where there is no request that it answers.
pub(crate) fn error(id: Option<&Id>, code: i64, message: &str) -> String {
    error_with(id, code, message, None)
}

/// The same with `data`.
pub(crate) fn error_with(
    id: Option<&Id>,
    code: i64,
    message: &str,
    data: Option<serde_json::Value>,
) -> String {
    let id = id.map(|id| format!("\"id\":{id},")).unwrap_or_default();
    let mut error = serde_json::json!({ "code": code, "message": message });
    if let (Some(members), Some(data)) = (error.as_object_mut(), data) {
        members.insert("data".to_owned(), data);
    }
    format!("{{\"jsonrpc\":\"2.0\",{id}\"error\":{error}}}")
}

/// JSON-RPC's own.
pub(crate) const INTERNAL: i64 = -32603;
/// JSON-RPC's own.
pub(crate) const INVALID: i64 = -32600;
/// JSON-RPC's own.
pub(crate) const PARAMS: i64 = -32602;
/// JSON-RPC's own.
pub(crate) const NO_METHOD: i64 = -32601;
/// MCP 2026-07-28, "Error Codes": the revision is not spoken.
pub(crate) const VERSION: i64 = -32022;
/// MCP 2026-07-28, "Error Codes": head and body disagree.
pub(crate) const HEADER: i64 = -32020;
