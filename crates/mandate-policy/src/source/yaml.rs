//! Files into documents. A document that is no YAML is a mistake of its own; its neighbours load.

use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};
use serde_saphyr::{Location, Spanned};

use super::node::Raw;
use super::{Key, Node, SourceFile, Value};
use crate::mistake::{Mistakes, Place};

/// The documents of all files that are YAML. Empty ones are left out.
pub(crate) fn documents(files: &[SourceFile], mistakes: &mut Mistakes) -> Vec<Node> {
    let mut found = Vec::new();
    for (n, file) in files.iter().enumerate() {
        for start in document_starts(&file.text) {
            let text = file.text.get(start.0..start.1).unwrap_or_default();
            if !is_blank(text) {
                let base = Base {
                    file: n,
                    start: start.0,
                    text,
                };
                found.extend(read(&base, mistakes));
            }
        }
    }
    found
}

/// Where the documents of `text` begin and end. A line that begins with `---` begins a document
/// wherever it stands (YAML 1.2.2 §9.1.2), so no parser is needed to find them.
fn document_starts(text: &str) -> Vec<(usize, usize)> {
    let mut bounds = vec![0];
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let rest = line.strip_prefix("---");
        if offset > 0
            && rest.is_some_and(|r| r.is_empty() || r.starts_with([' ', '\t', '\r', '\n']))
        {
            bounds.push(offset);
        }
        offset += line.len();
    }
    let ends = bounds.iter().skip(1).copied().chain([text.len()]);
    bounds.iter().copied().zip(ends).collect()
}

fn is_blank(text: &str) -> bool {
    text.lines().all(|line| {
        let line = line.strip_prefix("---").unwrap_or(line).trim();
        line.is_empty() || line.starts_with('#')
    })
}

struct Base<'a> {
    file: usize,
    start: usize,
    text: &'a str,
}

impl Base<'_> {
    fn place(&self, location: Location) -> Place {
        let span = location.span();
        let number = |n: Option<u64>| usize::try_from(n.unwrap_or(0)).unwrap_or(0);
        let start = match span.byte_offset() {
            Some(_) => number(span.byte_offset()).min(self.text.len()),
            None => self.offset_of(location.line(), location.column()),
        };
        let rest = self.text.get(start..).unwrap_or_default();
        let len = number(span.byte_len()).min(rest.len());
        let shown = rest.get(..len).unwrap_or_default().trim_end().len();
        Place {
            file: self.file,
            start: self.start + start,
            len: if shown == 0 {
                token_length(rest)
            } else {
                shown
            },
        }
    }

    /// The byte at which line and column, both from 1, stand.
    fn offset_of(&self, line: u64, column: u64) -> usize {
        let number = |n: u64| usize::try_from(n.saturating_sub(1)).unwrap_or(usize::MAX);
        let mut lines = self.text.split_inclusive('\n');
        let before: usize = lines.by_ref().take(number(line)).map(str::len).sum();
        let within = lines
            .next()
            .unwrap_or_default()
            .chars()
            .take(number(column));
        before + within.map(char::len_utf8).sum::<usize>()
    }

    fn node(&self, raw: Spanned<Raw>, mistakes: &mut Mistakes) -> Node {
        let at = self.place(raw.referenced);
        let value = match raw.value {
            Raw::Scalar(value) => value,
            Raw::List(items) => Value::List(
                items
                    .into_iter()
                    .map(|item| self.node(item, mistakes))
                    .collect(),
            ),
            Raw::Map(members) => Value::Map(self.members(members, mistakes)),
        };
        Node { value, at }
    }

    fn members(
        &self,
        raw: Vec<(Spanned<String>, Spanned<Raw>)>,
        mistakes: &mut Mistakes,
    ) -> Vec<(Key, Node)> {
        let mut members: Vec<(Key, Node)> = Vec::with_capacity(raw.len());
        for (key, value) in raw {
            let key = Key {
                at: self.place(key.referenced),
                name: key.value,
            };
            if members.iter().any(|(k, _)| k.name == key.name) {
                let message = format!("`{}` is said twice", key.name);
                mistakes.error(key.at, message, "remove one of them");
            } else {
                members.push((key, self.node(value, mistakes)));
            }
        }
        members
    }
}

/// How much to underline where the reader names a point: to the end of the word or line.
fn token_length(rest: &str) -> usize {
    let line = rest.lines().next().unwrap_or_default();
    let word = line.find([' ', ',', ':', ']', '}']).unwrap_or(line.len());
    if word == 0 { line.len().min(1) } else { word }
}

fn read(base: &Base<'_>, mistakes: &mut Mistakes) -> Option<Node> {
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(base.text, options()) {
        Ok(raw) => Some(base.node(raw, mistakes)),
        Err(error) => {
            let error = error.without_snippet();
            let at = error.location().map_or_else(
                || Place {
                    file: base.file,
                    start: base.start,
                    len: 0,
                },
                |location| base.place(location),
            );
            let message = format!(
                "not readable as YAML: {}",
                without_place(&error.to_string())
            );
            mistakes.error(at, message, "mend the YAML of this document");
            None
        }
    }
}

/// The first line of the reader's message, without its place, which counts from the document.
fn without_place(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    line.rsplit_once(" at line ")
        .map_or(line, |(message, _)| message)
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 32,
            max_nodes: 200_000,
            max_documents: 1,
            max_aliases: 256,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}
