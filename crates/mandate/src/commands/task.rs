//! `mandate task`: tasks, as the agent that works on them or as an operator.

mod by_operator;

use std::path::PathBuf;

use mandate_model::{SpiffeId, TaskId, Timestamp};
use mandate_ports::Clock;
use serde_json::Value;

use super::agent_options::{AgentOptions, Cause, Limits, TaskFile};
use super::moment::moment;
use super::token;
use crate::client::agent::{Delegate, Token};
use crate::client::members::Members;
use crate::client::{token_file, words};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Paint;
use crate::serve::machine::SystemClock;
use by_operator::ByOperator;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Open a root task: for a user, on the agent's own account, or as an operator for an agent type
    Open(OpenArgs),
    /// Hand a part of a task to another agent
    Delegate(DelegateArgs),
    /// Show a task and the tree below it
    Show(ShowArgs),
    /// End a task with all below it, or one task below it
    Close(CloseArgs),
    /// End any task with all below it, as an operator
    Cancel(CancelArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mandate task open support-case --id-token alice.jwt --access 'records:read customer=acme' --to task.jwt
  mandate task open nightly-backlog --schedule nightly --item 4711 --to task.jwt
  mandate task open repair --operator --agent backlog --reason INC-4711 --access 'records:read customer=acme' --to task.jwt

Each process is an instance of its own, and a root task belongs to the instance that opened it: what is to
work on one task runs inside one `mandate exec`. One that an operator opened belongs to the first instance that
uses its token, which the operator hands over.")]
pub(crate) struct OpenArgs {
    /// The purpose, as a `TaskPolicy` names it
    purpose: String,
    #[command(flatten)]
    cause: Cause,
    #[command(flatten)]
    by_operator: ByOperator,
    #[command(flatten)]
    limits: Limits,
    /// Write the task token there, for this user alone, instead of printing it
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    agent: AgentOptions,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  mandate task delegate spiffe://acme.example/agent/retriever --task task.jwt --access 'records:read customer=acme' --to child.jwt")]
pub(crate) struct DelegateArgs {
    /// The child's SPIFFE ID
    child: SpiffeId,
    #[command(flatten)]
    task: TaskFile,
    #[command(flatten)]
    limits: Limits,
    /// Write the child's task token there, for this user alone, instead of printing it
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    agent: AgentOptions,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mandate task show --task task.jwt")]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    task: TaskFile,
    #[command(flatten)]
    agent: AgentOptions,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mandate task close --task task.jwt")]
pub(crate) struct CloseArgs {
    /// End only this task below it
    child: Option<TaskId>,
    #[command(flatten)]
    task: TaskFile,
    #[command(flatten)]
    agent: AgentOptions,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
It is an operator's, and needs no token. Nothing is issued for the task and all below it from then on, for good;
gateways are told, and `mandate suspend task` is what waits until they have cut it.

Example:
  mandate task cancel task-0190a5b4-7e6c-7a11-8a11-0123456789ab --reason 'wrong customer'")]
pub(crate) struct CancelArgs {
    /// The task; `mandate trace` and `mandate audit search` show ids
    task: TaskId,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(crate) async fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Open(args) => open(args, context).await,
        Command::Delegate(args) => delegate(args, context).await,
        Command::Show(args) => show(args, context).await,
        Command::Close(args) => close(args, context).await,
        Command::Cancel(args) => by_operator::cancel(args.task, &args.reason, context).await,
    }
}

async fn open(args: OpenArgs, context: &Context) -> Outcome {
    if let Some(asked) = args.by_operator.asked() {
        let (limits, to) = (&args.limits, args.to.as_deref());
        return by_operator::open(&args.purpose, &asked, limits, to, context).await;
    }
    let open = args.cause.open(&args.purpose, &args.limits)?;
    let agent = args.agent.attest(context).await?;
    let token = agent.open(&open).await?;
    hand_out(&agent.id, &token, args.to, context).await
}

async fn delegate(args: DelegateArgs, context: &Context) -> Outcome {
    let parent = args.task.token()?;
    let access = args.limits.access()?.ok_or_else(|| {
        Failure::usage(
            "nothing to delegate",
            "say what the child may do: --access 'server:action attribute=value'",
        )
    })?;
    let agent = args.agent.attest(context).await?;
    let delegate = Delegate {
        to: args.child,
        access,
        expires_in: args.limits.expires_in(),
        budget: args.limits.budget(),
    };
    let token = agent.delegate(parent.expose(), &delegate).await?;
    hand_out(&delegate.to, &token, args.to, context).await
}

/// Gives out the task token of `agent`.
async fn hand_out(
    agent: &SpiffeId,
    token: &Token,
    to: Option<PathBuf>,
    context: &Context,
) -> Outcome {
    let Some(path) = to else {
        token::show(token, context);
        return Ok(Exit::Ok);
    };
    token_file::write(&path, &token.text)?;
    let about = serde_json::json!({
        "file": path,
        "agent": agent,
        "expires_in": token.lifetime.as_secs(),
        "scope": token.scope,
    });
    context.out.result(&about, |paint| {
        format!(
            "task token in {} for {} s: {}",
            path.display(),
            token.lifetime.as_secs(),
            paint.bold(&token.scope)
        )
    });
    Ok(Exit::Ok)
}

async fn show(args: ShowArgs, context: &Context) -> Outcome {
    let task = args.task.token()?;
    let agent = args.agent.attest(context).await?;
    let tree = agent.show(task.expose()).await?;
    context.out.result(&tree, |paint| describe(&tree, paint));
    Ok(Exit::Ok)
}

/// The tree as the authority tells it.
fn describe(tree: &Value, paint: Paint) -> String {
    let now = SystemClock.now();
    let lines: Vec<String> = tree
        .items("tasks")
        .iter()
        .map(|task| {
            let word = |name: &str| task.text(name).unwrap_or("?");
            let entries = task.items("authorization_details").iter();
            let mandate: Vec<String> = entries.map(words::of_entry).collect();
            let until = Timestamp::from_millis(task.number("expires_at"));
            let until = moment(until, now);
            format!(
                "{} {}  {}  {}  until {until}",
                word("id"),
                word("state"),
                paint.bold(word("may_act")),
                mandate.join("; ")
            )
        })
        .collect();
    lines.join("\n")
}

async fn close(args: CloseArgs, context: &Context) -> Outcome {
    let task = args.task.token()?;
    let agent = args.agent.attest(context).await?;
    let ended = agent.close(task.expose(), args.child).await?;
    context
        .out
        .result(&ended, |_| "ended, with all below it".to_owned());
    Ok(Exit::Ok)
}
