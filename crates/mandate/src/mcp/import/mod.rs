//! What a live server declares, as documents of a bundle that grant nothing.
//!
//! Effects are guessed from what the server says of itself, and marked as guesses: a person reads them before anything is
//! enabled. Names come from the server, which may be hostile: what is written is plain text of one line, quoted where it
//! must be, and loaded again before anybody gets it.

mod names;
mod schema;
mod template;
mod yaml;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::plain::plain;
use super::read::{Declared, Item};
use names::Names;
pub(crate) use schema::Attribute;
pub(crate) use yaml::text;

/// A server workload's name, from what the server calls itself.
pub(crate) fn server_name(declared: &Declared) -> String {
    let name = declared
        .name
        .as_deref()
        .and_then(|name| names::name(name, '-'));
    name.unwrap_or_else(|| "mcp".to_owned())
}

/// What only whoever imports can say.
#[derive(Debug)]
pub(crate) struct Place {
    /// The server workload's name.
    pub(crate) name: String,
    /// Where agents reach it.
    pub(crate) resource: String,
    /// Where it is.
    pub(crate) upstream: String,
    /// The path of its endpoint there.
    pub(crate) path: String,
    /// The header that the gateway's credential goes into, and whether it is a bearer token.
    pub(crate) credential: Option<(String, bool)>,
    /// What was read, for the first line.
    pub(crate) source: String,
}

/// A server workload that is to be.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) place: Place,
    pub(crate) actions: Vec<Action>,
    /// What cannot be declared, and why.
    pub(crate) left_out: Vec<LeftOut>,
    revision: String,
}

/// An action that is to be.
#[derive(Debug)]
pub(crate) struct Action {
    pub(crate) name: String,
    /// `tool read_file`.
    pub(crate) pattern: String,
    pub(crate) effect: Effect,
    pub(crate) attributes: Vec<Attribute>,
    /// Attributes that there were too many of.
    more: usize,
    /// What the server says of it, made plain.
    about: String,
    note: Option<&'static str>,
}

/// What an action does, as far as can be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// By its kind, or the server's word.
    Read(&'static str),
    /// Where nothing says otherwise.
    Write,
}

impl Effect {
    /// The word of the bundle.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Effect::Read(_) => "read",
            Effect::Write => "write",
        }
    }

    fn why(self) -> &'static str {
        match self {
            Effect::Read(why) => why,
            Effect::Write => "it does not say that it only reads",
        }
    }
}

/// Something of the server that has no action.
#[derive(Debug)]
pub(crate) struct LeftOut {
    /// Made plain.
    pub(crate) what: String,
    pub(crate) why: String,
}

/// What is read of an item. Members of another type than they should be count as if they were not there.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct About {
    title: Option<Value>,
    description: Option<Value>,
    input_schema: Option<Value>,
    annotations: Option<Value>,
    arguments: Option<Value>,
}

impl About {
    fn of(item: &Item) -> Option<Self> {
        serde_json::from_str(item.raw.get()).ok()
    }

    /// Its first line.
    fn words(&self) -> String {
        let said = [&self.description, &self.title];
        let said = said.into_iter().flatten().find_map(Value::as_str);
        let line = said.unwrap_or_default().trim().lines().next();
        plain(line.unwrap_or_default().trim(), LONGEST_WORDS)
    }
}

impl Imported {
    /// An action for each tool, prompt and resource template.
    pub(crate) fn of(declared: &Declared, place: Place) -> Self {
        let mut imported = Self {
            place,
            actions: Vec::new(),
            left_out: Vec::new(),
            revision: plain(&declared.revision, 40),
        };
        let mut names = Names::default();
        for item in &declared.tools {
            imported.add("tool", item, &mut names, tool);
        }
        for item in &declared.prompts {
            imported.add("prompt", item, &mut names, prompt);
        }
        for item in &declared.templates {
            imported.template(item, &mut names);
        }
        if !declared.resources.is_empty() {
            imported.left_out.push(LeftOut {
                what: format!(
                    "what `resources/list` has, {} in all",
                    declared.resources.len()
                ),
                why: "say which as `resource URI`".to_owned(),
            });
        }
        imported
    }

    fn add(
        &mut self,
        kind: &'static str,
        item: &Item,
        names: &mut Names,
        read: fn(&About) -> (Effect, schema::Found),
    ) {
        let is_plain = |c: char| !c.is_control() && !c.is_whitespace() && !"{}*".contains(c);
        let can = (1..=128).contains(&item.name.len()) && item.name.chars().all(is_plain);
        if !can {
            return self.leave_out(kind, item, "its name is none that a bundle can say");
        }
        let Some(about) = About::of(item) else {
            return self.leave_out(kind, item, UNREADABLE);
        };
        let (effect, found) = read(&about);
        self.actions.push(Action {
            name: names.action(&item.name, kind),
            pattern: format!("{kind} {}", item.name),
            effect,
            attributes: found.attributes,
            more: found.more,
            about: about.words(),
            note: None,
        });
    }

