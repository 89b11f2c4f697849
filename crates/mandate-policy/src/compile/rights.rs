//! Spawning, hosting and operating as Cedar: code asks the literal question, policy answers.

use std::collections::{BTreeSet, HashMap};

use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityUid, Policy, PolicyId, PolicySet, Request,
    RestrictedExpression,
};
use mandate_model::mandate::Entry;
use mandate_model::{ActionName, AgentTypeName, OperatorName, ServerName};

use super::text::{quoted, uid};
use super::validate;
use crate::bundle::Declared;
use crate::check::Places;
use crate::decl::{Operator, Right, SpawnScope};
use crate::mistake::Mistakes;

/// The compiled rights of agent types and operators.
#[derive(Debug, Clone)]
pub(crate) struct Rights {
    agents: HashMap<AgentTypeName, AgentRights>,
    operators: HashMap<OperatorName, (EntityUid, PolicySet)>,
    actions: HashMap<Right, EntityUid>,
    spawn: EntityUid,
    delegate: EntityUid,
    host: EntityUid,
    authority: EntityUid,
}

#[derive(Debug, Clone)]
struct AgentRights {
    uid: EntityUid,
    policies: PolicySet,
}

/// What an operator acts on, for conditions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OperatorContext<'a> {
    pub(crate) user: &'a str,
    pub(crate) uid: i64,
    pub(crate) provider: &'a str,
    pub(crate) target: Option<(&'a str, &'a str)>,
}

impl Rights {
    pub(super) fn compile(
        declared: &Declared,
        places: &Places,
        mistakes: &mut Mistakes,
    ) -> Option<Self> {
        let mut agents = HashMap::new();
        for (name, agent) in &declared.agents {
            let spawns = agent.may_spawn.iter();
            let spawns = spawns.flat_map(|(child, scope)| spawn_policies(name, child, scope));
            let hosts = declared
                .agents
                .values()
                .filter(|a| a.hosted_by.contains(name));
            let hosts = hosts.map(|hosted| host_policy(name, &hosted.name));
            let policies: Option<Vec<Policy>> = spawns.chain(hosts).collect();
            let policies = PolicySet::from_policies(policies?).ok()?;
            let uid = uid("Agent", name.as_str())?;
            agents.insert(name.clone(), AgentRights { uid, policies });
        }
        let actions = Right::ALL
            .into_iter()
            .map(|right| Some((right, uid("Action", right.as_str())?)));
        Some(Self {
            agents,
            operators: operators(declared, places, mistakes)?,
            actions: actions.collect::<Option<_>>()?,
            spawn: uid("Action", "spawn")?,
            delegate: uid("Action", "delegate")?,
            host: uid("Action", "host")?,
            authority: uid("Authority", "this")?,
        })
    }

    /// Whether `parent` may delegate to `child` at all.
    pub(crate) fn may_spawn(&self, parent: &AgentTypeName, child: &AgentTypeName) -> bool {
        self.agent_may(parent, &self.spawn, child, Vec::new())
    }

    /// Whether `parent` may delegate `entry` to `child`.
    pub(crate) fn may_delegate(
        &self,
        parent: &AgentTypeName,
        child: &AgentTypeName,
        entry: &Entry,
    ) -> bool {
        let entry = RestrictedExpression::new_string(format!("{}:{}", entry.server, entry.action));
        let context = vec![("entry".to_owned(), entry)];
        self.agent_may(parent, &self.delegate, child, context)
    }

    /// Whether agents of type `hosted` may run in a process of `host`.
    pub(crate) fn may_host(&self, host: &AgentTypeName, hosted: &AgentTypeName) -> bool {
        self.agent_may(host, &self.host, hosted, Vec::new())
    }

    fn agent_may(
        &self,
        agent: &AgentTypeName,
        action: &EntityUid,
        other: &AgentTypeName,
        context: Vec<(String, RestrictedExpression)>,
    ) -> bool {
        let (Some(agent), Some(other)) = (self.agents.get(agent), self.agents.get(other)) else {
            return false;
        };
        is_allowed(&agent.policies, &agent.uid, action, &other.uid, context)
    }

    /// Whether the operator declared as `name` may do `right`.
    pub(crate) fn operator_may(
        &self,
        name: &OperatorName,
        right: Right,
        context: OperatorContext<'_>,
    ) -> bool {
        let (Some((uid, policies)), Some(action)) =
            (self.operators.get(name), self.actions.get(&right))
        else {
            return false;
        };
        let Some(context) = operator_context(context) else {
            return false;
        };
        is_allowed(policies, uid, action, &self.authority, context)
    }
}

