//! `mandate mcp wrap`: a server on standard input and output, served over HTTP to the gateway alone.

mod accept;
mod client;
mod ends;
mod gateway;
mod import;
mod server;

use serde_json::{Value, json};

use crate::lab::wait;
use client::{Wrap, call, initialize};

#[test]
fn nobody_is_served_without_the_key_or_from_elsewhere() {
    let wrap = Wrap::start("both", &[], &[]);
    let (bearer, body) = (format!("Bearer {}", wrap.key), initialize().to_string());
    let good = [
        wrap.host(),
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    assert_eq!(wrap.raw("POST /mcp", &good, &body).status, 200);
    let with = |n: usize, field: (&'static str, &str)| {
        let mut fields: Vec<(&str, String)> =
            good.iter().map(|(n, v)| (*n, (*v).to_owned())).collect();
        match fields.get_mut(n) {
            Some(other) => *other = (field.0, field.1.to_owned()),
            None => fields.push((field.0, field.1.to_owned())),
        }
        let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
        wrap.raw("POST /mcp", &fields, &body)
    };
    let almost = format!(
        "{}~",
        bearer.strip_suffix(bearer.chars().last().unwrap()).unwrap()
    );
    for wrong in [
        "Bearer ",
        "Bearer x",
        &almost,
        &format!("{bearer}x"),
        &wrap.key,
        &bearer.to_lowercase(),
    ] {
        let refused = with(1, ("authorization", wrong));
        assert_eq!(refused.status, 401, "{wrong}");
        assert_eq!(refused.field("www-authenticate").as_deref(), Some("Bearer"));
        assert!(!refused.body.contains(&wrap.key));
    }
    assert_eq!(with(1, ("x-other", "1")).status, 401);
    assert_eq!(
        with(9, ("authorization", &bearer)).status,
        401,
        "two of them"
    );
    let port = wrap.host().1.split_once(':').unwrap().1.to_owned();
    assert_eq!(with(0, ("host", &format!("localhost:{port}"))).status, 200);
    for host in ["evil.example", &format!("evil.example:{port}"), "127.0.0.1"] {
        assert_eq!(with(0, ("host", host)).status, 403, "{host}");
    }
    for origin in [
        "http://evil.example",
        "null",
        &format!("https://localhost:{port}"),
    ] {
        assert_eq!(with(9, ("origin", origin)).status, 403, "{origin}");
    }
    assert_eq!(
        with(9, ("origin", &format!("http://localhost:{port}"))).status,
        200
    );
    assert_eq!(with(2, ("content-type", "text/plain")).status, 415);
    assert_eq!(with(9, ("accept", "application/json")).status, 406);
    assert_eq!(wrap.raw("POST /other", &good, &body).status, 404);
    assert_eq!(wrap.raw("POST /mcp?key=x", &good, &body).status, 404);
    assert_eq!(wrap.raw("PUT /mcp", &good, &body).status, 405);
    assert!(!wrap.log().contains(&wrap.key));
}

#[test]
fn it_is_reached_where_it_listens() {
    for address in ["127.0.0.2:0", "[::1]:0"] {
        let wrap = Wrap::start("both", &["--listen", address], &[]);
        assert_eq!(wrap.stateless(&call(1, "echo", "a")).text(), "a");
    }
}

#[test]
fn a_server_finds_what_is_named_in_its_environment_and_nothing_else() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "from-a-file\n").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let secret = format!("API_KEY={}", file.display());
    let ours = [
        ("OURS", "secret"),
        ("NAMED", "by-name"),
        ("LC_TIME", "C"),
        ("TZ", "UTC"),
    ];
    let options = ["--env", "NAMED", "--env", "MORE=1", "--secret", &secret];
    let wrap = Wrap::start("sessions", &options, &ours);
    let found = wrap
        .call(&wrap.session(), &call(2, "environment", ""))
        .text();
    let found: Vec<&str> = found.lines().collect();
    for expected in [
        "NAMED=by-name",
        "MORE=1",
        "API_KEY=from-a-file",
        "LC_TIME=C",
        "TZ=UTC",
    ] {
        assert!(found.contains(&expected), "{expected}: {found:?}");
    }
    let allowed = [
        "NAMED",
        "MORE",
        "API_KEY",
        "PATH",
        "HOME",
        "LANG",
        "TMPDIR",
        "TZ",
        server::MODE,
    ];
    // `sh` sets the others by itself.
    let by_shell = ["PWD", "OLDPWD", "SHLVL", "_"];
    for line in found {
        let name = line.split('=').next().unwrap();
        let known = allowed.contains(&name) || by_shell.contains(&name) || name.starts_with("LC_");
        assert!(known, "{name}");
    }
}

