//! Agents that are called: what they are declared with.

use super::one_error_more;
use crate::decl::ServerWorkload;
use crate::fixtures::load_text;
use crate::mistake::Mistake;
use mandate_model::ServerName;

const HELPER: &str = "kind: ServerWorkload\nmetadata: {name: helper}\nspec:\n  resource: https://helper.acme.example\n  upstream: https://helper.internal\n  credential: none\n  a2a: {agent: executor}\n  actions:\n    ask: {effect: read, match: [rpc SendMessage, rpc message/send], attributes: {skill: /message/metadata/skill}}\n    card: {effect: read, match: \"GET /.well-known/agent-card.json\"}";

fn loads(text: &str) -> ServerWorkload {
    let loaded = load_text(&super::with(text)).unwrap();
    assert_eq!(loaded.warnings, []);
    let name = ServerName::parse("helper").unwrap();
    loaded.bundle.server(&name).unwrap().clone()
}

#[test]
fn an_action_is_a_call_or_a_request() {
    let helper = loads(HELPER);
    let a2a = helper.a2a.as_ref().unwrap();
    assert_eq!((a2a.agent.as_str(), &*a2a.path), ("executor", "/"));
    let routes = helper.actions().flat_map(|action| &action.routes);
    let routes: Vec<String> = routes.map(ToString::to_string).collect();
    assert_eq!(
        routes,
        [
            "rpc SendMessage",
            "rpc message/send",
            "GET /.well-known/agent-card.json"
        ]
    );
    assert!(helper.match_request("rpc", &["message/send"]).is_some());
    assert!(helper.match_request("rpc", &["sendmessage"]).is_none());
    assert!(helper.match_request("POST", &[]).is_none());
    let deeper = loads(&HELPER.replace("{agent: executor}", "{agent: executor, path: /a2a/v1}"));
    assert_eq!(deeper.a2a.unwrap().path, "/a2a/v1");
}

#[test]
fn what_an_agent_that_is_called_cannot_have_does_not_load() {
    for (old, new, part) in [
        (
            "{agent: executor}",
            "{agent: nobody}",
            "no agent type is named `nobody`",
        ),
        ("{agent: executor}", "{path: /}", "`agent`"),
        (
            "{agent: executor}",
            "{agent: executor, path: /a/}",
            "is no path of an endpoint",
        ),
        (
            "{agent: executor}",
            "{agent: executor, path: \"/{a}\"}",
            "is no path of an endpoint",
        ),
        (
            "  a2a:",
            "  internal: true\n  a2a:",
            "the arrival of a call at an agent matters",
        ),
        (
            "  a2a:",
            "  llm: {api: openai}\n  a2a:",
            "is neither an MCP server nor an LLM endpoint",
        ),
        (
            "rpc message/send",
            "\"POST /message:send\"",
            "a pattern of a call is `rpc METHOD`",
        ),
        (
            "/message/metadata/skill",
            "{body: /message}",
            "comes from `body`",
        ),
        (
            "effect: read, match: [rpc",
            "effect: read, upgrade: websocket, match: [rpc",
            "switch to no other protocol",
        ),
        (
            "rpc SendMessage",
            "rpc Send*",
            "is no name of a tool, prompt or method",
        ),
    ] {
        one_error_more(&HELPER.replace(old, new), part);
    }
    let none = HELPER.replace("  a2a: {agent: executor}\n", "");
    let none = none.replace(", attributes: {skill: /message/metadata/skill}", "");
    let found = load_text(&super::with(&none))
        .map(|l| l.warnings)
        .unwrap_err();
    let is_no_method = |m: &Mistake| m.message.contains("`rpc` is no method");
    assert!(found.iter().all(is_no_method), "{found:#?}");
}
