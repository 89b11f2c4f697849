//! `mandate audit checkpoint`: what is kept elsewhere, so that the log's own host cannot change the past.

use std::path::{Path, PathBuf};

use mandate_audit::VerifiedCheckpoint;
use serde_json::json;

use super::super::moment::plural;
use super::export::aside;
use super::{kept, verify};
use crate::client::operator::Operator;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --keep the log must go on from the checkpoint that FILE holds, which takes a proof and not the records;
then the new one takes its place. A log that was rolled back or forked leaves FILE as it is, and exits with 1.
Keep FILE where whoever runs the log cannot write, and the log's key with it.

Examples:
  mandate audit checkpoint > kept-elsewhere
  mandate audit checkpoint --keep /mnt/elsewhere/acme.checkpoint --key \"$(cat /mnt/elsewhere/acme.key)\"")]
pub(crate) struct Args {
    /// Keep it in FILE, if the log goes on from the one that is kept there
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
    /// The log's verifier key, as a note key [default: the keys in --data]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

pub(super) async fn run(args: Args, context: &Context) -> Outcome {
    let operator = Operator::of(context)?;
    let keys = verify::keys(args.key.as_deref(), context)?;
    let (note, now) = kept::latest(&operator, &keys).await?;
    let Some(file) = &args.keep else {
        let result = json!({ "checkpoint": note });
        context.out.result(&result, |_| note.clone());
        return Ok(Exit::Ok);
    };
    let before = kept::read_if_there(file, &keys)?;
    if let Some(before) = &before {
        kept::goes_on(&operator, before, &now).await?;
    }
    replace(file, &note).map_err(|e| Failure::file(file, &e))?;
    let result = json!({
        "file": file,
        "size": now.size(),
        "before": before.as_ref().map(|before| before.size()),
        "checkpoint": note,
    });
    context
        .out
        .result(&result, |_| text(file, &now, before.as_ref()));
    Ok(Exit::Ok)
}

fn text(file: &Path, now: &VerifiedCheckpoint, before: Option<&VerifiedCheckpoint>) -> String {
    let (file, records) = (file.display(), plural(now.size(), "record"));
    match before {
        Some(before) => format!(
            "{file}: the log goes on from {} to {records}",
            plural(before.size(), "record")
        ),
        None => format!("{file}: {records}; nothing was kept there before to compare with"),
    }
}

/// The file is the old checkpoint or the new one, whole, also after a crash.
fn replace(file: &Path, note: &str) -> std::io::Result<()> {
    let mut new = aside(file)?;
    std::io::Write::write_all(&mut new, note.as_bytes())?;
    new.as_file().sync_all()?;
    new.persist(file)?;
    Ok(())
}
