//! What a request is: an action of a server workload, and its resource attributes.
//!
//! Everything that cannot be told for certain is an error, and an error denies.

use std::collections::BTreeMap;

use mandate_model::{
    ActionName, AttributeName, AttributeType, Effect, RequestAttributes, UnfitAttribute,
};
use mandate_policy::decl::{
    Action, Attribute, AttributeSource, Credential, PROMPT, RESOURCE, RPC, ServerWorkload, TOOL,
};

use super::a2a::{self, A2aFault};
use super::body::{Scalar, UnreadableBody, has_case_twin, scalars_at, strict_body};
use super::mcp::{self, Era, GivenTask, McpFault, Round};
use super::parameter::is_twin;
use super::target::{Ambiguous, Target};

/// What of a request's head is looked at.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// The method, as it came.
    pub method: &'a str,
    /// Path and query, as they came and as they will be sent.
    pub path_and_query: &'a str,
    /// The header fields, as they came.
    pub headers: &'a http::HeaderMap,
}

/// Why a request is no action. It is denied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unclassifiable {
    /// The target can be read in two ways.
    #[error("{0}")]
    Ambiguous(#[from] Ambiguous),
    /// No action of the server workload looks like this.
    #[error("no action of this server workload matches this method and path")]
    NoAction,
    /// A value is not of its declared type.
    #[error("attribute `{name}`: {why}")]
    Unfit {
        /// The attribute.
        name: AttributeName,
        /// What is wrong. Never the value.
        why: UnfitAttribute,
    },
    /// A header that an attribute is read from holds a list, or is not ASCII.
    #[error("attribute `{0}`: the header must hold one value without commas")]
    HeaderList(AttributeName),
    /// A parameter that some servers would take for a declared one.
    #[error(
        "attribute `{0}`: some servers would take another query parameter for the declared one"
    )]
    QueryTwin(AttributeName),
    /// The body is needed and is not plain JSON.
    #[error("the body must be `application/json`, in UTF-8 and without a content encoding")]
    ContentType,
    /// The body cannot be read in one way.
    #[error("{0}")]
    Body(#[from] UnreadableBody),
    /// A member that differs from a declared one in letter case alone.
    #[error(
        "attribute `{0}`: a member of the body differs from the declared one in letter case only"
    )]
    BodyCase(AttributeName),
    /// More values than anybody would want decided.
    #[error("attribute `{0}`: the request has more than {MAX_VALUES} values")]
    TooManyValues(AttributeName),
    /// A string where a number is declared, or a number where a string is.
    #[error("attribute `{0}`: the body has another JSON type there than is declared")]
    JsonType(AttributeName),
    /// What stands at the pointer is no text, integer or list of those.
    #[error("attribute `{0}`: the body has neither a text nor an integer there")]
    NoScalar(AttributeName),
    /// A message to an MCP server that cannot be read in one way, or of a method that is not forwarded.
    #[error("{0}")]
    Mcp(#[from] McpFault),
    /// A message to an agent that is no call which is decided on.
    #[error("{0}")]
    A2a(#[from] A2aFault),
    /// A tool, prompt or resource that no action names.
    #[error("no action of this server workload names this {0}")]
    Undeclared(&'static str),
}

/// A request that is an action, with all its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classified {
    pub(super) action: Option<ActionName>,
    pub(super) effect: Effect,
    pub(super) attributes: RequestAttributes,
    pub(super) shape: String,
    /// Of an MCP server alone. In a box, for most requests are none.
    pub(super) said: Option<Box<Said>>,
}

/// What is known of a message to an MCP server beside its action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) era: Era,
    pub(super) round: Option<Round>,
    pub(super) tasks: Vec<GivenTask>,
    pub(super) follows: bool,
    pub(super) tool: Option<String>,
    pub(super) id: Option<serde_json::Value>,
}

/// A request as far as its head says what it is: its action or attributes may still have to be read from its body.
#[derive(Debug)]
pub struct Pending<'a>(Known<'a>);

