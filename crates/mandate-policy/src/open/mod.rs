//! Opening a root task: which task policy, and the ceiling that follows from it and the trigger.

mod bind;
mod standing;

use std::time::Duration;

use mandate_model::mandate::{Budget, Entries};
use mandate_model::{
    AgentTypeName, OperatorName, PolicyName, Principal, ProviderName, Timestamp, Trigger,
    TriggerKind, Verified,
};
use serde_json::{Map, Value};

use crate::Bundle;
use crate::decl::{OccurrenceRule, PersonRule, TaskPolicy, TriggerRule};
pub(crate) use bind::has_claims;
pub use standing::StandingTask;

/// What is known about the trigger of a root task. Everything in it is verified, except where a
/// schedule or event is only claimed.
#[derive(Debug, Clone, Copy)]
pub enum TriggerEvidence<'a> {
    /// An ID token whose signature, issuer, audience and expiry hold.
    User {
        /// The provider that signed it.
        provider: &'a ProviderName,
        /// Its `sub`.
        subject: &'a str,
        /// All its claims.
        claims: &'a Map<String, Value>,
        /// Its `iat`.
        issued_at: Timestamp,
    },
    /// The agent says that a schedule fired.
    Schedule {
        /// Which.
        name: &'a str,
        /// The item that it works on.
        item: Option<&'a str>,
    },
    /// The agent says that an event arrived.
    Event {
        /// Which.
        name: &'a str,
        /// The item that it works on.
        item: Option<&'a str>,
    },
    /// An operator asks, over the operators' own door.
    Operator {
        /// Who.
        name: &'a OperatorName,
    },
}

impl TriggerEvidence<'_> {
    /// `user`, `schedule`, `event` or `operator`.
    pub fn kind(&self) -> &'static str {
        match self {
            TriggerEvidence::User { .. } => "user",
            TriggerEvidence::Schedule { .. } => "schedule",
            TriggerEvidence::Event { .. } => "event",
            TriggerEvidence::Operator { .. } => "operator",
        }
    }

    fn provider(&self) -> Option<&ProviderName> {
        match self {
            TriggerEvidence::User { provider, .. } => Some(provider),
            TriggerEvidence::Schedule { .. }
            | TriggerEvidence::Event { .. }
            | TriggerEvidence::Operator { .. } => None,
        }
    }
}

/// A wish to open a root task.
#[derive(Debug, Clone, Copy)]
pub struct OpenRequest<'a> {
    /// The agent type that opens.
    pub opener: &'a AgentTypeName,
    /// For which purpose.
    pub purpose: &'a str,
    /// What began it.
    pub trigger: TriggerEvidence<'a>,
    /// The moment of the decision.
    pub now: Timestamp,
}

/// The widest mandate that a root task may have, with everything else that its policy fixes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ceiling {
    /// The task policy.
    pub policy: PolicyName,
    /// The entries, with bound claims applied. Never empty.
    pub entries: Entries,
    /// How long the task may live.
    pub max_duration: Duration,
    /// The longest task path, the root included.
    pub max_depth: u8,
    /// How often it may act.
    pub budget: Budget,
    /// The cause, as every token and record below carries it.
    pub trigger: Trigger,
    /// Whom the task is for.
    pub principal: Principal,
    /// Whether any instance of the opener's type may resume it (A3).
    pub resume_by_type: bool,
}

