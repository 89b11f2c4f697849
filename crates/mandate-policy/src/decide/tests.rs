use std::time::Duration;

use mandate_model::mandate::{Constraint, Constraints};
use mandate_model::{
    AttestationKind, AttributeValue, Host, InstanceId, ProviderName, TriggerKind, Verified,
};
use proptest::prelude::*;

use super::*;
use crate::fixtures::{EXAMPLE, NOW, example, example_with, load_text};

/// A request with its parts, to be changed by one detail.
#[derive(Debug, Clone)]
struct Case {
    actor: ActorLevel,
    act: Vec<ActorLevel>,
    server: ServerName,
    action: ActionName,
    attributes: RequestAttributes,
    entry: Option<Entry>,
    principal: Principal,
    trigger: Trigger,
    now: Timestamp,
}

fn level(agent: &str) -> ActorLevel {
    ActorLevel {
        sub: SpiffeId::parse(&format!("spiffe://acme.example/agent/{agent}")).unwrap(),
        inst: InstanceId::parse("i1").unwrap(),
        prv: ProviderName::parse("process").unwrap(),
        att: AttestationKind::Process,
        host: None,
    }
}

fn attribute(name: &str) -> AttributeName {
    AttributeName::parse(name).unwrap()
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::Text(value.to_owned())
}

impl Case {
    fn new(agent: &str, action: &str) -> Self {
        let server = ServerName::parse("records").unwrap();
        let action = ActionName::parse(action).unwrap();
        let mut attributes = RequestAttributes::new();
        attributes.add(attribute("customer"), text("acme"));
        let pin = Constraint::one_of(["acme".to_owned()]).unwrap();
        Self {
            actor: level(agent),
            act: vec![level("orchestrator")],
            entry: Some(Entry {
                server: server.clone(),
                action: action.clone(),
                constraints: Constraints::from([(attribute("customer"), pin)]),
            }),
            server,
            action,
            attributes,
            principal: Principal::parse("user:login:alice").unwrap(),
            trigger: Trigger {
                kind: TriggerKind::User,
                verified: Verified::User,
                provider: Some(ProviderName::parse("login").unwrap()),
                item: None,
            },
            now: NOW,
        }
    }

    fn with(mut self, name: &str, value: AttributeValue) -> Self {
        self.attributes.add(attribute(name), value);
        self
    }

    fn request(&self) -> PolicyRequest<'_> {
        PolicyRequest {
            actor: &self.actor,
            act: &self.act,
            server: &self.server,
            action: &self.action,
            attributes: &self.attributes,
            entry: self.entry.as_ref(),
            principal: &self.principal,
            trigger: &self.trigger,
            purpose: "support-case",
            now: self.now,
        }
    }

    fn verdict(&self, bundle: &Bundle) -> PolicyVerdict {
        bundle.permits(&self.request())
    }

    fn denial(&self, bundle: &Bundle) -> PolicyDenial {
        match self.verdict(bundle) {
            PolicyVerdict::Denied(denial) => denial,
            PolicyVerdict::Permitted { policies, .. } => panic!("permitted by {policies:?}"),
        }
    }

    fn assert_permitted_by(&self, bundle: &Bundle, policy: &str) {
        match self.verdict(bundle) {
            PolicyVerdict::Permitted { policies, .. } => assert_eq!(policies, [name(policy)]),
            PolicyVerdict::Denied(denial) => panic!("{denial}"),
        }
    }
}

fn name(text: &str) -> PolicyName {
    PolicyName::parse(text).unwrap()
}

fn refund(cents: i64) -> Case {
    Case::new("executor", "refund").with("amount_cents", AttributeValue::Integer(cents))
}

#[test]
fn permits_what_a_policy_names_and_denies_by_default_what_none_does() {
    let bundle = example();
    Case::new("retriever", "read").assert_permitted_by(&bundle, "reading");
    let denial = Case::new("executor", "read").denial(&bundle);
    assert!(matches!(denial, PolicyDenial::NoPolicy { .. }), "{denial}");
    assert_eq!(denial.rule(), "policy.default_deny");
    let denial = Case::new("orchestrator", "read").denial(&bundle);
    assert!(matches!(denial, PolicyDenial::NoPolicy { .. }), "{denial}");
}