#[derive(Debug)]
enum Known<'a> {
    /// Its action, and the attributes that its body has.
    Action(Classified, Vec<(&'a AttributeName, &'a Attribute, &'a str)>),
    /// That it is a message to this MCP server, or a call of this agent.
    Message(&'a ServerWorkload),
}

impl Classified {
    /// The action. None is what is said to an MCP server without using anything of it.
    pub fn action(&self) -> Option<&ActionName> {
        self.action.as_ref()
    }

    /// What it does.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// The attributes found.
    pub fn attributes(&self) -> &RequestAttributes {
        &self.attributes
    }

    /// Method and pattern, for records: `GET /customers/{customer}/**`.
    pub fn shape(&self) -> &str {
        &self.shape
    }

    /// By which rules a message to an MCP server is sent.
    pub fn era(&self) -> Option<Era> {
        Some(self.said.as_ref()?.era)
    }

    /// Which request it is a round of, where an MCP server may answer with a question.
    pub fn round(&self) -> Option<&Round> {
        self.said.as_ref()?.round.as_ref()
    }

    /// The tasks of an MCP server that it goes on with, each of which must be one that the agent was given.
    pub fn tasks(&self) -> &[GivenTask] {
        self.said.as_ref().map_or(&[], |said| &said.tasks)
    }

    /// The tool of an MCP server that is called, which may go on as a task after the answer.
    pub fn tool(&self) -> Option<&str> {
        self.said.as_ref()?.tool.as_deref()
    }

    /// The id of the request of an MCP server that it is, which its answer has too.
    pub fn message_id(&self) -> Option<&serde_json::Value> {
        self.said.as_ref()?.id.as_ref()
    }

    /// The tool of an MCP server that it uses: by a call of its own, or by what it gives to one that goes on.
    pub fn used_tool(&self) -> Option<&str> {
        let said = self.said.as_ref()?;
        let before = said.tasks.first().filter(|_| !said.follows);
        self.tool().or(before.map(GivenTask::tool))
    }

    /// Whether it asks after a call that was counted when it was made.
    pub fn follows(&self) -> bool {
        self.said.as_ref().is_some_and(|said| said.follows)
    }

    /// Whether what answers it may be, or bring, a list of what an MCP server has: everything but a use of it.
    pub fn may_be_answered_by_a_list(&self) -> bool {
        self.said.is_some() && self.action.is_none()
    }

    /// Both at once, if they are of one action: each value of each must be admitted.
    pub(super) fn and(mut self, other: Classified) -> Option<Self> {
        if self.action != other.action {
            return None;
        }
        for (name, values) in other.attributes.iter() {
            for value in values {
                self.attributes.add(name.clone(), value.clone());
            }
        }
        if let (Some(said), Some(other)) = (&mut self.said, other.said) {
            said.tasks.extend(other.tasks);
        }
        Some(self)
    }
}

impl<'a> Pending<'a> {
    pub(super) fn whole(classified: Classified) -> Self {
        Self(Known::Action(classified, Vec::new()))
    }

    pub(super) fn message(server: &'a ServerWorkload) -> Self {
        Self(Known::Message(server))
    }

    /// Whether it is a message, which its body says all of.
    pub fn is_message(&self) -> bool {
        matches!(self.0, Known::Message(_))
    }

    /// Whether the body must be read before the request can be decided.
    pub fn needs_body(&self) -> bool {
        match &self.0 {
            Known::Action(_, from_body) => !from_body.is_empty(),
            Known::Message(_) => true,
        }
    }

    /// The action, where the head says it and there is one.
    pub fn action(&self) -> Option<&ActionName> {
        match &self.0 {
            Known::Action(classified, _) => classified.action(),
            Known::Message(_) => None,
        }
    }

    /// The request, if no body is needed; otherwise itself again.
    pub fn without_body(self) -> Result<Classified, Self> {
        match self.0 {
            Known::Action(classified, from_body) if from_body.is_empty() => Ok(classified),
            known @ (Known::Action(..) | Known::Message(_)) => Err(Self(known)),
        }
    }

    /// Whether there is nothing that a body could be of: a session's stream, or its end.
    pub fn takes_no_body(&self) -> bool {
        match &self.0 {
            Known::Action(classified, from_body) => {
                classified.era().is_some() && from_body.is_empty()
            }
            Known::Message(_) => false,
        }
    }

    /// Whether the body is of a type that it can be decided on, where it must be. For a caller that wants to know
    /// before it has the body; [`Self::with_body`] asks it again.
    pub fn check_body_type(&self, headers: &http::HeaderMap) -> Result<(), Unclassifiable> {
        match &self.0 {
            Known::Action(_, from_body) if from_body.is_empty() => Ok(()),
            Known::Action(..) => check_content_type(headers),
            Known::Message(server) => check_content_type(headers).map_err(|_| match server.a2a {
                Some(_) => A2aFault::ContentType.into(),
                None => McpFault::ContentType.into(),
            }),
        }
    }

    /// Reads the rest from the whole body.
    pub fn with_body(
        self,
        headers: &http::HeaderMap,
        body: &[u8],
    ) -> Result<Classified, Unclassifiable> {
        let (mut classified, from_body) = match self.0 {
            Known::Message(server) if server.a2a.is_some() => {
                return a2a::by_message(server, headers, body);
            }
            Known::Message(server) => return mcp::by_message(server, headers, body),
            Known::Action(classified, from_body) => (classified, from_body),
        };
        check_content_type(headers)?;
        let body = strict_body(body)?;
        for (name, attribute, pointer) in from_body {
            if has_case_twin(&body, pointer) {
                return Err(Unclassifiable::BodyCase(name.clone()));
            }
            let found = json_scalars(&body, pointer, name)?;
            let texts = found.iter().map(|scalar| typed(scalar, name, attribute));
            let texts = texts.collect::<Result<Vec<_>, _>>()?;
            add(&mut classified.attributes, name, attribute, texts)?;
        }
        Ok(classified)
    }
}

pub(super) fn json_scalars(
    json: &serde_json::Value,
    pointer: &str,
    name: &AttributeName,
) -> Result<Vec<Scalar>, Unclassifiable> {
    scalars_at(json, pointer).ok_or_else(|| Unclassifiable::NoScalar(name.clone()))
}

/// Finds the action of a request and what its head says of its attributes.
pub fn classify<'a>(
    server: &'a ServerWorkload,
    head: &RequestHead<'_>,
) -> Result<Pending<'a>, Unclassifiable> {
    let target = Target::parse(head.path_and_query)?;
    if let Some(mcp) = &server.mcp {
        return mcp::by_head(server, mcp, head, &target);
    }
    check_credential(server, &target)?;
    if let Some(a2a) = &server.a2a
        && a2a::is_call(a2a, head.method, &target)
    {
        // A server may read from there what the body says otherwise.
        let plain = !head.path_and_query.contains('?');
        return plain
            .then(|| Pending::message(server))
            .ok_or(Unclassifiable::NoAction);
    }
    let (action, shape, path) = find(server, head.method, &target)?;
    let mut attributes = RequestAttributes::new();
    let mut from_body = Vec::new();
    for (name, attribute) in &action.attributes {
        match &attribute.source {
            AttributeSource::Path(variable) => {
                let found = path.get(variable).map(String::as_str);
                add(&mut attributes, name, attribute, found)?;
            }
            AttributeSource::Query(parameter) => {
                let found = query_values(name, parameter, &target)?;
                add(
                    &mut attributes,
                    name,
                    attribute,
                    found.iter().map(String::as_str),
                )?;
            }
            AttributeSource::Header(header) => {
                let found = header_values(name, header, head.headers)?;
                add(&mut attributes, name, attribute, found)?;
            }
            AttributeSource::Body(pointer) => from_body.push((name, attribute, pointer.as_str())),
            // Of an MCP server's actions and of calls, none of which is told by its head.
            AttributeSource::Argument(_) => return Err(Unclassifiable::NoAction),
        }
    }
    let classified = Classified {
        action: Some(action.name.clone()),
        effect: action.effect,
        attributes,
        shape,
        said: None,
    };
    Ok(Pending(Known::Action(classified, from_body)))
}

