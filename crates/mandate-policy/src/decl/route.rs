//! Method and path templates, and the matcher over them. No regular expressions: which of two
//! templates is the narrower one can be decided, and two that cross each other do not load.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use mandate_model::ActionName;

use super::Action;
use crate::fold::fold;

/// One segment of a path template.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Exactly this text.
    Literal(String),
    /// `{name}`: one segment that is not empty; its text is the variable's value.
    Variable(String),
    /// `*`: one segment that is not empty.
    Any,
    /// `**`: no segment or more. Only ever the last.
    Rest,
}

/// A method and a path template: `GET /customers/{customer}/**`. Of an MCP server: what is used of it, and its
/// name or URI template: `tool read_file`, `prompt summary`, `resource file:///reports/{customer}/**`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Route {
    /// The method, compared byte for byte; or one of [`TOOL`], [`PROMPT`], [`RESOURCE`] and [`RPC`], which are none.
    pub method: String,
    /// The path's segments. The name of a tool or prompt is one; a resource has what stands between the slashes
    /// of its URI, the scheme with its colon included.
    pub segments: Vec<Segment>,
}

/// The [`Route::method`] of a tool.
pub const TOOL: &str = "tool";
/// The [`Route::method`] of a prompt.
pub const PROMPT: &str = "prompt";
/// The [`Route::method`] of a resource.
pub const RESOURCE: &str = "resource";
/// The [`Route::method`] of a call by JSON-RPC, whose own method is the one segment.
pub const RPC: &str = "rpc";

/// Why text is no [`Route`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MalformedRoute {
    #[error("a pattern is a method and a path: `GET /customers/{{customer}}/**`")]
    Form,
    #[error("`{0}` is no method: upper-case letters and `-`")]
    Method(String),
    #[error("the path begins with `/`")]
    NoSlash,
    #[error("`**` stands only at the end of a path")]
    RestInside,
    #[error("`{0}` is no path segment: plain text, `{{name}}`, `*` or `**`")]
    Segment(String),
    #[error("`{{{0}}}` stands twice in one path")]
    Twice(String),
    #[error("a pattern of an MCP server is `tool NAME`, `prompt NAME` or `resource URI`")]
    McpForm,
    #[error("a pattern of a call is `rpc METHOD`")]
    RpcForm,
    #[error(
        "`{0}` is no name of a tool, prompt or method: 1 to 128 characters without spaces, `{{`, `}}` and `*`"
    )]
    Name(String),
    #[error(
        "`{0}` is no URI template: a scheme in lower case, `:`, and segments as in a path, without query and fragment"
    )]
    Uri(String),
}

impl Route {
    pub(crate) fn parse(text: &str) -> Result<Self, MalformedRoute> {
        let (method, path) = text.split_once(' ').ok_or(MalformedRoute::Form)?;
        let upper = |b: u8| b.is_ascii_uppercase() || b == b'-';
        if method.is_empty() || !method.bytes().all(upper) {
            return Err(MalformedRoute::Method(method.to_owned()));
        }
        let path = path.strip_prefix('/').ok_or(MalformedRoute::NoSlash)?;
        let mut segments = Vec::new();
        if !path.is_empty() {
            let parts: Vec<&str> = path.split('/').collect();
            for (n, part) in parts.iter().enumerate() {
                segments.push(segment(part, n + 1 == parts.len())?);
            }
        }
        Self::with(method, segments)
    }

    /// A pattern of an MCP server.
    pub(crate) fn parse_mcp(text: &str) -> Result<Self, MalformedRoute> {
        let (kind, what) = text.split_once(' ').ok_or(MalformedRoute::McpForm)?;
        match kind {
            TOOL | PROMPT => Self::with(kind, vec![name(what)?]),
            RESOURCE => Self::with(kind, uri(what)?),
            _ => Err(MalformedRoute::McpForm),
        }
    }

    /// A call of an agent by JSON-RPC.
    pub(crate) fn parse_rpc(text: &str) -> Result<Self, MalformedRoute> {
        let method = text.strip_prefix("rpc ").ok_or(MalformedRoute::RpcForm)?;
        Self::with(RPC, vec![name(method)?])
    }

