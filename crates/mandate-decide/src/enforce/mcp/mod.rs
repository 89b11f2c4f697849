//! Messages to MCP servers (Streamable HTTP, revisions up to 2026-07-28): which action one is, and its attributes.
//!
//! The body decides, and whatever repeats it in the head must agree (FAILURES 37). What is not known is denied: a
//! method, a tool that no action names, an attribute of another type. What is no use of anything (`initialize`,
//! lists, notifications) is no action: whoever may use something of the server in their task may say it, and
//! [`may_be_shown`] says what a list shows them.

mod ask;
mod fault;
mod kept;
mod list;
mod manifest;
mod message;
mod raw;
mod state;
mod task;
#[cfg(test)]
mod tests;
mod uri;

use std::borrow::Cow;

use http::HeaderMap;
use mandate_model::{ActionName, AttributeName, Effect, RequestAttributes, ServerName};
use mandate_policy::Bundle;
use mandate_policy::decl::{
    Attribute, AttributeSource, McpSettings, PROMPT, RESOURCE, ServerWorkload, TOOL,
};
use mandate_token::AccessToken;
use serde_json::Value;

use super::body::{Scalar, has_case_twin, strict_json};
use super::classify::{
    Classified, Pending, RequestHead, Said, Unclassifiable, add, found, json_scalars, typed,
};
use super::target::Target;
use ask::{Ask, Used, Uses};
pub use fault::McpFault;
pub use kept::{Kept, with_kept, with_restored};
pub use list::shown;
pub use manifest::{Seen, ToolPage, accepted_tool, check_tool, seen, tells_of, tool_page};
pub use message::{Era, as_field};
use message::{Kind, Message};
pub use state::Round;
pub use task::{GivenTask, as_call, given};

/// What a request to an MCP server is, by its head: a message, which its body says, or a session's stream or end.
pub(super) fn by_head<'a>(
    server: &'a ServerWorkload,
    mcp: &McpSettings,
    head: &RequestHead<'_>,
    target: &Target<'_>,
) -> Result<Pending<'a>, Unclassifiable> {
    let endpoint = mcp.path.split('/').skip(1);
    let query = head.path_and_query.contains('?');
    if query || !endpoint.eq(target.segments().iter().map(AsRef::as_ref)) {
        return Err(Unclassifiable::NoAction);
    }
    let repeats = |name: &&http::HeaderName| {
        name.as_str().starts_with("mcp-") && !OF_A_SESSION.contains(&name.as_str())
    };
    if head.method != "POST" && head.headers.keys().any(|name| repeats(&name)) {
        return Err(McpFault::Header("there is no message that this field could repeat").into());
    }
    match head.method {
        "POST" => Ok(Pending::message(server)),
        "GET" => Ok(Pending::whole(spoken("mcp stream", Era::Sessions))),
        "DELETE" => Ok(Pending::whole(spoken("mcp end of session", Era::Sessions))),
        _ => Err(Unclassifiable::NoAction),
    }
}

/// Why an answer of a server is withheld.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the upstream's answer cannot be read in one way")]
pub struct UnreadableAnswer;

fn spoken(words: &str, era: Era) -> Classified {
    Classified {
        action: None,
        effect: Effect::Read,
        attributes: RequestAttributes::new(),
        shape: words.to_owned(),
        said: said(era),
    }
}

fn said(era: Era) -> Option<Box<Said>> {
    Some(Box::new(Said {
        era,
        round: None,
        tasks: Vec::new(),
        follows: false,
        tool: None,
        id: None,
    }))
}

/// Which action a message is, and its attributes.
pub(super) fn by_message(
    server: &ServerWorkload,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Classified, Unclassifiable> {
    let message = Message::read(headers, body)?;
    let era = message.era;
    let Uses {
        now,
        before,
        follows,
    } = match ask::of(&message)? {
        Ask::Speak => {
            let words = match &message.kind {
                Kind::Request(call) | Kind::Notification(call) => &call.method,
                Kind::Response => "response",
            };
            return Ok(spoken(&format!("mcp {words}"), era));
        }
        Ask::Use(uses) => uses,
    };
    let now = now.iter().map(|used| action_of(server, used, era));
    let before = before.iter().map(|id| task::again(server, id, era));
    let mut classified: Option<Classified> = None;
    for one in now.chain(before) {
        let one = one?;
        classified = Some(match classified {
            None => one,
            Some(all) => all.and(one).ok_or(McpFault::Unsupported(
                "resources and tasks of several actions are listened for in streams of their own",
            ))?,
        });
    }
    let mut classified = classified.ok_or(Unclassifiable::NoAction)?;
    if follows {
        classified.effect = Effect::Read;
    }
    if let (Some(said), Kind::Request(call)) = (&mut classified.said, &message.kind) {
        said.follows = follows;
        said.id = call.id.clone();
        if era == Era::Stateless {
            said.round = Some(Round::of(&call.method, &call.params)?);
        }
        let name = call.params.get("name").and_then(Value::as_str);
        said.tool = name
            .filter(|_| call.method == "tools/call")
            .map(str::to_owned);
    }
    Ok(classified)
}

fn action_of(
    server: &ServerWorkload,
    used: &Used<'_>,
    era: Era,
) -> Result<Classified, Unclassifiable> {
    let segments: Vec<&str> = used.segments.iter().map(AsRef::as_ref).collect();
    let undeclared = |_| Unclassifiable::Undeclared(used.kind);
    let (action, shape, variables) = found(server, used.kind, &segments).map_err(undeclared)?;
    let mut attributes = RequestAttributes::new();
    for (name, attribute) in &action.attributes {
        match &attribute.source {
            AttributeSource::Path(variable) => {
                let text = variables.get(variable).map(String::as_str);
                add(&mut attributes, name, attribute, text)?;
            }
            AttributeSource::Argument(pointer) => {
                if let Some(arguments) = &used.arguments {
                    let found = argument(arguments, used.kind, (name, attribute), pointer)?;
                    let texts = found.iter().map(String::as_str);
                    add(&mut attributes, name, attribute, texts)?;
                }
            }
            // No action of an MCP server has one of these; one that had would be denied.
            AttributeSource::Query(_) | AttributeSource::Header(_) | AttributeSource::Body(_) => {
                return Err(Unclassifiable::NoAction);
            }
        }
    }
    Ok(Classified {
        action: Some(action.name.clone()),
        effect: action.effect,
        attributes,
        shape,
        said: said(era),
    })
}

/// The values of an argument. Those of a prompt are texts, whatever they stand for.
fn argument(
    arguments: &Value,
    kind: &str,
    (name, attribute): (&AttributeName, &Attribute),
    pointer: &str,
) -> Result<Vec<String>, Unclassifiable> {
    if has_case_twin(arguments, pointer) {
        return Err(Unclassifiable::BodyCase(name.clone()));
    }
    let found = json_scalars(arguments, pointer, name)?;
    let texts = found.iter().map(|scalar| match (scalar, kind) {
        (Scalar::Text(text), PROMPT) => Ok(text.as_str()),
        _ => typed(scalar, name, attribute),
    });
    texts.map(|text| text.map(str::to_owned)).collect()
}

/// The kinds of what MCP servers list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// `tools/list`: by `name`.
    Tools,
    /// `prompts/list`: by `name`.
    Prompts,
    /// `resources/list`: by `uri`.
    Resources,
    /// `resources/templates/list`: by `uriTemplate`.
    Templates,
}

