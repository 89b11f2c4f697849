//! Trust providers and attestation rules of platforms.

use super::one_error_more;
use crate::decl::{ProviderKind, TokenIssuer};
use crate::fixtures::{EXAMPLE, load_text};
use crate::{Bundle, Loaded};

/// Every kind of provider, each with one good rule.
const PLATFORMS: &str = r##"
kind: TrustProvider
metadata: {name: idp}
spec: {oidc: {issuer: "https://idp.example", audience: mandate, tokenType: at+jwt, instance: jti}}
---
kind: TrustProvider
metadata: {name: cluster}
spec: {kubernetes: {issuer: "https://k8s.acme.example", audience: mandate, apiServer: "https://10.0.0.1:6443"}}
---
kind: TrustProvider
metadata: {name: managed}
spec: {eks: {region: eu-central-1, id: 0123456789ABCDEF0123456789ABCDEF, audience: mandate, apiServer: "https://eks.example"}}
---
kind: TrustProvider
metadata: {name: spire}
spec: {spiffe: {trustDomain: partner.example, bundleEndpoint: {url: "https://partner.example/bundle", profile: https_web}}}
---
kind: TrustProvider
metadata: {name: gcp}
spec: {google: {audience: "https://mandate.acme.example", projects: [acme-agents, "123456789012"]}}
---
kind: TrustProvider
metadata: {name: actions}
spec: {github: {audience: mandate}}
---
kind: TrustProvider
metadata: {name: pipelines}
spec: {gitlab: {audience: mandate}}
---
kind: TrustProvider
metadata: {name: entra}
spec: {azure: {tenant: 11111111-2222-3333-4444-555555555555, audience: "api://mandate"}}
---
kind: TrustProvider
metadata: {name: web}
spec: {awsToken: {issuer: "https://abc123.tokens.sts.global.api.aws", account: "123456789012", audience: mandate}}
---
kind: TrustProvider
metadata: {name: sts}
spec: {aws: {accounts: ["123456789012"], regions: [eu-central-1]}}
---
kind: AgentType
metadata: {name: everywhere}
spec:
  attestation:
    - {oidc: {provider: idp, claims: {sub: agent-7, /realm/roles: {has: agent}, verified: true, level: 3}}}
    - {kubernetes: {provider: cluster, serviceAccount: agents/retriever, node: {like: "pool-a-*"}}}
    - {kubernetes: {provider: managed, serviceAccount: agents/retriever, bound: any}}
    - {spiffe: {provider: spire, under: "spiffe://partner.example/ns/agents"}}
    - {google: {provider: gcp, serviceAccount: retriever@acme-agents.iam.gserviceaccount.com, uniqueId: "115"}}
    - {google: {provider: gcp, serviceAccount: 123456789012-compute@developer.gserviceaccount.com, computeEngine: {zone: europe-west1-b}}}
    - {github: {provider: actions, repositoryId: "4711", ownerId: "12", events: [push], ref: refs/heads/main}}
    - {gitlab: {provider: pipelines, projectId: "20", namespaceId: "72", ref: main, refType: branch}}
    - {azure: {provider: entra, objectId: 99999999-2222-3333-4444-555555555555}}
    - {awsToken: {provider: web, role: "arn:aws:iam::123456789012:role/agents/Retriever", principalTags: {env: prod}}}
    - {aws: {provider: sts, role: "arn:aws:iam::123456789012:role/Retriever", roleId: AROAEXAMPLEEXAMPLE}}
  breakGlass: {contact: "#x", impact: y.}
"##;

fn platforms() -> String {
    format!("{EXAMPLE}---{PLATFORMS}")
}

fn loaded() -> Loaded {
    load_text(&platforms()).unwrap_or_else(|m| panic!("{m:#?}"))
}

fn bundle() -> Bundle {
    loaded().bundle
}

/// Asserts that replacing `old` by `new` gives one error with `part` in its message.
#[track_caller]
fn refused(old: &str, new: &str, part: &str) {
    let text = platforms();
    assert!(text.contains(old), "{old}");
    let found = load_text(&text.replacen(old, new, 1)).map(|l| l.warnings);
    let found = found.unwrap_err();
    let errors = found
        .iter()
        .filter(|m| m.severity == crate::Severity::Error);
    let errors: Vec<_> = errors.collect();
    assert_eq!(errors.len(), 1, "{found:#?}");
    assert!(errors[0].message.contains(part), "{found:#?}");
}

