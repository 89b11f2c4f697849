//! Workloads, by tokens that their platforms gave them.
//!
//! A token says which declared provider to ask, and nothing else before its signature holds. Rules are
//! matched only then, so that nobody learns by forged tokens which subjects are pinned.

mod facts;
mod review;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use mandate_model::{AttestationKind, InstanceId, Timestamp};
use mandate_policy::Bundle;
use mandate_policy::decl::{
    SpiffeBundlePlace, TokenIssuer, TokenProvider, TokenRule, TrustProvider,
};
use mandate_ports::{AttestRefusal, Attested, Attestor, Clock, Evidence, ShownFrom};
use mandate_token::{
    EvidenceRules, EvidenceSource, EvidenceToken, IdTokenError, UnverifiedIdToken,
};
use serde_json::Value;

use crate::oidc::{IssuerKeys, Source};

pub use review::{ClusterAccess, Clusters};

/// Attests workloads by their platforms' tokens.
pub struct TokenAttestor {
    keys: Arc<IssuerKeys>,
    clusters: Clusters,
    clock: Arc<dyn Clock>,
}

impl TokenAttestor {
    /// An attestor that verifies by `keys`, and has clusters review their tokens.
    pub fn new(keys: Arc<IssuerKeys>, clusters: Clusters, clock: Arc<dyn Clock>) -> Self {
        Self {
            keys,
            clusters,
            clock,
        }
    }
}

/// A token that is looked at.
#[derive(Clone, Copy)]
struct Shown<'a> {
    token: &'a str,
    kid: Option<&'a str>,
    from: &'a ShownFrom,
    now: Timestamp,
}

#[async_trait]
impl Attestor for TokenAttestor {
    async fn attest(
        &self,
        evidence: Evidence,
        from: &ShownFrom,
        bundle: &Bundle,
    ) -> Result<Attested, AttestRefusal> {
        match evidence {
            Evidence::Token(token) => self.attest_token(token.expose(), from, bundle).await,
            Evidence::Process(_) | Evidence::Aws(_) => {
                Err(AttestRefusal::Broken("it is no token".to_owned()))
            }
        }
    }
}

impl TokenAttestor {
    async fn attest_token(
        &self,
        token: &str,
        from: &ShownFrom,
        bundle: &Bundle,
    ) -> Result<Attested, AttestRefusal> {
        let kid = check_foreign(token, bundle)?;
        let shown = Shown {
            token,
            kid: kid.as_deref(),
            from,
            now: self.clock.now(),
        };
        let mut found: Vec<Attested> = Vec::new();
        let mut refusal = AttestRefusal::NoRule {
            nearest: "no trust provider has its issuer, or its SPIFFE trust domain".to_owned(),
        };
        for provider in candidates(token, bundle) {
            let Some(tokens) = provider.tokens() else {
                continue;
            };
            match self.verified(&shown, tokens, (provider, bundle)).await {
                Ok((verified, kind)) => match matched(&verified, kind, provider, bundle) {
                    Ok(attested) => found.push(attested),
                    Err(why) => refusal = nearer(refusal, why),
                },
                Err(why) => refusal = nearer(refusal, why),
            }
        }
        let agents: BTreeSet<_> = found.iter().map(|attested| &attested.agent).collect();
        if agents.len() > 1 {
            return Err(AttestRefusal::Ambiguous);
        }
        found.into_iter().next().ok_or(refusal)
    }