impl Listed {
    /// Every one, with the member of a result that has the list, and the member of an item that names it.
    pub const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::Tools, "tools", "name"),
        (Self::Prompts, "prompts", "name"),
        (Self::Resources, "resources", "uri"),
        (Self::Templates, "resourceTemplates", "uriTemplate"),
    ];
}

/// Whether a list of `server` shows `named` to who holds `token`: an action names it, an entry of the mandate the
/// action, and an access policy the agent type for it. A courtesy: what is used is decided then.
pub fn may_be_shown(
    bundle: &Bundle,
    server: &ServerWorkload,
    token: &AccessToken,
    listed: Listed,
    named: &str,
) -> bool {
    let (kind, segments) = match listed {
        Listed::Tools => (TOOL, vec![Cow::Borrowed(named)]),
        Listed::Prompts => (PROMPT, vec![Cow::Borrowed(named)]),
        Listed::Resources | Listed::Templates => match uri::segments(named) {
            Ok(segments) => (RESOURCE, segments),
            Err(_) => return false,
        },
    };
    let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    let matched = server.match_request(kind, &segments);
    matched.is_some_and(|matched| may_use(bundle, &server.name, token, &matched.action.name))
}

/// Whether some request for `action` could be admitted by what the token and the access policies say of it.
pub(super) fn may_use(
    bundle: &Bundle,
    server: &ServerName,
    token: &AccessToken,
    action: &ActionName,
) -> bool {
    let mut entries = token.entries.for_action(server, action);
    let agent = token.acting.actor().sub.agent_type();
    let could = |agent| bundle.could_exercise(&agent, server, action);
    entries.next().is_some() && agent.is_some_and(could)
}

/// Whom a refusal is for: the id of the request that it answers, and whether that is a tool's call, whose refusal is
/// a result that a model sees.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Addressee {
    /// Text or a whole number, as it came; absent where it cannot be told.
    pub id: Option<Value>,
    /// The method and what is used, for people: escaped, and no longer than a record has room for.
    pub words: Option<String>,
    /// Whether it is `tools/call`.
    pub is_tool_call: bool,
    /// Whether it says its revision itself, as messages do from 2026-07-28 on.
    pub is_stateless: bool,
}

impl Addressee {
    /// Of a message that may be malformed in any way.
    pub fn of(body: &[u8]) -> Self {
        let Ok(Value::Object(members)) = strict_json(body) else {
            return Self::default();
        };
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(escaped);
        // Of a URI its scheme: what follows may be personal, or a secret.
        let scheme = |value: &Value| {
            let scheme = value.as_str()?.split_once(':')?.0;
            Some(format!("{}:", escaped(scheme)))
        };
        let Some(method) = text(members.get("method")) else {
            return Self::default();
        };
        let params = members.get("params");
        let named = params.and_then(|params| {
            let uri = || params.get("uri").and_then(scheme);
            text(params.get("name")).or_else(uri)
        });
        let id = members.get("id");
        Self {
            id: id.filter(|id| id.is_string() || id.is_i64()).cloned(),
            is_tool_call: method == "tools/call",
            is_stateless: params
                .and_then(|params| params.get("_meta")?.get(message::CLAIM))
                .is_some(),
            words: Some(match named {
                Some(named) => format!("mcp {method} {named}"),
                None => format!("mcp {method}"),
            }),
        }
    }
}

/// As much of a name as a record shows, without what could be taken for something else there.
fn escaped(text: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && !"\"<>\\^`{|}".contains(c);
    let shown = |c: char| if plain(c) { c } else { '_' };
    text.chars().take(LONGEST_NAME).map(shown).collect()
}

const LONGEST_NAME: usize = 128;
/// What goes with a stream of a session, and with its end.
const OF_A_SESSION: [&str; 2] = ["mcp-protocol-version", "mcp-session-id"];
