//! Whether the type policy of the acting agent permits a request. Pure: the same request, the same
//! verdict.

mod context;
mod explain;

use std::collections::BTreeSet;
use std::time::Duration;

use cedar_policy::{Authorizer, Context, Decision, Entities, PolicyId, Request, Response};
use mandate_model::mandate::Entry;
use mandate_model::{
    ActionName, ActorLevel, AgentTypeName, AttributeName, PolicyName, Principal, RequestAttributes,
    ServerName, SpiffeId, Timestamp, Trigger,
};

use crate::Bundle;
use crate::compile::{Cell, Head, PartKind, text};
pub use explain::{Explanation, Why};

/// A request of an agent, with everything that a policy may look at.
#[derive(Debug, Clone, Copy)]
pub struct PolicyRequest<'a> {
    /// The acting agent, whose type's policies decide.
    pub actor: &'a ActorLevel,
    /// Who delegated, the latest first, without the acting agent. Guardrails alone see them:
    /// nested `act` may deny and never permit (RFC 8693 §4.1).
    pub act: &'a [ActorLevel],
    /// The server workload.
    pub server: &'a ServerName,
    /// The action.
    pub action: &'a ActionName,
    /// The request's attributes. Where one has several values, each must be permitted.
    pub attributes: &'a RequestAttributes,
    /// The mandate's entry that covers the request: what it pins to one value satisfies
    /// `taskMustFix`. `None` pins nothing.
    pub entry: Option<&'a Entry>,
    /// Whom the task is for.
    pub principal: &'a Principal,
    /// What began the root task.
    pub trigger: &'a Trigger,
    /// The root task's purpose.
    pub purpose: &'a str,
    /// The moment of the decision.
    pub now: Timestamp,
}

/// What the type policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyVerdict {
    /// It permits.
    Permitted {
        /// The policies that permit, sorted.
        policies: Vec<PolicyName>,
        /// The shortest of their limits on the life of an access token.
        max_token_lifetime: Option<Duration>,
    },
    /// It does not.
    Denied(PolicyDenial),
}

/// Why the type policy does not permit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyDenial {
    /// The acting agent's SPIFFE ID is no agent type of this bundle.
    #[error("`{0}` is no agent type of the live bundle")]
    UnknownAgent(SpiffeId),
    /// The bundle declares no such action.
    #[error("the live bundle declares no action `{server}:{action}`")]
    UnknownAction {
        /// The server workload asked for.
        server: ServerName,
        /// The action asked for.
        action: ActionName,
    },
    /// Nothing permits it: default deny.
    #[error("no access policy lets `{agent}` do `{server}:{action}`")]
    NoPolicy {
        /// The acting agent type.
        agent: AgentTypeName,
        /// The server workload.
        server: ServerName,
        /// The action.
        action: ActionName,
    },
    /// The closest policy asks for a task that pins an attribute.
    #[error(
        "access policy `{policy}` asks for a task whose mandate pins `{attribute}` to one value"
    )]
    TaskMustFix {
        /// The closest policy.
        policy: PolicyName,
        /// What is not pinned.
        attribute: AttributeName,
    },
    /// An attribute is missing or outside of the closest policy's limit.
    #[error("`{attribute}` is missing or outside of the limit of access policy `{policy}`")]
    Limit {
        /// The closest policy.
        policy: PolicyName,
        /// The attribute.
        attribute: AttributeName,
    },
    /// The condition of the closest policy does not hold.
    #[error("the condition of access policy `{policy}` does not hold")]
    Condition {
        /// The closest policy.
        policy: PolicyName,
    },
    /// Guardrails forbid it.
    #[error("forbidden by guardrail {}", list(policies))]
    Guardrail {
        /// Their names, sorted.
        policies: Vec<PolicyName>,
    },
    /// Policies could not be evaluated, so nothing is permitted (C6).
    #[error(
        "policy {} could not be evaluated, so nothing is permitted",
        list(policies)
    )]
    Evaluation {
        /// Their names, sorted.
        policies: Vec<PolicyName>,
    },
    /// The request has an attribute that its action does not declare, or of another type.
    #[error("`{0}` is no attribute of this action, or of another type")]
    UnfitAttribute(AttributeName),
    /// The combinations of attribute values are too many to decide one by one.
    #[error("the request's attributes have more than {MAX_COMBINATIONS} combinations of values")]
    TooManyValues,
}

