//! The tools of a live server beside those that were accepted.

use std::fmt::Write;

use mandate_policy::decl::{ServerWorkload, ToolDigest};
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

use super::plain::plain;
use super::read::Item;
use crate::output::Paint;

/// A tool that an action names.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) name: String,
    accepted: Option<(ToolDigest, Option<String>)>,
    /// What the server says of it; `None` where it has no such tool.
    live: Option<Value>,
    /// Nobody was asked about it: it stays as it was accepted, whatever it is by now.
    is_kept: bool,
}

impl Compared {
    /// Whether it is asked about and not as it was accepted.
    pub(crate) fn differs(&self) -> bool {
        let live = self.live.as_ref().map(ToolDigest::of);
        let accepted = self.accepted.as_ref().map(|(digest, _)| *digest);
        !self.is_kept && (live.is_none() || live != accepted)
    }

    /// Itself, to stay as it was accepted.
    pub(crate) fn kept(mut self) -> Self {
        self.live = None;
        self.is_kept = true;
        self
    }

    /// Whether it is asked about.
    pub(crate) fn is_chosen(&self) -> bool {
        !self.is_kept
    }

    fn word(&self) -> &'static str {
        match (&self.accepted, &self.live) {
            (Some(_), _) if self.is_kept => "kept",
            (None, _) if self.is_kept => "not accepted",
            (_, Some(_)) if !self.differs() => "accepted",
            (None, Some(_)) => "new",
            (Some(_), Some(_)) => "changed",
            (_, None) => "missing",
        }
    }

    /// What the manifest has of it.
    fn entry(&self) -> Result<(ToolDigest, Option<String>), String> {
        let name = || plain(&self.name, 128);
        match (&self.live, &self.accepted) {
            (Some(live), _) => Ok((ToolDigest::of(live), Some(pretty(live)))),
            (None, Some((digest, text))) if self.is_kept => {
                let text = text.as_deref();
                let text: Option<Value> = text.and_then(|text| serde_json::from_str(text).ok());
                Ok((*digest, text.as_ref().map(pretty)))
            }
            (None, None) if self.is_kept => Err(format!(
                "tool `{}`, which an action names, is not accepted yet: a manifest has all of them",
                name()
            )),
            (None, _) => Err(format!(
                "the server has no tool `{}`, which an action names",
                name()
            )),
        }
    }

    /// For `--output json`.
    pub(crate) fn json(&self) -> Value {
        let live = self.live.as_ref();
        json!({
            "name": self.name,
            "state": self.word(),
            "accepted_digest": self.accepted.as_ref().map(|(digest, _)| digest.to_string()),
            "digest": live.map(|live| ToolDigest::of(live).to_string()),
            "definition": live,
        })
    }
}

/// Every tool that an action of `server` names, sorted by name. What cannot be read in one way is an error.
pub(crate) fn compare(server: &ServerWorkload, live: &[Item]) -> Result<Vec<Compared>, String> {
    let manifest = server.mcp.as_ref().and_then(|mcp| mcp.manifest.as_ref());
    let mut named: Vec<&str> = server.tools().map(|(tool, _)| tool).collect();
    named.sort_unstable();
    named.dedup();
    let compared = named.into_iter().map(|name| {
        let item = live.iter().find(|item| item.name == name);
        let definition = item.map(|item| {
            mandate_decide::enforce::strict_json(item.raw.get().as_bytes())
                .map_err(|why| format!("tool `{}`: {why}", plain(name, 128)))
        });
        let accepted = manifest.and_then(|manifest| {
            let digest = *manifest.tool(name)?;
            Some((digest, manifest.definition(name).map(str::to_owned)))
        });
        Ok(Compared {
            name: name.to_owned(),
            accepted,
            live: definition.transpose()?,
            is_kept: false,
        })
    });
    compared.collect()
}

/// What differs, line by line.
pub(crate) fn difference(tool: &Compared, paint: Paint) -> String {
    if !tool.differs() {
        return String::new();
    }
    let name = plain(&tool.name, 128);
    let mut text = format!("{} {}\n", paint.bold(&name), paint.yellow(tool.word()));
    let before = match &tool.accepted {
        Some((_, Some(definition))) => serde_json::from_str(definition).ok(),
        Some((digest, None)) => {
            // What it was nobody has kept.
            let _ = writeln!(text, "  was {digest}");
            None
        }
        None => None,
    };
    let lines = |value: &Option<Value>| value.as_ref().map(pretty).unwrap_or_default();
    let (before, after) = (lines(&before), lines(&tool.live));
    let differing = TextDiff::from_lines(&before, &after);
    for group in differing.grouped_ops(3) {
        for change in group.iter().flat_map(|op| differing.iter_changes(op)) {
            let line = change.value().trim_end_matches('\n');
            let _ = match change.tag() {
                ChangeTag::Delete => writeln!(text, "{}", paint.red(format!("  - {line}"))),
                ChangeTag::Insert => writeln!(text, "{}", paint.green(format!("  + {line}"))),
                ChangeTag::Equal => writeln!(text, "    {line}"),
            };
        }
    }
    text
}

/// The document that accepts the chosen ones of `tools` as they are, and the others as they were. An error names a tool
/// that there is not, or that nobody has accepted yet.
pub(crate) fn manifest(server: &ServerWorkload, tools: &[Compared]) -> Result<String, String> {
    let name = &server.name;
    let mut text = format!(
        "# The tools of `{name}` as they were accepted: `mandate mcp accept` wrote this. A change by hand does not load.\n\
         apiVersion: mandate.dev/v1alpha1\nkind: ToolManifest\nmetadata: {{name: {name}}}\nspec:\n  tools:\n"
    );
    for tool in tools {
        let (digest, definition) = tool.entry()?;
        let named = ascii(&json!(tool.name).to_string());
        // A `String` takes whatever is written.
        let _ = match definition.map(|definition| definition.replace('\n', "\n        ")) {
            Some(definition) => writeln!(
                text,
                "    - name: {named}\n      digest: {digest}\n      definition: |-\n        {definition}"
            ),
            None => writeln!(text, "    - {{name: {named}, digest: {digest}}}"),
        };
    }
    Ok(text)
}

/// In lines, of what every terminal and every reviewer sees.
fn pretty(value: &Value) -> String {
    ascii(&format!("{value:#}"))
}

/// JSON with everything but ASCII escaped: marks of direction and lookalikes show.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() && c != '\x7f' {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // A `String` takes whatever is written.
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests;
