//! The head of each document, and the names that all documents declare together.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use mandate_model::{
    ActionName, AgentTypeName, OperatorName, PolicyName, ProviderName, ServerName,
};

use crate::mistake::{Mistakes, Place, did_you_mean};
use crate::shape::{self, API_VERSION, KINDS, Kind, METADATA, Shape};
use crate::source::{Node, Value};

/// A document whose kind is known. Its spec need not be of the right shape.
pub(super) struct Document {
    pub(super) kind: &'static str,
    pub(super) name: Option<String>,
    pub(super) name_at: Place,
    pub(super) spec: Option<Node>,
}

/// Reads the heads of documents and checks shapes. What has no known kind is left out.
pub(super) fn documents(nodes: Vec<Node>, mistakes: &mut Mistakes) -> Vec<Document> {
    nodes
        .into_iter()
        .filter_map(|node| document(&node, mistakes))
        .collect()
}

fn document(node: &Node, mistakes: &mut Mistakes) -> Option<Document> {
    if !matches!(node.value, Value::Map(_)) {
        let message = format!("a document is a mapping, and this is {}", node.kind());
        mistakes.error(
            node.at,
            message,
            "begin with `kind:`, `metadata:` and `spec:`",
        );
        return None;
    }
    check_head(node, mistakes);
    let kind = kind(node, mistakes)?;
    let metadata = node.get("metadata");
    if let Some(metadata) = metadata {
        shape::check(metadata, &Shape::Record(METADATA), "metadata", mistakes);
    }
    let name = metadata.and_then(|m| m.get("name"));
    let spec = node.get("spec");
    if let Some(spec) = spec {
        shape::check(spec, &kind.spec, "spec", mistakes);
    }
    Some(Document {
        kind: kind.name,
        name: name.and_then(|n| Some(n.text()?.to_owned())),
        name_at: name.map_or(node.at, |n| n.at),
        spec: spec.cloned(),
    })
}

fn check_head(node: &Node, mistakes: &mut Mistakes) {
    for (key, value) in node.members() {
        match key.name.as_str() {
            "apiVersion" if value.text() == Some(API_VERSION) => {}
            "apiVersion" => {
                let message = "this `apiVersion` is not supported by this version";
                mistakes.error(value.at, message, format!("say `{API_VERSION}`"));
            }
            "kind" | "metadata" | "spec" => {}
            other => {
                let message = format!("a document has no field `{other}`");
                let help = did_you_mean(other, ["apiVersion", "kind", "metadata", "spec"]);
                mistakes.error(key.at, message, help);
            }
        }
    }
    for name in ["kind", "metadata", "spec"] {
        if node.get(name).is_none() {
            let message = format!("the document lacks `{name}`");
            mistakes.error(
                node.at,
                message,
                "a document has `kind`, `metadata` and `spec`",
            );
        }
    }
}

fn kind(node: &Node, mistakes: &mut Mistakes) -> Option<&'static Kind> {
    let said = node.get("kind")?;
    let found = said
        .text()
        .and_then(|text| KINDS.iter().find(|kind| kind.name == text));
    if found.is_none() {
        let text = said.text().unwrap_or_default();
        let help = did_you_mean(text, KINDS.iter().map(|kind| kind.name));
        mistakes.error(said.at, format!("`{text}` is no kind of declaration"), help);
    }
    found
}

/// Every declared name with its place, whether or not the rest of its declaration is sound: a
/// mistake in one declaration is not reported again wherever its name is used.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) providers: BTreeMap<ProviderName, Place>,
    pub(super) agents: BTreeMap<AgentTypeName, Place>,
    pub(super) servers: BTreeMap<ServerName, Place>,
    pub(super) actions: BTreeMap<ServerName, BTreeMap<ActionName, Place>>,
    pub(super) places: Places,
}

/// The place of each declaration, by kind and name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(BTreeMap<(&'static str, String), DeclPlace>);

#[derive(Debug, Clone, Default)]
struct DeclPlace {
    name: Place,
    fields: BTreeMap<String, Place>,
}

impl Places {
    /// Where a declaration says its name.
    pub(crate) fn name(&self, kind: &'static str, name: &str) -> Place {
        self.0
            .get(&(kind, name.to_owned()))
            .map_or_else(Place::default, |d| d.name)
    }