#[test]
fn every_platform_loads_without_a_warning() {
    let loaded = loaded();
    assert_eq!(loaded.warnings, []);
    let agent = mandate_model::AgentTypeName::parse("everywhere").unwrap();
    let agent = loaded.bundle.agent(&agent).unwrap();
    assert_eq!((agent.token_rules.len(), agent.aws_rules.len()), (10, 1));
}

#[test]
fn presets_expand_to_the_exact_issuer() {
    let bundle = bundle();
    let issuer = |name: &str| {
        let name = mandate_model::ProviderName::parse(name).unwrap();
        match &bundle.provider(&name).unwrap().tokens().unwrap().issuer {
            TokenIssuer::Issuer { issuer, .. } => issuer.clone(),
            TokenIssuer::TrustDomain { name, .. } => name.clone(),
        }
    };
    assert_eq!(issuer("gcp"), "https://accounts.google.com");
    assert_eq!(
        issuer("actions"),
        "https://token.actions.githubusercontent.com"
    );
    assert_eq!(issuer("pipelines"), "https://gitlab.com");
    assert_eq!(
        issuer("entra"),
        "https://sts.windows.net/11111111-2222-3333-4444-555555555555/"
    );
    assert_eq!(
        issuer("managed"),
        "https://oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
    );
    assert_eq!(issuer("spire"), "partner.example");
}

/// FAILURES 14.
#[test]
fn a_rule_without_a_pinned_subject_or_a_provider_without_audience_does_not_load() {
    refused("sub: agent-7, ", "", "pins no subject");
    refused("sub: agent-7, ", "sub: {has: agent-7}, ", "pins no subject");
    // The client that a token came by is not whose it is.
    for client in ["azp", "client_id"] {
        refused(
            "sub: agent-7, ",
            &format!("{client}: agent-7, "),
            "pins no subject",
        );
    }
    refused(
        "audience: mandate, tokenType",
        "tokenType",
        "`oidc` lacks `audience`",
    );
    refused(
        "issuer: \"https://idp.example\", ",
        "",
        "`oidc` lacks `issuer`",
    );
    refused(
        "{github: {audience: mandate}}",
        "{github: {}}",
        "`github` lacks `audience`",
    );
    refused(
        "serviceAccount: agents/retriever, node",
        "node",
        "`kubernetes` lacks `serviceAccount`",
    );
    refused(
        "{spiffe: {provider: spire, under: \"spiffe://partner.example/ns/agents\"}}",
        "{spiffe: {provider: spire}}",
        "exactly one of `id` and `under`",
    );
    refused(
        "objectId: 99999999-2222-3333-4444-555555555555",
        "resource: /x",
        "`azure` lacks `objectId`",
    );
    refused(
        "{gitlab: {provider: pipelines, ",
        "{gitlab: {",
        "`gitlab` lacks `provider`",
    );
}

#[test]
fn a_pattern_that_could_fit_anybody_does_not_load() {
    for (pattern, part) in [
        ("{like: \"*\"}", "no letter or digit before its first `*`"),
        ("{like: \"agent-**\"}", "`**` is not known here"),
        ("{like: agent-7}", "it has no `*`"),
        ("{like: \"a*\", has: x}", "exactly one of like, oneOf, has"),
    ] {
        refused("level: 3", &format!("team: {pattern}"), part);
    }
    let text = platforms().replacen("sub: agent-7", "sub: {like: \"agent-*\"}", 1);
    assert!(load_text(&text).is_ok());
}

#[test]
fn what_the_provider_pins_is_no_claim_of_a_rule() {
    refused(
        "sub: agent-7, ",
        "sub: agent-7, iss: x, ",
        "`iss` is checked already",
    );
}

/// FAILURES 29.
#[test]
fn github_is_matched_by_numbers_and_never_by_names() {
    refused(
        "repositoryId: \"4711\"",
        "repositoryId: acme/agents",
        "is no number",
    );
    refused("ownerId: \"12\"", "ownerId: acme", "is no number");
    refused(
        "ownerId: \"12\"",
        "ownerId: \"12\", sub: repo:acme/agents",
        "`github` has no field `sub`",
    );
    refused(
        "events: [push], ref: refs/heads/main",
        "events: [push]",
        "any workflow on any branch",
    );
    refused("events: [push], ", "", "`github` lacks `events`");
}

