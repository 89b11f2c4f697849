//! `mandate access`: who may do what.

use std::path::PathBuf;

use mandate_model::{AgentTypeName, Effect, PolicyName, ServerName};
use mandate_policy::decl::AgentType;
use mandate_policy::{AccessRow, Bundle, Way, did_you_mean};
use serde_json::{Value, json};

use super::{bundle_files, live, table};
use crate::client::operator::Operator;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
What is not in the table is denied. `conditions` must all hold, and the task's mandate must cover it too.

Examples:
  mandate access
  mandate access --agent retriever
  mandate access --bundle support --server records --output json")]
pub(crate) struct Args {
    /// Only this agent type
    #[arg(long, value_name = "NAME")]
    agent: Option<AgentTypeName>,
    /// Only this server workload
    #[arg(long, value_name = "NAME")]
    server: Option<ServerName>,
    /// The bundle in this folder instead of the live one; needs no server
    #[arg(long, value_name = "FOLDER")]
    bundle: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let bundle = bundle_of(args.bundle.as_ref(), context).await?;
    check_names(args.agent.as_ref(), args.server.as_ref(), &bundle)?;
    let mut rows = bundle.access_table();
    rows.retain(|row| {
        args.agent.as_ref().is_none_or(|agent| *agent == row.agent)
            && args
                .server
                .as_ref()
                .is_none_or(|server| *server == row.server)
    });
    let elsewhere: Vec<&AgentType> = bundle
        .agents()
        .filter(|agent| !agent.federation.is_empty())
        .filter(|agent| args.agent.as_ref().is_none_or(|only| *only == agent.name))
        .collect();
    let result = json!({
        "access": rows.iter().map(value).collect::<Vec<_>>(),
        "elsewhere": elsewhere.iter().map(known_to).collect::<Vec<_>>(),
    });
    context.out.result(&result, |_| text(&rows, &elsewhere));
    Ok(Exit::Ok)
}

/// A misspelt name would be answered with nothing found, which reads as if all were well.
pub(crate) fn check_names(
    agent: Option<&AgentTypeName>,
    server: Option<&ServerName>,
    bundle: &Bundle,
) -> Result<(), Failure> {
    if let Some(agent) = agent
        && bundle.agent(agent).is_none()
    {
        let known = bundle.agents().map(|a| a.name.as_str());
        return Err(no_such("agent type", agent.as_str(), known));
    }
    if let Some(server) = server
        && bundle.server(server).is_none()
    {
        let known = bundle.servers().map(|s| s.name.as_str());
        return Err(no_such("server workload", server.as_str(), known));
    }
    Ok(())
}

fn no_such<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Failure {
    Failure::failed(
        format!("the bundle has no {what} `{name}`"),
        did_you_mean(name, known),
    )
}

/// The bundle in a folder, or the live one.
pub(crate) async fn bundle_of(
    folder: Option<&PathBuf>,
    context: &Context,
) -> Result<Bundle, Failure> {
    let Some(folder) = folder else {
        return live::bundle(&Operator::of(context)?, context).await;
    };
    let files = bundle_files::read(folder)?;
    let environment = bundle_files::environment(context)?;
    match mandate_policy::load(&files, &environment, bundle_files::now()) {
        Ok(loaded) => Ok(loaded.bundle),
        Err(mistakes) => Err(bundle_files::refused(&mistakes, folder)),
    }
}

/// A row as JSON.
pub(crate) fn value(row: &AccessRow) -> Value {
    json!({
        "agent": row.agent,
        "as_hosted": row.as_hosted,
        "known_by": row.known_by.iter().map(|kind| kind.as_str()).collect::<Vec<_>>(),
        "server": row.server,
        "action": row.action,
        "effect": effect(row.effect),
        "upgrade": row.upgrade,
        "ways": row.ways.iter().map(way).collect::<Vec<_>>(),
        "guardrails": row.guardrails,
        "tasks": row.tasks,
        "any_user": row.any_user,
        "federation": row.federation,
        "observed_until": row.observed_until.map(|until| until.to_string()),
        "without_lease": row.without_lease,
    })
}

fn way(way: &Way) -> Value {
    json!({ "policy": way.policy, "conditions": way.conditions })
}

fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Read => "read",
        Effect::Write => "write",
    }
}

/// An agent type with `federation` is somebody elsewhere, whether or not it has access here.
fn known_to(agent: &&AgentType) -> Value {
    json!({ "agent": agent.name, "audiences": agent.federation })
}

fn text(rows: &[AccessRow], elsewhere: &[&AgentType]) -> String {
    let has_row = |agent: &AgentType| rows.iter().any(|row| row.agent == agent.name);
    let mut text = if rows.is_empty() {
        "nobody may do anything here".to_owned()
    } else {
        let header = ["agent", "may", "if", "in tasks for"];
        table::render(header, rows.iter().map(cells))
    };
    for agent in elsewhere.iter().filter(|agent| !has_row(agent)) {
        let audiences: Vec<&str> = agent.federation.iter().map(String::as_str).collect();
        let line = format!("{} is known to {}", agent.name, audiences.join(", "));
        text = format!("{}\n{line}", text.trim_end_matches('\n'));
    }
    text
}

fn cells(row: &AccessRow) -> [String; 4] {
    [
        who(row),
        what(row),
        observed(row) + &conditions(&row.ways, &row.guardrails),
        tasks(&row.tasks, &row.any_user),
    ]
}

/// What weakens break-glass is said where the access is.
fn what(row: &AccessRow) -> String {
    let mut does = vec![effect(row.effect)];
    does.extend(row.upgrade.iter().map(String::as_str));
    let what = format!("{}:{} ({})", row.server, row.action, does.join(", "));
    if row.without_lease {
        format!("{what}\nGOES ON WITHOUT A LEASE")
    } else {
        what
    }
}

/// What `observe` waives is said before what it waives.
fn observed(row: &AccessRow) -> String {
    let until = row.observed_until;
    until.map_or(String::new(), |until| {
        format!("OBSERVED ONLY until {until}\n")
    })
}

fn who(row: &AccessRow) -> String {
    let mut text = row.agent.to_string();
    if let Some(hosted) = &row.as_hosted {
        text.push_str(&format!(" as {hosted}"));
    }
    for kind in &row.known_by {
        text.push_str(&format!("\nknown by {}", kind.as_str()));
    }
    for audience in &row.federation {
        text.push_str(&format!("\nalso known to {audience}"));
    }
    text
}

/// Each way on a line of its own, and what may stand in all of them.
pub(crate) fn conditions(ways: &[Way], guardrails: &[PolicyName]) -> String {
    let mut lines: Vec<String> = ways
        .iter()
        .map(|way| {
            let conditions = if way.conditions.is_empty() {
                "always".to_owned()
            } else {
                way.conditions.join(", ")
            };
            format!("{conditions} [{}]", way.policy)
        })
        .collect();
    lines.extend(guardrails.iter().map(|g| format!("unless guardrail {g}")));
    lines.join("\n")
}

/// The task policies, and which of them anybody can begin.
pub(crate) fn tasks(tasks: &[PolicyName], any_user: &[PolicyName]) -> String {
    let name = |task: &PolicyName| {
        if any_user.contains(task) {
            format!("{task} (ANY USER)")
        } else {
            task.to_string()
        }
    };
    if tasks.is_empty() {
        return "no task policy reaches it".to_owned();
    }
    tasks.iter().map(name).collect::<Vec<_>>().join(", ")
}
