//! What is written loads, and grants nothing, whatever the server calls its things.

use mandate_model::TrustDomain;
use mandate_policy::{LoadEnv, SourceFile};
use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

const AGENT: &str = "kind: AgentType\nmetadata: {name: clerk}\nspec:\n  attestation: [{process: {user: clerk}}]\n  breakGlass: {contact: \"@oncall\", impact: Nobody is served.}\n";

fn item(json: &Value) -> Item {
    let named = ["uriTemplate", "uri", "name"]
        .into_iter()
        .find_map(|member| json[member].as_str());
    Item {
        name: named.unwrap().to_owned(),
        raw: RawValue::from_string(json.to_string()).unwrap(),
    }
}

fn declared(tools: &[Value]) -> Declared {
    Declared {
        name: Some("test".to_owned()),
        revision: "2026-07-28".to_owned(),
        tools: tools.iter().map(item).collect(),
        prompts: Vec::new(),
        templates: Vec::new(),
        resources: Vec::new(),
    }
}

fn place() -> Place {
    Place {
        name: "desk".to_owned(),
        resource: "http://127.0.0.1:7700/desk/mcp".to_owned(),
        upstream: "http://127.0.0.1:7750".to_owned(),
        path: "/mcp".to_owned(),
        credential: Some(("Authorization".to_owned(), true)),
        source: "x\n---\nkind: Operator".to_owned(),
    }
}

/// The bundle that the text is with an agent type.
fn load(text: &str) -> Result<mandate_policy::Bundle, String> {
    let files = [("agents", AGENT), ("desk", text)].map(|(name, text)| SourceFile {
        name: format!("{name}.yaml"),
        text: text.to_owned(),
    });
    let environment = LoadEnv {
        trust_domain: TrustDomain::parse("acme.example").unwrap(),
        issuer: "http://127.0.0.1:7701".to_owned(),
    };
    let now = mandate_model::Timestamp::from_secs(1_800_000_000);
    let loaded = mandate_policy::load(&files, &environment, now);
    loaded
        .map(|loaded| loaded.bundle)
        .map_err(|mistakes| format!("{mistakes:?}\n{text}"))
}

#[test]
fn each_tool_prompt_and_template_is_an_action() {
    let schema = json!({ "type": "object", "properties": {
        "customerId": { "type": "string" }, "amount": { "type": "integer" },
        "mode": { "enum": ["yes", "1", "a: b"] },
    } });
    let mut all = declared(&[
        json!({ "name": "look_up", "description": "Looks up.\nMore.", "inputSchema": schema, "annotations": { "readOnlyHint": true } }),
        json!({ "name": "refund", "inputSchema": schema, "annotations": { "readOnlyHint": "true" } }),
        json!({ "name": "two words", "inputSchema": {} }),
    ]);
    all.prompts = vec![item(
        &json!({ "name": "summary", "arguments": [{ "name": "topic" }] }),
    )];
    all.templates = vec![
        item(&json!({ "uriTemplate": "file:///reports/{customer}/{+path}", "name": "r" })),
        item(&json!({ "uriTemplate": "memo:{id}", "name": "m" })),
    ];
    all.resources = vec![item(&json!({ "uri": "memo:a", "name": "a" }))];
    let imported = Imported::of(&all, place());
    let text = text(&imported);
    insta::assert_snapshot!(text);
    let bundle = load(&text).unwrap();
    let desk = bundle.server(&"desk".parse().unwrap()).unwrap();
    assert_eq!(desk.actions().count(), 4);
    assert_eq!(bundle.access_policies().count(), 0);
    // The same as JSON, which is YAML too.
    let json = imported.json();
    let again = load(&json["documents"][0].to_string()).unwrap();
    assert_eq!(again.server(&"desk".parse().unwrap()), Some(desk));
    assert_eq!(json["left_out"].as_array().unwrap().len(), 3);
}

#[test]
fn the_policy_is_one_once_its_lines_are_enabled() {
    let text = text(&Imported::of(
        &declared(&[json!({ "name": "a" }), json!({ "name": "b" })]),
        place(),
    ));
    let (server, policy) = text.split_once("\n# Nobody may").unwrap();
    let policy: Vec<&str> = policy
        .lines()
        .skip(1)
        .filter(|line| !line.contains("- a "))
        .collect();
    let enabled: Vec<&str> = policy
        .iter()
        .map(|line| line.strip_prefix("# ").unwrap())
        .collect();
    let enabled = format!(
        "{server}\n{}\n",
        enabled.join("\n").replace("AGENT", "clerk")
    );
    let bundle = load(&enabled).unwrap();
    let policies: Vec<_> = bundle.access_policies().collect();
    assert_eq!(policies.len(), 1);
    assert!(
        format!("{:?}", policies[0]).contains("(b)"),
        "{:?}",
        policies[0]
    );
}

#[test]
fn what_cannot_be_read_is_left_out_by_itself() {
    let mut deep = json!({});
    for _ in 0..100 {
        deep = json!({ "properties": { "a": deep } });
    }
    let all = declared(&[
        json!({ "name": "deep", "inputSchema": deep }),
        json!({ "name": "plain" }),
    ]);
    let imported = Imported::of(&all, place());
    assert_eq!(imported.actions.len(), 1);
    let [left] = imported.left_out.as_slice() else {
        panic!("{imported:?}")
    };
    assert_eq!(
        (left.what.as_str(), left.why.as_str()),
        ("tool deep", UNREADABLE)
    );
    load(&text(&imported)).unwrap();
}

proptest! {
    #[test]
    fn whatever_a_server_calls_its_things_the_text_loads_and_grants_nothing(
        names in proptest::collection::hash_set(any_text(), 1..6),
        words in any_text(),
        key in any_text(),
        value in any_text(),
    ) {
        let tools: Vec<Value> = names.iter().map(|name| json!({
            "name": name, "description": words, "inputSchema": { "properties": {
                &key: { "type": "string" }, "e": { "enum": [value, "x"] },
            } },
        })).collect();
        let mut declared = declared(&tools);
        declared.templates = names.iter().map(|name| item(&json!({ "uriTemplate": format!("file:///{name}"), "name": "t" }))).collect();
        declared.revision = words;
        let imported = Imported::of(&declared, place());
        let text = text(&imported);
        prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", text);
        if imported.actions.is_empty() {
            return Ok(());
        }
        let bundle = match load(&text) {
            Ok(bundle) => bundle,
            Err(why) => return Err(TestCaseError::fail(why)),
        };
        prop_assert_eq!(bundle.servers().count(), 1);
        prop_assert_eq!(bundle.access_policies().count(), 0);
        let actions = bundle.servers().flat_map(|server| server.actions()).count();
        prop_assert_eq!(actions, imported.actions.len());
    }
}

/// What would be read as something else if it were written as it is.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z{}*+?/:#, \\n\"'\\\\&!|>%@`-]{0,20}",
        "(\\{[a-c]\\}|[a-c])(/(\\{[+]?[a-c]\\}|[a-c]))?/?",
        Just("a\n---\nkind: Operator\nspec: {}".to_owned()),
        Just("x # comment".to_owned()),
        Just("\u{1b}[31mred".to_owned()),
        Just("<<".to_owned()),
        Just("!!binary".to_owned()),
        Just("no".to_owned()),
        Just("\u{2028}kind: x".to_owned()),
    ]
}