#[test]
fn a_session_is_a_process_of_its_own() {
    let wrap = Wrap::start("both", &[], &[]);
    let (one, two) = (wrap.session(), wrap.session());
    assert_ne!(one, two);
    // The same ids, and each gets its own answer.
    let (a, b) = (
        wrap.call(&one, &call(7, "echo", "a")),
        wrap.call(&two, &call(7, "echo", "b")),
    );
    assert_eq!((a.text(), b.text()), ("a".to_owned(), "b".to_owned()));
    let seen = |session: &str| wrap.call(session, &call(8, "seen", "")).text();
    assert!(seen(&one).contains("\"a\"") && !seen(&one).contains("\"b\""));
    let [first, _] = processes(&wrap, &one);
    let [second, _] = processes(&wrap, &two);
    assert_ne!(first, second);
    for (session, status) in [("x", 404), (&one.to_uppercase(), 404), ("", 404)] {
        assert_eq!(
            wrap.call(session, &call(9, "echo", "")).status,
            status,
            "{session}"
        );
    }
    assert_eq!(wrap.send("POST", &[], &call(9, "echo", "")).status, 400);
    let other = [
        ("mcp-session-id", one.as_str()),
        ("mcp-protocol-version", "2025-03-26"),
    ];
    assert_eq!(wrap.send("POST", &other, &call(9, "echo", "")).status, 400);
    assert_eq!(wrap.call(&one, &initialize()).status, 400);
    assert_eq!(
        wrap.call(&one, &json!([call(9, "echo", "")])).code(),
        -32600
    );
}

/// The pid of a session's server, and of what that started.
fn processes(wrap: &Wrap, session: &str) -> [u32; 2] {
    let pids = wrap.call(session, &call("p", "processes", "")).text();
    let pids: Vec<u32> = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
    pids.try_into().unwrap()
}

#[test]
fn two_clients_with_the_same_ids_never_meet() {
    let wrap = Wrap::start("both", &[], &[]);
    let (first, second) = std::thread::scope(|scope| {
        let ask = |text: &'static str| {
            scope.spawn(|| wrap.stateless(&call("same", "hold", text)).messages())
        };
        let (first, second) = (ask("first"), ask("second"));
        wait::until("both are under way", || {
            let seen = wrap.stateless(&call("same", "seen", "")).text();
            (seen.matches("\"hold\"").count() == 2).then_some(())
        });
        assert_eq!(
            wrap.stateless(&call("same", "release", "")).text(),
            "released"
        );
        (first.join().unwrap(), second.join().unwrap())
    });
    for (messages, text) in [(first, "first"), (second, "second")] {
        let [progress, answer] = messages.as_slice() else {
            panic!("{messages:?}")
        };
        assert_eq!(
            progress["params"],
            json!({ "progressToken": "t", "progress": 1, "message": text })
        );
        assert_eq!(answer["id"], "same");
        assert_eq!(answer["result"]["content"][0]["text"], text);
    }
}

