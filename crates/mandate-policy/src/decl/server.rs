//! Server workloads: where they are, what a request to them is, what a gateway adds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use mandate_model::{
    ActionName, AttributeName, AttributeType, AttributeValue, Effect, ServerName, Timestamp,
    UnfitAttribute,
};

use super::{
    A2aSettings, Credential, Gateways, LlmSettings, Manifest, Matched, Matcher, Possession, Route,
    Segment, TOOL,
};
use crate::headers;

/// Something that agents access through a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerWorkload {
    /// Its name.
    pub name: ServerName,
    /// Its resource indicator (RFC 8707): the `aud` of access tokens for it.
    pub resource: String,
    /// Where requests are forwarded to.
    pub upstream: Upstream,
    /// The `aud` of tokens for an upstream that verifies them; never any server's `resource`.
    pub upstream_audience: Option<String>,
    /// The gateways that it is assigned to by name.
    pub gateways: Gateways,
    /// What is injected.
    pub credential: Credential,
    /// Whether the arrival of a read matters to nobody, so that it may be recorded before its
    /// response is released and not before it is forwarded (C1).
    pub internal: bool,
    /// Until when it is observed only: denials of policy and mandate are recorded, not enforced.
    pub observe_until: Option<Timestamp>,
    /// What a gateway does about it that has lost its authority.
    pub lease_loss: LeaseLoss,
    /// Whether access tokens for it must be bound to a key.
    pub proof: Possession,
    /// Whose disk the record of an admission must be on before anything is forwarded.
    pub durability: Durability,
    /// How HTTP is spoken.
    pub http: HttpSettings,
    /// That it is an MCP server, and how it is spoken to as one.
    pub mcp: Option<McpSettings>,
    /// That it is an LLM endpoint, whose replies say what they took.
    pub llm: Option<LlmSettings>,
    /// That it is an agent, which others call.
    pub a2a: Option<A2aSettings>,
    /// The name of the CA in local configuration that the upstream's certificate is checked
    /// against; the usual public ones, if `None`.
    pub ca: Option<String>,
    /// Its actions.
    pub actions: BTreeMap<ActionName, Action>,
    pub(crate) matcher: Matcher,
}

impl ServerWorkload {
    /// Its actions, sorted by name.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        self.actions.values()
    }

    /// The tools of an MCP server that actions name, with the action.
    pub fn tools(&self) -> impl Iterator<Item = (&str, &Action)> {
        let routes = self.actions.values().flat_map(|action| {
            let routes = action.routes.iter();
            routes.map(move |route| (route, action))
        });
        routes.filter_map(|(route, action)| match (&*route.method, &*route.segments) {
            (TOOL, [Segment::Literal(name)]) => Some((&**name, action)),
            _ => None,
        })
    }

    /// The action that a request is: the one whose template is the narrowest that fits. `None`
    /// means deny.
    ///
    /// `path_segments` are what stands between the slashes of the path that will be sent,
    /// percent-decoded: `/customers/acme` has `["customers", "acme"]`, `/` has none, and a
    /// trailing slash gives an empty last segment.
    pub fn match_request<'a>(
        &'a self,
        method: &str,
        path_segments: &[&'a str],
    ) -> Option<Matched<'a>> {
        let (name, n) = self.matcher.find(method, path_segments)?;
        let action = self.actions.get(name)?;
        let route = action.routes.get(*n)?;
        let is_own = |(other, m): &(ActionName, usize)| {
            let other = action.routes.get(*m).filter(|_| other == name);
            other.is_some_and(|other| other.without_slash() == route.without_slash())
        };
        if self.matcher.has_slash_twin(method, path_segments, is_own) {
            return None;
        }
        let path_vars = route
            .segments
            .iter()
            .zip(path_segments)
            .filter_map(|(segment, text)| match segment {
                super::Segment::Variable(name) => Some((name.as_str(), *text)),
                super::Segment::Literal(_) | super::Segment::Any | super::Segment::Rest => None,
            })
            .collect();
        Some(Matched {
            action,
            route,
            path_vars,
        })
    }

    /// Whether an agent's field `name`, in lower case, reaches the upstream as it came. What the gateway
    /// sets itself does not, and neither does what would keep it from finding an echo of the credential
    /// in the answer (C4), or from reading a list or the usage of an LLM in it.
    pub fn passes(&self, name: &str) -> bool {
        let http = &self.http;
        let own = [self.credential.header(), http.pass_task_id.as_deref()];
        let cuts_answer = matches!(name, "range" | "if-range" | "accept-encoding");
        !headers::never_passes(name)
            && !http.strip_headers.contains(name)
            && !own.contains(&Some(name))
            && (http.traceparent || !headers::is_trace(name))
            && (!cuts_answer || !self.is_read())
    }

    /// Whether its answers are read, for an echo of the credential, a list, or the usage of an LLM: they are asked
    /// for whole and without a content encoding.
    pub fn is_read(&self) -> bool {
        self.credential != Credential::None || self.mcp.is_some() || self.llm.is_some()
    }

    /// Whether it is observed only at `now`.
    pub fn is_observed(&self, now: Timestamp) -> bool {
        self.observe_until.is_some_and(|until| now < until)
    }
}

