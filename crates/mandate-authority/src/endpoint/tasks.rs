//! `POST /task/show` and `POST /task/close`: for the agent in `may_act`.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use mandate_audit::{Decision, Event};
use mandate_decide::exchange::{
    self, ExchangeError, FormError, SubjectError, TaskSubject, verify_task_token,
};
use mandate_model::TaskId;
use mandate_model::task::{Task, TaskState};
use mandate_ports::{CommitError, Conflict, Unit};

use super::Authenticated;
use crate::body;
use crate::listen::Connection;
use crate::possession::with_nonce;
use crate::tasks::{TaskView, ending};
use crate::token::{Refusal, Refused, exchange_world, line_of};
use crate::world::World;

/// A task and the tree below it, parents before children.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(crate) struct TaskTree {
    tasks: Vec<TaskView>,
}

/// Shows the task of a task token.
#[utoipa::path(
    post, path = "/task/show", tag = "agents",
    request_body(content_type = "application/x-www-form-urlencoded", content = crate::openapi::TokenForm),
    responses(
        (status = 200, description = "The task, and all below it", body = TaskTree),
        (status = 400, description = "A rule is broken", body = crate::openapi::OauthErrorBody),
    ),
)]
pub(crate) async fn show(State(at): State<Connection>, request: Request) -> Response {
    let response = match tree(&at, request).await {
        Ok(tree) => body::answer(&tree),
        Err(refused) => refused.reply(&at).await,
    };
    with_nonce(&at.authority, response)
}

/// Ends the task of a task token, or a child of it, with all below it.
#[utoipa::path(
    post, path = "/task/close", tag = "agents",
    request_body(content_type = "application/x-www-form-urlencoded", content = crate::openapi::CloseForm),
    responses(
        (status = 204, description = "It has ended"),
        (status = 400, description = "A rule is broken", body = crate::openapi::OauthErrorBody),
        (status = 503, description = "Nothing can be recorded now, or the agent type ends too many", body = crate::openapi::OauthErrorBody),
    ),
)]
pub(crate) async fn close(State(at): State<Connection>, request: Request) -> Response {
    let response = match end(&at, request).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refused) => refused.reply(&at).await,
    };
    with_nonce(&at.authority, response)
}

async fn tree(at: &Connection, request: Request) -> Result<TaskTree, Refused> {
    let world = at.authority.world();
    let mut form = Authenticated::read(at, &world, "show", request).await?;
    let line = own_line(at, &world, &mut form).await;
    let subject = line.and_then(|own| {
        let subject = own.token.confirm(&own.tasks, &own.view)?;
        subject.check_actor(&form.client, &own.view)?;
        Ok(subject)
    });
    match subject {
        Err(why) => Err(form.caller.refused(why)),
        Ok(subject) => {
            let tasks = below(at, subject.task().record.id)
                .await
                .map_err(Refused::early)?;
            Ok(TaskTree {
                tasks: tasks.iter().map(TaskView::from).collect(),
            })
        }
    }
}

async fn end(at: &Connection, request: Request) -> Result<(), Refused> {
    let world = at.authority.world();
    let mut form = Authenticated::read_leaving(at, &world, "close", request).await?;
    // The bundle is not asked: who may do nothing more in a task may still end it.
    let line = own_line(at, &world, &mut form).await;
    let known = line.and_then(|own| {
        let known = own.token.know(&own.tasks, &own.view)?;
        let (actor, holder) = (form.client.actor(), form.client.holder());
        known.check_actor(actor, holder, &own.view)?;
        Ok(known)
    });
    let task = match known {
        Ok(known) => which(at, &mut form, known.task().record.id).await,
        Err(why) => Err(why),
    };
    let task = match task {
        Ok(task) => task,
        Err(why) => return Err(form.caller.refused(why)),
    };
    let (authority, now) = (&at.authority, at.authority.now());
    if !authority.refusals().may_end(&form.client.actor().sub) {
        return Err(form.caller.refused(Refusal::TooOften));
    }
    let ending = ending(authority, task, TaskState::Closed, now).await;
    let (change, what) = ending.map_err(|_| Refused::unavailable())?;
    let event: Event = form.caller.event(now, what, Decision::Allowed);
    let unit = Unit {
        changes: vec![change],
        events: vec![event],
        ..Unit::default()
    };
    match authority.commit(unit).await {
        Ok(_receipt) => Ok(()),
        Err(CommitError::Conflict(Conflict::TaskNotLive(_))) => Ok(()),
        Err(CommitError::Conflict(_) | CommitError::Store(_)) => Err(Refused::unavailable()),
    }
}

/// The task to end: the token's, or the one that `task` names below it.
async fn which<C>(
    at: &Connection,
    form: &mut Authenticated<C>,
    own: TaskId,
) -> Result<TaskId, Refusal> {
    let Some(text) = form.take("task") else {
        return Ok(own);
    };
    let malformed = |why: mandate_model::MalformedId| {
        let why = FormError::Malformed {
            parameter: "task",
            why: why.to_string(),
        };
        Refusal::from(ExchangeError::Form(why))
    };
    let named = TaskId::parse(&text).map_err(malformed)?;
    // Another's task and one that never was look the same.
    let unknown = ExchangeError::Subject(SubjectError::UnknownTask(named));
    let is_below = below(at, own)
        .await?
        .iter()
        .any(|task| task.record.id == named);
    if is_below {
        Ok(named)
    } else {
        Err(unknown.into())
    }
}

/// A task token, and what the store has for the tasks on its path.
struct OwnLine<'a> {
    token: TaskSubject,
    tasks: Vec<Task>,
    view: exchange::World<'a>,
}

/// The task token in `token`, with its tasks. Who may do what with it was not asked yet.
async fn own_line<'a, C>(
    at: &'a Connection,
    world: &'a World,
    form: &mut Authenticated<C>,
) -> Result<OwnLine<'a>, Refusal> {
    let missing = ExchangeError::Form(FormError::Missing("token"));
    let token = form.take("token").ok_or(missing)?;
    let live = world.bundle().ok_or(Refusal::NoBundle)?;
    let view = exchange_world(&at.authority, world, live, at.authority.now());
    let token = verify_task_token(&token, &view)?;
    let tasks = line_of(&at.authority, &token).await?;
    if let Some(task) = tasks.iter().find(|task| task.record.id == token.task()) {
        form.caller.in_task(task);
    }
    Ok(OwnLine { token, tasks, view })
}

async fn below(at: &Connection, task: TaskId) -> Result<Vec<Task>, Refusal> {
    at.authority
        .ports()
        .state
        .subtree(task)
        .await
        .map_err(|_| Refusal::Unavailable)
}
