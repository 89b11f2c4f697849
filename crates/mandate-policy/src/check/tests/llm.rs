//! LLM endpoints: what they are declared with.

use super::one_error_more;
use crate::decl::{LlmApi, ServerWorkload};
use crate::fixtures::load_text;
use crate::mistake::Severity;
use mandate_model::ServerName;

const LLM: &str = "kind: ServerWorkload\nmetadata: {name: llm}\nspec:\n  resource: https://llm.acme.example\n  upstream: https://llm.internal\n  credential: none\n  llm: {api: openai}\n  actions:\n    chat: {effect: read, match: \"POST /v1/chat/completions\", attributes: {model: {body: /model}}}";

fn loads(text: &str) -> (ServerWorkload, Vec<String>) {
    let loaded = load_text(&super::with(text)).unwrap();
    let name = ServerName::parse("llm").unwrap();
    let warned = loaded.warnings.iter().map(|warning| {
        assert_eq!(warning.severity, Severity::Warning);
        warning.message.clone()
    });
    (
        loaded.bundle.server(&name).unwrap().clone(),
        warned.collect(),
    )
}

#[test]
fn an_llm_is_of_one_of_two_shapes() {
    let (server, warned) = loads(LLM);
    assert_eq!(server.llm.unwrap().api, LlmApi::OpenAi);
    assert_eq!(warned, [] as [String; 0]);
    let (server, _) = loads(&LLM.replace("openai", "anthropic"));
    assert_eq!(server.llm.unwrap().api.to_string(), "anthropic");
    one_error_more(&LLM.replace("openai", "gemini"), "`gemini`");
    one_error_more(&LLM.replace("{api: openai}", "{}"), "`api`");
}

#[test]
fn what_an_llm_cannot_have_does_not_load() {
    let internal = LLM.replace("  llm:", "  internal: true\n  llm:");
    one_error_more(&internal, "the arrival of a prompt at an LLM matters");
    let both = LLM
        .replace("  llm:", "  mcp: {}\n  llm:")
        .replace("\"POST /v1/chat/completions\"", "tool chat")
        .replace("{body: /model}", "/model");
    one_error_more(&both, "an LLM endpoint is no MCP server");
}

#[test]
fn a_call_of_a_model_that_nobody_can_decide_on_is_warned_of() {
    let plain = |pattern: &str| {
        let text = LLM.replace("POST /v1/chat/completions", pattern);
        loads(&text.replace(", attributes: {model: {body: /model}}", "")).1
    };
    for call in ["POST /v1/responses", "POST /v1/embeddings", "POST /v1/**"] {
        let warned = plain(call);
        assert_eq!(warned.len(), 1, "{call}: {warned:?}");
        assert!(warned[0].contains("has no attribute `model`"), "{warned:?}");
    }
    for other in ["GET /v1/models", "POST /v1/files", "POST /v1/messages"] {
        assert_eq!(plain(other), [] as [String; 0], "{other}");
    }
}

#[test]
fn what_would_hide_the_usage_of_an_llm_reaches_none() {
    let (server, _) = loads(LLM);
    for field in ["accept-encoding", "range", "if-range"] {
        assert!(!server.passes(field), "{field}");
    }
    assert!(server.passes("anthropic-version"));
}
