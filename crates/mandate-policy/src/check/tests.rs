use crate::fixtures::{EXAMPLE, env, example_with, load_text};
use crate::{Mistake, Severity, SourceFile, load};

mod a2a;
mod llm;
mod manifest;
mod mcp;
mod people;
mod providers;
mod reference;
mod together;
mod upgrade;

/// The mistakes of the example with `old` replaced by `new`.
fn mistakes(old: &str, new: &str) -> Vec<Mistake> {
    match example_with(old, new) {
        Ok(loaded) => panic!("{new:?} loads, with {:?}", loaded.warnings),
        Err(mistakes) => mistakes,
    }
}

/// Asserts that replacing `old` by `new` gives one error, with `part` in its message, that
/// underlines `underlined`.
#[track_caller]
fn one_error(old: &str, new: &str, part: &str, underlined: &str) {
    let text = EXAMPLE.replacen(old, new, 1);
    let found = mistakes(old, new);
    let errors: Vec<_> = found
        .iter()
        .filter(|m| m.severity == Severity::Error)
        .collect();
    assert_eq!(errors.len(), 1, "{found:#?}");
    let mistake = errors[0];
    assert!(mistake.message.contains(part), "{mistake:#?}");
    assert_eq!(
        &text[mistake.offset..mistake.offset + mistake.length],
        underlined
    );
}

fn with(more: &str) -> String {
    format!("{EXAMPLE}---\n{more}\n")
}

/// Asserts that the example with one more document gives one error with `part` in its message.
#[track_caller]
fn one_error_more(document: &str, part: &str) {
    let found = load_text(&with(document)).map(|l| l.warnings).unwrap_err();
    let errors: Vec<_> = found
        .iter()
        .filter(|m| m.severity == Severity::Error)
        .collect();
    assert_eq!(errors.len(), 1, "{found:#?}");
    assert!(errors[0].message.contains(part), "{found:#?}");
}

#[test]
fn the_example_loads_without_a_warning() {
    let loaded = load_text(EXAMPLE).unwrap_or_else(|m| panic!("{m:#?}"));
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.bundle.process_rules().len(), 5);
    let resource = "https://records.acme.example";
    assert_eq!(
        loaded
            .bundle
            .server_by_resource(resource)
            .unwrap()
            .name
            .as_str(),
        "records"
    );
}

#[test]
fn unknown_fields_are_underlined_with_a_hint() {
    one_error(
        "maySpawn",
        "maySpwan",
        "`spec` has no field `maySpwan`",
        "maySpwan",
    );
    let hint = mistakes("maySpawn", "maySpwan")[0].help.clone().unwrap();
    assert_eq!(hint, "did you mean `maySpawn`?");
    one_error(
        "{name: login}",
        "{name: login, labels: x}",
        "no field `labels`",
        "labels",
    );
    one_error(
        "effect: read",
        "effect: raed",
        "`raed` is no value of `effect`",
        "raed",
    );
}

#[test]
fn names_must_be_declared() {
    one_error(
        "[retriever, backlog]",
        "[retreiver, backlog]",
        "no agent type is named `retreiver`",
        "retreiver",
    );
    one_error(
        "actions: [refund]",
        "actions: [refnud]",
        "no action of `records` is named `refnud`",
        "refnud",
    );
    one_error(
        "provider: login",
        "provider: logon",
        "no trust provider is named `logon`",
        "logon",
    );
    one_error(
        "hostedBy: [orchestrator]",
        "hostedBy: [orchestrators]",
        "no agent type",
        "orchestrators",
    );
    one_error(
        "opener: backlog",
        "opener: backlock",
        "no agent type",
        "backlock",
    );
}

#[test]
fn a_key_said_twice_is_an_error_and_so_is_a_name() {
    one_error(
        "maxDuration: 10m",
        "maxDuration: 10m\n  maxDuration: 20m",
        "`maxDuration` is said twice",
        "maxDuration",
    );
    one_error_more(
        "kind: Guardrail\nmetadata: {name: reading}\nspec: {forbid: context.hosted}",
        "`reading` is declared twice",
    );
}

#[test]
fn yaml_tags_and_merge_keys_are_refused() {
    let found = mistakes("maxDuration: 10m", "maxDuration: !span 10m");
    assert!(
        found[0].message.contains("not readable as YAML"),
        "{found:#?}"
    );
    let found = mistakes("maxDuration: 10m", "<<: {maxDuration: 10m}");
    assert!(
        found[0].message.contains("not readable as YAML"),
        "{found:#?}"
    );
}

