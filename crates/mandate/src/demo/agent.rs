//! The quickstart's agents: ordinary processes that are told what to do, and do it with nothing but what
//! the authority gives them.

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use mandate_model::{Secret, Timestamp};
use mandate_ports::Clock;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Stdout};
use tokio::sync::mpsc;

use super::orders::{Answer, Ended, Hidden, Line, Order};
use crate::client::agent::{Agent, AgentError, Attested, Delegate, Open, Token};
use crate::client::http::{CALL, Door, HttpError};
use crate::client::members::Members;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::serve::machine::SystemClock;

/// Works on orders from standard input until it ends.
pub(super) async fn run(context: &Context) -> Outcome {
    let failed = |e: std::io::Error| Failure::failed(e.to_string(), "");
    let (ended, mut endings) = mpsc::unbounded_channel();
    let mut worker = Worker {
        agent: Agent::new(Door::Unix(context.data.agent_socket())),
        attested: None,
        task: None,
        last: None,
        ended,
    };
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    let mut out = tokio::io::stdout();
    loop {
        tokio::select! {
            order = orders.next_line() => {
                let Some(order) = order.map_err(failed)? else { return Ok(Exit::Ok) };
                let answer = worker.obey(&order).await;
                write(&mut out, &Line::Answer(answer)).await.map_err(failed)?;
            }
            Some(end) = endings.recv() => {
                write(&mut out, &Line::Ended(end)).await.map_err(failed)?;
            }
        }
    }
}

async fn write(out: &mut Stdout, line: &Line) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(line).map_err(std::io::Error::other)?;
    text.push(b'\n');
    out.write_all(&text).await?;
    out.flush().await
}

struct Worker {
    agent: Agent,
    attested: Option<Attested>,
    task: Option<Secret<String>>,
    last: Option<Secret<String>>,
    ended: mpsc::UnboundedSender<Ended>,
}

/// Why an order came to nothing.
enum Trouble {
    Agent(AgentError),
    Http(HttpError),
    Other(String),
}

impl From<AgentError> for Trouble {
    fn from(error: AgentError) -> Self {
        Trouble::Agent(error)
    }
}

impl From<HttpError> for Trouble {
    fn from(error: HttpError) -> Self {
        Trouble::Http(error)
    }
}

impl Worker {
    async fn obey(&mut self, text: &str) -> Answer {
        let begin = SystemClock.now();
        let order = match serde_json::from_str(text) {
            Ok(order) => order,
            Err(e) => return Answer::Failed { why: e.to_string() },
        };
        match self.work(order, begin).await {
            Ok(answer) => answer,
            Err(Trouble::Agent(AgentError::Refused { error, description })) => Answer::Refused {
                error,
                description,
                elapsed_ms: since(begin),
            },
            Err(Trouble::Agent(e)) => Answer::Failed { why: e.to_string() },
            Err(Trouble::Http(e)) => Answer::Failed { why: e.to_string() },
            Err(Trouble::Other(why)) => Answer::Failed { why },
        }
    }

    async fn work(&mut self, order: Order, begin: Timestamp) -> Result<Answer, Trouble> {
        match order {
            Order::Attest { claim } => {
                let attested = self.agent.attest(claim.as_ref()).await?;
                self.introduce(attested, begin).await
            }
            Order::Open {
                purpose,
                id_token,
                event,
                access,
                expires_in,
            } => {
                let trigger = event.map(|name| serde_json::json!({"kind": "event", "name": name}));
                let open = Open {
                    purpose,
                    id_token: id_token.map(|token| token.0.expose().clone()),
                    trigger,
                    access: Some(access),
                    expires_in: Some(expires_in),
                    ..Open::default()
                };
                let token = self.attested()?.open(&open).await?;
                self.take(token, begin).await
            }
            Order::Delegate { to, access } => self.delegate(to, access, begin).await,
            Order::Resume { task } => {
                let parent = self.task()?;
                let token = self.attested()?.resume(task, Some(parent)).await?;
                Ok(handed(token, begin))
            }
            Order::Accept { token } => {
                let token = self.attested()?.renew(token.0.expose()).await?;
                self.take(token, begin).await
            }
            Order::Fetch { resource, url } => self.fetch(&resource, &url, begin).await,
            Order::Replay { url } => {
                let none = || Trouble::Other("this agent has no access token".to_owned());
                let token = self.last.as_ref().ok_or_else(none)?;
                let (door, request) = request(&url, Some(token.expose()))?;
                answer(&door, request, begin).await
            }
            Order::GoAround { url } => {
                let (door, request) = request(&url, None)?;
                answer(&door, request, begin).await
            }
            Order::Download { resource, url } => self.download(&resource, &url, begin).await,
        }
    }

    async fn introduce(&mut self, attested: Attested, begin: Timestamp) -> Result<Answer, Trouble> {
        let elapsed_ms = since(begin);
        let svid = Secret::new(attested.svid().to_owned());
        let about = attested.introspect(&svid).await?;
        let id = attested.id.clone();
        self.attested = Some(attested);
        Ok(Answer::Attested {
            id,
            about,
            elapsed_ms,
        })
    }

