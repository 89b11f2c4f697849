use std::path::Path;

use serde_json::{Value, json};

use super::{check_manifests, in_core_sources, inherits_lints, purity};
use crate::workspace::Workspace;

/// The findings for one crate with the given dependencies: name, kind, whether it is ours.
fn findings(name: &str, dependencies: &[(&str, Value, bool)]) -> Vec<String> {
    let dependencies: Vec<Value> = dependencies
        .iter()
        .map(|(name, kind, ours)| {
            let path = ours.then(|| format!("/w/crates/{name}"));
            json!({"name": name, "kind": kind, "path": path})
        })
        .collect();
    let metadata = json!({
        "workspace_root": "/w",
        "target_directory": "/w/target",
        "packages": [{
            "name": name,
            "manifest_path": format!("/w/crates/{name}/Cargo.toml"),
            "dependencies": dependencies,
        }],
    });
    let workspace = Workspace::from_metadata(&metadata).unwrap();
    check_manifests(&workspace.members)
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn ours(name: &str) -> (&str, Value, bool) {
    (name, Value::Null, true)
}

fn ours_for_tests(name: &str) -> (&str, Value, bool) {
    (name, json!("dev"), true)
}

fn outside(name: &str) -> (&str, Value, bool) {
    (name, Value::Null, false)
}

fn assert_one(findings: &[String], words: &str) {
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].contains(words), "{findings:?}");
}

#[test]
fn arrows_that_point_down_pass() {
    let none: [String; 0] = [];
    let decide = [
        ours("mandate-model"),
        ours("mandate-policy"),
        outside("http"),
    ];
    assert_eq!(findings("mandate-decide", &decide), none);
    assert_eq!(findings("mandate-ports", &[ours("mandate-audit")]), none);
    assert_eq!(findings("mandate-spool", &[ours("mandate-ports")]), none);
    assert_eq!(findings("mandate-gateway", &[ours("mandate-decide")]), none);
    assert_eq!(findings("mandate-testkit", &[ours("mandate-ports")]), none);
    let program = [ours("mandate-gateway"), ours("mandate-store-sqlite")];
    assert_eq!(findings("mandate", &program), none);
}

#[test]
fn model_uses_no_other_crate_of_ours() {
    let found = findings("mandate-model", &[ours("mandate-audit")]);
    assert_one(
        &found,
        "mandate-model: a crate of layer Core must not depend on `mandate-audit`",
    );
}

#[test]
fn core_crates_use_only_the_siblings_in_their_row() {
    let found = findings("mandate-token", &[ours("mandate-policy")]);
    assert_one(&found, "must not depend on `mandate-policy`");
}

#[test]
fn core_does_not_use_ports() {
    let found = findings("mandate-decide", &[ours("mandate-ports")]);
    assert_one(&found, "of layer Ports");
}

#[test]
fn ports_do_not_use_adapters() {
    let found = findings("mandate-ports", &[ours("mandate-spool")]);
    assert_one(&found, "of layer Adapter");
}

#[test]
fn adapters_do_not_use_each_other() {
    let found = findings("mandate-spool", &[ours("mandate-store-sqlite")]);
    assert_one(&found, "must not depend on `mandate-store-sqlite`");
}

#[test]
fn surfaces_do_not_use_each_other() {
    let found = findings("mandate-gateway", &[ours("mandate-authority")]);
    assert_one(&found, "of layer Surface");
}

#[test]
fn surfaces_use_adapters_only_in_tests() {
    let tests = [
        ours_for_tests("mandate-spool"),
        ours_for_tests("mandate-testkit"),
    ];
    assert!(findings("mandate-gateway", &tests).is_empty());
    let found = findings("mandate-gateway", &[ours("mandate-spool")]);
    assert_one(&found, "of layer Adapter");
}

#[test]
fn surfaces_do_not_use_each_other_in_tests_either() {
    let found = findings("mandate-gateway", &[ours_for_tests("mandate-authority")]);
    assert_one(&found, "of layer Surface");
}

#[test]
fn testkit_does_not_use_adapters() {
    let found = findings("mandate-testkit", &[ours("mandate-spool")]);
    assert_one(&found, "of layer Adapter");
}

#[test]
fn nothing_uses_automation() {
    let found = findings("mandate", &[ours("xtask")]);
    assert_one(&found, "of layer Automation");
}

