//! Names of a bundle, made from names that others chose.

use std::collections::HashSet;

/// Those that are taken.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    /// A name for the action of the `kind` that the server calls `theirs`.
    pub(super) fn action(&mut self, theirs: &str, kind: &str) -> String {
        let name = name(theirs, '-').unwrap_or_else(|| kind.to_owned());
        if !self.0.contains(&name) {
            return self.take(name);
        }
        self.numbered(&joined(&name, &format!("-{kind}")), '-')
    }

    /// A name for the attribute that is called `theirs`.
    pub(super) fn attribute(&mut self, theirs: &str) -> String {
        self.numbered(
            &name(theirs, '_').unwrap_or_else(|| "value".to_owned()),
            '_',
        )
    }

    fn numbered(&mut self, name: &str, between: char) -> String {
        let numbers = (2_u32..).map(|n| joined(name, &format!("{between}{n}")));
        let free = std::iter::once(name.to_owned())
            .chain(numbers)
            .find(|name| !self.0.contains(name));
        self.take(free.unwrap_or_default())
    }

    fn take(&mut self, name: String) -> String {
        self.0.insert(name.clone());
        name
    }
}

/// `text` as a name: a-z, 0-9, `-`, `_` and `.`, other characters as `between`, `customerId` as `customer_id`.
pub(super) fn name(text: &str, between: char) -> Option<String> {
    let mut name = String::new();
    let mut after_small = false;
    for c in text.chars().take(LONGEST * 4) {
        if c.is_ascii_uppercase() && after_small {
            name.push(between);
        }
        after_small = c.is_ascii_lowercase() || c.is_ascii_digit();
        if c.is_ascii_alphanumeric() || "-_.".contains(c) {
            name.push(c.to_ascii_lowercase());
        } else if !name.ends_with(between) {
            name.push(between);
        }
    }
    let edge = |c: char| !c.is_ascii_alphanumeric();
    let name: String = name.trim_matches(edge).chars().take(LONGEST).collect();
    let name = name.trim_end_matches(edge);
    (!name.is_empty()).then(|| name.to_owned())
}

/// `name` with `end`, cut so that it fits.
pub(super) fn joined(name: &str, end: &str) -> String {
    let room = LONGEST.saturating_sub(end.len());
    let begin: String = name.chars().take(room).collect();
    format!("{begin}{end}")
}

/// What of a resource template tells it from others.
pub(super) fn of_uri(uri: &str) -> String {
    let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
    let words = rest.split(['/', '{', '}', '+', '?', '*', ',', '&', '#']);
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    format!("{scheme}-{}", words.join("-"))
}

const LONGEST: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_becomes_one_of_a_bundle() {
        for (theirs, ours) in [
            ("read_file", Some("read_file")),
            ("getUserById", Some("get-user-by-id")),
            ("HTTPGet", Some("httpget")),
            ("Files/Read v2", Some("files-read-v2")),
            ("--x--", Some("x")),
            ("größe", Some("gr-e")),
            ("列表", None),
            ("", None),
        ] {
            assert_eq!(name(theirs, '-').as_deref(), ours, "{theirs}");
        }
        assert_eq!(name(&"x".repeat(200), '-').unwrap().len(), 63);
        assert_eq!(name("customerId", '_').as_deref(), Some("customer_id"));
    }

    #[test]
    fn no_two_get_the_same() {
        let mut names = Names::default();
        let all = ["Get", "get", "GET"].map(|name| names.action(name, "tool"));
        assert_eq!(all, ["get", "get-tool", "get-tool-2"]);
        assert_eq!(names.action("get", "prompt"), "get-prompt");
        let long = "y".repeat(63);
        let twice = [&long, &long].map(|name| names.action(name, "tool"));
        assert!(twice[1].len() <= 63 && twice[0] != twice[1], "{twice:?}");
        assert_eq!(
            of_uri("file:///reports/{customer}/{+path}"),
            "file-reports-customer-path"
        );
    }
}
