//! Manifests: which tools of an MCP server were accepted, and as what.

use std::collections::{BTreeMap, BTreeSet};

use mandate_model::ServerName;
use serde_json::Value;

use super::place_of;
use super::read::{parsed, text};
use crate::decl::{Manifest, ServerWorkload, TOOL, ToolDigest};
use crate::mistake::{Mistakes, did_you_mean};
use crate::source::Node;

/// Reads the manifest of the server workload of the same name, and gives it to that.
pub(super) fn manifest(
    name: &str,
    spec: &Node,
    servers: &mut BTreeMap<ServerName, ServerWorkload>,
    mistakes: &mut Mistakes,
) {
    let (mut tools, mut known) = (BTreeMap::new(), BTreeSet::new());
    for tool in spec.get("tools").map_or(&[] as &[Node], Node::items) {
        let Some(named) = text(tool, "name") else {
            continue;
        };
        if !known.insert(named.clone()) {
            let message = format!("tool `{named}` is accepted twice");
            mistakes.error(place_of(tool, "name"), message, "keep one of them");
        }
        tools.extend(accepted(&named, tool, mistakes).map(|digest| (named, digest)));
    }
    let Some(server) = servers.get_mut(name) else {
        return;
    };
    let Some(mcp) = &mut server.mcp else {
        let message = format!("server workload `{name}` is no MCP server");
        let help = "say `mcp: {}` there, or remove the manifest";
        mistakes.error(spec.at, message, help);
        return;
    };
    let named = server
        .actions
        .values()
        .flat_map(|action| action.routes.iter().map(move |route| (action, route)))
        .filter(|(_, route)| route.method == TOOL);
    for (action, route) in named {
        let shown = route.to_string();
        let tool = shown.strip_prefix("tool ").unwrap_or(&shown);
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
    mcp.manifest = Some(Manifest(tools));
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
