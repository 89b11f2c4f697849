use std::collections::BTreeSet;

use super::{check_members, compare, declared, documented};
use crate::workspace::{Dependency, Kind, Member};

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn reads_the_workspace_table_without_our_own_crates() {
    let manifest = "[workspace]\nmembers = []\n\n[workspace.dependencies]\n# why\n\
                    ours = { path = \"crates/ours\" }\nbytes = \"1\"\n\
                    serde = { version = \"1\", features = [\"derive\"] }\n\n\
                    [workspace.dependencies.http]\nversion = \"1\"\n\n[profile.dev]\ndebug = 1\n";
    assert_eq!(declared(manifest), set(&["bytes", "http", "serde"]));
}

#[test]
fn reads_the_rows_of_the_document() {
    let document = "# Why\n| crate | why |\n|---|---|\n| `bytes` | it |\n`serde` in prose\n";
    assert_eq!(documented(document), [(4, "bytes".to_owned())]);
}

#[test]
fn lists_that_agree_pass() {
    assert!(compare(&set(&["bytes"]), &[(4, "bytes".to_owned())]).is_empty());
}

#[test]
fn a_dependency_without_a_row_is_named() {
    let found = compare(&set(&["bytes", "serde"]), &[(4, "bytes".to_owned())]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].rule, "`serde` has no row");
}

#[test]
fn a_row_without_a_dependency_is_named() {
    let found = compare(&set(&[]), &[(4, "bytes".to_owned())]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].place, "docs/dependencies.md:4");
}

#[test]
fn a_row_that_comes_twice_is_named() {
    let rows = [(4, "bytes".to_owned()), (5, "bytes".to_owned())];
    let found = compare(&set(&["bytes"]), &rows);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].rule, "`bytes` has two rows");
}

#[test]
fn a_crate_cannot_bring_a_library_by_itself() {
    let member = |name: &str| Member {
        name: "mandate-model".to_owned(),
        folder: "crates/mandate-model".into(),
        dependencies: vec![Dependency {
            name: name.to_owned(),
            kind: Kind::Normal,
            ours: false,
        }],
    };
    let declared = set(&["bytes"]);
    assert!(check_members(&[member("bytes")], &declared).is_empty());
    assert_eq!(check_members(&[member("rand")], &declared).len(), 1);
}
