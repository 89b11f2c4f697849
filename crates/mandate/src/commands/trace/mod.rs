//! `mandate trace`: from a task, a record or a token to the whole story around it.

mod otlp;
mod text;
mod tree;

use std::collections::BTreeMap;

use mandate_model::{TaskId, TokenId};

use super::moment::plural;
use crate::client::log::{self, Found, Record};
use crate::client::operator::{Operator, OperatorError};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::progress;
use tree::Trace;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mandate trace task-0190a5b4-7e6c-7a11-8a11-0123456789ab
  mandate trace 4711
  mandate trace tok-0190a5b4-7e6c-7a11-8a11-0123456789ab --output json
  mandate trace 4711 --format otlp > trace.json
  mandate trace 4711 --otlp-endpoint http://127.0.0.1:4318")]
pub(crate) struct Args {
    /// A task id, a record's index in the log, or a token id
    what: String,
    /// Show issued tokens too
    #[arg(long)]
    tokens: bool,
    /// At most so many records of the task tree, the latest ones
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    limit: usize,
    /// `tree`: who did what, for whom. `otlp`: the task as an OpenTelemetry trace, in OTLP/JSON
    #[arg(long, value_enum, default_value_t = Form::Tree)]
    format: Form,
    /// Post the task as an OpenTelemetry trace to a collector on this machine
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<otlp::Collector>,
}

/// What is made of the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    Tree,
    Otlp,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let operator = Operator::of(context)?;
    let root = root_of(&operator, &args.what).await?.to_string();
    let found = story(&operator, &root, args.limit);
    let (found, left_out) = progress::waiting(&context.out, "reading the log", found).await?;
    let records = &found.records;
    let exit = match found.warning() {
        Some(warning) => {
            context.out.note(&warning);
            Exit::Incomplete
        }
        None => Exit::Ok,
    };
    if args.format == Form::Otlp || args.otlp_endpoint.is_some() {
        export(&args, records, left_out, context).await?;
        return Ok(exit);
    }
    let trace = Trace::of(records, left_out).ok_or_else(|| unknown(&args.what))?;
    context
        .out
        .result(&trace, |paint| text::render(&trace, args.tokens, paint));
    Ok(exit)
}

/// The task as an OpenTelemetry trace: posted, or printed.
async fn export(
    args: &Args,
    records: &[Record],
    left_out: bool,
    context: &Context,
) -> Result<(), Failure> {
    let traces = otlp::trace(records, left_out);
    let (trace, spans) = traces.summary().ok_or_else(|| unknown(&args.what))?;
    if left_out {
        let note = "earlier records of this task are left out; --limit shows more";
        context.out.note(note);
    }
    let Some(collector) = &args.otlp_endpoint else {
        let json = serde_json::to_string_pretty(&traces);
        let failed = |e| Failure::failed(format!("the trace has no JSON form: {e}"), "");
        context.out.raw(&json.map_err(failed)?);
        return Ok(());
    };
    collector.take(traces).await?;
    let result = serde_json::json!({ "trace_id": trace, "spans": spans, "left_out": left_out });
    context.out.result(&result, |_| {
        format!(
            "trace {trace}: the collector took {}",
            plural(spans, "span")
        )
    });
    Ok(())
}

/// The latest records of a root task's tree, the earliest first, and whether earlier ones are left out.
/// What began and ended its tasks is never left out: without it no record reaches its cause (P5).
async fn story(
    operator: &Operator,
    root: &str,
    limit: usize,
) -> Result<(Found, bool), OperatorError> {
    let of_root = ("root_task", Some(root));
    let mut found = log::search_all(operator, &[of_root], limit.saturating_add(1)).await?;
    if found.records.len() <= limit {
        return Ok((found, false));
    }
    found.records.remove(0);
    let mut story: BTreeMap<u64, Record> = by_index(found.records).collect();
    for kind in ["task_opened", "task_delegated", "task_ended"] {
        let query = [of_root, ("kind", Some(kind))];
        let more = log::search_all(operator, &query, usize::MAX).await?;
        story.extend(by_index(more.records));
        found.damaged.extend(more.damaged);
    }
    found.records = story.into_values().collect();
    Ok((found, true))
}

fn by_index(records: Vec<Record>) -> impl Iterator<Item = (u64, Record)> {
    records.into_iter().map(|record| (record.index, record))
}

/// The root task that `what` belongs to.
async fn root_of(operator: &Operator, what: &str) -> Result<TaskId, Failure> {
    let found = if let Ok(index) = what.parse() {
        log::record(operator, index).await?
    } else {
        let key = match (TaskId::parse(what), TokenId::parse(what)) {
            (Ok(_), _) => "under_task",
            (_, Ok(_)) => "token",
            (Err(_), Err(_)) => return Err(unreadable(what)),
        };
        let query = [(key, Some(what)), ("limit", Some("100"))];
        log::search(operator, &query).await?
    };
    let mut records = found.records.iter();
    let in_task = records.find(|record| record.event.task.is_some());
    let record = in_task.or(found.records.first());
    let record = record.ok_or_else(|| match found.warning() {
        Some(warning) => Failure::failed(warning, "verify the log before anything else"),
        None => unknown(what),
    })?;
    root(record).ok_or_else(|| {
        Failure::failed(
            format!(
                "record {} ({}) belongs to no task",
                record.index,
                record.event.what.kind()
            ),
            format!(
                "`mandate audit search --before {} --limit 1` shows it",
                record.index + 1
            ),
        )
    })
}

fn root(record: &Record) -> Option<TaskId> {
    record.event.task.as_ref().map(|path| path.root())
}

fn unknown(what: &str) -> Failure {
    Failure::failed(
        format!("nothing in the log belongs to `{what}`"),
        "`mandate audit search` lists what is there; a gateway's records arrive within a lease",
    )
}

/// What was said may be a token, which must not be said again.
fn unreadable(what: &str) -> Failure {
    if what.len() > LONGEST_ID {
        return Failure::usage(
            "what was given is too long for a task id, record index or token id",
            "a token is named by its id, the `jti` in it: tok-…; the token itself is a secret",
        );
    }
    Failure::usage(
        format!("`{what}` is no task id, record index or token id"),
        "`mandate audit search` shows all three of each record",
    )
}

const LONGEST_ID: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_was_given_for_its_id_is_not_repeated() {
        let token = format!("eyJhbGciOiJFUzI1NiJ9.{}.c2lnbmF0dXJl", "e".repeat(200));
        let said = unreadable(&token);
        assert!(!format!("{said:?}").contains("eyJ"), "{said:?}");
        assert!(unreadable("tsk-1").broke.contains("`tsk-1`"));
    }
}
