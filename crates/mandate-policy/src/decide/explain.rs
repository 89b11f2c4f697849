//! Which policy applied, and why each other did not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cedar_policy::{Context, PolicyId};
use mandate_model::{AgentTypeName, PolicyName};

use super::{PolicyDenial, PolicyRequest, Question, ask, erred, names};
use crate::Bundle;
use crate::compile::{Cell, Permit};
use crate::decl::{AccessPolicy, Guardrail};

/// What one policy has to say about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The policy.
    pub policy: PolicyName,
    /// Whether it permits or forbids, and if not, why not.
    pub why: Why,
}

/// Why a policy did or did not apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// An access policy that permits.
    Permits,
    /// A guardrail that forbids.
    Forbids,
    /// It is about other agent types.
    OtherAgents,
    /// It is about other server workloads.
    OtherServer,
    /// It is about other actions of the server workload.
    OtherActions,
    /// An access policy with parts that do not hold.
    Unmet(Vec<String>),
    /// An access policy that permits some of the combinations of values that the request has, and
    /// leaves the others to other policies.
    PermitsSome {
        /// How many it permits.
        permitted: usize,
        /// How many there are.
        of: usize,
        /// What does not hold for the others.
        unmet: Vec<String>,
    },
    /// A guardrail whose condition does not hold.
    DoesNotForbid,
    /// It could not be evaluated, so that nothing is permitted.
    Erred,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Permits => f.write_str("permits"),
            Why::Forbids => f.write_str("forbids"),
            Why::OtherAgents => f.write_str("is about other agent types"),
            Why::OtherServer => f.write_str("is about other server workloads"),
            Why::OtherActions => f.write_str("is about other actions"),
            Why::Unmet(parts) => write!(
                f,
                "does not permit, as {} does not hold",
                parts.join(" and ")
            ),
            Why::PermitsSome {
                permitted,
                of,
                unmet,
            } => write!(
                f,
                "permits {permitted} of {of} combinations of values; for the others {} does not hold",
                unmet.join(" and ")
            ),
            Why::DoesNotForbid => f.write_str("does not forbid"),
            Why::Erred => f.write_str("could not be evaluated, so nothing is permitted"),
        }
    }
}

/// What Cedar said of each policy of a cell, over all combinations of values.
#[derive(Default)]
struct Findings {
    combinations: usize,
    erred: BTreeSet<PolicyName>,
    forbade: BTreeSet<PolicyName>,
    unmet: BTreeSet<PolicyId>,
    /// For how many combinations each access policy permits.
    permitted: BTreeMap<PolicyName, usize>,
}

impl Bundle {
    /// What each access policy and guardrail has to say about `request`, sorted by name: by the
    /// very policies and contexts that [`permits`](Self::permits) decides with.
    ///
    /// An error if the request names an agent type, action or attribute that the bundle lacks.
    pub fn explain(&self, request: &PolicyRequest<'_>) -> Result<Vec<Explanation>, PolicyDenial> {
        let question = Question::of(self, request)?;
        let (agent, server) = (&question.agent, request.server);
        let alone;
        let cell = match self.engine.cell(agent, server, request.action) {
            Some(cell) => cell,
            None => {
                alone = self.engine.without_permits(agent, server);
                &alone
            }
        };
        let mut findings = Findings::default();
        for context in question.contexts(request)? {
            findings.note(&question, context, cell)?;
        }
        let access = self.declared.access.values().map(|policy| Explanation {
            policy: policy.name.clone(),
            why: why_access(policy, &question.agent, request, cell, &findings),
        });
        let guardrails = self
            .declared
            .guardrails
            .values()
            .map(|guardrail| Explanation {
                policy: guardrail.name.clone(),
                why: why_guardrail(guardrail, &question.agent, request, &findings),
            });
        let mut all: Vec<_> = access.chain(guardrails).collect();
        all.sort_by(|a, b| a.policy.cmp(&b.policy));
        Ok(all)
    }
}

impl Findings {
    fn note(
        &mut self,
        question: &Question<'_>,
        context: Context,
        cell: &Cell,
    ) -> Result<(), PolicyDenial> {
        let response = ask(&question.head, context.clone(), &cell.policies)?;
        self.erred.extend(erred(&response));
        let decided = names(response.diagnostics().reason());
        let forbade = decided
            .into_iter()
            .filter(|name| cell.guardrails.contains(name));
        self.forbade.extend(forbade);
        let parts = ask(&question.head, context, &cell.parts)?;
        let held: BTreeSet<&PolicyId> = parts.diagnostics().reason().collect();
        self.combinations += 1;
        for permit in &cell.permits {
            let ids = permit.parts.iter().map(|(id, _)| id);
            let unmet: Vec<&PolicyId> = ids.filter(|id| !held.contains(id)).collect();
            if unmet.is_empty() {
                *self.permitted.entry(permit.policy.clone()).or_default() += 1;
            }
            self.unmet.extend(unmet.into_iter().cloned());
        }
        Ok(())
    }
}

fn why_access(
    policy: &AccessPolicy,
    agent: &AgentTypeName,
    request: &PolicyRequest<'_>,
    cell: &Cell,
    findings: &Findings,
) -> Why {
    if !policy.agents.contains(agent) {
        return Why::OtherAgents;
    }
    if policy.server != *request.server {
        return Why::OtherServer;
    }
    let of_policy = |permit: &&Permit| permit.policy == policy.name;
    let Some(permit) = cell.permits.iter().find(of_policy) else {
        return Why::OtherActions;
    };
    if findings.erred.contains(&policy.name) {
        return Why::Erred;
    }
    let unmet: Vec<String> = permit
        .parts
        .iter()
        .filter(|(id, _)| findings.unmet.contains(id))
        .map(|(_, part)| part.kind.to_string())
        .collect();
    match findings.permitted.get(&policy.name) {
        _ if unmet.is_empty() => Why::Permits,
        None => Why::Unmet(unmet),
        Some(permitted) => Why::PermitsSome {
            permitted: *permitted,
            of: findings.combinations,
            unmet,
        },
    }
}

fn why_guardrail(
    guardrail: &Guardrail,
    agent: &AgentTypeName,
    request: &PolicyRequest<'_>,
    findings: &Findings,
) -> Why {
    if guardrail
        .agents
        .as_ref()
        .is_some_and(|set| !set.contains(agent))
    {
        return Why::OtherAgents;
    }
    if guardrail
        .servers
        .as_ref()
        .is_some_and(|set| !set.contains(request.server))
    {
        return Why::OtherServer;
    }
    if findings.erred.contains(&guardrail.name) {
        Why::Erred
    } else if findings.forbade.contains(&guardrail.name) {
        Why::Forbids
    } else {
        Why::DoesNotForbid
    }
}
