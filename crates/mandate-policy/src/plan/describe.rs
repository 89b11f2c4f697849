//! Every field of every declaration in words, for comparison. A field that is left out here would
//! change unseen, so records are taken apart without `..`.

mod evidence;

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::Bundle;
use crate::decl::{
    AccessPolicy, AgentType, Credential, Durability, Guardrail, HttpSettings, LeaseLoss, Manifest,
    OccurrenceRule, OidcRule, Operator, PersonRule, Pin, Possession, ProcessRule, SecretTemplate,
    ServerWorkload, SpawnScope, TaskPolicy, TriggerRule, UserRule,
};
use crate::table::{in_words, quoted};

/// Kind, name and field to what it says.
pub(super) type Fields = BTreeMap<(&'static str, String, String), String>;

/// The fields of a server workload that decide where requests and secrets go (C4), and who may get
/// tokens for agents (A9).
pub(super) const REDIRECTING: &[&str] = &[
    "upstream",
    "upstreamAudience",
    "credential",
    "tls.ca",
    "gateways",
];

/// The fields of a trust provider that decide whose word it is, or where tokens are sent to be
/// reviewed.
pub(super) const PINNING: &[&str] = &[
    "kind",
    "issuer",
    "jwksUri",
    "trustDomain",
    "bundleEndpoint",
    "bundleFile",
    "audience",
    "tokenType",
    "apiServer",
];

/// The field of a server workload that weakens break-glass where it says anything (B3).
pub(super) const WEAKENING: &str = "leaseLoss";

/// The field of a trust provider that weakens operators' logins where it says anything.
pub(super) const UNBOUND: &str = "nonce";

pub(super) fn all(bundle: &Bundle) -> Fields {
    let mut all = Fields::new();
    bundle
        .providers()
        .for_each(|d| evidence::provider(d, &mut all));
    bundle.agents().for_each(|d| agent(d, &mut all));
    bundle.servers().for_each(|d| server(d, &mut all));
    bundle.access_policies().for_each(|d| access(d, &mut all));
    bundle.guardrails().for_each(|d| guardrail(d, &mut all));
    bundle.task_policies().for_each(|d| task(d, &mut all));
    bundle.operators().for_each(|d| operator(d, &mut all));
    all
}

struct Describe<'a> {
    kind: &'static str,
    name: String,
    into: &'a mut Fields,
}

impl Describe<'_> {
    fn say(&mut self, field: &str, what: impl Display) {
        let what = what.to_string();
        if !what.is_empty() {
            let key = (self.kind, self.name.clone(), field.to_owned());
            self.into.insert(key, what);
        }
    }
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    all.join(", ")
}

fn agent(agent: &AgentType, into: &mut Fields) {
    let AgentType {
        name,
        id: _,
        process_rules,
        token_rules,
        aws_rules,
        hosted_by,
        may_spawn,
        federation,
        pin,
        proof,
        break_glass,
    } = agent;
    let mut d = Describe {
        kind: "AgentType",
        name: name.to_string(),
        into,
    };
    let rules = process_rules.iter().map(rule);
    let rules = rules.chain(token_rules.iter().map(evidence::token_rule));
    d.say(
        "attestation",
        list(rules.chain(aws_rules.iter().map(evidence::aws_rule))),
    );
    d.say("hostedBy", list(hosted_by));
    d.say(
        "maySpawn",
        list(may_spawn.iter().map(|(child, scope)| spawn(child, scope))),
    );
    d.say("federation", list(federation));
    match pin {
        Pin::None => {}
        Pin::Instance => d.say("pin", "instance"),
    }
    possession(*proof, &mut d);
    d.say("breakGlass.contact", &break_glass.contact);
    d.say("breakGlass.impact", &break_glass.impact);
    d.say("breakGlass.steps", break_glass.steps.join("; "));
    if break_glass.resume_needs_second_operator {
        d.say("breakGlass.resume", "second-operator");
    }
}

fn possession(proof: Possession, d: &mut Describe<'_>) {
    match proof {
        Possession::Optional => {}
        Possession::Required => d.say("proof", "required"),
    }
}