#[test]
fn what_a_server_says_in_between_comes_in_the_stream_of_the_request() {
    let wrap = Wrap::start("both", &[], &[]);
    let session = wrap.session();
    for answer in [
        wrap.call(&session, &call(2, "progress", "")),
        wrap.stateless(&call(2, "progress", "")),
    ] {
        assert_eq!(
            answer.field("content-type").as_deref(),
            Some("text/event-stream")
        );
        let messages = answer.messages();
        assert_eq!(messages.len(), 3, "{messages:?}");
        assert_eq!(
            messages[1]["params"],
            json!({ "progressToken": "t", "progress": 2 })
        );
        assert_eq!(messages[2]["id"], 2);
    }
    // A question of the server, and its answer.
    let fields = [("mcp-session-id", session.as_str())];
    let mut stream = wrap.open("POST", &fields, &call(3, "ask", "").to_string());
    let question = stream.next().unwrap();
    assert_eq!(
        (question["method"].as_str(), &question["id"]),
        (Some("elicitation/create"), &json!(3))
    );
    let answer = |id: u64| json!({ "jsonrpc": "2.0", "id": id, "result": { "action": "decline" } });
    assert_eq!(
        wrap.call(&session, &answer(4)).status,
        400,
        "nobody asked that"
    );
    assert_eq!(wrap.call(&session, &answer(3)).status, 202);
    assert_eq!(
        wrap.call(&session, &answer(3)).status,
        400,
        "it was answered"
    );
    let said = stream.next().unwrap();
    assert!(
        said["result"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("decline")
    );
    assert_eq!(stream.next(), None);
    // It may take a question back.
    let all = wrap.call(&session, &call(5, "withdraw", "")).messages();
    assert_eq!(all.len(), 3, "{all:?}");
    assert_eq!(wrap.call(&session, &answer(5)).status, 400);
    // Without a session a server may not ask.
    let refused = wrap.stateless(&call(3, "ask", "")).text();
    assert!(refused.contains("-32601"), "{refused}");
}

#[test]
fn what_concerns_no_request_comes_in_the_stream_of_the_session() {
    let wrap = Wrap::start("sessions", &[], &[]);
    let session = wrap.session();
    let fields = [("mcp-session-id", session.as_str())];
    let mut first = wrap.open("GET", &fields, "");
    assert_eq!(first.status, 200);
    assert!(first.head.contains("text/event-stream"), "{}", first.head);
    assert_eq!(
        wrap.call(&session, &call(2, "announce", ""))
            .messages()
            .len(),
        1
    );
    let changed = first.next().unwrap();
    assert_eq!(changed["method"], "notifications/tools/list_changed");
    // Another one takes its place.
    let mut second = wrap.open("GET", &fields, "");
    assert_eq!(first.next(), None);
    wrap.call(&session, &call(3, "announce", ""));
    assert_eq!(second.next().unwrap(), changed);
    assert_eq!(
        wrap.send("GET", &[("mcp-session-id", "x")], &Value::Null)
            .status,
        404
    );
    let newer = [fields[0], ("mcp-protocol-version", "2026-07-28")];
    assert_eq!(wrap.send("GET", &newer, &Value::Null).status, 405);
    wrap.send("DELETE", &fields, &Value::Null);
    assert_eq!(second.next(), None);
}

#[test]
fn who_goes_away_cancels_without_a_session_and_not_within_one() {
    let wrap = Wrap::start("both", &[], &[]);
    let session = wrap.session();
    let fields = [("mcp-session-id", session.as_str())];
    let held = |text: &str| text.matches("\"hold\"").count() == 1;
    let seen = || wrap.stateless(&call("s", "seen", "")).text();
    let seen_there = || wrap.call(&session, &call("s", "seen", "")).text();
    std::thread::scope(|scope| {
        // The answer's head comes after a while: whoever leaves before it has left all the same.
        let one = scope.spawn(|| drop(wrap.open_stateless(&call("x", "hold", ""))));
        let two =
            scope.spawn(|| drop(wrap.open("POST", &fields, &call("x", "hold", "").to_string())));
        wait::until("both are under way", || {
            (held(&seen()) && held(&seen_there())).then_some(())
        });
        one.join().unwrap();
        two.join().unwrap();
    });
    let cancelled = wait::until("it is cancelled", || {
        let seen: Vec<Value> = serde_json::from_str(&seen()).unwrap();
        seen.into_iter()
            .find(|message| message["method"] == "notifications/cancelled")
    });
    let all: Vec<Value> = serde_json::from_str(&seen()).unwrap();
    let hold = all
        .iter()
        .find(|message| message["params"]["name"] == "hold")
        .unwrap();
    assert_eq!(cancelled["params"]["requestId"], hold["id"]);
    assert!(!seen_there().contains("notifications/cancelled"));
    assert_eq!(
        wrap.call(&session, &call("y", "release", "")).text(),
        "released"
    );
}

#[test]
fn a_log_message_goes_to_nobody_while_the_server_may_still_work_for_somebody_else() {
    let wrap = Wrap::start("both", &[], &[]);
    let mut log = call("b", "log", "about a");
    log["params"]["_meta"]["io.modelcontextprotocol/logLevel"] = json!("info");
    let said = || wrap.stateless(&log).messages().len();
    assert_eq!(said(), 2, "it is alone");
    std::thread::scope(|scope| {
        let gone = scope.spawn(|| drop(wrap.open_stateless(&call("a", "hold", ""))));
        gone.join().unwrap();
    });
    wait::until("it is cancelled", || {
        let seen = wrap.stateless(&call("s", "seen", "")).text();
        seen.contains("notifications/cancelled").then_some(())
    });
    // Nobody waits for it any more, and the server has not answered it.
    assert_eq!(said(), 1);
    assert_eq!(wrap.stateless(&call("r", "release", "")).text(), "released");
    assert_eq!(said(), 2, "now it has");
}

#[test]
fn who_asks_nothing_holds_no_connection() {
    use std::io::Read;
    let wrap = Wrap::start("both", &[], &[]);
    let mut silent = std::net::TcpStream::connect(wrap.host().1).unwrap();
    let mut halting = std::net::TcpStream::connect(wrap.host().1).unwrap();
    std::io::Write::write_all(&mut halting, b"POST /mcp HTTP/1.1\r\n").unwrap();
    let begin = wait::now();
    for stream in [&mut silent, &mut halting] {
        stream.set_read_timeout(Some(client::PATIENCE)).unwrap();
        // However it is closed.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert!(begin.elapsed().as_secs() < 8, "{:?}", begin.elapsed());
}

#[test]
fn a_slow_reader_does_not_hold_the_end_of_its_session() {
    let wrap = Wrap::start("both", &["--max-sessions", "1"], &[]);
    let session = wrap.session();
    let fields = [("mcp-session-id", session.as_str())];
    let [server, _] = processes(&wrap, &session);
    // 20 MB, of which nothing is read.
    let slow = wrap.open("POST", &fields, &call(1, "flood", "").to_string());
    assert_eq!(slow.status, 200);
    let (mut last, mut same) = (String::new(), 0);
    wait::until("the server waits for the reader", || {
        // Its state, and what it used of the processor.
        let now = std::fs::read_to_string(format!("/proc/{server}/stat")).unwrap();
        same = if now == last { same + 1 } else { 0 };
        last = now;
        (same == 300).then_some(())
    });
    assert_eq!(wrap.send("DELETE", &fields, &Value::Null).status, 204);
    let begin = wait::now();
    wait::until("there is a place again", || {
        (wrap.send("POST", &[], &initialize()).status == 200).then_some(())
    });
    assert!(begin.elapsed().as_secs() < 15, "{:?}", begin.elapsed());
    drop(slow);
}

#[test]
fn a_server_of_sessions_alone_sends_other_clients_to_a_session() {
    let wrap = Wrap::start("sessions", &[], &[]);
    assert_eq!(wrap.ready["revisions"].as_array().unwrap().len(), 4);
    let refused = wrap.stateless(&call(1, "echo", "a"));
    assert_eq!((refused.status, refused.code()), (400, -32022));
    let data = &refused.json()["error"]["data"];
    assert_eq!(data["requested"], "2026-07-28");
    assert!(
        data["supported"]
            .as_array()
            .unwrap()
            .contains(&json!("2025-11-25"))
    );
    assert_eq!(
        wrap.call(&wrap.session(), &call(1, "echo", "a")).text(),
        "a"
    );
}

#[test]
fn head_and_body_of_a_message_without_session_agree() {
    let wrap = Wrap::start("both", &[], &[]);
    assert_eq!(wrap.ready["revisions"].as_array().unwrap().len(), 5);
    let mut message = call(1, "echo", "a");
    message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    let version = ("mcp-protocol-version", "2026-07-28");
    let (method, name) = (("mcp-method", "tools/call"), ("mcp-name", "echo"));
    let refused = |fields: &[client::Field<'_>], message: &Value| {
        let refused = wrap.send("POST", fields, message);
        assert_eq!(refused.status, 400, "{fields:?}");
        refused.code()
    };
    for name in [name, ("mcp-name", "=?base64?ZWNobw==?=")] {
        assert_eq!(
            wrap.send("POST", &[version, method, name], &message).text(),
            "a"
        );
    }
    for fields in [
        &[version, name][..],
        &[method, name],
        &[version, ("mcp-method", "TOOLS/CALL"), name],
        &[("mcp-protocol-version", "2025-11-25"), method, name],
        &[version, method],
        &[version, method, ("mcp-name", "environment")],
        &[version, method, name, name],
        &[version, method, ("mcp-name", "=?base64?ZWNobw?=")],
    ] {
        assert_eq!(refused(fields, &message), -32020, "{fields:?}");
    }
    assert_eq!(refused(&[version, version, method, name], &message), -32600);
    let mut unclaimed = message.clone();
    for member in ["clientCapabilities", "protocolVersion"] {
        let meta = unclaimed["params"]["_meta"].as_object_mut().unwrap();
        meta.remove(&format!("io.modelcontextprotocol/{member}"));
        assert_eq!(
            refused(&[version, method, name], &unclaimed),
            -32602,
            "{member}"
        );
    }
    let later = [("mcp-protocol-version", "2099-01-01"), method, name];
    message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2099-01-01");
    assert_eq!(refused(&later, &message), -32022);
    // An unknown method shows in the status.
    let unknown = json!({ "jsonrpc": "2.0", "id": 1, "method": "no/such", "params": {} });
    let unknown = wrap.stateless(&unknown);
    assert_eq!((unknown.status, unknown.code()), (404, -32601));
}

#[test]
fn a_message_may_be_big_and_not_too_big() {
    let wrap = Wrap::start("both", &["--max-message", "2300000"], &[]);
    let (session, text) = (wrap.session(), "ä\u{1b}\"".repeat(200_000));
    assert!(wrap.call(&session, &call(2, "echo", &text)).text() == text);
    assert!(wrap.stateless(&call(2, "echo", &text)).text() == text);
    let long = "x".repeat(2_300_000);
    assert_eq!(wrap.stateless(&call(2, "echo", &long)).status, 413);
    assert_eq!(wrap.stateless(&call(2, "echo", "a")).text(), "a");
    // What it has seen comes back as text within text, which is longer than may be.
    assert_eq!(wrap.stateless(&call(3, "seen", "")).code(), -32603);
}

#[test]
fn a_slow_reader_of_the_shared_server_is_cut_and_nobody_waits_for_it() {
    let wrap = Wrap::start("both", &[], &[]);
    // 20 MB, of which nothing is read.
    let slow = wrap.open_stateless(&call(1, "flood", ""));
    assert_eq!(slow.status, 200);
    assert_eq!(wrap.stateless(&call(1, "echo", "a")).text(), "a");
    let seen = wrap.stateless(&call(2, "seen", "")).text();
    assert!(seen.contains("notifications/cancelled"), "it was cut");
    drop(slow);
}
