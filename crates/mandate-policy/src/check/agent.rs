//! Agent types.

use std::collections::{BTreeMap, BTreeSet};

use mandate_model::{AgentTypeName, ProviderName};

use super::names::Names;
use super::read::{known, known_list, text};
use super::{LoadEnv, rules};
use crate::decl::{AgentType, BreakGlass, Pin, Possession, ProcessRule, SpawnScope, UserRule};
use crate::mistake::Mistakes;
use crate::source::Node;

pub(super) fn agent_type(
    name: &str,
    spec: &Node,
    names: &Names,
    env: &LoadEnv,
    mistakes: &mut Mistakes,
) -> Option<AgentType> {
    let name = AgentTypeName::parse(name).ok()?;
    let hosted_by = known_list(spec, "hostedBy", &names.agents, "agent type", mistakes);
    if hosted_by.contains(&name) {
        let at = super::place_of(spec, "hostedBy");
        mistakes.error(
            at,
            format!("`{name}` cannot host itself"),
            "remove it from the list",
        );
    }
    if spec.get("attestation").is_none() && spec.get("hostedBy").is_none() {
        let message = format!("nothing proves that an agent is `{name}`");
        mistakes.error(
            spec.at,
            message,
            "add `attestation`, or `hostedBy` for an agent in another's process",
        );
    }
    let break_glass = spec.get("breakGlass").and_then(break_glass);
    Some(AgentType {
        id: env.trust_domain.agent(&name),
        process_rules: process_rules(&name, spec, names, mistakes),
        token_rules: rules::token_rules(&name, spec, names, mistakes),
        aws_rules: rules::aws_rules(&name, spec, names, mistakes),
        hosted_by,
        may_spawn: may_spawn(spec, names, mistakes),
        federation: federation(spec),
        pin: match text(spec, "pin").as_deref() {
            Some("instance") => Pin::Instance,
            Some(_) | None => Pin::None,
        },
        proof: possession(spec),
        break_glass: break_glass?,
        name,
    })
}

/// What `proof` of an agent type or a server workload says.
pub(super) fn possession(spec: &Node) -> Possession {
    match text(spec, "proof").as_deref() {
        Some("required") => Possession::Required,
        Some(_) | None => Possession::Optional,
    }
}

fn break_glass(node: &Node) -> Option<BreakGlass> {
    let steps = node.get("steps").map_or(&[] as &[Node], Node::items);
    Some(BreakGlass {
        contact: text(node, "contact")?,
        impact: text(node, "impact")?,
        steps: steps
            .iter()
            .filter_map(|s| Some(s.text()?.to_owned()))
            .collect(),
        resume_needs_second_operator: node.get("resume").is_some(),
    })
}

fn federation(spec: &Node) -> BTreeSet<String> {
    let audiences = spec.get("federation").map_or(&[] as &[Node], Node::items);
    audiences
        .iter()
        .filter_map(|node| Some(node.text()?.to_owned()))
        .collect()
}

fn may_spawn(
    spec: &Node,
    names: &Names,
    mistakes: &mut Mistakes,
) -> BTreeMap<AgentTypeName, SpawnScope> {
    let mut found = BTreeMap::new();
    let items = spec.get("maySpawn").map_or(&[] as &[Node], Node::items);
    for item in items {
        let named = item.get("agent").unwrap_or(item);
        let Some(child) = known(named, &names.agents, "agent type", mistakes) else {
            continue;
        };
        let scope = match item.get("servers") {
            Some(servers) => SpawnScope::Only(spawn_actions(servers, names, mistakes)),
            None => SpawnScope::Any,
        };
        let is_plain = named.at == item.at;
        let before = found.insert(child.clone(), scope);
        // Two plain names are reported as a repeated text already.
        if before.is_some_and(|before| !is_plain || before != SpawnScope::Any) {
            let message = format!("`maySpawn` lists `{child}` twice");
            mistakes.error(
                named.at,
                message,
                "put everything for one agent type into one item",
            );
        }
    }
    found
}

fn spawn_actions(
    servers: &Node,
    names: &Names,
    mistakes: &mut Mistakes,
) -> BTreeSet<(mandate_model::ServerName, mandate_model::ActionName)> {
    let mut found = BTreeSet::new();
    for (key, actions) in servers.members() {
        let named = Node {
            value: crate::source::Value::Text(key.name.clone()),
            at: key.at,
        };
        let Some(server) = known(&named, &names.servers, "server workload", mistakes) else {
            continue;
        };
        let declared = names.actions_of(&server);
        let what = format!("action of `{server}`");
        for action in actions.items() {
            let action = known(action, &declared, &what, mistakes);
            found.extend(action.map(|action| (server.clone(), action)));
        }
    }
    found
}

fn process_rules(
    agent: &AgentTypeName,
    spec: &Node,
    names: &Names,
    mistakes: &mut Mistakes,
) -> Vec<ProcessRule> {
    let rules = spec.get("attestation").map_or(&[] as &[Node], Node::items);
    rules
        .iter()
        .filter_map(|rule| process_rule(agent, rule.get("process")?, names, mistakes))
        .collect()
}

fn process_rule(
    agent: &AgentTypeName,
    node: &Node,
    names: &Names,
    mistakes: &mut Mistakes,
) -> Option<ProcessRule> {
    let provider = match node.get("provider") {
        Some(said) => known(said, &names.providers, "trust provider", mistakes)?,
        None => ProviderName::parse(crate::bundle::PROCESS_PROVIDER).ok()?,
    };
    let user = user(node, "user", mistakes);
    let unit = text(node, "unit");
    if user.is_none() && unit.is_none() {
        let message = "this rule pins neither user nor unit, so any process could fit it";
        mistakes.error(
            node.at,
            message,
            "add `user`, `uid` or `unit`: path and digest only narrow within it",
        );
    }
    check_path_and_digest(node, mistakes);
    Some(ProcessRule {
        agent: agent.clone(),
        provider,
        user,
        unit,
        path: text(node, "path"),
        sha256: text(node, "sha256"),
        weak: node.get("isolation").is_some(),
    })
}

/// The user that `node` names, by name under `field` or by number under `uid`.
pub(super) fn user(node: &Node, field: &str, mistakes: &mut Mistakes) -> Option<UserRule> {
    if let (Some(_), Some(uid)) = (node.get(field), node.get("uid")) {
        let message = format!("`{field}` and `uid` both name the user");
        mistakes.error(uid.at, message, "keep one of them");
    }
    if let Some(uid) = node.get("uid").and_then(Node::integer) {
        let number = u32::try_from(uid).ok();
        if number.is_none() {
            mistakes.error(super::place_of(node, "uid"), "no user has this number", "");
        }
        return number.map(UserRule::Uid);
    }
    text(node, field).map(UserRule::Name)
}

fn check_path_and_digest(node: &Node, mistakes: &mut Mistakes) {
    if let Some(path) = node.get("path")
        && let Some(text) = path.text()
    {
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        let absolute = text
            .strip_prefix('/')
            .is_some_and(|t| t.split('/').all(plain));
        if !absolute {
            mistakes.error(
                path.at,
                "`path` is no absolute path in plain form",
                "say it as `/opt/agents/retriever`",
            );
        }
    }
    if let Some(sha256) = node.get("sha256")
        && let Some(text) = sha256.text()
    {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 64 || !text.bytes().all(hex) {
            mistakes.error(
                sha256.at,
                "`sha256` is not 64 lower-case hex digits",
                "say what `sha256sum` prints",
            );
        }
    }
}