fn rule(rule: &ProcessRule) -> String {
    let ProcessRule {
        agent: _,
        provider,
        user,
        unit,
        path,
        sha256,
        weak,
    } = rule;
    let parts = [
        user.as_ref().map(self::user),
        unit.as_ref().map(|unit| format!("unit {}", quoted(unit))),
        path.as_ref().map(|path| format!("path {}", quoted(path))),
        sha256.as_ref().map(|sha256| format!("sha256 {sha256}")),
        weak.then(|| "without isolation".to_owned()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("{provider}({})", parts.join(" "))
}

fn user(rule: &UserRule) -> String {
    match rule {
        UserRule::Name(name) => format!("user {}", quoted(name)),
        UserRule::Uid(uid) => format!("uid {uid}"),
    }
}

fn spawn(child: &mandate_model::AgentTypeName, scope: &SpawnScope) -> String {
    match scope {
        SpawnScope::Any => child.to_string(),
        SpawnScope::Only(actions) => {
            let words: Vec<String> = actions.iter().map(|(s, a)| format!("{s}:{a}")).collect();
            format!("{child}({})", words.join(" "))
        }
    }
}

fn server(server: &ServerWorkload, into: &mut Fields) {
    let ServerWorkload {
        name,
        resource,
        upstream,
        upstream_audience,
        gateways,
        credential,
        internal,
        observe_until,
        lease_loss,
        proof,
        durability,
        http,
        mcp,
        llm,
        a2a,
        ca,
        actions,
        matcher: _,
    } = server;
    let mut d = Describe {
        kind: "ServerWorkload",
        name: name.to_string(),
        into,
    };
    d.say("resource", resource);
    d.say("upstream", upstream);
    d.say(
        "upstreamAudience",
        upstream_audience.as_deref().unwrap_or_default(),
    );
    d.say("credential", self::credential(credential));
    d.say(
        "gateways",
        list(gateways.iter().map(|(id, at)| format!("{id} at {at}"))),
    );
    if *internal {
        d.say("internal", "reads may be recorded before release");
    }
    if let Some(until) = observe_until {
        d.say("observe.until", until);
    }
    match lease_loss {
        LeaseLoss::Stop => {}
        LeaseLoss::Continue => d.say(
            WEAKENING,
            "goes on without a lease, so a suspension may wait for tokens to expire",
        ),
    }
    match durability {
        Durability::Local => {}
        Durability::Shipped => d.say("durability", "shipped"),
    }
    possession(*proof, &mut d);
    self::http(http, &mut d);
    if let Some(mcp) = mcp {
        d.say("mcp.path", &mcp.path);
        d.say("mcp.denialCode", mcp.denial_code);
        for (tool, digest) in mcp.manifest.iter().flat_map(Manifest::iter) {
            d.say(&format!("tools.{tool}"), digest);
        }
    }
    if let Some(llm) = llm {
        d.say("llm.api", llm.api);
    }
    if let Some(a2a) = a2a {
        d.say("a2a.agent", &a2a.agent);
        d.say("a2a.path", &a2a.path);
    }
    d.say("tls.ca", ca.as_deref().unwrap_or_default());
    for action in actions.values() {
        let field = |what: &str| format!("actions.{}.{what}", action.name);
        d.say(&field("effect"), action.effect);
        d.say(&field("match"), list(&action.routes));
        d.say(&field("upgrade"), list(&action.upgrade));
        let attributes = action.attributes.iter().map(|(name, a)| {
            let words = match &a.ty {
                mandate_model::AttributeType::Enum(words) => format!("({})", list(words)),
                mandate_model::AttributeType::String
                | mandate_model::AttributeType::Integer
                | mandate_model::AttributeType::Uuid
                | mandate_model::AttributeType::Path => String::new(),
            };
            format!(
                "{name} {}{words} from {} {:?}",
                a.ty.name(),
                a.source,
                a.log
            )
        });
        d.say(&field("attributes"), list(attributes));
    }
}

fn credential(credential: &Credential) -> String {
    let shape = |t: &SecretTemplate| format!("{}${{secret:{}}}{}", t.before, t.secret, t.after);
    match credential {
        Credential::None => "none".to_owned(),
        Credential::MandateToken => "mandateToken".to_owned(),
        Credential::Header { name, value } => {
            format!("header {}", quoted(&format!("{name}: {}", shape(value))))
        }
        Credential::Query { name, value } => {
            format!("query {} as {}", quoted(name), quoted(&shape(value)))
        }
        Credential::Basic { user, secret } => {
            format!("basic {} with `${{secret:{secret}}}`", quoted(user))
        }
    }
}

fn http(http: &HttpSettings, d: &mut Describe<'_>) {
    let HttpSettings {
        hosts,
        connect_timeout,
        response_timeout,
        idle_timeout,
        max_body_bytes,
        max_upgrade_bytes,
        upgrade_idle_timeout,
        max_header_bytes,
        pass_task_id,
        traceparent,
        strip_headers,
    } = http;
    d.say("http.hosts", list(hosts));
    d.say(
        "http.connectTimeout",
        format!("{} s", connect_timeout.as_secs()),
    );
    d.say(
        "http.responseTimeout",
        format!("{} s", response_timeout.as_secs()),
    );
    d.say("http.idleTimeout", format!("{} s", idle_timeout.as_secs()));
    d.say("http.maxBodyBytes", max_body_bytes);
    d.say("http.maxUpgradeBytes", max_upgrade_bytes);
    d.say(
        "http.upgradeIdleTimeout",
        format!("{} s", upgrade_idle_timeout.as_secs()),
    );
    d.say("http.maxHeaderBytes", max_header_bytes);
    d.say(
        "http.passTaskId",
        pass_task_id.as_deref().unwrap_or_default(),
    );
    d.say("http.traceparent", traceparent);
    d.say("http.stripHeaders", list(strip_headers));
}

fn access(policy: &AccessPolicy, into: &mut Fields) {
    // Its heads and conditions are compared as access; here only what it says in all.
    let AccessPolicy {
        name,
        agents,
        server,
        actions,
        task_must_fix: _,
        limits: _,
        when: _,
        max_token_lifetime: _,
    } = policy;
    let mut d = Describe {
        kind: "AccessPolicy",
        name: name.to_string(),
        into,
    };
    let heads = format!("{} → {server}: {}", list(agents), list(actions));
    d.say("heads", heads);
}

fn guardrail(guardrail: &Guardrail, into: &mut Fields) {
    let Guardrail {
        name,
        forbid,
        agents,
        servers,
    } = guardrail;
    let mut d = Describe {
        kind: "Guardrail",
        name: name.to_string(),
        into,
    };
    d.say("forbid", forbid.trim());
    d.say("agents", agents.as_ref().map_or("all".to_owned(), list));
    d.say("servers", servers.as_ref().map_or("all".to_owned(), list));
}

fn task(policy: &TaskPolicy, into: &mut Fields) {
    let TaskPolicy {
        name,
        opener,
        purpose,
        trigger,
        ceiling,
        max_duration,
        max_depth,
        budget,
        resume_by_type,
    } = policy;
    let mut d = Describe {
        kind: "TaskPolicy",
        name: name.to_string(),
        into,
    };
    d.say("opener", opener);
    d.say("purpose", purpose);
    d.say("trigger", self::trigger(trigger));
    let entries = ceiling.iter().map(|e| {
        let constraints = e.constraints.iter();
        let constraints: String = constraints
            .map(|(k, c)| format!(" where `{k}` {}", in_words(c)))
            .collect();
        format!("{}:{}{constraints}", e.server, e.action)
    });
    d.say("ceiling", list(entries));
    d.say("maxDuration", format!("{} s", max_duration.as_secs()));
    d.say("maxDepth", max_depth);
    d.say(
        "budget.maxAccesses",
        budget.max_accesses.map_or(String::new(), |n| n.to_string()),
    );
    d.say(
        "budget.maxChildren",
        budget.max_children.map_or(String::new(), |n| n.to_string()),
    );
    d.say("resume", if *resume_by_type { "type" } else { "instance" });
}

fn trigger(trigger: &TriggerRule) -> String {
    match trigger {
        TriggerRule::User(PersonRule {
            provider,
            claims,
            bind,
            any_user,
        }) => {
            let claims = claims
                .iter()
                .map(|(k, v)| format!(" with {} {}", quoted(k), quoted(v)));
            let bind = bind
                .iter()
                .map(|(k, v)| format!(" binding {k} to claims.{}", quoted(v)));
            let anybody = any_user.then(|| ", anybody".to_owned());
            let more: String = claims.chain(bind).chain(anybody).collect();
            format!("user of {provider}{more}")
        }
        TriggerRule::Schedule(rule) => format!("schedule {}", occurrence(rule)),
        TriggerRule::Event(rule) => format!("event {}", occurrence(rule)),
        TriggerRule::Operator => "operator".to_owned(),
    }
}

fn occurrence(rule: &OccurrenceRule) -> String {
    let item = if rule.item_required { " with item" } else { "" };
    let word = if rule.unverified_allowed {
        ", unverified"
    } else {
        ""
    };
    format!("{}{item}{word}", quoted(&rule.name))
}

/// Whose word the provider's is stands in the fields of the provider.
fn person_at(rule: &OidcRule) -> String {
    let OidcRule {
        provider,
        pin: _,
        claims,
    } = rule;
    let claims: Vec<String> = claims
        .iter()
        .map(|(name, value)| format!("{name} = {}", quoted(value)))
        .collect();
    format!("{} of {provider}", claims.join(", "))
}

fn operator(operator: &Operator, into: &mut Fields) {
    let Operator {
        name,
        user,
        oidc,
        rights,
        when,
    } = operator;
    let mut d = Describe {
        kind: "Operator",
        name: name.to_string(),
        into,
    };
    d.say("user", user.as_ref().map(self::user).unwrap_or_default());
    d.say("oidc", oidc.as_ref().map(person_at).unwrap_or_default());
    d.say("rights", list(rights));
    d.say("when", when.as_deref().unwrap_or_default().trim());
}
