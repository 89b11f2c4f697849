//! Upgrades to another protocol.

use super::*;

const READ: &str = "read: {effect: read, match: \"GET /customers/{customer}/**\"}";

fn read_with(more: &str) -> String {
    READ.replace("**\"}", &format!("**\"{more}}}"))
}

#[test]
fn a_get_may_declare_what_it_switches_to() {
    let loaded = example_with(READ, &read_with(", upgrade: [websocket]")).unwrap();
    let table = loaded.bundle.access_table();
    let row = table
        .iter()
        .find(|row| row.action.as_str() == "read")
        .unwrap();
    assert_eq!(row.upgrade, ["websocket"]);
    assert!(row.to_string().contains("(read, websocket)"), "{row}");
}

#[test]
fn an_upgrade_to_another_http_or_to_nothing_does_not_load() {
    for (declared, part) in [
        ("[h2c]", "requests that nobody decides on"),
        ("[\"http/2.0\"]", "requests that nobody decides on"),
        ("[WebSocket]", "is no protocol"),
    ] {
        let found = mistakes(READ, &read_with(&format!(", upgrade: {declared}")));
        assert!(found[0].message.contains(part), "{found:#?}");
    }
}

#[test]
fn an_upgrade_is_a_get_and_has_no_body_to_read_from() {
    let post = read_with(", upgrade: [websocket]").replace("\"GET", "\"POST");
    assert!(mistakes(READ, &post)[0].message.contains("is no `GET`"));
    let body = ", upgrade: [websocket], attributes: {kind: {body: /kind}}";
    let found = mistakes(READ, &read_with(body));
    assert!(
        found[0].message.contains("an upgrade has no body"),
        "{found:#?}"
    );
}
