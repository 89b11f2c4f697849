//! Agents that are called: which type they are of, and what they cannot be declared with.

use super::LoadEnv;
use super::names::Names;
use super::place_of;
use super::read::{known, text};
use crate::decl::{A2aSettings, Route, Segment, ServerWorkload};
use crate::mistake::Mistakes;
use crate::source::Node;

pub(super) fn a2a(
    node: &Node,
    (names, env): (&Names, &LoadEnv),
    mistakes: &mut Mistakes,
) -> Option<A2aSettings> {
    let path = text(node, "path").unwrap_or_else(|| "/".to_owned());
    let literal = |segment: &Segment| matches!(segment, Segment::Literal(text) if !text.is_empty());
    let plain =
        Route::parse(&format!("POST {path}")).is_ok_and(|route| route.segments.iter().all(literal));
    if !plain {
        let message = format!("`{path}` is no path of an endpoint");
        let help = "say it as `/` or `/a2a`: segments of plain text, without a slash at the end";
        mistakes.error(place_of(node, "path"), message, help);
    }
    let agent = node.get("agent")?;
    let agent = known(agent, &names.agents, "agent type", mistakes)?;
    let id = env.trust_domain.agent(&agent);
    Some(A2aSettings { agent, id, path })
}

/// What an agent that is called cannot be declared with.
pub(super) fn check(server: &ServerWorkload, spec: &Node, mistakes: &mut Mistakes) {
    if spec.get("a2a").is_none() {
        return;
    }
    if server.mcp.is_some() || server.llm.is_some() {
        let message = "an agent that is called is neither an MCP server nor an LLM endpoint";
        mistakes.error(
            place_of(spec, "a2a"),
            message,
            "declare two server workloads",
        );
    }
    if server.internal {
        let message =
            "the arrival of a call at an agent matters: it may not be recorded afterwards";
        mistakes.error(place_of(spec, "internal"), message, "remove `internal`");
    }
}
