//! Trust providers. A preset expands to the exact issuer, the claims that every token must have, and
//! what names an instance; what is known to be unsafe cannot be said.

use std::collections::BTreeSet;
use std::time::Duration;

use mandate_model::{AttestationKind, ProviderName, TrustDomain};

use super::read::{duration, text};
use super::{LoadEnv, claim, url};
use crate::decl::{
    AwsProvider, ClaimPath, ClaimTest, OidcProvider, ProviderKind, SpiffeBundlePlace, TokenIssuer,
    TokenProvider, TrustProvider, Wanted,
};
use crate::mistake::Mistakes;
use crate::source::Node;

pub(super) fn provider(
    name: &str,
    spec: &Node,
    env: &LoadEnv,
    mistakes: &mut Mistakes,
) -> Option<TrustProvider> {
    let name = ProviderName::parse(name).ok()?;
    let Some((key, node)) = spec.members().find(|(key, _)| key.name != "process") else {
        return Some(TrustProvider {
            name,
            kind: ProviderKind::Process,
        });
    };
    if name.as_str() == crate::bundle::PROCESS_PROVIDER {
        let message = "`process` is the name of the built-in provider of kind `process`";
        mistakes.error(node.at, message, "choose another name for this one");
    }
    let kind = match key.name.as_str() {
        "oidc" => oidc(node, mistakes),
        "kubernetes" => kubernetes(node, mistakes).map(token),
        "eks" => eks(node, mistakes).map(token),
        "spiffe" => spiffe(node, env, mistakes).map(token),
        "google" => google(node, mistakes).map(token),
        "github" => github(node, mistakes).map(token),
        "gitlab" => gitlab(node, mistakes).map(token),
        "azure" => azure(node, mistakes).map(token),
        "awsToken" => aws_token(node, mistakes).map(token),
        "aws" => aws(node, mistakes),
        _ => None,
    };
    Some(TrustProvider { name, kind: kind? })
}

fn token(tokens: TokenProvider) -> ProviderKind {
    ProviderKind::Token(Box::new(tokens))
}

fn oidc(node: &Node, mistakes: &mut Mistakes) -> Option<ProviderKind> {
    let issuer = fetchable(node, "issuer", mistakes)?;
    let jwks_uri = fetchable(node, "jwksUri", mistakes);
    let audience = text(node, "audience")?;
    let mut tokens = tokens(AttestationKind::Oidc, node, &issuer, HOUR, mistakes)?;
    tokens.issuer = TokenIssuer::Issuer {
        issuer: issuer.clone(),
        jwks_uri: jwks_uri.clone(),
    };
    tokens.typ = text(node, "tokenType").filter(|typ| typ != "JWT");
    if let Some(said) = node.get("instance") {
        match ClaimPath::parse(said.text()?) {
            Ok(path) => tokens.instance = vec![path],
            Err(why) => mistakes.error(said.at, why.to_string(), ""),
        }
    }
    Some(ProviderKind::Oidc(Box::new(OidcProvider {
        issuer,
        audience,
        jwks_uri,
        dangerous_unbound_logins: text(node, "nonce").as_deref() == Some("optional"),
        tokens,
    })))
}

fn kubernetes(node: &Node, mistakes: &mut Mistakes) -> Option<TokenProvider> {
    let issuer = fetchable(node, "issuer", mistakes)?;
    let jwks_uri = fetchable(node, "jwksUri", mistakes);
    let mut made = cluster(node, &issuer, mistakes)?;
    made.issuer = TokenIssuer::Issuer { issuer, jwks_uri };
    Some(made)
}

fn eks(node: &Node, mistakes: &mut Mistakes) -> Option<TokenProvider> {
    let (region, id) = (text(node, "region")?, text(node, "id")?);
    let hex = |b: u8| b.is_ascii_digit() || (b'A'..=b'F').contains(&b);
    if id.len() != 32 || !id.bytes().all(hex) {
        let at = super::place_of(node, "id");
        let mend = "say what follows `/id/` in what `aws eks describe-cluster --query cluster.identity.oidc.issuer` prints";
        mistakes.error(at, "`id` is not 32 hex digits in capitals", mend);
    }
    check_region(node, "region", &region, mistakes);
    let issuer = format!("https://oidc.eks.{region}.amazonaws.com/id/{id}");
    cluster(node, &issuer, mistakes)
}

/// FAILURES 26: offline checks cannot see that a pod is gone, so that has to be known.
fn cluster(node: &Node, issuer: &str, mistakes: &mut Mistakes) -> Option<TokenProvider> {
    let api_server = node.get("apiServer");
    if api_server.is_none() {
        mistakes.warn(
            node.at,
            "no API server reviews these tokens: one of a pod that is gone is good until it expires, and identities are stamped `kubernetes-offline`",
            "say `apiServer`, and give the authority credentials for it in attest.yaml",
        );
    }
    let api_server = fetchable(node, "apiServer", mistakes);
    let mut made = tokens(AttestationKind::Kubernetes, node, issuer, HOUR, mistakes)?;
    made.api_server = api_server;
    made.instance = paths(&[
        "/kubernetes.io/pod/uid",
        "jti",
        "/kubernetes.io/serviceaccount/uid",
    ]);
    Some(made)
}

