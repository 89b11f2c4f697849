//! One message to an MCP server, read in the one way that leaves no doubt how a server will read it.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use mandate_policy::fold;
use serde_json::{Map, Value};

use super::super::body::{has_at_most, strict_json};
use super::super::classify::check_content_type;
use super::fault::{McpFault, REVISIONS};

/// By which rules a message is sent. Servers differ in whether they believe the header or the body where the two
/// disagree, so that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// From 2026-07-28 on: each message for itself, repeated in its header fields.
    Stateless,
    /// Before: `initialize`, and a session.
    Sessions,
}

/// A message that has one reading.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) era: Era,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// It has an id, and will be answered.
    Request(Call),
    Notification(Call),
    /// The answer to a request of the server.
    Response,
}

#[derive(Debug)]
pub(super) struct Call {
    /// Of a request.
    pub(super) id: Option<Value>,
    pub(super) method: String,
    pub(super) params: Map<String, Value>,
}

impl Message {
    /// Reads a message and the header fields that come with it.
    pub(super) fn read(headers: &HeaderMap, bytes: &[u8]) -> Result<Self, McpFault> {
        check_content_type(headers).map_err(|_| McpFault::ContentType)?;
        check_size(bytes)?;
        let kind = kind(strict_json(bytes)?)?;
        let call = match &kind {
            Kind::Request(call) => call,
            Kind::Notification(call) => {
                let claims = call.params.get("_meta").and_then(|meta| meta.get(CLAIM));
                let era = match claims {
                    Some(_) => era(headers, &call.params)?,
                    None => era_of_header(headers)?,
                };
                check_method_header(headers, era, Some(call))?;
                check_name_header(headers, era, call)?;
                check_parameter_headers(headers, call)?;
                return Ok(Self { era, kind });
            }
            Kind::Response => {
                if era_of_header(headers)? == Era::Stateless {
                    return Err(McpFault::NotAMessage(
                        "a server asks nothing that is answered",
                    ));
                }
                check_method_header(headers, Era::Sessions, None)?;
                return Ok(Self {
                    era: Era::Sessions,
                    kind,
                });
            }
        };
        let era = era(headers, &call.params)?;
        check_method_header(headers, era, Some(call))?;
        check_name_header(headers, era, call)?;
        check_parameter_headers(headers, call)?;
        Ok(Self { era, kind })
    }
}

/// What is read of a message takes many times the room of its bytes where it is made of small values.
fn check_size(bytes: &[u8]) -> Result<(), McpFault> {
    if !has_at_most(bytes, MOST_VALUES) {
        return Err(McpFault::NotAMessage("a message has at most 50,000 values"));
    }
    Ok(())
}

fn kind(json: Value) -> Result<Kind, McpFault> {
    let malformed = |why| Err(McpFault::NotAMessage(why));
    let Value::Object(mut members) = json else {
        return malformed("a message is one JSON object; batches are none");
    };
    check_spelling(
        &members,
        &["jsonrpc", "id", "method", "params", "result", "error"],
    )?;
    if members.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return malformed("`jsonrpc` must be \"2.0\"");
    }
    let id = members.remove("id");
    if id.as_ref().is_some_and(|id| !is_id(id)) {
        return malformed("`id` must be text or a whole number");
    }
    let answers = members.contains_key("result") || members.contains_key("error");
    let Some(method) = members.remove("method") else {
        return match (id, answers) {
            (Some(_), true) => Ok(Kind::Response),
            _ => malformed("a message has a `method`, or an `id` with `result` or `error`"),
        };
    };
    let Value::String(method) = method else {
        return malformed("`method` must be text");
    };
    if answers {
        return malformed("a message with a `method` has no `result` and no `error`");
    }
    let params = match members.remove("params") {
        None => Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => return malformed("`params` must be an object"),
    };
    check_spelling(&params, DECIDED)?;
    let is_request = id.is_some();
    let call = Call { id, method, params };
    Ok(match is_request {
        true => Kind::Request(call),
        false => Kind::Notification(call),
    })
}

