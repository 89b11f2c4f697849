//! The live bundle's trust providers: whether their keys can be had, and who could review.

use std::sync::Arc;

use mandate_attest::Reach;
use mandate_policy::Bundle;
use mandate_ports::Clock;

use super::Finding;
use crate::client::operator::Operator;
use crate::commands::live;
use crate::context::Context;
use crate::failure::Failure;
use crate::serve::attest::LocalAttest;
use crate::serve::machine::SystemClock;

/// What keeps evidence of the live bundle's providers from being believed. Asked from here: where the
/// server runs as another user or elsewhere, it may see another network.
pub(super) async fn all(operator: &Operator, context: &Context) -> Vec<Finding> {
    let bundle = match live::bundle(operator, context).await {
        Ok(bundle) => bundle,
        Err(why) => return vec![Finding::warning("trust providers", why.broke, why.mend)],
    };
    match look(&bundle, context).await {
        Ok(findings) => findings,
        Err(why) => vec![Finding::bad("trust providers", why.broke, why.mend)],
    }
}

async fn look(bundle: &Bundle, context: &Context) -> Result<Vec<Finding>, Failure> {
    let local = LocalAttest::read(&context.data.attest_config())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    local.clusters(&clock)?;
    let keys = local.keys(clock)?;
    let mut findings: Vec<Finding> = reviewers(bundle, &local);
    let found = mandate_attest::reach(&keys, bundle).await;
    findings.extend(found.into_iter().map(finding));
    Ok(findings)
}

fn finding(reach: Reach) -> Finding {
    let Reach {
        provider,
        place,
        keys,
    } = reach;
    match keys {
        Ok(0) => Finding::bad(
            "trust providers",
            format!("{provider}: {place} publishes no key that can be used"),
            "without keys it vouches for nobody; look at what is published there",
        ),
        Ok(n) => Finding::good(
            "trust providers",
            format!("{provider}: {n} keys of {place}"),
        ),
        Err(why) => Finding::bad(
            "trust providers",
            format!("{provider}: {why}"),
            "see that this machine reaches it, and that its certificate is of an authority known here (`roots` in attest.yaml)",
        ),
    }
}

/// API servers that would be asked, and for which there are no credentials here.
fn reviewers(bundle: &Bundle, local: &LocalAttest) -> Vec<Finding> {
    let named = bundle.providers().filter_map(|provider| {
        let server = provider.tokens()?.api_server.as_ref()?;
        Some((&provider.name, server))
    });
    named
        .map(|(provider, server)| {
            if local.reaches(server) {
                let found = format!("{provider}: {server} reviews its tokens");
                return Finding::good("trust providers", found);
            }
            Finding::bad(
                "trust providers",
                format!("{provider}: there are no credentials for {server}"),
                "add it to `clusters` in attest.yaml, byte for byte as the bundle says it, and restart",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn bundle() -> Bundle {
        let file = mandate_policy::SourceFile {
            name: "bundle.yaml".to_owned(),
            text: "kind: TrustProvider\nmetadata: {name: prod}\nspec: {kubernetes: {issuer: 'https://k8s.example', audience: mandate, apiServer: 'https://10.0.0.1:6443'}}\n".to_owned(),
        };
        let environment = mandate_policy::LoadEnv {
            trust_domain: mandate_model::TrustDomain::parse("acme.example").unwrap(),
            issuer: "http://127.0.0.1:7701".to_owned(),
        };
        let now = mandate_model::Timestamp::from_secs(1);
        mandate_policy::load(&[file], &environment, now)
            .unwrap()
            .bundle
    }

    #[test]
    fn an_api_server_without_credentials_here_is_named_with_its_mend() {
        let found = reviewers(&bundle(), &LocalAttest::default());
        assert_eq!(found[0].state, State::Bad);
        assert!(found[0].found.contains("https://10.0.0.1:6443"));
        assert!(found[0].mend.contains("attest.yaml"));
    }

    #[test]
    fn a_provider_without_usable_keys_is_bad_and_one_with_some_is_good() {
        let reach = |keys| Reach {
            provider: mandate_model::ProviderName::parse("idp").unwrap(),
            place: "https://idp.example".to_owned(),
            keys,
        };
        assert_eq!(finding(reach(Ok(2))).state, State::Good);
        assert_eq!(finding(reach(Ok(0))).state, State::Bad);
        assert_eq!(
            finding(reach(Err("no answer".to_owned()))).state,
            State::Bad
        );
    }
}
