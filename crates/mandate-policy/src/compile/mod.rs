//! Declarations into Cedar: `permit`s with fixed heads, `forbid`s, and the index over them.

mod condition;
mod rights;
mod schema;
pub(crate) mod text;
pub(crate) mod validate;

use std::collections::HashMap;
use std::time::Duration;

use cedar_policy::{EntityUid, Policy, PolicyId, PolicySet};
use mandate_model::{ActionName, AgentTypeName, PolicyName, ServerName};

use crate::bundle::Declared;
use crate::check::Places;
use crate::decl::{AccessPolicy, Guardrail};
use crate::mistake::Mistakes;
pub(crate) use condition::{Part, PartKind};
pub(crate) use rights::{OperatorContext, Rights};
pub use schema::context_schema;

/// The compiled policies of a bundle.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    agents: HashMap<AgentTypeName, Agent>,
    servers: HashMap<ServerName, Server>,
    guardrails: Vec<(Guardrail, Policy)>,
    pub(crate) rights: Rights,
}

#[derive(Debug, Clone)]
struct Agent {
    uid: EntityUid,
    cells: HashMap<ServerName, HashMap<ActionName, Cell>>,
}

#[derive(Debug, Clone)]
struct Server {
    uid: EntityUid,
    actions: HashMap<ActionName, EntityUid>,
}

/// Everything that Cedar needs to see for one (agent type, server workload, action): the permits
/// whose heads are exactly this, and the guardrails that are about it.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    pub(crate) policies: PolicySet,
    pub(crate) permits: Vec<Permit>,
    pub(crate) guardrails: Vec<PolicyName>,
    /// A permit per part of each permit's condition, so that Cedar itself says which part did not
    /// hold. Read only to explain a denial.
    pub(crate) parts: PolicySet,
}

/// One permit of a cell.
#[derive(Debug, Clone)]
pub(crate) struct Permit {
    pub(crate) id: PolicyId,
    pub(crate) policy: PolicyName,
    pub(crate) max_token_lifetime: Option<Duration>,
    pub(crate) parts: Vec<(PolicyId, Part)>,
}

/// The head of a request.
pub(crate) struct Head<'a> {
    pub(crate) agent: &'a EntityUid,
    pub(crate) action: &'a EntityUid,
    pub(crate) server: &'a EntityUid,
}

impl Engine {
    /// Compiles and strictly validates everything. Mistakes in conditions are noted; `None` only
    /// if names do not make Cedar entities.
    ///
    /// Where `is_whole` is false some declarations are missing, and conditions that only for that
    /// reason seem to be constant are not complained about.
    pub(crate) fn compile(
        declared: &Declared,
        places: &Places,
        is_whole: bool,
        mistakes: &mut Mistakes,
    ) -> Option<Self> {
        validate::check(declared, places, is_whole, mistakes);
        let guardrails = declared
            .guardrails
            .values()
            .filter_map(|g| Some((g.clone(), text::guardrail(g)?)))
            .collect();
        let mut engine = Self {
            agents: agents(declared)?,
            servers: servers(declared)?,
            guardrails,
            rights: Rights::compile(declared, places, mistakes)?,
        };
        for policy in declared.access.values() {
            engine.add(policy, declared);
        }
        Some(engine)
    }

    fn add(&mut self, policy: &AccessPolicy, declared: &Declared) {
        for name in &policy.agents {
            for action in &policy.actions {
                // Where something did not compile, validation has said why, and nothing loads.
                let _ = self.add_permit(policy, name, action, declared);
            }
        }
    }

    fn add_permit(
        &mut self,
        policy: &AccessPolicy,
        agent: &AgentTypeName,
        action: &ActionName,
        declared: &Declared,
    ) -> Option<()> {
        declared.action(&policy.server, action)?;
        let head = text::Head::new(agent, &policy.server, action);
        let id = text::permit_id(&policy.name, &head);
        let parts = condition::parts(policy);
        let permit = text::permit(&id, &head, &parts)?;
        let guardrails = self.guardrails_about(agent, &policy.server);
        let cells = &mut self.agents.get_mut(agent)?.cells;
        let cell = cells
            .entry(policy.server.clone())
            .or_default()
            .entry(action.clone())
            .or_insert_with(|| Cell::with(&guardrails));
        cell.add(policy, id, permit, parts, &head)
    }

