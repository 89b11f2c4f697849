//! The form, read once. What comes out is one of six exchanges with everything that it needs and
//! nothing that it does not take.

use mandate_model::mandate::{Budget, Entries, RawEntry, parse_entries};
use mandate_model::{SpiffeId, TaskId, Thumbprint, TrustDomain};
use mandate_token::Confirmation;

use super::error::{ExchangeError, FormError};

/// A form that is one of our exchanges. Nothing in it is believed yet.
pub struct ParsedExchange {
    /// The client's assertion; absent only where evidence itself authenticates (attest).
    pub client_assertion: Option<String>,
    /// `client_id`, if it was sent: it must name the client that the assertion proves.
    pub client_id: Option<String>,
    /// Which exchange.
    pub step: Step,
}

/// Tokens and evidence are in it, which no log is to show.
impl std::fmt::Debug for ParsedExchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("ParsedExchange");
        shown.field("client_id", &self.client_id);
        shown.finish_non_exhaustive()
    }
}

/// The six exchanges (DESIGN §3).
pub enum Step {
    /// Evidence for a JWT-SVID.
    Attest {
        /// What proves it.
        evidence: Shown,
        /// Whom the SVID is to be shown to; the issuer where absent.
        audience: Option<String>,
        /// What the caller says it is. Never believed: it must equal what is attested.
        claimed: Option<SpiffeId>,
    },
    /// The host's SVID for one of a hosted type (A6).
    AttestHosted {
        /// The hosted type.
        hosted: SpiffeId,
        /// Whom the SVID is to be shown to.
        audience: Option<String>,
        /// As sent; must equal the client assertion.
        subject_token: String,
    },
    /// A trigger for a root task.
    Open(Open),
    /// A task token for a narrower one of a child.
    Delegate(Delegate),
    /// A task token for another one of the same task.
    Renew {
        /// The unexpired task token.
        subject_token: String,
        /// The same or narrower; all of it where absent.
        entries: Option<Entries>,
        /// The words of `scope`.
        scope: Option<Vec<String>>,
    },
    /// A token for a task whose token was lost or expired (A3).
    Resume(Resume),
    /// A task token for an access token of one server workload.
    Access {
        /// The task token.
        subject_token: String,
        /// The resource indicator of the server workload (RFC 8707).
        resource: String,
        /// The words of `scope`.
        scope: Option<Vec<String>>,
        /// A part of the mandate.
        entries: Option<Entries>,
    },
}

/// Evidence as it was sent.
#[derive(Clone, PartialEq, Eq)]
pub enum Shown {
    /// The process at the other end of the connection.
    Process,
    /// A token that a platform gave to the caller.
    Token(String),
    /// A request to AWS that the caller signed.
    Aws(String),
}

/// Opening a root task.
pub struct Open {
    /// Who or what began it.
    pub subject: OpenSubject,
    /// The mandate asked for; the ceiling where absent.
    pub entries: Option<Entries>,
    /// The words of `scope`; must agree with `entries` (A10).
    pub scope: Option<Vec<String>>,
    /// The rest.
    pub details: RequestDetails,
}

/// The subject token of an opening.
pub enum OpenSubject {
    /// A person's ID token.
    IdToken(String),
    /// The agent's own SVID: it begins on its own.
    OwnSvid(String),
}

/// Delegating to a sub-agent.
pub struct Delegate {
    /// The parent's task token.
    pub subject_token: String,
    /// The child's agent type.
    pub child: SpiffeId,
    /// The key that the child must have, where it is named (A5).
    pub key: Option<Thumbprint>,
    /// The child's mandate. Must be said: "everything that I have" is never a default.
    pub entries: Entries,
    /// The words of `scope`; must agree with `entries` (A10).
    pub scope: Option<Vec<String>>,
    /// The rest.
    pub details: RequestDetails,
}

/// Issuing again for a task that exists.
pub struct Resume {
    /// The task.
    pub task: TaskId,
    /// The parent's task token, or the opener's own SVID for a root task.
    pub subject_token: String,
    /// Whether it is a task token.
    pub by_parent: bool,
}

