//! Attestation rules. Each pins a subject; issuer and audience are its provider's (FAILURES 14).

use mandate_model::{AgentTypeName, AttestationKind, ProviderName, SpiffeId, TrustDomain};

use super::names::Names;
use super::read::{known, text};
use super::{claim, provider};
use crate::decl::{AwsRule, ClaimPath, ClaimTest, TokenRule, Wanted};
use crate::mistake::Mistakes;
use crate::source::Node;

/// The rules of `agent` about tokens of platforms.
pub(super) fn token_rules(
    agent: &AgentTypeName,
    spec: &Node,
    names: &Names,
    mistakes: &mut Mistakes,
) -> Vec<TokenRule> {
    let rules = spec.get("attestation").map_or(&[] as &[Node], Node::items);
    let mut found = Vec::new();
    for (key, node) in rules.iter().flat_map(Node::members) {
        let Some((kind, tests)) = tests(&key.name, node, mistakes) else {
            continue;
        };
        let said = node.get("provider");
        let provider = said.and_then(|said| provider_of(said, names, mistakes));
        found.extend(provider.map(|provider| {
            let agent = agent.clone();
            TokenRule {
                agent,
                provider,
                kind,
                tests,
            }
        }));
    }
    found
}

/// What a rule of this kind asks of claims.
fn tests(
    kind: &str,
    node: &Node,
    mistakes: &mut Mistakes,
) -> Option<(AttestationKind, Vec<ClaimTest>)> {
    Some(match kind {
        "oidc" => (AttestationKind::Oidc, oidc(node, mistakes)),
        "kubernetes" => (AttestationKind::Kubernetes, kubernetes(node, mistakes)),
        "spiffe" => (AttestationKind::Spiffe, spiffe(node, mistakes)),
        "google" => (AttestationKind::Google, google(node, mistakes)),
        "github" => (AttestationKind::Github, github(node, mistakes)),
        "gitlab" => (AttestationKind::Gitlab, gitlab(node, mistakes)),
        "azure" => (AttestationKind::Azure, azure(node, mistakes)),
        "awsToken" => (AttestationKind::AwsToken, aws_token(node, mistakes)),
        _ => return None,
    })
}

fn oidc(node: &Node, mistakes: &mut Mistakes) -> Vec<ClaimTest> {
    let mut tests = Vec::new();
    let members = node.get("claims").into_iter().flat_map(Node::members);
    for (key, value) in members {
        if ["iss", "aud", "exp", "iat", "nbf"].contains(&key.name.as_str()) {
            let message = format!("`{}` is checked already, by the provider's rules", key.name);
            mistakes.error(key.at, message, "remove it");
            continue;
        }
        match ClaimPath::parse(&key.name) {
            Ok(path) => tests.extend(claim::test(path, value, mistakes)),
            Err(why) => mistakes.error(key.at, why.to_string(), ""),
        }
    }
    let pins = |test: &ClaimTest| {
        let names_one = matches!(
            test.wanted,
            Wanted::Text(_) | Wanted::OneOf(_) | Wanted::Like(_)
        );
        names_one && SUBJECTS.contains(&test.path.as_str())
    };
    if node.get("claims").is_some() && !tests.iter().any(pins) {
        let message = "this rule pins no subject, so any token of the provider with these claims fits it (FAILURES 14)";
        mistakes.error(
            super::place_of(node, "claims"),
            message,
            "add `sub` or `oid`, as text or with `oneOf` or `like`; `azp` and `client_id` name the client that a token came by, which may be many people's",
        );
    }
    tests
}

fn kubernetes(node: &Node, mistakes: &mut Mistakes) -> Vec<ClaimTest> {
    let mut tests = Vec::new();
    if let Some(said) = node.get("serviceAccount")
        && let Some(text) = said.text()
    {
        match text.split_once('/') {
            Some((namespace, name)) if is_dns_name(namespace) && is_dns_name(name) => {
                let subject = format!("system:serviceaccount:{namespace}:{name}");
                tests.extend(claim::fixed("sub", Wanted::Text(subject)));
                let text = |text: &str| Wanted::Text(text.to_owned());
                tests.extend(claim::fixed("/kubernetes.io/namespace", text(namespace)));
                let path = "/kubernetes.io/serviceaccount/name";
                tests.extend(claim::fixed(path, text(name)));
            }
            Some(_) | None => {
                let message = "`serviceAccount` is no namespace and name";
                mistakes.error(said.at, message, "say it as `agents/retriever`");
            }
        }
    }
    tests.extend(claim::field(
        node,
        "pod",
        "/kubernetes.io/pod/name",
        mistakes,
    ));
    tests.extend(claim::field(
        node,
        "node",
        "/kubernetes.io/node/name",
        mistakes,
    ));
    if text(node, "bound").as_deref() != Some("any") {
        tests.extend(claim::fixed("/kubernetes.io/pod/uid", Wanted::AnyText));
    }
    tests
}

