//! A client that reads what a live server declares: its tools, prompts and resources, as it wrote them.
//!
//! The server is not trusted: what it may send is bounded in bytes, pages, items and time, and a name that stands twice
//! is an error, since nobody could say which of the two is meant. Nothing is used, only listed.

mod http;
mod list;
mod sse;
mod stdio;

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

pub(crate) use http::HttpServer;
pub(crate) use list::{Family, Item};

use super::child::Program;
use super::message::Id;
use super::{STATELESS, WITH_SESSIONS};

/// Where a server is.
pub(crate) enum Server {
    /// At a URL.
    Http(HttpServer),
    /// A program that speaks on its standard input and output.
    Stdio(Program),
}

/// What a server declares.
#[derive(Debug)]
pub(crate) struct Declared {
    /// What it calls itself.
    pub(crate) name: Option<String>,
    /// The revision in which it was asked.
    pub(crate) revision: String,
    /// Its tools, as `tools/list` has them.
    pub(crate) tools: Vec<Item>,
    /// Its prompts.
    pub(crate) prompts: Vec<Item>,
    /// Its resource templates; an item's name is the template.
    pub(crate) templates: Vec<Item>,
    /// Its resources; an item's name is the URI.
    pub(crate) resources: Vec<Item>,
}

/// Why a server could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// It cannot be reached.
    #[error("{0}")]
    Unreachable(String),
    /// It wants to know who asks.
    #[error("the server refuses this client: {0}")]
    Unauthorized(u16),
    /// It answers with something else than MCP.
    #[error("the server does not speak MCP here: {0}")]
    NotMcp(String),
    /// It refused a request.
    #[error("the server refuses `{method}`: {code} {message}")]
    Refused {
        /// Which.
        method: &'static str,
        /// The error's code.
        code: i64,
        /// What it says, made plain.
        message: String,
    },
    /// It has ended.
    #[error("the server ended")]
    Ended,
    /// It took too long.
    #[error("the server did not answer in time")]
    Slow,
    /// Somebody stopped this.
    #[error("interrupted")]
    Stopped,
    /// More than is read.
    #[error("the server declares more than is read: {0}")]
    TooMuch(&'static str),
    /// Two have one name.
    #[error("`{method}` has `{name}` twice: which of the two is meant nobody can say")]
    Twice {
        /// The list.
        method: &'static str,
        /// The name, made plain.
        name: String,
    },
    /// A list is none.
    #[error("the answer to `{0}` cannot be read")]
    Malformed(&'static str),
}

/// What links to both kinds of servers have in common.
trait Link {
    /// Sends a request and waits for its result.
    async fn ask(&mut self, ask: &Ask) -> Result<Box<RawValue>, ReadError>;
    /// Sends a notification.
    async fn tell(&mut self, method: &'static str) -> Result<(), ReadError>;
    /// The revision that was agreed on, where there is a session.
    fn agreed(&mut self, revision: &str);
    /// Ends the session, or the server.
    async fn close(self);
}

/// A request.
struct Ask {
    id: i64,
    method: &'static str,
    params: Value,
    is_stateless: bool,
}

impl Ask {
    fn text(&self) -> String {
        let Self {
            id, method, params, ..
        } = self;
        json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
    }

    fn id(&self) -> Id {
        Id::Number(self.id)
    }
}

/// Reads all lists of `server`, in the newest revision that it speaks, within `limit`, and no longer than until `stop`.
/// A program has ended with all that it started when this returns, however that came.
pub(crate) async fn declared(
    server: Server,
    limit: Duration,
    stop: impl Future<Output = ()>,
) -> Result<Declared, ReadError> {
    match server {
        Server::Http(server) => read(http::HttpLink::new(server), limit, stop).await,
        Server::Stdio(program) => read(stdio::StdioLink::new(program)?, limit, stop).await,
    }
}

async fn read<L: Link>(
    link: L,
    limit: Duration,
    stop: impl Future<Output = ()>,
) -> Result<Declared, ReadError> {
    let mut client = Client::new(link);
    let declared = tokio::select! {
        declared = tokio::time::timeout(limit, client.declared()) => {
            declared.unwrap_or(Err(ReadError::Slow))
        }
        () = stop => Err(ReadError::Stopped),
    };
    // Nobody else would wait for the end of a program.
    client.link.close().await;
    declared
}

struct Client<L> {
    link: L,
    last: i64,
    is_stateless: bool,
}

/// What `server/discover` and `initialize` answer.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Hello {
    supported_versions: Vec<String>,
    protocol_version: Option<String>,
    capabilities: serde_json::Map<String, Value>,
    server_info: Value,
    #[serde(rename = "_meta")]
    meta: Value,
}

impl<L: Link> Client<L> {
    fn new(link: L) -> Self {
        Self {
            link,
            last: 0,
            is_stateless: true,
        }
    }

    async fn declared(&mut self) -> Result<Declared, ReadError> {
        let hello = match self.discover().await? {
            Some(hello) => hello,
            None => self.initialize().await?,
        };
        let revision = if self.is_stateless {
            STATELESS.to_owned()
        } else {
            hello.protocol_version.clone().unwrap_or_default()
        };
        let info = [
            &hello.server_info,
            hello
                .meta
                .get("io.modelcontextprotocol/serverInfo")
                .unwrap_or(&Value::Null),
        ];
        let name = info.into_iter().find_map(|info| info.get("name")?.as_str());
        let mut declared = Declared {
            name: name.map(str::to_owned),
            revision,
            tools: Vec::new(),
            prompts: Vec::new(),
            templates: Vec::new(),
            resources: Vec::new(),
        };
        for family in Family::ALL {
            if !hello.capabilities.contains_key(family.capability()) {
                continue;
            }
            let items = match list::read(self, family).await {
                // Templates are part of a capability that not every server has whole.
                Err(ReadError::Refused {
                    code: NO_METHOD, ..
                }) => Vec::new(),
                items => items?,
            };
            match family {
                Family::Tools => declared.tools = items,
                Family::Prompts => declared.prompts = items,
                Family::Templates => declared.templates = items,
                Family::Resources => declared.resources = items,
            }
        }
        Ok(declared)
    }

    /// MCP 2026-07-28, "Versioning": whoever does not answer is asked as before.
    async fn discover(&mut self) -> Result<Option<Hello>, ReadError> {
        let asked = tokio::time::timeout(DISCOVERY, self.ask("server/discover", json!({})));
        match asked.await {
            Ok(Ok(result)) => {
                let hello: Hello = serde_json::from_str(result.get()).unwrap_or_default();
                let speaks = hello.supported_versions.iter().any(|v| v == STATELESS);
                Ok(speaks.then_some(hello))
            }
            Ok(Err(ReadError::Refused { .. } | ReadError::NotMcp(_) | ReadError::Ended))
            | Err(_) => Ok(None),
            Ok(Err(why)) => Err(why),
        }
    }

    async fn initialize(&mut self) -> Result<Hello, ReadError> {
        self.is_stateless = false;
        let newest = WITH_SESSIONS.last().copied().unwrap_or_default();
        let params = json!({
            "protocolVersion": newest, "capabilities": {}, "clientInfo": client_info(),
        });
        let result = self.ask("initialize", params).await?;
        let hello: Hello =
            serde_json::from_str(result.get()).map_err(|_| ReadError::Malformed("initialize"))?;
        let spoken = hello.protocol_version.as_deref();
        let spoken = spoken.filter(|spoken| WITH_SESSIONS.contains(spoken));
        let spoken = spoken.ok_or_else(|| ReadError::NotMcp("an unknown revision".to_owned()))?;
        self.link.agreed(spoken);
        self.link.tell("notifications/initialized").await?;
        Ok(hello)
    }

    async fn ask(
        &mut self,
        method: &'static str,
        mut params: Value,
    ) -> Result<Box<RawValue>, ReadError> {
        self.last += 1;
        if self.is_stateless {
            let meta = json!({
                "io.modelcontextprotocol/protocolVersion": STATELESS,
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": client_info(),
            });
            if let Some(params) = params.as_object_mut() {
                params.insert("_meta".to_owned(), meta);
            }
        }
        let ask = Ask {
            id: self.last,
            method,
            params,
            is_stateless: self.is_stateless,
        };
        self.link.ask(&ask).await
    }
}

fn client_info() -> Value {
    json!({ "name": "mandate", "version": env!("CARGO_PKG_VERSION") })
}

/// The result of an answer to `method`.
fn result_of(method: &'static str, text: &str) -> Result<Box<RawValue>, ReadError> {
    #[derive(Deserialize)]
    struct Answer {
        result: Option<Box<RawValue>>,
        error: Option<Told>,
    }
    #[derive(Deserialize)]
    struct Told {
        code: i64,
        #[serde(default)]
        message: String,
    }
    let answer: Answer = serde_json::from_str(text).map_err(|_| ReadError::Malformed(method))?;
    match answer {
        Answer {
            error: Some(Told { code, message }),
            ..
        } => Err(ReadError::Refused {
            method,
            code,
            message: super::plain::plain(&message, 200),
        }),
        Answer {
            result: Some(result),
            ..
        } => Ok(result),
        Answer { .. } => Err(ReadError::Malformed(method)),
    }
}

const NO_METHOD: i64 = super::message::NO_METHOD;
/// For a server that says nothing to what it does not know.
const DISCOVERY: Duration = Duration::from_secs(10);
/// The longest message that is read.
pub(crate) const LONGEST: usize = 8 << 20;
