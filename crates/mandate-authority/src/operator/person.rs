//! What a session keeps of a person's claims: what declarations look at, and no more.

use mandate_model::ProviderName;
use mandate_policy::Bundle;
use mandate_policy::decl::OidcRule;
use serde_json::{Map, Value};

/// The claims of `all` that an `Operator` of `bundle` at `provider` looks at, and `sub`. Of a list,
/// such as groups, what some declaration asks for: the rest is nobody's business here, and a person
/// can be in more groups than a token can carry.
pub(super) fn kept(
    bundle: &Bundle,
    provider: &ProviderName,
    subject: &str,
    all: &Map<String, Value>,
) -> Map<String, Value> {
    let mut kept = Map::new();
    for rule in rules(bundle, provider) {
        for name in rule.looks_at() {
            let Some(value) = all.get(name) else { continue };
            let asked = |item: &Value| asks(bundle, provider, name, item);
            let value = match value {
                Value::Array(items) => items.iter().filter(|item| asked(item)).cloned().collect(),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Object(_) => value.clone(),
            };
            kept.insert(name.to_owned(), value);
        }
    }
    kept.insert("sub".to_owned(), subject.into());
    kept
}

/// What operators are declared at `provider`.
pub(super) fn rules<'a>(
    bundle: &'a Bundle,
    provider: &'a ProviderName,
) -> impl Iterator<Item = &'a OidcRule> {
    let oidc = bundle.operators().filter_map(|o| o.oidc.as_ref());
    oidc.filter(move |rule| rule.provider == *provider)
}

fn asks(bundle: &Bundle, provider: &ProviderName, claim: &str, item: &Value) -> bool {
    let text = item.as_str();
    let mut wanted = rules(bundle, provider).filter_map(|rule| rule.claims.get(claim));
    wanted.any(|wanted| text == Some(wanted))
}