#[test]
fn empty_lists_are_refused_and_never_mean_everything() {
    for (old, new) in [
        ("agents: [retriever, backlog]", "agents: []"),
        ("actions: [refund]", "actions: []"),
        ("taskMustFix: [customer]", "taskMustFix: []"),
        (
            "ceiling: [{server: records, actions: [read]}]",
            "ceiling: []",
        ),
        ("hostedBy: [orchestrator]", "hostedBy: []"),
        ("{amount_cents: {max: 10000}}", "{}"),
        ("{amount_cents: {max: 10000}}", "{customer: {in: []}}"),
    ] {
        let found = mistakes(old, new);
        let empty = |m: &Mistake| m.message.contains("an empty list never means everything");
        assert!(found.iter().any(empty), "{new}: {found:#?}");
    }
}

#[test]
fn a_trust_rule_that_pins_nothing_does_not_load() {
    one_error(
        "{process: {user: executor}}",
        "{process: {path: /opt/x}}",
        "pins neither user nor unit",
        "{",
    );
    one_error(
        ", audience: support-app",
        "",
        "`oidc` lacks `audience`",
        "{",
    );
    one_error(
        "issuer: https://login.acme.example, ",
        "",
        "`oidc` lacks `issuer`",
        "{",
    );
    one_error(
        "https://login.acme.example,",
        "http://login.acme.example,",
        "neither `https`",
        "http://login.acme.example",
    );
}

#[test]
fn platforms_of_later_versions_are_named_as_such() {
    one_error(
        "{process: {user: executor}}",
        "{tpm: {endorsement: x}}",
        "`tpm` is not supported by this version",
        "tpm",
    );
}

#[test]
fn an_agent_that_nobody_knows_how_to_stop_does_not_load() {
    let gone = "  breakGlass: {contact: \"#payments-oncall\", impact: Refunds wait.}\n";
    let found = mistakes(gone, "");
    assert!(
        found[0].message.contains("lacks `breakGlass`"),
        "{found:#?}"
    );
}

#[test]
fn an_agent_that_is_known_by_its_unit_alone_is_warned_about_once() {
    let lone = EXAMPLE.replace(", user: retriever}", "}");
    let warned = load_text(&lone).unwrap().warnings;
    let [warning] = warned.as_slice() else {
        panic!("{warned:#?}")
    };
    let message = "`retriever` is known by its unit alone";
    assert!(warning.message.contains(message), "{warned:#?}");
}

#[test]
fn agents_that_share_a_user_must_say_so() {
    let found = mistakes("user: executor", "user: backlog");
    assert!(found[0].message.contains("share a user"), "{found:#?}");
    let one_side = mistakes("user: executor", "user: backlog, isolation: none");
    assert!(
        one_side[0].message.contains("share a user"),
        "{one_side:#?}"
    );
    let both = EXAMPLE
        .replace("user: executor", "user: shared, isolation: none")
        .replace("user: backlog", "user: shared, isolation: none");
    assert!(load_text(&both).unwrap().bundle.process_rules()[0].weak);
    let units = EXAMPLE
        .replace("user: executor", "user: shared, unit: a.service")
        .replace("user: backlog", "user: shared, unit: b.service");
    assert!(load_text(&units).is_ok());
}

#[test]
fn audiences_are_all_distinct() {
    for audience in [
        "https://records.acme.example",
        "https://mandate.acme.example",
        "spiffe://acme.example",
        "spiffe://acme.example/mandate/gateway",
    ] {
        let more = format!("internal: true\n  upstreamAudience: {audience}");
        let found = mistakes("internal: true", &more);
        assert!(
            found[0].message.contains("is already the audience of"),
            "{found:#?}"
        );
    }
    let more = "internal: true\n  upstreamAudience: https://records.internal";
    assert!(example_with("internal: true", more).is_ok());
    let found = mistakes(
        "hostedBy: [orchestrator]",
        "federation: [https://records.acme.example]",
    );
    assert!(found[0].message.contains("no foreign one"), "{found:#?}");
}

#[test]
fn the_tasks_id_takes_no_place_of_the_credential() {
    one_error(
        "internal: true",
        "internal: true\n  http: {passTaskId: authorization}",
        "carries the credential already",
        "authorization",
    );
    let other = "internal: true\n  http: {passTaskId: x-task}";
    assert!(example_with("internal: true", other).is_ok());
}