    fn template(&mut self, item: &Item, names: &mut Names) {
        let found = template::pattern(&item.name).and_then(|found| {
            let pattern = format!("resource {}", found.pattern);
            let clashes = |other: &Action| template::clash(&other.pattern, &pattern);
            if self.actions.iter().any(clashes) {
                return Err("it fits the same as another one that is declared");
            }
            Ok(found)
        });
        match (found, About::of(item)) {
            (Ok(found), Some(about)) => self.actions.push(Action {
                name: names.action(&names::of_uri(&item.name), "resource"),
                pattern: format!("resource {}", found.pattern),
                effect: Effect::Read("a resource is read"),
                attributes: Vec::new(),
                more: 0,
                about: about.words(),
                note: found.note,
            }),
            (Err(why), _) => self.leave_out("resource", item, why),
            (Ok(_), None) => self.leave_out("resource", item, UNREADABLE),
        }
    }

    fn leave_out(&mut self, kind: &str, item: &Item, why: &str) {
        let what = format!("{kind} {}", plain(&item.name, 128));
        self.left_out.push(LeftOut {
            what,
            why: why.to_owned(),
        });
    }

    /// The server workload as JSON, and what a reader of the text finds in its comments.
    pub(crate) fn json(&self) -> Value {
        let actions: Map<String, Value> = self
            .actions
            .iter()
            .map(|action| (action.name.clone(), action.json()))
            .collect();
        let place = &self.place;
        let mut mcp = Map::new();
        if place.path != DEFAULT_PATH {
            mcp.insert("path".to_owned(), place.path.clone().into());
        }
        let document = json!({
            "kind": "ServerWorkload",
            "metadata": { "name": place.name },
            "spec": {
                "resource": place.resource, "upstream": place.upstream,
                "credential": self.credential(), "mcp": mcp, "actions": actions,
            },
        });
        let guesses = self.actions.iter().map(|action| {
            json!({ "action": action.name, "effect": action.effect.word(), "why": action.effect.why() })
        });
        let left_out = self.left_out.iter();
        let left_out = left_out.map(|left| json!({ "what": left.what, "why": left.why }));
        json!({
            "documents": [document],
            "guesses": guesses.collect::<Vec<_>>(),
            "left_out": left_out.collect::<Vec<_>>(),
        })
    }

    fn credential(&self) -> Value {
        let secret = format!("${{secret:{}}}", self.secret());
        match &self.place.credential {
            None => json!("none"),
            Some((header, true)) => {
                json!({ "header": header, "value": format!("Bearer {secret}") })
            }
            Some((header, false)) => json!({ "header": header, "value": secret }),
        }
    }

    /// The secret that the gateway's configuration maps.
    fn secret(&self) -> String {
        names::joined(&self.place.name, "-key")
    }
}

impl Action {
    fn json(&self) -> Value {
        let mut json = json!({ "effect": self.effect.word(), "match": self.pattern });
        if let Some(members) = json.as_object_mut()
            && !self.attributes.is_empty()
        {
            let all = self.attributes.iter();
            let all: Map<String, Value> = all.map(|a| (a.name.clone(), a.json())).collect();
            members.insert("attributes".to_owned(), all.into());
        }
        json
    }
}

/// MCP, "Tool Annotations": hints that a server gives of itself.
fn tool(about: &About) -> (Effect, schema::Found) {
    let hint = about
        .annotations
        .as_ref()
        .and_then(|hints| hints.get("readOnlyHint"));
    let effect = match hint {
        Some(Value::Bool(true)) => Effect::Read("its readOnlyHint says so"),
        Some(_) | None => Effect::Write,
    };
    let found = about.input_schema.as_ref().map(schema::attributes);
    (effect, found.unwrap_or_default())
}

fn prompt(about: &About) -> (Effect, schema::Found) {
    let arguments = about.arguments.as_ref().and_then(Value::as_array);
    let names = arguments
        .into_iter()
        .flatten()
        .filter_map(|a| a.get("name")?.as_str());
    (Effect::Read("a prompt is read"), schema::of_texts(names))
}

/// Nested more than 128 levels deep, for example.
const UNREADABLE: &str = "its declaration cannot be read";
const LONGEST_WORDS: usize = 120;
const DEFAULT_PATH: &str = "/mcp";

#[cfg(test)]
mod tests;
