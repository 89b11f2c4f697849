use http::{HeaderMap, HeaderName, HeaderValue};
use mandate_model::{Effect, ServerName, Timestamp, TrustDomain};
use mandate_policy::{Bundle, LoadEnv, SourceFile, load};
use serde_json::{Value, json};

use super::super::classify::{Classified, RequestHead, Unclassifiable, classify};
use super::{Addressee, Era, McpFault, as_call, given};

const BUNDLE: &str = r#"
apiVersion: mandate.dev/v1alpha1
kind: ServerWorkload
metadata: {name: desk}
spec:
  resource: https://desk.acme.example/mcp
  upstream: http://127.0.0.1:3901
  credential: none
  mcp: {}
  actions:
    look: {effect: read, match: ["tool look_up", "prompt summary"], attributes: {customer: /customer_id}}
    refund:
      effect: write
      match: "tool refund"
      attributes:
        customer: {argument: /order/customer}
        amount_cents: {argument: /amount_cents, type: integer}
    report: {effect: read, match: "resource file:///reports/{customer}/**"}
    static: {effect: read, match: "resource test://static/{page}"}
"#;

fn bundle() -> Bundle {
    let file = SourceFile {
        name: "bundle.yaml".to_owned(),
        text: BUNDLE.to_owned(),
    };
    let env = LoadEnv {
        trust_domain: TrustDomain::parse("acme.example").unwrap(),
        issuer: "https://id.acme.example".to_owned(),
    };
    load(&[file], &env, Timestamp::from_secs(1_800_000_000))
        .unwrap()
        .bundle
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &str)| {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        (HeaderName::from_static(name), value)
    };
    let json = (
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    let mut all = HeaderMap::new();
    for (name, value) in std::iter::once(json).chain(fields.iter().map(field)) {
        all.append(name, value);
    }
    all
}

