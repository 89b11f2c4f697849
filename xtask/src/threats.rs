//! `cargo xtask threats`: each known failure has a row in docs/threats.md, and each row that is due has tests.
//!
//! The table's columns are: number, what happened, countermeasure, tests. The tests stand in backticks, by
//! the name of their function (a module path before it is for the reader), or the cell says `later`.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::report::{Finding, Report};
use crate::workspace::Workspace;

pub(crate) fn run(arguments: &[String]) -> Result<Report, String> {
    let allow_missing = match arguments {
        [] => false,
        [flag] if flag == "--allow-missing" => true,
        other => return Err(format!("unknown options {other:?}")),
    };
    let workspace = Workspace::load()?;
    let document = workspace.read(DOCUMENT)?;
    let functions = functions(&workspace)?;
    let rows = parse(&document);

    let mut findings = check_rows(&rows);
    let missing = check_tests(&rows, &functions);
    let mut warnings = Vec::new();
    if allow_missing {
        warnings.extend(missing.iter().map(|m| format!("{}: {}", m.place, m.rule)));
    } else {
        findings.extend(missing);
    }
    Ok(Report {
        findings,
        warnings,
        summary: format!(
            "threats: {} rows, {} functions searched",
            rows.len(),
            functions.len()
        ),
    })
}

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
struct Threat {
    line: usize,
    number: u32,
    cells: usize,
    proof: Proof,
}

#[derive(Debug, PartialEq, Eq)]
enum Proof {
    Tests(Vec<String>),
    Later,
}

fn parse(document: &str) -> Vec<Threat> {
    document
        .lines()
        .enumerate()
        .filter_map(|(index, line)| parse_row(index + 1, line))
        .collect()
}

/// A table row whose first cell is a number; anything else in the document is prose.
fn parse_row(line: usize, text: &str) -> Option<Threat> {
    let row = text.trim().strip_prefix('|')?.strip_suffix('|')?;
    let cells = cells(row);
    let number = cells.first()?.trim().parse().ok()?;
    let proof = match cells.get(3).map(|cell| cell.trim()) {
        Some("later") => Proof::Later,
        Some(cell) => Proof::Tests(quoted(cell)),
        None => Proof::Tests(Vec::new()),
    };
    Some(Threat {
        line,
        number,
        cells: cells.len(),
        proof,
    })
}

/// Splits at `|`, but not at `\|` nor inside backticks.
fn cells(row: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let (mut escaped, mut code) = (false, false);
    for character in row.chars() {
        if character == '|' && !escaped && !code {
            cells.push(String::new());
            continue;
        }
        code ^= character == '`';
        escaped = character == '\\';
        if let Some(cell) = cells.last_mut() {
            cell.push(character);
        }
    }
    cells
}

/// What stands in backticks, without the path before a function's name.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|name| name.rsplit("::").next())
        .map(str::to_owned)
        .collect()
}

fn check_rows(rows: &[Threat]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut lines: BTreeMap<u32, usize> = BTreeMap::new();
    for row in rows {
        let place = format!("{DOCUMENT}:{}", row.line);
        if !(1..=LAST).contains(&row.number) {
            let rule = format!("there is no failure {}", row.number);
            findings.push(Finding::new(
                &place,
                rule,
                "number rows as the list of failures does",
            ));
        }
        if row.cells != 4 {
            let rule = format!("a row has four cells, and this one has {}", row.cells);
            findings.push(Finding::new(&place, rule, "escape a `|` in prose as `\\|`"));
        }
        if let Some(first) = lines.insert(row.number, row.line) {
            let rule = format!("failure {} already has a row in line {first}", row.number);
            findings.push(Finding::new(&place, rule, "join the two rows"));
        }
    }
    for number in (1..=LAST).filter(|number| !lines.contains_key(number)) {
        let rule = format!("failure {number} has no row");
        findings.push(Finding::new(
            DOCUMENT,
            rule,
            "add it, with `later` if it is not due",
        ));
    }
    findings
}

fn check_tests(rows: &[Threat], functions: &BTreeSet<String>) -> Vec<Finding> {
    rows.iter()
        .flat_map(|row| check_proof(row, functions))
        .collect()
}

fn check_proof(row: &Threat, functions: &BTreeSet<String>) -> Vec<Finding> {
    let place = format!("{DOCUMENT}:{}", row.line);
    match &row.proof {
        Proof::Later if DUE.contains(&row.number) => vec![Finding::new(
            place,
            format!("failure {} is due, and `later` is no test", row.number),
            "write the tests and name them",
        )],
        Proof::Later => Vec::new(),
        Proof::Tests(names) if names.is_empty() => vec![Finding::new(
            place,
            format!("failure {} names no test", row.number),
            "name tests in backticks in the fourth cell, or say `later` if it is not due",
        )],
        Proof::Tests(names) => names
            .iter()
            .filter(|name| !functions.contains(*name))
            .map(|name| {
                Finding::new(
                    &place,
                    format!("there is no test `{name}` for failure {}", row.number),
                    "write it, or give the row the name that it has now",
                )
            })
            .collect(),
    }
}

/// The name of each function under crates/ and xtask/.
fn functions(workspace: &Workspace) -> Result<BTreeSet<String>, String> {
    let mut functions = BTreeSet::new();
    for file in workspace.files()? {
        let ours = file.starts_with("crates") || file.starts_with("xtask");
        if ours && file.extension().is_some_and(|extension| extension == "rs") {
            let source = workspace.read(&file)?;
            functions.extend(source.lines().filter_map(function_name).map(str::to_owned));
        }
    }
    Ok(functions)
}

fn function_name(line: &str) -> Option<&str> {
    let code = line.trim_start();
    let rest = ["fn ", "async fn ", "pub fn ", "pub async fn "]
        .iter()
        .find_map(|start| code.strip_prefix(start))?;
    rest.split(|character: char| !character.is_alphanumeric() && character != '_')
        .next()
}

const DOCUMENT: &str = "docs/threats.md";

/// The last number in the list of failures.
const LAST: u32 = 43;

/// The failures that need their tests now. The others may say `later`.
const DUE: &[u32] = &[
    1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 16, 17, 18, 19, 20, 21, 22, 23, 25, 31, 32, 33, 35,
    36, 40, 41, 42, 43,
];