#[test]
fn action_patterns_may_nest_and_never_cross() {
    let read = "match: \"GET /customers/{customer}/**\"";
    let crossing = "match: [\"GET /customers/{customer}/**\", \"GET /customers/{id}/**\"]";
    one_error(
        read,
        crossing,
        "neither is the narrower one",
        "\"GET /customers/{id}/**\"",
    );
    let crossing = "match: [\"GET /customers/{customer}/x\", \"GET /customers/all/{what}\"]";
    let found = mistakes(read, crossing);
    assert!(
        found[0].message.contains("neither is the narrower one"),
        "{found:#?}"
    );
    let nested = "match: [\"GET /customers/{customer}/**\", \"GET /customers/{customer}/x\"]";
    assert!(example_with(read, nested).is_ok());
}

#[test]
fn conditions_are_validated_strictly() {
    let when = |expression: &str| format!("taskMustFix: [customer], when: '{expression}'}}");
    let found = |expression: &str| mistakes("taskMustFix: [customer]}", &when(expression));
    let said = |expression: &str, part: &str| {
        let found = found(expression);
        assert!(
            found.iter().any(|m| m.message.contains(part)),
            "{expression}: {found:#?}"
        );
    };
    said("context.attributes.customer == \"a\"", "customer");
    said(
        "context.attributes has customer && context.attributes.customer == 1",
        "",
    );
    said("context.efect == \"read\"", "efect");
    said(
        "true }; permit(principal, action, resource) when { true",
        "not a Cedar expression",
    );
    said(
        "context.effect == \"write\" && context.effect == ",
        "not a Cedar expression",
    );
    said("context.hosted && false", "can never hold");
    let good =
        when("context.attributes has customer && context.attributes.customer != \"acme\" // no");
    assert!(example_with("taskMustFix: [customer]}", &good).is_ok());
}

#[test]
fn policies_that_can_never_matter_are_refused() {
    one_error(
        "'context.effect == \"write\" && context.attestation == \"hosted\"'",
        "'false'",
        "can never hold",
        "'false'",
    );
    one_error_more(
        "kind: AccessPolicy\nmetadata: {name: again}\nspec: {agents: [retriever], server: records, actions: [read], taskMustFix: [customer]}",
        "`again` permits nothing that `reading` does not permit",
    );
    one_error(
        "maySpawn: [retriever, executor]",
        "maySpawn: [retriever]",
        "could ever exercise `records:refund`",
        "[",
    );
    let same = "kind: TaskPolicy\nmetadata: {name: again}\nspec: {opener: backlog, purpose: nightly-backlog, trigger: {schedule: {name: x, unverified: allow}}, ceiling: [{server: records, actions: [read]}], maxDuration: 1h}";
    one_error_more(same, "same opener, purpose and kind of trigger");
}

#[test]
fn people_of_two_providers_may_begin_one_purpose_and_of_one_provider_under_one_policy() {
    let more = |provider: &str| {
        format!(
            "kind: TrustProvider\nmetadata: {{name: partners}}\nspec: {{oidc: {{issuer: \"https://partners.example\", audience: app}}}}\n---\n\
             kind: TaskPolicy\nmetadata: {{name: again}}\nspec: {{opener: orchestrator, purpose: support-case, trigger: {{user: {{provider: {provider}, anyUser: true}}}}, ceiling: [{{server: records, actions: [read]}}], maxDuration: 1h}}"
        )
    };
    let text = |provider| format!("{EXAMPLE}---\n{}\n", more(provider));
    assert!(load_text(&text("partners")).is_ok());
    one_error_more(&more("login"), "kind of trigger, by trust provider `login`");
}

#[test]
fn an_access_policy_without_a_task_is_warned_about() {
    let text = EXAMPLE.replacen("agents: [retriever, backlog]", "agents: [retriever]", 1);
    let found = load_text(&text).unwrap_err();
    assert!(
        found[0]
            .message
            .contains("could ever exercise `records:read`"),
        "{found:#?}"
    );
    let (head, _) = EXAMPLE.split_once("---\nkind: TaskPolicy").unwrap();
    let loaded = load_text(head).unwrap();
    assert_eq!(loaded.warnings.len(), 2, "{:#?}", loaded.warnings);
    assert!(
        loaded.warnings[0]
            .message
            .contains("no task can come about")
    );
}

#[test]
fn attributes_in_policies_must_be_declared_and_constraints_must_fit() {
    one_error(
        "taskMustFix: [customer]}",
        "taskMustFix: [custmer]}",
        "has no attribute `custmer`",
        "custmer",
    );
    one_error(
        "{amount_cents: {max: 10000}}",
        "{amount_cents: {in: [\"5\"]}}",
        "no constraint for type `integer`",
        "{",
    );
    one_error(
        "{amount_cents: {max: 10000}}",
        "{amount: {max: 10000}}",
        "has no attribute `amount`",
        "amount",
    );
    one_error(
        "{amount_cents: {max: 10000}}",
        "{amount_cents: {max: 1, prefix: x}}",
        "exactly one of",
        "{",
    );
    one_error(
        "bind: {customer: claims.tenant}",
        "bind: {tenant: claims.tenant}",
        "no action of the ceiling has such an attribute",
        "{",
    );
    one_error(
        "bind: {customer: claims.tenant}",
        "bind: {customer: tenant}",
        "names no claim",
        "tenant",
    );
}