impl PolicyDenial {
    /// The rule's name in records: `policy.default_deny`, `policy.guardrail`, …
    pub fn rule(&self) -> &'static str {
        match self {
            PolicyDenial::UnknownAgent(_) => "policy.unknown_agent",
            PolicyDenial::UnknownAction { .. } => "policy.unknown_action",
            PolicyDenial::NoPolicy { .. } => "policy.default_deny",
            PolicyDenial::TaskMustFix { .. } => "policy.task_must_fix",
            PolicyDenial::Limit { .. } => "policy.limit",
            PolicyDenial::Condition { .. } => "policy.condition",
            PolicyDenial::Guardrail { .. } => "policy.guardrail",
            PolicyDenial::Evaluation { .. } => "policy.evaluation",
            PolicyDenial::UnfitAttribute(_) => "policy.unfit_attribute",
            PolicyDenial::TooManyValues => "policy.too_many_values",
        }
    }

    /// The policies that it names.
    pub fn policies(&self) -> Vec<PolicyName> {
        match self {
            PolicyDenial::TaskMustFix { policy, .. }
            | PolicyDenial::Limit { policy, .. }
            | PolicyDenial::Condition { policy } => vec![policy.clone()],
            PolicyDenial::Guardrail { policies } | PolicyDenial::Evaluation { policies } => {
                policies.clone()
            }
            PolicyDenial::UnknownAgent(_)
            | PolicyDenial::UnknownAction { .. }
            | PolicyDenial::NoPolicy { .. }
            | PolicyDenial::UnfitAttribute(_)
            | PolicyDenial::TooManyValues => Vec::new(),
        }
    }
}

fn list(names: &[PolicyName]) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
    quoted.join(", ")
}

impl Bundle {
    /// Whether the type policy of the acting agent permits `request`.
    ///
    /// Cedar decides, over the permits whose heads are exactly this agent type, server workload and
    /// action, and the guardrails that are about them. Any error among these denies (C6). Where an
    /// attribute has several values, each combination is decided and all must be permitted.
    pub fn permits(&self, request: &PolicyRequest<'_>) -> PolicyVerdict {
        match self.decide(request) {
            Ok((policies, max_token_lifetime)) => PolicyVerdict::Permitted {
                policies: policies.into_iter().collect(),
                max_token_lifetime,
            },
            Err(denial) => PolicyVerdict::Denied(denial),
        }
    }

    fn decide(
        &self,
        request: &PolicyRequest<'_>,
    ) -> Result<(BTreeSet<PolicyName>, Option<Duration>), PolicyDenial> {
        let question = Question::of(self, request)?;
        let cell = self
            .engine
            .cell(&question.agent, request.server, request.action)
            .ok_or_else(|| PolicyDenial::NoPolicy {
                agent: question.agent.clone(),
                server: request.server.clone(),
                action: request.action.clone(),
            })?;
        let (mut policies, mut lifetime) = (BTreeSet::new(), None);
        for context in question.contexts(request)? {
            let response = ask(&question.head, context.clone(), &cell.policies)?;
            judge(&response, cell, || {
                ask(&question.head, context, &cell.parts)
            })?;
            let permitting = |id: &PolicyId| cell.permits.iter().find(|p| p.id == *id);
            for permit in response.diagnostics().reason().filter_map(permitting) {
                policies.insert(permit.policy.clone());
                lifetime = [lifetime, permit.max_token_lifetime]
                    .into_iter()
                    .flatten()
                    .min();
            }
        }
        Ok((policies, lifetime))
    }
}

/// A request whose names are known to the bundle.
struct Question<'a> {
    agent: AgentTypeName,
    head: Head<'a>,
    action: &'a crate::decl::Action,
}

