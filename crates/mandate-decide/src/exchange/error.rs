//! Why an exchange is refused: a variant per rule, and one place that says what the caller sees.

use mandate_model::mandate::{MalformedEntry, Widening};
use mandate_model::stop::Stopped;
use mandate_model::{SpiffeId, TaskId, Timestamp};
use mandate_token::Limit;

use super::via::ViaError;

/// A broken rule of the token endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// The form itself is wrong.
    #[error("{0}")]
    Form(FormError),
    /// The caller did not prove what it is.
    #[error("{0}")]
    Client(ClientError),
    /// The subject token is not acceptable.
    #[error("{0}")]
    Subject(SubjectError),
    /// The actor is not the one that may act.
    #[error("{0}")]
    Actor(ActorError),
    /// What is asked for goes beyond what may be granted.
    #[error("{0}")]
    Grant(GrantError),
    /// A gateway gets nothing for its agent.
    #[error("{0}")]
    Via(ViaError),
    /// Something on the way is stopped.
    #[error("{0}")]
    Stopped(#[from] Stopped),
}

/// What is wrong with the form (RFC 6749 §3.2, RFC 8693 §2.1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// A parameter came twice (RFC 6749 §3.2).
    #[error("parameter `{0}` is given more than once")]
    Repeated(String),
    /// A parameter is missing.
    #[error("parameter `{0}` is missing")]
    Missing(&'static str),
    /// A parameter has no place in this exchange.
    #[error("parameter `{0}` has no place in this exchange")]
    Unexpected(&'static str),
    /// Another grant than token exchange.
    #[error("`grant_type` must be `urn:ietf:params:oauth:grant-type:token-exchange`")]
    GrantType,
    /// A token type that this exchange does not take.
    #[error("`{parameter}` is not one that this exchange takes; {mend}")]
    TokenType {
        /// Which parameter.
        parameter: &'static str,
        /// What to send instead.
        mend: &'static str,
    },
    /// A value is malformed.
    #[error("`{parameter}` is malformed: {why}")]
    Malformed {
        /// Which parameter.
        parameter: &'static str,
        /// Why.
        why: String,
    },
    /// A task token is asked for another trust domain.
    #[error("`audience` of a task token is the trust domain, `{0}`")]
    Audience(String),
    /// A value is too long, or there are too many parameters.
    #[error("the request is too large: {0}")]
    TooLarge(&'static str),
    /// `authorization_details` are malformed (RFC 9396 §5).
    #[error("`authorization_details`: {0}")]
    Details(MalformedEntry),
    /// `authorization_details` are not the JSON of such entries.
    #[error("`authorization_details` are malformed: {0}")]
    DetailsJson(String),
}

/// Why the client is not authenticated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// There is no client assertion.
    #[error(
        "authenticate with `client_assertion` (a JWT-SVID) and `client_assertion_type` `urn:ietf:params:oauth:client-assertion-type:jwt-spiffe`"
    )]
    None,
    /// The assertion's audience is not the issuer (RFC 10070).
    #[error(
        "the client assertion's `aud` must be the issuer, `{issuer}`, and nothing else (RFC 10070)"
    )]
    Audience {
        /// The issuer.
        issuer: String,
    },
    /// The assertion does not verify.
    #[error("the client assertion is not valid: {0}")]
    Invalid(String),
    /// `client_id` is another client's.
    #[error(
        "`client_id` is not the SPIFFE ID of the client assertion (RFC 7521 §4.2); leave it out"
    )]
    OtherId,
    /// The bundle does not know the agent type any more.
    #[error("agent type `{0}` is not declared")]
    Undeclared(SpiffeId),
    /// The assertion is bound to a key, and nothing proves that the caller has it.
    #[error(
        "the client assertion is bound to a key: send a proof of it in the `DPoP` field (RFC 9449 §5)"
    )]
    NoProof,
    /// The proof is by another key.
    #[error("the proof is by another key than the one that the client assertion is bound to")]
    OtherKey,
    /// There is a proof, and the assertion is bound to no key.
    #[error(
        "the client assertion is bound to no key: bring the proof when attesting, and the JWT-SVID is bound to its key"
    )]
    Unbound,
    /// The instance has a key, and attests without one.
    #[error(
        "this instance has attested with a key: attest with a proof of it, or of a new one, which voids what the former one got"
    )]
    KeyHeld,
    /// The agent type needs a key.
    #[error(
        "agent type `{agent}` says `proof: required`: attest with a proof in the `DPoP` field (RFC 9449)"
    )]
    ProofRequired {
        /// The agent type.
        agent: String,
    },
}

