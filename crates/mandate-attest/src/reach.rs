//! Whether the keys of declared providers can be had: what `mandate doctor` asks.

use mandate_model::ProviderName;
use mandate_policy::Bundle;

use crate::IssuerKeys;
use crate::token::source_of;

/// What was found out about one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// The provider.
    pub provider: ProviderName,
    /// Where its keys were looked for.
    pub place: String,
    /// How many usable keys there are, or why that cannot be known.
    pub keys: Result<usize, String>,
}

/// Looks at every provider of `bundle` whose tokens are verified by keys. One whose tokens an API
/// server reviews has none.
pub async fn reach(keys: &IssuerKeys, bundle: &Bundle) -> Vec<Reach> {
    let mut found = Vec::new();
    for provider in bundle.providers() {
        let Some(tokens) = provider.tokens().filter(|t| t.api_server.is_none()) else {
            continue;
        };
        let source = source_of(tokens);
        found.push(Reach {
            provider: provider.name.clone(),
            place: source.to_string(),
            keys: keys.look(&source).await,
        });
    }
    found
}