#[test]
fn a_provider_vouches_for_rules_of_its_own_kind_alone() {
    refused(
        "{oidc: {provider: idp,",
        "{oidc: {provider: actions,",
        "`actions` vouches for workloads of a platform",
    );
    refused(
        "{aws: {provider: sts,",
        "{aws: {provider: web,",
        "`web` vouches for workloads of a platform",
    );
    refused(
        "{kubernetes: {provider: cluster,",
        "{kubernetes: {provider: process,",
        "`process` vouches for processes",
    );
}

#[test]
fn people_and_workloads_have_different_providers() {
    refused(
        "{oidc: {provider: idp,",
        "{oidc: {provider: login,",
        "a person's token could pass for it",
    );
    refused(
        "trigger: {user: {provider: login,",
        "trigger: {user: {provider: actions,",
        "not for people",
    );
}

#[test]
fn a_platforms_boundary_is_pinned_too() {
    refused(
        "retriever@acme-agents.iam",
        "retriever@evil.iam",
        "no service account of the projects of `gcp`",
    );
    refused(
        "projects: [acme-agents, \"123456789012\"]",
        "projects: [acme-agents]",
        "no service account of the projects",
    );
    refused(
        "role: \"arn:aws:iam::123456789012:role/agents/Retriever\"",
        "role: \"arn:aws:iam::999999999999:role/agents/Retriever\"",
        "vouches for roles of account 123456789012",
    );
    refused(
        "{aws: {provider: sts, role: \"arn:aws:iam::123456789012:role/Retriever\"",
        "{aws: {provider: sts, role: \"arn:aws:iam::999999999999:role/Retriever\"",
        "none of the accounts of `sts`",
    );
    refused(
        "under: \"spiffe://partner.example/ns/agents\"",
        "under: \"spiffe://evil.example/ns/agents\"",
        "`spire` vouches for `partner.example` alone",
    );
    refused(
        "trustDomain: partner.example",
        "trustDomain: acme.example",
        "the authority's own trust domain",
    );
}

#[test]
fn roles_and_issuers_of_aws_have_their_one_form() {
    refused(
        "{aws: {provider: sts, role: \"arn:aws:iam::123456789012:role/Retriever\"",
        "{aws: {provider: sts, role: \"arn:aws:iam::123456789012:role/agents/Retriever\"",
        "STS does not tell a role's path",
    );
    refused(
        "{aws: {provider: sts, role: \"arn:aws:iam::123456789012:role/Retriever\"",
        "{aws: {provider: sts, role: \"arn:aws:sts::123456789012:assumed-role/Retriever/s1\"",
        "is no ARN of a role",
    );
    refused(
        "roleId: AROAEXAMPLEEXAMPLE",
        "roleId: AIDAEXAMPLE",
        "is no role's unique id",
    );
    refused(
        "https://abc123.tokens.sts.global.api.aws",
        "https://abc123.tokens.sts.global.api.aws.evil.example",
        "no account's issuer",
    );
    refused(
        "regions: [eu-central-1]",
        "regions: [sts.evil.example]",
        "is no region of AWS",
    );
}

#[test]
fn what_says_request_tags_does_not_load() {
    refused(
        "principalTags: {env: prod}",
        "requestTags: {env: prod}",
        "`awsToken` has no field `requestTags`",
    );
}

/// FAILURES 26.
#[test]
fn a_cluster_without_reviews_is_warned_about_and_long_lives_are_refused() {
    let text = platforms().replacen(", apiServer: \"https://10.0.0.1:6443\"", "", 1);
    let warned = load_text(&text).unwrap().warnings;
    assert_eq!(warned.len(), 1, "{warned:#?}");
    assert!(
        warned[0].message.contains("kubernetes-offline"),
        "{warned:#?}"
    );
    refused(
        "apiServer: \"https://10.0.0.1:6443\"",
        "apiServer: \"https://10.0.0.1:6443\", maxLifetime: 365d",
        "more than 25h",
    );
    refused(
        "apiServer: \"https://10.0.0.1:6443\"",
        "apiServer: \"http://10.0.0.1:6443\"",
        "neither `https`",
    );
    let long = platforms().replacen(
        "apiServer: \"https://10.0.0.1:6443\"",
        "apiServer: \"https://10.0.0.1:6443\", maxLifetime: 12h",
        1,
    );
    let warned = load_text(&long).unwrap().warnings;
    assert!(warned[0].message.contains("for hours"), "{warned:#?}");
}

