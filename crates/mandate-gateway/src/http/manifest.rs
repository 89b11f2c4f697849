//! Tools as they were accepted: what an MCP server says of them now.
//!
//! A list that passes shows it. Before a call this gateway looks itself, where nobody has looked for a while: for the
//! access that is admitted, with its credential, so that whatever stops that access stops this too. A tool that is
//! not as it was accepted is not called; and what cannot be listed is not as it was accepted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Limited};
use mandate_decide::enforce::{
    Classified, Denial, Era, Seen, ToolPage, UnreadableAnswer, accepted_tool, check_tool, seen,
    tool_page,
};
use mandate_model::{BootTime, ServerName};
use mandate_policy::decl::ServerWorkload;
use serde_json::{Value, json};

use super::forward::{address, may_go, unless_cut};
use super::front::Front;
use super::inject;
use super::refusal::Refusal;
use super::sse::{Looked, data_of, end_of_event, lines, media_type};
use crate::admission::Admission;
use crate::body::{Checked, full};
use crate::egress::Egress;

/// What this gateway has seen of servers' tools.
#[derive(Default)]
pub(crate) struct Manifests(Mutex<HashMap<ServerName, Arc<Tools>>>);

/// The tools of a server.
#[derive(Default)]
struct Tools {
    /// Of several that want to look, one does.
    looking: tokio::sync::Mutex<()>,
    seen: Mutex<SeenTools>,
}

#[derive(Default)]
struct SeenTools {
    /// When all of them were looked at.
    looked: Option<BootTime>,
    /// When somebody looked to no avail.
    failed: Option<BootTime>,
    /// How often what was looked at was forgotten.
    forgotten: u64,
    tools: HashMap<String, Seen>,
    /// What an operator was told of, and when the last time was.
    told: HashMap<String, Option<Seen>>,
    told_at: Option<BootTime>,
}

/// A list of a server's tools on its way to an agent.
pub(super) struct Passing<'s> {
    server: &'s ServerWorkload,
    /// Those that were accepted, as they are.
    tools: HashMap<String, Seen>,
    twice: bool,
}

impl<'s> Passing<'s> {
    pub(super) fn of(server: &'s ServerWorkload) -> Self {
        Self {
            server,
            tools: HashMap::new(),
            twice: false,
        }
    }

    /// Takes note of a tool. Whether it is as it was accepted.
    pub(super) fn takes(&mut self, tool: &str, item: &str) -> bool {
        if self
            .server
            .mcp
            .as_ref()
            .is_none_or(|mcp| mcp.manifest.is_none())
        {
            return true;
        }
        // Of what nobody accepted nothing need be known.
        if !is_accepted(self.server, tool) {
            return false;
        }
        let seen = seen(item);
        self.twice |= self.tools.insert(tool.to_owned(), seen).is_some();
        check_tool(self.server, tool, seen).is_ok()
    }
}

/// An admitted call, for which it is looked.
pub(super) struct Looking<'a> {
    pub(super) front: &'a Arc<Front>,
    pub(super) access: &'a Arc<Admission>,
    pub(super) server: &'a ServerWorkload,
    pub(super) target: &'a str,
    pub(super) upstream_token: Option<&'a str>,
}

impl Manifests {
    fn of(&self, server: &ServerName) -> Arc<Tools> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tools) = all.get(server) {
            return Arc::clone(tools);
        }
        if all.len() >= MOST_SERVERS {
            all.clear();
        }
        let tools = Arc::<Tools>::default();
        all.insert(server.clone(), Arc::clone(&tools));
        tools
    }

    /// That a call is of a tool as it was accepted, as far as that was seen of late. Where nothing was, it is looked
    /// before the call is forwarded ([`Looking::check`]).
    pub(super) fn check_seen(
        &self,
        front: &Front,
        server: &ServerWorkload,
        classified: &Classified,
    ) -> Result<(), Denial> {
        let Some(tool) = accepted_tool(server, classified) else {
            return Ok(());
        };
        let tools = self.of(&server.name);
        let seen = tools.locked();
        if seen.is_fresh(front.gate.clock.boot()) {
            return check_tool(server, tool, seen.of(tool));
        }
        Ok(())
    }

    /// What a list that passes has shown. One in which an accepted tool stands twice is none.
    pub(super) fn saw(
        &self,
        front: &Front,
        server: &ServerWorkload,
        passing: Passing<'_>,
    ) -> Result<(), UnreadableAnswer> {
        if passing.tools.is_empty() {
            return Ok(());
        }
        let tools = self.of(&server.name);
        let mut known = tools.locked();
        for (tool, seen) in passing.tools {
            known.tools.insert(tool, seen);
        }
        known.tell(front, server);
        if passing.twice {
            return Err(UnreadableAnswer);
        }
        Ok(())
    }

    /// The server says that its tools have changed.
    pub(super) fn forget(&self, server: &ServerName) {
        let tools = self.of(server);
        let mut known = tools.locked();
        known.looked = None;
        known.forgotten = known.forgotten.wrapping_add(1);
    }
}

