//! Actions: how requests look and which attributes they have.

use std::collections::{BTreeMap, BTreeSet};

use mandate_model::{ActionName, AttributeName, AttributeType, Effect};

use super::http::attribute_header;
use super::place_of;
use super::read::text;
use crate::decl::{Action, Attribute, AttributeSource, LogStyle, Matcher, Route};
use crate::mistake::{Mistakes, Place, did_you_mean};
use crate::source::Node;

/// How requests of a server workload are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    /// By method and path.
    Http,
    /// By the tool, prompt or resource that is used.
    Mcp,
    /// By the method that is called, or, where an action has none, by method and path.
    A2a,
}

pub(super) fn actions(
    spec: &Node,
    spoken: Spoken,
    mistakes: &mut Mistakes,
) -> BTreeMap<ActionName, Action> {
    let members = spec.get("actions").into_iter().flat_map(Node::members);
    let mut found = BTreeMap::new();
    for (key, node) in members {
        match ActionName::parse(&key.name) {
            Err(error) => mistakes.error(key.at, error.to_string(), ""),
            Ok(name) => {
                if let Some(action) = action(&name, node, spoken, mistakes) {
                    found.insert(name, action);
                }
            }
        }
    }
    found
}

fn action(
    name: &ActionName,
    node: &Node,
    spoken: Spoken,
    mistakes: &mut Mistakes,
) -> Option<Action> {
    let patterns = || node.get("match").into_iter().flat_map(Node::items);
    let mut texts = patterns().filter_map(Node::text);
    let is_call = texts.any(|text| text.starts_with("rpc "));
    let spoken = if spoken == Spoken::A2a && !is_call {
        Spoken::Http
    } else {
        spoken
    };
    let (parse, example): (fn(&str) -> _, _) = match spoken {
        Spoken::A2a => (
            Route::parse_rpc,
            "say it as `rpc SendMessage`; what is no call has an action of its own",
        ),
        Spoken::Http => (Route::parse, "say it as `GET /customers/{customer}/**`"),
        Spoken::Mcp => (
            Route::parse_mcp,
            "say it as `tool read_file` or `resource file:///reports/{customer}/**`",
        ),
    };
    let mut routes = Vec::new();
    for pattern in patterns() {
        match pattern.text().map(parse) {
            Some(Ok(route)) => routes.push(route),
            Some(Err(why)) => mistakes.error(pattern.at, why.to_string(), example),
            None => {}
        }
    }
    let attributes = attributes(node, &routes, spoken, mistakes);
    if routes.is_empty() {
        return None;
    }
    Some(Action {
        name: name.clone(),
        effect: effect(node),
        upgrade: match spoken {
            Spoken::Http => upgrade(node, &routes, &attributes, mistakes),
            Spoken::Mcp | Spoken::A2a => no_upgrade(node, mistakes),
        },
        routes,
        attributes,
    })
}

/// Protocols that are agreed on within HTTP/1.1 by a `GET` (RFC 9110 §7.8). Another HTTP would be requests that
/// nobody decides on.
fn upgrade(
    node: &Node,
    routes: &[Route],
    attributes: &BTreeMap<AttributeName, Attribute>,
    mistakes: &mut Mistakes,
) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let Some(declared) = node.get("upgrade") else {
        return found;
    };
    for item in declared.items() {
        let Some(name) = item.text() else { continue };
        let token = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._/".contains(&b);
        let is_name = !name.is_empty() && name.bytes().all(token);
        let is_http = ["http", "h2", "h3", "tls"]
            .iter()
            .any(|known| name.starts_with(known));
        if !is_name {
            let message = format!("`{name}` is no protocol");
            mistakes.error(item.at, message, "say it in lower case: `websocket`");
        } else if is_http {
            let message =
                format!("an upgrade to `{name}` would carry requests that nobody decides on");
            mistakes.error(item.at, message, "leave it out");
        } else {
            found.insert(name.to_owned());
        }
    }
    let reads_body = |a: &Attribute| matches!(a.source, AttributeSource::Body(_));
    if attributes.values().any(reads_body) {
        let message = "an upgrade has no body, so no attribute can be read from one";
        mistakes.error(declared.at, message, "read it from path, query or header");
    }
    if let Some(route) = routes.iter().find(|route| route.method != "GET") {
        let message = format!("`{route}` is no `GET`, and an upgrade is one");
        mistakes.error(
            declared.at,
            message,
            "give the upgrade an action of its own",
        );
    }
    found
}