fn spiffe(node: &Node, mistakes: &mut Mistakes) -> Vec<ClaimTest> {
    let (id, under) = (node.get("id"), node.get("under"));
    let said = match (id, under) {
        (Some(said), None) | (None, Some(said)) => said,
        (None, None) | (Some(_), Some(_)) => {
            let message = "a rule about JWT-SVIDs has exactly one of `id` and `under`";
            mistakes.error(node.at, message, "keep one of them");
            return Vec::new();
        }
    };
    let Some(text) = said.text() else {
        return Vec::new();
    };
    if let Err(why) = SpiffeId::parse(text) {
        let mend = "say it as `spiffe://acme.example/ns/agents`";
        mistakes.error(said.at, why.to_string(), mend);
    }
    let text = text.to_owned();
    let wanted = if id.is_some() {
        Wanted::Text(text)
    } else {
        Wanted::Under(text)
    };
    claim::fixed("sub", wanted).into_iter().collect()
}

fn google(node: &Node, mistakes: &mut Mistakes) -> Vec<ClaimTest> {
    let mut tests = Vec::new();
    tests.extend(claim::is_text(node, "serviceAccount", "email"));
    if let Some(said) = node.get("uniqueId")
        && let Some(id) = said.text()
    {
        if !is_number(id) {
            mistakes.error(
                said.at,
                "`uniqueId` is no number",
                "put its digits in quotes",
            );
        }
        tests.extend(claim::fixed("sub", Wanted::Text(id.to_owned())));
    }
    if let Some(engine) = node.get("computeEngine") {
        let id = "/google/compute_engine/instance_id";
        tests.extend(claim::fixed(id, Wanted::AnyText));
        let zone = "/google/compute_engine/zone";
        tests.extend(claim::field(engine, "zone", zone, mistakes));
        let name = "/google/compute_engine/instance_name";
        tests.extend(claim::field(engine, "instanceName", name, mistakes));
    }
    tests
}

/// FAILURES 29: `sub` and names can be taken over, numbers cannot. An event that strangers can cause
/// has to be said, and so has a runner that is not GitHub's.
fn github(node: &Node, mistakes: &mut Mistakes) -> Vec<ClaimTest> {
    let mut tests = Vec::new();
    tests.extend(number(node, "repositoryId", "repository_id", mistakes));
    tests.extend(number(node, "ownerId", "repository_owner_id", mistakes));
    if let Some(events) = node.get("events") {
        let texts = events.items().iter().filter_map(Node::text);
        let texts = texts.map(str::to_owned).collect();
        tests.extend(claim::fixed("event_name", Wanted::OneOf(texts)));
    }
    let narrowed = [
        claim::field(node, "workflow", "job_workflow_ref", mistakes),
        claim::field(node, "ref", "ref", mistakes),
        claim::field(node, "environment", "environment", mistakes),
    ];
    if ["workflow", "ref", "environment"]
        .iter()
        .all(|f| node.get(f).is_none())
    {
        let message = "any workflow on any branch of the repository would fit this rule";
        mistakes.error(node.at, message, "add `workflow`, `ref` or `environment`");
    }
    tests.extend(narrowed.into_iter().flatten());
    let runner = text(node, "runner").unwrap_or_else(|| "github-hosted".to_owned());
    tests.extend(claim::fixed("runner_environment", Wanted::Text(runner)));
    tests
}

fn gitlab(node: &Node, mistakes: &mut Mistakes) -> Vec<ClaimTest> {
    let mut tests = Vec::new();
    tests.extend(number(node, "projectId", "project_id", mistakes));
    tests.extend(number(node, "namespaceId", "namespace_id", mistakes));
    if node.get("ref").is_none() && node.get("environment").is_none() {
        let message = "any branch of the project would fit this rule";
        mistakes.error(node.at, message, "add `ref` or `environment`");
    }
    tests.extend(claim::field(node, "ref", "ref", mistakes));
    tests.extend(claim::is_text(node, "refType", "ref_type"));
    tests.extend(claim::field(node, "environment", "environment", mistakes));
    if node.get("unprotected").is_none() {
        let protected = Wanted::Text("true".to_owned());
        tests.extend(claim::fixed("ref_protected", protected));
    }
    tests
}

fn azure(node: &Node, mistakes: &mut Mistakes) -> Vec<ClaimTest> {
    let object = provider::uuid(node, "objectId", mistakes);
    let object = object.and_then(|id| claim::fixed("oid", Wanted::Text(id)));
    let resource = claim::field(node, "resource", "xms_mirid", mistakes);
    [object, resource].into_iter().flatten().collect()
}