    fn with(method: &str, segments: Vec<Segment>) -> Result<Self, MalformedRoute> {
        let route = Self {
            method: method.to_owned(),
            segments,
        };
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = route.variables().find(|v| !seen.insert(*v)) {
            return Err(MalformedRoute::Twice(twice.to_owned()));
        }
        drop(seen);
        Ok(route)
    }

    /// The variables of the path, in order.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Variable(name) => Some(name.as_str()),
            Segment::Literal(_) | Segment::Any | Segment::Rest => None,
        })
    }

    /// Whether every request that fits `self` fits `outer`.
    pub(crate) fn is_within(&self, outer: &Route) -> bool {
        let (mut inner, mut out) = (self.segments.iter(), outer.segments.iter());
        self.method == outer.method
            && loop {
                match (inner.next(), out.next()) {
                    (_, Some(Segment::Rest)) | (None, None) => break true,
                    (Some(Segment::Rest) | None, _) | (_, None) => break false,
                    (Some(a), Some(Segment::Literal(b))) => {
                        if *a != Segment::Literal(b.clone()) {
                            break false;
                        }
                    }
                    (Some(a), Some(Segment::Variable(_) | Segment::Any)) => {
                        if *a == Segment::Literal(String::new()) {
                            break false;
                        }
                    }
                }
            }
    }

    /// Its segments without the empty one that a slash at the end makes.
    pub(crate) fn without_slash(&self) -> &[Segment] {
        match self.segments.split_last() {
            Some((Segment::Literal(text), before)) if text.is_empty() => before,
            Some(_) | None => &self.segments,
        }
    }

    /// Whether both fit the same requests but for a slash at the end.
    pub(crate) fn is_slash_twin_of(&self, other: &Route) -> bool {
        let bare = |route: &Route| Route {
            method: route.method.clone(),
            segments: route.without_slash().to_vec(),
        };
        let (a, b) = (bare(self), bare(other));
        self.segments.len() != other.segments.len() && a.is_within(&b) && b.is_within(&a)
    }

    /// Whether some request fits both.
    pub(crate) fn crosses(&self, other: &Route) -> bool {
        let (mut a, mut b) = (self.segments.iter(), other.segments.iter());
        self.method == other.method
            && loop {
                match (a.next(), b.next()) {
                    (Some(Segment::Rest), _) | (_, Some(Segment::Rest)) | (None, None) => {
                        break true;
                    }
                    (None, Some(_)) | (Some(_), None) => break false,
                    (Some(Segment::Literal(x)), Some(Segment::Literal(y))) => {
                        if x != y {
                            break false;
                        }
                    }
                    (Some(Segment::Literal(x)), Some(Segment::Variable(_) | Segment::Any))
                    | (Some(Segment::Variable(_) | Segment::Any), Some(Segment::Literal(x))) => {
                        if x.is_empty() {
                            break false;
                        }
                    }
                    (
                        Some(Segment::Variable(_) | Segment::Any),
                        Some(Segment::Variable(_) | Segment::Any),
                    ) => {}
                }
            }
    }
}

fn segment(text: &str, last: bool) -> Result<Segment, MalformedRoute> {
    let malformed = || MalformedRoute::Segment(text.to_owned());
    match text {
        "**" if last => Ok(Segment::Rest),
        "**" => Err(MalformedRoute::RestInside),
        "*" => Ok(Segment::Any),
        // A trailing slash: the empty segment is a literal and matches itself alone.
        "" if last => Ok(Segment::Literal(String::new())),
        "" | "." | ".." => Err(malformed()),
        _ => match text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
            Some(name) => mandate_model::AttributeName::parse(name)
                .map(|name| Segment::Variable(name.as_str().to_owned()))
                .map_err(|_| malformed()),
            None if text.chars().all(is_literal) => Ok(Segment::Literal(text.to_owned())),
            None => Err(malformed()),
        },
    }
}

/// The name of a tool or prompt: what the server calls it, byte for byte.
fn name(text: &str) -> Result<Segment, MalformedRoute> {
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !"{}*".contains(c);
    if (1..=128).contains(&text.len()) && text.chars().all(plain) {
        Ok(Segment::Literal(text.to_owned()))
    } else {
        Err(MalformedRoute::Name(text.to_owned()))
    }
}

