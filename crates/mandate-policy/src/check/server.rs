//! Server workloads and their actions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mandate_model::{
    ActionName, AttributeName, AttributeType, Effect, SecretName, ServerName, Timestamp,
};

use super::read::{duration, parsed, text};
use super::{place_of, url};
use crate::decl::{
    Action, Attribute, AttributeSource, Credential, HttpSettings, LogStyle, Matcher, Route,
    SecretTemplate, ServerWorkload,
};
use crate::mistake::{Mistakes, Place, did_you_mean};
use crate::source::Node;

pub(super) fn server(
    name: &str,
    spec: &Node,
    now: Timestamp,
    mistakes: &mut Mistakes,
) -> Option<ServerWorkload> {
    let name = ServerName::parse(name).ok()?;
    let actions = actions(spec, mistakes);
    let matcher = matcher(spec, &actions, mistakes);
    let credential = spec
        .get("credential")
        .and_then(|c| credential(c, spec, mistakes));
    let resource = resource(spec, mistakes);
    let upstream = upstream(spec, mistakes);
    let http = spec.get("http").map(|node| http(node, mistakes));
    let observe_until = observe(spec, now, mistakes);
    Some(ServerWorkload {
        name,
        resource: resource?,
        upstream: upstream?,
        upstream_audience: text(spec, "upstreamAudience"),
        credential: credential?,
        internal: spec.get("internal").is_some_and(Node::is_true),
        observe_until,
        http: http.unwrap_or_default(),
        ca: spec.get("tls").and_then(|tls| text(tls, "ca")),
        actions,
        matcher,
    })
}

fn resource(spec: &Node, mistakes: &mut Mistakes) -> Option<String> {
    let node = spec.get("resource")?;
    let text = node.text()?;
    if !url::is_resource_indicator(text) {
        let message = "`resource` is no absolute URI without fragment (RFC 8707 §2)";
        mistakes.error(node.at, message, "say it as `https://records.acme.example`");
    }
    Some(text.to_owned())
}

fn upstream(spec: &Node, mistakes: &mut Mistakes) -> Option<crate::decl::Upstream> {
    let node = spec.get("upstream")?;
    match url::parse_upstream(node.text()?) {
        Ok(upstream) => Some(upstream),
        Err(why) => {
            mistakes.error(
                node.at,
                format!("`upstream` {why}"),
                "say it as `https://records.internal:8443`",
            );
            None
        }
    }
}

fn observe(spec: &Node, now: Timestamp, mistakes: &mut Mistakes) -> Option<Timestamp> {
    let node = spec.get("observe")?.get("until")?;
    let Some(until) = parse_time(node.text()?) else {
        mistakes.error(
            node.at,
            "`until` is no moment in RFC 3339, UTC",
            "say it as `2026-12-01T00:00:00Z`",
        );
        return None;
    };
    if until > now.plus(LONGEST_OBSERVATION) {
        mistakes.error(
            node.at,
            "`observe.until` is more than 30 days away",
            "observe for 30 days at most, then decide",
        );
    }
    if until <= now {
        mistakes.warn(
            node.at,
            "`observe.until` has passed: everything is enforced",
            "remove `observe`",
        );
    }
    Some(until)
}

/// A moment in RFC 3339 with `Z`: `2026-12-01T00:00:00Z`, or a whole day: `2026-12-01`.
pub(super) fn parse_time(text: &str) -> Option<Timestamp> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, time.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let in_range = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let secs = days_since_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    in_range.then(|| Timestamp::from_secs(secs))
}