/// What a gateway does whose lease has ended because its authority cannot be reached (B3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LeaseLoss {
    /// It admits nothing, and what is open pauses.
    #[default]
    Stop,
    /// It goes on with the state that it last applied. A suspension may then be effective only when
    /// the tokens have expired that were issued before it.
    Continue,
}

/// Where the record of an admission is durable before its effect (C2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// In the gateway's spool.
    #[default]
    Local,
    /// In the authority's log too: a gateway that loses its disk loses no record of what it let happen.
    Shipped,
}

/// Where a server workload is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Upstream {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Its host, in lower case; an IPv6 address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What is put before the request's path: empty, or `/base` without a trailing slash.
    pub base_path: String,
}

impl Upstream {
    /// `https` or `http`.
    pub fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// Host and port as an authority component (RFC 3986 §3.2).
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, authority) = (self.scheme(), self.authority());
        write!(f, "{scheme}://{authority}{}", self.base_path)
    }
}

/// A named operation of a server workload.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Action {
    /// Its name.
    pub name: ActionName,
    /// What it does.
    pub effect: Effect,
    /// How requests for it look; any one of them.
    pub routes: Vec<Route>,
    /// The attributes that requests for it may have, the path's variables included.
    pub attributes: BTreeMap<AttributeName, Attribute>,
    /// The protocols that a request for it may switch its connection to (RFC 9110 §7.8), in lower case.
    pub upgrade: BTreeSet<String>,
}

/// One attribute of an action's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attribute {
    /// Where its values come from.
    pub source: AttributeSource,
    /// What they may be.
    pub ty: AttributeType,
    /// How records show them.
    pub log: LogStyle,
}

impl Attribute {
    /// Reads one value. Only the canonical form is accepted (A7).
    pub fn parse(&self, text: &str) -> Result<AttributeValue, UnfitAttribute> {
        self.ty.parse(text)
    }
}

/// Where in a request the values of an attribute are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum AttributeSource {
    /// The path's variable of this name.
    Path(String),
    /// Every query parameter of this name.
    Query(String),
    /// Every header field of this name, in lower case.
    Header(String),
    /// What this JSON pointer (RFC 6901) finds in the body; if that is an array, each element.
    Body(String),
    /// What this JSON pointer finds in the arguments of a tool or prompt, or in the `params` of a call; if that is an array, each element.
    Argument(String),
}

impl fmt::Display for AttributeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttributeSource::Path(name) => write!(f, "path {{{name}}}"),
            AttributeSource::Query(name) => write!(f, "query `{name}`"),
            AttributeSource::Header(name) => write!(f, "header `{name}`"),
            AttributeSource::Body(pointer) => write!(f, "body `{pointer}`"),
            AttributeSource::Argument(pointer) => write!(f, "argument `{pointer}`"),
        }
    }
}

/// How records show an attribute's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogStyle {
    /// As they are.
    Plain,
    /// As keyed hashes, for personal values.
    Hash,
}

/// How a gateway speaks MCP for a server workload.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct McpSettings {
    /// The path of its endpoint, the same at the gateway and below the upstream's base.
    pub path: String,
    /// The `code` of JSON-RPC errors that tell of denials.
    pub denial_code: i64,
    /// The tools that were accepted; every one as it is, if `None`.
    pub manifest: Option<Manifest>,
}

/// How a gateway speaks HTTP for a server workload.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpSettings {
    /// The hosts by which agents reach it, in lower case; by path alone, if empty.
    pub hosts: BTreeSet<String>,
    /// How long connecting to the upstream may take.
    pub connect_timeout: Duration,
    /// How long the upstream may take until its response begins.
    pub response_timeout: Duration,
    /// How long a stream may be silent.
    pub idle_timeout: Duration,
    /// The longest request body, in bytes.
    pub max_body_bytes: u64,
    /// The most that passes on a connection that has switched protocols, both ways together, in bytes.
    pub max_upgrade_bytes: u64,
    /// How long such a connection may be silent.
    pub upgrade_idle_timeout: Duration,
    /// The longest request head, in bytes.
    pub max_header_bytes: u32,
    /// The header that carries the task's id to the upstream.
    pub pass_task_id: Option<String>,
    /// Whether `traceparent` is passed on.
    pub traceparent: bool,
    /// Further request headers that are not passed on, in lower case.
    pub strip_headers: BTreeSet<String>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            hosts: BTreeSet::new(),
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(300),
            max_body_bytes: 10 * 1024 * 1024,
            max_upgrade_bytes: 256 * 1024 * 1024,
            upgrade_idle_timeout: Duration::from_secs(300),
            max_header_bytes: 32 * 1024,
            pass_task_id: None,
            traceparent: false,
            strip_headers: BTreeSet::new(),
        }
    }
}
