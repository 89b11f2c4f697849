//! What an MCP server gives an agent to bring back: whose it is. A session's id (up to 2025-11-25), the state of a
//! request that it has answered with a question (from 2026-07-28 on), the id of a call that goes on as a task.
//!
//! A server knows this gateway and not its agents, and may take whoever brings such a thing for who got it. So it is
//! given to the agent with a code that says for whom: an agent type in a task at a server workload; state for which
//! request, and a task of which call. Whoever else brings it has none. Nothing is remembered: every gateway with the same key takes it
//! (FAILURES 37, 39).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, StatusCode};
use mandate_decide::enforce::{Denial, Era, GivenTask, McpFault, Round, Unclassifiable, given};
use mandate_model::{Secret, ServerName, SpiffeId, TaskId};

use super::refusal::Refusal;
use crate::hmac::hmac_sha256;

/// Keys the codes.
pub(crate) struct Bindings(Secret<Vec<u8>>);

/// Whose something is.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    pub(super) server: ServerName,
    pub(super) agent: SpiffeId,
    pub(super) task: TaskId,
}

/// What of a session goes on with a request.
#[derive(Clone)]
pub(super) enum Session {
    /// Whatever the fields say: it is no message to an MCP server.
    AsItCame,
    /// None: each message stands for itself, or there is no session yet.
    Without,
    /// The server's own id of one that is the agent's.
    Of(HeaderValue),
}

impl Bindings {
    pub(crate) fn new(key: &Secret<Vec<u8>>) -> Self {
        Self(Secret::new(key.expose().clone()))
    }

    /// What the server wants back with the round that `owner` asks for, if the agent has brought it.
    pub(super) fn state_of(
        &self,
        owner: &Owner,
        round: Option<&Round>,
    ) -> Result<Option<String>, Refusal> {
        let Some((round, brought)) = round.and_then(|round| Some((round, round.state()?))) else {
            return Ok(None);
        };
        let fault = McpFault::Params(NO_STATE);
        let no_state =
            || Refusal::Denied(Denial::Unclassifiable(Unclassifiable::Mcp(fault.clone())));
        let (state, code) = brought.rsplit_once(BETWEEN).ok_or_else(no_state)?;
        let right = self.state_code(owner, round.digest(), state);
        if Secret::new(right) == Secret::new(code.to_owned()) {
            Ok(Some(state.to_owned()))
        } else {
            Err(no_state())
        }
    }

    /// `state` for `owner` alone, and for the request of this digest.
    pub(super) fn give_state(&self, owner: &Owner, digest: &[u8; 32], state: &str) -> String {
        format!("{state}{BETWEEN}{}", self.state_code(owner, digest, state))
    }

    /// That each of the tasks that the agent goes on with was given to `owner`.
    pub(super) fn check_tasks(&self, owner: &Owner, tasks: &[GivenTask]) -> Result<(), Refusal> {
        for task in tasks {
            let right = self.task_code(owner, task.call(), task.id());
            if Secret::new(right) != Secret::new(task.code().to_owned()) {
                let fault = Unclassifiable::Mcp(McpFault::NO_TASK);
                return Err(Refusal::Denied(Denial::Unclassifiable(fault)));
            }
        }
        Ok(())
    }

    /// The server's task `id` for `owner` alone, as which the `call` goes on.
    pub(super) fn give_task(&self, owner: &Owner, call: &str, id: &str) -> String {
        given(id, call, &self.task_code(owner, call, id))
    }

    /// The session that a request of `owner` with these fields may go on in.
    pub(super) fn of(
        &self,
        owner: &Owner,
        headers: &HeaderMap,
        era: Option<Era>,
    ) -> Result<Session, Refusal> {
        let brought = match era {
            None => return Ok(Session::AsItCame),
            Some(Era::Stateless) => return Ok(Session::Without),
            Some(Era::Sessions) => headers.get(SESSION_ID),
        };
        let Some(brought) = brought else {
            return Ok(Session::Without);
        };
        let given = brought
            .to_str()
            .ok()
            .and_then(|text| text.rsplit_once(BETWEEN));
        let (id, code) = given.ok_or(NO_SESSION)?;
        if Secret::new(self.code(owner, id)) != Secret::new(code.to_owned()) {
            return Err(NO_SESSION);
        }
        let id = HeaderValue::from_str(id).map_err(|_| NO_SESSION)?;
        Ok(Session::Of(id))
    }

    /// Gives an answer's session to `owner` alone: the one that it `begins`, or the one that was gone on in. A server
    /// that names another one names somebody else's.
    pub(super) fn give(
        &self,
        owner: &Owner,
        (begins, session): (bool, &Session),
        headers: &mut HeaderMap,
    ) {
        let is_own = |id: &HeaderValue| match session {
            Session::Of(own) => own == id,
            Session::Without | Session::AsItCame => begins,
        };
        let mut ids = headers.get_all(SESSION_ID).iter();
        let id = ids.next().filter(|id| ids.next().is_none() && is_own(id));
        let given = id.and_then(|id| id.to_str().ok()).and_then(|id| {
            let given = format!("{id}{BETWEEN}{}", self.code(owner, id));
            HeaderValue::from_str(&given).ok()
        });
        match given {
            Some(given) => headers.insert(SESSION_ID, given),
            // Of an id that nobody can bring back there is no session.
            None => headers.remove(SESSION_ID),
        };
    }

    fn code(&self, owner: &Owner, id: &str) -> String {
        self.code_of("mcp-session", owner, id)
    }

    fn state_code(&self, owner: &Owner, digest: &[u8; 32], state: &str) -> String {
        let digest = URL_SAFE_NO_PAD.encode(digest);
        self.code_of(&format!("mcp-state\n{digest}"), owner, state)
    }

    fn task_code(&self, owner: &Owner, call: &str, id: &str) -> String {
        self.code_of(&format!("mcp-task\n{call}"), owner, id)
    }

    fn code_of(&self, purpose: &str, owner: &Owner, what: &str) -> String {
        // What is last alone may have a line's end in it.
        let Owner {
            server,
            agent,
            task,
        } = owner;
        let text = format!("{purpose}\n{server}\n{agent}\n{task}\n{what}");
        let code = hmac_sha256(self.0.expose(), text.as_bytes());
        URL_SAFE_NO_PAD.encode(code)
    }
}

impl Session {
    /// Puts into an outgoing head what goes on of it.
    pub(super) fn put(&self, headers: &mut HeaderMap) {
        match self {
            Session::AsItCame => {}
            Session::Without => {
                headers.remove(SESSION_ID);
                headers.remove(LAST_EVENT_ID);
            }
            Session::Of(id) => {
                headers.insert(SESSION_ID, id.clone());
            }
        }
    }
}

const SESSION_ID: &str = "mcp-session-id";
const LAST_EVENT_ID: &str = "last-event-id";
/// A character of ids (MCP 2025-11-25, "Session Management"), and of no code.
const BETWEEN: char = '~';
/// Clients begin another session then.
const NO_SESSION: Refusal = Refusal::Request {
    status: StatusCode::NOT_FOUND,
    rule: "mcp.session",
    detail: "this is no session of this agent in this task: initialize another one",
};
const NO_STATE: &str =
    "this `requestState` was not given to this agent in this task for this request";
