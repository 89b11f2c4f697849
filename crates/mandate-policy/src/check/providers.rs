//! Providers, and the rules and policies that name them.

use std::collections::BTreeMap;

use mandate_model::{AttestationKind, ProviderName};

use super::names::Names;
use super::rules::spiffe_domain;
use crate::bundle::Declared;
use crate::decl::{
    ClaimTest, ProviderKind, TokenIssuer, TokenProvider, TokenRule, TriggerRule, TrustProvider,
    Wanted,
};
use crate::mistake::{Mistakes, Place};

pub(super) fn check(declared: &Declared, names: &Names, mistakes: &mut Mistakes) {
    for agent in declared.agents.values() {
        let at = names
            .places
            .field("AgentType", agent.name.as_str(), "attestation");
        for rule in &agent.process_rules {
            of_kind(declared, &rule.provider, "process", at, mistakes);
        }
        for rule in &agent.token_rules {
            token_rule(declared, rule, at, mistakes);
        }
        for rule in &agent.aws_rules {
            aws_rule(declared, rule, at, mistakes);
        }
    }
    people(declared, names, mistakes);
    distinct(declared, names, mistakes);
}

/// What it vouches for, in a message.
pub(super) fn vouches_for(provider: &TrustProvider) -> &'static str {
    match &provider.kind {
        ProviderKind::Process => "processes",
        ProviderKind::Oidc(_) => "people, or workloads of an OpenID provider",
        ProviderKind::Token(_) => "workloads of a platform",
        ProviderKind::Aws(_) => "roles of AWS",
    }
}

fn kind_of(provider: &TrustProvider) -> &'static str {
    match &provider.kind {
        ProviderKind::Process => "process",
        ProviderKind::Oidc(_) => "oidc",
        ProviderKind::Token(tokens) => name_of(tokens.kind),
        ProviderKind::Aws(_) => "aws",
    }
}

/// The kind of rule and provider as bundles say it.
pub(crate) fn name_of(kind: AttestationKind) -> &'static str {
    if kind == AttestationKind::AwsToken {
        "awsToken"
    } else {
        kind.as_str()
    }
}

/// Notes a provider of another kind than `kind`. What is no provider at all has been reported.
fn of_kind<'a>(
    declared: &'a Declared,
    name: &ProviderName,
    kind: &str,
    at: Place,
    mistakes: &mut Mistakes,
) -> Option<&'a TrustProvider> {
    let provider = declared.providers.get(name)?;
    if kind_of(provider) == kind {
        return Some(provider);
    }
    let (is, wants) = (vouches_for(provider), plural(kind));
    let message = format!("`{name}` vouches for {is}, not for {wants}");
    let help = format!("name a provider of kind `{kind}`");
    mistakes.error(at, message, help);
    None
}

fn plural(kind: &str) -> String {
    match kind {
        "process" => "processes".to_owned(),
        other => format!("what a rule of kind `{other}` is about"),
    }
}

fn token_rule(declared: &Declared, rule: &TokenRule, at: Place, mistakes: &mut Mistakes) {
    let kind = name_of(rule.kind);
    let found = of_kind(declared, &rule.provider, kind, at, mistakes);
    let Some(tokens) = found.and_then(TrustProvider::tokens) else {
        return;
    };
    match rule.kind {
        AttestationKind::Spiffe => spiffe_rule(tokens, rule, at, mistakes),
        AttestationKind::Google => google_rule(tokens, rule, at, mistakes),
        AttestationKind::AwsToken => aws_token_rule(tokens, rule, at, mistakes),
        AttestationKind::Process
        | AttestationKind::ProcessWeak
        | AttestationKind::Hosted
        | AttestationKind::Kubernetes
        | AttestationKind::KubernetesOffline
        | AttestationKind::Oidc
        | AttestationKind::Github
        | AttestationKind::Gitlab
        | AttestationKind::Azure
        | AttestationKind::Aws => {}
    }
}

fn spiffe_rule(tokens: &TokenProvider, rule: &TokenRule, at: Place, mistakes: &mut Mistakes) {
    let TokenIssuer::TrustDomain { name, .. } = &tokens.issuer else {
        return;
    };
    if let Some(domain) = spiffe_domain(rule)
        && domain.as_str() != name
    {
        let message = format!("`{}` vouches for `{name}` alone", rule.provider);
        mistakes.error(at, message, "name an id of that trust domain");
    }
}

/// A service account's address says its project, which must be one of the provider's: without that
/// anybody's project would do.
fn google_rule(tokens: &TokenProvider, rule: &TokenRule, at: Place, mistakes: &mut Mistakes) {
    let mut required = tokens.required.iter();
    let projects = required.find_map(|test| {
        if let Wanted::OneOf(projects) = &test.wanted {
            Some(projects)
        } else {
            None
        }
    });
    let email = rule.tests.iter().find(|test| test.path.as_str() == "email");
    let (Some(projects), Some(Wanted::Text(email))) = (projects, email.map(|test| &test.wanted))
    else {
        return;
    };
    let known = project_of(email).is_some_and(|project| projects.iter().any(|p| p == project));
    if !known {
        let message = format!(
            "`{email}` is no service account of the projects of `{}`",
            rule.provider
        );
        let mend = "say one as `name@project.iam.gserviceaccount.com`, of a project in `projects`";
        mistakes.error(at, message, mend);
    }
}

