//! What a bundle declares, checked. Only [`load`](crate::load) makes these.

mod access;
mod agent;
mod credential;
mod operator;
mod route;
mod server;
mod task;

pub use access::{AccessPolicy, Guardrail};
pub use agent::{AgentType, BreakGlass, Pin, ProcessRule, SpawnScope, UserRule};
pub use credential::{Credential, SecretTemplate};
pub use operator::{OidcRule, Operator, PERSONAL_CLAIMS, Right};
pub(crate) use route::Matcher;
pub use route::{Matched, Route, Segment};
pub use server::{
    Action, Attribute, AttributeSource, Durability, HttpSettings, LeaseLoss, LogStyle,
    ServerWorkload, Upstream,
};
pub use task::{OccurrenceRule, PersonRule, TaskPolicy, TriggerRule};

use mandate_model::ProviderName;

/// A source of evidence that the bundle trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrustProvider {
    /// Its name.
    pub name: ProviderName,
    /// What it is.
    pub kind: ProviderKind,
}

/// The kinds of trust provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderKind {
    /// The kernel of the machine that the authority runs on. The one named `process` exists
    /// without a declaration.
    Process,
    /// An OpenID provider for people.
    Oidc(OidcProvider),
}

/// An OpenID provider, pinned by issuer and audience (FAILURES 14).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OidcProvider {
    /// `iss`, compared byte for byte.
    pub issuer: String,
    /// The client id that `aud` or `azp` must be.
    pub audience: String,
    /// Where its keys are, if not where its discovery document says.
    pub jwks_uri: Option<String>,
}
