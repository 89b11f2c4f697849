//! What only shows when declarations are looked at together.

use std::collections::BTreeMap;

use mandate_model::{AgentTypeName, AttributeName};

use super::LoadEnv;
use super::names::Names;
use super::{people, providers};
use crate::bundle::Declared;
use crate::decl::{ProcessRule, Right, SpawnScope, TaskPolicy, TriggerRule};
use crate::mistake::{Mistakes, Place};

/// What can be judged whatever else is wrong.
pub(super) fn check(declared: &Declared, names: &Names, env: &LoadEnv, mistakes: &mut Mistakes) {
    audiences(declared, names, env, mistakes);
    providers::check(declared, names, mistakes);
    people::check(declared, names, mistakes);
    shared_users(declared, names, mistakes);
    shared_hosts(declared, names, mistakes);
    operators(declared, names, mistakes);
    hosts(declared, names, mistakes);
}

/// What can be judged only of declarations that are sound: a misspelt name would make half of the
/// policies seem unreachable, and the one mistake would be hidden among ten that follow from it.
pub(super) fn check_whole(declared: &Declared, names: &Names, mistakes: &mut Mistakes) {
    access_policies(declared, names, mistakes);
    openings(declared, names, mistakes);
    for policy in declared.task_policies.values() {
        reachable_ceiling(policy, declared, names, mistakes);
        bound_attributes(policy, declared, names, mistakes);
    }
    for policy in declared.access.values() {
        reachable_access(policy, declared, names, mistakes);
    }
}

/// A4: one string each, all distinct.
fn audiences(declared: &Declared, names: &Names, env: &LoadEnv, mistakes: &mut Mistakes) {
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    taken.insert(env.issuer.clone(), "the issuer".to_owned());
    taken.insert(env.trust_domain.id(), "the trust domain".to_owned());
    taken.insert(
        env.trust_domain.gateways().to_string(),
        "the gateways".to_owned(),
    );
    for server in declared.servers.values() {
        let at = |field| {
            names
                .places
                .field("ServerWorkload", server.name.as_str(), field)
        };
        let resource = (
            &server.resource,
            "resource",
            format!("`resource` of `{}`", server.name),
        );
        let audience = server.upstream_audience.as_ref();
        let upstream = audience.map(|a| {
            (
                a,
                "upstreamAudience",
                format!("`upstreamAudience` of `{}`", server.name),
            )
        });
        for (value, field, what) in [Some(resource), upstream].into_iter().flatten() {
            if let Some(other) = taken.insert(value.clone(), what) {
                let message = format!("`{value}` is already the audience of {other} (A4)");
                mistakes.error(
                    at(field),
                    message,
                    "give each its own: a token for one must be none for the other",
                );
            }
        }
    }
    for agent in declared.agents.values() {
        for audience in &agent.federation {
            if let Some(other) = taken.get(audience) {
                let at = names
                    .places
                    .field("AgentType", agent.name.as_str(), "federation");
                let message =
                    format!("`{audience}` is the audience of {other} and no foreign one (A4)");
                mistakes.error(at, message, "remove it from `federation`");
            }
        }
    }
}

/// C5: two types that share a user are told apart by nothing, unless each has a unit of its own.
fn shared_users(declared: &Declared, names: &Names, mistakes: &mut Mistakes) {
    let rules: Vec<&ProcessRule> = declared
        .agents
        .values()
        .flat_map(|a| &a.process_rules)
        .collect();
    lone_units(&rules, names, mistakes);
    for (n, a) in rules.iter().enumerate() {
        for b in rules.iter().skip(n + 1).filter(|b| b.agent != a.agent) {
            let both_say_so = a.weak && b.weak;
            if !are_told_apart(a, b) && !both_say_so {
                let at = names
                    .places
                    .field("AgentType", b.agent.as_str(), "attestation");
                let message = format!(
                    "`{}` and `{}` share a user, so each could pass itself off as the other (C5)",
                    a.agent, b.agent
                );
                mistakes.error(
                    at,
                    message,
                    "give each its own user or unit, or say `isolation: none` in both rules",
                );
            }
        }
    }
}

fn are_told_apart(a: &ProcessRule, b: &ProcessRule) -> bool {
    match (&a.unit, &b.unit) {
        (Some(a), Some(b)) => a != b,
        (Some(_), None) | (None, Some(_)) | (None, None) => match (&a.user, &b.user) {
            (Some(a), Some(b)) => a != b,
            (Some(_), None) | (None, Some(_)) | (None, None) => true,
        },
    }
}

