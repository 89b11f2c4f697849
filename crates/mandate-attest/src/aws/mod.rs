//! Roles of AWS, by `GetCallerIdentity` requests that they signed and this authority sends.
//!
//! Whoever holds a signed request can send it for fifteen minutes, to whomever it was signed for. So it
//! must sign a number that this authority chose and that is used once, and this authority's name, so
//! that nobody passes on what was signed for them (FAILURES 28). Where it is sent, and what is sent
//! beside the signed headers, is ours to say alone.

mod challenge;
mod endpoint;
mod identity;
mod request;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use mandate_model::{AttestationKind, InstanceId, ProviderName};
use mandate_policy::Bundle;
use mandate_policy::decl::{AwsProvider, AwsRule, ProviderKind};
use mandate_ports::{AttestRefusal, Attested, Attestor, Clock, Evidence, Once, ShownFrom};

use crate::http::{HttpClient, Roots, UnusableRoots};
use crate::turns::{Shares, Turn, Turns, count};

pub use challenge::AwsChallenges;

use endpoint::Endpoint;
use identity::{CallerRole, read_identity};
use request::SignedRequest;

/// Attests roles by asking AWS who signed a request.
pub struct AwsAttestor {
    client: HttpClient,
    challenges: Arc<AwsChallenges>,
    clock: Arc<dyn Clock>,
    turns: Turns,
    dangerous_endpoint: Option<String>,
}

impl AwsAttestor {
    /// An attestor that believes requests with one of `challenges` in them.
    pub fn new(
        challenges: Arc<AwsChallenges>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, UnusableRoots> {
        Ok(Self {
            client: HttpClient::new(&Roots::PublicAnd(b""), TIMEOUT)?,
            challenges,
            clock,
            turns: Turns::new(&SHARES),
            dangerous_endpoint: None,
        })
    }

    /// Asks what listens at `url`, on this machine, in AWS's place: whoever that is says who is who.
    /// For tests against an imitation of AWS.
    #[must_use]
    pub fn dangerous_asking_instead(mut self, url: Option<String>) -> Self {
        self.dangerous_endpoint = url;
        self
    }
}

#[async_trait]
impl Attestor for AwsAttestor {
    async fn attest(
        &self,
        evidence: Evidence,
        from: &ShownFrom,
        bundle: &Bundle,
    ) -> Result<Attested, AttestRefusal> {
        match evidence {
            Evidence::Aws(shown) => self.attest_request(shown.expose(), from, bundle).await,
            Evidence::Process(_) | Evidence::Token(_) => {
                let why = "it is no request to AWS";
                Err(AttestRefusal::Broken(why.to_owned()))
            }
        }
    }
}

impl AwsAttestor {
    async fn attest_request(
        &self,
        shown: &str,
        from: &ShownFrom,
        bundle: &Bundle,
    ) -> Result<Attested, AttestRefusal> {
        let broken = |why: &dyn std::fmt::Display| AttestRefusal::Broken(why.to_string());
        let signed = SignedRequest::parse(shown).map_err(|why| broken(&why))?;
        let now = self.clock.now();
        let until = self.challenges.check(signed.challenge(), now);
        let until = until.map_err(|why| broken(&why))?;
        let endpoint = Endpoint::of(signed.region()).ok_or_else(|| {
            AttestRefusal::Broken("its region is none that this version knows".to_owned())
        })?;
        let asked = |aws: &AwsProvider| aws.regions.contains(signed.region());
        if !providers(bundle).any(|(_, aws)| asked(aws)) {
            let nearest = "no trust provider of kind `aws` has its region".to_owned();
            return Err(AttestRefusal::NoRule { nearest });
        }
        let answer = {
            // Nobody but AWS can tell a forged signature, and a challenge is given to everybody.
            let _turn = self.turn(from).await?;
            self.ask(&endpoint, &signed, bundle.issuer()).await?
        };
        let role = read_identity(&answer, endpoint.partition).map_err(|why| broken(&why))?;
        let mut attested = matched(&role, &signed, bundle)?;
        self.turns.was_good(&role.id, from.as_str());
        attested.once = Some(Once {
            scope: "aws-challenge",
            id: signed.challenge().to_owned(),
            until,
        });
        Ok(attested)
    }