fn is_accepted(server: &ServerWorkload, tool: &str) -> bool {
    let manifest = server.mcp.as_ref().and_then(|mcp| mcp.manifest.as_ref());
    manifest.is_some_and(|manifest| manifest.tool(tool).is_some())
}

impl Tools {
    fn locked(&self) -> MutexGuard<'_, SeenTools> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SeenTools {
    fn is_fresh(&self, now: BootTime) -> bool {
        self.looked
            .is_some_and(|looked| now.since(looked) < LOOK_AGAIN)
    }

    /// Of a tool that the server has not there is nothing to see.
    fn of(&self, tool: &str) -> Seen {
        self.tools.get(tool).copied().flatten()
    }

    /// Has an operator look, once for each change.
    fn tell(&mut self, front: &Front, server: &ServerWorkload) {
        // A server that changes with every answer is told of once in a while.
        let now = front.gate.clock.boot();
        if self
            .told_at
            .is_some_and(|told| now.since(told) < TELL_AGAIN)
        {
            return;
        }
        let manifest = server.mcp.as_ref().and_then(|mcp| mcp.manifest.as_ref());
        let mut changed = Vec::new();
        for (tool, accepted) in manifest.iter().flat_map(|manifest| manifest.iter()) {
            let seen = match self.tools.get(tool) {
                Some(Some(seen)) if seen == accepted => {
                    self.told.remove(tool);
                    continue;
                }
                None if self.looked.is_none() => continue,
                seen => seen.copied(),
            };
            if self.told.insert(tool.to_owned(), seen) != Some(seen) {
                changed.push(format!("`{tool}`"));
            }
        }
        self.told.retain(|tool, _| is_accepted(server, tool));
        if changed.is_empty() {
            return;
        }
        self.told_at = Some(now);
        let more = changed.len().saturating_sub(MOST_NAMED);
        changed.truncate(MOST_NAMED);
        if more > 0 {
            changed.push(format!("{more} more"));
        }
        let name = &server.name;
        front.recorder.alarm(format!(
            "tools of `{name}` are not what was accepted, and denied: {}. See the difference with `mandate mcp accept {name}`, or suspend the server workload",
            changed.join(", ")
        ));
    }
}