/// Where one type is known by its unit alone and another by its user alone, only a process shows
/// whether they share a user.
fn lone_units(rules: &[&ProcessRule], names: &Names, mistakes: &mut Mistakes) {
    let unit_alone = |rule: &&&ProcessRule| rule.unit.is_some() && rule.user.is_none();
    for lone in rules.iter().filter(unit_alone) {
        let meets = |other: &&&ProcessRule| {
            let user_alone = other.unit.is_none() && other.user.is_some();
            user_alone && other.agent != lone.agent && !(lone.weak && other.weak)
        };
        let Some(other) = rules.iter().find(meets) else {
            continue;
        };
        let agent = lone.agent.as_str();
        let at = names.places.field("AgentType", agent, "attestation");
        let message = format!(
            "`{agent}` is known by its unit alone: if that runs as the user of `{}` or of another agent type, its processes are refused (C5)",
            other.agent
        );
        let mend = "say the unit's `user` too, one that no other agent type has";
        mistakes.warn(at, message, mend);
    }
}

/// A host is one server workload's.
fn shared_hosts(declared: &Declared, names: &Names, mistakes: &mut Mistakes) {
    let mut taken = BTreeMap::new();
    for server in declared.servers.values() {
        for host in &server.http.hosts {
            if let Some(other) = taken.insert(host, &server.name) {
                let at = names
                    .places
                    .field("ServerWorkload", server.name.as_str(), "http");
                let message = format!("host `{host}` is already that of `{other}`");
                mistakes.error(at, message, "give each server workload its own hosts");
            }
        }
    }
}

fn operators(declared: &Declared, names: &Names, mistakes: &mut Mistakes) {
    let mut users = BTreeMap::new();
    for operator in declared.operators.values() {
        let user = operator.user.as_ref();
        let other = user.and_then(|user| users.insert(user, &operator.name));
        people::same(operator, other, "user", names, mistakes);
    }
    needed_rights(declared, names, mistakes);
}

/// A bundle that lets nobody suspend, resume or apply could never be mended again. Nor could one that
/// lets only people whom a provider vouches for: a provider can be suspended, down or mistyped, and
/// who is known by it with it.
fn needed_rights(declared: &Declared, names: &Names, mistakes: &mut Mistakes) {
    let Some(first) = declared.operators.values().next() else {
        return;
    };
    // Who was to have which rights is not known while one of them is declared with a mistake.
    if declared.operators.values().any(|o| o.rights.is_empty()) {
        return;
    }
    for right in [Right::Suspend, Right::Resume, Right::Apply] {
        let operators = || declared.operators.values();
        if operators().any(|o| o.has_at_the_door(right)) {
            continue;
        }
        let holder = operators().find(|o| o.rights.contains(&right));
        let (message, mend) = match holder {
            None => (
                format!("no operator has the right `{right}`"),
                "give it to somebody: without it nobody could stop or mend anything",
            ),
            Some(_) => (
                format!("nobody has the right `{right}` by `uid` or `unixUser` and without `when`"),
                "give it to an operator of the server's own machine: while no provider vouches, only they could stop or mend anything",
            ),
        };
        let named = holder.unwrap_or(first);
        let at = names.places.name("Operator", named.name.as_str());
        mistakes.error(at, message, mend);
    }
}

/// A policy that another one makes needless is one that somebody believes to matter.
fn access_policies(declared: &Declared, names: &Names, mistakes: &mut Mistakes) {
    let policies: Vec<_> = declared.access.values().collect();
    for policy in &policies {
        let shadow = policies.iter().find(|other| {
            other.name != policy.name
                && other.server == policy.server
                && policy.agents.is_subset(&other.agents)
                && policy.actions.is_subset(&other.actions)
                && other.task_must_fix.is_subset(&policy.task_must_fix)
                && (other.when.is_none() || other.when == policy.when)
                && other.limits.iter().all(|(k, o)| policy.limits.get(k).is_some_and(|p| p.is_within(o)))
                // Of two that say the same, the later one is the needless one.
                && (!says_the_same(other, policy) || other.name < policy.name)
                && policy.max_token_lifetime.is_none()
        });
        if let Some(other) = shadow {
            let at = names.places.name("AccessPolicy", policy.name.as_str());
            let message = format!(
                "`{}` permits nothing that `{}` does not permit",
                policy.name, other.name
            );
            mistakes.error(at, message, "remove it, or narrow the other one");
        }
    }
}

fn says_the_same(a: &crate::decl::AccessPolicy, b: &crate::decl::AccessPolicy) -> bool {
    (
        &a.agents,
        &a.server,
        &a.actions,
        &a.task_must_fix,
        &a.limits,
        &a.when,
    ) == (
        &b.agents,
        &b.server,
        &b.actions,
        &b.task_must_fix,
        &b.limits,
        &b.when,
    )
}

/// Which policy an opener means must follow from purpose, kind of trigger and, for people, trust
/// provider alone.
fn openings(declared: &Declared, names: &Names, mistakes: &mut Mistakes) {
    let mut seen = BTreeMap::new();
    for policy in declared.task_policies.values() {
        let trigger = &policy.trigger;
        let kind = (trigger.kind(), trigger.provider());
        let key = (&policy.opener, &policy.purpose, kind);
        if let Some(other) = seen.insert(key, &policy.name) {
            let at = names.places.name("TaskPolicy", policy.name.as_str());
            let and_provider = match trigger.provider() {
                Some(provider) => format!(", by trust provider `{provider}`"),
                None => String::new(),
            };
            let message = format!(
                "`{}` and `{other}` are for the same opener, purpose and kind of trigger{and_provider}",
                policy.name
            );
            mistakes.error(at, message, "give them different purposes");
        }
    }
}

