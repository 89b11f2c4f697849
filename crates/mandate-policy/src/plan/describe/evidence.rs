//! Trust providers, and the rules about tokens and roles.

use super::{Describe, Fields, list};
use crate::decl::{
    AwsProvider, AwsRule, OidcProvider, ProviderKind, SpiffeBundlePlace, TokenIssuer,
    TokenProvider, TokenRule, TrustProvider,
};

pub(super) fn provider(TrustProvider { name, kind }: &TrustProvider, into: &mut Fields) {
    let mut d = Describe {
        kind: "TrustProvider",
        name: name.to_string(),
        into,
    };
    match kind {
        ProviderKind::Process => d.say("kind", "process"),
        ProviderKind::Oidc(oidc) => {
            // The fields of its own are those of its tokens.
            let OidcProvider {
                issuer: _,
                audience: _,
                jwks_uri: _,
                dangerous_unbound_logins,
                tokens: of_workloads,
            } = &**oidc;
            if *dangerous_unbound_logins {
                d.say(
                    super::UNBOUND,
                    "optional, so operators' ID tokens are good here whoever they were shown to",
                );
            }
            tokens(of_workloads, &mut d);
        }
        ProviderKind::Token(of_workloads) => tokens(of_workloads, &mut d),
        ProviderKind::Aws(AwsProvider { accounts, regions }) => {
            d.say("kind", "aws");
            d.say("accounts", list(accounts));
            d.say("regions", list(regions));
        }
    }
}

fn tokens(tokens: &TokenProvider, d: &mut Describe<'_>) {
    let TokenProvider {
        kind,
        issuer,
        audience,
        typ,
        max_lifetime,
        max_age,
        instance,
        required,
        api_server,
    } = tokens;
    d.say("kind", kind.as_str());
    match issuer {
        TokenIssuer::Issuer { issuer, jwks_uri } => {
            d.say("issuer", issuer);
            d.say("jwksUri", jwks_uri.as_deref().unwrap_or_default());
        }
        TokenIssuer::TrustDomain { name, bundle } => {
            d.say("trustDomain", name);
            match bundle {
                SpiffeBundlePlace::Web(url) => d.say("bundleEndpoint", url),
                SpiffeBundlePlace::File(path) => d.say("bundleFile", path),
            }
        }
    }
    d.say("audience", audience);
    d.say("tokenType", typ.as_deref().unwrap_or_default());
    d.say("maxLifetime", format!("{} s", max_lifetime.as_secs()));
    d.say("maxAge", format!("{} s", max_age.as_secs()));
    d.say("instance", list(instance));
    d.say("claims", list(required));
    d.say("apiServer", api_server.as_deref().unwrap_or_default());
}

pub(super) fn token_rule(rule: &TokenRule) -> String {
    let TokenRule {
        agent: _,
        provider,
        kind: _,
        tests,
    } = rule;
    let tests: Vec<String> = tests.iter().map(ToString::to_string).collect();
    format!("{provider}({})", tests.join(" and "))
}

pub(super) fn aws_rule(rule: &AwsRule) -> String {
    let AwsRule {
        agent: _,
        provider,
        partition,
        account,
        role,
        role_id,
    } = rule;
    let id = role_id.as_ref().map(|id| format!(" with id {id}"));
    let id = id.unwrap_or_default();
    format!("{provider}(role arn:{partition}:iam::{account}:role/{role}{id})")
}
