//! Documents into checked declarations: every mistake at once, none hides another.

mod a2a;
mod access;
mod action;
mod agent;
mod claim;
mod cross;
mod gateways;
mod http;
mod llm;
mod manifest;
mod mcp;
mod moment;
mod names;
mod operator;
mod people;
mod platform;
mod provider;
mod providers;
mod read;
mod rules;
mod server;
mod task;
mod url;

use mandate_model::{Timestamp, TrustDomain};

use crate::bundle::{Bundle, Declared};
use crate::compile::Engine;
use crate::decl::Manifest;
use crate::mistake::{Mistake, Mistakes, Place};
use crate::source::{self, MAX_BYTES, MAX_FILES, Node, SourceFile};
use names::Names;
pub(crate) use names::Places;
pub use read::UnfitConstraint;
pub(crate) use read::{check_fit, parse_duration};

/// What a bundle needs to know about where it is loaded.
#[derive(Debug, Clone)]
pub struct LoadEnv {
    /// The trust domain that agent types belong to.
    pub trust_domain: TrustDomain,
    /// The authority's issuer: the audience of client assertions (A4).
    pub issuer: String,
}

/// A bundle that loaded, and what somebody should look at.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Loaded {
    /// The bundle.
    pub bundle: Bundle,
    /// Warnings, in the order of the text.
    pub warnings: Vec<Mistake>,
}

/// Loads a bundle from the text of its files.
///
/// Either all of it loads or nothing does (FAILURES 40). On failure every mistake is there, errors
/// and warnings, in the order of the text.
pub fn load(files: &[SourceFile], env: &LoadEnv, now: Timestamp) -> Result<Loaded, Vec<Mistake>> {
    let mut mistakes = Mistakes::default();
    let bundle = read_bundle(files, env, now, &mut mistakes);
    let failed = mistakes.has_errors();
    let notes = mistakes.into_sorted(files);
    match bundle {
        Some(bundle) if !failed => Ok(Loaded {
            bundle,
            warnings: notes,
        }),
        Some(_) | None => Err(notes),
    }
}

/// Reads a `ToolManifest` that stands alone in `file`, without the bundle that it is for.
pub fn read_manifest(file: &SourceFile) -> Result<Manifest, Vec<Mistake>> {
    let mut mistakes = Mistakes::default();
    let files = std::slice::from_ref(file);
    let documents = source::documents(files, &mut mistakes);
    let documents = names::documents(documents, &mut mistakes);
    let manifest = match &*documents {
        [only] if only.kind == "ToolManifest" => only.spec.as_ref(),
        _ => {
            let message = "the file has something else than one `ToolManifest`";
            mistakes.error(Place::default(), message, "keep other documents elsewhere");
            None
        }
    };
    let tools = manifest.map(|spec| manifest::tools_of(spec, &mut mistakes).0);
    match tools {
        Some(tools) if !mistakes.has_errors() => Ok(Manifest::of(tools)),
        Some(_) | None => Err(mistakes.into_sorted(files)),
    }
}

pub(crate) fn read_bundle(
    files: &[SourceFile],
    env: &LoadEnv,
    now: Timestamp,
    mistakes: &mut Mistakes,
) -> Option<Bundle> {
    check_size(files, mistakes)?;
    let documents = source::documents(files, mistakes);
    let documents = names::documents(documents, mistakes);
    let names = Names::of(&documents, mistakes);
    let declared = read_declared(&documents, &names, env, now, mistakes);
    cross::check(&declared, &names, env, mistakes);
    let is_whole = !mistakes.has_errors();
    if is_whole {
        cross::check_whole(&declared, &names, mistakes);
    }
    let engine = Engine::compile(&declared, &names.places, is_whole, mistakes)?;
    let digest = source::digest(files);
    Some(Bundle::new(declared, engine, env, digest))
}

fn check_size(files: &[SourceFile], mistakes: &mut Mistakes) -> Option<()> {
    let bytes: usize = files.iter().map(|f| f.text.len()).sum();
    if files.len() > MAX_FILES || bytes > MAX_BYTES {
        let message =
            format!("a bundle has at most {MAX_FILES} files and {MAX_BYTES} bytes in all");
        mistakes.error(
            Place::default(),
            message,
            "split it, or remove what is no bundle",
        );
        return None;
    }
    Some(())
}

fn read_declared(
    documents: &[names::Document],
    names: &Names,
    env: &LoadEnv,
    now: Timestamp,
    mistakes: &mut Mistakes,
) -> Declared {
    let mut declared = Declared::with_builtin_provider();
    let specs = |kind: &'static str| {
        documents
            .iter()
            .filter(move |d| d.kind == kind)
            .filter_map(|d| Some((d.name.as_deref()?, d.spec.as_ref()?)))
    };
    for (name, spec) in specs("TrustProvider") {
        declared.add_provider(provider::provider(name, spec, env, mistakes));
    }
    for (name, spec) in specs("AgentType") {
        declared.add_agent(agent::agent_type(name, spec, names, env, mistakes));
    }
    for (name, spec) in specs("ServerWorkload") {
        declared.add_server(server::server(name, spec, (names, env, now), mistakes));
    }
    for (name, spec) in specs("ToolManifest") {
        manifest::manifest(name, spec, &mut declared.servers, mistakes);
    }
    for (name, spec) in specs("AccessPolicy") {
        let policy = access::access_policy(name, spec, names, &declared.servers, mistakes);
        declared.add_access(policy);
    }
    for (name, spec) in specs("Guardrail") {
        declared.add_guardrail(access::guardrail(name, spec, names, mistakes));
    }
    for (name, spec) in specs("TaskPolicy") {
        let policy = task::task_policy(name, spec, names, &declared.servers, mistakes);
        declared.add_task_policy(policy);
    }
    for (name, spec) in specs("Operator") {
        let operator = operator::operator(name, spec, names, &declared.providers, mistakes);
        declared.add_operator(operator);
    }
    declared
}

/// The place of what `node` says under `field`, or of the whole node.
pub(crate) fn place_of(node: &Node, field: &str) -> Place {
    node.get(field).map_or(node.at, |n| n.at)
}

#[cfg(test)]
mod tests;