fn numbers(text: &str, separator: char, widths: [usize; 3]) -> Option<[u64; 3]> {
    let parts: Vec<&str> = text.split(separator).collect();
    let parts: [&str; 3] = parts.try_into().ok()?;
    let mut found = [0; 3];
    for ((part, width), number) in parts.iter().zip(widths).zip(&mut found) {
        if part.len() != width || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    Some(found)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_epoch(year: u64, month: u64, day: u64) -> u64 {
    let years: u64 = (1970..year).map(|y| 365 + u64::from(is_leap(y))).sum();
    let months: u64 = (1..month).map(|m| days_of_month(year, m)).sum();
    years + months + day.saturating_sub(1)
}

fn credential(node: &Node, spec: &Node, mistakes: &mut Mistakes) -> Option<Credential> {
    if let Some(header) = node.get("header") {
        return header_credential(header, node, mistakes);
    }
    if let Some(basic) = node.get("basic") {
        let user = text(basic, "user")?;
        if user.contains(':') || user.chars().any(char::is_control) {
            let message = "a user of basic authentication has no `:` (RFC 7617 §2)";
            mistakes.error(place_of(basic, "user"), message, "");
        }
        let secret = parsed::<SecretName>(basic.get("secret")?, mistakes)?;
        return Some(Credential::Basic { user, secret });
    }
    if let Some(query) = node.get("query") {
        let value = template(query.get("value")?, mistakes)?;
        let name = text(query, "name")?;
        return Some(Credential::Query { name, value });
    }
    if node.get("mandateToken").is_some() || node.text() == Some("mandateToken") {
        if spec.get("upstreamAudience").is_none() {
            let message = "a Mandate token for the upstream needs `upstreamAudience` (A4)";
            mistakes.error(
                node.at,
                message,
                "add it; it is never any server's `resource`",
            );
        }
        return Some(Credential::MandateToken);
    }
    let none = node.get("none").is_some() || node.text() == Some("none");
    none.then_some(Credential::None)
}

fn header_credential(header: &Node, node: &Node, mistakes: &mut Mistakes) -> Option<Credential> {
    let Some(value) = node.get("value") else {
        mistakes.error(
            node.at,
            "`credential` lacks `value` beside `header`",
            "add `value: \"Bearer ${secret:name}\"`",
        );
        return None;
    };
    let name = header_name(header, mistakes);
    let value = template(value, mistakes);
    Some(Credential::Header {
        name: name?,
        value: value?,
    })
}

fn template(node: &Node, mistakes: &mut Mistakes) -> Option<SecretTemplate> {
    let Some(text) = node.text() else {
        mistakes.error(node.at, "`value` should be text", "");
        return None;
    };
    match SecretTemplate::parse(text) {
        Ok(template) => Some(template),
        Err(why) => {
            let help = "name exactly one secret, as in `Bearer ${secret:records-key}`; the secret itself stays out of the bundle";
            mistakes.error(node.at, why.to_string(), help);
            None
        }
    }
}

/// A header's name in lower case (RFC 9110 §5.6.2), if the gateway may set or read it.
fn header_name(node: &Node, mistakes: &mut Mistakes) -> Option<String> {
    let name = node.text()?.to_ascii_lowercase();
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        mistakes.error(node.at, format!("`{name}` is no header name"), "");
        return None;
    }
    if FRAMING.contains(&name.as_str()) {
        let message = format!("header `{name}` frames the message and is the gateway's own");
        mistakes.error(node.at, message, "choose another header");
        return None;
    }
    Some(name)
}

fn http(node: &Node, mistakes: &mut Mistakes) -> HttpSettings {
    let default = HttpSettings::default();
    let number = |field| node.get(field).and_then(Node::integer);
    let headers = node.get("stripHeaders").map_or(&[] as &[Node], Node::items);
    HttpSettings {
        hosts: hosts(node, mistakes),
        connect_timeout: duration(node, "connectTimeout").unwrap_or(default.connect_timeout),
        response_timeout: duration(node, "responseTimeout").unwrap_or(default.response_timeout),
        idle_timeout: duration(node, "idleTimeout").unwrap_or(default.idle_timeout),
        max_body_bytes: number("maxBodyBytes")
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or(default.max_body_bytes),
        max_header_bytes: number("maxHeaderBytes")
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(default.max_header_bytes),
        pass_task_id: node
            .get("passTaskId")
            .and_then(|n| header_name(n, mistakes)),
        traceparent: node.get("traceparent").is_some_and(Node::is_true),
        strip_headers: headers
            .iter()
            .filter_map(|n| header_name(n, mistakes))
            .collect(),
    }
}

fn hosts(node: &Node, mistakes: &mut Mistakes) -> BTreeSet<String> {
    let items = node.get("hosts").map_or(&[] as &[Node], Node::items);
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
    let mut found = BTreeSet::new();
    for item in items {
        let Some(host) = item.text() else { continue };
        if host.is_empty() || !host.bytes().all(plain) {
            mistakes.error(
                item.at,
                format!("`{host}` is no host name in lower case"),
                "say it without scheme and port",
            );
        } else {
            found.insert(host.to_owned());
        }
    }
    found
}

fn actions(spec: &Node, mistakes: &mut Mistakes) -> BTreeMap<ActionName, Action> {
    let members = spec.get("actions").into_iter().flat_map(Node::members);
    let mut found = BTreeMap::new();
    for (key, node) in members {
        match ActionName::parse(&key.name) {
            Err(error) => mistakes.error(key.at, error.to_string(), ""),
            Ok(name) => {
                if let Some(action) = action(&name, node, mistakes) {
                    found.insert(name, action);
                }
            }
        }
    }
    found
}

fn action(name: &ActionName, node: &Node, mistakes: &mut Mistakes) -> Option<Action> {
    let effect = match node.get("effect")?.text()? {
        "read" => Effect::Read,
        "write" => Effect::Write,
        _ => return None,
    };
    let mut routes = Vec::new();
    for pattern in node.get("match")?.items() {
        match Route::parse(pattern.text()?) {
            Ok(route) => routes.push(route),
            Err(why) => mistakes.error(
                pattern.at,
                why.to_string(),
                "say it as `GET /customers/{customer}/**`",
            ),
        }
    }
    let attributes = attributes(node, &routes, mistakes);
    Some(Action {
        name: name.clone(),
        effect,
        routes,
        attributes,
    })
}

/// The declared attributes, and one for each variable that none of them takes.
fn attributes(
    node: &Node,
    routes: &[Route],
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
        if let Some(attribute) = attribute(&name, key.at, node, &variables, mistakes) {
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

fn attribute(
    name: &AttributeName,
    at: Place,
    node: &Node,
    variables: &BTreeSet<&str>,
    mistakes: &mut Mistakes,
) -> Option<Attribute> {
    let source = attribute_source(name, at, node, mistakes)?;
    if let AttributeSource::Path(variable) = &source
        && !variables.contains(variable.as_str())
    {
        let place = node.get("path").map_or(at, |n| n.at);
        let message = format!("no path of this action has a variable `{{{variable}}}`");
        let help = match did_you_mean(variable, variables.iter().copied()) {
            hint if hint.is_empty() => {
                "say where it is: `path`, `query`, `header` or `body`".to_owned()
            }
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
    name: &AttributeName,
    at: Place,
    node: &Node,
    mistakes: &mut Mistakes,
) -> Option<AttributeSource> {
    let said: Vec<&str> = ["path", "query", "header", "body"]
        .into_iter()
        .filter(|field| node.get(field).is_some())
        .collect();
    match said.as_slice() {
        [] => Some(AttributeSource::Path(name.as_str().to_owned())),
        ["path"] => text(node, "path").map(AttributeSource::Path),
        ["query"] => text(node, "query").map(AttributeSource::Query),
        ["header"] => header_name(node.get("header")?, mistakes).map(AttributeSource::Header),
        ["body"] => body_pointer(node.get("body")?, mistakes),
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

fn body_pointer(node: &Node, mistakes: &mut Mistakes) -> Option<AttributeSource> {
    let text = node.text()?;
    let escaped = text
        .split('~')
        .skip(1)
        .all(|rest| rest.starts_with(['0', '1']));
    if text.starts_with('/') && escaped {
        return Some(AttributeSource::Body(text.to_owned()));
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

fn matcher(
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
                let message = format!(
                    "`{route}` of `{action}` and `{first}` of `{other}` both fit some request, and neither is the narrower one"
                );
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

const LONGEST_OBSERVATION: Duration = Duration::from_secs(30 * 86_400);

const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_rfc_3339() {
        let day = |text| parse_time(text).map(|t| t.to_string());
        assert_eq!(day("2026-11-24").unwrap(), "2026-11-24T00:00:00.000Z");
        assert_eq!(
            day("2024-02-29T23:59:59Z").unwrap(),
            "2024-02-29T23:59:59.000Z"
        );
        for bad in [
            "2026-02-29",
            "2026-13-01",
            "2026-1-1",
            "2026-11-24T00:00:00",
            "tomorrow",
            "2026-11-24T24:00:00Z",
        ] {
            assert_eq!(day(bad), None, "{bad}");
        }
    }
}