#[test]
fn denies_agents_and_actions_that_are_not_declared() {
    let bundle = example();
    let mut foreign = Case::new("retriever", "read");
    foreign.actor.sub = SpiffeId::parse("spiffe://evil.example/agent/retriever").unwrap();
    assert!(matches!(
        foreign.denial(&bundle),
        PolicyDenial::UnknownAgent(_)
    ));
    let unknown = Case::new("summarizer", "read").denial(&bundle);
    assert!(matches!(unknown, PolicyDenial::UnknownAgent(_)));
    let unknown = Case::new("retriever", "erase").denial(&bundle);
    assert!(matches!(unknown, PolicyDenial::UnknownAction { .. }));
}

#[test]
fn denies_a_task_that_does_not_pin_what_it_must() {
    let bundle = example();
    let mut case = Case::new("retriever", "read");
    let (policy, customer) = (name("reading"), attribute("customer"));
    let wanted = PolicyDenial::TaskMustFix {
        policy,
        attribute: customer.clone(),
    };
    for loose in [
        Constraint::prefix("acme".to_owned()).unwrap(),
        Constraint::one_of(["acme".to_owned(), "globex".to_owned()]).unwrap(),
    ] {
        let constraints = Constraints::from([(customer.clone(), loose)]);
        case.entry.as_mut().unwrap().constraints = constraints;
        assert_eq!(case.denial(&bundle), wanted);
    }
    case.entry = None;
    assert_eq!(case.denial(&bundle), wanted);
}

#[test]
fn denies_values_outside_of_a_limit() {
    let bundle = example();
    refund(10_000).assert_permitted_by(&bundle, "refunding");
    refund(0).assert_permitted_by(&bundle, "refunding");
    let limit = PolicyDenial::Limit {
        policy: name("refunding"),
        attribute: attribute("amount_cents"),
    };
    for outside in [10_001, -1, i64::MAX, i64::MIN] {
        assert_eq!(refund(outside).denial(&bundle), limit, "{outside}");
    }
    let missing = Case::new("executor", "refund");
    assert_eq!(missing.denial(&bundle), limit);
}

#[test]
fn every_value_of_an_attribute_must_be_permitted() {
    let bundle = example();
    let both = refund(1).with("amount_cents", AttributeValue::Integer(10_001));
    assert!(matches!(both.denial(&bundle), PolicyDenial::Limit { .. }));
    let twice = refund(1).with("amount_cents", AttributeValue::Integer(2));
    twice.assert_permitted_by(&bundle, "refunding");
    let many = (0..65).fold(Case::new("executor", "refund"), |case, n| {
        case.with("amount_cents", AttributeValue::Integer(n))
    });
    assert_eq!(many.denial(&bundle), PolicyDenial::TooManyValues);
}

#[test]
fn a_guardrail_that_forbids_one_of_several_values_forbids_the_request() {
    let bundle = example_with(
        "{forbid: 'context.effect == \"write\" && context.attestation == \"hosted\"'}",
        "{forbid: 'context.attributes has customer && context.attributes.customer == \"globex\"'}",
    )
    .unwrap()
    .bundle;
    Case::new("retriever", "read").assert_permitted_by(&bundle, "reading");
    let sneaky = Case::new("retriever", "read").with("customer", text("globex"));
    assert!(matches!(
        sneaky.denial(&bundle),
        PolicyDenial::Guardrail { .. }
    ));
}

#[test]
fn denies_attributes_that_are_undeclared_or_of_another_type() {
    let bundle = example();
    let customer = Case::new("retriever", "read").with("customer", AttributeValue::Integer(1));
    assert_eq!(
        customer.denial(&bundle),
        PolicyDenial::UnfitAttribute(attribute("customer"))
    );
    let tenant = Case::new("retriever", "read").with("tenant", text("acme"));
    assert_eq!(
        tenant.denial(&bundle),
        PolicyDenial::UnfitAttribute(attribute("tenant"))
    );
    let amount = Case::new("executor", "refund").with("amount_cents", text("1"));
    assert_eq!(
        amount.denial(&bundle),
        PolicyDenial::UnfitAttribute(attribute("amount_cents"))
    );
}

