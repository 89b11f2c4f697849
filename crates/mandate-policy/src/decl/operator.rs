//! Operators: the people who may tell the authority what to do, how each is recognised, and what
//! they may do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use mandate_model::{OperatorName, ProviderName, ProviderPin};

use super::UserRule;
use crate::OperatorIdentity;
use crate::open::has_claims;

/// An operator of this authority: one person, however they come.
///
/// A declaration is a person. Whoever is recognised by it through the machine's door and through an
/// OpenID provider is the same one where a second operator is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Operator {
    /// Its name: whom records name.
    pub name: OperatorName,
    /// The user of the authority's machine, if they come over its door. At least one of this and
    /// `oidc` is there.
    pub user: Option<UserRule>,
    /// The person at an OpenID provider, if they come over the network.
    pub oidc: Option<OidcRule>,
    /// What it may do.
    pub rights: BTreeSet<Right>,
    /// A further Cedar condition, which sees `context.target`, `context.user` and more.
    pub when: Option<String>,
}

/// A person at an OpenID provider. Issuer and audience are the provider's; one claim at least says
/// who it is and not only what they belong to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct OidcRule {
    /// The provider that vouches.
    pub provider: ProviderName,
    /// Whose word that is: of two rules that name a provider alike, one can mean somebody else.
    pub pin: ProviderPin,
    /// Claims that the ID token must have: the claim is this text, or a list that holds it.
    pub claims: BTreeMap<String, String>,
}

/// Claims of an ID token that are one person's. OpenID Connect Core §5.7 knows `sub` alone; `oid` is
/// the same for one provider, and `email` is one only beside `email_verified`.
pub const PERSONAL_CLAIMS: [&str; 3] = ["sub", "oid", "email"];

impl Operator {
    /// Whether this is `who`.
    pub fn is(&self, who: OperatorIdentity<'_>) -> bool {
        match who {
            OperatorIdentity::User { uid, user: name } => match &self.user {
                Some(UserRule::Uid(declared)) => *declared == uid,
                Some(UserRule::Name(declared)) => name == Some(declared),
                None => false,
            },
            OperatorIdentity::Person {
                provider,
                pin,
                claims,
            } => self.oidc.as_ref().is_some_and(|rule| {
                rule.provider == *provider && rule.pin == *pin && rule.fits(claims)
            }),
        }
    }
}

impl Operator {
    /// Whether it has `right` whatever else is: as a user of the server's machine, for whom no provider
    /// has to vouch, and under no condition.
    pub fn has_at_the_door(&self, right: Right) -> bool {
        self.user.is_some() && self.when.is_none() && self.rights.contains(&right)
    }
}

impl OidcRule {
    /// Whether verified claims are of this person. An address that the provider has not verified
    /// anybody may have entered.
    fn fits(&self, claims: &serde_json::Map<String, serde_json::Value>) -> bool {
        let verified = || claims.get("email_verified").and_then(|v| v.as_bool()) == Some(true);
        has_claims(claims, &self.claims) && (!self.claims.contains_key("email") || verified())
    }

    /// The claims that [`Operator::is`] looks at.
    pub fn looks_at(&self) -> impl Iterator<Item = &str> {
        let email = self.claims.contains_key("email");
        let names = self.claims.keys().map(String::as_str);
        names.chain(email.then_some("email_verified"))
    }
}

/// Something that an operator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// Suspend any subject, and drill it.
    Suspend,
    /// Lift a suspension.
    Resume,
    /// Apply a bundle, or go back to an earlier one.
    Apply,
    /// Apply a bundle that changes an upstream or a credential (C4); needed beside `apply`.
    Upstreams,
    /// Open tasks as their trigger, close and cancel tasks.
    Tasks,
    /// Revoke tokens.
    Tokens,
    /// Read the audit log.
    Audit,
    /// Rotate and revoke signing keys.
    Keys,
    /// Accept a store's new epoch at a gateway, and assign gateways.
    Gateways,
    /// See status, the live bundle and the task tree.
    Inspect,
}

impl Right {
    /// Every right.
    pub const ALL: [Right; 10] = [
        Right::Suspend,
        Right::Resume,
        Right::Apply,
        Right::Upstreams,
        Right::Tasks,
        Right::Tokens,
        Right::Audit,
        Right::Keys,
        Right::Gateways,
        Right::Inspect,
    ];

    /// Its name in bundles.
    pub fn as_str(self) -> &'static str {
        match self {
            Right::Suspend => "suspend",
            Right::Resume => "resume",
            Right::Apply => "apply",
            Right::Upstreams => "upstreams",
            Right::Tasks => "tasks",
            Right::Tokens => "tokens",
            Right::Audit => "audit",
            Right::Keys => "keys",
            Right::Gateways => "gateways",
            Right::Inspect => "inspect",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|right| right.as_str() == text)
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
