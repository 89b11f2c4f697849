//! Manifests: which tools of an MCP server were accepted, and as what.

use std::collections::{BTreeMap, BTreeSet};

use mandate_model::ServerName;
use serde_json::Value;

use super::place_of;
use super::read::{parsed, text};
use crate::decl::{Accepted, Credential, Manifest, ServerWorkload, ToolDigest};
use crate::mistake::{Mistakes, did_you_mean};
use crate::source::Node;

/// Reads the manifest of the server workload of the same name, and gives it to that.
pub(super) fn manifest(
    name: &str,
    spec: &Node,
    servers: &mut BTreeMap<ServerName, ServerWorkload>,
    mistakes: &mut Mistakes,
) {
    let (tools, known) = tools_of(spec, mistakes);
    let Some(server) = servers.get_mut(name) else {
        return;
    };
    for (tool, action) in server.tools() {
        if !known.contains(tool) {
            let message = format!(
                "action `{}` of `{name}` names tool `{tool}`, which this manifest has not",
                action.name
            );
            let near = did_you_mean(tool, known.iter().map(String::as_str));
            let help = if near.is_empty() {
                format!("look at it with `mandate mcp accept {name}`, or remove the action")
            } else {
                near
            };
            mistakes.error(place_of(spec, "tools"), message, help);
        }
    }
    if server.credential == Credential::MandateToken {
        let message = "an upstream that is told who acts may list other tools to each: nobody can accept them for all";
        let help = "remove the manifest, or give the gateway a credential of its own for this server workload";
        mistakes.error(place_of(spec, "tools"), message, help);
    }
    match &mut server.mcp {
        Some(mcp) => mcp.manifest = Some(Manifest::of(tools)),
        None => {
            let message = format!("server workload `{name}` is no MCP server");
            let help = "say `mcp: {}` there, or remove the manifest";
            mistakes.error(spec.at, message, help);
        }
    }
}

/// The tools that a manifest accepts, and the names of those that it mentions.
pub(super) fn tools_of(
    spec: &Node,
    mistakes: &mut Mistakes,
) -> (BTreeMap<String, Accepted>, BTreeSet<String>) {
    let (mut tools, mut known) = (BTreeMap::new(), BTreeSet::new());
    for tool in spec.get("tools").map_or(&[] as &[Node], Node::items) {
        let Some(named) = text(tool, "name") else {
            continue;
        };
        if !known.insert(named.clone()) {
            let message = format!("tool `{named}` is accepted twice");
            mistakes.error(place_of(tool, "name"), message, "keep one of them");
        }
        let digest = accepted(&named, tool, mistakes);
        let accepted = digest.map(|digest| Accepted {
            digest,
            definition: text(tool, "definition"),
        });
        tools.extend(accepted.map(|accepted| (named, accepted)));
    }
    (tools, known)
}

fn accepted(name: &str, tool: &Node, mistakes: &mut Mistakes) -> Option<ToolDigest> {
    let digest: ToolDigest = parsed(tool.get("digest")?, mistakes)?;
    let Some(definition) = tool.get("definition") else {
        return Some(digest);
    };
    let Ok(said) = serde_json::from_str::<Value>(definition.text()?) else {
        let message = format!("the definition of tool `{name}` is no JSON");
        let help = "leave it as `mandate mcp accept` wrote it, or leave it out";
        mistakes.error(definition.at, message, help);
        return None;
    };
    // What people read must be what is enforced.
    if said.get("name").and_then(Value::as_str) != Some(name) || ToolDigest::of(&said) != digest {
        let message = format!("the definition of tool `{name}` is not what the digest is of");
        let help = "accept the tool again with `mandate mcp accept`; a change by hand changes what is read and not what is enforced";
        mistakes.error(definition.at, message, help);
        return None;
    }
    Some(digest)
}