#[test]
fn no_access_policy_overrides_a_guardrail() {
    let bundle = example();
    let mut hosted = refund(1);
    hosted.actor.att = AttestationKind::Hosted;
    hosted.actor.host = Some(Host {
        sub: level("orchestrator").sub,
        inst: InstanceId::parse("h1").unwrap(),
    });
    let denial = hosted.denial(&bundle);
    let policies = vec![name("no-hosted-writes")];
    assert_eq!(denial, PolicyDenial::Guardrail { policies });
}

#[test]
fn an_error_in_any_policy_denies_and_is_named() {
    let overflow = "'context.attributes has amount_cents && context.attributes.amount_cents * 9223372036854775807 > 7'";
    let erring = EXAMPLE.replace(
        "'context.effect == \"write\" && context.attestation == \"hosted\"'",
        overflow,
    );
    let bundle = load_text(&erring).unwrap().bundle;
    let policies = vec![name("no-hosted-writes")];
    // Cedar skips the `forbid` that errs and allows; we deny (C6).
    assert_eq!(
        refund(2).denial(&bundle),
        PolicyDenial::Evaluation { policies }
    );
    refund(0).assert_permitted_by(&bundle, "refunding");
}

#[test]
fn delegators_can_deny_and_never_permit() {
    let by_delegator = "'context.delegators.contains(\"orchestrator\")'";
    let forbidding = EXAMPLE.replace(
        "'context.effect == \"write\" && context.attestation == \"hosted\"'",
        by_delegator,
    );
    let bundle = load_text(&forbidding).unwrap().bundle;
    let mut case = Case::new("retriever", "read");
    assert!(matches!(
        case.denial(&bundle),
        PolicyDenial::Guardrail { .. }
    ));
    case.act.clear();
    case.assert_permitted_by(&bundle, "reading");
    let permitting = format!("taskMustFix: [customer], when: {by_delegator}}}");
    let mistakes = example_with("taskMustFix: [customer]}", &permitting).unwrap_err();
    assert!(mistakes[0].message.contains("delegators"), "{mistakes:?}");
}

#[test]
fn a_condition_sees_trigger_purpose_principal_and_time() {
    let when = r#"taskMustFix: [customer], when: 'context.trigger.verified == "user" && context.purpose == "support-case" && context.principal.id == "alice" && context.time.hour == 7 && context.time.weekday == 2'}"#;
    let bundle = example_with("taskMustFix: [customer]}", when)
        .unwrap()
        .bundle;
    let mut case = Case::new("retriever", "read");
    case.assert_permitted_by(&bundle, "reading");
    case.now = NOW.plus(Duration::from_secs(3_600));
    let policy = name("reading");
    assert_eq!(case.denial(&bundle), PolicyDenial::Condition { policy });
}

#[test]
fn the_shortest_token_lifetime_holds() {
    let with_two = EXAMPLE.replace(
        "taskMustFix: [customer]}",
        "taskMustFix: [customer], maxTokenLifetime: 90s}",
    ) + "---\nkind: AccessPolicy\nmetadata: {name: reading-briefly}\nspec: {agents: [retriever], server: records, actions: [read], maxTokenLifetime: 30s}\n";
    let bundle = load_text(&with_two).unwrap().bundle;
    let verdict = Case::new("retriever", "read").verdict(&bundle);
    let wanted = PolicyVerdict::Permitted {
        policies: vec![name("reading"), name("reading-briefly")],
        max_token_lifetime: Some(Duration::from_secs(30)),
    };
    assert_eq!(verdict, wanted);
}

#[test]
fn explains_each_policy() {
    let bundle = example();
    let mut case = refund(20_000);
    case.entry = None;
    let said: Vec<String> = bundle
        .explain(&case.request())
        .unwrap()
        .into_iter()
        .map(|e| format!("{}: {}", e.policy, e.why))
        .collect();
    assert_eq!(
        said,
        [
            "no-hosted-writes: does not forbid",
            "reading: is about other agent types",
            "refunding: does not permit, as `taskMustFix` of `customer` and `limits` on `amount_cents` does not hold",
        ]
    );
}

fn explained(bundle: &Bundle, case: &Case) -> Vec<String> {
    let all = bundle.explain(&case.request()).unwrap();
    let said = all.into_iter().map(|e| format!("{}: {}", e.policy, e.why));
    said.collect()
}

