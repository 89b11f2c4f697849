//! What is wrong with a bundle, where, and the mend.

use std::fmt;

/// How bad a mistake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The bundle does not load.
    Error,
    /// The bundle loads, and somebody should look at this.
    Warning,
}

/// One mistake of a bundle, with the offending text.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Mistake {
    /// The file's name, as it was given to [`load`](crate::load).
    pub file: String,
    /// Line of the offending text, from 1.
    pub line: usize,
    /// Column of the offending text in characters, from 1.
    pub column: usize,
    /// Where the offending text begins in the file, in bytes.
    pub offset: usize,
    /// How long it is, in bytes. Within the file, and zero only at its end.
    pub length: usize,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// The mend.
    pub help: Option<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}",
            self.file, self.line, self.column, self.message
        )?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// A stretch of text in one of the files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) file: usize,
    pub(crate) start: usize,
    pub(crate) len: usize,
}

/// Mistakes as they are found, in any order.
#[derive(Debug, Default)]
pub(crate) struct Mistakes {
    found: Vec<(Place, Severity, String, Option<String>)>,
}

impl Mistakes {
    /// Notes an error and its mend.
    pub(crate) fn error(&mut self, at: Place, message: impl Into<String>, help: impl Into<String>) {
        self.note(at, Severity::Error, message.into(), help.into());
    }

    /// Notes a warning and its mend.
    pub(crate) fn warn(&mut self, at: Place, message: impl Into<String>, help: impl Into<String>) {
        self.note(at, Severity::Warning, message.into(), help.into());
    }

    fn note(&mut self, at: Place, severity: Severity, message: String, help: String) {
        let help = (!help.is_empty()).then_some(help);
        self.found.push((at, severity, message, help));
    }

    /// Whether an error was found.
    pub(crate) fn has_errors(&self) -> bool {
        self.found
            .iter()
            .any(|(_, severity, ..)| *severity == Severity::Error)
    }

    /// All of them, in the order of the files' text, each once.
    pub(crate) fn into_sorted(mut self, files: &[crate::SourceFile]) -> Vec<Mistake> {
        self.found.sort();
        self.found.dedup();
        self.found
            .into_iter()
            .map(|(at, severity, message, help)| {
                let (name, text) = files
                    .get(at.file)
                    .map_or(("", ""), |f| (f.name.as_str(), f.text.as_str()));
                let (line, column) = line_and_column(text, at.start);
                Mistake {
                    file: name.to_owned(),
                    line,
                    column,
                    offset: at.start.min(text.len()),
                    length: at.len.min(text.len().saturating_sub(at.start)),
                    severity,
                    message,
                    help,
                }
            })
            .collect()
    }
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let last = before.rsplit('\n').next().unwrap_or_default();
    (line, last.chars().count() + 1)
}

/// `name` among `known`, or the nearest of them as a hint: "did you mean `x`?".
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let nearest = known
        .iter()
        .map(|k| (distance(name, k), *k))
        .filter(|(d, k)| *d <= 1 + name.len().max(k.len()) / 4)
        .min();
    match nearest {
        Some((_, k)) => format!("did you mean `{k}`?"),
        None if known.is_empty() => String::new(),
        None => {
            let list: Vec<String> = known.iter().take(12).map(|k| format!("`{k}`")).collect();
            format!("known here: {}", list.join(", "))
        }
    }
}

/// Levenshtein distance, for hints.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, cb) in row.iter_mut().skip(1).zip(&b) {
            let best = (diagonal + usize::from(ca != *cb))
                .min(left + 1)
                .min(*cell + 1);
            diagonal = std::mem::replace(cell, best);
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_at_the_nearest_name() {
        assert_eq!(
            did_you_mean("retreiver", ["retriever", "executor"]),
            "did you mean `retriever`?"
        );
        assert_eq!(did_you_mean("x", ["retriever"]), "known here: `retriever`");
        assert_eq!((distance("kitten", "sitting"), distance("", "ab")), (3, 2));
    }

    #[test]
    fn lines_and_columns_count_characters() {
        assert_eq!(line_and_column("aä\nöb", 0), (1, 1));
        assert_eq!(line_and_column("aä\nöb", 6), (2, 2));
    }
}
