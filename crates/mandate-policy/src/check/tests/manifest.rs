//! Manifests: what was accepted, and as what.

use super::one_error_more;
use crate::decl::ToolDigest;
use crate::fixtures::load_text;
use mandate_model::ServerName;
use serde_json::json;

const DESK: &str = "kind: ServerWorkload\nmetadata: {name: desk}\nspec:\n  resource: https://desk.acme.example/mcp\n  upstream: https://desk.internal\n  credential: none\n  mcp: {}\n  actions:\n    look: {effect: read, match: tool look_up, attributes: {customer: /customer_id}}";

fn definition() -> serde_json::Value {
    json!({"name": "look_up", "description": "Looks up.", "inputSchema": {"type": "object"}})
}

/// The bundle with `tools` accepted.
fn accepted(tools: &str) -> String {
    format!("{DESK}\n---\nkind: ToolManifest\nmetadata: {{name: desk}}\nspec:\n  tools:\n{tools}")
}

fn tool(name: &str, digest: &str) -> String {
    format!("    - {{name: {name}, digest: \"{digest}\"}}\n")
}

#[test]
fn a_manifest_pins_each_tool_by_its_digest() {
    let digest = ToolDigest::of(&definition());
    let with_text = format!(
        "    - name: look_up\n      digest: {digest}\n      definition: '{}'\n",
        definition()
    );
    for tools in [tool("look_up", &digest.to_string()), with_text] {
        let loaded = load_text(&super::with(&accepted(&tools))).unwrap();
        let desk = loaded.bundle.server(&ServerName::parse("desk").unwrap());
        let manifest = desk.unwrap().mcp.as_ref().unwrap().manifest.as_ref();
        assert_eq!(manifest.unwrap().tool("look_up"), Some(&digest));
        assert_eq!(manifest.unwrap().tool("other"), None);
    }
    let loaded = load_text(&super::with(DESK)).unwrap();
    let desk = loaded.bundle.server(&ServerName::parse("desk").unwrap());
    assert_eq!(desk.unwrap().mcp.as_ref().unwrap().manifest, None);
}

#[test]
fn a_manifest_that_pins_nothing_for_certain_does_not_load() {
    let digest = ToolDigest::of(&definition()).to_string();
    let with_text = |text: &str| {
        format!("    - name: look_up\n      digest: {digest}\n      definition: '{text}'\n")
    };
    let good = tool("look_up", &digest);
    for (tools, part) in [
        (tool("look_up", "sha256:00"), "64 digits"),
        (tool("look-up", &digest), "which this manifest has not"),
        (format!("{good}{good}"), "accepted twice"),
        (with_text("{"), "is no JSON"),
        (
            with_text(&definition().to_string().replace("Looks", "Deletes")),
            "is not what the digest is of",
        ),
    ] {
        one_error_more(&accepted(&tools), part);
    }
    let foreign = accepted(&good).replace(
        "metadata: {name: desk}\nspec:\n  tools",
        "metadata: {name: dsek}\nspec:\n  tools",
    );
    one_error_more(&foreign, "no server workload is named `dsek`");
    let of_each = accepted(&good).replace(
        "credential: none",
        "credential: {mandateToken: {}}\n  upstreamAudience: https://desk.internal",
    );
    one_error_more(&of_each, "nobody can accept them for all");
    let plain = accepted(&good).replace("  mcp: {}\n", "").replace(
        "tool look_up, attributes: {customer: /customer_id}",
        "GET /x",
    );
    one_error_more(&plain, "is no MCP server");
}

/// What an action names was looked at: a tool that nobody accepted is none.
#[test]
fn a_change_of_what_is_accepted_is_shown_before_it_is_applied() {
    let bundle = |digest: &ToolDigest| {
        let text = accepted(&tool("look_up", &digest.to_string()));
        load_text(&super::with(&text)).unwrap().bundle
    };
    let (before, after) = (ToolDigest::of(&definition()), ToolDigest::of(&json!({})));
    let plan = crate::plan(Some(&bundle(&before)), &bundle(&after));
    let shown: Vec<_> = plan.others.iter().map(ToString::to_string).collect();
    let expected = format!("ServerWorkload `desk` tools.look_up: {before} → {after}");
    assert_eq!(shown, [expected]);
}
