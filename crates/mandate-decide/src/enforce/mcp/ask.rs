//! What a message asks for, by its method.

use std::borrow::Cow;

use mandate_policy::decl::{PROMPT, RESOURCE, TOOL};
use serde_json::{Map, Value};

use super::fault::{McpFault, TASKS};
use super::message::{Call, Era, Kind, Message, check_spelling};
use super::uri;

/// What is asked for.
#[derive(Debug)]
pub(super) enum Ask<'m> {
    /// Something that is an action, or nothing.
    Use(Uses<'m>),
    /// What is no use of anything: what there is, what the server can do, the session itself.
    Speak,
}

/// What is used, all of it at once.
#[derive(Debug, Default)]
pub(super) struct Uses<'m> {
    pub(super) now: Vec<Used<'m>>,
    /// By the ids that the agent has of tasks: what was called goes on.
    pub(super) before: Vec<&'m str>,
    /// Whether a call is only asked after, or ended: it was counted when it was made.
    pub(super) follows: bool,
}

/// A tool, prompt or resource that is used.
#[derive(Debug)]
pub(super) struct Used<'m> {
    /// `tool`, `prompt` or `resource`.
    pub(super) kind: &'static str,
    /// Its name, or the segments of its URI.
    pub(super) segments: Vec<Cow<'m, str>>,
    /// An object.
    pub(super) arguments: Option<Cow<'m, Value>>,
}

/// What `message` asks for. A method that is not listed here is denied.
pub(super) fn of(message: &Message) -> Result<Ask<'_>, McpFault> {
    let unknown = McpFault::Method { era: message.era };
    let sessions = message.era == Era::Sessions;
    let call = match &message.kind {
        Kind::Response => return Ok(Ask::Speak),
        Kind::Notification(call) => {
            let known = match &*call.method {
                "notifications/cancelled" | "notifications/progress" => true,
                "notifications/initialized" | "notifications/roots/list_changed" => sessions,
                _ => false,
            };
            return known.then_some(Ask::Speak).ok_or(unknown);
        }
        Kind::Request(call) => call,
    };
    match &*call.method {
        "tools/call" => called(call),
        "prompts/get" => used(named(PROMPT, &call.params)?, arguments(&call.params)?),
        "resources/read" => used_resource(&call.params),
        "resources/subscribe" | "resources/unsubscribe" if sessions => used_resource(&call.params),
        "completion/complete" => completed(&call.params),
        "subscriptions/listen" if !sessions => listened(&call.params),
        "tasks/get" | "tasks/cancel" | "tasks/update" if !sessions => {
            check_knows_tasks(&call.params)?;
            followed(&call.params, call.method != "tasks/update")
        }
        "tasks/get" | "tasks/cancel" | "tasks/result" if sessions => followed(&call.params, true),
        "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list" => {
            Ok(Ask::Speak)
        }
        "initialize" | "ping" | "logging/setLevel" if sessions => Ok(Ask::Speak),
        "server/discover" if !sessions => Ok(Ask::Speak),
        _ => Err(unknown),
    }
}

type Named<'m> = (&'static str, Vec<Cow<'m, str>>);

fn used<'m>(
    (kind, segments): Named<'m>,
    arguments: Option<Cow<'m, Value>>,
) -> Result<Ask<'m>, McpFault> {
    let now = vec![Used {
        kind,
        segments,
        arguments,
    }];
    Ok(Ask::Use(Uses {
        now,
        ..Uses::default()
    }))
}

fn called(call: &Call) -> Result<Ask<'_>, McpFault> {
    used(named(TOOL, &call.params)?, arguments(&call.params)?)
}

/// A server would say it too, of a task that it knows: of one that is nobody's, the gateway has to.
fn check_knows_tasks(params: &Map<String, Value>) -> Result<(), McpFault> {
    let meta = params.get("_meta");
    let capabilities = meta.and_then(|meta| meta.get("io.modelcontextprotocol/clientCapabilities"));
    let extensions = capabilities.and_then(|said| said.get("extensions"));
    let known = extensions.is_some_and(|known| known.get(TASKS).is_some());
    known.then_some(()).ok_or(McpFault::TasksUnknown)
}

/// A call that goes on as a task: what it was is in the id that the agent got for it.
fn followed(params: &Map<String, Value>, follows: bool) -> Result<Ask<'_>, McpFault> {
    let id = text(params, "taskId").ok_or(NO_TASK_ID)?;
    Ok(Ask::Use(Uses {
        before: vec![id],
        follows,
        ..Uses::default()
    }))
}