/// Why a root task may not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenDenial {
    /// The opener is no agent type of this bundle.
    #[error("no agent type is named `{0}`")]
    UnknownAgent(AgentTypeName),
    /// No task policy lets this agent type open a task for this purpose.
    #[error("no task policy lets `{opener}` open a task for this purpose")]
    NoPolicy {
        /// The opener.
        opener: AgentTypeName,
    },
    /// There is one, but for another kind of trigger.
    #[error("no task policy for this purpose is for a trigger of kind `{given}`")]
    TriggerKind {
        /// The kind that was given.
        given: &'static str,
    },
    /// The user proved themself at another provider.
    #[error("task policy `{policy}` asks for a user of another trust provider")]
    Provider {
        /// The task policy.
        policy: PolicyName,
    },
    /// The ID token is older than five minutes (A2).
    #[error("the ID token is older than 5 minutes; ask the user to sign in again")]
    Stale,
    /// The ID token is from the future.
    #[error("the ID token is issued in the future; check the clocks")]
    FromTheFuture,
    /// The user cannot be named as a principal.
    #[error("the ID token's `sub` is empty, too long or has control characters")]
    Subject,
    /// A claim is not what the policy asks for.
    #[error("task policy `{policy}` asks for another value of claim `{claim}`")]
    Claim {
        /// The task policy.
        policy: PolicyName,
        /// The claim.
        claim: String,
    },
    /// A bound claim is missing, no text, empty, or has a `*`.
    #[error(
        "claim `{claim}`, which task policy `{policy}` binds, is missing or not one plain text"
    )]
    Unbindable {
        /// The task policy.
        policy: PolicyName,
        /// The claim.
        claim: String,
    },
    /// The bound claims leave nothing of the ceiling.
    #[error("the user's claims are outside of the ceiling of task policy `{policy}`")]
    OutsideCeiling {
        /// The task policy.
        policy: PolicyName,
    },
    /// The schedule or event has another name.
    #[error("task policy `{policy}` is for another schedule or event")]
    Name {
        /// The task policy.
        policy: PolicyName,
    },
    /// No item id, and the policy asks for one.
    #[error("task policy `{policy}` asks for an item id: say which item the task works on")]
    NoItem {
        /// The task policy.
        policy: PolicyName,
    },
    /// The item id is empty, too long or has control characters.
    #[error("an item id has 1 to 200 bytes and no control characters")]
    MalformedItem,
    /// A task that is open has more than its policy gives by now.
    #[error("the task goes beyond `{what}` of task policy `{policy}`, as it is by now")]
    Beyond {
        /// The task policy.
        policy: PolicyName,
        /// The field of the policy.
        what: &'static str,
    },
    /// Only the agent says so, and the policy does not let that suffice.
    #[error("task policy `{policy}` does not let an unverified trigger open a task")]
    Unverified {
        /// The task policy.
        policy: PolicyName,
    },
}

impl Bundle {
    /// The ceiling of the root task that `request` asks for.
    ///
    /// A person's login scopes play no part: the ceiling is the task policy's, narrowed by the
    /// claims that it binds.
    pub fn open_task(&self, request: &OpenRequest<'_>) -> Result<Ceiling, OpenDenial> {
        let cause = (request.trigger.kind(), request.trigger.provider());
        let policy = self.opening(request.opener, request.purpose, cause)?;
        let (entries, trigger, principal) = match (&policy.trigger, request.trigger) {
            (TriggerRule::User(rule), evidence @ TriggerEvidence::User { .. }) => {
                self.open_for_user(policy, rule, evidence, request.now)?
            }
            (TriggerRule::Schedule(rule), TriggerEvidence::Schedule { name, item }) => {
                let kind = TriggerKind::Schedule {
                    name: name.to_owned(),
                };
                self.open_for_occurrence(policy, rule, kind, (name, item), request)?
            }
            (TriggerRule::Event(rule), TriggerEvidence::Event { name, item }) => {
                let kind = TriggerKind::Event {
                    name: name.to_owned(),
                };
                self.open_for_occurrence(policy, rule, kind, (name, item), request)?
            }
            (TriggerRule::Operator, TriggerEvidence::Operator { name }) => (
                policy.ceiling.clone(),
                trigger(TriggerKind::Operator, Verified::Operator),
                Principal::Operator(name.clone()),
            ),
            (
                TriggerRule::User(_)
                | TriggerRule::Schedule(_)
                | TriggerRule::Event(_)
                | TriggerRule::Operator,
                other,
            ) => {
                return Err(OpenDenial::TriggerKind {
                    given: other.kind(),
                });
            }
        };
        Ok(Ceiling {
            policy: policy.name.clone(),
            entries,
            max_duration: policy.max_duration,
            max_depth: policy.max_depth,
            budget: policy.budget,
            trigger,
            principal,
            resume_by_type: policy.resume_by_type,
        })
    }

