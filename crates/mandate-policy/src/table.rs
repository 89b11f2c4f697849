//! The table of who may do what: what a security engineer reads, and what `plan` compares.

use std::collections::BTreeSet;
use std::fmt;

use mandate_model::{
    ActionName, AgentTypeName, AttestationKind, Effect, PolicyName, ServerName, Timestamp,
};

use crate::Bundle;
use crate::decl::{
    AccessPolicy, AgentType, LeaseLoss, Possession, TokenRule, TriggerRule, TrustProvider,
};

/// That an agent type may do an action, and under which conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessRow {
    /// The agent type.
    pub agent: AgentTypeName,
    /// The hosted type as which it may, where it is the host: its compromise costs this too (A6).
    pub as_hosted: Option<AgentTypeName>,
    /// By which kinds of evidence the agent type is known, the kernel's word on processes aside,
    /// which needs none that travels.
    pub known_by: BTreeSet<AttestationKind>,
    /// The server workload.
    pub server: ServerName,
    /// The action.
    pub action: ActionName,
    /// What the action does.
    pub effect: Effect,
    /// The protocols that it may switch its connection to; what passes then, nobody decides on.
    pub upgrade: Vec<String>,
    /// The access policies that permit, each with its own conditions; any one of them suffices.
    pub ways: Vec<Way>,
    /// The guardrails that are about it, sorted; none of them may hold.
    pub guardrails: Vec<PolicyName>,
    /// The task policies under whose tasks it can come about, sorted. Empty: nobody can open one.
    pub tasks: Vec<PolicyName>,
    /// Those among them that anybody at a trust provider can begin.
    pub any_user: Vec<PolicyName>,
    /// Audiences outside of the trust domain that the agent type's JWT-SVIDs may be minted for, and
    /// those of the hosted type.
    pub federation: Vec<String>,
    /// Until when the server workload is observed only: what is denied here passes until then.
    pub observed_until: Option<Timestamp>,
    /// Whether a gateway goes on with the server workload without a lease: a suspension may then not be
    /// effective at once (B3).
    pub without_lease: bool,
}

/// One access policy's way to permit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Way {
    /// The access policy.
    pub policy: PolicyName,
    /// What must hold, in words; all of it.
    pub conditions: Vec<String>,
}

impl fmt::Display for AccessRow {
    /// One line: `executor records:refund (write) via refunding [the task pins …] unless …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.agent)?;
        if let Some(hosted) = &self.as_hosted {
            write!(f, " as {hosted}")?;
        }
        write!(f, " {}:{} ({}", self.server, self.action, self.effect)?;
        for protocol in &self.upgrade {
            write!(f, ", {protocol}")?;
        }
        f.write_str(") via ")?;
        let ways: Vec<String> = self.ways.iter().map(Way::to_string).collect();
        f.write_str(&ways.join(" or "))?;
        for (word, names) in [
            ("unless", &self.guardrails),
            ("in tasks of", &self.tasks),
            ("open to anybody:", &self.any_user),
        ] {
            if !names.is_empty() {
                let names: Vec<&str> = names.iter().map(PolicyName::as_str).collect();
                write!(f, " {word} {}", names.join(", "))?;
            }
        }
        if !self.known_by.is_empty() {
            let kinds: Vec<&str> = self.known_by.iter().map(|kind| kind.as_str()).collect();
            write!(f, " known by {}", kinds.join(", "))?;
        }
        if !self.federation.is_empty() {
            write!(f, " known elsewhere: {}", self.federation.join(", "))?;
        }
        if let Some(until) = self.observed_until {
            write!(f, " observed only until {until}")?;
        }
        if self.without_lease {
            f.write_str(" goes on without a lease")?;
        }
        Ok(())
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.policy)?;
        if self.conditions.is_empty() {
            return Ok(());
        }
        write!(f, " [{}]", self.conditions.join("; "))
    }
}

impl Bundle {
    /// Every access that some policy permits, sorted by agent type, server workload and action.
    /// What is not in it is denied.
    pub fn access_table(&self) -> Vec<AccessRow> {
        let mut rows = Vec::new();
        for agent in self.agents() {
            rows.extend(self.rows_of(agent, None));
            for hosted in self.agents().filter(|a| a.hosted_by.contains(&agent.name)) {
                rows.extend(self.rows_of(hosted, Some(agent)));
            }
        }
        rows.sort_by(|a, b| key(a).cmp(&key(b)));
        rows
    }

