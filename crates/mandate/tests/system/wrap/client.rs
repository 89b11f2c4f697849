//! `mandate mcp wrap` as a process, and plain HTTP to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::server;
use crate::lab::server::PROGRAM;

/// A running one. It ends when this is dropped.
pub(crate) struct Wrap {
    child: Child,
    pub(crate) ready: Value,
    address: String,
    pub(crate) key: String,
    pub(crate) folder: TempDir,
}

impl Drop for Wrap {
    fn drop(&mut self) {
        // It reads the pipe, and ends with it.
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

pub(crate) type Field<'a> = (&'a str, &'a str);

/// An answer that came whole.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Wrap {
    /// Starts one whose server speaks `mode`, with `more` options and variables in its own environment.
    pub(crate) fn start(mode: &str, more: &[&str], environment: &[Field<'_>]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key_file = folder.path().join("key");
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut child = Command::new(PROGRAM)
            .args([
                "--output",
                "json",
                "mcp",
                "wrap",
                "--end-with-stdin",
                "--key-file",
            ])
            .arg(&key_file)
            .arg("--env")
            .arg(format!("{}={mode}", server::MODE))
            .args(more)
            .arg("--")
            .args(server::command())
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let said = child.stdout.take().unwrap();
        let ready = serde_json::Deserializer::from_reader(said)
            .into_iter()
            .next();
        let ready: Value = match ready {
            Some(Ok(ready)) => ready,
            other => panic!(
                "{other:?}: {}",
                std::fs::read_to_string(folder.path().join("log")).unwrap()
            ),
        };
        let url = ready["url"].as_str().unwrap();
        let address = url
            .strip_prefix("http://")
            .and_then(|url| url.strip_suffix("/mcp"));
        Self {
            address: address.unwrap().to_owned(),
            key: std::fs::read_to_string(key_file).unwrap(),
            child,
            ready,
            folder,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn host(&self) -> Field<'_> {
        ("host", &self.address)
    }

    /// One request with these fields and no others, to the end of its answer.
    pub(crate) fn raw(&self, line: &str, fields: &[Field<'_>], body: &str) -> Answer {
        Stream::open(&self.address, line, fields, body).rest()
    }

    /// What the gateway sends with each request.
    fn fields<'a>(&'a self, bearer: &'a str, more: &[Field<'a>]) -> Vec<Field<'a>> {
        let mut fields = vec![self.host(), ("authorization", bearer)];
        fields.push(("content-type", "application/json"));
        fields.push(("accept", "application/json, text/event-stream"));
        fields.extend(more);
        fields
    }

    pub(crate) fn open(&self, method: &str, more: &[Field<'_>], body: &str) -> Stream {
        let bearer = format!("Bearer {}", self.key);
        let line = format!("{method} /mcp");
        Stream::open(&self.address, &line, &self.fields(&bearer, more), body)
    }

    pub(crate) fn send(&self, method: &str, more: &[Field<'_>], body: &Value) -> Answer {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.open(method, more, &body).rest()
    }

    /// Begins a session.
    pub(crate) fn session(&self) -> String {
        let answer = self.send("POST", &[], &initialize());
        assert_eq!(answer.status, 200, "{}", answer.body);
        let id = answer.field("mcp-session-id").unwrap();
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(
            self.send("POST", &[("mcp-session-id", &id)], &ready).status,
            202
        );
        id
    }

    /// Calls a tool in a session.
    pub(crate) fn call(&self, session: &str, message: &Value) -> Answer {
        self.send("POST", &[("mcp-session-id", session)], message)
    }

    /// Calls a tool without a session.
    pub(crate) fn stateless(&self, message: &Value) -> Answer {
        self.open_stateless(message).rest()
    }

    pub(crate) fn open_stateless(&self, message: &Value) -> Stream {
        let mut message = message.clone();
        let meta = &mut message["params"]["_meta"];
        meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
        meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
        let method = message["method"].as_str().unwrap().to_owned();
        let name = message["params"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let fields = [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", method.as_str()),
            ("mcp-name", name.as_str()),
        ];
        self.open("POST", &fields, &message.to_string())
    }
}

pub(crate) fn initialize() -> Value {
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params })
}

/// The call of a tool.
pub(crate) fn call(id: impl Into<Value>, tool: &str, text: &str) -> Value {
    let id: Value = id.into();
    let params =
        json!({ "name": tool, "arguments": { "text": text }, "_meta": { "progressToken": "t" } });
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params })
}

/// An answer while it comes.
pub(crate) struct Stream {
    from: BufReader<TcpStream>,
    pub(crate) status: u16,
    pub(crate) head: String,
}

impl Stream {
    /// HTTP/1.0, whose bodies end with the connection.
    fn open(address: &str, line: &str, fields: &[Field<'_>], body: &str) -> Self {
        let mut request = format!("{line} HTTP/1.0\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in fields {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        request.push_str(body);
        let mut to = TcpStream::connect(address).unwrap();
        to.set_read_timeout(Some(PATIENCE)).unwrap();
        // Who refuses a body early may have gone before it was written.
        let _ = to.write_all(request.as_bytes());
        let (mut from, mut head) = (BufReader::new(to), String::new());
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(from.read_line(&mut head).unwrap(), 0, "{head}");
        }
        let status = head.get(9..12).unwrap().parse().unwrap();
        Self { from, status, head }
    }

    /// The next message of a stream; `None` at its end.
    pub(crate) fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            if self.from.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).unwrap());
            }
        }
    }

    fn rest(mut self) -> Answer {
        let mut body = String::new();
        self.from.read_to_string(&mut body).unwrap();
        Answer {
            status: self.status,
            head: self.head,
            body,
        }
    }
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = fields.find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {} {}", self.status, self.body))
    }

    /// The messages, of a stream or the one that it is.
    pub(crate) fn messages(&self) -> Vec<Value> {
        if self.field("content-type").as_deref() == Some("application/json") {
            return vec![self.json()];
        }
        let data = self
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("data: "));
        data.map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }

    /// The text that a tool answered with.
    #[track_caller]
    pub(crate) fn text(&self) -> String {
        let messages = self.messages();
        let last = messages
            .last()
            .unwrap_or_else(|| panic!("{} {}", self.status, self.head));
        let text = last["result"]["content"][0]["text"].as_str();
        text.unwrap_or_else(|| panic!("{:.200}", last.to_string()))
            .to_owned()
    }

    /// The code of its error.
    #[track_caller]
    pub(crate) fn code(&self) -> i64 {
        let messages = self.messages();
        let code = messages
            .last()
            .and_then(|last| last["error"]["code"].as_i64());
        code.unwrap_or_else(|| panic!("{} {:.200}", self.status, self.body))
    }
}

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