/// `request_details`: JSON, form-encoded (draft-ietf-oauth-transaction-tokens-10, "Txn-Token Request").
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestDetails {
    /// What a root task is for: the purpose of a task policy.
    pub purpose: Option<String>,
    /// What began autonomous work.
    pub trigger: Option<ClaimedTrigger>,
    /// For how many seconds the task is wanted.
    pub expires_in: Option<u64>,
    /// From when, in milliseconds since the epoch.
    pub not_before: Option<mandate_model::Timestamp>,
    /// How often.
    #[serde(default)]
    pub budget: Budget,
    /// How deep.
    pub max_depth: Option<u8>,
    /// Which task to issue for again.
    pub task: Option<TaskId>,
}

/// A trigger as an agent claims it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum ClaimedTrigger {
    /// A schedule fired.
    Schedule {
        /// Its name.
        name: String,
        /// The item of this run.
        item: Option<String>,
    },
    /// An event arrived.
    Event {
        /// Its name.
        name: String,
        /// The item.
        item: Option<String>,
    },
}

/// Reads a decoded form, sent to the authority of `domain`. A parameter that comes twice is an
/// error, not a choice.
pub fn parse(
    form: Vec<(String, String)>,
    domain: &TrustDomain,
) -> Result<ParsedExchange, ExchangeError> {
    parse_form(form, domain).map_err(ExchangeError::Form)
}

fn parse_form(
    form: Vec<(String, String)>,
    domain: &TrustDomain,
) -> Result<ParsedExchange, FormError> {
    let mut form = Form::new(form)?;
    if form.take("grant_type").as_deref() != Some(GRANT) {
        return Err(FormError::GrantType);
    }
    let client_assertion = form.client_assertion()?;
    let client_id = form.take("client_id");
    form.check_actor(client_assertion.as_deref())?;
    let subject_token_type = form.need("subject_token_type")?;
    let requested = form.take("requested_token_type");
    let step = match (subject_token_type.as_str(), requested.as_deref()) {
        (PROCESS | AWS, None | Some(JWT)) => form.attest(&subject_token_type)?,
        // A platform's token comes alone; a host's SVID is its client assertion too (A6). Clients of
        // other token services ask for an access token and take what they get (RFC 8693 §2.2.1).
        (JWT, None | Some(JWT | ACCESS)) if client_assertion.is_none() => {
            form.attest(&subject_token_type)?
        }
        (TXN, Some(TXN)) => form.replace(domain)?,
        (ID_TOKEN | JWT, Some(TXN)) => form.open(subject_token_type == ID_TOKEN, domain)?,
        (TXN, None | Some(ACCESS)) => form.access()?,
        (JWT, None | Some(JWT)) => form.attest_hosted()?,
        (PROCESS | AWS | TXN | ID_TOKEN | JWT, _) => {
            return Err(FormError::TokenType {
                parameter: "requested_token_type",
                mend: "see the table of exchanges in docs/tokens.md",
            });
        }
        _ => {
            return Err(FormError::TokenType {
                parameter: "subject_token_type",
                mend: "send a txn_token, id_token, jwt, urn:mandate:token-type:process or urn:mandate:token-type:aws-request",
            });
        }
    };
    form.end()?;
    if matches!(step, Step::Attest { .. }) {
        only_evidence(client_assertion.as_deref(), client_id.as_deref())?;
    }
    Ok(ParsedExchange {
        client_assertion,
        client_id,
        step,
    })
}

/// Where evidence authenticates, nothing else does: whoever sends it means something by it.
fn only_evidence(assertion: Option<&str>, id: Option<&str>) -> Result<(), FormError> {
    match (assertion, id) {
        (None, None) => Ok(()),
        (Some(_), _) => Err(FormError::Unexpected("client_assertion")),
        (None, Some(_)) => Err(FormError::Unexpected("client_id")),
    }
}

