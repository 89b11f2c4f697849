//! `mandate audit export`.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use mandate_audit::Event;
use serde::Deserialize;
use serde_json::Value;
use tempfile::NamedTempFile;

use super::super::moment::plural;
use super::tiles;
use crate::client::operator::Operator;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::progress::Progress;

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("where").required(true))]
#[command(after_help = "\
With --to each line is {\"index\": N, \"event\": {…}}. With --tiles the folder holds the log up to its latest
checkpoint as C2SP tlog-tiles has it: /checkpoint, /tile/<level>/<index> and /tile/entries/<index>. The next
export brings it up to date, if the log goes on from the checkpoint that is there.

Examples:
  mandate audit export --to records.jsonl
  mandate audit export --from 1000 --to -
  mandate audit export --tiles public/")]
pub(crate) struct Args {
    /// The first record's index
    #[arg(
        long,
        default_value_t = 0,
        value_name = "INDEX",
        conflicts_with = "tiles"
    )]
    from: u64,
    /// The file to write; `-` is standard output
    #[arg(long, value_name = "FILE", group = "where")]
    to: Option<PathBuf>,
    /// The folder of tiles to write, or to bring up to date
    #[arg(long, value_name = "FOLDER", group = "where")]
    tiles: Option<PathBuf>,
    /// With --tiles: the log's verifier key, as a note key [default: the keys in --data]
    #[arg(long, value_name = "KEY", conflicts_with = "to")]
    key: Option<String>,
}

/// A page of raw records.
#[derive(Deserialize)]
struct Page {
    first: u64,
    size: u64,
    entries: Vec<String>,
}

pub(super) async fn run(args: Args, context: &Context) -> Outcome {
    match (&args.to, &args.tiles) {
        (Some(file), None) => lines(file, args.from, context).await,
        (None, Some(folder)) => tiles::run(folder, args.key.as_deref(), context).await,
        (Some(_), Some(_)) | (None, None) => Err(Failure::usage(
            "an export goes to a file or to a folder of tiles",
            "say --to FILE or --tiles FOLDER",
        )),
    }
}

async fn lines(file: &Path, from: u64, context: &Context) -> Outcome {
    let operator = Operator::of(context)?;
    let stdout = file.as_os_str() == "-";
    let failed = |e: std::io::Error| Failure::file(file, &e);
    let mut to = if stdout {
        To::Out(std::io::stdout())
    } else {
        To::File(BufWriter::new(aside(file).map_err(failed)?))
    };
    let progress = if stdout {
        Progress::unseen()
    } else {
        Progress::begin(&context.out, "exporting the log")
    };
    let mut next = from;
    // Reading is recorded too: an export ends where the log ended when it began.
    let mut end = None;
    while end.is_none_or(|end| next < end) {
        let (first, limit) = (next.to_string(), PAGE.to_string());
        let query = [
            ("first", Some(first.as_str())),
            ("limit", Some(limit.as_str())),
        ];
        let page: Page = operator.get("/log/entries", &query).await?;
        let end = *end.get_or_insert(page.size);
        if page.entries.is_empty() {
            break;
        }
        for (index, entry) in (page.first..end).zip(&page.entries) {
            writeln!(to, "{}", line(index, entry)).map_err(failed)?;
            next = index + 1;
        }
        progress.at(next - from, end.saturating_sub(from));
    }
    progress.end();
    to.flush().map_err(failed)?;
    if let To::File(new) = to {
        let new = new.into_inner().map_err(|e| failed(e.into_error()))?;
        new.persist(file).map_err(|e| failed(e.error))?;
    }
    if !stdout {
        let result = serde_json::json!({ "file": file, "records": next - from });
        context.out.result(&result, |_| {
            let records = plural(next - from, "record");
            format!("{records} in {}", file.display())
        });
    }
    Ok(Exit::Ok)
}

/// Where an export goes.
enum To {
    Out(std::io::Stdout),
    /// A file beside the one that was named, which takes its place once it is whole.
    File(BufWriter<NamedTempFile>),
}

impl Write for To {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            To::Out(out) => out.write(bytes),
            To::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            To::Out(out) => out.flush(),
            To::File(file) => file.flush(),
        }
    }
}

/// Records name people: tempfile makes files of mode 0600.
pub(super) fn aside(path: &Path) -> std::io::Result<NamedTempFile> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))
}

/// The event as it is; a record that is none, as text.
fn line(index: u64, entry: &str) -> Value {
    match Event::parse(entry.as_bytes()) {
        Ok(event) => serde_json::json!({ "index": index, "event": event }),
        Err(_) => serde_json::json!({ "index": index, "unreadable": entry }),
    }
}

const PAGE: usize = 500;