impl Looking<'_> {
    /// That the tool that is called is as it was accepted: as it was seen of late, or looking for it now.
    pub(super) async fn check(&self, classified: &Classified) -> Result<(), Refusal> {
        let Some(tool) = accepted_tool(self.server, classified) else {
            return Ok(());
        };
        let tools = self.front.manifests.of(&self.server.name);
        let era = classified.era().unwrap_or(Era::Stateless);
        if !tools.locked().is_fresh(self.now()) {
            // Whoever waits for another's look is cut, too, and waits no longer than it may take.
            let looking = tokio::time::timeout(PATIENCE, self.look_for_all(&tools, era));
            unless_cut(self.access, async { looking.await.map_err(|_| UNSEEN)? }).await?;
        }
        let seen = tools.locked().of(tool);
        check_tool(self.server, tool, seen).map_err(Refusal::Denied)
    }

    fn now(&self) -> BootTime {
        self.front.gate.clock.boot()
    }

    /// Of several that want to look, one does, and says it to all.
    async fn look_for_all(&self, tools: &Tools, era: Era) -> Result<(), Refusal> {
        let _one = tools.looking.lock().await;
        let (asked, before) = {
            let mut known = tools.locked();
            if known.is_fresh(self.now()) {
                return Ok(());
            }
            let failed = known
                .failed
                .is_some_and(|failed| self.now().since(failed) < RETRY);
            if failed {
                return Err(UNSEEN);
            }
            // Until it is known better: a look that is given up has failed.
            known.failed = Some(self.now());
            (self.now(), known.forgotten)
        };
        let looked = self.look(era).await;
        let mut known = tools.locked();
        known.failed = looked.is_err().then(|| self.now());
        known.tools = looked?;
        // What the server said meanwhile may be of later.
        known.looked = (known.forgotten == before).then_some(asked);
        known.tell(self.front, self.server);
        Ok(())
    }

    /// All tools that the server has now.
    async fn look(&self, era: Era) -> Result<HashMap<String, Seen>, Refusal> {
        let mut spoken = Spoken::begin(self, era).await?;
        let mut tools = HashMap::new();
        let mut cursor = None;
        for _ in 0..MOST_PAGES {
            let ToolPage { tools: page, next } = spoken.page(self, cursor).await?;
            for (tool, seen) in page {
                // None that is longer was accepted, and what is kept has a bound.
                if tool.len() > LONGEST_NAME {
                    continue;
                }
                // One that stands twice is two.
                let twice = tools.contains_key(&tool);
                tools.insert(tool, if twice { None } else { seen });
            }
            if tools.len() > MOST_TOOLS {
                return Err(UNSEEN);
            }
            cursor = next;
            if cursor.is_none() {
                spoken.end(self).await;
                return Ok(tools);
            }
        }
        Err(UNSEEN)
    }

    /// What the server answers to `message`, and the head of that.
    async fn say(
        &self,
        method: Method,
        headers: HeaderMap,
        message: Option<&Value>,
    ) -> Result<(HeaderMap, Bytes), Refusal> {
        let Self {
            front,
            access,
            server,
            target,
            upstream_token,
        } = self;
        let (credentials, injections) = (&*front.credentials, &front.injections);
        let outgoing = inject::outgoing(
            credentials,
            injections,
            server,
            headers,
            target,
            *upstream_token,
        );
        let outgoing = outgoing.await?;
        let text = message.map(Value::to_string).unwrap_or_default();
        let own = Arc::<Egress>::default();
        let body = full(Bytes::from(text));
        let mut request = Request::new(Checked::new(access, &own, body));
        *request.method_mut() = method;
        let connect = server.http.connect_timeout;
        // A connection of its own: one that was used before may be closed by now, and nothing is sent twice.
        // HTTP/1.1, for there is nobody else on it: what stops this access resets it, whatever is still to be sent.
        let lent = front.pool.open_http1(&outgoing.place, connect).await;
        let mut lent = lent.map_err(Refusal::Connect)?;
        address(&mut request, &outgoing, lent.is_http2())?;
        let (socket, alone) = lent.socket();
        access.uses(socket, alone);
        own.leaves_by(socket);
        may_go(access)?;
        let response = lent.send(request).await.map_err(|_| UNSEEN)?;
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            return Err(UNSEEN);
        }
        let body = Limited::new(body, LONGEST).collect().await;
        let body = body.map_err(|_| UNSEEN)?.to_bytes();
        // It goes: whatever stops this access kills the sockets that it has used, and nobody else may be on one.
        drop(lent);
        Ok((head.headers, body))
    }
}

/// How the server is spoken to: for each message alone, or in a session.
struct Spoken {
    headers: HeaderMap,
    era: Era,
    session: bool,
}