impl<'a> Question<'a> {
    fn of(bundle: &'a Bundle, request: &PolicyRequest<'_>) -> Result<Self, PolicyDenial> {
        let sub = &request.actor.sub;
        let agent = bundle
            .agent_by_id(sub)
            .ok_or_else(|| PolicyDenial::UnknownAgent(sub.clone()))?;
        let unknown = || PolicyDenial::UnknownAction {
            server: request.server.clone(),
            action: request.action.clone(),
        };
        Ok(Self {
            head: bundle
                .engine
                .head(&agent.name, request.server, request.action)
                .ok_or_else(unknown)?,
            action: bundle
                .declared
                .action(request.server, request.action)
                .ok_or_else(unknown)?,
            agent: agent.name.clone(),
        })
    }

    /// One Cedar context for each combination of attribute values; at least one.
    fn contexts(&self, request: &PolicyRequest<'_>) -> Result<Vec<Context>, PolicyDenial> {
        context::contexts(request, self.action)
    }
}

/// Asks Cedar. An error only if the request itself cannot be made, which denies.
fn ask(
    head: &Head<'_>,
    context: Context,
    policies: &cedar_policy::PolicySet,
) -> Result<Response, PolicyDenial> {
    let (agent, action, server) = (head.agent.clone(), head.action.clone(), head.server.clone());
    let request = Request::new(agent, action, server, context, None)
        .map_err(|_| PolicyDenial::Evaluation { policies: vec![] })?;
    Ok(Authorizer::new().is_authorized(&request, policies, &Entities::empty()))
}

/// Turns Cedar's answer into ours. The order matters: an error denies even what Cedar allows, for
/// it would skip a `forbid` that errs (C6).
fn judge(
    response: &Response,
    cell: &Cell,
    parts: impl FnOnce() -> Result<Response, PolicyDenial>,
) -> Result<(), PolicyDenial> {
    let erred = erred(response);
    if !erred.is_empty() {
        return Err(PolicyDenial::Evaluation { policies: erred });
    }
    if response.decision() == Decision::Allow {
        return Ok(());
    }
    // A denial's reasons are the `forbid`s that held.
    let forbidding = names(response.diagnostics().reason());
    if !forbidding.is_empty() {
        return Err(PolicyDenial::Guardrail {
            policies: forbidding,
        });
    }
    let held: BTreeSet<PolicyId> = parts()?.diagnostics().reason().cloned().collect();
    Err(closest_miss(cell, &held))
}

fn erred(response: &Response) -> Vec<PolicyName> {
    let ids: Vec<&PolicyId> = response
        .diagnostics()
        .errors()
        .map(|error| match error {
            cedar_policy::AuthorizationError::PolicyEvaluationError(e) => e.policy_id(),
        })
        .collect();
    names(ids.into_iter())
}

fn names<'a>(ids: impl Iterator<Item = &'a PolicyId>) -> Vec<PolicyName> {
    let names: BTreeSet<PolicyName> = ids.filter_map(text::policy_name).collect();
    names.into_iter().collect()
}

/// The first part that did not hold, of the permit with the fewest such parts.
fn closest_miss(cell: &Cell, held: &BTreeSet<PolicyId>) -> PolicyDenial {
    let missed = |permit: &'_ crate::compile::Permit| -> Vec<PartKind> {
        let parts = permit.parts.iter().filter(|(id, _)| !held.contains(id));
        parts.map(|(_, part)| part.kind.clone()).collect()
    };
    let closest = cell
        .permits
        .iter()
        .map(|permit| (permit.policy.clone(), missed(permit)))
        .min_by_key(|(_, missed)| missed.len());
    match closest.map(|(policy, missed)| (policy, missed.into_iter().next())) {
        Some((policy, Some(PartKind::MustFix(attribute)))) => {
            PolicyDenial::TaskMustFix { policy, attribute }
        }
        Some((policy, Some(PartKind::Limit(attribute)))) => {
            PolicyDenial::Limit { policy, attribute }
        }
        Some((policy, Some(PartKind::When) | None)) => PolicyDenial::Condition { policy },
        None => PolicyDenial::Evaluation { policies: vec![] },
    }
}

/// The most combinations of attribute values of one request.
const MAX_COMBINATIONS: usize = 64;

#[cfg(test)]
mod tests;
