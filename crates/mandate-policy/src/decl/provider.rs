//! Trust providers: sources of evidence, each pinned by issuer and audience (FAILURES 14).

use std::collections::BTreeSet;
use std::time::Duration;

use mandate_model::{AttestationKind, ProviderName, ProviderPin};

use super::claim::{ClaimPath, ClaimTest};

/// A source of evidence that the bundle trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrustProvider {
    /// Its name.
    pub name: ProviderName,
    /// What it is.
    pub kind: ProviderKind,
}

impl TrustProvider {
    /// What its tokens for workloads must be, if it issues any.
    pub fn tokens(&self) -> Option<&TokenProvider> {
        match &self.kind {
            ProviderKind::Oidc(oidc) => Some(&oidc.tokens),
            ProviderKind::Token(tokens) => Some(tokens),
            ProviderKind::Process | ProviderKind::Aws(_) => None,
        }
    }

    /// What it is as a provider for people, if it can be one.
    pub fn oidc(&self) -> Option<&OidcProvider> {
        match &self.kind {
            ProviderKind::Oidc(oidc) => Some(oidc),
            ProviderKind::Process | ProviderKind::Token(_) | ProviderKind::Aws(_) => None,
        }
    }
}

impl OidcProvider {
    /// Whose word it is.
    pub fn pin(&self) -> ProviderPin {
        ProviderPin {
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            jwks_uri: self.jwks_uri.clone(),
            token_type: self.tokens.typ.clone(),
        }
    }
}

/// The kinds of trust provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderKind {
    /// The kernel of the machine that the authority runs on. The one named `process` exists
    /// without a declaration.
    Process,
    /// An OpenID provider, for people or for workloads.
    Oidc(Box<OidcProvider>),
    /// A platform that gives its workloads tokens.
    Token(Box<TokenProvider>),
    /// AWS, which names the role that signed a request.
    Aws(AwsProvider),
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
    /// Whether an operator's ID token may lack the nonce that binds it to this authority. Whoever
    /// else is shown such a token can show it here.
    pub dangerous_unbound_logins: bool,
    /// What its tokens for workloads must be.
    pub tokens: TokenProvider,
}

/// What a platform's tokens for workloads must be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenProvider {
    /// The platform.
    pub kind: AttestationKind,
    /// Who issues them and where the keys are.
    pub issuer: TokenIssuer,
    /// The one value of `aud`.
    pub audience: String,
    /// `typ`, where it is another one than `JWT` or none.
    pub typ: Option<String>,
    /// The longest life that a token may have been given.
    pub max_lifetime: Duration,
    /// The greatest age that it may have.
    pub max_age: Duration,
    /// The claims that name the instance; the first that is there does.
    pub instance: Vec<ClaimPath>,
    /// What every token must have, whatever a rule says.
    pub required: Vec<ClaimTest>,
    /// The API server that reviews each token; without one its signature alone is checked
    /// (FAILURES 26). For Kubernetes alone.
    pub api_server: Option<String>,
}

/// Who issues tokens, and where the keys are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenIssuer {
    /// An issuer with a discovery document.
    Issuer {
        /// `iss`, compared byte for byte.
        issuer: String,
        /// Where its keys are, if not where its discovery document says.
        jwks_uri: Option<String>,
    },
    /// A SPIFFE trust domain.
    TrustDomain {
        /// Its name, without the scheme.
        name: String,
        /// Where its bundle is.
        bundle: SpiffeBundlePlace,
    },
}

/// Where the bundle of a SPIFFE trust domain is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SpiffeBundlePlace {
    /// At an endpoint of profile `https_web` (SPIFFE Federation §5.2.1).
    Web(String),
    /// In a file of the authority's machine, by its absolute path.
    File(String),
}

/// AWS as a source of evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AwsProvider {
    /// The accounts whose roles may be agents.
    pub accounts: BTreeSet<String>,
    /// The regions whose STS may be asked.
    pub regions: BTreeSet<String>,
}
