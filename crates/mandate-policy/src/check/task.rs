//! Task policies.

use std::collections::BTreeMap;

use mandate_model::mandate::{Budget, Entries, Entry, MAX_DEPTH};
use mandate_model::{AttributeName, PolicyName, ServerName};

use super::names::Names;
use super::place_of;
use super::read::{constraints, duration, known, known_list, text};
use crate::decl::{Action, OccurrenceRule, PersonRule, ServerWorkload, TaskPolicy, TriggerRule};
use crate::mistake::Mistakes;
use crate::source::Node;

pub(super) fn task_policy(
    name: &str,
    spec: &Node,
    names: &Names,
    servers: &BTreeMap<ServerName, ServerWorkload>,
    mistakes: &mut Mistakes,
) -> Option<TaskPolicy> {
    let name = PolicyName::parse(name).ok()?;
    let opener = spec
        .get("opener")
        .and_then(|node| known(node, &names.agents, "agent type", mistakes));
    let ceiling = ceiling(spec, names, servers, mistakes);
    let trigger = spec
        .get("trigger")
        .and_then(|node| trigger(node, names, mistakes));
    let max_depth = max_depth(spec, mistakes);
    let max_duration = duration(spec, "maxDuration");
    if max_duration.is_some_and(|d| d.as_secs() > LONGEST_TASK_SECS) {
        mistakes.error(
            place_of(spec, "maxDuration"),
            "a task lives at most 30 days",
            "say `30d` or less",
        );
    }
    let purpose = text(spec, "purpose").unwrap_or_else(|| name.as_str().to_owned());
    if purpose.len() > 200 || purpose.chars().any(char::is_control) {
        mistakes.error(
            place_of(spec, "purpose"),
            "a purpose has at most 200 bytes and no control characters",
            "",
        );
    }
    Some(TaskPolicy {
        name,
        opener: opener?,
        purpose,
        trigger: trigger?,
        ceiling,
        max_duration: max_duration?,
        max_depth,
        budget: budget(spec),
        resume_by_type: text(spec, "resume").as_deref() == Some("type"),
    })
}

fn max_depth(spec: &Node, mistakes: &mut Mistakes) -> u8 {
    let Some(node) = spec.get("maxDepth") else {
        return MAX_DEPTH;
    };
    let depth = node.integer().and_then(|n| u8::try_from(n).ok());
    match depth {
        Some(depth) if depth <= MAX_DEPTH => depth,
        Some(_) | None => {
            mistakes.error(node.at, format!("`maxDepth` is at most {MAX_DEPTH}"), "");
            MAX_DEPTH
        }
    }
}

fn budget(spec: &Node) -> Budget {
    let number = |field| {
        let n = spec.get("budget")?.get(field)?.integer()?;
        u64::try_from(n).ok()
    };
    Budget {
        max_accesses: number("maxAccesses"),
        max_children: number("maxChildren"),
    }
}

fn ceiling(
    spec: &Node,
    names: &Names,
    servers: &BTreeMap<ServerName, ServerWorkload>,
    mistakes: &mut Mistakes,
) -> Entries {
    let mut entries = Vec::new();
    let items = spec.get("ceiling").map_or(&[] as &[Node], Node::items);
    for item in items {
        let server = item
            .get("server")
            .and_then(|node| known(node, &names.servers, "server workload", mistakes));
        let Some(server) = server else { continue };
        let what = format!("action of `{server}`");
        let actions = known_list(item, "actions", &names.actions_of(&server), &what, mistakes);
        let sound: Vec<&Action> = servers
            .get(&server)
            .map(|s| actions.iter().filter_map(|a| s.actions.get(a)).collect())
            .unwrap_or_default();
        let constraints = constraints(item, "constraints", &sound, mistakes);
        entries.extend(actions.into_iter().map(|action| Entry {
            server: server.clone(),
            action,
            constraints: constraints.clone(),
        }));
    }
    let count = entries.len();
    match Entries::normalize(entries) {
        Ok(entries) => {
            if entries.len() < count {
                let message = "the ceiling has entries that another one covers";
                mistakes.warn(
                    place_of(spec, "ceiling"),
                    message,
                    "remove the narrower ones",
                );
            }
            entries
        }
        Err(error) => {
            mistakes.error(place_of(spec, "ceiling"), error.to_string(), "");
            Entries::default()
        }
    }
}

