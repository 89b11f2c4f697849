//! Why a request is not let through, and what its caller learns: the rule that it broke, never
//! anybody else's name (P8).

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use mandate_decide::enforce::Denial;
use mandate_decide::possession::SeenError;
use mandate_ports::{CredentialError, SpoolError};
use mandate_token::TokenError;
use mandate_token::dpop::{PROOF_ALGORITHMS, ProofError};

use super::authenticate::Scheme;
use super::exchange::ExchangeRefusal;
use super::proof::DPOP_NONCE;
use crate::admission::Cut;
use crate::body::OutBody;
use crate::spent::SpentError;
use crate::upstream::ConnectError;
use crate::wire::Fault;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// This gateway may not or cannot admit anything now.
    #[error("{detail}")]
    NotNow {
        rule: &'static str,
        detail: &'static str,
    },
    /// The request is none that this gateway forwards.
    #[error("{detail}")]
    Request {
        status: StatusCode,
        rule: &'static str,
        detail: &'static str,
    },
    /// What came is not spelled as HTTP is.
    #[error("{0}")]
    Malformed(Fault),
    /// There is no token.
    #[error("an access token is needed: `Authorization: Bearer …` (RFC 6750)")]
    NoToken,
    /// There is a token, and it is not accepted.
    #[error("{0}")]
    Token(TokenError),
    /// The token is bound to a key, and there is no proof.
    #[error(
        "this access token is bound to a key: send `Authorization: DPoP …` and a proof of the key in `DPoP` (RFC 9449 §7.1)"
    )]
    NoProof,
    /// The token is bound to no key, and is shown as one that is.
    #[error("this access token is bound to no key: send `Authorization: Bearer …` (RFC 6750)")]
    Unbound,
    /// The proof does not hold.
    #[error("{0}")]
    Proof(ProofError),
    /// The proof has no nonce of this process, or one that is too old.
    #[error(
        "the proof needs the nonce that this gateway gives in `DPoP-Nonce`: send the request again with it (RFC 9449 §9)"
    )]
    Nonce,
    /// The proof is by another key than the token's.
    #[error("the proof is by another key than the one that the access token is bound to")]
    OtherKey,
    /// The proof was shown before, or cannot be remembered.
    #[error("{0}")]
    Seen(SeenError),
    /// The decision.
    #[error("{0}")]
    Denied(Denial),
    /// There is no access token to be had for what the agent brought.
    #[error("{0}")]
    Exchange(ExchangeRefusal),
    /// The token is used up.
    #[error("{0}")]
    Spent(SpentError),
    /// It was stopped after it had been admitted.
    #[error("{}", .0.detail)]
    Cut(Cut),
    /// There is no record, so there is no access (P4).
    #[error("the decision cannot be recorded now, so nothing is let through")]
    Unrecorded(#[source] SpoolError),
    /// The authority does not have the record in time, and the server workload waits for that (C2).
    #[error("the decision is not in the authority's log yet, so nothing is forwarded")]
    NotShipped,
    /// There is no secret to inject.
    #[error("the credential for the upstream is not to be had at this gateway")]
    Credential(#[source] CredentialError),
    /// The authority gives no token for the upstream.
    #[error("the authority gives no token for the upstream now")]
    UpstreamToken,
    /// There is no connection to the upstream.
    #[error("{0}")]
    Connect(#[source] ConnectError),
    /// The upstream does not answer in time.
    #[error("the upstream did not answer in time")]
    UpstreamTimeout,
    /// The upstream broke off before it had answered.
    #[error("the upstream broke off")]
    UpstreamBroke,
    /// The upstream switched protocols, and not to what was asked for.
    #[error("the upstream's answer is not the one to the upgrade that was asked for")]
    UnaskedUpgrade,
    /// The agent went away; nobody reads this.
    #[error("the agent went away")]
    AgentGone,
    /// The upstream's answer holds the injected credential (C4).
    #[error("the upstream's answer was withheld: it echoes the credential that this gateway holds")]
    Echo,
    /// The upstream's answer is encoded, so that nobody can tell whether it holds the credential.
    #[error("the upstream's answer was withheld: it is encoded, although it was asked not to be")]
    Encoded,
    /// The upstream's answer may show what this agent may not use, or give it what it can bring back for another, and
    /// cannot be read in one way.
    #[error("the upstream's answer was withheld: it cannot be read in one way")]
    Unanswered,
    /// The upstream refuses this gateway (401): no token of the agent's would help.
    #[error("the upstream refuses the credential of this gateway: an operator has to look at it")]
    Refused,
    /// The body that attributes are read from is too long or broke off.
    #[error("{detail}")]
    Body {
        status: StatusCode,
        detail: &'static str,
    },
}

impl Refusal {
    /// The rule's name in records, metrics and replies.
    pub(super) fn rule(&self) -> String {
        let rule = match self {
            Refusal::NotNow { rule, .. } | Refusal::Request { rule, .. } => rule,
            Refusal::Malformed(fault) => fault.rule(),
            Refusal::NoToken => "token.missing",
            Refusal::Token(_) => "token.invalid",
            Refusal::NoProof => "proof.missing",
            Refusal::Unbound => "proof.unbound",
            Refusal::Proof(_) => "proof.invalid",
            Refusal::Nonce => "proof.nonce",
            Refusal::OtherKey => "proof.other_key",
            Refusal::Seen(SeenError::Again) => "proof.used",
            Refusal::Seen(SeenError::Share) => "quota.proofs",
            Refusal::Seen(SeenError::Full) => "proof.too_many",
            Refusal::Denied(denial) => denial.rule(),
            Refusal::Exchange(why) => why.rule(),
            Refusal::Spent(_) => "token.spent",
            Refusal::Cut(cut) => return cut.rule.clone(),
            Refusal::Unrecorded(_) => "record.unwritable",
            Refusal::NotShipped => "record.not_shipped",
            Refusal::Credential(_) => "upstream.credential",
            Refusal::UpstreamToken => "upstream.token",
            Refusal::Connect(_) => "upstream.unreachable",
            Refusal::UpstreamTimeout => "upstream.timeout",
            Refusal::UpstreamBroke => "upstream.broke",
            Refusal::UnaskedUpgrade => "upstream.upgrade",
            Refusal::Echo => "upstream.echo",
            Refusal::Encoded => "upstream.encoded",
            Refusal::Unanswered => "upstream.answer",
            Refusal::Refused => "upstream.refused",
            Refusal::AgentGone => "agent.gone",
            Refusal::Body { .. } => "request.body",
        };
        rule.to_owned()
    }

    /// The status of the reply.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Refusal::Request { status, .. } | Refusal::Body { status, .. } => *status,
            Refusal::Malformed(fault) => fault.status(),
            Refusal::Exchange(why) => why.status(),
            Refusal::NoToken
            | Refusal::Token(_)
            | Refusal::NoProof
            | Refusal::Unbound
            | Refusal::Proof(_)
            | Refusal::Nonce
            | Refusal::OtherKey
            | Refusal::Seen(SeenError::Again)
            | Refusal::Denied(Denial::ProofRequired(_))
            | Refusal::Spent(_) => StatusCode::UNAUTHORIZED,
            Refusal::Denied(_) => StatusCode::FORBIDDEN,
            Refusal::Cut(cut) if cut.rule.starts_with("gateway.") => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Refusal::Cut(_) => StatusCode::FORBIDDEN,
            Refusal::NotNow { .. }
            | Refusal::Seen(SeenError::Share | SeenError::Full)
            | Refusal::Unrecorded(_)
            | Refusal::NotShipped
            | Refusal::UpstreamToken => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Credential(_)
            | Refusal::Connect(_)
            | Refusal::UpstreamBroke
            | Refusal::UnaskedUpgrade
            | Refusal::AgentGone
            | Refusal::Echo
            | Refusal::Encoded
            | Refusal::Unanswered
            | Refusal::Refused => StatusCode::BAD_GATEWAY,
            Refusal::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The reply: RFC 9457, with the challenges of RFC 6750 §3 and RFC 9449 §7.1 where a token or a
    /// proof would help, and the `nonce` for it.
    pub(super) fn response(&self, nonce: Option<HeaderValue>) -> Response<OutBody> {
        let status = self.status();
        let body = serde_json::json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "rule": self.rule(),
            "detail": self.to_string(),
        });
        let mut response = Response::new(OutBody::Own(Some(Bytes::from(body.to_string()))));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let problem = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for challenge in self.challenges() {
            headers.append(header::WWW_AUTHENTICATE, challenge);
        }
        if status == StatusCode::UNAUTHORIZED
            && let Some(nonce) = nonce
        {
            headers.insert(DPOP_NONCE, nonce);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if matches!(self, Refusal::Spent(SpentError::BeforeStart)) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("6"));
        }
        response
    }

    /// Without a token there is no error code, as RFC 6750 §3.1 says. What is wrong with a bound
    /// token or its proof is said in the scheme of those (RFC 9449 §7.1).
    fn challenges(&self) -> Vec<HeaderValue> {
        let (scheme, error) = match self {
            Refusal::NoToken => return challenges([Scheme::Bearer, Scheme::Dpop], ""),
            Refusal::Token(_) => {
                let why = self.said("invalid_token");
                return challenges([Scheme::Bearer, Scheme::Dpop], &why);
            }
            Refusal::Spent(_) | Refusal::Unbound => (Scheme::Bearer, "invalid_token"),
            Refusal::NoProof | Refusal::OtherKey | Refusal::Denied(Denial::ProofRequired(_)) => {
                (Scheme::Dpop, "invalid_token")
            }
            Refusal::Proof(_) | Refusal::Seen(SeenError::Again) => {
                (Scheme::Dpop, "invalid_dpop_proof")
            }
            Refusal::Nonce => (Scheme::Dpop, "use_dpop_nonce"),
            Refusal::Exchange(why) => match why.challenge() {
                Some(error) => (Scheme::Dpop, error),
                None => return Vec::new(),
            },
            Refusal::NotNow { .. }
            | Refusal::Request { .. }
            | Refusal::Malformed(_)
            | Refusal::Denied(_)
            | Refusal::Seen(SeenError::Share | SeenError::Full)
            | Refusal::Cut(_)
            | Refusal::Unrecorded(_)
            | Refusal::NotShipped
            | Refusal::Credential(_)
            | Refusal::UpstreamToken
            | Refusal::Connect(_)
            | Refusal::UpstreamTimeout
            | Refusal::UpstreamBroke
            | Refusal::UnaskedUpgrade
            | Refusal::AgentGone
            | Refusal::Echo
            | Refusal::Encoded
            | Refusal::Unanswered
            | Refusal::Refused
            | Refusal::Body { .. } => return Vec::new(),
        };
        challenges([scheme], &self.said(error))
    }

    /// `error` and what it means here, as parameters of a challenge.
    fn said(&self, error: &str) -> String {
        // RFC 6750 §3 allows ASCII without quotes and backslashes here.
        let why = self.to_string().replace('§', "section ");
        let why = why.replace(['"', '\\', '`'], "'");
        let why: String = why.chars().filter(|c| matches!(c, ' '..='~')).collect();
        format!("error=\"{error}\", error_description=\"{why}\"")
    }
}

/// A challenge of each scheme with these parameters.
fn challenges(schemes: impl IntoIterator<Item = Scheme>, parameters: &str) -> Vec<HeaderValue> {
    let algorithms = format!("algs=\"{}\"", PROOF_ALGORITHMS.join(" "));
    let challenge = |scheme| {
        let all = match scheme {
            Scheme::Bearer => vec![parameters],
            Scheme::Dpop => vec![parameters, &algorithms],
        };
        let all: Vec<&str> = all.into_iter().filter(|text| !text.is_empty()).collect();
        let name = match scheme {
            Scheme::Bearer => "Bearer",
            Scheme::Dpop => "DPoP",
        };
        HeaderValue::from_str(format!("{name} {}", all.join(", ")).trim_end()).ok()
    };
    schemes.into_iter().filter_map(challenge).collect()
}
