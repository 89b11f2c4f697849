//! `cargo xtask style`: what CONTRIBUTING.md asks of files and a search can see.
//!
//! Rust files stay readable in one sitting, and no file names a place that exists on one machine only, or a
//! registry's host, which is the business of each reader's own configuration.

#[cfg(test)]
mod tests;

use crate::no_options;
use crate::report::{Finding, Report};
use crate::workspace::Workspace;

pub(crate) fn run(arguments: &[String]) -> Result<Report, String> {
    no_options(arguments)?;
    let workspace = Workspace::load()?;
    let files = workspace.files()?;
    let mut findings = Vec::new();
    let mut warnings = Vec::new();
    for file in &files {
        let name = file.display().to_string();
        let bytes = std::fs::read(workspace.root.join(file))
            .map_err(|e| format!("cannot read {name}: {e}"))?;
        let text = String::from_utf8_lossy(&bytes);
        findings.extend(check_places(&name, &text));
        match size(&name, &text) {
            Size::Fine => {}
            Size::Long(lines) => warnings.push(format!("{name}: {lines} lines, over {WARN_OVER}")),
            Size::TooLong(lines) => findings.push(Finding::new(
                &name,
                format!("{lines} lines, over {FAIL_OVER}"),
                "find the file's second reason to change, and move it to a file of its own",
            )),
        }
    }
    Ok(Report {
        findings,
        warnings,
        summary: format!("style: {} files", files.len()),
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Size {
    Fine,
    Long(usize),
    TooLong(usize),
}

fn size(name: &str, text: &str) -> Size {
    let lines = text.lines().count();
    match lines {
        _ if !name.ends_with(".rs") => Size::Fine,
        _ if lines > FAIL_OVER => Size::TooLong(lines),
        _ if lines > WARN_OVER => Size::Long(lines),
        _ => Size::Fine,
    }
}

fn check_places(name: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let place = || format!("{name}:{}", index + 1);
        for folder in FOLDERS.iter().filter(|folder| has_path(line, folder)) {
            let rule = format!("`{folder}` is a path of one machine");
            let mend = "use a path from the root of the repository, or one that the reader chooses";
            findings.push(Finding::new(place(), rule, mend));
        }
        for host in HOSTS.iter().filter(|host| line.contains(*host)) {
            let rule = format!("`{host}` is a registry's host");
            let mend = "name the package; the reader's tools know where to fetch it";
            findings.push(Finding::new(place(), rule, mend));
        }
    }
    findings
}

/// Whether an absolute path in `line` begins with `folder`; `$dir/…` and `a/…` are relative.
fn has_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(start, _)| {
        let before = line.get(..start).and_then(|text| text.chars().next_back());
        !before.is_some_and(|character| {
            character.is_alphanumeric() || matches!(character, '_' | '-' | '.' | '}' | ')' | '~')
        })
    })
}

const WARN_OVER: usize = 400;
const FAIL_OVER: usize = 700;

// Each in two halves, so that this file does not find itself.
const FOLDERS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/fa", "rm/"),
    concat!("/ro", "ot/"),
    concat!("/tmp/ba", "sh_jobs"),
];
const HOSTS: &[&str] = &[
    concat!("registry.npm", "js.org"),
    concat!("py", "pi.org"),
    concat!("static.crat", "es.io"),
    concat!("proxy.gol", "ang.org"),
];
