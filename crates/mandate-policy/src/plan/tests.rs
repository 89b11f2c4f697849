use super::*;
use crate::fixtures::{example, example_with};

fn after(old: &str, new: &str) -> Plan {
    plan(Some(&example()), &example_with(old, new).unwrap().bundle)
}

#[test]
fn the_same_bundle_changes_nothing_and_a_first_bundle_gains_everything() {
    let bundle = example();
    assert!(plan(Some(&bundle), &bundle).is_empty());
    let first = plan(None, &bundle);
    assert_eq!(first.gains, bundle.access_table());
    assert!(first.touches_upstreams());
}

#[test]
fn a_comment_changes_nothing() {
    assert!(after("kind: Guardrail", "# new\nkind: Guardrail").is_empty());
}

#[test]
fn shows_who_gains_and_who_loses() {
    let plan = after(
        "agents: [retriever, backlog]",
        "agents: [executor, backlog]",
    );
    let rows = |rows: &[AccessRow]| -> Vec<String> {
        rows.iter()
            .map(|r| {
                format!(
                    "{} {:?} {}",
                    r.agent,
                    r.as_hosted.as_ref().map(|a| a.as_str()),
                    r.action
                )
            })
            .collect()
    };
    assert_eq!(
        rows(&plan.gains),
        ["executor None read", "orchestrator Some(\"executor\") read"]
    );
    assert_eq!(rows(&plan.losses), ["retriever None read"]);
    assert!(plan.conditions.is_empty());
}

#[test]
fn shows_a_changed_condition_as_such() {
    let plan = after(
        "{amount_cents: {max: 10000}}",
        "{amount_cents: {max: 10001}}",
    );
    assert_eq!((plan.gains.len(), plan.losses.len()), (0, 0));
    let change = &plan.conditions[0];
    assert_eq!(
        change.before[0].conditions[1],
        "`amount_cents` is at most 10000"
    );
    assert_eq!(
        change.row.ways[0].conditions[1],
        "`amount_cents` is at most 10001"
    );
}

#[test]
fn access_that_anybody_can_begin_or_nobody_any_more_is_a_changed_condition() {
    let plan = after(", bind: {customer: claims.tenant}", ", anyUser: true");
    let change = &plan.conditions[0];
    assert!(change.any_user_before.is_empty());
    assert_eq!(change.row.any_user[0].as_str(), "support-case");
    let plan = after(
        "ceiling: [{server: records, actions: [read, refund]}]",
        "ceiling: [{server: records, actions: [refund]}]",
    );
    assert_eq!(plan.conditions.len(), 1);
    let change = &plan.conditions[0];
    assert_eq!(change.row.agent.as_str(), "retriever");
    assert_eq!(change.tasks_before[0].as_str(), "support-case");
    assert!(change.row.tasks.is_empty());
}

#[test]
fn declarations_that_differ_are_never_told_in_the_same_words() {
    let query = |name: &str, value: &str| {
        let credential = format!("credential: {{query: {{name: \"{name}\", value: \"{value}\"}}}}");
        let header = "credential: {header: Authorization, value: \"Bearer ${secret:records-key}\"}";
        example_with(header, &credential).unwrap().bundle
    };
    let changed = plan(
        Some(&query("a", "b=${secret:k}")),
        &query("a=b", "${secret:k}"),
    );
    assert!(changed.touches_upstreams());
    let customers = |list: &str| {
        let limit = format!("limits: {{customer: {{in: [{list}]}}, amount_cents: {{max: 10000}}}}");
        let bundle = example_with("limits: {amount_cents: {max: 10000}}", &limit);
        bundle.unwrap().bundle
    };
    let changed = plan(Some(&customers("a, b")), &customers("\"a` or `b\""));
    assert!(!changed.conditions.is_empty());
}