/// Allowed, and nothing erred on the way (C6).
fn is_allowed(
    policies: &PolicySet,
    principal: &EntityUid,
    action: &EntityUid,
    resource: &EntityUid,
    context: Vec<(String, RestrictedExpression)>,
) -> bool {
    let Ok(context) = Context::from_pairs(context) else {
        return false;
    };
    let head = (principal.clone(), action.clone(), resource.clone());
    let Ok(request) = Request::new(head.0, head.1, head.2, context, None) else {
        return false;
    };
    let response = Authorizer::new().is_authorized(&request, policies, &Entities::empty());
    response.decision() == Decision::Allow && response.diagnostics().errors().next().is_none()
}

/// Two permits: that `parent` may spawn `child` at all, and what it may delegate to it.
fn spawn_policies(
    parent: &AgentTypeName,
    child: &AgentTypeName,
    scope: &SpawnScope,
) -> [Option<Policy>; 2] {
    let condition = match scope {
        SpawnScope::Any => String::new(),
        SpawnScope::Only(actions) => {
            format!(" when {{ {}.contains(context.entry) }}", entries(actions))
        }
    };
    let permit = |action: &str, condition: &str| {
        let id = PolicyId::new(format!("{action}@{child}"));
        let text = format!(
            "permit(principal == Agent::\"{parent}\", action == Action::\"{action}\", resource == Agent::\"{child}\"){condition};"
        );
        Policy::parse(Some(id), text).ok()
    };
    [permit("spawn", ""), permit("delegate", &condition)]
}

fn entries(actions: &BTreeSet<(ServerName, ActionName)>) -> String {
    let list: Vec<String> = actions
        .iter()
        .map(|(server, action)| quoted(&format!("{server}:{action}")))
        .collect();
    format!("[{}]", list.join(", "))
}

fn host_policy(host: &AgentTypeName, hosted: &AgentTypeName) -> Option<Policy> {
    let text = format!(
        "permit(principal == Agent::\"{host}\", action == Action::\"host\", resource == Agent::\"{hosted}\");"
    );
    Policy::parse(Some(PolicyId::new(format!("host@{hosted}"))), text).ok()
}

fn operators(
    declared: &Declared,
    places: &Places,
    mistakes: &mut Mistakes,
) -> Option<HashMap<OperatorName, (EntityUid, PolicySet)>> {
    let mut found = HashMap::new();
    for operator in declared.operators.values() {
        let at = places.field("Operator", operator.name.as_str(), "when");
        let when = operator.when.as_deref();
        let mut set = PolicySet::new();
        let is_sound = when.is_none_or(|when| validate::is_expression(when, at, mistakes));
        // Without a right there is a mistake already, and nothing to say of a policy made of it.
        if is_sound && !operator.rights.is_empty() {
            validate::add(&mut set, operator_policy(operator), at, mistakes);
        }
        validate::validate(&set, OPERATOR_SCHEMA, &|_| at, true, mistakes);
        let uid = uid("Operator", operator.name.as_str())?;
        found.insert(operator.name.clone(), (uid, set));
    }
    Some(found)
}

fn operator_policy(operator: &Operator) -> Option<Policy> {
    let rights: Vec<String> = operator
        .rights
        .iter()
        .map(|right| format!("Action::\"{right}\""))
        .collect();
    let when = operator
        .when
        .as_deref()
        .map(|w| format!(" when {{ {w}\n }}"));
    let text = format!(
        "permit(principal == Operator::\"{}\", action in [{}], resource == Authority::\"this\"){};",
        operator.name,
        rights.join(", "),
        when.unwrap_or_default(),
    );
    Policy::parse(Some(PolicyId::new(operator.name.as_str())), text).ok()
}

fn operator_context(context: OperatorContext<'_>) -> Option<Vec<(String, RestrictedExpression)>> {
    let string = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let mut pairs = vec![
        ("user".to_owned(), string(context.user)),
        (
            "uid".to_owned(),
            RestrictedExpression::new_long(context.uid),
        ),
        ("provider".to_owned(), string(context.provider)),
    ];
    if let Some((kind, name)) = context.target {
        let members = [
            ("kind".to_owned(), string(kind)),
            ("name".to_owned(), string(name)),
        ];
        pairs.push((
            "target".to_owned(),
            RestrictedExpression::new_record(members).ok()?,
        ));
    }
    Some(pairs)
}

const OPERATOR_SCHEMA: &str = r#"
entity Operator;
entity Authority;
action "suspend", "resume", "apply", "upstreams", "tasks", "tokens", "audit", "keys", "gateways", "inspect"
  appliesTo { principal: [Operator], resource: [Authority],
    context: { user: String, uid: Long, provider: String, target?: {kind: String, name: String} } };
"#;