/// A ceiling entry that neither the opener nor anyone it could spawn may exercise permits nothing.
fn reachable_ceiling(
    policy: &TaskPolicy,
    declared: &Declared,
    names: &Names,
    mistakes: &mut Mistakes,
) {
    for entry in policy.ceiling.iter() {
        let agents = declared.reach(&policy.opener, &entry.server, &entry.action);
        let reached = agents
            .iter()
            .any(|agent| declared.exercises(agent, &entry.server, &entry.action));
        if !reached {
            let at = names
                .places
                .field("TaskPolicy", policy.name.as_str(), "ceiling");
            let message = format!(
                "neither `{}` nor any agent type it may spawn could ever exercise `{}:{}`",
                policy.opener, entry.server, entry.action
            );
            mistakes.error(
                at,
                message,
                "remove it from the ceiling, or add an access policy or `maySpawn`",
            );
        }
    }
}

/// An access policy under which no task can come about permits nothing. A warning and not an
/// error: policies and tasks may well be declared by different people, one after the other.
fn reachable_access(
    policy: &crate::decl::AccessPolicy,
    declared: &Declared,
    names: &Names,
    mistakes: &mut Mistakes,
) {
    let comes_about = |task: &TaskPolicy| {
        task.ceiling.iter().any(|entry| {
            let reach = || declared.reach(&task.opener, &entry.server, &entry.action);
            entry.server == policy.server
                && policy.actions.contains(&entry.action)
                && reach().iter().any(|agent| policy.agents.contains(agent))
        })
    };
    if !declared.task_policies.values().any(comes_about) {
        let at = names.places.name("AccessPolicy", policy.name.as_str());
        let message = format!(
            "no task can come about in which `{}` would permit anything",
            policy.name
        );
        mistakes.warn(at, message, "add a task policy whose ceiling has it and from whose opener its agents can be reached");
    }
}

fn bound_attributes(
    policy: &TaskPolicy,
    declared: &Declared,
    names: &Names,
    mistakes: &mut Mistakes,
) {
    let TriggerRule::User(person) = &policy.trigger else {
        return;
    };
    let at: Place = names
        .places
        .field("TaskPolicy", policy.name.as_str(), "trigger");
    for attribute in person.bind.keys() {
        let (with, without): (Vec<_>, Vec<_>) = policy
            .ceiling
            .iter()
            .partition(|e| declared.has_attribute(&e.server, &e.action, attribute));
        if with.is_empty() && !policy.ceiling.is_empty() {
            let message = format!(
                "`{attribute}` is bound, and no action of the ceiling has such an attribute"
            );
            mistakes.error(at, message, "bind an attribute that the actions declare");
        } else if let Some(entry) = without.first() {
            let message = format!(
                "`{attribute}` is bound, but `{}:{}` has no such attribute and would stay unbound",
                entry.server, entry.action
            );
            mistakes.error(
                at,
                message,
                "declare the attribute there, or open such tasks under another policy",
            );
        }
        for entry in with {
            check_bindable(attribute, entry, declared, at, mistakes);
        }
    }
}

fn check_bindable(
    attribute: &AttributeName,
    entry: &mandate_model::mandate::Entry,
    declared: &Declared,
    at: Place,
    mistakes: &mut Mistakes,
) {
    let ty = declared.attribute_type(&entry.server, &entry.action, attribute);
    if ty.is_some_and(|ty| ty.name() == "integer") {
        let message = format!(
            "`{attribute}` of `{}:{}` is an integer, and claims bind texts",
            entry.server, entry.action
        );
        mistakes.error(at, message, "bind a string, uuid or enum attribute");
    }
}

/// Hosting is one level deep: a hosted agent holds no evidence of its own to vouch with (A6).
fn hosts(declared: &Declared, names: &Names, mistakes: &mut Mistakes) {
    for agent in declared.agents.values() {
        let only_hosted = |host: &&AgentTypeName| {
            declared
                .agents
                .get(*host)
                .is_some_and(|h| h.is_only_hosted())
        };
        if let Some(host) = agent.hosted_by.iter().find(only_hosted) {
            let at = names
                .places
                .field("AgentType", agent.name.as_str(), "hostedBy");
            let message =
                format!("`{host}` is itself only ever hosted, and hosting does not nest (A6)");
            mistakes.error(at, message, "name a host that has `attestation`");
        }
        let lone = |scope: &SpawnScope| matches!(scope, SpawnScope::Only(set) if set.is_empty());
        if agent.may_spawn.values().any(lone) {
            let at = names
                .places
                .field("AgentType", agent.name.as_str(), "maySpawn");
            mistakes.error(
                at,
                "a `maySpawn` item permits nothing",
                "list the actions, or remove the item",
            );
        }
    }
}
