//! Tasks, for operators: a task with its ancestors and all below it, and its end.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use mandate_audit::Event;
use mandate_model::stop::Subject;
use mandate_model::task::{Task, TaskState};
use mandate_model::{StopVersion, TaskId};
use mandate_policy::Target;
use mandate_policy::decl::Right;
use mandate_ports::Unit;
use serde_json::json;

use super::caller::Operator;
use super::suspend::check_reason;
use crate::Authority;
use crate::body;
use crate::listen::Connection;
use crate::problem::Problem;
use crate::tasks::{TaskView, ending};

/// Why.
#[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reason {
    /// 1 to 500 characters, for the record.
    pub(super) reason: String,
}

/// A task, its ancestors and all below it.
#[utoipa::path(
    get, path = "/operator/v1/tasks/{id}", tag = "operators",
    params(("id" = String, Path, description = "The task")),
    responses(
        (status = 200, description = "Ancestors, the root first; the task and all below it, parents first", body = Object),
        (status = 404, description = "There is none", body = crate::openapi::ProblemBody),
    ),
)]
pub(crate) async fn task(
    State(at): State<Connection>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (id, target) = named(&id)?;
    let rights = [Right::Inspect, Right::Tasks];
    let operator = Operator::one_of(&at, "task", &rights, Some(&target)).await?;
    operator.looks(&at, "task").await?;
    let state = &at.authority.ports().state;
    let tasks = state.subtree(id).await?;
    let own = tasks.first().ok_or_else(|| unknown(id))?;
    let mut ancestors: Vec<Task> = Vec::new();
    for ancestor in own.path.iter().filter(|ancestor| *ancestor != id) {
        ancestors.extend(state.task(ancestor).await?);
    }
    let views = |tasks: &[Task]| tasks.iter().map(TaskView::from).collect::<Vec<_>>();
    Ok(body::answer(
        &json!({"ancestors": views(&ancestors), "tasks": views(&tasks)}),
    ))
}

/// Ends a task, with all below it.
#[utoipa::path(
    post, path = "/operator/v1/tasks/{id}/cancel", tag = "operators",
    params(("id" = String, Path, description = "The task")),
    request_body = Reason,
    responses(
        (status = 200, description = "It has ended; the version of the stops that says so", body = Object),
        (status = 404, description = "There is none", body = crate::openapi::ProblemBody),
        (status = 409, description = "It has ended before", body = crate::openapi::ProblemBody),
    ),
)]
pub(crate) async fn cancel(
    State(at): State<Connection>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (id, target) = named(&id)?;
    let asked: Reason = body::json(request, 4096).await?;
    check_reason(&asked.reason)?;
    let operator = Operator::permitted(&at, "task_cancel", Right::Tasks, Some(&target)).await?;
    let ended = end(&at.authority, &operator, id, asked.reason).await;
    let version = operator.outcome(&at, "task_cancel", ended).await?;
    Ok(body::answer(&json!({"task": id, "version": version})))
}

async fn end(
    authority: &Authority,
    operator: &Operator,
    id: TaskId,
    reason: String,
) -> Result<StopVersion, Problem> {
    let task = authority
        .ports()
        .state
        .task(id)
        .await?
        .ok_or_else(|| unknown(id))?;
    let (change, what) = ending(authority, id, TaskState::Cancelled, authority.now()).await?;
    let event = Event {
        task: Some(task.path),
        detail: Some(reason),
        ..operator.event(authority, what)
    };
    let unit = Unit {
        changes: vec![change],
        events: vec![event],
        ..Unit::default()
    };
    let committed = authority.commit(unit).await?;
    Ok(committed.versions().stops)
}

fn named(id: &str) -> Result<(TaskId, Target), Problem> {
    let id = TaskId::parse(id).map_err(|why| Problem::malformed(why.to_string()))?;
    Ok((id, Target::from(&Subject::Task { id })))
}

fn unknown(id: TaskId) -> Problem {
    Problem::unknown(format!("there is no task {id}"))
}