    async fn turn(&self, from: &ShownFrom) -> Result<Turn<'_>, AttestRefusal> {
        self.turns.take(from.as_str()).await.map_err(|why| {
            // Anybody can cause it, and must not fill the log.
            tracing::debug!(from = from.as_str(), %why, "AWS was not asked");
            AttestRefusal::Unavailable(why.to_string())
        })
    }

    /// AWS's answer to the request. Its body and method are the ones that are signed or nothing holds;
    /// the authority's name is put in by us, so that a request for another does not hold either.
    async fn ask(
        &self,
        endpoint: &Endpoint,
        signed: &SignedRequest,
        issuer: &str,
    ) -> Result<Bytes, AttestRefusal> {
        let unavailable = |why: String| {
            tracing::warn!(host = endpoint.host, why, "AWS could not be asked");
            AttestRefusal::Unavailable(format!("`{}`: {why}", endpoint.host))
        };
        let request = self.request(endpoint, signed, issuer);
        let request = request.map_err(|e| unavailable(e.to_string()))?;
        let answered = self.client.call(request).await;
        let (status, body) = answered.map_err(|e| unavailable(e.to_string()))?;
        match status {
            StatusCode::OK => Ok(body),
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                tracing::debug!(status = status.as_u16(), "AWS refused a signed request");
                Err(AttestRefusal::Broken(
                    "AWS does not accept the signed request: its signature, its time, the credentials or this authority's name in it are wrong".to_owned(),
                ))
            }
            other => Err(unavailable(format!("it answered with {}", other.as_u16()))),
        }
    }

    fn request(
        &self,
        endpoint: &Endpoint,
        signed: &SignedRequest,
        issuer: &str,
    ) -> Result<Request<Full<Bytes>>, http::Error> {
        let real = format!("https://{}/", endpoint.host);
        let url = self.dangerous_endpoint.as_ref().unwrap_or(&real);
        let mut request = Request::post(url);
        if self.dangerous_endpoint.is_some() {
            request = request.header(http::header::HOST, &endpoint.host);
        }
        for (name, value) in signed.headers() {
            request = request.header(name, value.clone());
        }
        request
            .header(request::AUDIENCE, issuer)
            .body(Full::from(request::BODY))
    }
}

fn providers(bundle: &Bundle) -> impl Iterator<Item = (&ProviderName, &AwsProvider)> {
    bundle
        .providers()
        .filter_map(|provider| match &provider.kind {
            ProviderKind::Aws(aws) => Some((&provider.name, aws)),
            ProviderKind::Process | ProviderKind::Oidc(_) | ProviderKind::Token(_) => None,
        })
}

/// The one agent type that a role is.
fn matched(
    role: &CallerRole,
    signed: &SignedRequest,
    bundle: &Bundle,
) -> Result<Attested, AttestRefusal> {
    let of_account: Vec<&ProviderName> = providers(bundle)
        .filter(|(_, aws)| aws.regions.contains(signed.region()))
        .filter(|(_, aws)| aws.accounts.contains(&role.account))
        .map(|(name, _)| name)
        .collect();
    let fits = |rule: &&AwsRule| of_account.contains(&&rule.provider) && role.is(rule);
    let fitting: Vec<&AwsRule> = bundle.aws_rules().filter(fits).collect();
    let Some(rule) = fitting.first() else {
        let nearest = format!(
            "no rule is about role `{}` ({}) of account {} in {}",
            role.name,
            role.id,
            role.account,
            signed.region()
        );
        return Err(AttestRefusal::NoRule { nearest });
    };
    if fitting.iter().any(|other| other.agent != rule.agent) {
        return Err(AttestRefusal::Ambiguous);
    }
    let instance = InstanceId::parse(signed.access_key());
    Ok(Attested {
        agent: rule.agent.clone(),
        provider: rule.provider.clone(),
        instance: instance.map_err(|e| AttestRefusal::Unreadable(e.to_string()))?,
        kind: AttestationKind::Aws,
        facts: role.facts(signed.region()),
        once: None,
    })
}

const TIMEOUT: Duration = Duration::from_secs(5);
/// A fleet may stand behind one address. STS takes hundreds a second of each account.
const SHARES: Shares = Shares {
    each_per_second: count(20),
    each_at_once: count(40),
    all_per_second: count(100),
    turns_of_each: 4,
    turns: 16,
};

#[cfg(test)]
mod tests;
