//! `cargo xtask deps`: each library that the workspace uses has its reason in docs/dependencies.md.
//!
//! Three lists agree: `[workspace.dependencies]`, the rows of the document, and what the crates' manifests use.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::no_options;
use crate::report::{Finding, Report};
use crate::workspace::{Member, Workspace};

pub(crate) fn run(arguments: &[String]) -> Result<Report, String> {
    no_options(arguments)?;
    let workspace = Workspace::load()?;
    let declared = declared(&workspace.read("Cargo.toml")?);
    let documented = documented(&workspace.read(DOCUMENT)?);
    let mut findings = compare(&declared, &documented);
    findings.extend(check_members(&workspace.members, &declared));
    Ok(Report {
        findings,
        warnings: Vec::new(),
        summary: format!("deps: {} libraries", declared.len()),
    })
}

/// The libraries of `[workspace.dependencies]` that are not our own crates.
fn declared(manifest: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[workspace.dependencies]";
            let own_table = line
                .strip_prefix("[workspace.dependencies.")
                .and_then(|rest| rest.strip_suffix(']'));
            names.extend(own_table.map(str::to_owned));
        } else if inside && !line.starts_with('#') && !line.contains("path =") {
            names.extend(line.split_once('=').map(|(name, _)| name.trim().to_owned()));
        }
    }
    names
}

/// The libraries of the document: the first cell of each row that is in backticks.
fn documented(document: &str) -> Vec<(usize, String)> {
    document
        .lines()
        .enumerate()
        .filter_map(|(index, line)| {
            let cell = line.trim().strip_prefix('|')?.split('|').next()?.trim();
            let name = cell.strip_prefix('`')?.strip_suffix('`')?;
            Some((index + 1, name.to_owned()))
        })
        .collect()
}

fn compare(declared: &BTreeSet<String>, documented: &[(usize, String)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for (line, name) in documented {
        let place = format!("{DOCUMENT}:{line}");
        if !declared.contains(name) {
            let rule = format!("`{name}` is no dependency of the workspace");
            findings.push(Finding::new(&place, rule, "delete the row"));
        }
        if !seen.insert(name) {
            let rule = format!("`{name}` has two rows");
            findings.push(Finding::new(&place, rule, "join them"));
        }
    }
    for name in declared.iter().filter(|name| !seen.contains(name)) {
        findings.push(Finding::new(
            DOCUMENT,
            format!("`{name}` has no row"),
            "say why it is needed and who may use it, or take it out of Cargo.toml",
        ));
    }
    findings
}

/// A library that a crate brings by itself has no row, and perhaps a second version.
fn check_members(members: &[Member], declared: &BTreeSet<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in members {
        for dependency in member.dependencies.iter().filter(|used| !used.ours) {
            if !declared.contains(&dependency.name) {
                findings.push(Finding::new(
                    &member.name,
                    format!("`{}` is not in [workspace.dependencies]", dependency.name),
                    "declare it there and inherit it with `workspace = true`",
                ));
            }
        }
    }
    findings
}

const DOCUMENT: &str = "docs/dependencies.md";