    fn rows_of(&self, acting: &AgentType, host: Option<&AgentType>) -> Vec<AccessRow> {
        let agent = host.unwrap_or(acting);
        let mine = |p: &&AccessPolicy| p.agents.contains(&acting.name);
        let pairs: BTreeSet<(&ServerName, &ActionName)> = self
            .access_policies()
            .filter(mine)
            .flat_map(|p| p.actions.iter().map(move |a| (&p.server, a)))
            .collect();
        pairs
            .into_iter()
            .filter_map(|(server, action)| {
                let tasks = self.tasks_reaching(&acting.name, server, action);
                let declared = self.declared.action(server, action)?;
                Some(AccessRow {
                    agent: agent.name.clone(),
                    as_hosted: host.map(|_| acting.name.clone()),
                    known_by: self.known_by(agent),
                    server: server.clone(),
                    action: action.clone(),
                    effect: declared.effect,
                    upgrade: declared.upgrade.iter().cloned().collect(),
                    ways: self.ways(acting, server, action),
                    guardrails: self.guardrails_about(&acting.name, server),
                    any_user: self.open_to_anybody(&tasks),
                    tasks,
                    federation: known_to(agent, acting),
                    observed_until: self.server(server)?.observe_until,
                    without_lease: self
                        .server(server)
                        .is_some_and(|s| s.lease_loss == LeaseLoss::Continue),
                })
            })
            .collect()
    }

    /// The kinds of evidence that prove `agent`, but for processes.
    fn known_by(&self, agent: &AgentType) -> BTreeSet<AttestationKind> {
        let offline = |rule: &TokenRule| {
            let provider = self
                .provider(&rule.provider)
                .and_then(TrustProvider::tokens);
            provider.is_some_and(|tokens| tokens.api_server.is_none())
        };
        let tokens = agent.token_rules.iter().map(|rule| {
            if rule.kind == AttestationKind::Kubernetes && offline(rule) {
                AttestationKind::KubernetesOffline
            } else {
                rule.kind
            }
        });
        let aws = agent.aws_rules.iter().map(|_| AttestationKind::Aws);
        tokens.chain(aws).collect()
    }

    fn ways(&self, agent: &AgentType, server: &ServerName, action: &ActionName) -> Vec<Way> {
        let by_server = self.server(server).map(|server| server.proof);
        let proved = agent.proof == Possession::Required || by_server == Some(Possession::Required);
        let key = proved.then(|| "the agent proves its key".to_owned());
        self.access_policies()
            .filter(|p| {
                p.agents.contains(&agent.name) && p.server == *server && p.actions.contains(action)
            })
            .map(|p| Way {
                policy: p.name.clone(),
                conditions: conditions(p).into_iter().chain(key.clone()).collect(),
            })
            .collect()
    }

    fn guardrails_about(&self, agent: &AgentTypeName, server: &ServerName) -> Vec<PolicyName> {
        self.guardrails()
            .filter(|g| g.agents.as_ref().is_none_or(|set| set.contains(agent)))
            .filter(|g| g.servers.as_ref().is_none_or(|set| set.contains(server)))
            .map(|g| g.name.clone())
            .collect()
    }

    fn tasks_reaching(
        &self,
        agent: &AgentTypeName,
        server: &ServerName,
        action: &ActionName,
    ) -> Vec<PolicyName> {
        let entry = |p: &crate::decl::TaskPolicy| {
            let mut entries = p.ceiling.for_action(server, action);
            entries.next().is_some()
        };
        self.task_policies()
            .filter(|p| {
                entry(p)
                    && self
                        .declared
                        .reach(&p.opener, server, action)
                        .contains(agent)
            })
            .map(|p| p.name.clone())
            .collect()
    }

    fn open_to_anybody(&self, tasks: &[PolicyName]) -> Vec<PolicyName> {
        let anybody = |name: &&PolicyName| {
            self.task_policy(name)
                .is_some_and(|p| matches!(&p.trigger, TriggerRule::User(u) if u.any_user))
        };
        tasks.iter().filter(anybody).cloned().collect()
    }
}