fn no_upgrade(node: &Node, mistakes: &mut Mistakes) -> BTreeSet<String> {
    if let Some(declared) = node.get("upgrade") {
        let message = "messages of JSON-RPC switch to no other protocol";
        mistakes.error(declared.at, message, "leave `upgrade` out");
    }
    BTreeSet::new()
}

/// An effect that is missing or none has been noted as a mistake, and the bundle does not load; what else
/// is wrong with the action is looked for as if it wrote.
fn effect(node: &Node) -> Effect {
    match node.get("effect").and_then(Node::text) {
        Some("read") => Effect::Read,
        Some(_) | None => Effect::Write,
    }
}

/// The declared attributes, and one for each variable that none of them takes.
fn attributes(
    node: &Node,
    routes: &[Route],
    spoken: Spoken,
    mistakes: &mut Mistakes,
) -> BTreeMap<AttributeName, Attribute> {
    let variables: BTreeSet<&str> = routes.iter().flat_map(Route::variables).collect();
    let mut found = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for (key, node) in node.get("attributes").into_iter().flat_map(Node::members) {
        let name = match AttributeName::parse(&key.name) {
            Ok(name) => name,
            Err(error) => {
                mistakes.error(key.at, error.to_string(), "");
                continue;
            }
        };
        let place = AttributePlace {
            name: &name,
            at: key.at,
            spoken,
        };
        if let Some(attribute) = attribute(&place, node, &variables, mistakes) {
            if let AttributeSource::Path(variable) = &attribute.source {
                taken.insert(variable.clone());
            }
            found.insert(name, attribute);
        }
    }
    for variable in variables {
        if !taken.contains(variable)
            && let Ok(name) = AttributeName::parse(variable)
        {
            found.entry(name).or_insert(Attribute {
                source: AttributeSource::Path(variable.to_owned()),
                ty: AttributeType::String,
                log: LogStyle::Plain,
            });
        }
    }
    found
}

/// Which attribute it is that is read, of what kind of server workload.
struct AttributePlace<'a> {
    name: &'a AttributeName,
    at: Place,
    spoken: Spoken,
}

fn attribute(
    place: &AttributePlace<'_>,
    node: &Node,
    variables: &BTreeSet<&str>,
    mistakes: &mut Mistakes,
) -> Option<Attribute> {
    let at = place.at;
    let source = attribute_source(place, node, mistakes)?;
    if let AttributeSource::Path(variable) = &source
        && !variables.contains(variable.as_str())
    {
        let (place_spoken, place) = (place.spoken, node.get("path").map_or(at, |n| n.at));
        let message = format!("no path of this action has a variable `{{{variable}}}`");
        let help = match did_you_mean(variable, variables.iter().copied()) {
            hint if hint.is_empty() => match place_spoken {
                Spoken::Http => "say where it is: `path`, `query`, `header` or `body`",
                Spoken::Mcp => "say where it is: `path` of a resource's URI, or `argument`",
                Spoken::A2a => "say where it is: `argument`, or a pointer alone",
            }
            .to_owned(),
            hint => hint,
        };
        mistakes.error(place, message, help);
        return None;
    }
    Some(Attribute {
        source,
        ty: attribute_type(node, mistakes)?,
        log: match text(node, "log").as_deref() {
            Some("hash") => LogStyle::Hash,
            Some(_) | None => LogStyle::Plain,
        },
    })
}