#[test]
fn a_user_trigger_binds_a_claim_or_says_that_anybody_may() {
    let bind = ", bind: {customer: claims.tenant}";
    one_error(bind, "", "no claim of the user is bound", "{");
    let loaded = example_with(bind, ", anyUser: true").unwrap();
    let [warning] = &loaded.warnings[..] else {
        panic!("{:#?}", loaded.warnings)
    };
    assert!(warning.message.contains("everybody at"), "{warning:#?}");
    assert_eq!(warning.severity, Severity::Warning);
    let rows = loaded.bundle.access_table();
    assert!(rows.iter().any(|row| {
        row.any_user[..]
            .iter()
            .any(|p| p.as_str() == "support-case")
    }));
    one_error(
        bind,
        ", bind: {customer: claims.tenant}, anyUser: true",
        "contradict each other",
        "{",
    );
}

#[test]
fn a_schedule_that_nobody_could_verify_must_allow_that() {
    one_error(", unverified: allow", "", "could never be verified", "{");
}

#[test]
fn observing_ends_within_thirty_days() {
    let until = |date: &str| format!("internal: true\n  observe: {{until: {date}}}");
    assert!(
        example_with("internal: true", &until("2026-12-24"))
            .unwrap()
            .warnings
            .is_empty()
    );
    one_error(
        "internal: true",
        &until("2026-12-25"),
        "more than 30 days away",
        "2026-12-25",
    );
    one_error(
        "internal: true",
        &until("soon"),
        "no moment in RFC 3339",
        "soon",
    );
    let past = example_with("internal: true", &until("2026-11-23T00:00:00Z")).unwrap();
    assert!(past.warnings[0].message.contains("has passed"));
}

#[test]
fn what_needs_the_authority_for_each_access_cannot_go_on_without_it() {
    let more = "internal: true\n  leaseLoss: continue";
    let loaded = example_with("internal: true", more).unwrap();
    let rows = loaded.bundle.access_table();
    let of_records = |row: &&crate::AccessRow| row.server.as_str() == "records";
    assert!(rows.iter().filter(of_records).all(|row| row.without_lease));
    let credential = "credential: {header: Authorization, value: \"Bearer ${secret:records-key}\"}";
    let token = "leaseLoss: continue\n  upstreamAudience: https://records.internal\n  credential: {mandateToken: {}}";
    one_error(
        credential,
        token,
        "cannot be kept with `mandateToken`",
        "continue",
    );
    one_error("internal: true", "leaseLoss: pause", "`pause`", "pause");
}

#[test]
fn what_waits_for_the_authority_does_not_go_on_without_it() {
    let more = "internal: true\n  durability: shipped";
    assert!(example_with("internal: true", more).is_ok());
    let both = "internal: true\n  leaseLoss: continue\n  durability: shipped";
    one_error("internal: true", both, "contradict each other", "shipped");
    one_error("internal: true", "durability: none", "`none`", "none");
}

#[test]
fn credentials_name_a_secret_and_never_hold_one() {
    one_error(
        "\"Bearer ${secret:records-key}\"",
        "Bearer hunter2",
        "has no `${secret:name}`",
        "Bearer hunter2",
    );
    one_error(
        "header: Authorization",
        "header: Transfer-Encoding",
        "frames the message",
        "Transfer-Encoding",
    );
    let credential = "credential: {header: Authorization, value: \"Bearer ${secret:records-key}\"}";
    one_error(
        credential,
        "credential: {mandateToken: {}}",
        "needs `upstreamAudience`",
        "{",
    );
    for good in [
        "credential: none",
        "credential: {none: {}}",
        "credential: {basic: {user: a, secret: b}}",
        "credential: {query: {name: key, value: \"${secret:k}\"}}",
    ] {
        assert!(example_with(credential, good).is_ok(), "{good}");
    }
    one_error(
        credential,
        "credential: {none: {}, basic: {user: a, secret: b}}",
        "exactly one of",
        "{",
    );
}