fn aws_token(node: &Node, mistakes: &mut Mistakes) -> Vec<ClaimTest> {
    let mut tests = Vec::new();
    if let Some(role) = role_arn(node, mistakes) {
        tests.extend(claim::fixed("sub", Wanted::Text(role.text)));
    }
    let lambda = "/https:~1~1sts.amazonaws.com~1/lambda_source_function_arn";
    tests.extend(claim::is_text(node, "lambda", lambda));
    let tags = node
        .get("principalTags")
        .into_iter()
        .flat_map(Node::members);
    for (key, value) in tags {
        let name = key.name.replace('~', "~0").replace('/', "~1");
        let path = format!("/https:~1~1sts.amazonaws.com~1/principal_tags/{name}");
        let wanted = value.text().map(|text| Wanted::Text(text.to_owned()));
        tests.extend(wanted.and_then(|wanted| claim::fixed(&path, wanted)));
    }
    tests
}

/// The rules of `agent` about roles of AWS.
pub(super) fn aws_rules(
    agent: &AgentTypeName,
    spec: &Node,
    names: &Names,
    mistakes: &mut Mistakes,
) -> Vec<AwsRule> {
    let rules = spec.get("attestation").map_or(&[] as &[Node], Node::items);
    let rules = rules.iter().filter_map(|rule| rule.get("aws"));
    rules
        .filter_map(|node| aws_rule(agent, node, names, mistakes))
        .collect()
}

/// STS does not tell a role's path, and role names are unique in an account whatever their path.
fn aws_rule(
    agent: &AgentTypeName,
    node: &Node,
    names: &Names,
    mistakes: &mut Mistakes,
) -> Option<AwsRule> {
    let provider = provider_of(node.get("provider")?, names, mistakes)?;
    let role = role_arn(node, mistakes)?;
    if role.name.contains('/') {
        let at = super::place_of(node, "role");
        let message = "STS does not tell a role's path";
        mistakes.error(
            at,
            message,
            "say the ARN with the role's name alone behind `role/`",
        );
    }
    if let Some(said) = node.get("roleId")
        && let Some(id) = said.text()
        && !(id.starts_with("AROA") && id.bytes().all(|b| b.is_ascii_alphanumeric()))
    {
        let mend = "say what `aws iam get-role --query Role.RoleId` prints";
        mistakes.error(said.at, "`roleId` is no role's unique id", mend);
    }
    Some(AwsRule {
        agent: agent.clone(),
        provider,
        partition: role.partition,
        account: role.account,
        role: role.name,
        role_id: text(node, "roleId"),
    })
}

struct RoleArn {
    text: String,
    partition: String,
    account: String,
    name: String,
}

fn role_arn(node: &Node, mistakes: &mut Mistakes) -> Option<RoleArn> {
    let said = node.get("role")?;
    let text = said.text()?;
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let plain = |c: char| c.is_ascii_alphanumeric() || "+=,.@_/-".contains(c);
    if let [
        "arn",
        partition @ ("aws" | "aws-cn" | "aws-us-gov"),
        "iam",
        "",
        account,
        resource,
    ] = parts.as_slice()
        && let Some(name) = resource.strip_prefix("role/")
        && !name.is_empty()
        && name.chars().all(plain)
    {
        provider::check_account(node, "role", account, mistakes);
        return Some(RoleArn {
            text: text.to_owned(),
            partition: (*partition).to_owned(),
            account: (*account).to_owned(),
            name: name.to_owned(),
        });
    }
    let mend = "say it as `arn:aws:iam::123456789012:role/Retriever`";
    mistakes.error(said.at, "`role` is no ARN of a role", mend);
    None
}

fn provider_of(said: &Node, names: &Names, mistakes: &mut Mistakes) -> Option<ProviderName> {
    known(said, &names.providers, "trust provider", mistakes)
}

fn number(node: &Node, field: &str, path: &str, mistakes: &mut Mistakes) -> Option<ClaimTest> {
    let said = node.get(field)?;
    let text = said.text()?;
    if !is_number(text) {
        let message = format!("`{field}` is no number; names can be taken over (FAILURES 29)");
        mistakes.error(said.at, message, "put its digits in quotes");
    }
    claim::is_text(node, field, path)
}

fn is_number(text: &str) -> bool {
    (1..=30).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// A name of Kubernetes, as far as it matters here: nothing that another part of a subject could
/// hold.
fn is_dns_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    (1..=253).contains(&text.len()) && text.bytes().all(plain)
}

/// The trust domain that a SPIFFE rule is about.
pub(super) fn spiffe_domain(rule: &TokenRule) -> Option<TrustDomain> {
    rule.tests.iter().find_map(|test| match &test.wanted {
        Wanted::Text(id) | Wanted::Under(id) => {
            TrustDomain::parse(SpiffeId::parse(id).ok()?.trust_domain()).ok()
        }
        Wanted::OneOf(_)
        | Wanted::Like(_)
        | Wanted::Has(_)
        | Wanted::Integer(_)
        | Wanted::Bool(_)
        | Wanted::AnyText => None,
    })
}

/// Claims that name who a token is of. `azp` and `client_id` do not: they name the client that it was
/// issued to, for whomever (OpenID Connect Core §2, RFC 9068 §2.2).
const SUBJECTS: [&str; 2] = ["sub", "oid"];
