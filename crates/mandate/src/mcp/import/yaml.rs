//! The documents as text: each word plain or quoted, each comment one line.

use std::fmt::Write;

use serde_json::Value;

use super::{Action, DEFAULT_PATH, Imported};
use crate::mcp::plain::plain;

/// The server workload, and an access policy that is a comment: it grants nothing before somebody makes it one.
pub(crate) fn text(imported: &Imported) -> String {
    let mut text = String::new();
    let place = &imported.place;
    // A `String` takes whatever is written.
    let _ = write!(
        text,
        "# What the MCP server at {} declares (revision {}), read by `mandate mcp import`.\n\
         # A server says of itself what it likes: effects are guesses until somebody has read what each action does.\n\
         kind: ServerWorkload\nmetadata: {{name: {}}}\nspec:\n",
        plain(&place.source, 200),
        imported.revision,
        word(&place.name),
    );
    let _ = writeln!(
        text,
        "  resource: {} # where agents reach it, at the gateway",
        word(&place.resource)
    );
    let _ = writeln!(text, "  upstream: {}", word(&place.upstream));
    let _ = writeln!(text, "  credential: {}", flow(&imported.credential()));
    if place.path == DEFAULT_PATH {
        text.push_str("  mcp: {}\n");
    } else {
        let _ = writeln!(text, "  mcp: {{path: {}}}", word(&place.path));
    }
    for left in &imported.left_out {
        let _ = writeln!(text, "  # left out: {} ({})", left.what, left.why);
    }
    text.push_str("  actions:\n");
    for action in &imported.actions {
        declare(action, &mut text);
    }
    policy(imported, &mut text);
    text
}

fn declare(action: &Action, text: &mut String) {
    if !action.about.is_empty() {
        let _ = writeln!(text, "    # {}", action.about);
    }
    let _ = writeln!(text, "    {}:", word(&action.name));
    let (effect, why) = (action.effect.word(), action.effect.why());
    let _ = writeln!(text, "      effect: {effect} # guessed: {why}");
    let note = action.note.map(|note| format!(" # {note}"));
    let _ = writeln!(
        text,
        "      match: {}{}",
        word(&action.pattern),
        note.unwrap_or_default()
    );
    if action.attributes.is_empty() {
        return;
    }
    text.push_str("      attributes:\n");
    for attribute in &action.attributes {
        let _ = writeln!(
            text,
            "        {}: {}",
            word(&attribute.name),
            flow(&attribute.json())
        );
    }
    if action.more > 0 {
        let _ = writeln!(text, "        # and {} more", action.more);
    }
}

fn policy(imported: &Imported, text: &mut String) {
    let name = word(&imported.place.name);
    let _ = write!(
        text,
        "\n# Nobody may use it yet. Take the `# ` from these lines and from those of the actions that AGENT, an agent type, may use.\n\
         # ---\n# kind: AccessPolicy\n# metadata: {{name: {name}}}\n# spec:\n#   agents: [AGENT]\n#   server: {name}\n#   actions:\n"
    );
    for action in &imported.actions {
        let _ = writeln!(
            text,
            "#     - {} # {}, guessed",
            word(&action.name),
            action.effect.word()
        );
    }
}

/// A value in one line.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => word(text),
        Value::Array(items) => {
            // Words of others: `no` and `1` are no texts unless they are quoted.
            let items: Vec<String> = items
                .iter()
                .map(|item| quoted(item.as_str().unwrap_or_default()))
                .collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("{name}: {}", flow(value)))
                .collect();
            format!("{{{}}}", members.join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Plain where nobody could take it for something else than this text.
fn word(text: &str) -> String {
    let first = text
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_lowercase() || c == '/');
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./ ".contains(c);
    let is_url = text.starts_with("http://") || text.starts_with("https://");
    let rest = if is_url {
        text.split_once(':').map_or("", |(_, rest)| rest)
    } else {
        text
    };
    let port = |c: char| plain(c) || (is_url && c == ':');
    let reserved = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"].contains(&text);
    let spaced = text.ends_with([' ', ':']) || text.contains("  ") || text.contains(": ");
    if first && rest.chars().all(port) && !reserved && !spaced {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// YAML 1.2 §7.3.1, everything but ASCII escaped: a letter may look like another one, or like none.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        let _ = match c {
            '"' | '\\' => write!(quoted, "\\{c}"),
            ' '..='~' => write!(quoted, "{c}"),
            c => write!(quoted, "\\U{:08x}", u32::from(c)),
        };
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_ascii() {
        // A Cyrillic letter, a filler that is a letter to Unicode, and a mark of direction.
        let quoted = quoted("p\u{430}y\u{3164}\u{202e}\"");
        assert_eq!(quoted, r#""p\U00000430y\U00003164\U0000202e\"""#);
        assert_eq!(word("p\u{430}y"), r#""p\U00000430y""#);
    }
}
