//! Operators.

use std::collections::BTreeMap;

use mandate_model::{OperatorName, ProviderName};

use super::agent::user;
use super::names::Names;
use super::providers::vouches_for;
use super::read::{known, text};
use super::task::claims;
use crate::decl::{OidcRule, Operator, PERSONAL_CLAIMS, Right, TrustProvider};
use crate::mistake::Mistakes;
use crate::source::Node;

pub(super) fn operator(
    name: &str,
    spec: &Node,
    names: &Names,
    providers: &BTreeMap<ProviderName, TrustProvider>,
    mistakes: &mut Mistakes,
) -> Option<Operator> {
    let has = |field| spec.get(field).is_some();
    let by_user = has("uid") || has("unixUser");
    if !by_user && !has("oidc") {
        mistakes.error(
            spec.at,
            "the operator names nobody",
            "add `unixUser` or `uid`, or `oidc: {provider: …, claims: {sub: …}}`",
        );
        return None;
    }
    let user = if by_user {
        Some(user(spec, "unixUser", mistakes)?)
    } else {
        None
    };
    // An operator whose `oidc` has a mistake stays one: what is missing is not reported as if nobody
    // had their rights.
    let oidc = spec
        .get("oidc")
        .and_then(|node| oidc(node, names, providers, mistakes));
    let rights = spec.get("rights").map_or(&[] as &[Node], Node::items);
    Some(Operator {
        name: OperatorName::parse(name).ok()?,
        user,
        oidc,
        rights: rights
            .iter()
            .filter_map(|n| Right::parse(n.text()?))
            .collect(),
        when: text(spec, "when"),
    })
}

/// Groups and roles are many people's: two of one group would be one operator, and a second operator
/// nobody at all (FAILURES 14).
fn oidc(
    node: &Node,
    names: &Names,
    providers: &BTreeMap<ProviderName, TrustProvider>,
    mistakes: &mut Mistakes,
) -> Option<OidcRule> {
    let said = node.get("provider")?;
    let name = known(said, &names.providers, "trust provider", mistakes);
    let declared = name.as_ref().and_then(|name| providers.get(name));
    if let Some(provider) = declared.filter(|provider| provider.oidc().is_none()) {
        let (name, is) = (&provider.name, vouches_for(provider));
        let message = format!("`{name}` vouches for {is}, not for people");
        mistakes.error(said.at, message, "name a provider of kind `oidc`");
    }
    let claims = claims(node);
    let is_personal = |name: &str| claims.get(name).is_some_and(|value| !value.is_empty());
    if !PERSONAL_CLAIMS.iter().any(|name| is_personal(name)) {
        let message = "`oidc` pins no person: no claim of it is one person's alone";
        let mend = format!("add one of `{}`", PERSONAL_CLAIMS.join("`, `"));
        mistakes.error(node.at, message, mend);
        return None;
    }
    Some(OidcRule {
        provider: name?,
        pin: declared?.oidc()?.pin(),
        claims,
    })
}