    async fn take(&mut self, token: Token, begin: Timestamp) -> Result<Answer, Trouble> {
        let elapsed_ms = since(begin);
        let about = self.attested()?.introspect(&token.text).await?;
        self.task = Some(token.text);
        Ok(Answer::Task {
            task: about
                .at("task")
                .at("id")
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            scope: token.scope,
            elapsed_ms,
        })
    }

    async fn delegate(
        &self,
        to: mandate_model::SpiffeId,
        access: serde_json::Value,
        begin: Timestamp,
    ) -> Result<Answer, Trouble> {
        let delegate = Delegate {
            to,
            access,
            expires_in: None,
            budget: None,
        };
        let token = self.attested()?.delegate(self.task()?, &delegate).await?;
        Ok(handed(token, begin))
    }

    async fn fetch(
        &mut self,
        resource: &str,
        url: &str,
        begin: Timestamp,
    ) -> Result<Answer, Trouble> {
        let token = self.attested()?.access(self.task()?, resource).await?;
        let (door, request) = request(url, Some(token.text.expose()))?;
        self.last = Some(token.text);
        answer(&door, request, begin).await
    }

    async fn download(
        &self,
        resource: &str,
        url: &str,
        begin: Timestamp,
    ) -> Result<Answer, Trouble> {
        let token = self.attested()?.access(self.task()?, resource).await?;
        let (door, request) = request(url, Some(token.text.expose()))?;
        let response = door.stream(request).await?;
        let status = response.status();
        let mut body = response.into_body();
        let mut first = Vec::new();
        while first.len() < UNDER_WAY {
            let data = next(&mut body).await;
            let data = data.map_err(|why| Trouble::Other(format!("it broke off: {why}")))?;
            let Some(data) = data else { break };
            first.extend_from_slice(&data);
        }
        let text = String::from_utf8_lossy(&first).into_owned();
        let ended = self.ended.clone();
        tokio::spawn(async move {
            // The worker outlives its downloads; if it does not, nobody asks any more.
            let _ = ended.send(drain(body, u64::try_from(first.len()).unwrap_or(0)).await);
        });
        Ok(Answer::Http {
            status: status.as_u16(),
            body: text,
            elapsed_ms: since(begin),
        })
    }

    fn attested(&self) -> Result<&Attested, Trouble> {
        let missing = || Trouble::Other("this agent is not attested".to_owned());
        self.attested.as_ref().ok_or_else(missing)
    }

    fn task(&self) -> Result<&str, Trouble> {
        let missing = || Trouble::Other("this agent has no task".to_owned());
        let token = self.task.as_ref().ok_or_else(missing)?;
        Ok(token.expose())
    }
}

fn handed(token: Token, begin: Timestamp) -> Answer {
    Answer::Handed {
        token: Hidden(token.text),
        scope: token.scope,
        elapsed_ms: since(begin),
    }
}

/// Reads to the end, whichever it is.
async fn drain(mut body: Incoming, mut bytes: u64) -> Ended {
    let mut last_byte_at = SystemClock.now().as_millis();
    loop {
        let whole = match next(&mut body).await {
            Ok(Some(data)) => {
                bytes += u64::try_from(data.len()).unwrap_or(0);
                last_byte_at = SystemClock.now().as_millis();
                continue;
            }
            Ok(None) => true,
            Err(_) => false,
        };
        return Ended {
            bytes,
            whole,
            last_byte_at,
        };
    }
}

async fn next(body: &mut Incoming) -> Result<Option<Bytes>, String> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|e| e.to_string())?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

async fn answer(
    door: &Door,
    request: Request<Full<Bytes>>,
    begin: Timestamp,
) -> Result<Answer, Trouble> {
    let answer = door.call(request, CALL).await?;
    Ok(Answer::Http {
        status: answer.status.as_u16(),
        body: String::from_utf8_lossy(&answer.body).into_owned(),
        elapsed_ms: since(begin),
    })
}

/// `http://host:port/path` as a door and a request through it.
fn request(url: &str, token: Option<&str>) -> Result<(Door, Request<Full<Bytes>>), Trouble> {
    let rest = url.strip_prefix("http://");
    let (authority, path) = rest
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(|| Trouble::Other(format!("`{url}` is no http address with a path")))?;
    let door = Door::Tcp(authority.to_owned());
    let mut request = door.get(&format!("/{path}"))?;
    if let Some(token) = token {
        let value = format!("Bearer {token}")
            .parse()
            .map_err(|_| Trouble::Other("the token has no header form".to_owned()))?;
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    Ok((door, request))
}

fn since(begin: Timestamp) -> u64 {
    u64::try_from(SystemClock.now().since(begin).as_millis()).unwrap_or(u64::MAX)
}

/// So many bytes, and a download is under way.
const UNDER_WAY: usize = 512;
