use mandate_model::mandate::Mandate;
use serde_json::json;

use super::*;
use crate::fixtures::{NOW, example, example_with};

fn agent(name: &str) -> AgentTypeName {
    AgentTypeName::parse(name).unwrap()
}

fn claims(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn good() -> Value {
    json!({"groups": ["support", "staff"], "tenant": "acme"})
}

/// Opens a support case for a user with these claims, whose token is `age` old.
fn open_with(bundle: &Bundle, value: Value, age: Duration) -> Result<Ceiling, OpenDenial> {
    let provider = ProviderName::parse("login").unwrap();
    bundle.open_task(&OpenRequest {
        opener: &agent("orchestrator"),
        purpose: "support-case",
        trigger: TriggerEvidence::User {
            provider: &provider,
            subject: "alice",
            claims: &claims(value),
            issued_at: NOW.minus(age),
        },
        now: NOW,
    })
}

fn open(value: Value) -> Result<Ceiling, OpenDenial> {
    open_with(&example(), value, Duration::from_secs(10))
}

fn nightly(name: &str, item: Option<&str>) -> Result<Ceiling, OpenDenial> {
    example().open_task(&OpenRequest {
        opener: &agent("backlog"),
        purpose: "nightly-backlog",
        trigger: TriggerEvidence::Schedule { name, item },
        now: NOW,
    })
}

#[test]
fn a_users_claim_is_bound_to_every_entry_that_has_the_attribute() {
    let ceiling = open(good()).unwrap();
    assert_eq!(ceiling.entries.len(), 2);
    for entry in ceiling.entries.iter() {
        let pin = &entry.constraints["customer"];
        assert_eq!(pin.single_value(), Some("acme"));
    }
    assert_eq!(ceiling.principal.to_string(), "user:login:alice");
    assert_eq!(ceiling.trigger.verified, Verified::User);
    assert_eq!(ceiling.trigger.provider.unwrap().as_str(), "login");
    assert_eq!(ceiling.max_duration, Duration::from_secs(600));
}

#[test]
fn a_user_without_the_claim_is_refused() {
    let claim = |denial| matches!(denial, OpenDenial::Claim { .. });
    assert!(claim(open(json!({"tenant": "acme"})).unwrap_err()));
    assert!(claim(
        open(json!({"groups": "staff", "tenant": "acme"})).unwrap_err()
    ));
    assert!(claim(
        open(json!({"groups": ["supporters"], "tenant": "acme"})).unwrap_err()
    ));
    assert!(open(json!({"groups": "support", "tenant": "acme"})).is_ok());
}

#[test]
fn a_bound_claim_that_is_no_plain_text_is_refused() {
    for tenant in [
        json!(""),
        json!("*"),
        json!("ac*"),
        json!(7),
        json!(["acme"]),
        json!(null),
        json!("a\nb"),
    ] {
        let denial = open(json!({"groups": "support", "tenant": tenant})).unwrap_err();
        assert!(matches!(denial, OpenDenial::Unbindable { .. }), "{tenant}");
    }
    let denial = open(json!({"groups": "support"})).unwrap_err();
    assert!(matches!(denial, OpenDenial::Unbindable { .. }));
}

#[test]
fn a_claim_outside_of_the_ceiling_opens_nothing() {
    let narrowed = "ceiling: [{server: records, actions: [read, refund], constraints: {customer: {in: [acme, initech]}}}]";
    let bundle = example_with(
        "ceiling: [{server: records, actions: [read, refund]}]",
        narrowed,
    )
    .unwrap()
    .bundle;
    assert!(open_with(&bundle, good(), Duration::ZERO).is_ok());
    let globex = json!({"groups": "support", "tenant": "globex"});
    let denial = open_with(&bundle, globex, Duration::ZERO).unwrap_err();
    assert!(matches!(denial, OpenDenial::OutsideCeiling { .. }));
}

#[test]
fn a_user_proves_themself_within_five_minutes() {
    let bundle = example();
    assert!(open_with(&bundle, good(), Duration::from_secs(300)).is_ok());
    let old = open_with(&bundle, good(), Duration::from_secs(301));
    assert_eq!(old.unwrap_err(), OpenDenial::Stale);
    let provider = ProviderName::parse("login").unwrap();
    let future = bundle.open_task(&OpenRequest {
        opener: &agent("orchestrator"),
        purpose: "support-case",
        trigger: TriggerEvidence::User {
            provider: &provider,
            subject: "alice",
            claims: &claims(good()),
            issued_at: NOW.plus(Duration::from_secs(61)),
        },
        now: NOW,
    });
    assert_eq!(future.unwrap_err(), OpenDenial::FromTheFuture);
}

#[test]
fn opener_purpose_kind_and_provider_must_be_the_policys() {
    let bundle = example();
    let name = OperatorName::parse("root").unwrap();
    let ask = |opener: &str, purpose| {
        bundle.open_task(&OpenRequest {
            opener: &agent(opener),
            purpose,
            trigger: TriggerEvidence::Operator { name: &name },
            now: NOW,
        })
    };
    let denial = |opener, purpose| ask(opener, purpose).unwrap_err();
    assert!(matches!(
        denial("nobody", "support-case"),
        OpenDenial::UnknownAgent(_)
    ));
    assert!(matches!(
        denial("retriever", "support-case"),
        OpenDenial::NoPolicy { .. }
    ));
    assert!(matches!(
        denial("orchestrator", "other"),
        OpenDenial::NoPolicy { .. }
    ));
    let kind = OpenDenial::TriggerKind { given: "operator" };
    assert_eq!(denial("orchestrator", "support-case"), kind);
    let elsewhere = ProviderName::parse("process").unwrap();
    let other = bundle.open_task(&OpenRequest {
        opener: &agent("orchestrator"),
        purpose: "support-case",
        trigger: TriggerEvidence::User {
            provider: &elsewhere,
            subject: "alice",
            claims: &claims(good()),
            issued_at: NOW,
        },
        now: NOW,
    });
    assert!(matches!(other.unwrap_err(), OpenDenial::Provider { .. }));
}

#[test]
fn a_claimed_schedule_names_its_item_and_is_recorded_as_claimed() {
    let ceiling = nightly("nightly", Some("4711")).unwrap();
    assert_eq!(ceiling.trigger.verified, Verified::None);
    assert_eq!(ceiling.trigger.item.as_deref(), Some("4711"));
    assert_eq!(
        ceiling.principal.to_string(),
        "spiffe://acme.example/agent/backlog"
    );
    assert!(matches!(
        nightly("nightly", None),
        Err(OpenDenial::NoItem { .. })
    ));
    assert!(matches!(
        nightly("nightly", Some("")),
        Err(OpenDenial::MalformedItem)
    ));
    assert!(matches!(
        nightly("hourly", Some("1")),
        Err(OpenDenial::Name { .. })
    ));
}

#[test]
fn a_persons_task_goes_on_while_provider_and_bound_attributes_are_as_the_policy_says() {
    let (bundle, opener) = (example(), agent("orchestrator"));
    let ceiling = open(good()).unwrap();
    let mandate = Mandate {
        entries: ceiling.entries.clone(),
        not_before: None,
        expires_at: NOW.plus(ceiling.max_duration),
        budget: ceiling.budget,
        max_depth: ceiling.max_depth,
    };
    let standing = StandingTask {
        opener: &opener,
        purpose: "support-case",
        trigger: &ceiling.trigger,
        opened_at: NOW,
        mandate: &mandate,
    };
    assert_eq!(bundle.still_opens(&standing), Ok(()));
    let elsewhere = Trigger {
        provider: Some(ProviderName::parse("partners").unwrap()),
        ..ceiling.trigger.clone()
    };
    let task = StandingTask {
        trigger: &elsewhere,
        ..standing
    };
    assert!(bundle.still_opens(&task).is_err());
    // As it was opened under a policy that bound nothing.
    let unbound = Mandate {
        entries: bundle
            .task_policies()
            .find(|p| p.purpose == "support-case")
            .unwrap()
            .ceiling
            .clone(),
        ..mandate.clone()
    };
    assert!(unbound.entries.iter().all(|e| e.constraints.is_empty()));
    let task = StandingTask {
        mandate: &unbound,
        ..standing
    };
    let beyond = bundle.still_opens(&task).unwrap_err();
    assert!(
        matches!(
            beyond,
            OpenDenial::Beyond {
                what: "ceiling",
                ..
            }
        ),
        "{beyond}"
    );
    let anybody = example_with(", bind: {customer: claims.tenant}", ", anyUser: true").unwrap();
    assert_eq!(anybody.bundle.still_opens(&task), Ok(()));
}

#[test]
fn each_provider_has_a_policy_of_its_own_for_one_purpose() {
    let partners = "---
kind: TrustProvider
metadata: {name: partners}
spec: {oidc: {issuer: \"https://partners.example\", audience: app}}
---
kind: TaskPolicy
metadata: {name: partner-case}
spec:
  opener: orchestrator
  purpose: support-case
  trigger: {user: {provider: partners, anyUser: true}}
  ceiling: [{server: records, actions: [read], constraints: {customer: {in: [partner]}}}]
  maxDuration: 1m
---
kind: Guardrail";
    let bundle = example_with("---\nkind: Guardrail", partners)
        .unwrap()
        .bundle;
    let ask = |provider: &str| {
        let provider = ProviderName::parse(provider).unwrap();
        bundle.open_task(&OpenRequest {
            opener: &agent("orchestrator"),
            purpose: "support-case",
            trigger: TriggerEvidence::User {
                provider: &provider,
                subject: "alice",
                claims: &claims(good()),
                issued_at: NOW,
            },
            now: NOW,
        })
    };
    for (provider, policy, entries) in [
        ("login", "support-case", 2),
        ("partners", "partner-case", 1),
    ] {
        let ceiling = ask(provider).unwrap();
        assert_eq!(ceiling.policy.as_str(), policy);
        assert_eq!(ceiling.entries.len(), entries);
        assert_eq!(
            ceiling.principal.to_string(),
            format!("user:{provider}:alice")
        );
    }
    assert!(matches!(
        ask("process").unwrap_err(),
        OpenDenial::Provider { .. }
    ));
}