#[test]
fn shows_apart_what_goes_on_without_a_lease() {
    let goes_on = "internal: true\n  leaseLoss: continue";
    let plan = after("internal: true", goes_on);
    assert_eq!((plan.weakens.len(), plan.others.len()), (1, 0));
    let shown = plan.weakens[0].to_string();
    assert!(
        shown.contains("`records` leaseLoss: new, goes on without a lease"),
        "{shown}"
    );
    assert!(after("internal: true", "internal: true\n  leaseLoss: stop").is_empty());
    // The way back weakens nothing.
    let before = example_with("internal: true", goes_on).unwrap().bundle;
    let back = super::plan(Some(&before), &example());
    assert_eq!((back.weakens.len(), back.others.len()), (0, 1));
}

#[test]
fn shows_changed_upstreams_and_credentials_apart() {
    for (old, new) in [
        (
            "https://records.internal:8443",
            "https://records.internal:8444",
        ),
        ("secret:records-key", "secret:other-key"),
        ("header: Authorization", "header: X-Key"),
    ] {
        let plan = after(old, new);
        assert_eq!((plan.upstreams.len(), plan.others.len()), (1, 0), "{old}");
        assert!(plan.touches_upstreams());
    }
    let plan = after("maxDuration: 10m", "maxDuration: 20m");
    assert!(!plan.touches_upstreams());
    assert_eq!(
        plan.others[0].to_string(),
        "TaskPolicy `support-case` maxDuration: 600 s → 1200 s"
    );
}

#[test]
fn shows_first_a_provider_that_becomes_another_ones_word_and_not_one_that_comes() {
    let login = "issuer: https://login.acme.example, audience: support-app";
    for other in [
        "issuer: https://evil.example, audience: support-app",
        "issuer: https://login.acme.example, audience: other",
        "issuer: https://login.acme.example, audience: support-app, jwksUri: https://evil.example/keys",
    ] {
        let plan = after(login, other);
        assert_eq!((plan.upstreams.len(), plan.others.len()), (1, 0), "{other}");
        assert!(plan.touches_upstreams());
    }
    let plan = after(login, &format!("{login}, maxAge: 5m"));
    assert_eq!((plan.upstreams.len(), plan.others.len()), (0, 1));
    let new = "kind: Guardrail";
    let more = "kind: TrustProvider\nmetadata: {name: more}\nspec: {oidc: {issuer: https://more.example, audience: a}}\n---\nkind: Guardrail";
    let plan = after(new, more);
    assert!(plan.upstreams.is_empty() && !plan.others.is_empty());
    // Nor one that goes.
    let before = example_with(new, more).unwrap().bundle;
    assert!(super::plan(Some(&before), &example()).upstreams.is_empty());
}

#[test]
fn shows_apart_where_logins_are_no_longer_bound() {
    let login = "audience: support-app";
    let plan = after(login, "audience: support-app, nonce: optional");
    assert_eq!((plan.weakens.len(), plan.others.len()), (1, 0));
    assert!(after(login, "audience: support-app, nonce: required").is_empty());
}

#[test]
fn shows_where_a_key_must_be_proved() {
    let by_server = "internal: true\n  proof: required";
    let plan = after("internal: true", by_server);
    assert_eq!((plan.gains.len(), plan.losses.len()), (0, 0));
    assert!(!plan.conditions.is_empty());
    let proves = |ways: &[crate::Way]| {
        ways.iter().all(|way| {
            way.conditions
                .contains(&"the agent proves its key".to_owned())
        })
    };
    for change in &plan.conditions {
        assert!(
            proves(&change.row.ways) && !proves(&change.before),
            "{change:?}"
        );
    }
    let field = |plan: &Plan, kind: &str| {
        let mut fields = plan.others.iter();
        fields.any(|change| change.kind == kind && change.field == "proof")
    };
    assert!(field(&plan, "ServerWorkload"));
    let by_type = after("maySpawn:", "proof: required\n  maySpawn:");
    assert!(field(&by_type, "AgentType"));
    let refused = example_with("internal: true", "internal: true\n  proof: always");
    assert!(refused.is_err());
}
