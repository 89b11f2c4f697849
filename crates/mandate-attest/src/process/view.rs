//! Process rules, apart from the bundle that they come from: only loading a bundle makes those.

use mandate_model::{AgentTypeName, ProviderName};
use mandate_policy::decl::{ProcessRule, UserRule};

/// A rule by which a process is recognised; see `mandate_policy::ProcessRule`.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) agent: AgentTypeName,
    pub(crate) provider: ProviderName,
    pub(crate) user: Option<UserRule>,
    pub(crate) unit: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) sha256: Option<String>,
    pub(crate) weak: bool,
}

impl From<&ProcessRule> for Rule {
    fn from(rule: &ProcessRule) -> Self {
        Self {
            agent: rule.agent.clone(),
            provider: rule.provider.clone(),
            user: rule.user.clone(),
            unit: rule.unit.clone(),
            path: rule.path.clone(),
            sha256: rule.sha256.clone(),
            weak: rule.weak,
        }
    }
}