/// Why a subject token is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// It does not verify.
    #[error("the subject token is not valid: {0}")]
    Invalid(String),
    /// It is the client's own SVID that is asked for here.
    #[error("the subject token must be the client's own JWT-SVID, byte for byte")]
    NotOwnSvid,
    /// The authority does not know the task.
    #[error("task {0} is not known here")]
    UnknownTask(TaskId),
    /// The token and the authority's task tree disagree: chains were spliced, or a store was.
    #[error("the subject token and the authority's task tree disagree")]
    TreeDisagrees,
    /// The task does not accept requests any more.
    #[error("task {0} is over")]
    TaskOver(TaskId),
    /// The mandate is not in force yet.
    #[error("the task's mandate begins at {0}")]
    NotYet(Timestamp),
    /// A person's token is too old to begin a task with (A2).
    #[error("the ID token was issued more than {0} seconds ago; sign in again")]
    Stale(u64),
}

/// Why the actor is not the one that may act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActorError {
    /// The task is for another agent type (`may_act`, RFC 8693 §4.4).
    #[error("`may_act` of the task token names another agent than the client")]
    MayAct,
    /// The task is pinned to another instance.
    #[error("the task is pinned to another instance of this agent type")]
    Pinned,
    /// The delegator named a key, and it is another one.
    #[error(
        "the task is for the holder of another key: its delegator named one in `requested_cnf`"
    )]
    PinnedKey,
    /// The token is bound to a key, and the client has proved another one or none.
    #[error("the token is bound to another key than the client has proved")]
    OtherHolder,
    /// `actor_token` is not the client assertion.
    #[error("`actor_token`, if given, equals `client_assertion` byte for byte")]
    NotClient,
    /// Only the delegator may do this.
    #[error("only the agent that delegated or opened the task may resume it")]
    NotDelegator,
    /// An operator opened the task, and no instance has taken the opener's place.
    #[error(
        "an operator opened the task and nobody has used it yet: show the token that the operator handed out"
    )]
    Unused,
    /// A hosted agent cannot host.
    #[error("a hosted agent cannot vouch for another one")]
    Nested,
}

/// Why what is asked for is not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// More than the parent's mandate.
    #[error("{0}")]
    Widening(#[from] Widening),
    /// No task policy lets this agent open this.
    #[error("{0}")]
    Open(String),
    /// The operator who opened the task may not open tasks any more.
    #[error("operator `{0}`, who opened the task, has no right `tasks` any more")]
    Operator(String),
    /// The mandate names what the bundle does not declare.
    #[error("{0}")]
    Undeclared(String),
    /// The parent's agent type may not spawn this (A6).
    #[error("{0}")]
    Spawn(String),
    /// The child's agent type could never exercise this (A6).
    #[error("agent type `{agent}` has no access policy for `{word}`, so it could never use it")]
    NeverExercised {
        /// The child's agent type.
        agent: String,
        /// `server:action`.
        word: String,
    },
    /// The tree is as deep as it may be.
    #[error("the task tree is at its greatest depth, {0}")]
    Depth(u8),
    /// The resource is no server workload.
    #[error("`resource` is not the resource indicator of a declared server workload")]
    NoSuchResource,
    /// The task's mandate has nothing for this server.
    #[error("the task's mandate has no entry for this server workload")]
    NothingForServer,
    /// No access policy permits the agent anything of it: the default.
    #[error("no access policy lets agent type `{agent}` use `{server}`")]
    DefaultDeny {
        /// The acting agent type.
        agent: String,
        /// The server workload.
        server: String,
    },
    /// The server workload needs a token that is bound to a key.
    #[error(
        "server workload `{server}` says `proof: required`: attest with a key, and its access tokens are bound to it (RFC 9449)"
    )]
    ProofRequired {
        /// The server workload.
        server: String,
    },
    /// The audience is not one that this agent type may ask for.
    #[error("`audience` is not one that this agent type may have a JWT-SVID for")]
    Audience,
    /// The type does not let this host vouch for it.
    #[error("{0}")]
    Host(String),
    /// `scope` and `authorization_details` say different things (A10).
    #[error("`scope` and `authorization_details` disagree")]
    ScopeMismatch,
    /// Nothing would be granted.
    #[error("the mandate that was asked for is empty")]
    Empty,
    /// It would be over before it begins.
    #[error(
        "the task would be over before it begins: `expires_in` is at least 1 second, and `not_before` lies before its end"
    )]
    NoLife,
    /// The token would pass a limit (FAILURES 10).
    #[error("no token can carry this: {0}; ask for fewer entries or values")]
    TooLarge(Limit),
}

/// How the token endpoint says it (RFC 6749 §5.2, RFC 8693 §2.2.2, RFC 9396 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OauthError {
    /// The `error` code.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
}