    fn guardrails_about(
        &self,
        agent: &AgentTypeName,
        server: &ServerName,
    ) -> Vec<(Guardrail, Policy)> {
        let about = |(guardrail, _): &&(Guardrail, _)| is_about(guardrail, agent, server);
        self.guardrails.iter().filter(about).cloned().collect()
    }

    /// What is asked where no access policy permits: the guardrails alone. Only ever to explain.
    pub(crate) fn without_permits(&self, agent: &AgentTypeName, server: &ServerName) -> Cell {
        Cell::with(&self.guardrails_about(agent, server))
    }

    /// The policies that are about this; `None` means default deny.
    pub(crate) fn cell(
        &self,
        agent: &AgentTypeName,
        server: &ServerName,
        action: &ActionName,
    ) -> Option<&Cell> {
        self.agents.get(agent)?.cells.get(server)?.get(action)
    }

    pub(crate) fn has_cell(
        &self,
        agent: &AgentTypeName,
        server: &ServerName,
        action: &ActionName,
    ) -> bool {
        self.cell(agent, server, action).is_some()
    }

    pub(crate) fn head<'a>(
        &'a self,
        agent: &AgentTypeName,
        server: &ServerName,
        action: &ActionName,
    ) -> Option<Head<'a>> {
        let workload = self.servers.get(server)?;
        Some(Head {
            agent: &self.agents.get(agent)?.uid,
            action: workload.actions.get(action)?,
            server: &workload.uid,
        })
    }

    /// Every policy at once, without the index: what the property test compares with (C6).
    #[cfg(test)]
    pub(crate) fn whole(&self) -> PolicySet {
        let mut all = PolicySet::new();
        for (_, policy) in &self.guardrails {
            all.add(policy.clone()).unwrap();
        }
        let cells = self.agents.values().flat_map(|a| a.cells.values());
        for cell in cells.flat_map(HashMap::values) {
            for permit in &cell.permits {
                all.add(cell.policies.policy(&permit.id).unwrap().clone())
                    .unwrap();
            }
        }
        all
    }
}

impl Cell {
    fn with(guardrails: &[(Guardrail, Policy)]) -> Self {
        let policies = guardrails.iter().map(|(_, policy)| policy.clone());
        Self {
            policies: PolicySet::from_policies(policies).unwrap_or_default(),
            permits: Vec::new(),
            guardrails: guardrails.iter().map(|(g, _)| g.name.clone()).collect(),
            parts: PolicySet::new(),
        }
    }

    fn add(
        &mut self,
        policy: &AccessPolicy,
        id: PolicyId,
        permit: Policy,
        parts: Vec<Part>,
        head: &text::Head,
    ) -> Option<()> {
        self.policies.add(permit).ok()?;
        let mut named = Vec::with_capacity(parts.len());
        for (n, part) in parts.into_iter().enumerate() {
            let part_id = text::part_id(&id, n);
            let alone = text::permit(&part_id, head, std::slice::from_ref(&part))?;
            self.parts.add(alone).ok()?;
            named.push((part_id, part));
        }
        self.permits.push(Permit {
            id,
            policy: policy.name.clone(),
            max_token_lifetime: policy.max_token_lifetime,
            parts: named,
        });
        Some(())
    }
}

fn is_about(guardrail: &Guardrail, agent: &AgentTypeName, server: &ServerName) -> bool {
    guardrail
        .agents
        .as_ref()
        .is_none_or(|set| set.contains(agent))
        && guardrail
            .servers
            .as_ref()
            .is_none_or(|set| set.contains(server))
}

fn agents(declared: &Declared) -> Option<HashMap<AgentTypeName, Agent>> {
    let agent = |name: &AgentTypeName| {
        let uid = text::uid("Agent", name.as_str())?;
        let cells = HashMap::new();
        Some((name.clone(), Agent { uid, cells }))
    };
    declared.agents.keys().map(agent).collect()
}

fn servers(declared: &Declared) -> Option<HashMap<ServerName, Server>> {
    declared
        .servers
        .values()
        .map(|server| {
            let actions: Option<_> = server
                .actions
                .keys()
                .map(|a| Some((a.clone(), text::action_uid(&server.name, a)?)))
                .collect();
            let compiled = Server {
                uid: text::uid("Server", server.name.as_str())?,
                actions: actions?,
            };
            Some((server.name.clone(), compiled))
        })
        .collect()
}
