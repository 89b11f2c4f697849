//! What the sources of a core crate may not name.
//!
//! A search, not a proof: it stops a slip, not somebody who wants around it. The allow-list of libraries
//! does the rest. Comments do not count, nor does a test module, which stands last in its file.

use crate::report::Finding;

/// A word that core may not use, and what it uses instead.
struct Impure {
    word: &'static str,
    mend: &'static str,
}

pub(crate) fn check(file: &str, source: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut test_attribute = false;
    for (number, line) in source.lines().enumerate() {
        let code = without_comment(line);
        if test_attribute && opens_module(code) {
            break;
        }
        test_attribute = code.trim() == "#[cfg(test)]" || (test_attribute && attribute(code));
        for impure in IMPURE {
            if names(code, impure.word) {
                findings.push(Finding::new(
                    format!("{file}:{}", number + 1),
                    format!("core must not use `{}`", impure.word),
                    impure.mend,
                ));
            }
        }
    }
    findings
}

/// Everything before `//`, unless it belongs to a URL.
fn without_comment(line: &str) -> &str {
    let mut seen = 0;
    for part in line.split("//") {
        seen += part.len();
        if !part.ends_with(':') {
            break;
        }
        seen += "//".len();
    }
    line.get(..seen).unwrap_or(line)
}

fn opens_module(code: &str) -> bool {
    let code = code.trim();
    (code.starts_with("mod ") || code.starts_with("pub(crate) mod ")) && code.ends_with('{')
}

fn attribute(code: &str) -> bool {
    code.trim().starts_with("#[")
}

/// Whether `word` stands in `code` and is not a part of a longer identifier.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(start, _)| {
        let before = code.get(..start).and_then(|text| text.chars().next_back());
        let after = code
            .get(start + word.len()..)
            .and_then(|text| text.chars().next());
        !before.is_some_and(in_identifier) && !after.is_some_and(in_identifier)
    })
}

fn in_identifier(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

const CLOCK: &str = "take `now` as an argument";
const ENTROPY: &str = "take the random bytes as an argument";
const WORLD: &str = "let the caller do it, through a port, and take the value as an argument";

const IMPURE: &[Impure] = &[
    impure("std::fs", WORLD),
    impure(
        "std::net",
        "core has no sockets; `core::net` has the address types",
    ),
    impure("std::env", WORLD),
    impure("std::process", WORLD),
    impure("thread::spawn", WORLD),
    impure("thread::sleep", WORLD),
    impure("Instant", CLOCK),
    impure("SystemTime", CLOCK),
    impure("Timestamp::now", CLOCK),
    impure("Zoned::now", CLOCK),
    impure("now_v7", "take `now` and the random bytes as arguments"),
    impure("new_v4", ENTROPY),
    impure("SystemRandom", ENTROPY),
    impure("println!", "return a value; whoever calls may print it"),
    impure("eprintln!", "return a value; whoever calls may print it"),
];

const fn impure(word: &'static str, mend: &'static str) -> Impure {
    Impure { word, mend }
}
