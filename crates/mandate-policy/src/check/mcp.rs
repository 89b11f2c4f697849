//! MCP servers: where their endpoint is, and what they cannot have.

use super::place_of;
use super::read::text;
use crate::decl::Route;
use crate::decl::{Credential, McpSettings, Segment, ServerWorkload};
use crate::mistake::Mistakes;
use crate::source::Node;

pub(super) fn mcp(node: &Node, mistakes: &mut Mistakes) -> McpSettings {
    let path = text(node, "path").unwrap_or_else(|| PATH.to_owned());
    let literal = |segment: &Segment| matches!(segment, Segment::Literal(text) if !text.is_empty());
    let plain = Route::parse(&format!("POST {path}"))
        .is_ok_and(|route| !route.segments.is_empty() && route.segments.iter().all(literal));
    if !plain {
        let message = format!("`{path}` is no path of an endpoint");
        let help = "say it as `/mcp`: segments of plain text, without a slash at the end";
        mistakes.error(place_of(node, "path"), message, help);
    }
    McpSettings {
        path,
        denial_code: denial_code(node, mistakes),
        manifest: None,
    }
}

/// MCP keeps -32020 to -32099 for itself, and JSON-RPC its own (MCP 2026-07-28, basic, "Error Codes"). What
/// COAZ wants, -32001, is among those that MCP only advises against.
fn denial_code(node: &Node, mistakes: &mut Mistakes) -> i64 {
    let Some(said) = node.get("denialCode") else {
        return DENIED;
    };
    let code = said.integer().unwrap_or(DENIED);
    let of_mcp = (-32099..=-32020).contains(&code) || [-32002, -32042].contains(&code);
    let of_json_rpc = (-32768..=-32100).contains(&code);
    if of_mcp || of_json_rpc {
        let message = format!("`denialCode` {code} has a meaning of its own in MCP or JSON-RPC");
        let help = "choose one outside of -32768 to -32000, such as 403, or -32001 for COAZ";
        mistakes.error(said.at, message, help);
    }
    code
}

/// What an MCP server cannot be declared with.
pub(super) fn check(server: &ServerWorkload, spec: &Node, mistakes: &mut Mistakes) {
    if server.mcp.is_none() {
        return;
    }
    if server.internal {
        let message = "the arrival of a message at an MCP server matters, whatever it does: it may not be recorded afterwards";
        let help = "remove `internal`";
        mistakes.error(place_of(spec, "internal"), message, help);
    }
    if let Credential::Query { .. } = server.credential {
        let message = "a credential in the query is no access token of an MCP server";
        let help = "send it in a header (MCP 2026-07-28, basic/authorization)";
        mistakes.error(place_of(spec, "credential"), message, help);
    }
}

const PATH: &str = "/mcp";
const DENIED: i64 = 403;