fn attribute_source(
    place: &AttributePlace<'_>,
    node: &Node,
    mistakes: &mut Mistakes,
) -> Option<AttributeSource> {
    let AttributePlace { name, at, spoken } = *place;
    if node.text().is_some() {
        if spoken != Spoken::Http {
            return pointer(node, mistakes).map(AttributeSource::Argument);
        }
        let message = "a pointer alone is an argument of an MCP server's tool, or of a call, which this is not";
        mistakes.error(node.at, message, "say it as `{body: /amount_cents}`");
        return None;
    }
    let said: Vec<&str> = SOURCES
        .into_iter()
        .filter(|field| node.get(field).is_some())
        .collect();
    let foreign = match spoken {
        Spoken::Http => &["argument"][..],
        Spoken::Mcp => &["query", "header", "body"][..],
        Spoken::A2a => &["path", "query", "header", "body"][..],
    };
    if let Some(field) = said.iter().find(|field| foreign.contains(field)) {
        let (message, help) = match spoken {
            Spoken::Http => (
                format!("`{field}` is of an MCP server or a call, which this is not"),
                "read it from `path`, `query`, `header` or `body`, or add `mcp: {}` to the server workload",
            ),
            Spoken::A2a => (
                format!("no attribute of a call comes from `{field}`"),
                "read it from an `argument`: a JSON pointer into `params`",
            ),
            Spoken::Mcp => (
                format!("no attribute of an MCP server's action comes from `{field}`"),
                "read it from an `argument`, or from the `path` of a resource's URI",
            ),
        };
        mistakes.error(place_of(node, field), message, help);
        return None;
    }
    match said.as_slice() {
        [] => Some(AttributeSource::Path(name.as_str().to_owned())),
        ["path"] => text(node, "path").map(AttributeSource::Path),
        ["query"] => text(node, "query").map(AttributeSource::Query),
        ["header"] => attribute_header(node.get("header")?, mistakes).map(AttributeSource::Header),
        ["body"] => pointer(node.get("body")?, mistakes).map(AttributeSource::Body),
        ["argument"] => pointer(node.get("argument")?, mistakes).map(AttributeSource::Argument),
        _ => {
            let message = format!("`{name}` comes from {}", said.join(" and from "));
            mistakes.error(
                at,
                message,
                "keep one of them: where a value comes from is one place",
            );
            None
        }
    }
}

fn pointer(node: &Node, mistakes: &mut Mistakes) -> Option<String> {
    let text = node.text()?;
    let escaped = text
        .split('~')
        .skip(1)
        .all(|rest| rest.starts_with(['0', '1']));
    if text.starts_with('/') && escaped {
        return Some(text.to_owned());
    }
    mistakes.error(
        node.at,
        format!("`{text}` is no JSON pointer (RFC 6901)"),
        "say it as `/amount_cents`",
    );
    None
}

fn attribute_type(node: &Node, mistakes: &mut Mistakes) -> Option<AttributeType> {
    let ty = text(node, "type");
    let values = node.get("values");
    let ty = match ty.as_deref() {
        None | Some("string") => AttributeType::String,
        Some("integer") => AttributeType::Integer,
        Some("uuid") => AttributeType::Uuid,
        Some("path") => AttributeType::Path,
        Some("enum") => {
            let Some(values) = values else {
                mistakes.error(
                    place_of(node, "type"),
                    "an `enum` lists its `values`",
                    "add `values`",
                );
                return None;
            };
            let words = values
                .items()
                .iter()
                .filter_map(|n| Some(n.text()?.to_owned()));
            return Some(AttributeType::Enum(words.collect()));
        }
        Some(_) => return None,
    };
    if let Some(values) = values {
        mistakes.error(
            values.at,
            "`values` belongs to an `enum`",
            "say `type: enum`, or remove `values`",
        );
    }
    Some(ty)
}

pub(super) fn matcher(
    spec: &Node,
    actions: &BTreeMap<ActionName, Action>,
    mistakes: &mut Mistakes,
) -> Matcher {
    match Matcher::new(actions) {
        Ok(matcher) => matcher,
        Err(pairs) => {
            for pair in pairs {
                let (action, route) = &pair.second;
                let (other, first) = &pair.first;
                let slash_only = route.is_slash_twin_of(first);
                let message = if slash_only {
                    format!(
                        "`{route}` of `{action}` and `{first}` of `{other}` differ by a slash at the end only, which many servers ignore"
                    )
                } else {
                    format!(
                        "`{route}` of `{action}` and `{first}` of `{other}` both fit some request, and neither is the narrower one"
                    )
                };
                let at = pattern_place(spec, action, &route.to_string());
                mistakes.error(
                    at,
                    message,
                    "make one of them narrower, so that each request is one action",
                );
            }
            Matcher::default()
        }
    }
}

fn pattern_place(spec: &Node, action: &ActionName, pattern: &str) -> Place {
    let patterns = spec
        .get("actions")
        .and_then(|actions| actions.get(action.as_str()))
        .and_then(|action| action.get("match"));
    patterns
        .and_then(|node| node.items().iter().find(|n| n.text() == Some(pattern)))
        .or(patterns)
        .map_or(spec.at, |n| n.at)
}

const SOURCES: [&str; 5] = ["path", "query", "header", "body", "argument"];
