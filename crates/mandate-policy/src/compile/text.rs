//! The text of policies. Everything that is not ours is a checked name or a checked expression.

use std::fmt;

use cedar_policy::{EntityId, EntityTypeName, EntityUid, Policy, PolicyId};
use mandate_model::{ActionName, AgentTypeName, PolicyName, ServerName};

use super::Part;
use crate::decl::Guardrail;

/// `agent` may do `server:action`: what stands in the head of a permit.
pub(super) struct Head {
    agent: AgentTypeName,
    server: ServerName,
    action: ActionName,
}

impl Head {
    pub(super) fn new(agent: &AgentTypeName, server: &ServerName, action: &ActionName) -> Self {
        Self {
            agent: agent.clone(),
            server: server.clone(),
            action: action.clone(),
        }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (agent, server, action) = (&self.agent, &self.server, &self.action);
        write!(
            f,
            "principal == Agent::\"{agent}\", action == Action::\"{server}:{action}\", resource == Server::\"{server}\""
        )
    }
}

/// The id of a permit. Names have neither `@` nor `#`, so ids of different permits differ.
pub(super) fn permit_id(policy: &PolicyName, head: &Head) -> PolicyId {
    let (agent, server, action) = (&head.agent, &head.server, &head.action);
    PolicyId::new(format!("{policy}@{agent}@{server}@{action}"))
}

pub(super) fn part_id(permit: &PolicyId, n: usize) -> PolicyId {
    PolicyId::new(format!("{permit}#{n}"))
}

/// The policy that an id of this module belongs to.
pub(crate) fn policy_name(id: &PolicyId) -> Option<PolicyName> {
    let text: &str = id.as_ref();
    PolicyName::parse(text.split(['@', '#']).next()?).ok()
}

pub(super) fn permit(id: &PolicyId, head: &Head, parts: &[Part]) -> Option<Policy> {
    let mut text = format!("permit({head})");
    for part in parts {
        text.push_str(&format!("\nwhen {{ {} }}", part.expression));
    }
    text.push(';');
    Policy::parse(Some(id.clone()), text).ok()
}

pub(super) fn guardrail(guardrail: &Guardrail) -> Option<Policy> {
    let mut text = "forbid(principal, action, resource)".to_owned();
    if let Some(agents) = &guardrail.agents {
        let list = uids("Agent", agents.iter().map(AgentTypeName::as_str));
        text.push_str(&format!("\nwhen {{ {list}.contains(principal) }}"));
    }
    if let Some(servers) = &guardrail.servers {
        let list = uids("Server", servers.iter().map(ServerName::as_str));
        text.push_str(&format!("\nwhen {{ {list}.contains(resource) }}"));
    }
    text.push_str(&format!("\nwhen {{ {}\n}};", guardrail.forbid));
    Policy::parse(Some(PolicyId::new(guardrail.name.as_str())), text).ok()
}

fn uids<'a>(ty: &str, names: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<String> = names.map(|name| format!("{ty}::\"{name}\"")).collect();
    format!("[{}]", all.join(", "))
}

/// A Cedar string literal.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            _ if c.is_control() => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

pub(super) fn uid(ty: &str, name: &str) -> Option<EntityUid> {
    let ty: EntityTypeName = ty.parse().ok()?;
    Some(EntityUid::from_type_name_and_id(ty, EntityId::new(name)))
}

pub(super) fn action_uid(server: &ServerName, action: &ActionName) -> Option<EntityUid> {
    uid("Action", &format!("{server}:{action}"))
}