    /// The token, of which somebody vouches who may, and how.
    async fn verified(
        &self,
        shown: &Shown<'_>,
        tokens: &TokenProvider,
        (provider, bundle): (&TrustProvider, &Bundle),
    ) -> Result<(EvidenceToken, AttestationKind), AttestRefusal> {
        let (rules, Shown { token, now, .. }) = (rules_of(tokens), *shown);
        let broken = |why: mandate_token::EvidenceError| AttestRefusal::Broken(why.to_string());
        EvidenceToken::check_unverified(token, &rules, now).map_err(broken)?;
        if let Some(server) = &tokens.api_server {
            let kind = AttestationKind::Kubernetes;
            let wanted = |token: &EvidenceToken| matched(token, kind, provider, bundle).map(drop);
            let (holder, reviewed) = self.clusters.review(server, shown, &rules, wanted).await?;
            let verified = EvidenceToken::dangerous_vouched(token, &rules, now).map_err(broken)?;
            reviewed.check_agrees(&verified)?;
            if wanted(&verified).is_ok() {
                self.clusters
                    .was_good(server, &holder, shown, verified.subject());
            }
            return Ok((verified, kind));
        }
        let source = source_of(tokens);
        let keys = self.keys.of(&source, shown.kid).await.ok_or_else(|| {
            AttestRefusal::Unavailable(format!("the keys of `{source}` cannot be fetched now"))
        })?;
        let verified = EvidenceToken::verify(token, &keys, &rules, now).map_err(broken)?;
        let kind = if tokens.kind == AttestationKind::Kubernetes {
            AttestationKind::KubernetesOffline
        } else {
            tokens.kind
        };
        Ok((verified, kind))
    }
}

/// A token of our own is no evidence, and its `kid` is none of theirs.
fn check_foreign(token: &str, bundle: &Bundle) -> Result<Option<String>, AttestRefusal> {
    let broken = |why: IdTokenError| AttestRefusal::Broken(why.to_string());
    let unverified = UnverifiedIdToken::parse(token).map_err(broken)?;
    if unverified.untrusted_issuer() == Some(bundle.issuer()) {
        let why = "it is a token of this authority, which proves nothing to it; an attested agent that hosts another sends its JWT-SVID as `client_assertion` too";
        return Err(AttestRefusal::Broken(why.to_owned()));
    }
    Ok(unverified.untrusted_kid().map(str::to_owned))
}

/// The providers that could have issued it, by what it claims; of several, those that it says it is
/// for.
fn candidates<'a>(token: &str, bundle: &'a Bundle) -> Vec<&'a TrustProvider> {
    let Ok(unverified) = UnverifiedIdToken::parse(token) else {
        return Vec::new();
    };
    let claims = unverified.untrusted_claims();
    let subject = claims.get("sub").and_then(Value::as_str).unwrap_or("");
    let domain = subject.strip_prefix("spiffe://").unwrap_or("");
    let domain = domain.split('/').next().filter(|name| !name.is_empty());
    let issuer = unverified.untrusted_issuer();
    let could = |provider: &&TrustProvider| match provider.tokens().map(|t| &t.issuer) {
        Some(TokenIssuer::Issuer { issuer: own, .. }) => issuer == Some(own),
        Some(TokenIssuer::TrustDomain { name, .. }) => domain == Some(name),
        None => false,
    };
    let is_for = |provider: &&&TrustProvider| {
        let audience = provider.tokens().map(|tokens| &tokens.audience);
        let named = match claims.get("aud") {
            Some(Value::Array(list)) => list.first(),
            other => other,
        };
        audience.is_some_and(|own| named.is_some_and(|named| named == own))
    };
    let all: Vec<&TrustProvider> = bundle.providers().filter(could).collect();
    let meant: Vec<&TrustProvider> = all.iter().filter(is_for).copied().collect();
    if meant.is_empty() { all } else { meant }
}

fn rules_of(tokens: &TokenProvider) -> EvidenceRules<'_> {
    EvidenceRules {
        source: match &tokens.issuer {
            TokenIssuer::Issuer { issuer, .. } => EvidenceSource::Issuer(issuer),
            TokenIssuer::TrustDomain { name, .. } => EvidenceSource::TrustDomain(name),
        },
        audience: &tokens.audience,
        typ: tokens.typ.as_deref(),
        max_lifetime: tokens.max_lifetime,
        max_age: tokens.max_age,
    }
}

pub(crate) fn source_of(tokens: &TokenProvider) -> Source {
    match &tokens.issuer {
        TokenIssuer::Issuer { issuer, jwks_uri } => Source::Issuer {
            issuer: issuer.clone(),
            jwks_uri: jwks_uri.clone(),
        },
        TokenIssuer::TrustDomain { bundle, .. } => match bundle {
            SpiffeBundlePlace::Web(url) => Source::BundleAt(url.clone()),
            SpiffeBundlePlace::File(path) => Source::BundleIn(path.clone()),
        },
    }
}