/// As far as every server counts.
fn is_id(id: &Value) -> bool {
    match id {
        Value::String(_) => true,
        Value::Number(number) => number
            .as_i64()
            .is_some_and(|n| n.unsigned_abs() <= MAX_SAFE),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
    }
}

/// Refuses members that some servers would take for one of `known`: those that differ in letter case alone.
pub(super) fn check_spelling(members: &Map<String, Value>, known: &[&str]) -> Result<(), McpFault> {
    if members.len() > MOST_MEMBERS {
        return Err(McpFault::NotAMessage("an object has too many members"));
    }
    let is_twin = |name: &String| {
        let folded = || fold(name);
        !known.contains(&name.as_str()) && known.iter().any(|known| fold(known) == folded())
    };
    if members.keys().any(is_twin) {
        let why = "a member differs from one that is decided on in letter case only";
        return Err(McpFault::NotAMessage(why));
    }
    Ok(())
}

/// The revision that the header says, or that of sessions where it says none: `initialize` comes without.
fn era_of_header(headers: &HeaderMap) -> Result<Era, McpFault> {
    Ok(match one(headers, VERSION)? {
        Some(revision) => {
            check_revision(revision)?;
            era_of(revision)
        }
        None => Era::Sessions,
    })
}

fn era(headers: &HeaderMap, params: &Map<String, Value>) -> Result<Era, McpFault> {
    let header = one(headers, VERSION)?;
    let meta = match params.get("_meta") {
        None => None,
        Some(Value::Object(meta)) => Some(meta),
        Some(_) => return Err(McpFault::Params("`_meta` must be an object")),
    };
    let claim = match meta.and_then(|meta| meta.get(CLAIM)) {
        None => {
            let era = era_of_header(headers)?;
            if era == Era::Stateless {
                let why = "`_meta` must have `io.modelcontextprotocol/protocolVersion`";
                return Err(McpFault::Params(why));
            }
            return Ok(era);
        }
        Some(Value::String(claim)) => claim,
        Some(_) => return Err(McpFault::Params("the protocol version must be text")),
    };
    if header != Some(claim) {
        let why = "`MCP-Protocol-Version` must say what `_meta` says";
        return Err(McpFault::Header(why));
    }
    check_revision(claim)?;
    if era_of(claim) == Era::Sessions {
        let why = "this revision of MCP says its version in no message";
        return Err(McpFault::Params(why));
    }
    Ok(Era::Stateless)
}

fn check_revision(revision: &str) -> Result<(), McpFault> {
    if REVISIONS.contains(&revision) {
        return Ok(());
    }
    Err(McpFault::Version {
        requested: revision.chars().take(32).collect(),
    })
}

fn era_of(revision: &str) -> Era {
    if revision >= FIRST_STATELESS {
        Era::Stateless
    } else {
        Era::Sessions
    }
}

/// `Mcp-Method` is the method, wherever it stands; from 2026-07-28 on it must stand beside each request.
fn check_method_header(headers: &HeaderMap, era: Era, call: Option<&Call>) -> Result<(), McpFault> {
    let said = one(headers, METHOD)?;
    let agrees = match (said, call) {
        (Some(said), Some(call)) => said == call.method,
        (Some(_), None) => false,
        (None, _) => era == Era::Sessions,
    };
    let why = "`Mcp-Method` must be the message's `method`";
    agrees.then_some(()).ok_or(McpFault::Header(why))
}

/// `Mcp-Name` is the name of what is used, and stands beside no other method.
fn check_name_header(headers: &HeaderMap, era: Era, call: &Call) -> Result<(), McpFault> {
    let said = one(headers, NAME)?.map(decoded).transpose()?;
    let member = match &*call.method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    };
    let named = member.map(|member| call.params.get(member).and_then(Value::as_str));
    let agrees = match (said, named) {
        (Some(said), Some(named)) => named == Some(&*said),
        (Some(_), None) => false,
        (None, Some(_)) => era == Era::Sessions,
        (None, None) => true,
    };
    let why =
        "`Mcp-Name` must be the name that the message has, and stand beside no message without one";
    agrees.then_some(()).ok_or(McpFault::Header(why))
}

