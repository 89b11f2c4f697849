//! A server that speaks on its standard input and output: this test program, started again for its test [`speak`].

use std::fs::File;
use std::io::{BufRead, Write};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// Whether it answers `server/discover`: `both`, or `sessions`.
pub(crate) const MODE: &str = "MANDATE_TEST_SPEAKS";

/// A file with its lists: methods to pages, which are results. The position of the next one is the cursor.
pub(crate) const LISTS: &str = "MANDATE_TEST_LISTS";

/// What `mandate mcp wrap` is told to start. The test harness writes to standard output, so messages have another way there.
pub(crate) fn command() -> [String; 4] {
    let own = std::env::current_exe().unwrap().display().to_string();
    let script = r#"exec "$0" wrap::server::speak --exact --nocapture --quiet 3>&1 >&2"#;
    ["sh".to_owned(), "-c".to_owned(), script.to_owned(), own]
}

#[test]
fn speak() {
    #[expect(clippy::disallowed_methods, reason = "it is told by its environment")]
    let Ok(mode) = std::env::var(MODE) else {
        return;
    };
    #[expect(clippy::disallowed_methods, reason = "it is told by its environment")]
    let lists = std::env::var(LISTS).map(|path| std::fs::read(path).unwrap());
    let lists = lists.map_or(Value::Null, |text| serde_json::from_slice(&text).unwrap());
    let mut server = Server {
        lists,
        out: File::options().write(true).open("/dev/fd/3").unwrap(),
        is_stateless: mode == "both",
        seen: Vec::new(),
        held: Vec::new(),
        helpers: Vec::new(),
    };
    let mut lines = std::io::stdin().lock().lines().map_while(Result::ok);
    while let Some(line) = lines.next() {
        let message: Value = serde_json::from_str(&line).unwrap();
        server.take(&message, &mut lines);
        server.seen.push(message);
    }
}

struct Server {
    lists: Value,
    out: File,
    is_stateless: bool,
    seen: Vec<Value>,
    held: Vec<Value>,
    helpers: Vec<Child>,
}

impl Server {
    fn say(&mut self, message: &Value) {
        self.out
            .write_all(format!("{message}\n").as_bytes())
            .unwrap();
    }

    fn result(&mut self, id: &Value, text: &str) {
        let content = json!([{ "type": "text", "text": text }]);
        self.say(&json!({ "jsonrpc": "2.0", "id": id, "result": { "content": content } }));
    }

    fn notify(&mut self, method: &str, params: &Value) {
        self.say(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    fn capabilities(&self) -> Value {
        let lists = self.lists.as_object().into_iter().flatten();
        let families = lists.map(|(method, _)| method.split('/').next().unwrap().to_owned());
        families
            .map(|family| (family, json!({})))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    fn page(&self, message: &Value) -> Option<Value> {
        let pages = self.lists.get(message["method"].as_str().unwrap())?;
        let cursor = message["params"]["cursor"].as_str().unwrap_or("0");
        pages.get(cursor.parse::<usize>().unwrap()).cloned()
    }

    fn take(&mut self, message: &Value, rest: &mut dyn Iterator<Item = String>) {
        let Some(id) = message
            .get("id")
            .filter(|_| message.get("method").is_some())
        else {
            return;
        };
        match message["method"].as_str().unwrap() {
            "server/discover" if self.is_stateless => {
                let result = json!({ "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": self.capabilities() });
                self.say(&json!({ "jsonrpc": "2.0", "id": id, "result": result }));
            }
            "initialize" => {
                let result = json!({
                    "protocolVersion": "2025-11-25", "capabilities": self.capabilities(), "serverInfo": { "name": "test", "version": "1" },
                });
                self.say(&json!({ "jsonrpc": "2.0", "id": id, "result": result }));
            }
            "tools/call" => self.call(id, message, rest),
            _ if self.page(message).is_some() => {
                let result = self.page(message);
                self.say(&json!({ "jsonrpc": "2.0", "id": id, "result": result }));
            }
            _ => {
                let error = json!({ "code": -32601, "message": "no such method" });
                self.say(&json!({ "jsonrpc": "2.0", "id": id, "error": error }));
            }
        }
    }

    fn call(&mut self, id: &Value, message: &Value, rest: &mut dyn Iterator<Item = String>) {
        let params = &message["params"];
        let (token, arguments) = (&params["_meta"]["progressToken"], &params["arguments"]);
        match params["name"].as_str().unwrap() {
            "echo" => self.result(id, arguments["text"].as_str().unwrap()),
            "environment" => {
                #[expect(clippy::disallowed_methods, reason = "what it finds there is asked")]
                let all: Vec<String> = std::env::vars().map(|(n, v)| format!("{n}={v}")).collect();
                self.result(id, &all.join("\n"));
            }
            "processes" => {
                // Of its group, with its input and output in nobody's hands.
                let helper = Command::new("sleep")
                    .arg("1000")
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap();
                let pids = format!("{} {}", std::process::id(), helper.id());
                self.helpers.push(helper);
                self.result(id, &pids);
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "that it ends at once is the point"
            )]
            "crash" => std::process::exit(3),
            "garbage" => self.out.write_all(b"no \x1b[31mmessage\n").unwrap(),
            "hold" => self.held.push(message.clone()),
            "release" => {
                for held in std::mem::take(&mut self.held).into_iter().rev() {
                    let text = held["params"]["arguments"]["text"].as_str().unwrap();
                    let token = &held["params"]["_meta"]["progressToken"];
                    let progress =
                        json!({ "progressToken": token, "progress": 1, "message": text });
                    self.notify("notifications/progress", &progress);
                    self.result(&held["id"], text);
                }
                self.result(id, "released");
            }
            "seen" => {
                let seen = Value::from(self.seen.clone()).to_string();
                self.result(id, &seen);
            }
            "progress" => {
                for progress in 1..=2 {
                    let said = json!({ "progressToken": token, "progress": progress });
                    self.notify("notifications/progress", &said);
                }
                self.result(id, "done");
            }
            "flood" => {
                let text = "x".repeat(1000);
                for progress in 1..=20_000 {
                    let said =
                        json!({ "progressToken": token, "progress": progress, "message": text });
                    self.notify("notifications/progress", &said);
                }
                self.result(id, "done");
            }
            "withdraw" => {
                let asked = json!({ "message": "who?" });
                self.say(&json!({ "jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": asked }));
                self.notify("notifications/cancelled", &json!({ "requestId": id }));
                self.result(id, "done");
            }
            "log" => {
                let said = json!({ "level": "info", "data": arguments["text"] });
                self.notify("notifications/message", &said);
                self.result(id, "done");
            }
            "announce" => {
                self.notify("notifications/tools/list_changed", &json!({}));
                self.result(id, "done");
            }
            "ask" => {
                let asked = json!({ "message": "who?" });
                self.say(&json!({ "jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": asked }));
                let answer = rest.next().unwrap_or_default();
                self.result(id, &answer);
            }
            other => panic!("no tool `{other}`"),
        }
    }
}