#[test]
fn automation_uses_nothing_of_ours() {
    let found = findings("xtask", &[ours("mandate-model")]);
    assert_one(&found, "must not depend on `mandate-model`");
}

#[test]
fn core_uses_only_listed_libraries() {
    let found = findings("mandate-decide", &[outside("tokio")]);
    assert_one(&found, "`tokio` is not on the list");
    let for_tests = ("tokio", json!("dev"), false);
    assert!(findings("mandate-decide", &[for_tests]).is_empty());
}

#[test]
fn a_build_script_of_core_is_held_to_the_list_too() {
    let found = findings("mandate-model", &[("cc", json!("build"), false)]);
    assert_one(&found, "`cc` is not on the list");
}

#[test]
fn cedar_belongs_to_policy_alone() {
    assert!(findings("mandate-policy", &[outside("cedar-policy")]).is_empty());
    let found = findings("mandate-authority", &[outside("cedar-policy")]);
    assert_one(&found, "`cedar-policy` belongs to mandate-policy");
}

#[test]
fn an_owned_library_is_refused_in_tests_too() {
    let found = findings("mandate-decide", &[("cedar-policy", json!("dev"), false)]);
    assert_one(&found, "`cedar-policy` belongs to mandate-policy");
}

#[test]
fn signing_belongs_to_its_owners() {
    assert!(findings("mandate-token", &[outside("aws-lc-rs")]).is_empty());
    let found = findings("mandate-spool", &[outside("aws-lc-rs")]);
    assert_one(&found, "`aws-lc-rs` belongs to");
}

#[test]
fn a_crate_without_a_row_is_refused_with_the_mend() {
    let found = findings("mandate-surprise", &[]);
    assert_one(&found, "xtask/src/layers/table.rs");
}

#[test]
fn a_crate_must_inherit_the_lint_table() {
    assert!(inherits_lints(
        "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"
    ));
    assert!(!inherits_lints(
        "[package]\nname = \"a\"\n\n[lints]\n\n[x]\nworkspace = true\n"
    ));
    assert!(!inherits_lints("[package]\nname = \"a\"\n"));
}

#[test]
fn core_takes_time_as_an_argument() {
    let found = purity::check("a.rs", "let t = std::time::Instant::now();\n");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].place, "a.rs:1");
    assert!(found[0].mend.contains("`now`"));
}

#[test]
fn core_reads_no_files_and_opens_no_sockets() {
    let source = "use std::{fmt};\nuse std::fs::File;\nuse std::net::TcpStream;\n";
    let places: Vec<_> = purity::check("a.rs", source)
        .into_iter()
        .map(|finding| finding.place)
        .collect();
    assert_eq!(places, ["a.rs:2", "a.rs:3"]);
}

#[test]
fn comments_and_longer_words_are_not_uses() {
    let source =
        "// std::fs is for others\nlet u = \"https://a\"; // SystemTime\nfn Instantly() {}\n";
    assert!(purity::check("a.rs", source).is_empty());
}

#[test]
fn a_url_does_not_hide_the_rest_of_its_line() {
    let source = "f(\"https://a\", SystemTime::now());\n";
    assert_eq!(purity::check("a.rs", source).len(), 1);
}

#[test]
fn an_inline_test_module_is_not_held_to_purity() {
    let tail = "#[cfg(test)]\n#[allow(x)]\nmod tests {\n    use std::fs;\n}\n";
    assert!(purity::check("a.rs", tail).is_empty());
    let outlined = "#[cfg(test)]\nmod tests;\nuse std::fs;\n";
    assert_eq!(purity::check("a.rs", outlined).len(), 1);
}

#[test]
fn only_core_sources_are_read() {
    assert!(in_core_sources(Path::new(
        "crates/mandate-model/src/lib.rs"
    )));
    assert!(!in_core_sources(Path::new(
        "crates/mandate-model/src/narrow/tests.rs"
    )));
    assert!(!in_core_sources(Path::new(
        "crates/mandate-model/tests/narrow.rs"
    )));
    assert!(!in_core_sources(Path::new(
        "crates/mandate-gateway/src/lib.rs"
    )));
    assert!(!in_core_sources(Path::new("xtask/src/main.rs")));
}
