use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::extract::{Script, script};
use super::is_document;
use super::page::{Failure, Page};

#[test]
fn keeps_the_line_numbers_of_the_document() {
    let script = script("# Title\n\n```sh\necho a\n```\ntext\n~~~sh\necho b\n~~~\n");
    assert_eq!(script.text, "\n\n\necho a\n\n\n\necho b\n\n");
    assert_eq!(script.blocks, 2);
}

#[test]
fn runs_shell_blocks_only() {
    let script = script("```console\n$ ls\n```\n```\nls\n```\n```shell\nls\n```\n`sh`\n");
    assert_eq!(script.blocks, 0);
    assert_eq!(script.text.trim(), "");
}

#[test]
fn a_block_inside_a_longer_fence_is_text() {
    let script = script("````md\n```sh\nls\n```\n````\n```sh\necho a\n```\n");
    assert_eq!(script.text.trim(), "echo a");
}

#[test]
fn an_indented_block_loses_its_indent() {
    let script = script("- item\n\n  ```sh\n  cat <<E\n    x\n  E\n  ```\n");
    assert_eq!(script.text.trim(), "cat <<E\n  x\nE");
}

#[test]
fn a_block_that_cannot_run_here_is_skipped_with_its_reason() {
    let script = script(
        "```sh norun takes an hour\na\n```\n```sh needs-cloud\nb\n```\n```sh needs-cluster\nc\n```\n",
    );
    assert_eq!(script.text.trim(), "");
    let skipped = [
        (1, "not to be run: takes an hour".to_owned()),
        (4, "needs a cloud account".to_owned()),
        (7, "needs a cluster".to_owned()),
    ];
    assert_eq!(script.skipped, skipped);
}

#[test]
fn a_failure_that_the_shell_would_forgive_is_named() {
    let document = "```sh\ncd d && ls\nif a && b; then ls; fi\n```\n```console\na && b\n```\n";
    assert_eq!(script(document).forgiving, [2]);
}

#[test]
fn reads_the_readme_and_the_documents() {
    assert!(is_document(Path::new("README.md")));
    assert!(is_document(Path::new("docs/recipes/a.md")));
    assert!(!is_document(Path::new("CHANGELOG.md")));
    assert!(!is_document(Path::new("docs/openapi.json")));
}

/// Runs a document in a folder of its own, and hands the folder to `look` before it is removed.
fn run(name: &str, document: &str, timeout: u64, look: impl FnOnce(&Path)) -> Option<Failure> {
    let scratch = std::env::temp_dir().join(format!("mandate-docs-{}-{name}", std::process::id()));
    let script: Script = script(document);
    let page = Page {
        document: Path::new("docs/a.md"),
        script: &script,
        bin_dir: Path::new("/nonexistent"),
        target: Path::new("/nonexistent"),
        timeout: Duration::from_secs(timeout),
        scratch: &scratch,
    };
    let files: [PathBuf; 1] = ["Cargo.toml".into()];
    page.copy(Path::new(env!("CARGO_MANIFEST_DIR")), &files)
        .unwrap();
    let failure = page.run().unwrap();
    look(&scratch);
    fs::remove_dir_all(&scratch).unwrap();
    failure
}

#[test]
fn blocks_share_one_shell_and_one_folder() {
    let document =
        "```sh\na=1\nmkdir d; cd d\n```\n```sh\ntest $a = 1\ntest -f ../Cargo.toml\n```\n";
    assert!(run("share", document, 60, |_| ()).is_none());
}

#[test]
fn a_command_that_fails_is_named_with_its_line() {
    let document = "# A\n\n```sh\necho before\nls | false\necho after\n```\n";
    let failure = run("fails", document, 60, |_| ()).unwrap();
    assert_eq!(failure.line, Some(5));
    assert_eq!(failure.what, "failed: false");
    assert!(failure.output.contains("before"));
    assert!(!failure.output.contains("after"));
}

#[test]
fn an_unset_variable_fails() {
    let failure = run("unset", "```sh\necho $no_such_variable\n```\n", 60, |_| ()).unwrap();
    assert!(failure.output.contains("no_such_variable"));
}

#[test]
fn what_a_page_left_running_is_killed() {
    let document = "```sh\nsleep 600 &\necho $! >one\nsetsid sleep 600 &\necho $! >two\n```\n";
    let failure = run("left", document, 60, |scratch| {
        for file in ["one", "two"] {
            let id = fs::read_to_string(scratch.join("w").join(file)).unwrap();
            let stat = fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap_or_default();
            assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
        }
    });
    assert!(failure.is_none());
}

#[test]
fn a_page_that_hangs_is_ended() {
    let failure = run("hangs", "```sh\nsleep 600\n```\n", 1, |_| ()).unwrap();
    assert_eq!(failure.what, "the page ran longer than 1 s");
}
