//! MCP servers: what they are declared with.

use super::one_error_more;
use crate::decl::{McpSettings, ServerWorkload};
use crate::fixtures::load_text;
use mandate_model::ServerName;

const DESK: &str = "kind: ServerWorkload\nmetadata: {name: desk}\nspec:\n  resource: https://desk.acme.example/mcp\n  upstream: https://desk.internal\n  credential: none\n  mcp: {}\n  actions:\n    look: {effect: read, match: tool look_up, attributes: {customer: /customer_id}}";

fn loads(text: &str) -> ServerWorkload {
    let loaded = load_text(&super::with(text)).unwrap();
    let name = ServerName::parse("desk").unwrap();
    loaded.bundle.server(&name).unwrap().clone()
}

#[test]
fn an_action_is_a_tool_a_prompt_or_a_resource() {
    let desk = loads(DESK);
    let settings = McpSettings {
        path: "/mcp".to_owned(),
        denial_code: 403,
        manifest: None,
    };
    assert_eq!(desk.mcp, Some(settings));
    let shape = |text: &str| {
        let desk = loads(&DESK.replace("tool look_up, attributes: {customer: /customer_id}", text));
        let action = desk.actions().next().unwrap();
        action.routes.first().unwrap().to_string()
    };
    for pattern in [
        "tool look_up",
        "tool files/read.v2:x",
        "prompt summary",
        "resource file:///reports/{customer}/**",
        "resource test://static/{page}",
        "resource memo:today",
    ] {
        assert_eq!(shape(&format!("{pattern:?}")), pattern);
    }
}

#[test]
fn what_names_nothing_does_not_load() {
    let example = "is no name of a tool, prompt or method";
    for (pattern, part) in [
        (
            "GET /customers",
            "a pattern of an MCP server is `tool NAME`",
        ),
        ("look_up", "a pattern of an MCP server is `tool NAME`"),
        ("tool *", example),
        ("tool look up", example),
        ("prompt {name}", example),
        ("resource reports", "is no URI template"),
        ("resource FILE:///reports", "is no URI template"),
        ("resource file:///reports?x", "is no URI template"),
        ("resource file:///a//b", "is no URI template"),
        ("resource {scheme}:x", "is no URI template"),
    ] {
        one_error_more(&DESK.replace("tool look_up", &format!("{pattern:?}")), part);
    }
}

#[test]
fn an_attribute_is_an_argument_or_of_a_uri() {
    for (attribute, part) in [
        ("{customer: customer_id}", "is no JSON pointer"),
        ("{customer: {body: /customer}}", "comes from `body`"),
        ("{customer: {query: customer}}", "comes from `query`"),
        ("{customer: {header: x-customer}}", "comes from `header`"),
        ("{customer: {type: string}}", "has a variable `{customer}`"),
        (
            "{customer: {argument: /a, path: b}}",
            "comes from path and from argument",
        ),
    ] {
        one_error_more(&DESK.replace("{customer: /customer_id}", attribute), part);
    }
    let http = DESK
        .replace("  mcp: {}\n", "")
        .replace("tool look_up", "\"POST /look\"");
    one_error_more(&http, "is an argument of an MCP server's tool");
    let http = http.replace("/customer_id", "{argument: /customer_id}");
    one_error_more(&http, "`argument` is of an MCP server");
}

#[test]
fn what_an_mcp_server_cannot_have_does_not_load() {
    for (text, part) in [
        (
            "mcp: {}\n  internal: true",
            "the arrival of a message at an MCP server matters",
        ),
        ("mcp: {path: mcp}", "is no path of an endpoint"),
        ("mcp: {path: /}", "is no path of an endpoint"),
        ("mcp: {path: /mcp/}", "is no path of an endpoint"),
        ("mcp: {path: \"/{a}\"}", "is no path of an endpoint"),
        ("mcp: {denialCode: -32020}", "has a meaning of its own"),
        ("mcp: {denialCode: -32601}", "has a meaning of its own"),
    ] {
        one_error_more(&DESK.replace("mcp: {}", text), part);
    }
    assert_eq!(
        loads(&DESK.replace("mcp: {}", "mcp: {denialCode: -32001}"))
            .mcp
            .unwrap()
            .denial_code,
        -32001
    );
    let upgrade = DESK.replace("effect: read,", "effect: read, upgrade: websocket,");
    one_error_more(&upgrade, "switch to no other protocol");
    let query = DESK.replace(
        "credential: none",
        "credential: {query: {name: key, value: \"${secret:k}\"}}",
    );
    one_error_more(&query, "a credential in the query");
    let two = DESK.to_owned() + "\n    other: {effect: read, match: tool look_up}";
    one_error_more(&two, "both fit some request");
}
