//! A task token that an agent hands to the agent which it calls: what that does with it leads to the caller's task.
//!
//! It is the called agent's own (`may_act`), delegated in the task of the access token. Nothing else is passed on as one:
//! an agent could hand out what is not its to hand out, or have another's work told as its own.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use mandate_decide::enforce::Denial;
use mandate_token::{AccessToken, TaskToken, Verified};

use super::super::front::Front;
use super::super::refusal::Refusal;
use super::brought::{TXN_TOKEN, check_task_stops, verified_task};
use super::{BESIDE_AN_ACCESS_TOKEN, Coming};

/// The task token of the agent that is called, which its caller delegated to it.
#[derive(Clone)]
pub(in crate::http) struct Handed<'h> {
    pub(super) text: &'h str,
    token: Verified<TaskToken>,
}

impl Handed<'_> {
    /// What it stands and falls with.
    pub(super) fn token(&self) -> &Verified<TaskToken> {
        &self.token
    }
}

/// `task`, if it is a task token of the agent that is called, and of a task right below the one of `access`.
pub(super) fn check<'h>(
    front: &Front,
    coming: &Coming<'_, '_>,
    task: &'h str,
    access: &AccessToken,
) -> Result<Handed<'h>, Refusal> {
    let called = coming.server.a2a.as_ref().ok_or(BESIDE_AN_ACCESS_TOKEN)?;
    let verified = verified_task(front, coming.snapshot, task, &coming.asking)?;
    let stops = check_task_stops(&verified, &coming.snapshot.stops);
    stops.map_err(|why| Refusal::Denied(Denial::Stopped(why)))?;
    let claims = verified.claims();
    if claims.may_act.sub != called.id {
        return Err(OF_ANOTHER);
    }
    let caller = &access.path;
    if caller.child(claims.path.leaf()).as_ref() != Some(&claims.path) {
        return Err(ELSEWHERE);
    }
    Ok(Handed {
        text: task,
        token: verified,
    })
}

/// Puts it into an outgoing head, from which every `Txn-Token` was taken before.
pub(super) fn put(handed: Option<&Handed<'_>>, headers: &mut HeaderMap) {
    // It came in a field, so it fits into one.
    let Some(Ok(mut value)) = handed.map(|handed| HeaderValue::from_str(handed.text)) else {
        return;
    };
    value.set_sensitive(true);
    headers.insert(HeaderName::from_static(TXN_TOKEN), value);
}

const OF_ANOTHER: Refusal = Refusal::Request {
    status: StatusCode::BAD_REQUEST,
    rule: "request.txn_token",
    detail: "a task token beside an access token is that of the agent which is called: delegate to its type",
};
const ELSEWHERE: Refusal = Refusal::Request {
    status: StatusCode::BAD_REQUEST,
    rule: "request.txn_token",
    detail: "a task token beside an access token is of a task right below the access token's: delegate in that task",
};