fn used_resource(params: &Map<String, Value>) -> Result<Ask<'_>, McpFault> {
    let uri = text(params, "uri").ok_or(NO_URI)?;
    used((RESOURCE, uri::segments(uri)?), None)
}

/// Whoever completes what a prompt or resource takes learns what there is of it: it is asked as if they used it, with
/// what they have typed for an argument beside what the context says of it.
fn completed(params: &Map<String, Value>) -> Result<Ask<'_>, McpFault> {
    let why = "`ref` must be a `ref/prompt` with a `name`, or a `ref/resource` with a `uri`";
    let Some(Value::Object(reference)) = params.get("ref") else {
        return Err(McpFault::Params(why));
    };
    check_spelling(reference, &["type", "name", "uri"])?;
    match text(reference, "type") {
        Some("ref/prompt") => used(named(PROMPT, reference)?, Some(Cow::Owned(typed(params)?))),
        Some("ref/resource") => used_resource(reference),
        _ => Err(McpFault::Params(why)),
    }
}

/// The arguments of a completion: each value of one counts.
fn typed(params: &Map<String, Value>) -> Result<Value, McpFault> {
    let why = "`argument` must have a `name` and a `value`, both texts";
    let context = match params.get("context") {
        Some(Value::Object(context)) => arguments(context)?,
        Some(_) => return Err(McpFault::Params("`context` must be an object")),
        None => None,
    };
    let mut all = match context.as_deref() {
        Some(Value::Object(context)) => context.clone(),
        Some(_) | None => Map::new(),
    };
    let argument = params.get("argument").and_then(Value::as_object);
    let argument = argument.ok_or(McpFault::Params(why))?;
    check_spelling(argument, &["name", "value"])?;
    let (name, value) = (text(argument, "name"), text(argument, "value"));
    let (name, value) = name.zip(value).ok_or(McpFault::Params(why))?;
    let value = Value::from(value);
    let value = match all.remove(name) {
        Some(before) => Value::Array(vec![before, value]),
        None => value,
    };
    all.insert(name.to_owned(), value);
    Ok(Value::Object(all))
}

/// A stream that tells of changes: of the lists; of resources, each of which must be one that may be read; of tasks,
/// each of which must be one that may be made.
fn listened(params: &Map<String, Value>) -> Result<Ask<'_>, McpFault> {
    let Some(Value::Object(wanted)) = params.get("notifications") else {
        return Err(McpFault::Params(
            "`notifications` must say what is listened for",
        ));
    };
    let (mut resources, mut tasks) = (Vec::new(), Vec::new());
    for (name, value) in wanted {
        match (name.as_str(), value) {
            (
                "toolsListChanged" | "promptsListChanged" | "resourcesListChanged",
                Value::Bool(_),
            ) => {}
            ("resourceSubscriptions", Value::Array(uris)) if uris.len() <= MOST_RESOURCES => {
                for uri in uris {
                    let uri = uri.as_str().ok_or(NO_URI)?;
                    resources.push(Used {
                        kind: RESOURCE,
                        segments: uri::segments(uri)?,
                        arguments: None,
                    });
                }
            }
            ("taskIds", Value::Array(ids)) if ids.len() <= MOST_RESOURCES => {
                for id in ids {
                    tasks.push(id.as_str().ok_or(NO_TASK_ID)?);
                }
            }
            _ => return Err(McpFault::Unsupported("this is not listened for here")),
        }
    }
    if resources.is_empty() && tasks.is_empty() {
        return Ok(Ask::Speak);
    }
    Ok(Ask::Use(Uses {
        follows: resources.is_empty(),
        now: resources,
        before: tasks,
    }))
}

fn named<'m>(kind: &'static str, params: &'m Map<String, Value>) -> Result<Named<'m>, McpFault> {
    let name = text(params, "name").ok_or(McpFault::Params("`name` must be text"))?;
    Ok((kind, vec![Cow::Borrowed(name)]))
}

fn arguments(params: &Map<String, Value>) -> Result<Option<Cow<'_, Value>>, McpFault> {
    match params.get("arguments") {
        None => Ok(None),
        Some(arguments @ Value::Object(_)) => Ok(Some(Cow::Borrowed(arguments))),
        Some(_) => Err(McpFault::Params("`arguments` must be an object")),
    }
}

fn text<'m>(params: &'m Map<String, Value>, name: &str) -> Option<&'m str> {
    params.get(name).and_then(Value::as_str)
}

const NO_URI: McpFault = McpFault::Params("a resource's `uri` must be text");
const NO_TASK_ID: McpFault = McpFault::Params("a task's `taskId` must be text");
/// In one stream of changes; tasks too.
const MOST_RESOURCES: usize = 32;