#[test]
fn a_spiffe_bundle_has_one_declared_place() {
    let both = "bundleFile: /etc/b.json, bundleEndpoint: {url";
    refused(
        "bundleEndpoint: {url",
        both,
        "exactly one of `bundleEndpoint` and `bundleFile`",
    );
    refused(
        ", bundleEndpoint: {url: \"https://partner.example/bundle\", profile: https_web}",
        "",
        "exactly one of `bundleEndpoint`",
    );
    refused(
        "profile: https_web",
        "profile: https_spiffe",
        "`https_spiffe` is no value of `profile`",
    );
    refused(", profile: https_web", "", "lacks `profile`");
    refused(
        "bundleEndpoint: {url: \"https://partner.example/bundle\", profile: https_web}",
        "bundleFile: bundle.json",
        "no absolute path",
    );
}

#[test]
fn one_source_of_tokens_is_one_provider() {
    one_error_more(
        "kind: TrustProvider\nmetadata: {name: again}\nspec: {kubernetes: {issuer: \"https://login.acme.example\", audience: support-app, apiServer: \"https://10.0.0.1\"}}",
        "has this issuer and audience already",
    );
}

#[test]
fn a_changed_pin_shows_in_the_plan() {
    let narrower = platforms().replacen("ref: refs/heads/main", "ref: refs/heads/release", 1);
    let after = load_text(&narrower).unwrap().bundle;
    let plan = crate::plan(Some(&bundle()), &after);
    let changed: Vec<String> = plan.others.iter().map(ToString::to_string).collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert!(
        changed[0].contains("ref is `refs/heads/release`"),
        "{changed:?}"
    );
    let longer = platforms().replacen(
        "{github: {audience: mandate}}",
        "{github: {audience: mandate, maxLifetime: 30m}}",
        1,
    );
    let plan = crate::plan(Some(&bundle()), &load_text(&longer).unwrap().bundle);
    let fields: Vec<&str> = plan.others.iter().map(|c| c.field.as_str()).collect();
    assert_eq!(fields, ["maxAge", "maxLifetime"]);
}

#[test]
fn people_are_verified_by_what_the_provider_says_of_people() {
    let bundle = bundle();
    let login = mandate_model::ProviderName::parse("login").unwrap();
    let ProviderKind::Oidc(oidc) = &bundle.provider(&login).unwrap().kind else {
        panic!("`login` is for people")
    };
    assert_eq!(
        (oidc.audience.as_str(), oidc.tokens.typ.as_deref()),
        ("support-app", None)
    );
}

#[test]
fn the_access_table_says_by_which_evidence_an_agent_type_is_known() {
    let known_by = |provider: &str| {
        let rule = "{kubernetes: {provider: prod, serviceAccount: agents/retriever}}";
        let text = EXAMPLE.replacen(
            "attestation: [{process: {user: executor}}]",
            &format!("attestation: [{rule}]"),
            1,
        );
        assert!(text.contains(rule));
        let text =
            format!("{text}---\nkind: TrustProvider\nmetadata: {{name: prod}}\nspec: {provider}\n");
        let bundle = load_text(&text).unwrap_or_else(|m| panic!("{m:#?}")).bundle;
        let rows = bundle.access_table();
        let row = rows.iter().find(|row| row.agent.as_str() == "executor");
        row.unwrap().to_string()
    };
    let reviewed = "{kubernetes: {issuer: 'https://k8s.example', audience: mandate, apiServer: 'https://10.0.0.1'}}";
    assert!(
        known_by(reviewed).ends_with("known by kubernetes"),
        "{}",
        known_by(reviewed)
    );
    let offline = reviewed.replace(", apiServer: 'https://10.0.0.1'", "");
    assert!(known_by(&offline).ends_with("known by kubernetes-offline"));
}

/// What people copy loads, each block by itself.
#[test]
fn the_examples_of_the_page_about_attestation_load() {
    let page = include_str!("../../../../../docs/attestation.md");
    let blocks = page.split("```yaml\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split("```").next());
    let bundles: Vec<&str> = blocks.filter(|block| block.starts_with("kind:")).collect();
    assert_eq!(bundles.len(), 11);
    for text in bundles {
        // A condition is judged by the actions that there are.
        let beside = if text.starts_with("kind: Guardrail") {
            EXAMPLE
        } else {
            ""
        };
        let loaded = load_text(&format!("{beside}---\n{text}"));
        assert!(loaded.is_ok(), "{text}{loaded:#?}");
    }
}
