//! A checked bundle.

use std::collections::{BTreeMap, HashMap};

use mandate_model::mandate::Entries;
use mandate_model::{
    ActionName, AgentTypeName, AttributeName, AttributeType, OperatorName, PolicyName,
    ProviderName, ServerName, SpiffeId, TrustDomain,
};

use crate::check::LoadEnv;
use crate::compile::Engine;
use crate::decl::{
    AccessPolicy, Action, AgentType, Attribute, AwsRule, Guardrail, Operator, ProcessRule,
    ProviderKind, ServerWorkload, SpawnScope, TaskPolicy, TokenRule, TrustProvider,
};

/// The provider of kind `process` that exists without a declaration.
pub(crate) const PROCESS_PROVIDER: &str = "process";

/// Declarations by name, as far as they are sound.
#[derive(Debug, Clone, Default)]
pub(crate) struct Declared {
    pub(crate) providers: BTreeMap<ProviderName, TrustProvider>,
    pub(crate) agents: BTreeMap<AgentTypeName, AgentType>,
    pub(crate) servers: BTreeMap<ServerName, ServerWorkload>,
    pub(crate) access: BTreeMap<PolicyName, AccessPolicy>,
    pub(crate) guardrails: BTreeMap<PolicyName, Guardrail>,
    pub(crate) task_policies: BTreeMap<PolicyName, TaskPolicy>,
    pub(crate) operators: BTreeMap<OperatorName, Operator>,
}

impl Declared {
    pub(crate) fn with_builtin_provider() -> Self {
        let mut declared = Self::default();
        let builtin = ProviderName::parse(PROCESS_PROVIDER).ok();
        declared.add_provider(builtin.map(|name| TrustProvider {
            name,
            kind: ProviderKind::Process,
        }));
        declared
    }

    pub(crate) fn add_provider(&mut self, made: Option<TrustProvider>) {
        self.providers.extend(made.map(|d| (d.name.clone(), d)));
    }

    pub(crate) fn add_agent(&mut self, made: Option<AgentType>) {
        self.agents.extend(made.map(|d| (d.name.clone(), d)));
    }

    pub(crate) fn add_server(&mut self, made: Option<ServerWorkload>) {
        self.servers.extend(made.map(|d| (d.name.clone(), d)));
    }

    pub(crate) fn add_access(&mut self, made: Option<AccessPolicy>) {
        self.access.extend(made.map(|d| (d.name.clone(), d)));
    }

    pub(crate) fn add_guardrail(&mut self, made: Option<Guardrail>) {
        self.guardrails.extend(made.map(|d| (d.name.clone(), d)));
    }

    pub(crate) fn add_task_policy(&mut self, made: Option<TaskPolicy>) {
        self.task_policies.extend(made.map(|d| (d.name.clone(), d)));
    }

    pub(crate) fn add_operator(&mut self, made: Option<Operator>) {
        self.operators.extend(made.map(|d| (d.name.clone(), d)));
    }

    pub(crate) fn action(&self, server: &ServerName, action: &ActionName) -> Option<&Action> {
        self.servers.get(server)?.actions.get(action)
    }

    pub(crate) fn attribute(
        &self,
        server: &ServerName,
        action: &ActionName,
        attribute: &AttributeName,
    ) -> Option<&Attribute> {
        self.action(server, action)?.attributes.get(attribute)
    }

    pub(crate) fn has_attribute(
        &self,
        server: &ServerName,
        action: &ActionName,
        attribute: &AttributeName,
    ) -> bool {
        self.attribute(server, action, attribute).is_some()
    }

    pub(crate) fn attribute_type(
        &self,
        server: &ServerName,
        action: &ActionName,
        attribute: &AttributeName,
    ) -> Option<&AttributeType> {
        self.attribute(server, action, attribute).map(|a| &a.ty)
    }

    /// Whether some access policy names `agent` for this.
    pub(crate) fn exercises(
        &self,
        agent: &AgentTypeName,
        server: &ServerName,
        action: &ActionName,
    ) -> bool {
        self.access
            .values()
            .any(|p| p.agents.contains(agent) && p.server == *server && p.actions.contains(action))
    }

    /// The agent types to which `agent` may delegate this.
    pub(crate) fn children(
        &self,
        agent: &AgentTypeName,
        server: &ServerName,
        action: &ActionName,
    ) -> Vec<AgentTypeName> {
        let covers = |scope: &SpawnScope| match scope {
            SpawnScope::Any => true,
            SpawnScope::Only(set) => set.contains(&(server.clone(), action.clone())),
        };
        let children = self
            .agents
            .get(agent)
            .into_iter()
            .flat_map(|a| &a.may_spawn);
        children
            .filter(|(_, scope)| covers(scope))
            .map(|(child, _)| child.clone())
            .collect()
    }
}

impl Declared {
    /// `opener` and every agent type to which this can be delegated from it, over any number of
    /// steps.
    pub(crate) fn reach(
        &self,
        opener: &AgentTypeName,
        server: &ServerName,
        action: &ActionName,
    ) -> Vec<AgentTypeName> {
        let mut seen = vec![opener.clone()];
        let mut next = 0;
        while let Some(agent) = seen.get(next).cloned() {
            next += 1;
            for child in self.children(&agent, server, action) {
                if !seen.contains(&child) {
                    seen.push(child);
                }
            }
        }
        seen
    }
}