/// Where the upstream's credential is a query parameter, no other parameter may pass for it: some
/// servers would prefer that one.
fn check_credential(server: &ServerWorkload, target: &Target<'_>) -> Result<(), Ambiguous> {
    let Credential::Query { name, .. } = &server.credential else {
        return Ok(());
    };
    let pairs = target.query_pairs()?;
    let mut others = pairs.iter().filter(|(found, _)| found != name);
    match others.any(|(found, _)| is_twin(found, name)) {
        true => Err(Ambiguous::Query),
        false => Ok(()),
    }
}

/// Method and pattern of the action that a request is, if it is one: also where its attributes do not
/// fit, so that a record can say what was asked for without a value that might be personal.
pub fn shape_of(server: &ServerWorkload, head: &RequestHead<'_>) -> Option<String> {
    let target = Target::parse(head.path_and_query).ok()?;
    find(server, head.method, &target)
        .ok()
        .map(|(_, shape, _)| shape)
}

pub(super) type Found<'a> = (&'a Action, String, BTreeMap<String, String>);

fn find<'a>(
    server: &'a ServerWorkload,
    method: &str,
    target: &Target<'_>,
) -> Result<Found<'a>, Unclassifiable> {
    // What actions of messages are named by is no method of HTTP, whatever somebody sends as one.
    if [TOOL, PROMPT, RESOURCE, RPC].contains(&method) {
        return Err(Unclassifiable::NoAction);
    }
    let segments: Vec<&str> = target.segments().iter().map(AsRef::as_ref).collect();
    found(server, method, &segments)
}