impl ExchangeError {
    /// The rule's name in records and metrics.
    pub fn rule(&self) -> &'static str {
        match self {
            ExchangeError::Form(_) => "exchange.form",
            ExchangeError::Client(e) => match e {
                ClientError::None => "client.none",
                ClientError::Audience { .. } => "client.audience",
                ClientError::Invalid(_) => "client.invalid",
                ClientError::OtherId => "client.other_id",
                ClientError::Undeclared(_) => "client.undeclared",
                ClientError::NoProof => "proof.missing",
                ClientError::OtherKey => "proof.other_key",
                ClientError::Unbound => "proof.unbound",
                ClientError::KeyHeld => "proof.key_held",
                ClientError::ProofRequired { .. } => "proof.required",
            },
            ExchangeError::Subject(e) => match e {
                SubjectError::Invalid(_) => "subject.invalid",
                SubjectError::NotOwnSvid => "subject.not_own_svid",
                SubjectError::UnknownTask(_) => "subject.unknown_task",
                SubjectError::TreeDisagrees => "subject.tree_disagrees",
                SubjectError::TaskOver(_) => "subject.task_over",
                SubjectError::NotYet(_) => "subject.not_yet",
                SubjectError::Stale(_) => "subject.stale",
            },
            ExchangeError::Actor(e) => match e {
                ActorError::MayAct => "actor.may_act",
                ActorError::Pinned => "actor.pinned",
                ActorError::PinnedKey => "actor.pinned_key",
                ActorError::OtherHolder => "actor.other_holder",
                ActorError::NotClient => "actor.not_client",
                ActorError::NotDelegator => "actor.not_delegator",
                ActorError::Unused => "actor.unused",
                ActorError::Nested => "actor.nested",
            },
            ExchangeError::Grant(e) => e.rule(),
            ExchangeError::Via(e) => e.rule(),
            ExchangeError::Stopped(_) => "stopped",
        }
    }

    /// What the caller sees.
    pub fn oauth(&self) -> OauthError {
        let (code, status) = match self {
            ExchangeError::Form(FormError::GrantType) => ("unsupported_grant_type", 400),
            ExchangeError::Form(FormError::Audience(_)) => ("invalid_target", 400),
            ExchangeError::Form(FormError::Details(_) | FormError::DetailsJson(_)) => {
                ("invalid_authorization_details", 400)
            }
            ExchangeError::Form(
                FormError::Repeated(_)
                | FormError::Missing(_)
                | FormError::Unexpected(_)
                | FormError::TokenType { .. }
                | FormError::Malformed { .. }
                | FormError::TooLarge(_),
            )
            | ExchangeError::Subject(_)
            | ExchangeError::Actor(_) => ("invalid_request", 400),
            ExchangeError::Client(
                ClientError::NoProof
                | ClientError::OtherKey
                | ClientError::Unbound
                | ClientError::KeyHeld
                | ClientError::ProofRequired { .. },
            ) => ("invalid_dpop_proof", 400),
            ExchangeError::Client(
                ClientError::None
                | ClientError::Audience { .. }
                | ClientError::Invalid(_)
                | ClientError::OtherId
                | ClientError::Undeclared(_),
            ) => ("invalid_client", 401),
            ExchangeError::Grant(e) => (e.code(), 400),
            ExchangeError::Via(e) => (e.code(), 400),
            ExchangeError::Stopped(_) => ("access_denied", 403),
        };
        OauthError { code, status }
    }
}

impl GrantError {
    fn rule(&self) -> &'static str {
        match self {
            GrantError::Widening(_) => "mandate.widening",
            GrantError::Open(_) => "task_policy",
            GrantError::Operator(_) => "task.operator",
            GrantError::Undeclared(_) => "mandate.undeclared",
            GrantError::Spawn(_) => "may_spawn",
            GrantError::NeverExercised { .. } => "mandate.never_exercised",
            GrantError::Depth(_) => "mandate.depth",
            GrantError::NoSuchResource => "resource.unknown",
            GrantError::NothingForServer => "mandate.no_entry",
            GrantError::DefaultDeny { .. } => "policy.default_deny",
            GrantError::ProofRequired { .. } => "proof.required",
            GrantError::Audience => "svid.audience",
            GrantError::Host(_) => "hosted_by",
            GrantError::ScopeMismatch => "scope.mismatch",
            GrantError::Empty => "mandate.empty",
            GrantError::NoLife => "mandate.no_life",
            GrantError::TooLarge(_) => "mandate.too_large",
        }
    }

    fn code(&self) -> &'static str {
        match self {
            GrantError::Widening(_)
            | GrantError::Undeclared(_)
            | GrantError::Spawn(_)
            | GrantError::NeverExercised { .. }
            | GrantError::TooLarge(_)
            | GrantError::Empty => "invalid_authorization_details",
            GrantError::NoLife
            | GrantError::Open(_)
            | GrantError::Operator(_)
            | GrantError::Depth(_)
            | GrantError::Host(_) => "invalid_request",
            GrantError::NoSuchResource
            | GrantError::NothingForServer
            | GrantError::DefaultDeny { .. }
            | GrantError::Audience => "invalid_target",
            GrantError::ScopeMismatch => "invalid_scope",
            GrantError::ProofRequired { .. } => "invalid_dpop_proof",
        }
    }
}
