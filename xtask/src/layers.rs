//! `cargo xtask layers`: arrows between crates point down, and core stays pure.
//!
//! Cargo refuses cycles, but not an arrow that points the wrong way. This check holds each manifest against
//! the table in [`table`], and the sources of the core crates against the list in [`purity`].

mod purity;
mod table;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::no_options;
use crate::report::{Finding, Report};
use crate::workspace::{Dependency, Kind, Member, Workspace};
use table::{Layer, Row};

pub(crate) fn run(arguments: &[String]) -> Result<Report, String> {
    no_options(arguments)?;
    let workspace = Workspace::load()?;
    let mut findings = check_manifests(&workspace.members);
    let mut read = 0;
    for member in &workspace.members {
        findings.extend(check_lint_table(&workspace, member)?);
    }
    for file in workspace.files()? {
        if in_core_sources(&file) {
            let source = workspace.read(&file)?;
            findings.extend(purity::check(&file.display().to_string(), &source));
            read += 1;
        }
    }
    Ok(Report {
        findings,
        warnings: Vec::new(),
        summary: format!(
            "layers: {} crates, {read} core sources",
            workspace.members.len()
        ),
    })
}

fn check_manifests(members: &[Member]) -> Vec<Finding> {
    members.iter().flat_map(check_manifest).collect()
}

fn check_manifest(member: &Member) -> Vec<Finding> {
    let Some(row) = table::row(&member.name) else {
        return vec![unknown_crate(&member.name)];
    };
    member
        .dependencies
        .iter()
        .filter_map(|dependency| check_dependency(row, dependency))
        .collect()
}

fn check_dependency(row: &Row, dependency: &Dependency) -> Option<Finding> {
    if dependency.ours {
        check_arrow(row, dependency)
    } else {
        check_owner(row, dependency).or_else(|| check_allow_list(row, dependency))
    }
}

/// An arrow between two crates of ours.
fn check_arrow(user: &Row, dependency: &Dependency) -> Option<Finding> {
    let Some(used) = table::row(&dependency.name) else {
        return Some(unknown_crate(&dependency.name));
    };
    if may_use(user, used, dependency.kind) {
        return None;
    }
    Some(Finding::new(
        user.name,
        format!(
            "a crate of layer {:?} must not depend on `{}` of layer {:?}",
            user.layer, used.name, used.layer
        ),
        "say what is needed as a trait in `mandate-ports`, or move it down a layer",
    ))
}

fn may_use(user: &Row, used: &Row, kind: Kind) -> bool {
    let below = matches!(used.layer, Layer::Core | Layer::Ports);
    let for_tests = kind == Kind::Dev && matches!(used.layer, Layer::Adapter | Layer::Testkit);
    match user.layer {
        Layer::Core => user.siblings.contains(&used.name),
        Layer::Ports => used.layer == Layer::Core,
        Layer::Adapter | Layer::Surface => below || for_tests,
        Layer::Testkit => below,
        Layer::Program => used.layer != Layer::Automation,
        Layer::Automation => false,
    }
}

/// A library that only a few crates may see, in whichever table of the manifest it stands.
fn check_owner(user: &Row, dependency: &Dependency) -> Option<Finding> {
    let (library, owners) = table::OWNED
        .iter()
        .find(|(library, _)| *library == dependency.name)?;
    if owners.contains(&user.name) {
        return None;
    }
    Some(Finding::new(
        user.name,
        format!("`{library}` belongs to {}", owners.join(", ")),
        "ask one of its owners, through a port or a type of theirs",
    ))
}

/// A library from outside in a core crate: an allow-list, since the next impure crate has no name yet.
fn check_allow_list(user: &Row, dependency: &Dependency) -> Option<Finding> {
    let listed = table::PURE.contains(&dependency.name.as_str())
        || user.outside.contains(&dependency.name.as_str());
    if user.layer != Layer::Core || dependency.kind == Kind::Dev || listed {
        return None;
    }
    Some(Finding::new(
        user.name,
        format!(
            "`{}` is not on the list of libraries that this core crate may use",
            dependency.name
        ),
        "core has no async, sockets, files, clock or randomness; if the library has none either, \
         add it to the crate's row in xtask/src/layers/table.rs and say why in docs/dependencies.md",
    ))
}

fn unknown_crate(name: &str) -> Finding {
    Finding::new(
        name,
        "each crate of the workspace has a row in the layer table, and this one has none",
        "decide its layer and add a row to xtask/src/layers/table.rs",
    )
}

fn check_lint_table(workspace: &Workspace, member: &Member) -> Result<Option<Finding>, String> {
    let manifest = workspace.read(member.folder.join("Cargo.toml"))?;
    if inherits_lints(&manifest) {
        return Ok(None);
    }
    Ok(Some(Finding::new(
        &member.name,
        "the crate does not inherit the workspace's lint table",
        "add `[lints]` with `workspace = true` to its manifest",
    )))
}

fn inherits_lints(manifest: &str) -> bool {
    manifest
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "[lints]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .any(|line| line == "workspace = true")
}

fn in_core_sources(file: &Path) -> bool {
    let mut parts = file.iter().filter_map(|part| part.to_str());
    parts.next() == Some("crates")
        && parts.next().and_then(table::row).map(|row| row.layer) == Some(Layer::Core)
        && parts.next() == Some("src")
        && file.extension().is_some_and(|extension| extension == "rs")
        && file.file_name().is_none_or(|name| name != "tests.rs")
        && !file.iter().any(|part| part == "tests")
}
