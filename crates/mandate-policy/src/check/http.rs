//! How HTTP is spoken, and header names.

use std::collections::BTreeSet;

use super::read::duration;
use crate::decl::HttpSettings;
use crate::headers;
use crate::mistake::Mistakes;
use crate::source::Node;

pub(super) fn http(node: &Node, mistakes: &mut Mistakes) -> HttpSettings {
    let default = HttpSettings::default();
    let headers = node.get("stripHeaders").map_or(&[] as &[Node], Node::items);
    let idle_timeout = duration(node, "idleTimeout").unwrap_or(default.idle_timeout);
    HttpSettings {
        hosts: hosts(node, mistakes),
        connect_timeout: duration(node, "connectTimeout").unwrap_or(default.connect_timeout),
        response_timeout: duration(node, "responseTimeout").unwrap_or(default.response_timeout),
        idle_timeout,
        max_body_bytes: number(node, "maxBodyBytes", mistakes).unwrap_or(default.max_body_bytes),
        max_upgrade_bytes: number(node, "maxUpgradeBytes", mistakes)
            .unwrap_or(default.max_upgrade_bytes),
        upgrade_idle_timeout: duration(node, "upgradeIdleTimeout").unwrap_or(idle_timeout),
        max_header_bytes: number(node, "maxHeaderBytes", mistakes)
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

/// A number of bytes. One below zero is no number of this shape, and said so where the shape is read.
fn number<T: TryFrom<i64>>(node: &Node, field: &str, mistakes: &mut Mistakes) -> Option<T> {
    let node = node.get(field)?;
    let said = node.integer().filter(|n| *n >= 0)?;
    let number = T::try_from(said);
    if number.is_err() {
        let message = format!("`{field}` is too large");
        mistakes.error(node.at, message, "say a smaller number of bytes");
    }
    number.ok()
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

/// A header's name in lower case (RFC 9110 §5.6.2), if the gateway may set or read it.
pub(super) fn header_name(node: &Node, mistakes: &mut Mistakes) -> Option<String> {
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

/// A header that an attribute may be read from: one that reaches the upstream as it came.
pub(super) fn attribute_header(node: &Node, mistakes: &mut Mistakes) -> Option<String> {
    let name = header_name(node, mistakes)?;
    if headers::never_passes(&name) {
        let message =
            format!("header `{name}` is taken out by the gateway and reaches no upstream");
        mistakes.error(node.at, message, "read the attribute from another header");
        return None;
    }
    Some(name)
}

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