fn spiffe(node: &Node, env: &LoadEnv, mistakes: &mut Mistakes) -> Option<TokenProvider> {
    let domain = node.get("trustDomain")?;
    let name = match TrustDomain::parse(domain.text()?) {
        Ok(name) if name == env.trust_domain => {
            let message = "this is the authority's own trust domain";
            mistakes.error(domain.at, message, "its own JWT-SVIDs are no evidence");
            return None;
        }
        Ok(name) => name,
        Err(why) => {
            mistakes.error(domain.at, why.to_string(), "");
            return None;
        }
    };
    let endpoint = node
        .get("bundleEndpoint")
        .and_then(|at| fetchable(at, "url", mistakes));
    let file = text(node, "bundleFile");
    let bundle = match (endpoint, file) {
        (Some(url), None) => SpiffeBundlePlace::Web(url),
        (None, Some(path)) if path.starts_with('/') => SpiffeBundlePlace::File(path),
        (None, Some(_)) => {
            let at = super::place_of(node, "bundleFile");
            mistakes.error(at, "`bundleFile` is no absolute path", "");
            return None;
        }
        (None, None) | (Some(_), Some(_)) => {
            // A URL that is none has been reported.
            if node.get("bundleEndpoint").is_none() || node.get("bundleFile").is_some() {
                let message =
                    "a SPIFFE trust domain has exactly one of `bundleEndpoint` and `bundleFile`";
                mistakes.error(node.at, message, "say where its keys are, in one place");
            }
            return None;
        }
    };
    let mut made = tokens(AttestationKind::Spiffe, node, "", HOUR, mistakes);
    if made.is_none() && node.get("audience").is_none() {
        made = tokens_for(
            AttestationKind::Spiffe,
            node,
            &env.issuer,
            "",
            HOUR,
            mistakes,
        );
    }
    let mut made = made?;
    let name = name.as_str().to_owned();
    made.issuer = TokenIssuer::TrustDomain { name, bundle };
    Some(made)
}

/// FAILURES 30, and STANDARDS: Google's issuer is everybody's, so projects are pinned.
fn google(node: &Node, mistakes: &mut Mistakes) -> Option<TokenProvider> {
    let issuer = "https://accounts.google.com";
    let mut made = tokens(AttestationKind::Google, node, issuer, HOUR, mistakes)?;
    let projects = Wanted::OneOf(list(node, "projects"));
    made.required.extend(claim::if_there(
        "/google/compute_engine/project_id",
        projects,
    ));
    made.required
        .extend(claim::fixed("email_verified", Wanted::Bool(true)));
    made.instance = paths(&["/google/compute_engine/instance_id", "jti"]);
    Some(made)
}

fn github(node: &Node, mistakes: &mut Mistakes) -> Option<TokenProvider> {
    let mut issuer = "https://token.actions.githubusercontent.com".to_owned();
    if let Some(said) = node.get("enterprise") {
        let slug = said.text()?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if !slug.bytes().all(plain) {
            mistakes.error(
                said.at,
                "`enterprise` is no slug",
                "say it as its URL has it",
            );
        }
        issuer = format!("{issuer}/{slug}");
    }
    let mut made = tokens(AttestationKind::Github, node, &issuer, HOUR, mistakes)?;
    made.instance = paths(&["jti"]);
    Some(made)
}

fn gitlab(node: &Node, mistakes: &mut Mistakes) -> Option<TokenProvider> {
    let issuer = match node.get("issuer") {
        Some(_) => fetchable(node, "issuer", mistakes)?,
        None => "https://gitlab.com".to_owned(),
    };
    let mut made = tokens(AttestationKind::Gitlab, node, &issuer, HOUR, mistakes)?;
    made.instance = paths(&["job_id"]);
    Some(made)
}

/// Azure gives managed identities tokens that live a day, and the same one again until it is old.
fn azure(node: &Node, mistakes: &mut Mistakes) -> Option<TokenProvider> {
    let tenant = uuid(node, "tenant", mistakes)?;
    let issuer = match text(node, "version").as_deref() {
        Some("v2") => format!("https://login.microsoftonline.com/{tenant}/v2.0"),
        Some(_) | None => format!("https://sts.windows.net/{tenant}/"),
    };
    let mut made = tokens(AttestationKind::Azure, node, &issuer, LONGEST, mistakes)?;
    made.required
        .extend(claim::fixed("tid", Wanted::Text(tenant)));
    let app = Wanted::Text("app".to_owned());
    made.required.extend(claim::if_there("idtyp", app));
    made.instance = paths(&["uti"]);
    Some(made)
}