type RowKey<'a> = (
    &'a AgentTypeName,
    Option<&'a AgentTypeName>,
    &'a ServerName,
    &'a ActionName,
);

pub(crate) fn key(row: &AccessRow) -> RowKey<'_> {
    (&row.agent, row.as_hosted.as_ref(), &row.server, &row.action)
}

/// Whoever takes over the host can have an SVID of either type.
fn known_to(agent: &AgentType, acting: &AgentType) -> Vec<String> {
    let both = agent.federation.union(&acting.federation);
    both.cloned().collect()
}

fn conditions(policy: &AccessPolicy) -> Vec<String> {
    let fixed = policy.task_must_fix.iter();
    let fixed = fixed.map(|name| format!("the task pins `{name}`"));
    let limits = policy.limits.iter();
    let limits = limits.map(|(name, limit)| format!("`{name}` {}", in_words(limit)));
    let when = policy
        .when
        .iter()
        .map(|when| format!("when {}", when.trim()));
    let lifetime = policy.max_token_lifetime.iter();
    let lifetime = lifetime.map(|span| format!("tokens live at most {} s", span.as_secs()));
    fixed.chain(limits).chain(when).chain(lifetime).collect()
}

/// Text so that where it ends cannot be mistaken: two different texts are never shown alike.
pub(crate) fn quoted(text: &str) -> String {
    if text.contains('`') {
        format!("{text:?}")
    } else {
        format!("`{text}`")
    }
}

/// A constraint in words.
pub(crate) fn in_words(constraint: &mandate_model::mandate::Constraint) -> String {
    use mandate_model::mandate::Constraint;
    match constraint {
        Constraint::In(values) => {
            let list: Vec<String> = values.iter().map(|v| quoted(v)).collect();
            format!("is {}", list.join(" or "))
        }
        Constraint::Prefix(text) => format!("begins with {}", quoted(text)),
        Constraint::Max(max) => format!("is at most {max}"),
    }
}

#[cfg(test)]
mod tests {
    use crate::fixtures::example;

    #[test]
    fn the_examples_table_is_the_golden_one() {
        let rows = example().access_table();
        let lines: Vec<String> = rows.iter().map(|row| row.to_string()).collect();
        insta::assert_snapshot!("example_access_table", lines.join("\n"));
    }

    #[test]
    fn a_host_is_known_wherever_its_hosted_types_are() {
        let mut text = crate::fixtures::EXAMPLE.to_owned();
        for agent in ["executor", "orchestrator"] {
            let rule = format!("attestation: [{{process: {{user: {agent}}}}}]\n");
            assert!(text.contains(&rule));
            let federation = format!("{rule}  federation: [\"https://{agent}.example\"]\n");
            text = text.replacen(&rule, &federation, 1);
        }
        let rows = crate::fixtures::load_text(&text)
            .unwrap()
            .bundle
            .access_table();
        let known = |agent: &str, hosted: Option<&str>| {
            let is = |row: &&crate::AccessRow| {
                row.agent.as_str() == agent && row.as_hosted.as_ref().map(|a| a.as_str()) == hosted
            };
            rows.iter().find(is).unwrap().federation.clone()
        };
        assert_eq!(known("executor", None), ["https://executor.example"]);
        assert_eq!(
            known("orchestrator", Some("executor")),
            ["https://executor.example", "https://orchestrator.example"]
        );
        assert!(known("retriever", None).is_empty());
    }

    #[test]
    fn an_observed_server_workload_is_marked_in_each_row() {
        let observed = "internal: true\n  observe: {until: 2026-12-01}";
        let bundle = crate::fixtures::example_with("internal: true", observed);
        let rows = bundle.unwrap().bundle.access_table();
        assert!(rows.iter().all(|row| row.observed_until.is_some()));
        assert!(
            rows[0]
                .to_string()
                .contains("observed only until 2026-12-01")
        );
        assert!(
            example()
                .access_table()
                .iter()
                .all(|row| row.observed_until.is_none())
        );
    }
}