    /// The one policy for this opener, purpose, kind of trigger and, for people, trust provider:
    /// `load` refuses two. Without one for the provider it is another's, which refuses.
    fn opening(
        &self,
        opener: &AgentTypeName,
        purpose: &str,
        (given, vouched): (&'static str, Option<&ProviderName>),
    ) -> Result<&TaskPolicy, OpenDenial> {
        if self.agent(opener).is_none() {
            return Err(OpenDenial::UnknownAgent(opener.clone()));
        }
        let mut policies = self
            .task_policies()
            .filter(|p| p.opener == *opener && p.purpose == purpose)
            .peekable();
        if policies.peek().is_none() {
            return Err(OpenDenial::NoPolicy {
                opener: opener.clone(),
            });
        }
        let mut of_kind = policies.filter(|p| p.trigger.kind() == given).peekable();
        let other = of_kind.peek().copied();
        of_kind
            .find(|p| p.trigger.provider() == vouched)
            .or(other)
            .ok_or(OpenDenial::TriggerKind { given })
    }

    fn open_for_user(
        &self,
        policy: &TaskPolicy,
        rule: &PersonRule,
        evidence: TriggerEvidence<'_>,
        now: Timestamp,
    ) -> Result<(Entries, Trigger, Principal), OpenDenial> {
        let TriggerEvidence::User {
            provider,
            subject,
            claims,
            issued_at,
        } = evidence
        else {
            return Err(OpenDenial::TriggerKind {
                given: evidence.kind(),
            });
        };
        if *provider != rule.provider {
            return Err(OpenDenial::Provider {
                policy: policy.name.clone(),
            });
        }
        check_age(issued_at, now)?;
        bind::check_claims(policy, rule, claims)?;
        let entries = bind::bind(&self.declared, policy, rule, claims)?;
        let principal = Principal::parse(&format!("user:{provider}:{subject}"))
            .map_err(|_| OpenDenial::Subject)?;
        let trigger = Trigger {
            provider: Some(provider.clone()),
            ..trigger(TriggerKind::User, Verified::User)
        };
        Ok((entries, trigger, principal))
    }

    fn open_for_occurrence(
        &self,
        policy: &TaskPolicy,
        rule: &OccurrenceRule,
        kind: TriggerKind,
        (name, item): (&str, Option<&str>),
        request: &OpenRequest<'_>,
    ) -> Result<(Entries, Trigger, Principal), OpenDenial> {
        standing::check_occurrence(policy, rule, name, item)?;
        let plain = |t: &str| (1..=200).contains(&t.len()) && !t.chars().any(char::is_control);
        if !item.is_none_or(plain) {
            return Err(OpenDenial::MalformedItem);
        }
        let trigger = Trigger {
            item: item.map(str::to_owned),
            ..trigger(kind, Verified::None)
        };
        let opener = self.trust_domain().agent(request.opener);
        Ok((policy.ceiling.clone(), trigger, Principal::Agent(opener)))
    }
}

fn trigger(kind: TriggerKind, verified: Verified) -> Trigger {
    Trigger {
        kind,
        verified,
        provider: None,
        item: None,
    }
}

/// A2: a person proves themself for this task, not some time ago.
fn check_age(issued_at: Timestamp, now: Timestamp) -> Result<(), OpenDenial> {
    if now.since(issued_at) > LONGEST_PROOF {
        return Err(OpenDenial::Stale);
    }
    if issued_at.since(now) > SKEW {
        return Err(OpenDenial::FromTheFuture);
    }
    Ok(())
}

const LONGEST_PROOF: Duration = Duration::from_secs(300);

/// How far an identity provider's clock may be ahead of ours.
const SKEW: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