fn sent(fields: &[(&'static str, &str)], body: &[u8]) -> Result<Classified, Unclassifiable> {
    let bundle = bundle();
    let server = bundle.server(&ServerName::parse("desk").unwrap()).unwrap();
    let headers = headers(fields);
    let head = RequestHead {
        method: "POST",
        path_and_query: "/mcp",
        headers: &headers,
    };
    classify(server, &head)?.with_body(&headers, body)
}

/// A message of 2025-11-25.
fn old(method: &str, params: &Value) -> Result<Classified, Unclassifiable> {
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let version = [("mcp-protocol-version", "2025-11-25")];
    sent(&version, message.to_string().as_bytes())
}

/// A message of 2026-07-28 and its fields.
fn new(
    method: &str,
    params: &Value,
    fields: &[(&'static str, &str)],
) -> Result<Classified, Unclassifiable> {
    let mut params = params.clone();
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let message = json!({"jsonrpc": "2.0", "id": "a", "method": method, "params": params});
    sent(fields, message.to_string().as_bytes())
}

fn fields<'a>(method: &'a str, name: &'a str) -> Vec<(&'static str, &'a str)> {
    vec![
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", method),
        ("mcp-name", name),
    ]
}

fn attributes(classified: &Classified) -> Vec<String> {
    let shown = classified.attributes().iter();
    shown
        .map(|(name, values)| {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            format!("{name}={}", values.join(","))
        })
        .collect()
}

#[track_caller]
fn is_action(classified: Result<Classified, Unclassifiable>, action: &str, expected: &[&str]) {
    let classified = classified.unwrap();
    assert_eq!(classified.action().map(|a| a.as_str()), Some(action));
    assert_eq!(attributes(&classified), expected);
}

#[track_caller]
fn is_fault(classified: Result<Classified, Unclassifiable>, rule: &str, code: Option<i64>) {
    match classified {
        Err(Unclassifiable::Mcp(fault)) => {
            assert_eq!((fault.rule(), fault.code()), (rule, code), "{fault}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_is_the_action_of_its_tool_with_attributes_of_its_arguments() {
    let look =
        json!({"name": "look_up", "arguments": {"customer_id": "acme", "other": {"deep": [1]}}});
    is_action(old("tools/call", &look), "look", &["customer=acme"]);
    let both = new("tools/call", &look, &fields("tools/call", "look_up"));
    is_action(both, "look", &["customer=acme"]);
    let refund = json!({"name": "refund", "arguments": {"amount_cents": 700, "order": {"customer": "acme"}}});
    let refunded = old("tools/call", &refund);
    assert_eq!(refunded.as_ref().unwrap().shape(), "tool refund");
    assert_eq!(refunded.as_ref().unwrap().era(), Some(Era::Sessions));
    is_action(refunded, "refund", &["amount_cents=700", "customer=acme"]);
    let several = json!({"name": "look_up", "arguments": {"customer_id": ["acme", "globex"]}});
    is_action(
        old("tools/call", &several),
        "look",
        &["customer=acme,globex"],
    );
    let without = json!({"name": "look_up"});
    is_action(old("tools/call", &without), "look", &[]);
}

#[test]
fn what_is_of_another_type_or_spelled_otherwise_is_refused() {
    for arguments in [
        json!({"amount_cents": "700"}),
        json!({"amount_cents": 7.5}),
        json!({"amount_cents": null}),
        json!({"Amount_cents": 7}),
        json!({"amount_cents": 1e30}),
        json!({"amount_cents": 7, "order": {"customer": "acme", "Customer": "globex"}}),
        json!({"amount_cents": 7, "ORDER": {"customer": "acme"}}),
    ] {
        let refund = json!({"name": "refund", "arguments": arguments});
        assert!(old("tools/call", &refund).is_err(), "{refund}");
    }
    for params in [
        json!({"name": "refund", "arguments": []}),
        json!({"name": 7}),
        json!({}),
        json!({"name": "refund", "_meta": 7}),
    ] {
        is_fault(old("tools/call", &params), "mcp.params", Some(-32602));
    }
    let twin = json!({"name": "look_up", "Name": "refund"});
    is_fault(old("tools/call", &twin), "mcp.message", Some(-32600));
}

#[test]
fn what_no_action_names_is_refused() {
    for name in ["delete_all", "Look_Up", "look_up ", "summary", ""] {
        let call = old("tools/call", &json!({"name": name}));
        assert_eq!(call, Err(Unclassifiable::Undeclared("tool")), "{name}");
    }
    let prompt = old("prompts/get", &json!({"name": "look_up"}));
    assert_eq!(prompt, Err(Unclassifiable::Undeclared("prompt")));
    let resource = old("resources/read", &json!({"uri": "file:///etc/passwd"}));
    assert_eq!(resource, Err(Unclassifiable::Undeclared("resource")));
}

#[test]
fn a_prompt_and_what_completes_it_are_the_action_of_the_prompt() {
    let arguments = json!({"customer_id": "acme"});
    let prompt = json!({"name": "summary", "arguments": arguments});
    is_action(old("prompts/get", &prompt), "look", &["customer=acme"]);
    let complete = json!({
        "ref": {"type": "ref/prompt", "name": "summary"},
        "argument": {"name": "other", "value": "a"},
        "context": {"arguments": arguments},
    });
    is_action(
        old("completion/complete", &complete),
        "look",
        &["customer=acme"],
    );
    // What is typed counts beside what the context says.
    let typed = json!({
        "ref": {"type": "ref/prompt", "name": "summary"},
        "argument": {"name": "customer_id", "value": "glo"},
        "context": {"arguments": arguments},
    });
    is_action(
        old("completion/complete", &typed),
        "look",
        &["customer=acme,glo"],
    );
    let untyped = json!({"ref": {"type": "ref/prompt", "name": "summary"}});
    is_fault(
        old("completion/complete", &untyped),
        "mcp.params",
        Some(-32602),
    );
    for reference in [
        json!({"type": "ref/tool", "name": "refund"}),
        json!({"type": "ref/prompt"}),
        json!("summary"),
    ] {
        let complete = json!({"ref": reference, "argument": {"name": "a", "value": ""}});
        is_fault(
            old("completion/complete", &complete),
            "mcp.params",
            Some(-32602),
        );
    }
}

#[test]
fn a_resource_is_told_by_the_segments_of_its_uri() {
    let read = |uri: &str| old("resources/read", &json!({"uri": uri}));
    is_action(
        read("file:///reports/acme/2026/q3"),
        "report",
        &["customer=acme"],
    );
    is_action(
        read("file:///reports/a%C3%A9/x"),
        "report",
        &["customer=aé"],
    );
    is_action(read("test://static/one"), "static", &["page=one"]);
    let subscribe = old("resources/subscribe", &json!({"uri": "test://static/one"}));
    is_action(subscribe, "static", &["page=one"]);
    let template = json!({"ref": {"type": "ref/resource", "uri": "test://static/{page}"}});
    is_action(
        old("completion/complete", &template),
        "static",
        &["page={page}"],
    );
    for uri in [
        "file:///reports/acme/../globex",
        "file:///reports/acme/%2e%2e/globex",
        "file:///reports/acme%2Fglobex/x",
        "file:///reports/acme/%252e",
        "file:///reports//acme",
        "file:///reports/acme/x?y",
        "file:///reports/acme/x#y",
        "file:///reports/ac me/x",
        "file:///reports/acme/x\\y",
        "file:///reports/%zz/x",
        "FILE:///reports/acme/x",
        "/reports/acme/x",
        "reports",
    ] {
        is_fault(read(uri), "mcp.params", Some(-32602));
    }
    let undeclared =
        read("FiLe:///reports/acme/x").is_err() && read("file:///Reports/acme/x").is_err();
    assert!(undeclared, "no other spelling passes");
}

#[test]
fn what_uses_nothing_is_no_action() {
    for (method, params) in [
        ("initialize", json!({"protocolVersion": "2025-11-25"})),
        ("ping", json!({})),
        ("tools/list", json!({})),
        ("resources/templates/list", json!({"cursor": ""})),
        ("logging/setLevel", json!({"level": "info"})),
    ] {
        let spoken = old(method, &params).unwrap();
        assert_eq!(
            (spoken.action(), spoken.shape()),
            (None, &*format!("mcp {method}"))
        );
    }
    let listing = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/list"),
    ];
    let spoken = new("tools/list", &json!({}), &listing).unwrap();
    assert_eq!(
        (spoken.action(), spoken.era()),
        (None, Some(Era::Stateless))
    );
    let response = sent(
        &[],
        br#"{"jsonrpc":"2.0","id":5,"result":{"action":"accept"}}"#,
    );
    assert_eq!(response.unwrap().shape(), "mcp response");
    let note = sent(
        &[],
        br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    );
    assert_eq!(note.unwrap().shape(), "mcp notifications/initialized");
}

#[test]
fn a_method_of_the_other_era_or_of_none_is_refused() {
    for method in [
        "server/discover",
        "subscriptions/listen",
        "tasks/update",
        "tasks/list",
        "tools/delete",
        "TOOLS/CALL",
        "sampling/createMessage",
        "",
    ] {
        is_fault(old(method, &json!({})), "mcp.method", Some(-32601));
    }
    for method in [
        "initialize",
        "ping",
        "resources/subscribe",
        "logging/setLevel",
        "tasks/list",
        "tasks/result",
    ] {
        let fields = [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", method),
        ];
        let said = new(method, &json!({"uri": "test://static/one"}), &fields);
        assert_eq!(
            said,
            Err(McpFault::Method {
                era: Era::Stateless
            }
            .into()),
            "{method}"
        );
    }
    let note = sent(
        &[],
        br#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
    );
    is_fault(note, "mcp.method", Some(-32601));
}

#[test]
fn a_task_is_what_was_called_whatever_is_said_beside_it() {
    let call = old(
        "tools/call",
        &json!({"name": "refund", "arguments": {"order": {"customer": "acme"}, "amount_cents": 7}}),
    )
    .unwrap();
    let id = given("t", &as_call(&call).unwrap(), "code");
    let asked = old("tasks/get", &json!({"taskId": id, "name": "look_up"})).unwrap();
    assert_eq!(asked.action(), call.action());
    assert_eq!(asked.attributes(), call.attributes());
    assert_eq!((asked.effect(), asked.follows()), (Effect::Read, true));
    assert_eq!(asked.tasks()[0].id(), "t");
    // It is nothing new that begins.
    assert_eq!((asked.tool(), call.tool()), (None, Some("refund")));
    for id in ["t", "", "t~e30~code", "t~!~code", "t~~code"] {
        let fault = old("tasks/get", &json!({"taskId": id}));
        is_fault(fault, "mcp.params", Some(-32602));
    }
    is_fault(
        old("tasks/get", &json!({"taskId": 7})),
        "mcp.params",
        Some(-32602),
    );
}

/// FAILURES 37.
#[test]
fn what_the_head_repeats_must_be_what_the_body_says() {
    let look = json!({"name": "look_up", "arguments": {"customer_id": "acme"}});
    let good = fields("tools/call", "look_up");
    is_action(new("tools/call", &look, &good), "look", &["customer=acme"]);
    let bad: [Vec<(&'static str, &str)>; 14] = [
        fields("tools/call", "refund"),
        fields("tools/call", "Look_up"),
        fields("TOOLS/CALL", "look_up"),
        fields("tools/list", "look_up"),
        fields("tools/call", "=?base64?bG9va191cA?="),
        fields("tools/call", "=?base64?cmVmdW5k?="),
        fields("tools/call", "=?BASE64?bG9va191cA==?="),
        vec![],
        vec![("mcp-protocol-version", "2026-07-28")],
        vec![
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
        ],
        vec![
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-name", "look_up"),
        ],
        vec![("mcp-method", "tools/call"), ("mcp-name", "look_up")],
        [good.clone(), vec![("mcp-name", "look_up")]].concat(),
        [good.clone(), vec![("mcp-param-customer", "globex")]].concat(),
    ];
    for fields in bad {
        is_fault(
            new("tools/call", &look, &fields),
            "mcp.header",
            Some(-32020),
        );
    }
    for fields in [
        fields("tools/call", "=?base64?bG9va191cA==?="),
        fields(" tools/call\t", " look_up "),
        [good, vec![("mcp-param-customer", "acme")]].concat(),
    ] {
        is_action(
            new("tools/call", &look, &fields),
            "look",
            &["customer=acme"],
        );
    }
    // Beside a message of an earlier revision it may be missing, and must be right where it is there.
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": look});
    let message = message.to_string();
    let lying = [("mcp-method", "tools/call"), ("mcp-name", "refund")];
    is_fault(sent(&lying, message.as_bytes()), "mcp.header", Some(-32020));
    // Servers route by the header or by the body.
    let claims = json!({"name": "look_up", "_meta": {super::message::CLAIM: "2026-07-28"}});
    is_fault(old("tools/call", &claims), "mcp.header", Some(-32020));
    let unclaimed = sent(&fields("tools/call", "look_up"), message.as_bytes());
    is_fault(unclaimed, "mcp.params", Some(-32602));
}

#[test]
fn a_revision_that_is_not_spoken_is_refused() {
    for version in ["2027-01-01", "2026-07-27", "v1", "", "DRAFT"] {
        let said = sent(
            &[("mcp-protocol-version", version)],
            br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
        );
        is_fault(said, "mcp.version", Some(-32022));
    }
    assert_eq!(McpFault::supported("2027-01-01"), ["2026-07-28"]);
    assert_eq!(McpFault::supported("1999-01-01").len(), 5);
    let claim = json!({"name": "look_up", "_meta": {super::message::CLAIM: "2025-11-25"}});
    is_fault(old("tools/call", &claim), "mcp.params", Some(-32602));
}

#[test]
fn what_is_no_one_message_is_refused() {
    for body in [
        &br#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#[..],
        br#""ping""#,
        br#"{"id":1,"method":"ping"}"#,
        br#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        br#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
        br#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
        br#"{"jsonrpc":"2.0","id":1e3,"method":"ping"}"#,
        br#"{"jsonrpc":"2.0","id":99999999999999999999,"method":"ping"}"#,
        br#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":7}"#,
        br#"{"jsonrpc":"2.0","id":1}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#,
        br#"{"jsonrpc":"2.0","result":{}}"#,
    ] {
        is_fault(sent(&[], body), "mcp.message", Some(-32600));
    }
    let many = format!("[{}0]", "0,".repeat(60_000));
    let many = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":{many}}}}}"#);
    is_fault(sent(&[], many.as_bytes()), "mcp.message", Some(-32600));
    let deep = format!("{}{}", "[".repeat(64), "]".repeat(64));
    for body in [
        br#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#.to_vec(),
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look_up","name":"refund"}}"#.to_vec(),
        br#"{"jsonrpc":"2.0","id":1,"method":"ping"} {}"#.to_vec(),
        b"\xef\xbb\xbf{}".to_vec(),
        b"".to_vec(),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":{deep}}}}}"#).into_bytes(),
    ] {
        is_fault(sent(&[], &body), "mcp.message", Some(-32700));
    }
    let mut typed = headers(&[]);
    for wrong in [
        "text/plain",
        "application/json; charset=utf-16",
        "application/json, text/html",
    ] {
        typed.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(wrong));
        let read =
            super::message::Message::read(&typed, br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
        assert_eq!(read.unwrap_err(), McpFault::ContentType, "{wrong}");
    }
}

#[test]
fn a_stream_of_changes_is_of_resources_that_one_action_names() {
    let listen = |wanted: Value| {
        let fields = [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "subscriptions/listen"),
        ];
        new(
            "subscriptions/listen",
            &json!({"notifications": wanted}),
            &fields,
        )
    };
    assert_eq!(
        listen(json!({"toolsListChanged": true})).unwrap().action(),
        None
    );
    let two = json!({"resourceSubscriptions": ["test://static/one", "test://static/two"]});
    is_action(listen(two), "static", &["page=one,two"]);
    let other = json!({"resourceSubscriptions": ["test://static/one", "file:///reports/acme/x"]});
    is_fault(listen(other), "mcp.unsupported", None);
    is_fault(
        listen(json!({"taskIds": ["t"]})),
        "mcp.params",
        Some(-32602),
    );
    is_fault(
        listen(json!({"toolsListChanged": "yes"})),
        "mcp.unsupported",
        None,
    );
    assert!(listen(json!({"resourceSubscriptions": ["file:///etc/passwd"]})).is_err());
}

#[test]
fn only_the_endpoint_is_asked_in_the_ways_of_mcp() {
    let bundle = bundle();
    let server = bundle.server(&ServerName::parse("desk").unwrap()).unwrap();
    let headers = HeaderMap::new();
    let at = |method, path_and_query| {
        let head = RequestHead {
            method,
            path_and_query,
            headers: &headers,
        };
        classify(server, &head)
            .map(|pending| pending.without_body().map(|c| c.shape().to_owned()).ok())
    };
    assert_eq!(at("POST", "/mcp"), Ok(None));
    assert_eq!(at("GET", "/mcp"), Ok(Some("mcp stream".to_owned())));
    assert_eq!(
        at("DELETE", "/mcp"),
        Ok(Some("mcp end of session".to_owned()))
    );
    for (method, path) in [
        ("POST", "/"),
        ("POST", "/mcp/"),
        ("POST", "/MCP"),
        ("POST", "/mcp?x=1"),
        ("POST", "/mcp/x"),
        ("PUT", "/mcp"),
        ("get", "/mcp"),
    ] {
        assert_eq!(
            at(method, path),
            Err(Unclassifiable::NoAction),
            "{method} {path}"
        );
    }
}

#[test]
fn a_refusal_is_for_the_request_that_it_answers() {
    let to = |body: Value| Addressee::of(body.to_string().as_bytes());
    let call =
        json!({"jsonrpc": "2.0", "id": "x", "method": "tools/call", "params": {"name": "a\n{b}"}});
    let call = to(call);
    assert_eq!(call.id, Some(json!("x")));
    assert!(call.is_tool_call && !call.is_stateless);
    assert_eq!(call.words.as_deref(), Some("mcp tools/call a__b_"));
    assert_eq!(to(json!({"method": "ping", "id": null})).id, None);
    assert_eq!(to(json!([1])), Addressee::default());
    assert_eq!(
        Addressee::of(b"{\"id\":1,\"id\":2,\"method\":\"ping\"}"),
        Addressee::default()
    );
}
