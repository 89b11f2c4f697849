//! LLM endpoints: what they cannot be declared with, and what should be decided of each call.

use super::place_of;
use super::read::text;
use crate::decl::{Action, LlmApi, LlmSettings, Route, Segment, ServerWorkload};
use crate::mistake::Mistakes;
use crate::source::Node;

/// An API that is none is a mistake of the shape, and the bundle does not load.
pub(super) fn llm(node: &Node) -> Option<LlmSettings> {
    let said = text(node, "api")?;
    let mut all = LlmApi::ALL.iter();
    let (_, api) = all.find(|(name, _)| *name == said)?;
    Some(LlmSettings { api: *api })
}

/// What an LLM endpoint cannot be declared with.
pub(super) fn check(server: &ServerWorkload, spec: &Node, mistakes: &mut Mistakes) {
    let Some(llm) = server.llm else { return };
    if server.mcp.is_some() {
        let message = "an LLM endpoint is no MCP server";
        let help = "declare two server workloads";
        mistakes.error(place_of(spec, "llm"), message, help);
    }
    if server.internal {
        let message = "the arrival of a prompt at an LLM matters, whatever it asks: it may not be recorded afterwards";
        let help = "remove `internal`";
        mistakes.error(place_of(spec, "internal"), message, help);
    }
    for action in server.actions() {
        let says_model = action.attributes.keys().any(|name| name.as_str() == MODEL);
        if !says_model && is_call(action, llm.api) {
            let message = format!(
                "action `{}` calls a model and has no attribute `{MODEL}`: no policy and no mandate can say which",
                action.name
            );
            let node = spec.get("actions");
            let node = node.and_then(|actions| actions.get(action.name.as_str()));
            mistakes.warn(
                node.map_or(spec.at, |node| node.at),
                message,
                "add `attributes: {model: {body: /model}}`",
            );
        }
    }
}

/// Whether a request for it may be a call of a model.
fn is_call(action: &Action, api: LlmApi) -> bool {
    action.routes.iter().any(|route| may_be_call(route, api))
}

fn may_be_call(route: &Route, api: LlmApi) -> bool {
    route.method == "POST"
        && match route.segments.last() {
            Some(Segment::Literal(text)) => api.calls().contains(&text.as_str()),
            Some(Segment::Rest | Segment::Any | Segment::Variable(_)) => true,
            None => false,
        }
}

const MODEL: &str = "model";