#[test]
fn a_guardrail_is_asked_where_no_access_policy_permits_too() {
    let bundle = example();
    let mut case = refund(1);
    case.actor = level("backlog");
    assert!(matches!(
        case.denial(&bundle),
        PolicyDenial::NoPolicy { .. }
    ));
    let said = explained(&bundle, &case);
    assert!(
        said.contains(&"no-hosted-writes: does not forbid".to_owned()),
        "{said:?}"
    );
    case.actor.att = AttestationKind::Hosted;
    let said = explained(&bundle, &case);
    assert!(
        said.contains(&"no-hosted-writes: forbids".to_owned()),
        "{said:?}"
    );
    assert!(
        said.contains(&"refunding: is about other agent types".to_owned()),
        "{said:?}"
    );
}

#[test]
fn policies_that_permit_only_together_are_explained_so() {
    let of = |name: &str, customer: &str| {
        format!(
            "---\nkind: AccessPolicy\nmetadata: {{name: {name}}}\nspec: {{agents: [backlog], server: records, actions: [refund], limits: {{customer: {{in: [{customer}]}}}}}}\n"
        )
    };
    let bundle = format!(
        "{EXAMPLE}\n{}{}",
        of("acme", "acme"),
        of("globex", "globex")
    );
    let bundle = load_text(&bundle).unwrap().bundle;
    let mut case = refund(1).with("customer", self::text("globex"));
    case.actor = level("backlog");
    let verdict = case.verdict(&bundle);
    assert!(
        matches!(&verdict, PolicyVerdict::Permitted { policies, .. } if *policies == [name("acme"), name("globex")]),
        "{verdict:?}"
    );
    let said = explained(&bundle, &case);
    for policy in ["acme", "globex"] {
        let line = format!(
            "{policy}: permits 1 of 2 combinations of values; for the others `limits` on `customer` does not hold"
        );
        assert!(said.contains(&line), "{said:?}");
    }
}

/// Conditions of all sorts; the third errs for large amounts, the fourth for hosted agents too.
const CONDITIONS: &[&str] = &[
    "true",
    r#"context.attributes has customer && context.attributes.customer == "acme""#,
    "context.attributes has amount_cents && context.attributes.amount_cents * 4611686018427387904 > 0",
    "context.hosted && context.time.unix * 9223372036854775807 > 0",
    r#"context.attestation == "hosted""#,
    r#"context.task.fixes.contains("customer")"#,
    "context.time.hour < 12",
];

const AGENTS: &[&str] = &["orchestrator", "retriever", "executor", "backlog"];

fn some_of(all: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(all, 1..=all.len())
}

fn policy() -> impl Strategy<Value = String> {
    let permit = (
        some_of(AGENTS),
        some_of(&["read", "refund"]),
        1..CONDITIONS.len(),
    );
    permit.prop_map(|(agents, actions, when)| {
        // Amounts exist for refunds alone, and a condition that can never hold does not load.
        let actions = if when == 2 {
            "refund".to_owned()
        } else {
            actions.join(", ")
        };
        format!(
            "{{agents: [{}], server: records, actions: [{actions}], when: '{}'}}",
            agents.join(", "),
            CONDITIONS[when],
        )
    })
}

fn guardrail() -> impl Strategy<Value = String> {
    (prop::option::of(some_of(AGENTS)), 1..CONDITIONS.len()).prop_map(|(agents, forbid)| {
        let heads = agents.map_or(String::new(), |a| format!(", agents: [{}]", a.join(", ")));
        format!("{{forbid: '{}'{heads}}}", CONDITIONS[forbid])
    })
}

fn bundle_of(policies: &[String], guardrails: &[String]) -> Bundle {
    let (head, _) = EXAMPLE.split_once("---\nkind: AccessPolicy").unwrap();
    let mut text = head.to_owned();
    for (n, spec) in policies.iter().enumerate() {
        text += &format!("---\nkind: AccessPolicy\nmetadata: {{name: p{n}}}\nspec: {spec}\n");
    }
    for (n, spec) in guardrails.iter().enumerate() {
        text += &format!("---\nkind: Guardrail\nmetadata: {{name: g{n}}}\nspec: {spec}\n");
    }
    // Policies made at random repeat each other, which `load` refuses; here only they may.
    crate::fixtures::load_despite(&text, "permits nothing that")
}