fn project_of(email: &str) -> Option<&str> {
    let (name, domain) = email.split_once('@')?;
    match domain {
        "developer.gserviceaccount.com" => name.strip_suffix("-compute"),
        "appspot.gserviceaccount.com" => Some(name),
        other => other.strip_suffix(".iam.gserviceaccount.com"),
    }
}

fn aws_token_rule(tokens: &TokenProvider, rule: &TokenRule, at: Place, mistakes: &mut Mistakes) {
    let text_of = |tests: &[ClaimTest], end: &str| {
        let test = tests.iter().find(|test| test.path.as_str().ends_with(end));
        if let Some(Wanted::Text(text)) = test.map(|test| &test.wanted) {
            Some(text.clone())
        } else {
            None
        }
    };
    let account = text_of(&tokens.required, "/aws_account");
    let role = text_of(&rule.tests, "sub");
    let of_role = role.as_deref().and_then(|arn| arn.split(':').nth(4));
    if let (Some(account), Some(of_role)) = (account, of_role)
        && account != of_role
    {
        let message = format!("`{}` vouches for roles of account {account}", rule.provider);
        mistakes.error(at, message, "name a role of that account");
    }
}

fn aws_rule(declared: &Declared, rule: &crate::decl::AwsRule, at: Place, mistakes: &mut Mistakes) {
    let found = of_kind(declared, &rule.provider, "aws", at, mistakes);
    if let Some(ProviderKind::Aws(aws)) = found.map(|p| &p.kind)
        && !aws.accounts.contains(&rule.account)
    {
        let message = format!(
            "account {} is none of the accounts of `{}`",
            rule.account, rule.provider
        );
        mistakes.error(at, message, "add it to `accounts`, or name another role");
    }
}

/// A provider is for people or for workloads: a person's token must never be a workload's evidence.
fn people(declared: &Declared, names: &Names, mistakes: &mut Mistakes) {
    let rules = || declared.agents.values().flat_map(|a| &a.token_rules);
    let begin = declared.task_policies.values().filter_map(|policy| {
        let TriggerRule::User(person) = &policy.trigger else {
            return None;
        };
        let at = ("TaskPolicy", policy.name.as_str(), "trigger");
        Some((&person.provider, at))
    });
    let operate = declared.operators.values().filter_map(|operator| {
        let at = ("Operator", operator.name.as_str(), "oidc");
        Some((&operator.oidc.as_ref()?.provider, at))
    });
    for (name, (kind, declaration, field)) in begin.chain(operate) {
        let Some(provider) = declared.providers.get(name) else {
            continue;
        };
        let at = names.places.field(kind, declaration, field);
        if !matches!(provider.kind, ProviderKind::Oidc(_)) {
            let message = format!(
                "`{name}` vouches for {}, not for people",
                vouches_for(provider)
            );
            mistakes.error(at, message, "name a provider of kind `oidc`");
        } else if let Some(rule) = rules().find(|rule| is_of_source(rule, provider, declared)) {
            let message = format!(
                "`{name}` vouches for people here and for agent type `{}` elsewhere: a person's token could pass for it",
                rule.agent
            );
            let mend = "declare a provider for workloads, with an audience of its own";
            mistakes.error(at, message, mend);
        }
    }
}

/// Whether `rule` is about tokens of the same issuer and audience as those of `provider`, by whatever
/// name.
fn is_of_source(rule: &TokenRule, provider: &TrustProvider, declared: &Declared) -> bool {
    let other = declared.providers.get(&rule.provider);
    let (one, other) = (provider.tokens(), other.and_then(TrustProvider::tokens));
    one.zip(other)
        .is_some_and(|(one, other)| source(one) == source(other))
}

/// Where tokens are from, and for whom they are.
fn source(tokens: &TokenProvider) -> (&str, &str) {
    match &tokens.issuer {
        TokenIssuer::Issuer { issuer, .. } => (issuer, &tokens.audience),
        TokenIssuer::TrustDomain { name, .. } => (name, ""),
    }
}

/// One source of tokens is one provider: else one workload would have two names.
fn distinct(declared: &Declared, names: &Names, mistakes: &mut Mistakes) {
    let mut seen = BTreeMap::new();
    for provider in declared.providers.values() {
        let Some(tokens) = provider.tokens() else {
            continue;
        };
        if let Some(other) = seen.insert(source(tokens), &provider.name) {
            let at = names
                .places
                .field("TrustProvider", provider.name.as_str(), kind_of(provider));
            let message = match &tokens.issuer {
                TokenIssuer::Issuer { .. } => {
                    format!("`{other}` has this issuer and audience already")
                }
                TokenIssuer::TrustDomain { .. } => {
                    format!("`{other}` is this trust domain already")
                }
            };
            mistakes.error(
                at,
                message,
                "remove one: a person or a workload would have two names",
            );
        }
    }
}
