//! `cargo xtask docs-commands`: what the documents tell a reader to type is typed.
//!
//! Each document's `sh` blocks run in order, in one shell and one fresh copy of the tracked files, with the
//! built `mandate` on the path and an empty home. A block whose fence says `norun`, `needs-cloud` or
//! `needs-cluster` is skipped, and that is printed. The first command that fails ends its document; the
//! others still run. Whatever a page left running is killed when the page ends.

mod extract;
mod page;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::report::{Finding, Report};
use crate::workspace::Workspace;
use extract::Script;
use page::Page;

pub(crate) fn run(arguments: &[String]) -> Result<Report, String> {
    let workspace = Workspace::load()?;
    let options = Options::parse(arguments, &workspace)?;
    let scratch = scratch()?;
    let report = run_documents(&workspace, &options, &scratch);
    std::fs::remove_dir_all(&scratch)
        .map_err(|e| format!("cannot remove {}: {e}", scratch.display()))?;
    report
}

#[derive(Debug)]
struct Options {
    bin_dir: PathBuf,
    timeout: Duration,
}

impl Options {
    fn parse(arguments: &[String], workspace: &Workspace) -> Result<Options, String> {
        let mut bin_dir = workspace.target.join("debug");
        let mut timeout = DEFAULT_TIMEOUT;
        let mut rest = arguments.iter();
        while let Some(option) = rest.next() {
            let value = rest
                .next()
                .ok_or_else(|| format!("`{option}` needs a value"))?;
            match option.as_str() {
                "--bin-dir" => bin_dir = value.into(),
                "--timeout" => timeout = seconds(value)?,
                _ => return Err(format!("unknown option `{option}`")),
            }
        }
        let bin_dir = bin_dir
            .canonicalize()
            .map_err(|e| format!("no folder {}: {e}", bin_dir.display()))?;
        if !bin_dir.join("mandate").is_file() {
            let folder = bin_dir.display();
            return Err(format!(
                "no `mandate` in {folder}; build it first: cargo build"
            ));
        }
        Ok(Options { bin_dir, timeout })
    }
}

fn seconds(value: &str) -> Result<Duration, String> {
    value
        .parse()
        .map(Duration::from_secs)
        .map_err(|e| format!("`{value}` is no number of seconds: {e}"))
}

fn run_documents(
    workspace: &Workspace,
    options: &Options,
    scratch: &Path,
) -> Result<Report, String> {
    let files = workspace.files()?;
    let (mut findings, mut ran, mut documents) = (Vec::new(), 0, 0);
    for document in files.iter().filter(|file| is_document(file)) {
        let script = extract::script(&workspace.read(document)?);
        announce(document, &script);
        findings.extend(
            script
                .forgiving
                .iter()
                .map(|line| forgiving(document, *line)),
        );
        documents += 1;
        if script.blocks == 0 {
            continue;
        }
        ran += script.blocks;
        let page = Page {
            document,
            script: &script,
            bin_dir: &options.bin_dir,
            target: &workspace.target,
            timeout: options.timeout,
            scratch: &scratch.join(documents.to_string()),
        };
        page.copy(&workspace.root, &files)?;
        findings.extend(page.run()?.map(|failure| finding(document, &failure)));
    }
    Ok(Report {
        findings,
        warnings: Vec::new(),
        summary: format!("docs-commands: {documents} documents, {ran} blocks run"),
    })
}

fn is_document(file: &Path) -> bool {
    let markdown = file.extension().is_some_and(|extension| extension == "md");
    markdown && (file == Path::new("README.md") || file.starts_with("docs"))
}

fn announce(document: &Path, script: &Script) {
    let document = document.display();
    for (line, why) in &script.skipped {
        println!("skipped {document}:{line}: {why}");
    }
    if script.blocks > 0 {
        println!("running {document}: {} blocks", script.blocks);
    }
}

fn forgiving(document: &Path, line: usize) -> Finding {
    Finding::new(
        format!("{}:{line}", document.display()),
        "the page goes on when the command before `&&` fails",
        "give each command a line of its own",
    )
}

fn finding(document: &Path, failure: &page::Failure) -> Finding {
    let place = match failure.line {
        Some(line) => format!("{}:{line}", document.display()),
        None => document.display().to_string(),
    };
    Finding::new(
        place,
        format!("{}\n{}", failure.what, failure.output),
        "make the command work as written, or mark its block with `norun` and the reason",
    )
}

/// A new folder with a short path, since sockets below it have a limit of about a hundred bytes, and in a
/// place that other users of the machine can reach, since pages start processes of other users.
fn scratch() -> Result<PathBuf, String> {
    let folder = std::env::temp_dir().join(format!("mandate-docs-{}", std::process::id()));
    std::fs::create_dir(&folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
    Ok(folder)
}

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);
