//! `POST /operator/v1/tasks`: an operator opens a root task for an agent type.

use axum::extract::{Request, State};
use axum::response::Response;
use mandate_decide::exchange::{Fresh, OperatorOpen, RequestDetails, open_by_operator};
use mandate_model::mandate::{Budget, RawEntry, parse_entries};
use mandate_model::{SpiffeId, TaskId, Timestamp, TokenId};
use mandate_policy::Target;
use mandate_policy::decl::Right;

use super::caller::Operator;
use super::suspend::check_reason;
use crate::body;
use crate::listen::Connection;
use crate::problem::Problem;
use crate::token::{Issued, NotIssued, ROUNDS, exchange_world, issue, pause_after};

/// A root task, and why an operator opens it.
#[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenTask {
    /// The SPIFFE ID of the agent type that it is for.
    #[schema(value_type = String)]
    agent: SpiffeId,
    /// The purpose of a `TaskPolicy` with `trigger: {operator: {}}`.
    purpose: String,
    /// 1 to 500 characters, for the record.
    reason: String,
    /// The mandate's entries; all that the policy allows, if absent.
    #[schema(value_type = Option<Vec<Object>>)]
    authorization_details: Option<Vec<RawEntry>>,
    /// Seconds; shortened to what the policy allows.
    expires_in: Option<u64>,
    /// Milliseconds since the epoch.
    #[schema(value_type = Option<u64>)]
    not_before: Option<Timestamp>,
    /// `{"max_accesses": n, "max_children": n}`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    budget: Budget,
    /// The longest `task.path`.
    max_depth: Option<u8>,
}

impl OpenTask {
    fn parsed(self) -> Result<OperatorOpen, Problem> {
        check_reason(&self.reason)?;
        let entries = self.authorization_details.map(parse_entries).transpose();
        Ok(OperatorOpen {
            agent: self.agent,
            reason: self.reason,
            entries: entries
                .map_err(|why| Problem::malformed(format!("`authorization_details`: {why}")))?,
            details: RequestDetails {
                purpose: Some(self.purpose),
                expires_in: self.expires_in,
                not_before: self.not_before,
                budget: self.budget,
                max_depth: self.max_depth,
                ..RequestDetails::default()
            },
        })
    }
}

/// Opens a root task for an agent type.
#[utoipa::path(
    post, path = "/operator/v1/tasks", tag = "operators",
    request_body = OpenTask,
    responses(
        (status = 200, description = "Its task token (RFC 8693 §2.2.1), and `task`", body = Object),
        (status = 403, description = "Not permitted", body = crate::openapi::ProblemBody),
    ),
)]
pub(crate) async fn open(
    State(at): State<Connection>,
    request: Request,
) -> Result<Response, Problem> {
    let asked: OpenTask = body::json(request, MAX_OPEN).await?;
    let target = Target::purpose(&asked.purpose);
    let asked = asked.parsed()?;
    for tried in 0..ROUNDS {
        if let Some(response) = round(&at, &asked, &target).await? {
            return Ok(response);
        }
        pause_after(tried).await;
        at.authority.refresh().await?;
    }
    Err(Problem::unavailable())
}

/// One try at one world, the operator's right included; `None` if the world moved before the commit.
async fn round(
    at: &Connection,
    asked: &OperatorOpen,
    target: &Target,
) -> Result<Option<Response>, Problem> {
    let authority = &at.authority;
    let world = authority.world();
    let operator = Operator::permitted(at, STEP, Right::Tasks, Some(target)).await?;
    let Some(live) = world.bundle() else {
        let detail = "no bundle is live, so nothing is permitted".to_owned();
        return Err(operator.refused(at, STEP, "bundle.none", detail).await);
    };
    let now = authority.now();
    let fresh = Fresh {
        task: TaskId::new(now, authority.random()),
        token: TokenId::new(now, authority.random()),
    };
    let view = exchange_world(authority, &world, live, now);
    let grant = match open_by_operator(operator.name(), asked, &view, &fresh) {
        Ok(grant) => grant,
        Err(why) => {
            let (rule, detail) = (why.rule(), why.to_string());
            return Err(operator.refused(at, STEP, rule, detail).await);
        }
    };
    match issue(authority, &world, grant, now, &[]).await {
        Ok(issued) => {
            authority.metrics().issued("task");
            Ok(Some(opened(&issued, fresh.task, authority.now())))
        }
        Err(NotIssued::Moved) => Ok(None),
        Err(NotIssued::Conflict(why)) => Err(why.into()),
        Err(NotIssued::Unavailable) => Err(Problem::unavailable()),
    }
}

/// The token, now that its records are durable, and which task it is of.
fn opened(issued: &Issued, task: TaskId, now: Timestamp) -> Response {
    let mut response = issued.response(now);
    if let Some(members) = response.as_object_mut() {
        members.insert("task".to_owned(), task.to_string().into());
    }
    body::answer(&response)
}

/// Its name in records of refusals.
const STEP: &str = "task_open";
const MAX_OPEN: usize = 64 * 1024;
