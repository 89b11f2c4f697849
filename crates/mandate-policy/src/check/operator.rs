//! Operators.

use mandate_model::OperatorName;

use super::agent::user;
use super::names::Names;
use super::read::{known, text};
use super::task::claims;
use crate::decl::{OidcRule, Operator, PERSONAL_CLAIMS, Right};
use crate::mistake::Mistakes;
use crate::source::Node;

pub(super) fn operator(
    name: &str,
    spec: &Node,
    names: &Names,
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
    let oidc = match spec.get("oidc") {
        Some(node) => Some(oidc(node, names, mistakes)?),
        None => None,
    };
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
fn oidc(node: &Node, names: &Names, mistakes: &mut Mistakes) -> Option<OidcRule> {
    let provider = known(
        node.get("provider")?,
        &names.providers,
        "trust provider",
        mistakes,
    );
    let claims = claims(node);
    let is_personal = |name: &str| claims.get(name).is_some_and(|value| !value.is_empty());
    if !PERSONAL_CLAIMS.iter().any(|name| is_personal(name)) {
        let message = "`oidc` pins no person: no claim of it is one person's alone";
        let mend = format!("add one of `{}`", PERSONAL_CLAIMS.join("`, `"));
        mistakes.error(node.at, message, mend);
        return None;
    }
    Some(OidcRule {
        provider: provider?,
        claims,
    })
}
