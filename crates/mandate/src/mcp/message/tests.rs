//! What is read of a message, and what is changed in one.

use super::*;

fn read(text: &str) -> Message {
    Message::read(text.as_bytes()).unwrap()
}

#[test]
fn a_message_is_a_request_a_notification_or_an_answer() {
    let request = read(r#"{"jsonrpc":"2.0","id":"a","method":"tools/list"}"#);
    let id = Id::Text("a".to_owned());
    let method = "tools/list".to_owned();
    assert_eq!(request.kind(), &Kind::Request { id, method });
    let answer = read(r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32601,"message":"x"}}"#);
    let (id, code) = (Some(Id::Number(7)), Some(-32601));
    assert_eq!(answer.kind(), &Kind::Response { id, code });
    let lost = read(r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}"#);
    assert!(matches!(lost.kind(), Kind::Response { id: None, .. }));
}

#[test]
fn what_is_no_message_is_told_apart_from_what_is_no_json() {
    for (text, code) in [
        ("nonsense", -32700),
        ("{", -32700),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"a"}"#, -32700),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{},"_meta":{}}}"#,
            -32700,
        ),
        ("[]", -32600),
        (r#"{"id":1,"method":"a"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"a"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"a"}"#, -32600),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","result":{}}"#,
            -32600,
        ),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
        // Within text a line break is none of JSON, and does not become a space of it.
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\nb\"}", -32700),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"params\":{\"a\":\"\r\"}}",
            -32700,
        ),
        (
            "\u{a0}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\"}",
            -32700,
        ),
    ] {
        let why = Message::read(text.as_bytes()).unwrap_err();
        assert_eq!(why.code(), code, "{text}");
    }
}

#[test]
fn only_what_is_changed_changes() {
    let text = "{ \"id\" : \"a\\u0062\",\"jsonrpc\":\"2.0\",\n\"method\":\"x\", \"extra\": 1e2, \"params\":{\"b\":\"\\n\",\"_meta\":{\"progressToken\":5}}}";
    let message = read(text);
    assert_eq!(message.token(), Some(&Id::Number(5)));
    let new = Id::Number(900);
    let changed = Changed {
        id: Some(&new),
        token: Some(&new),
        ..Changed::default()
    };
    let expected = text.replace("\"a\\u0062\"", "900").replace(":5}", ":900}");
    assert_eq!(message.with(&changed).unwrap(), expected.replace('\n', " "));
}

#[test]
fn an_error_is_a_message_that_is_no_request() {
    let id = Id::Text("q\"".to_owned());
    let text = error(Some(&id), -32603, "it \"ended\"");
    let (id, code) = (Some(id), Some(-32603));
    assert_eq!(read(&text).kind(), &Kind::Response { id, code });
    assert!(!error(None, -32600, "x").contains("\"id\""));
}