/// The one agent type that a verified token of `provider` is of.
fn matched(
    token: &EvidenceToken,
    kind: AttestationKind,
    provider: &TrustProvider,
    bundle: &Bundle,
) -> Result<Attested, AttestRefusal> {
    let required = provider.tokens().map(|tokens| tokens.required.as_slice());
    let mut required = required.unwrap_or_default().iter();
    if let Some(unfit) = required.find(|test| !test.fits(token.claims())) {
        let nearest = format!("trust provider `{}`: {unfit}", provider.name);
        return Err(AttestRefusal::NoRule { nearest });
    }
    let rules: Vec<&TokenRule> = bundle.token_rules(&provider.name).collect();
    let fitting = rules.iter().filter(|rule| fits(rule, token));
    let agents: BTreeSet<_> = fitting.map(|rule| &rule.agent).collect();
    let mut agents = agents.into_iter();
    let agent = match (agents.next(), agents.next()) {
        (Some(agent), None) => agent.clone(),
        (Some(_), Some(_)) => return Err(AttestRefusal::Ambiguous),
        (None, _) => {
            let nearest = nearest(&rules, token, provider);
            return Err(AttestRefusal::NoRule { nearest });
        }
    };
    Ok(Attested {
        agent,
        provider: provider.name.clone(),
        instance: instance(token, provider)?,
        kind,
        facts: facts::of(token, kind),
        once: None,
    })
}

/// A rule without tests does not load; here it would fit nothing.
fn fits(rule: &TokenRule, token: &EvidenceToken) -> bool {
    !rule.tests.is_empty() && rule.tests.iter().all(|test| test.fits(token.claims()))
}

/// For the log: the first test that the rule with the most passed tests fails.
fn nearest(rules: &[&TokenRule], token: &EvidenceToken, provider: &TrustProvider) -> String {
    let passed = |rule: &&&TokenRule| {
        let passed = rule.tests.iter().filter(|test| test.fits(token.claims()));
        passed.count()
    };
    let Some(rule) = rules.iter().max_by_key(passed) else {
        return format!(
            "no agent type has a rule for trust provider `{}`",
            provider.name
        );
    };
    let mut tests = rule.tests.iter();
    let failed = tests.find(|test| !test.fits(token.claims()));
    let failed = failed.map(ToString::to_string).unwrap_or_default();
    format!("agent type `{}`: {failed}", rule.agent)
}

/// What the platform says is one instance; failing that, the token itself.
fn instance(token: &EvidenceToken, provider: &TrustProvider) -> Result<InstanceId, AttestRefusal> {
    let paths = provider.tokens().map(|tokens| tokens.instance.as_slice());
    let mut paths = paths.unwrap_or_default().iter();
    let named = paths.find_map(|path| match path.find(token.claims())? {
        Value::String(text) => InstanceId::parse(text).ok(),
        Value::Number(number) => InstanceId::parse(&number.to_string()).ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    });
    let unnamed = || InstanceId::parse(token.replay_id());
    named
        .map_or_else(unnamed, Ok)
        .map_err(|e| AttestRefusal::Unreadable(e.to_string()))
}

/// Of two refusals the one that came later on the way, since it says more.
fn nearer(one: AttestRefusal, other: AttestRefusal) -> AttestRefusal {
    let rank = |refusal: &AttestRefusal| match refusal {
        AttestRefusal::Gone | AttestRefusal::Unreadable(_) => 0,
        AttestRefusal::NoRule { nearest } if nearest.starts_with("no trust provider") => 0,
        AttestRefusal::Broken(_) => 1,
        AttestRefusal::NoRule { .. } => 2,
        AttestRefusal::Unavailable(_) => 3,
        AttestRefusal::Ambiguous => 4,
    };
    if rank(&other) >= rank(&one) {
        other
    } else {
        one
    }
}

#[cfg(test)]
mod tests;