/// The action that `method` and `segments` are, in words, and the variables of its pattern.
pub(super) fn found<'a>(
    server: &'a ServerWorkload,
    method: &str,
    segments: &[&str],
) -> Result<Found<'a>, Unclassifiable> {
    let matched = server
        .match_request(method, segments)
        .ok_or(Unclassifiable::NoAction)?;
    let path = matched
        .path_vars
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    // Looked up again, so that what is returned borrows the server alone and not the request.
    let action = server
        .actions
        .get(&matched.action.name)
        .ok_or(Unclassifiable::NoAction)?;
    Ok((action, matched.route.to_string(), path))
}

pub(super) fn add<'v>(
    attributes: &mut RequestAttributes,
    name: &AttributeName,
    attribute: &Attribute,
    found: impl IntoIterator<Item = &'v str>,
) -> Result<(), Unclassifiable> {
    for text in found {
        if attributes.values(name).len() >= MAX_VALUES {
            return Err(Unclassifiable::TooManyValues(name.clone()));
        }
        let unfit = |why| Unclassifiable::Unfit {
            name: name.clone(),
            why,
        };
        attributes.add(name.clone(), attribute.parse(text).map_err(unfit)?);
    }
    Ok(())
}

/// JSON has types of its own: a string that spells a number is no number, here as upstream.
pub(super) fn typed<'s>(
    scalar: &'s Scalar,
    name: &AttributeName,
    attribute: &Attribute,
) -> Result<&'s str, Unclassifiable> {
    match (scalar, attribute.ty == AttributeType::Integer) {
        (Scalar::Text(text), false) | (Scalar::Integer(text), true) => Ok(text),
        (Scalar::Text(_), true) | (Scalar::Integer(_), false) => {
            Err(Unclassifiable::JsonType(name.clone()))
        }
    }
}

fn query_values(
    name: &AttributeName,
    parameter: &str,
    target: &Target<'_>,
) -> Result<Vec<String>, Unclassifiable> {
    let mut values = Vec::new();
    for (found, value) in target.query_pairs()? {
        if found == parameter {
            values.push(value);
        } else if is_twin(&found, parameter) {
            return Err(Unclassifiable::QueryTwin(name.clone()));
        }
    }
    Ok(values)
}

fn header_values<'h>(
    name: &AttributeName,
    header: &str,
    headers: &'h http::HeaderMap,
) -> Result<Vec<&'h str>, Unclassifiable> {
    let one = |value: &'h http::HeaderValue| value.to_str().ok().filter(|text| !text.contains(','));
    headers
        .get_all(header)
        .iter()
        .map(|value| one(value).ok_or_else(|| Unclassifiable::HeaderList(name.clone())))
        .collect()
}

pub(super) fn check_content_type(headers: &http::HeaderMap) -> Result<(), Unclassifiable> {
    let mut types = headers.get_all(http::header::CONTENT_TYPE).iter();
    let is_json = types
        .next()
        .and_then(|value| value.to_str().ok())
        .is_some_and(is_utf8_json);
    let plain = !headers.contains_key(http::header::CONTENT_ENCODING);
    if is_json && plain && types.next().is_none() {
        Ok(())
    } else {
        Err(Unclassifiable::ContentType)
    }
}

/// `application/json`, without a parameter that says that its bytes are not UTF-8.
fn is_utf8_json(text: &str) -> bool {
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    essence.eq_ignore_ascii_case("application/json")
        && parts.all(|parameter| parameter.eq_ignore_ascii_case("charset=utf-8"))
}

/// The most values of one attribute.
const MAX_VALUES: usize = 64;
