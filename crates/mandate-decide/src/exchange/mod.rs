//! The token endpoint as a chain of steps.
//!
//! The shell parses a form, authenticates the client, loads what the step names, asks for the
//! grant, seals it with a signature, commits the grant's effects and records in one unit, and only
//! then replies. If the world has moved in between, it begins again from `authenticate` (B4).

mod access;
mod attest;
mod client;
mod delegate;
mod error;
mod grant;
mod open;
mod operator;
mod parse;
mod renew;
mod subject;

use mandate_model::stop::StopSet;
use mandate_model::{BundleVersion, TaskId, Timestamp, TokenId, TrustDomain};
use mandate_policy::Bundle;
use mandate_token::{Issuer, KeySet, Signatures};

pub use access::access;
pub use attest::{Evident, Keyed, attest, attest_hosted};
pub use client::{AuthenticatedClient, IdentifiedClient, LeavingClient, authenticate, identify};
pub use delegate::delegate;
pub use error::{
    ActorError, ClientError, ExchangeError, FormError, GrantError, OauthError, SubjectError,
};
pub use grant::{Effect, Grant, Parts, SealError, Sealed, Vouched};
pub use open::{Person, open, user_providers};
pub use operator::{OperatorOpen, open_by_operator};
pub use parse::{
    ClaimedTrigger, Delegate, Open, OpenSubject, ParsedExchange, RequestDetails, Resume, Shown,
    Step, parse,
};
pub use renew::{renew, resume_by_opener, resume_by_parent};
pub use subject::{KnownTask, TaskSubject, VerifiedSubject, verify_task_token};

use crate::Lifetimes;

/// What an exchange is decided against: one moment and one version of everything.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// The moment.
    pub now: Timestamp,
    /// The authority.
    pub issuer: &'a Issuer,
    /// Its trust domain.
    pub trust_domain: &'a TrustDomain,
    /// The live bundle.
    pub bundle: &'a Bundle,
    /// Its version.
    pub bundle_version: BundleVersion,
    /// The stops.
    pub stops: &'a StopSet,
    /// The keys that tokens are verified with.
    pub keys: &'a KeySet,
    /// Who verifies signatures with them.
    pub signatures: &'a dyn Signatures,
    /// How long things live.
    pub lifetimes: &'a Lifetimes,
}

/// Identifiers drawn for one exchange. Each is used at most once.
#[derive(Debug, Clone, Copy)]
pub struct Fresh {
    /// For the task that it may begin.
    pub task: TaskId,
    /// For the token that it may issue.
    pub token: TokenId,
}
