//! The checks that no compiler makes: layers, threats, dependencies, documents, house style.
//!
//! `cargo xtask <check>` runs one of them; `.ci/run` runs them all. Each reports every finding at once, with
//! the rule that was broken and the mend. Nothing here edits a file.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal; its output is its purpose"
)]

mod deps;
mod docs_commands;
mod layers;
mod report;
mod style;
mod threats;
mod workspace;

use std::process::ExitCode;

use report::Report;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(report) => report.print(),
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<Report, String> {
    let (check, rest) = arguments
        .split_first()
        .ok_or_else(|| format!("name a check\n{USAGE}"))?;
    match check.as_str() {
        "layers" => layers::run(rest),
        "threats" => threats::run(rest),
        "deps" => deps::run(rest),
        "docs-commands" => docs_commands::run(rest),
        "style" => style::run(rest),
        unknown => Err(format!("no check is called `{unknown}`\n{USAGE}")),
    }
}

/// For checks that take no options: refuses any.
fn no_options(arguments: &[String]) -> Result<(), String> {
    match arguments.first() {
        None => Ok(()),
        Some(option) => Err(format!("unknown option `{option}`\n{USAGE}")),
    }
}

const USAGE: &str = "\
usage: cargo xtask <check>

  layers                              who may depend on whom, and what core may not touch
  threats [--allow-missing]           docs/threats.md names a test for each threat that is due
  deps                                docs/dependencies.md and the workspace's dependencies agree
  docs-commands [--bin-dir DIR] [--timeout SECONDS]
                                      runs the commands of README.md and docs/
  style                               file sizes, and nothing of one machine in tracked files";