/// A form that is being read: what is taken from it is not in it any more.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    pub(super) fn new(form: Vec<(String, String)>) -> Result<Self, FormError> {
        if form.len() > MAX_PARAMETERS {
            return Err(FormError::TooLarge("more than 24 parameters"));
        }
        for (n, (name, value)) in form.iter().enumerate() {
            if value.len() > MAX_VALUE {
                return Err(FormError::TooLarge("a parameter of more than 32 KiB"));
            }
            if form.iter().skip(n + 1).any(|(other, _)| other == name) {
                return Err(FormError::Repeated(name.chars().take(40).collect()));
            }
        }
        Ok(Self(form))
    }

    /// The parameter's value; one without a value counts as omitted (RFC 6749 §3.2).
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(n, _)| n == name)?;
        Some(self.0.swap_remove(at).1).filter(|value| !value.is_empty())
    }

    pub(super) fn need(&mut self, name: &'static str) -> Result<String, FormError> {
        self.take(name).ok_or(FormError::Missing(name))
    }

    pub(super) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, FormError> {
        let parse = |text: String| {
            text.parse().map_err(|why: T::Err| FormError::Malformed {
                parameter: name,
                why: why.to_string(),
            })
        };
        self.take(name).map(parse).transpose()
    }

    fn client_assertion(&mut self) -> Result<Option<String>, FormError> {
        let kind = self.take("client_assertion_type");
        let assertion = self.take("client_assertion");
        match (kind.as_deref(), &assertion) {
            (None, None) | (Some(SPIFFE_ASSERTION), Some(_)) => Ok(assertion),
            (Some(SPIFFE_ASSERTION), None) => Err(FormError::Missing("client_assertion")),
            (None, Some(_)) => Err(FormError::Missing("client_assertion_type")),
            (Some(_), _) => Err(FormError::TokenType {
                parameter: "client_assertion_type",
                mend: "send urn:ietf:params:oauth:client-assertion-type:jwt-spiffe with a JWT-SVID",
            }),
        }
    }

    /// RFC 8693 §2.1: `actor_token_type` comes with `actor_token` and never without it. Ours equals
    /// the client assertion (A9, A10).
    fn check_actor(&mut self, client: Option<&str>) -> Result<(), FormError> {
        match (self.take("actor_token"), self.take("actor_token_type")) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(FormError::Unexpected("actor_token_type")),
            (Some(_), None) => Err(FormError::Missing("actor_token_type")),
            (Some(_), Some(kind)) if kind != JWT => Err(FormError::TokenType {
                parameter: "actor_token_type",
                mend: "send urn:ietf:params:oauth:token-type:jwt",
            }),
            (Some(token), Some(_)) if Some(token.as_str()) == client => Ok(()),
            (Some(_), Some(_)) => Err(FormError::Malformed {
                parameter: "actor_token",
                why: super::error::ActorError::NotClient.to_string(),
            }),
        }
    }

    fn attest(&mut self, kind: &str) -> Result<Step, FormError> {
        let subject_token = self.need("subject_token")?;
        let evidence = match kind {
            JWT => Shown::Token(subject_token),
            AWS => Shown::Aws(subject_token),
            // The evidence is the connection; the parameter is required by RFC 8693 §2.1.
            _ => Shown::Process,
        };
        let claimed = self.parsed("requested_actor")?;
        Ok(Step::Attest {
            evidence,
            audience: self.take("audience"),
            claimed,
        })
    }

    fn attest_hosted(&mut self) -> Result<Step, FormError> {
        let hosted = self
            .parsed("requested_actor")?
            .ok_or(FormError::Missing("requested_actor"))?;
        let subject_token = self.need("subject_token")?;
        Ok(Step::AttestHosted {
            hosted,
            audience: self.take("audience"),
            subject_token,
        })
    }

    fn open(&mut self, is_person: bool, domain: &TrustDomain) -> Result<Step, FormError> {
        self.check_audience(domain)?;
        let subject_token = self.need("subject_token")?;
        let details = self.details()?;
        if let (Some(task), false) = (details.task, is_person) {
            self.only_task(&details)?;
            return Ok(Step::Resume(Resume {
                task,
                subject_token,
                by_parent: false,
            }));
        }
        if is_person && details.task.is_some() {
            return Err(FormError::Unexpected("request_details.task"));
        }
        if is_person && details.trigger.is_some() {
            // The person is the trigger.
            return Err(FormError::Unexpected("request_details.trigger"));
        }
        let entries = self.entries()?;
        let scope = self.scope();
        let subject = if is_person {
            OpenSubject::IdToken(subject_token)
        } else {
            OpenSubject::OwnSvid(subject_token)
        };
        Ok(Step::Open(Open {
            subject,
            entries,
            scope,
            details,
        }))
    }

    fn replace(&mut self, domain: &TrustDomain) -> Result<Step, FormError> {
        self.check_audience(domain)?;
        let subject_token = self.need("subject_token")?;
        let details = self.details()?;
        if let Some(task) = details.task {
            self.only_task(&details)?;
            return Ok(Step::Resume(Resume {
                task,
                subject_token,
                by_parent: true,
            }));
        }
        let (entries, scope) = (self.entries()?, self.scope());
        match self.parsed("requested_actor")? {
            Some(_) if details.purpose.is_some() || details.trigger.is_some() => {
                // A child inherits both: who sends others means something by it.
                Err(FormError::Unexpected("request_details.purpose"))
            }
            Some(child) => {
                let entries = entries.ok_or(FormError::Missing("authorization_details"))?;
                Ok(Step::Delegate(Delegate {
                    subject_token,
                    child,
                    key: self.key()?,
                    entries,
                    scope,
                    details,
                }))
            }
            None if details != RequestDetails::default() => {
                Err(FormError::Unexpected("request_details"))
            }
            None => Ok(Step::Renew {
                subject_token,
                entries,
                scope,
            }),
        }
    }

    fn access(&mut self) -> Result<Step, FormError> {
        let subject_token = self.need("subject_token")?;
        let resource = self.need("resource")?;
        let scope = self.scope();
        Ok(Step::Access {
            subject_token,
            resource,
            scope,
            entries: self.entries()?,
        })
    }

    /// `requested_cnf`: the `cnf` (RFC 7800 §3.1) that a child must prove, `{"jkt": …}`.
    fn key(&mut self) -> Result<Option<Thumbprint>, FormError> {
        let malformed = |why| FormError::Malformed {
            parameter: "requested_cnf",
            why,
        };
        let Some(text) = self.take("requested_cnf") else {
            return Ok(None);
        };
        let named: Confirmation = strict(&text).map_err(malformed)?;
        let no_key = || malformed("it names a key by its thumbprint: `{\"jkt\": …}`".to_owned());
        named.jkt().map(Some).ok_or_else(no_key)
    }

    /// The audience of a task token is the trust domain (A10), by its name or by its SPIFFE ID.
    fn check_audience(&mut self, domain: &TrustDomain) -> Result<(), FormError> {
        let audience = self.need("audience")?;
        if audience == domain.as_str() || audience == domain.id() {
            Ok(())
        } else {
            Err(FormError::Audience(domain.id()))
        }
    }

    fn scope(&mut self) -> Option<Vec<String>> {
        let words = |scope: String| scope.split(' ').map(str::to_owned).collect();
        self.take("scope").map(words)
    }

    fn only_task(&mut self, details: &RequestDetails) -> Result<(), FormError> {
        let alone = RequestDetails {
            task: details.task,
            ..RequestDetails::default()
        };
        if *details == alone {
            Ok(())
        } else {
            Err(FormError::Unexpected("request_details"))
        }
    }

    fn details(&mut self) -> Result<RequestDetails, FormError> {
        let Some(text) = self.take("request_details") else {
            return Ok(RequestDetails::default());
        };
        strict(&text).map_err(|why| FormError::Malformed {
            parameter: "request_details",
            why,
        })
    }

    fn entries(&mut self) -> Result<Option<Entries>, FormError> {
        let Some(text) = self.take("authorization_details") else {
            return Ok(None);
        };
        let raw: Vec<RawEntry> = strict(&text).map_err(FormError::DetailsJson)?;
        parse_entries(raw).map(Some).map_err(FormError::Details)
    }

    /// Extensions that we do not know are ignored (RFC 6749 §3.2), but not our own parameters in
    /// the wrong place: who sends them means something by it.
    pub(super) fn end(self) -> Result<(), FormError> {
        let misplaced = OURS
            .iter()
            .find(|ours| self.0.iter().any(|(name, _)| name == *ours));
        match misplaced {
            Some(name) => Err(FormError::Unexpected(name)),
            None => Ok(()),
        }
    }
}

/// JSON of the caller's own: what is wrong with it may be said in full.
fn strict<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    mandate_token::check_json(text.as_bytes()).map_err(|why| why.to_string())?;
    serde_json::from_str(text).map_err(|why| why.to_string())
}

const MAX_PARAMETERS: usize = 24;
const MAX_VALUE: usize = 32 * 1024;
pub(super) const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const SPIFFE_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
pub(super) const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
pub(super) const TXN: &str = "urn:ietf:params:oauth:token-type:txn_token";
pub(super) const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";
const PROCESS: &str = "urn:mandate:token-type:process";
const AWS: &str = "urn:mandate:token-type:aws-request";
const OURS: [&str; 10] = [
    // A gateway's, at the gateways' own door.
    "actor_dpop",
    "actor_htm",
    "actor_htu",
    "authorization_details",
    "request_details",
    "requested_actor",
    "requested_cnf",
    "resource",
    "audience",
    "scope",
];

#[cfg(test)]
mod tests;
