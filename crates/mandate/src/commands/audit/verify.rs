//! `mandate audit verify`: reads the log from disk, whether a server runs or not.

use std::path::PathBuf;

use mandate_audit::{Fault, NoteKey, Since, Verdict};
use mandate_ports::StoreError;
use mandate_store_sqlite::{Announced, LogFile, Verification};
use serde_json::{Value, json};

use super::super::moment::plural;
use super::kept;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Paint;
use crate::progress::Progress;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A log proves nothing against its own host without a checkpoint that was kept elsewhere: keep the output of
`mandate audit checkpoint` on another machine, and say --since with it next time, and --key with the log's key.
Exits with 1 if something is wrong: the log was changed, rolled back or forked. Exits with 3 if a gateway announced
records that it never shipped, or if a key that is suspended signed the checkpoint that was kept.

Examples:
  mandate audit verify
  mandate audit checkpoint > kept-elsewhere
  mandate audit verify --since kept-elsewhere")]
pub(crate) struct Args {
    /// A checkpoint that was kept elsewhere: the log must begin with what it says
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
    /// The log's verifier key, as a note key [default: the keys in --data]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Print the latest signed checkpoint, once all is verified: the one to keep where the server does not run
    #[arg(long)]
    checkpoint: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> Outcome {
    let path = context.data.database();
    let log = LogFile::open_read_only(&path).map_err(|e| {
        Failure::failed(
            format!("{}: {e}", path.display()),
            "run this as the server's own user, with its --data",
        )
    })?;
    let keys = keys(args.key.as_deref(), context)?;
    let since = args.since.as_deref().map(|file| kept::read(file, &keys));
    let since = since.transpose()?;
    let progress = Progress::begin(&context.out, "reading the log");
    let watch = progress.clone();
    let verified = log.verify(keys, since, move |done, all| watch.at(done, all));
    let found = verified.await;
    progress.end();
    let found = found.map_err(store)?;
    if args.checkpoint && found.is_whole() {
        let note = found.checkpoint.as_deref().ok_or_else(|| {
            Failure::failed(
                "no checkpoint was signed yet",
                "`mandate serve` signs one about a second after the first record: try again then",
            )
        })?;
        let result = json!({ "checkpoint": note });
        context.out.result(&result, |_| note.to_owned());
        // The note alone goes where it is kept; what is withheld is for whoever keeps it.
        for announced in &found.withheld {
            let range = withheld_text(announced);
            context
                .out
                .note(&format!("announced and not shipped: {range}"));
        }
    } else {
        let result = value(&found);
        context.out.result(&result, |paint| text(&found, paint));
    }
    Ok(exit(&found))
}

/// Whole, whole as far as anybody can tell, or not.
fn exit(found: &Verification) -> Exit {
    if !found.is_whole() {
        Exit::Failed
    } else if !found.withheld.is_empty() || found.since_is_suspended {
        Exit::Incomplete
    } else {
        Exit::Ok
    }
}

/// The keys that checkpoints are verified with: what was said, or those in --data.
pub(super) fn keys(said: Option<&str>, context: &Context) -> Result<Vec<NoteKey>, Failure> {
    let text = match said {
        Some(key) => key.to_owned(),
        None => {
            let path = context.data.log_keys();
            std::fs::read_to_string(&path).map_err(|e| Failure::file(&path, &e))?
        }
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| NoteKey::parse(line.trim()))
        .collect::<Result<_, _>>()
        .map_err(|e| Failure::usage(e.to_string(), "say --key with the log's verifier key"))
}

fn value(found: &Verification) -> Value {
    let faults = found.report.faults.iter().map(fault);
    let spools = found
        .spools
        .iter()
        .map(|fault| json!({ "first": null, "last": null, "message": fault.to_string() }));
    let withheld: Vec<String> = found.withheld.iter().map(withheld_text).collect();
    json!({
        "whole": found.is_whole(),
        "records": found.report.size,
        "confirmed": found.report.confirmed,
        "since": found.report.since.map(|since| json!({
            "size": since.size,
            "verdict": verdict(since.verdict),
            "by_suspended_key": found.since_is_suspended,
        })),
        "faults": faults.chain(spools).collect::<Vec<_>>(),
        "more_faults": found.report.more,
        "withheld": withheld,
        "suspended_keys": found.suspended,
    })
}

fn fault(fault: &Fault) -> Value {
    let (first, last) = match fault {
        Fault::Changed { index } | Fault::NotCanonical { index } | Fault::Index { index } => {
            (Some(*index), Some(*index))
        }
        Fault::Missing { first, last }
        | Fault::Subtree { first, last }
        | Fault::Root { first, last } => (Some(*first), Some(*last)),
        Fault::Row { first, .. } => (Some(*first), None),
        Fault::StoredNode(_)
        | Fault::Head
        | Fault::Beyond { .. }
        | Fault::Rows { .. }
        | Fault::Checkpoint(_) => (None, None),
    };
    json!({ "first": first, "last": last, "message": fault.to_string() })
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Consistent => "consistent",
        Verdict::RolledBack => "rolled_back",
        Verdict::Forked => "forked",
        Verdict::Undecided => "undecided",
    }
}

fn since_text(since: Since, paint: Paint) -> String {
    let records = plural(since.size, "record");
    match since.verdict {
        Verdict::Consistent => format!("it goes on from the checkpoint of {records} that was kept"),
        Verdict::RolledBack => paint.red(format!(
            "it was rolled back: it had {records} when the checkpoint was kept"
        )),
        Verdict::Forked => paint.red(format!(
            "it was forked: its first {records} are not those of the checkpoint that was kept"
        )),
        Verdict::Undecided => paint.red(format!(
            "too much is missing to compare it with the checkpoint of {records} that was kept"
        )),
    }
}

fn withheld_text(announced: &Announced) -> String {
    format!(
        "gateway `{}`, spool `{}`: records {} to {}",
        announced.gateway,
        announced.spool,
        announced.shipped,
        announced.announced.saturating_sub(1)
    )
}

fn text(found: &Verification, paint: Paint) -> String {
    let report = &found.report;
    let mut lines = Vec::new();
    if found.is_whole() {
        lines.push(format!(
            "{}: {}, {} of them confirmed by a signed checkpoint",
            paint.green("the log is whole"),
            plural(report.size, "record"),
            report.confirmed
        ));
    } else {
        lines.push(format!(
            "{} ({})",
            paint.red("the log was changed"),
            plural(report.size, "record")
        ));
        lines.extend(report.faults.iter().map(|fault| format!("  {fault}")));
        lines.extend(found.spools.iter().map(|fault| format!("  {fault}")));
        if report.more > 0 {
            lines.push(format!("  and {} more", plural(report.more, "fault")));
        }
    }
    lines.extend(report.since.map(|since| since_text(since, paint)));
    for announced in &found.withheld {
        lines.push(format!(
            "{} {}",
            paint.yellow("announced and not shipped:"),
            withheld_text(announced)
        ));
    }
    for key in &found.suspended {
        lines.push(format!(
            "{} `{key}` is suspended: whoever took it signs what it likes, so what it signed confirms nothing; go by a checkpoint that was kept elsewhere before (--since)",
            paint.yellow("a key of this log is not to be trusted:")
        ));
    }
    if found.since_is_suspended {
        lines.push(format!(
            "{} such a key signed the checkpoint that was kept: it is good if it was kept before the key was taken, and nobody but you knows",
            paint.yellow("not confirmed:")
        ));
    }
    lines.join("\n")
}

fn store(error: StoreError) -> Failure {
    Failure::failed(
        error.to_string(),
        "run this as the server's own user, with its --data",
    )
}