impl Spoken {
    async fn begin(to: &Looking<'_>, era: Era) -> Result<Self, Refusal> {
        let mut spoken = Self {
            headers: HeaderMap::new(),
            era,
            session: false,
        };
        for (name, value) in [
            (header::CONTENT_TYPE, "application/json"),
            (header::ACCEPT, "application/json, text/event-stream"),
        ] {
            let value = HeaderValue::from_static(value);
            spoken.headers.insert(name, value);
        }
        if era == Era::Stateless {
            spoken
                .headers
                .insert(VERSION, HeaderValue::from_static(LATEST));
            let method = HeaderValue::from_static("tools/list");
            spoken.headers.insert(METHOD, method);
            return Ok(spoken);
        }
        let params = json!({
            "protocolVersion": LAST_WITH_SESSIONS, "capabilities": {}, "clientInfo": client(),
        });
        let begins = json!({"jsonrpc": "2.0", "id": ID, "method": "initialize", "params": params});
        let post = |message| to.say(Method::POST, spoken.headers.clone(), Some(message));
        let (head, body) = post(&begins).await?;
        let agreed = answer(&head, &body)?;
        let agreed: Value = serde_json::from_slice(&agreed).map_err(|_| UNSEEN)?;
        let agreed = agreed.pointer("/result/protocolVersion");
        let agreed = agreed.and_then(Value::as_str).ok_or(UNSEEN)?;
        let agreed = HeaderValue::from_str(agreed).map_err(|_| UNSEEN)?;
        let mut headers = spoken.headers.clone();
        headers.insert(VERSION, agreed);
        if let Some(session) = head.get(SESSION) {
            headers.insert(SESSION, session.clone());
            spoken.session = true;
        }
        let begun = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        to.say(Method::POST, headers.clone(), Some(&begun)).await?;
        spoken.headers = headers;
        Ok(spoken)
    }

    async fn page(
        &mut self,
        to: &Looking<'_>,
        cursor: Option<String>,
    ) -> Result<ToolPage, Refusal> {
        let mut params = serde_json::Map::new();
        if self.era == Era::Stateless {
            let meta = json!({
                "io.modelcontextprotocol/protocolVersion": LATEST,
                "io.modelcontextprotocol/clientInfo": client(),
                "io.modelcontextprotocol/clientCapabilities": {},
            });
            params.insert("_meta".to_owned(), meta);
        }
        params.extend(cursor.map(|cursor| ("cursor".to_owned(), Value::from(cursor))));
        let asks = json!({"jsonrpc": "2.0", "id": ID, "method": "tools/list", "params": params});
        let (head, body) = to
            .say(Method::POST, self.headers.clone(), Some(&asks))
            .await?;
        tool_page(&answer(&head, &body)?).map_err(|_| UNSEEN)
    }

    /// A server that keeps the session forgets it in its own time: what was seen waits for no answer to this.
    async fn end(self, to: &Looking<'_>) {
        if self.session {
            let ending = to.say(Method::DELETE, self.headers, None);
            let _ = tokio::time::timeout(LEAVE, ending).await;
        }
    }
}

fn client() -> Value {
    json!({"name": "mandate-gateway", "version": env!("CARGO_PKG_VERSION")})
}

/// The message that answers, from a body of either kind.
fn answer(head: &HeaderMap, body: &Bytes) -> Result<Bytes, Refusal> {
    if media_type(head).as_deref() != Some("text/event-stream") {
        return Ok(body.clone());
    }
    let mut rest = body.clone();
    while let Some(end) = end_of_event(&rest, &mut Looked::default()) {
        let event = rest.split_to(end);
        let data: Vec<&[u8]> = lines(&event).filter_map(data_of).collect();
        let message = data.join(&b'\n');
        let answers = serde_json::from_slice::<Value>(&message)
            .is_ok_and(|message| message.get("id") == Some(&Value::from(ID)));
        if answers {
            return Ok(Bytes::from(message));
        }
    }
    Err(UNSEEN)
}

const UNSEEN: Refusal = Refusal::NotNow {
    rule: "mcp.manifest",
    detail: "the server's tools could not be listed, so nobody knows whether this one is what was accepted",
};
/// The id of this gateway's own requests.
const ID: &str = "mandate";
const LATEST: &str = "2026-07-28";
const LAST_WITH_SESSIONS: &str = "2025-11-25";
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// What was seen is believed for as long.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// All of a look.
const PATIENCE: Duration = Duration::from_secs(10);
/// The end of a session.
const LEAVE: Duration = Duration::from_secs(1);
/// After a look to no avail.
const RETRY: Duration = Duration::from_secs(1);
/// Between two alarms about a server.
const TELL_AGAIN: Duration = Duration::from_secs(60);
const MOST_PAGES: usize = 64;
const MOST_TOOLS: usize = 10_000;
/// Of a tool, in bytes.
const LONGEST_NAME: usize = 1024;
/// Of one answer.
const LONGEST: usize = 8 * 1024 * 1024;
const MOST_SERVERS: usize = 4096;
/// In one alarm.
const MOST_NAMED: usize = 8;
