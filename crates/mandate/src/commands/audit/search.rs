//! `mandate audit search`.

use clap::builder::PossibleValuesParser;
use mandate_audit::{Decision, Event, What};
use mandate_model::{AgentTypeName, ServerName, TaskId, Timestamp, TokenId};
use mandate_ports::Clock;
use serde_json::Value;

use crate::client::log::{self, Record};
use crate::client::operator::Operator;
use crate::client::words;
use crate::commands::{access, live, moment, suspend};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Paint;
use crate::progress;
use crate::serve::machine::SystemClock;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mandate audit search --decision denied --since 2h
  mandate audit search --agent retriever --server records --limit 50
  mandate audit search --task task-0190a5b4-7e6c-7a11-8a11-0123456789ab --output json")]
pub(crate) struct Args {
    /// Of this task and all below it
    #[arg(long, value_name = "TASK")]
    task: Option<TaskId>,
    /// Of this root task's whole tree
    #[arg(long, value_name = "TASK")]
    root: Option<TaskId>,
    /// In which this agent type acts
    #[arg(long, value_name = "NAME")]
    agent: Option<AgentTypeName>,
    /// About this server workload
    #[arg(long, value_name = "NAME")]
    server: Option<ServerName>,
    /// Of this token: its issuance and all that was done with it
    #[arg(long, value_name = "TOKEN")]
    token: Option<TokenId>,
    /// Of this kind: access_decided, issued, refused, suspended…
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(What::KINDS), hide_possible_values = true)]
    kind: Option<String>,
    /// With this decision: allowed, denied, would_deny or noted
    #[arg(long, value_name = "DECISION", value_parser = PossibleValuesParser::new(Decision::NAMES), hide_possible_values = true)]
    decision: Option<String>,
    /// Not earlier: 2026-11-24T06:25:22Z, 30m for half an hour ago, or milliseconds since the epoch
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Earlier than this
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// Only below this index
    #[arg(long, value_name = "INDEX")]
    before: Option<u64>,
    /// At most so many
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: usize,
}

pub(super) async fn run(args: Args, context: &Context) -> Outcome {
    let agent = match &args.agent {
        Some(name) => Some(suspend::domain(context)?.agent(name).to_string()),
        None => None,
    };
    let text = |value: Option<&dyn ToString>| value.map(ToString::to_string);
    let [task, root, server, token, since, until, before, limit] = [
        text(args.task.as_ref().map(|v| v as &dyn ToString)),
        text(args.root.as_ref().map(|v| v as &dyn ToString)),
        text(args.server.as_ref().map(|v| v as &dyn ToString)),
        text(args.token.as_ref().map(|v| v as &dyn ToString)),
        args.since.map(|at| at.as_millis().to_string()),
        args.until.map(|at| at.as_millis().to_string()),
        text(args.before.as_ref().map(|v| v as &dyn ToString)),
        Some(args.limit.to_string()),
    ];
    let query = [
        ("under_task", task.as_deref()),
        ("root_task", root.as_deref()),
        ("agent", agent.as_deref()),
        ("server", server.as_deref()),
        ("token", token.as_deref()),
        ("kind", args.kind.as_deref()),
        ("decision", args.decision.as_deref()),
        ("since", since.as_deref()),
        ("until", until.as_deref()),
        ("before", before.as_deref()),
        ("limit", limit.as_deref()),
    ];
    let operator = Operator::of(context)?;
    let found = log::search(&operator, &query);
    let found = progress::waiting(&context.out, "reading the log", found).await?;
    if found.records.is_empty() && found.damaged.is_empty() {
        check_names(&args, &operator, context).await?;
    }
    let result = if found.damaged.is_empty() {
        serde_json::json!({ "records": found.records })
    } else {
        serde_json::json!({ "records": found.records, "damaged": found.damaged })
    };
    context
        .out
        .result(&result, |paint| lines(&found.records, paint));
    let Some(warning) = found.warning() else {
        return Ok(Exit::Ok);
    };
    context.out.note(&warning);
    Ok(Exit::Incomplete)
}

/// That no record matches is no comfort where the name is wrong. What was declared once and is no more
/// has records, or none of interest.
async fn check_names(args: &Args, operator: &Operator, context: &Context) -> Result<(), Failure> {
    if args.agent.is_none() && args.server.is_none() {
        return Ok(());
    }
    // Who may search need not be one who may read the bundle.
    let Ok(bundle) = live::bundle(operator, context).await else {
        return Ok(());
    };
    access::check_names(args.agent.as_ref(), args.server.as_ref(), &bundle)
}

fn time(text: &str) -> Result<Timestamp, String> {
    moment::parse(text, SystemClock.now())
}

fn lines(records: &[Record], paint: Paint) -> String {
    if records.is_empty() {
        return "no record matches".to_owned();
    }
    let lines: Vec<String> = records.iter().map(|record| line(record, paint)).collect();
    lines.join("\n")
}

/// One record on one line: number, time, verdict, kind, who, about what, why.
fn line(record: &Record, paint: Paint) -> String {
    let event = &record.event;
    let verdict = match event.decision {
        Decision::Allowed => paint.green("allowed   "),
        Decision::Denied => paint.red("denied    "),
        Decision::WouldDeny => paint.yellow("would deny"),
        Decision::Noted => paint.dim("noted     "),
    };
    let mut text = format!(
        "#{:<6} {} {verdict} {:<20}",
        record.index,
        event.at,
        event.what.kind()
    );
    for part in about(event) {
        text.push(' ');
        text.push_str(&part);
    }
    if let Some(rule) = &event.rule {
        text.push_str(&format!("  {}", paint.yellow(rule)));
    }
    text
}

fn about(event: &Event) -> Vec<String> {
    let agents: Vec<&str> = event
        .actors
        .iter()
        .map(|actor| actor.sub.as_str().rsplit('/').next().unwrap_or_default())
        .collect();
    let mut parts = Vec::new();
    if !agents.is_empty() {
        parts.push(agents.join(" for "));
    } else if let Some(principal) = &event.principal {
        parts.push(principal.to_string());
    }
    if let Some(server) = &event.server {
        match &event.action {
            Some(action) => parts.push(format!("{server}:{action}")),
            None => parts.push(server.to_string()),
        }
    }
    for (name, values) in &event.attributes {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        parts.push(format!("{name}={}", values.join(",")));
    }
    if let Some(path) = &event.task {
        parts.push(path.leaf().to_string());
    }
    if let What::Suspended { subject, .. } | What::Resumed { subject, .. } = &event.what {
        parts.push(subject.to_string());
    }
    parts.extend(particulars(event));
    if let What::AccessCompleted {
        usage: Some(usage), ..
    } = &event.what
    {
        parts.push(words::of_usage(usage));
    }
    parts
}

/// The short members of what happened; the long ones are for `--output json`.
fn particulars(event: &Event) -> Vec<String> {
    let what = log::what(event);
    let members = what.as_object().into_iter().flatten();
    members
        .filter(|(name, _)| !matches!(name.as_str(), "kind" | "chain" | "digest"))
        .filter_map(|(name, value)| match value {
            Value::String(text) => Some(format!("{name}={text}")),
            Value::Number(number) => Some(format!("{name}={number}")),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        })
        .collect()
}