/// Each `Mcp-Param-*` repeats some argument. Of which one it must be the tool's schema says, and the server sees to
/// that; what no argument says is refused here.
fn check_parameter_headers(headers: &HeaderMap, call: &Call) -> Result<(), McpFault> {
    let arguments = call.params.get("arguments");
    let repeating = |name: &&http::HeaderName| name.as_str().starts_with(PARAMETER);
    let names: Vec<_> = headers.keys().filter(repeating).collect();
    if names.len() > MOST_PARAMETERS {
        return Err(McpFault::Header("there are too many `Mcp-Param-*` fields"));
    }
    for name in names {
        let said = one(headers, name.as_str())?.map(decoded).transpose()?;
        let said = said.unwrap_or_default();
        if !arguments.is_some_and(|arguments| says(arguments, &said)) {
            let why = "an `Mcp-Param-*` field says what no argument says";
            return Err(McpFault::Header(why));
        }
    }
    Ok(())
}

fn says(value: &Value, text: &str) -> bool {
    match value {
        Value::String(said) => said == text,
        Value::Bool(said) => text == if *said { "true" } else { "false" },
        Value::Number(said) => {
            said.to_string() == text
                || said
                    .as_f64()
                    .is_some_and(|said| text.parse::<f64>().is_ok_and(|other| other == said))
        }
        Value::Object(members) => members.values().any(|value| says(value, text)),
        Value::Null | Value::Array(_) => false,
    }
}

/// The one value of a field, without the spaces around it. Of two, servers take the first, the last or both.
fn one<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, McpFault> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        let why = "a field that repeats the message stands twice";
        return Err(McpFault::Header(why));
    }
    let Some(value) = first else { return Ok(None) };
    let why = "a field that repeats the message is not ASCII: encode it as `=?base64?…?=`";
    let text = value.to_str().map_err(|_| McpFault::Header(why))?;
    Ok(Some(text.trim_matches([' ', '\t'])))
}

/// `=?base64?…?=` holds what a field cannot (MCP 2026-07-28, "Request Metadata"); anything else is itself.
fn decoded(said: &str) -> Result<Cow<'_, str>, McpFault> {
    let inner = said
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="));
    let Some(inner) = inner else {
        return Ok(Cow::Borrowed(said));
    };
    let malformed =
        || McpFault::Header("a field has malformed base64 between `=?base64?` and `?=`");
    let bytes = STANDARD.decode(inner).map_err(|_| malformed())?;
    String::from_utf8(bytes)
        .map(Cow::Owned)
        .map_err(|_| malformed())
}

/// `name` as `Mcp-Name` has it: what a field cannot hold as `=?base64?…?=` (MCP 2026-07-28, "Request Metadata").
pub fn as_field(name: &str) -> Cow<'_, str> {
    let plain = name.bytes().all(|b| (b' '..=b'~').contains(&b)) && name.trim() == name;
    if plain && !(name.starts_with("=?base64?") && name.ends_with("?=")) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(format!("=?base64?{}?=", STANDARD.encode(name)))
}

pub(super) const CLAIM: &str = "io.modelcontextprotocol/protocolVersion";
pub(super) const FIRST_STATELESS: &str = "2026-07-28";
const VERSION: &str = "mcp-protocol-version";
const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";
const PARAMETER: &str = "mcp-param-";
const MOST_PARAMETERS: usize = 32;
const MOST_VALUES: usize = 50_000;
/// Of a message and its `params`, each of which is compared with those that are known.
const MOST_MEMBERS: usize = 64;
/// The largest whole number that a double holds (RFC 8259 §6).
const MAX_SAFE: u64 = (1 << 53) - 1;
/// The members of `params` that something is decided on.
const DECIDED: &[&str] = &[
    "_meta",
    "arguments",
    "context",
    "cursor",
    "name",
    "notifications",
    "ref",
    "requestState",
    "task",
    "taskId",
    "uri",
];