/// `file:///reports/{customer}/**`: the scheme is one segment with its colon, or, where no slash follows it, with
/// all that follows. The two after it may be empty, as an authority and the root of its paths are.
fn uri(text: &str) -> Result<Vec<Segment>, MalformedRoute> {
    let malformed = || MalformedRoute::Uri(text.to_owned());
    let (scheme, _) = text.split_once(':').ok_or_else(malformed)?;
    if !is_scheme(scheme) {
        return Err(malformed());
    }
    let parts: Vec<&str> = text.split('/').collect();
    let mut segments = Vec::with_capacity(parts.len());
    for (n, part) in parts.iter().enumerate() {
        let last = n + 1 == parts.len();
        let may_be_empty = (1..=2).contains(&n) || last;
        segments.push(match *part {
            "" if n > 0 && may_be_empty => Segment::Literal(String::new()),
            part => segment(part, last && n > 0).map_err(|_| malformed())?,
        });
    }
    let begins = matches!(segments.first(), Some(Segment::Literal(_)));
    begins.then_some(segments).ok_or_else(malformed)
}

/// RFC 3986 §3.1, in its canonical lower case.
pub fn is_scheme(text: &str) -> bool {
    let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    text.bytes().next().is_some_and(|b| b.is_ascii_lowercase()) && text.bytes().all(rest)
}

/// Templates are compared with decoded segments, so they are written decoded. What could be
/// spelled in two ways (`%`, `;`, `?`, `#`, `\`) or be taken for a pattern is refused.
fn is_literal(c: char) -> bool {
    !c.is_control() && !c.is_whitespace() && !"{}*%;?#\\/".contains(c)
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Segment::Literal(text) => f.write_str(text),
            Segment::Variable(name) => write!(f, "{{{name}}}"),
            Segment::Any => f.write_str("*"),
            Segment::Rest => f.write_str("**"),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.method)?;
        if matches!(&*self.method, TOOL | PROMPT | RESOURCE | RPC) {
            let mut segments = self.segments.iter();
            segments
                .next()
                .map_or(Ok(()), |first| write!(f, "{first}"))?;
            return segments.try_for_each(|segment| write!(f, "/{segment}"));
        }
        if self.segments.is_empty() {
            return f.write_str("/");
        }
        self.segments.iter().try_for_each(|s| write!(f, "/{s}"))
    }
}

/// The action that a request is, with the values of the path's variables.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Matched<'a> {
    /// The action.
    pub action: &'a Action,
    /// The template that matched; its text is fit for records, as it holds no values.
    pub route: &'a Route,
    /// Each variable of the path with its text.
    pub path_vars: Vec<(&'a str, &'a str)>,
}

/// Two templates that both fit some request, and neither of which is the narrower one.
#[derive(Debug)]
pub(crate) struct AmbiguousRoutes {
    pub(crate) first: (ActionName, Route),
    pub(crate) second: (ActionName, Route),
}

/// A trie over the templates of one server workload.
///
/// At each node a literal is tried before a variable, and a variable before `**`. As no two
/// templates cross without one being narrower, the first hit is the narrowest. A search visits
/// each node at most once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Matcher {
    methods: HashMap<String, Node>,
    /// Whether some template ends in a slash.
    slashed: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    literals: HashMap<String, Node>,
    /// The literals without their letter case.
    folded: HashSet<String>,
    one: Option<Box<Node>>,
    rest: Option<Target>,
    here: Option<Target>,
}

type Target = (ActionName, usize);

/// What a search below a node came to. `Refused` is final: a wider template further up must not
/// catch what some upstreams take for a narrower one (FAILURES 33).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found<'a> {
    /// This template.
    Target(&'a Target),
    /// None here; a wider one may fit.
    NoMatch,
    /// None at all.
    Refused,
}

impl<'a> Found<'a> {
    fn or_else(self, wider: impl FnOnce() -> Found<'a>) -> Self {
        match self {
            Found::NoMatch => wider(),
            Found::Target(_) | Found::Refused => self,
        }
    }

    fn target(self) -> Option<&'a Target> {
        match self {
            Found::Target(target) => Some(target),
            Found::NoMatch | Found::Refused => None,
        }
    }
}

impl<'a> From<Option<&'a Target>> for Found<'a> {
    fn from(target: Option<&'a Target>) -> Self {
        target.map_or(Found::NoMatch, Found::Target)
    }
}