fn request_case() -> impl Strategy<Value = Case> {
    let customers = prop::sample::subsequence(vec!["acme", "globex"], 0..=2);
    let amounts = prop::sample::subsequence(vec![0, 1, 5, -3], 0..=2);
    let agents = prop::sample::select(AGENTS);
    let actions = prop::sample::select(&["read", "refund"]);
    (
        agents,
        actions,
        customers,
        amounts,
        any::<bool>(),
        any::<bool>(),
        0u64..24,
    )
        .prop_map(
            |(agent, action, customers, amounts, hosted, pinned, hour)| {
                let mut case = Case::new(agent, action);
                case.attributes = RequestAttributes::new();
                for value in customers {
                    case.attributes.add(attribute("customer"), text(value));
                }
                for value in amounts.into_iter().filter(|_| action == "refund") {
                    let value = AttributeValue::Integer(value);
                    case.attributes.add(attribute("amount_cents"), value);
                }
                if hosted {
                    case.actor.att = AttestationKind::Hosted;
                    let (sub, inst) = (level("orchestrator").sub, InstanceId::parse("h").unwrap());
                    case.actor.host = Some(Host { sub, inst });
                }
                case.entry = case.entry.filter(|_| pinned);
                case.now = Timestamp::from_secs(hour * 3_600 + 7);
                case
            },
        )
}

/// The decision over every policy at once: no index, no slice.
fn whole_decision(bundle: &Bundle, request: &PolicyRequest<'_>) -> (bool, BTreeSet<PolicyName>) {
    let question = Question::of(bundle, request).unwrap();
    let all = bundle.engine.whole();
    let (mut allowed, mut errors) = (true, BTreeSet::new());
    for context in question.contexts(request).unwrap() {
        let response = ask(&question.head, context, &all).unwrap();
        allowed &= response.decision() == Decision::Allow;
        errors.extend(erred(&response));
    }
    (allowed && errors.is_empty(), errors)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn the_index_decides_as_the_whole_policy_set_does(
        policies in prop::collection::vec(policy(), 0..6),
        guardrails in prop::collection::vec(guardrail(), 0..4),
        cases in prop::collection::vec(request_case(), 12),
    ) {
        let bundle = bundle_of(&policies, &guardrails);
        for case in cases {
            let (allowed, errors) = whole_decision(&bundle, &case.request());
            match case.verdict(&bundle) {
                PolicyVerdict::Permitted { .. } => prop_assert!(allowed),
                PolicyVerdict::Denied(PolicyDenial::Evaluation { policies }) => {
                    prop_assert!(!allowed);
                    prop_assert!(policies.iter().all(|p| errors.contains(p)));
                }
                PolicyVerdict::Denied(_) => prop_assert!(!allowed),
            }
            let said = bundle.explain(&case.request()).unwrap();
            let permits = said.iter().any(|e| e.why == Why::Permits);
            let stops = said.iter().any(|e| matches!(e.why, Why::Forbids | Why::Erred));
            // With one value each, the explanation decides as the decision does.
            if case.attributes.iter().all(|(_, values)| values.len() == 1) {
                prop_assert_eq!(permits && !stops, allowed);
            }
        }
    }
}

#[test]
fn a_decision_sees_only_the_slice_that_is_about_it() {
    let more: String = (0..300)
        .map(|n| format!("---\nkind: AccessPolicy\nmetadata: {{name: p{n}}}\nspec: {{agents: [backlog], server: records, actions: [read], when: 'context.time.hour < 12 && context.time.unix > {n}'}}\n"))
        .collect();
    let bundle = load_text(&(EXAMPLE.to_owned() + &more)).unwrap().bundle;
    let cell = |agent: &str, action: &str| {
        let agent = AgentTypeName::parse(agent).unwrap();
        let (server, action) = (
            ServerName::parse("records").unwrap(),
            ActionName::parse(action).unwrap(),
        );
        bundle
            .engine
            .cell(&agent, &server, &action)
            .map(|c| c.policies.num_of_policies())
    };
    assert_eq!(cell("backlog", "read"), Some(302));
    assert_eq!(
        cell("retriever", "read"),
        Some(2),
        "one permit and one guardrail"
    );
    assert_eq!(cell("orchestrator", "read"), None);
}
