use std::collections::BTreeSet;

use super::{DUE, LAST, Proof, check_rows, check_tests, function_name, parse};

fn tests(names: &[&str]) -> Proof {
    Proof::Tests(names.iter().map(ToString::to_string).collect())
}

fn messages(findings: &[crate::report::Finding]) -> String {
    findings
        .iter()
        .map(|finding| format!("{finding}\n"))
        .collect()
}

/// A document with every row, where `row` replaces the one of its number.
fn document_with(row: (u32, &str)) -> String {
    (1..=LAST)
        .map(|number| match row {
            (replaced, text) if replaced == number => format!("{text}\n"),
            _ => format!("| {number} | it | that | `proves_{number}` |\n"),
        })
        .collect()
}

#[test]
fn reads_rows_and_skips_prose() {
    let rows = parse(
        "# Threats\n\
         | # | what happened | countermeasure | tests |\n\
         |---|---|---|---|\n\
         | 1 | `a|b` \\| c | d | `first`, `token::second` |\n\
         | 3 | e | f | later |\n\
         | state file | g |\n",
    );
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].line, rows[0].number, rows[0].cells), (4, 1, 4));
    assert_eq!(rows[0].proof, tests(&["first", "second"]));
    assert_eq!(rows[1].proof, Proof::Later);
}

#[test]
fn a_complete_table_passes() {
    let rows = parse(&document_with((0, "")));
    assert!(check_rows(&rows).is_empty());
}

#[test]
fn a_missing_row_is_named() {
    let rows = parse(&document_with((17, "")));
    assert!(messages(&check_rows(&rows)).contains("failure 17 has no row"));
}

#[test]
fn a_row_that_comes_twice_is_named() {
    let rows = parse(&document_with((17, "| 16 | it | that | `again` |")));
    assert!(messages(&check_rows(&rows)).contains("failure 16 already has a row in line 16"));
}

#[test]
fn a_row_beyond_the_list_is_named() {
    let rows = parse(&document_with((17, "| 44 | it | that | later |")));
    assert!(messages(&check_rows(&rows)).contains("there is no failure 44"));
}

#[test]
fn a_row_with_a_cell_too_few_is_named() {
    let rows = parse(&document_with((3, "| 3 | it | later |")));
    assert!(messages(&check_rows(&rows)).contains("this one has 3"));
}

#[test]
fn a_due_row_cannot_say_later() {
    let rows = parse("| 1 | it | that | later |\n| 3 | it | that | later |\n");
    let found = check_tests(&rows, &BTreeSet::new());
    assert_eq!(found.len(), 1);
    assert!(messages(&found).contains("failure 1 is due"));
}

#[test]
fn a_row_must_name_a_test_that_exists() {
    let known = BTreeSet::from(["first".to_owned()]);
    let rows =
        parse("| 1 | it | that | `first` |\n| 3 | it | that | `second` |\n| 2 | a | b |  |\n");
    let found = messages(&check_tests(&rows, &known));
    assert!(!found.contains("`first`"));
    assert!(found.contains("no test `second` for failure 3"));
    assert!(found.contains("failure 2 names no test"));
}

#[test]
fn finds_functions_by_their_name() {
    assert_eq!(
        function_name("    async fn denies_it() {"),
        Some("denies_it")
    );
    assert_eq!(function_name("fn narrows(a in any()) {"), Some("narrows"));
    assert_eq!(function_name("// fn not_this() {"), None);
}

#[test]
fn each_due_number_is_in_the_list() {
    assert!(DUE.is_sorted());
    assert!(DUE.iter().all(|number| (1..=LAST).contains(number)));
}