fn trigger(node: &Node, names: &Names, mistakes: &mut Mistakes) -> Option<TriggerRule> {
    if let Some(user) = node.get("user") {
        return person(user, names, mistakes).map(TriggerRule::User);
    }
    if let Some(schedule) = node.get("schedule") {
        return occurrence(schedule, mistakes).map(TriggerRule::Schedule);
    }
    if let Some(event) = node.get("event") {
        return occurrence(event, mistakes).map(TriggerRule::Event);
    }
    let operator = node.get("operator").is_some() || node.text() == Some("operator");
    operator.then_some(TriggerRule::Operator)
}

fn occurrence(node: &Node, mistakes: &mut Mistakes) -> Option<OccurrenceRule> {
    let unverified_allowed = node.get("unverified").is_some();
    if !unverified_allowed {
        let message = "this trigger could never be verified: this version knows no signed schedules or events";
        mistakes.error(
            node.at,
            message,
            "add `unverified: allow`; the cause is then recorded as claimed by the agent",
        );
    }
    Some(OccurrenceRule {
        name: text(node, "name")?,
        item_required: node.get("itemId").is_some(),
        unverified_allowed,
    })
}

fn person(node: &Node, names: &Names, mistakes: &mut Mistakes) -> Option<PersonRule> {
    let provider = known(
        node.get("provider")?,
        &names.providers,
        "trust provider",
        mistakes,
    );
    let any_user = node.get("anyUser").is_some_and(Node::is_true);
    match node.get("bind") {
        None if !any_user => {
            let message = "no claim of the user is bound, so everybody at the provider gets the whole ceiling";
            mistakes.error(
                node.at,
                message,
                "add `bind: {customer: claims.tenant}`, or say `anyUser: true`",
            );
        }
        Some(bind) if any_user => {
            mistakes.error(
                bind.at,
                "`bind` and `anyUser: true` contradict each other",
                "keep one of them",
            );
        }
        None => {
            let at = node.get("anyUser").map_or(node.at, |any| any.at);
            mistakes.warn(
                at,
                "everybody at the trust provider gets the whole ceiling of this task policy",
                "bind a claim, as in `bind: {customer: claims.tenant}`, unless that is meant",
            );
        }
        Some(_) => {}
    }
    Some(PersonRule {
        provider: provider?,
        claims: claims(node),
        bind: bind(node, mistakes),
        any_user,
    })
}

pub(super) fn claims(node: &Node) -> BTreeMap<String, String> {
    node.get("claims")
        .into_iter()
        .flat_map(Node::members)
        .filter_map(|(key, value)| Some((key.name.clone(), value.text()?.to_owned())))
        .collect()
}

fn bind(node: &Node, mistakes: &mut Mistakes) -> BTreeMap<AttributeName, String> {
    let mut found = BTreeMap::new();
    for (key, value) in node.get("bind").into_iter().flat_map(Node::members) {
        let Some(text) = value.text() else { continue };
        match text
            .strip_prefix("claims.")
            .filter(|claim| !claim.is_empty())
        {
            Some(claim) => {
                if let Ok(name) = AttributeName::parse(&key.name) {
                    found.insert(name, claim.to_owned());
                } else {
                    mistakes.error(key.at, format!("`{}` is no attribute name", key.name), "");
                }
            }
            None => mistakes.error(
                value.at,
                format!("`{text}` names no claim"),
                "say it as `claims.tenant`",
            ),
        }
    }
    found
}

const LONGEST_TASK_SECS: u64 = 30 * 86_400;