    /// Where a declaration says `field`, or its name where it does not say it.
    pub(crate) fn field(&self, kind: &'static str, name: &str, field: &str) -> Place {
        let declared = self.0.get(&(kind, name.to_owned()));
        declared
            .and_then(|d| d.fields.get(field).copied())
            .unwrap_or_else(|| self.name(kind, name))
    }
}

impl Names {
    pub(super) fn of(documents: &[Document], mistakes: &mut Mistakes) -> Self {
        let mut names = Self::default();
        names.providers.extend(
            ProviderName::parse(crate::bundle::PROCESS_PROVIDER)
                .ok()
                .map(|name| (name, Place::default())),
        );
        let mut policies = BTreeMap::<PolicyName, Place>::new();
        let mut operators = BTreeMap::<OperatorName, Place>::new();
        let mut manifests = BTreeMap::<ServerName, Place>::new();
        for document in documents {
            names.note_place(document);
            match document.kind {
                "TrustProvider" => {
                    // The built-in one may be declared, to the same effect.
                    if document.name.as_deref() == Some(crate::bundle::PROCESS_PROVIDER) {
                        names.providers.clear_builtin();
                    }
                    declare(&mut names.providers, document, mistakes);
                }
                "AgentType" => declare(&mut names.agents, document, mistakes),
                "ServerWorkload" => {
                    declare(&mut names.servers, document, mistakes);
                    names.note_actions(document);
                }
                // Records and `explain` name policies of all three kinds in one list.
                "AccessPolicy" | "TaskPolicy" | "Guardrail" => {
                    declare(&mut policies, document, mistakes);
                }
                "ToolManifest" => declare(&mut manifests, document, mistakes),
                _ => declare(&mut operators, document, mistakes),
            }
        }
        names.check_manifests(&manifests, mistakes);
        names
    }

    /// A manifest has the name of the server workload whose tools it lists.
    fn check_manifests(&self, manifests: &BTreeMap<ServerName, Place>, mistakes: &mut Mistakes) {
        for (name, at) in manifests {
            if !self.servers.contains_key(name) {
                let message = format!("no server workload is named `{name}`");
                let help = did_you_mean(name.as_str(), self.servers.keys().map(ServerName::as_str));
                mistakes.error(*at, message, help);
            }
        }
    }

    fn note_place(&mut self, document: &Document) {
        let fields = document.spec.iter().flat_map(Node::members);
        let place = DeclPlace {
            name: document.name_at,
            fields: fields.map(|(k, v)| (k.name.clone(), v.at)).collect(),
        };
        if let Some(name) = &document.name {
            let key = (document.kind, name.clone());
            self.places.0.entry(key).or_insert(place);
        }
    }

    fn note_actions(&mut self, document: &Document) {
        let Some(server) = document
            .name
            .as_deref()
            .and_then(|n| ServerName::parse(n).ok())
        else {
            return;
        };
        let actions = document.spec.as_ref().and_then(|spec| spec.get("actions"));
        let declared: BTreeMap<ActionName, Place> = actions
            .into_iter()
            .flat_map(Node::members)
            .filter_map(|(key, _)| Some((ActionName::parse(&key.name).ok()?, key.at)))
            .collect();
        self.actions.entry(server).or_insert(declared);
    }

    /// The actions of a server, declared or not.
    pub(super) fn actions_of(&self, server: &ServerName) -> BTreeMap<ActionName, Place> {
        self.actions.get(server).cloned().unwrap_or_default()
    }
}

trait ClearBuiltin {
    fn clear_builtin(&mut self);
}

impl ClearBuiltin for BTreeMap<ProviderName, Place> {
    fn clear_builtin(&mut self) {
        self.retain(|name, place| {
            name.as_str() != crate::bundle::PROCESS_PROVIDER || *place != Place::default()
        });
    }
}

fn declare<T>(into: &mut BTreeMap<T, Place>, document: &Document, mistakes: &mut Mistakes)
where
    T: FromStr + Ord + Display,
    T::Err: Display,
{
    let Some(text) = document.name.as_deref().filter(|t| !t.trim().is_empty()) else {
        return;
    };
    match text.parse::<T>() {
        Err(error) => mistakes.error(document.name_at, error.to_string(), ""),
        Ok(name) if into.contains_key(&name) => {
            let message = format!("`{name}` is declared twice");
            mistakes.error(
                document.name_at,
                message,
                "rename one of them, or remove it",
            );
        }
        Ok(name) => {
            into.insert(name, document.name_at);
        }
    }
}