impl Matcher {
    /// A matcher over the routes of `actions`; or every pair that is ambiguous.
    pub(crate) fn new(
        actions: &BTreeMap<ActionName, Action>,
    ) -> Result<Self, Vec<AmbiguousRoutes>> {
        let routes: Vec<(&ActionName, usize, &Route)> = actions
            .values()
            .flat_map(|a| a.routes.iter().enumerate().map(|(n, r)| (&a.name, n, r)))
            .collect();
        let ambiguous = ambiguous_pairs(&routes);
        if !ambiguous.is_empty() {
            return Err(ambiguous);
        }
        let mut matcher = Self::default();
        for (action, n, route) in routes {
            matcher.slashed |= route.segments.last() == Some(&Segment::Literal(String::new()));
            let root = matcher.methods.entry(route.method.clone()).or_default();
            root.insert(&route.segments, (action.clone(), n));
        }
        Ok(matcher)
    }

    pub(crate) fn find(&self, method: &str, segments: &[&str]) -> Option<&(ActionName, usize)> {
        self.methods.get(method)?.find(segments).target()
    }

    /// Whether another template than the one of `own` fits the path with its slash at the end taken off,
    /// or one put there. Many servers ignore that slash: for them the request would be the other
    /// template's (FAILURES 33).
    pub(crate) fn has_slash_twin(
        &self,
        method: &str,
        segments: &[&str],
        is_own: impl FnOnce(&(ActionName, usize)) -> bool,
    ) -> bool {
        let root = self.methods.get(method).filter(|_| self.slashed);
        let (Some(root), Some((last, before))) = (root, segments.split_last()) else {
            return false;
        };
        let slashed = || segments.iter().copied().chain([""]).collect();
        let twin: Vec<&str> = if last.is_empty() {
            before.to_vec()
        } else {
            slashed()
        };
        match root.find(&twin) {
            Found::NoMatch => false,
            Found::Refused => true,
            Found::Target(other) => !is_own(other),
        }
    }
}

fn ambiguous_pairs(routes: &[(&ActionName, usize, &Route)]) -> Vec<AmbiguousRoutes> {
    let mut pairs = Vec::new();
    for (n, (action_a, _, a)) in routes.iter().enumerate() {
        for (action_b, _, b) in routes.iter().skip(n + 1) {
            let slash_twins = a.is_slash_twin_of(b) && action_a != action_b;
            if slash_twins || a.crosses(b) && a.is_within(b) == b.is_within(a) {
                pairs.push(AmbiguousRoutes {
                    first: ((*action_a).clone(), (*a).clone()),
                    second: ((*action_b).clone(), (*b).clone()),
                });
            }
        }
    }
    pairs
}

impl Node {
    fn insert(&mut self, segments: &[Segment], target: Target) {
        match segments.split_first() {
            None => self.here = Some(target),
            Some((Segment::Rest, _)) => self.rest = Some(target),
            Some((Segment::Literal(text), tail)) => {
                self.folded.insert(fold(text));
                let child = self.literals.entry(text.clone()).or_default();
                child.insert(tail, target);
            }
            Some((Segment::Variable(_) | Segment::Any, tail)) => {
                self.one.get_or_insert_default().insert(tail, target);
            }
        }
    }

    fn find(&self, segments: &[&str]) -> Found<'_> {
        let Some((head, tail)) = segments.split_first() else {
            return self.here.as_ref().or(self.rest.as_ref()).into();
        };
        // An upstream that matches paths without letter case would take this for the literal.
        if !self.literals.contains_key(*head) && self.folded.contains(&fold(head)) {
            return Found::Refused;
        }
        let literal = self.literals.get(*head);
        let one = self.one.as_deref().filter(|_| !head.is_empty());
        // An upstream that ignores a slash at the end would take `…/refunds/` for `…/refunds`.
        let rest = self.rest.as_ref().filter(|_| segments.last() != Some(&""));
        below(literal, tail)
            .or_else(|| below(one, tail))
            .or_else(|| rest.into())
    }
}

fn below<'a>(node: Option<&'a Node>, segments: &[&str]) -> Found<'a> {
    node.map_or(Found::NoMatch, |node| node.find(segments))
}

#[cfg(test)]
mod tests;