fn aws_token(node: &Node, mistakes: &mut Mistakes) -> Option<TokenProvider> {
    let issuer = fetchable(node, "issuer", mistakes)?;
    let host = issuer.strip_prefix("https://").unwrap_or_default();
    let own = host.strip_suffix(".tokens.sts.global.api.aws");
    if own.is_none_or(|own| own.is_empty() || own.contains(['.', '/'])) {
        let at = super::place_of(node, "issuer");
        let message = "`issuer` is no account's issuer of web identity tokens";
        mistakes.error(
            at,
            message,
            "say it as `aws iam get-outbound-web-identity-federation-info` prints it",
        );
    }
    let account = text(node, "account")?;
    check_account(node, "account", &account, mistakes);
    let mut made = tokens(AttestationKind::AwsToken, node, &issuer, HOUR, mistakes)?;
    made.required
        .extend(claim::fixed(AWS_ACCOUNT, Wanted::Text(account)));
    made.instance = paths(&["jti"]);
    Some(made)
}

fn aws(node: &Node, mistakes: &mut Mistakes) -> Option<ProviderKind> {
    let (accounts, regions) = (list(node, "accounts"), list(node, "regions"));
    for account in &accounts {
        check_account(node, "accounts", account, mistakes);
    }
    for region in &regions {
        check_region(node, "regions", region, mistakes);
    }
    Some(ProviderKind::Aws(AwsProvider {
        accounts: accounts.into_iter().collect::<BTreeSet<_>>(),
        regions: regions.into_iter().collect::<BTreeSet<_>>(),
    }))
}

fn tokens(
    kind: AttestationKind,
    node: &Node,
    issuer: &str,
    longest: Duration,
    mistakes: &mut Mistakes,
) -> Option<TokenProvider> {
    let audience = text(node, "audience")?;
    tokens_for(kind, node, &audience, issuer, longest, mistakes)
}

fn tokens_for(
    kind: AttestationKind,
    node: &Node,
    audience: &str,
    issuer: &str,
    longest: Duration,
    mistakes: &mut Mistakes,
) -> Option<TokenProvider> {
    for field in ["maxLifetime", "maxAge"] {
        if duration(node, field).is_some_and(|span| span > LONGEST) {
            let at = super::place_of(node, field);
            let message = format!("`{field}` is more than 25h");
            mistakes.error(at, message, "what proved something then proves little now");
        }
    }
    let max_lifetime = duration(node, "maxLifetime").unwrap_or(longest);
    if max_lifetime > HOUR && node.get("maxLifetime").is_some() && node.get("maxAge").is_none() {
        let at = super::place_of(node, "maxLifetime");
        let message = "a token of this provider proves for hours who once held it";
        mistakes.warn(
            at,
            message,
            "say `maxAge` too, or ask the platform for shorter ones",
        );
    }
    Some(TokenProvider {
        kind,
        issuer: TokenIssuer::Issuer {
            issuer: issuer.to_owned(),
            jwks_uri: None,
        },
        audience: audience.to_owned(),
        typ: None,
        max_lifetime,
        max_age: duration(node, "maxAge").unwrap_or(max_lifetime),
        instance: paths(&["jti"]),
        required: Vec::<ClaimTest>::new(),
        api_server: None,
    })
}

/// A URL that keys may be fetched from, or a token be sent to.
fn fetchable(node: &Node, field: &str, mistakes: &mut Mistakes) -> Option<String> {
    let said = node.get(field)?;
    let text = said.text()?;
    if let Err(why) = url::check_fetchable(text) {
        let message = format!("`{field}` {why}");
        mistakes.error(said.at, message, "say an absolute `https` URL");
    }
    Some(text.to_owned())
}

fn list(node: &Node, field: &str) -> Vec<String> {
    let items = node.get(field).map_or(&[] as &[Node], Node::items);
    items
        .iter()
        .filter_map(|item| Some(item.text()?.to_owned()))
        .collect()
}

fn paths(texts: &[&str]) -> Vec<ClaimPath> {
    texts
        .iter()
        .filter_map(|text| ClaimPath::parse(text).ok())
        .collect()
}

/// An id as Azure writes it, in lower case.
pub(super) fn uuid(node: &Node, field: &str, mistakes: &mut Mistakes) -> Option<String> {
    let said = node.get(field)?;
    let text = said.text()?;
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    let hex = |b: u8| b == b'-' || b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if parts != [8, 4, 4, 4, 12] || !text.bytes().all(hex) {
        let message = format!("`{field}` is no id of the form 8-4-4-4-12 hex digits in lower case");
        mistakes.error(said.at, message, "");
    }
    Some(text.to_owned())
}

pub(super) fn check_account(node: &Node, field: &str, account: &str, mistakes: &mut Mistakes) {
    if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
        let at = super::place_of(node, field);
        let message = format!("`{account}` is no account of AWS");
        mistakes.error(at, message, "an account has 12 digits; put them in quotes");
    }
}

fn check_region(node: &Node, field: &str, region: &str, mistakes: &mut Mistakes) {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !region.contains('-') || !region.bytes().all(plain) {
        let at = super::place_of(node, field);
        let message = format!("`{region}` is no region of AWS");
        mistakes.error(at, message, "say it as `eu-central-1`");
    }
}

/// Where web identity tokens of AWS say the account.
const AWS_ACCOUNT: &str = "/https:~1~1sts.amazonaws.com~1/aws_account";
const HOUR: Duration = Duration::from_secs(3_600);
const LONGEST: Duration = Duration::from_secs(25 * 3_600);
