//! Access policies and guardrails.

use std::collections::{BTreeMap, BTreeSet};

use mandate_model::{PolicyName, ServerName};

use super::names::Names;
use super::place_of;
use super::read::{attribute_name, constraints, duration, known, known_list, text};
use crate::compile::validate::is_expression;
use crate::decl::{AccessPolicy, Action, Guardrail, ServerWorkload};
use crate::mistake::Mistakes;
use crate::source::Node;

pub(super) fn access_policy(
    name: &str,
    spec: &Node,
    names: &Names,
    servers: &BTreeMap<ServerName, ServerWorkload>,
    mistakes: &mut Mistakes,
) -> Option<AccessPolicy> {
    let name = PolicyName::parse(name).ok()?;
    let agents = known_list(spec, "agents", &names.agents, "agent type", mistakes);
    let server = spec
        .get("server")
        .and_then(|node| known(node, &names.servers, "server workload", mistakes));
    let Some(server) = server else {
        // Nothing is compiled of it, so that this is seen here or not at all.
        if let Some(when) = text(spec, "when") {
            is_expression(&when, place_of(spec, "when"), mistakes);
        }
        return None;
    };
    let declared = names.actions_of(&server);
    let what = format!("action of `{server}`");
    let actions = known_list(spec, "actions", &declared, &what, mistakes);
    let sound: Vec<&Action> = servers
        .get(&server)
        .map(|s| actions.iter().filter_map(|a| s.actions.get(a)).collect())
        .unwrap_or_default();
    let fixed = spec.get("taskMustFix").map_or(&[] as &[Node], Node::items);
    let task_must_fix: BTreeSet<_> = fixed
        .iter()
        .filter_map(|node| attribute_name(node.text()?, node.at, &sound, mistakes))
        .collect();
    Some(AccessPolicy {
        task_must_fix,
        limits: constraints(spec, "limits", &sound, mistakes),
        when: text(spec, "when"),
        max_token_lifetime: duration(spec, "maxTokenLifetime"),
        name,
        agents,
        server,
        actions,
    })
}

pub(super) fn guardrail(
    name: &str,
    spec: &Node,
    names: &Names,
    mistakes: &mut Mistakes,
) -> Option<Guardrail> {
    let agents = known_list(spec, "agents", &names.agents, "agent type", mistakes);
    let servers = known_list(spec, "servers", &names.servers, "server workload", mistakes);
    Some(Guardrail {
        name: PolicyName::parse(name).ok()?,
        forbid: text(spec, "forbid")?,
        agents: spec.get("agents").map(|_| agents),
        servers: spec.get("servers").map(|_| servers),
    })
}