#[test]
fn two_operators_are_never_one_user() {
    one_error_more(
        "kind: Operator\nmetadata: {name: too}\nspec: {uid: 0, rights: [audit]}",
        "is the same user as",
    );
    one_error_more(
        "kind: Operator\nmetadata: {name: too}\nspec: {rights: [audit]}",
        "names nobody",
    );
}

#[test]
fn an_operator_at_a_provider_is_one_person_and_one_declaration() {
    let staff = "kind: TrustProvider\nmetadata: {name: staff}\nspec: {oidc: {issuer: \"https://staff.example\", audience: cli}}\n---\n";
    let person = |name: &str, more: &str| {
        format!("kind: Operator\nmetadata: {{name: {name}}}\nspec: {{{more}, rights: [audit]}}\n")
    };
    let amy = "oidc: {provider: staff, claims: {sub: amy-1}}";
    let refused = |more: &str, wanted: &str| {
        one_error_more(&format!("{staff}{}", person("too", more)), wanted);
    };
    for claims in ["{groups: sre}", "{preferred_username: amy}"] {
        let more = format!("oidc: {{provider: staff, claims: {claims}}}");
        refused(&more, "pins no person");
    }
    refused(
        "oidc: {provider: process, claims: {sub: a}}",
        "vouches for processes",
    );
    let twice = format!("{staff}{}---\n{}", person("too", amy), person("three", amy));
    one_error_more(&twice, "is the same person as");
    let both = format!("{staff}{}", person("too", &format!("uid: 7, {amy}")));
    assert!(load_text(&with(&both)).is_ok());
}

#[test]
fn a_bundle_has_limits() {
    let big = "# ".to_owned() + &"x".repeat(super::MAX_BYTES);
    assert!(
        load_text(&big).unwrap_err()[0]
            .message
            .contains("a bundle has at most")
    );
    let deep = "kind: ".to_owned() + &"[".repeat(100) + &"]".repeat(100);
    assert!(
        load_text(&deep).unwrap_err()[0]
            .message
            .contains("not readable as YAML")
    );
    let alias = format!(
        "kind: Guardrail\nmetadata: {{name: a}}\nspec: &a {{forbid: {}}}",
        "[*a]"
    );
    assert!(load_text(&alias).is_err());
}

#[test]
fn nothing_at_all_is_a_bundle_that_permits_nothing() {
    let empty = load_text("# nothing\n").unwrap().bundle;
    assert_eq!(empty.access_table(), []);
    assert_eq!(empty.providers().count(), 1);
}

#[test]
fn line_ends_and_byte_order_marks_change_nothing() {
    let crlf = EXAMPLE.replace('\n', "\r\n");
    assert_eq!(load_text(&crlf).unwrap().bundle.access_table().len(), 4);
    let marked = format!("\u{feff}{EXAMPLE}");
    assert_eq!(load_text(&marked).unwrap().bundle.access_table().len(), 4);
    let found = load_text(&crlf.replacen("maySpawn", "maySpwan", 1)).unwrap_err();
    assert_eq!(
        (found[0].line, found[0].column, found[0].length),
        (10, 3, 8)
    );
}

#[test]
fn an_attribute_is_read_only_from_a_header_that_reaches_the_upstream() {
    let attributes = "attributes: {amount_cents: {body: /amount_cents, type: integer}}";
    let from = |header: &str| {
        format!(
            "{}, note: {{header: {header}}}}}",
            &attributes[..attributes.len() - 1]
        )
    };
    assert!(example_with(attributes, &from("X-Amount")).is_ok());
    for header in [
        "X-User-Id",
        "X-Amount_Cents",
        "Via",
        "Expect",
        "CF-Connecting-IP",
    ] {
        one_error(attributes, &from(header), "reaches no upstream", header);
    }
    // The gateway's own, or stripped by declaration.
    for header in ["Range", "Baggage"] {
        one_error(attributes, &from(header), "is not passed on", header);
    }
    let stripped = EXAMPLE.replacen(attributes, &from("X-Amount"), 1).replacen(
        "internal: true",
        "internal: true\n  http: {stripHeaders: [x-amount]}",
        1,
    );
    let found = load_text(&stripped).map(|l| l.warnings).unwrap_err();
    assert!(found[0].message.contains("is not passed on"), "{found:#?}");
}

#[test]
fn a_limit_that_is_too_large_is_refused_and_not_replaced() {
    let http = |bytes: &str| format!("internal: true\n  http: {{maxHeaderBytes: {bytes}}}");
    let internal = "internal: true";
    assert!(example_with(internal, &http("4294967295")).is_ok());
    let text = http("4294967296");
    one_error(
        internal,
        &text,
        "`maxHeaderBytes` is too large",
        "4294967296",
    );
}
