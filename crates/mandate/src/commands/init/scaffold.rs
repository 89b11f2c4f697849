//! The files of a first bundle.

use mandate_policy::SourceFile;

use super::Answers;

/// One file for each thing that somebody would look for.
pub(super) fn files(answers: &Answers) -> Vec<SourceFile> {
    let file = |name: &str, text: &str| SourceFile {
        name: name.to_owned(),
        text: fill(text, answers),
    };
    let provider = answers
        .platform
        .template()
        .map(|_| file("providers.yaml", PROVIDERS));
    let others = [
        file("agents.yaml", AGENTS),
        file("operators.yaml", OPERATORS),
        file("policies.yaml", POLICIES),
        file("servers.yaml", SERVERS),
    ];
    provider.into_iter().chain(others).collect()
}

fn fill(text: &str, answers: &Answers) -> String {
    let (isolation, why) = if answers.shared {
        (", isolation: none", SHARED)
    } else {
        ("", "")
    };
    let template = answers.platform.template();
    let (provider, rule) = template.map_or(("", PROCESS), |t| (t.provider, t.rule));
    text.replace("@provider", provider)
        .replace("@rule", rule)
        .replace("@isolation", isolation)
        .replace("@why", why)
        .replace("@agent", &answers.agent)
        .replace("@user", &answers.user)
        .replace("@server", &answers.server)
        .replace("@upstream", &answers.upstream)
        .replace("@operator", &answers.operator.to_string())
}

const AGENTS: &str = r##"# What each agent type is, and how it is stopped. The kernel vouches for the user that a process runs as;
# in a cluster or a cloud the platform does: docs/attestation.md has a rule to copy for each.
apiVersion: mandate.dev/v1alpha1
kind: AgentType
metadata: {name: @agent}
spec:
@why  attestation: [@rule]
  breakGlass:
    contact: "#on-call"
    impact: Say here what stops when this agent stops.
    steps: [Look at its last accesses with `mandate audit search --agent @agent`]
"##;

const PROCESS: &str = "{process: {user: \"@user\"@isolation}}";

const PROVIDERS: &str = r##"# Whose word on agents is believed: put your own values in, here and in agents.yaml. What each proves, and what else it
# can pin, is in docs/attestation.md.
apiVersion: mandate.dev/v1alpha1
kind: TrustProvider
metadata: {name: platform}
spec: @provider
"##;

const SHARED: &str = "  # The user who serves: good enough for a laptop. Give the agent a user of its own, and take\n  # `isolation: none` out: until then its identity is stamped `process-weak`.\n";

const OPERATORS: &str = r##"# Who may operate this server: users of its machine.
apiVersion: mandate.dev/v1alpha1
kind: Operator
metadata: {name: first}
spec:
  uid: @operator
  rights: [suspend, resume, apply, upstreams, tasks, tokens, audit, keys, gateways, inspect]
"##;

const POLICIES: &str = r##"# Who may do what. What nothing here permits is denied.
apiVersion: mandate.dev/v1alpha1
kind: AccessPolicy
metadata: {name: reading}
spec: {agents: [@agent], server: @server, actions: [read]}
---
# Which tasks may be opened, by whom, for what cause, and with which mandate at most.
apiVersion: mandate.dev/v1alpha1
kind: TaskPolicy
metadata: {name: nightly}
spec:
  opener: @agent
  # The agent's own word is enough for this schedule, and is recorded as claimed.
  trigger: {schedule: {name: nightly, itemId: required, unverified: allow}}
  ceiling: [{server: @server, actions: [read]}]
  maxDuration: 30m
"##;

const SERVERS: &str = r##"# What agents access through the gateway, and how requests are named.
apiVersion: mandate.dev/v1alpha1
kind: ServerWorkload
metadata: {name: @server}
spec:
  resource: https://@server.example
  upstream: @upstream
  # An upstream with a key: {header: Authorization, value: "Bearer ${secret:@server-key}"},
  # mapped and pinned in the gateway's gateway.yaml.
  credential: {none: {}}
  actions:
    read: {effect: read, match: "GET /**"}
"##;

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::super::platforms::Platform;
    use super::*;

    fn load(shared: bool, platform: Platform) -> mandate_policy::Loaded {
        let answers = Answers {
            platform,
            shared,
            agent: "retriever".to_owned(),
            user: "nobody".to_owned(),
            server: "records".to_owned(),
            upstream: "http://127.0.0.1:8080".to_owned(),
            operator: 1000,
        };
        let environment = mandate_policy::LoadEnv {
            trust_domain: mandate_model::TrustDomain::parse("acme.example").unwrap(),
            issuer: "http://127.0.0.1:7701".to_owned(),
        };
        let now = mandate_model::Timestamp::from_secs(1);
        mandate_policy::load(&files(&answers), &environment, now).unwrap()
    }

    #[test]
    fn the_first_bundle_loads_without_a_mistake() {
        for shared in [false, true] {
            let loaded = load(shared, Platform::Process);
            assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
            let rules = loaded.bundle.process_rules();
            assert_eq!(
                rules.iter().map(|rule| rule.weak).collect::<Vec<_>>(),
                [shared]
            );
        }
    }

    #[test]
    fn the_first_bundle_of_each_platform_loads_without_a_mistake() {
        for platform in Platform::value_variants() {
            let loaded = load(false, *platform);
            assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
            let rows = loaded.bundle.access_table();
            let is_process = *platform == Platform::Process;
            assert_eq!(rows[0].known_by.is_empty(), is_process, "{platform:?}");
        }
    }
}
