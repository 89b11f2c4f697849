//! Tasks that an operator opens or ends, through the operators' door.

use std::path::Path;
use std::time::Duration;

use mandate_model::{Secret, SpiffeId, TaskId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::agent::Token;
use crate::client::operator::Operator;
use crate::client::token_file;
use crate::commands::agent_options::Limits;
use crate::commands::{subject, suspend};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};

/// Opening for an agent type, in place of as an agent.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ByOperator {
    /// Open it as an operator, for an agent type, where the `TaskPolicy` says `trigger: {operator: {}}`
    #[arg(
        long,
        requires_all = ["for_agent", "reason"],
        conflicts_with_all = ["id_token", "schedule", "event", "item"]
    )]
    operator: bool,
    /// The agent type that it is for, with --operator
    #[arg(
        long = "agent",
        id = "for_agent",
        value_name = "AGENT",
        requires = "operator"
    )]
    agent: Option<String>,
    /// Why, for the record, with --operator
    #[arg(long, value_name = "TEXT", requires = "operator")]
    reason: Option<String>,
}

/// For whom, and why.
#[derive(Debug)]
pub(super) struct Asked {
    agent: String,
    reason: String,
}

impl ByOperator {
    /// What an operator asks for; `None` if an agent opens.
    pub(super) fn asked(self) -> Option<Asked> {
        let (agent, reason) = self.agent.zip(self.reason)?;
        self.operator.then_some(Asked { agent, reason })
    }
}

/// What the authority answers: a token response, and the task.
#[derive(Deserialize)]
struct Opened {
    task: TaskId,
    access_token: String,
    expires_in: u64,
    #[serde(default)]
    scope: String,
}

/// Opens the task, and hands out its token.
pub(super) async fn open(
    purpose: &str,
    asked: &Asked,
    limits: &Limits,
    to: Option<&Path>,
    context: &Context,
) -> Outcome {
    let domain = suspend::domain(context)?;
    let agent = subject::agent(&asked.agent, &domain)
        .map_err(|why| Failure::usage(why, "write its name, or its SPIFFE ID"))?;
    let body = body(purpose, &agent, &asked.reason, limits)?;
    let opened: Opened = Operator::of(context)?.post("/tasks", &body).await?;
    let token = Token {
        text: Secret::new(opened.access_token),
        lifetime: Duration::from_secs(opened.expires_in),
        // RFC 8693 §2.2.1: a task token is no access token.
        token_type: "N_A".to_owned(),
        scope: opened.scope,
    };
    hand_out(opened.task, &agent, &token, to, context)
}

fn body(purpose: &str, agent: &SpiffeId, reason: &str, limits: &Limits) -> Result<Value, Failure> {
    let mut body = json!({
        "agent": agent,
        "purpose": purpose,
        "reason": reason,
        "authorization_details": limits.access()?,
        "expires_in": limits.expires_in(),
        "budget": limits.budget(),
    });
    if let Some(members) = body.as_object_mut() {
        members.retain(|_, member| !member.is_null());
    }
    Ok(body)
}

/// Ends `task` with all below it.
pub(super) async fn cancel(task: TaskId, reason: &str, context: &Context) -> Outcome {
    let (path, body) = (format!("/tasks/{task}/cancel"), json!({ "reason": reason }));
    let ended: Value = Operator::of(context)?.post(&path, &body).await?;
    context
        .out
        .result(&ended, |_| format!("{task} has ended, with all below it"));
    Ok(Exit::Ok)
}

/// The token to standard output, for a pipe to the agent, or into a file of this user's.
fn hand_out(
    task: TaskId,
    agent: &SpiffeId,
    token: &Token,
    to: Option<&Path>,
    context: &Context,
) -> Outcome {
    let seconds = token.lifetime.as_secs();
    let mut about = json!({
        "task": task, "agent": agent, "expires_in": seconds, "scope": token.scope,
    });
    let (name, value) = match to {
        Some(path) => {
            token_file::write(path, &token.text)?;
            ("file", json!(path))
        }
        None => ("token", json!(token.text.expose())),
    };
    if let Some(members) = about.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
    context.out.result(&about, |paint| match to {
        Some(path) => format!(
            "task {task} for {agent}\ntask token in {} for {seconds} s: {}",
            path.display(),
            paint.bold(&token.scope)
        ),
        None => token.text.expose().clone(),
    });
    Ok(Exit::Ok)
}