/// A versioned set of declarations: checked, compiled and immutable. Only [`load`](crate::load)
/// makes one.
#[derive(Debug, Clone)]
pub struct Bundle {
    pub(crate) declared: Declared,
    pub(crate) engine: Engine,
    trust_domain: TrustDomain,
    issuer: String,
    digest: String,
    rules: Vec<ProcessRule>,
    by_resource: HashMap<String, ServerName>,
    by_host: HashMap<String, ServerName>,
}

impl Bundle {
    pub(crate) fn new(declared: Declared, engine: Engine, env: &LoadEnv, digest: String) -> Self {
        let servers = declared.servers.values();
        Self {
            trust_domain: env.trust_domain.clone(),
            issuer: env.issuer.clone(),
            digest,
            rules: declared
                .agents
                .values()
                .flat_map(|agent| agent.process_rules.iter().cloned())
                .collect(),
            by_resource: servers
                .clone()
                .map(|s| (s.resource.clone(), s.name.clone()))
                .collect(),
            by_host: servers
                .flat_map(|s| s.http.hosts.iter().map(|h| (h.clone(), s.name.clone())))
                .collect(),
            declared,
            engine,
        }
    }

    /// The trust domain that it was loaded for.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The issuer that it was loaded for.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// SHA-256 over its files, in hex; see [`digest`](crate::digest).
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The trust providers, sorted by name; the built-in `process` is among them.
    pub fn providers(&self) -> impl Iterator<Item = &TrustProvider> {
        self.declared.providers.values()
    }

    /// The trust provider of this name.
    pub fn provider(&self, name: &ProviderName) -> Option<&TrustProvider> {
        self.declared.providers.get(name)
    }

    /// The agent types, sorted by name.
    pub fn agents(&self) -> impl Iterator<Item = &AgentType> {
        self.declared.agents.values()
    }

    /// The agent type of this name.
    pub fn agent(&self, name: &AgentTypeName) -> Option<&AgentType> {
        self.declared.agents.get(name)
    }

    /// The agent type that `id` names, if it is of this trust domain and declared.
    pub fn agent_by_id(&self, id: &SpiffeId) -> Option<&AgentType> {
        if id.trust_domain() != self.trust_domain.as_str() {
            return None;
        }
        self.agent(&id.agent_type()?)
    }

    /// The server workloads, sorted by name.
    pub fn servers(&self) -> impl Iterator<Item = &ServerWorkload> {
        self.declared.servers.values()
    }

    /// The server workload of this name.
    pub fn server(&self, name: &ServerName) -> Option<&ServerWorkload> {
        self.declared.servers.get(name)
    }

    /// The server workload with this resource indicator (RFC 8707), compared byte for byte.
    pub fn server_by_resource(&self, resource: &str) -> Option<&ServerWorkload> {
        self.server(self.by_resource.get(resource)?)
    }

    /// The server workload that agents reach by this host, in lower case and without port.
    pub fn server_by_host(&self, host: &str) -> Option<&ServerWorkload> {
        self.server(self.by_host.get(host)?)
    }

    /// The access policies, sorted by name.
    pub fn access_policies(&self) -> impl Iterator<Item = &AccessPolicy> {
        self.declared.access.values()
    }

    /// The guardrails, sorted by name.
    pub fn guardrails(&self) -> impl Iterator<Item = &Guardrail> {
        self.declared.guardrails.values()
    }

    /// The task policies, sorted by name.
    pub fn task_policies(&self) -> impl Iterator<Item = &TaskPolicy> {
        self.declared.task_policies.values()
    }

    /// The task policy of this name.
    pub fn task_policy(&self, name: &PolicyName) -> Option<&TaskPolicy> {
        self.declared.task_policies.get(name)
    }

    /// The operators, sorted by name.
    pub fn operators(&self) -> impl Iterator<Item = &Operator> {
        self.declared.operators.values()
    }

    /// Every process rule of every agent type.
    pub fn process_rules(&self) -> &[ProcessRule] {
        &self.rules
    }

    /// The rules about tokens of this provider, of every agent type.
    pub fn token_rules<'a>(
        &'a self,
        provider: &'a ProviderName,
    ) -> impl Iterator<Item = &'a TokenRule> {
        let rules = self.agents().flat_map(|agent| &agent.token_rules);
        rules.filter(move |rule| rule.provider == *provider)
    }

    /// Every rule about roles of AWS, of every agent type.
    pub fn aws_rules(&self) -> impl Iterator<Item = &AwsRule> {
        self.agents().flat_map(|agent| &agent.aws_rules)
    }

    /// Whether some access policy names this agent type for this action: delegating what the
    /// child could never exercise is an error (A6).
    pub fn could_exercise(
        &self,
        agent: &AgentTypeName,
        server: &ServerName,
        action: &ActionName,
    ) -> bool {
        self.engine.has_cell(agent, server, action)
    }

    /// Whether some access policy names this agent type, or one that it could hand this action on
    /// to, over any number of steps.
    pub fn could_come_about(
        &self,
        agent: &AgentTypeName,
        server: &ServerName,
        action: &ActionName,
    ) -> bool {
        let reach = self.declared.reach(agent, server, action);
        reach
            .iter()
            .any(|agent| self.could_exercise(agent, server, action))
    }

    /// Whether each entry names a declared action, declared attributes, and constraints that fit
    /// their types (A7).
    pub fn check_entries(&self, entries: &Entries) -> Result<(), crate::UndeclaredEntry> {
        crate::entries::check(&self.declared, entries)
    }
}
