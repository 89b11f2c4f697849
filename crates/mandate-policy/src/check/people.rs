//! What ID tokens of people are for: to begin tasks, or to operate.

use std::collections::BTreeMap;

use mandate_model::OperatorName;

use super::names::Names;
use crate::bundle::Declared;
use crate::decl::{OidcProvider, OidcRule, Operator, PERSONAL_CLAIMS, TaskPolicy, TrustProvider};
use crate::mistake::Mistakes;

pub(super) fn check(declared: &Declared, names: &Names, mistakes: &mut Mistakes) {
    for operator in declared.operators.values() {
        one_use(operator, declared, names, mistakes);
    }
    one_person(declared, names, mistakes);
    for provider in declared.providers.values() {
        unbound_logins(provider, declared, names, mistakes);
    }
}

/// An agent that begins a task for a person is handed their ID token. Were it of the issuer and the
/// audience by which they operate, the agent could begin their operator's session with it. What a
/// token is for its audience says (A4), whatever name the provider goes by.
fn one_use(operator: &Operator, declared: &Declared, names: &Names, mistakes: &mut Mistakes) {
    let Some(rule) = &operator.oidc else { return };
    let is_same =
        |oidc: &OidcProvider| oidc.issuer == rule.pin.issuer && oidc.audience == rule.pin.audience;
    let begins = |policy: &&TaskPolicy| {
        let provider = policy.trigger.provider();
        let provider = provider.and_then(|name| declared.providers.get(name)?.oidc());
        provider.is_some_and(is_same)
    };
    if let Some(policy) = declared.task_policies.values().find(begins) {
        let name = operator.name.as_str();
        let message = format!(
            "operator `{name}` is known by ID tokens that task policy `{}` has handed to agents: one of them could operate as `{name}` (A4)",
            policy.name
        );
        let mend = "name a trust provider of the same issuer whose `audience` is a client of operators alone";
        let at = names.places.field("Operator", name, "oidc");
        mistakes.error(at, message, mend);
    }
}

/// A person is one operator, or nobody would be a second one. Whom an issuer calls by one name is one
/// person, through whichever of its clients, and so whichever trust provider, they come. At one trust
/// provider several declarations may fit a person: there all of them are looked at each time.
fn one_person(declared: &Declared, names: &Names, mistakes: &mut Mistakes) {
    let mut seen: BTreeMap<_, (&OidcRule, &OperatorName)> = BTreeMap::new();
    for operator in declared.operators.values() {
        let Some(rule) = &operator.oidc else { continue };
        let personal = PERSONAL_CLAIMS.iter().filter_map(|claim| {
            let value = rule.claims.get(*claim)?;
            seen.insert((&rule.pin.issuer, *claim, value), (rule, &operator.name))
        });
        let is_same = |other: &OidcRule| other.provider != rule.provider || other == rule;
        let others: Vec<_> = personal.collect();
        let other = others.into_iter().find(|(other, _)| is_same(other));
        same(
            operator,
            other.map(|(_, name)| name),
            "person",
            names,
            mistakes,
        );
    }
}

/// Notes that `operator` is declared as `other` too.
pub(super) fn same(
    operator: &Operator,
    other: Option<&OperatorName>,
    word: &str,
    names: &Names,
    mistakes: &mut Mistakes,
) {
    let Some(other) = other else { return };
    let at = names.places.name("Operator", operator.name.as_str());
    let message = format!("`{}` is the same {word} as `{other}`", operator.name);
    let mend = format!("put all rights of a {word} into one declaration");
    mistakes.error(at, message, mend);
}

/// Said aloud wherever operators come by it.
fn unbound_logins(
    provider: &TrustProvider,
    declared: &Declared,
    names: &Names,
    mistakes: &mut Mistakes,
) {
    let rules = || declared.operators.values().filter_map(|o| o.oidc.as_ref());
    let operates = || rules().any(|rule| rule.provider == provider.name);
    if provider
        .oidc()
        .is_some_and(|oidc| oidc.dangerous_unbound_logins)
        && operates()
    {
        let message = format!(
            "ID tokens of `{}` without a nonce begin operators' sessions: whoever else is shown one, such as another authority, can show it here",
            provider.name
        );
        let mend =
            "remove `nonce: optional`, unless operators can log in only where nonces are not known";
        let at = names
            .places
            .field("TrustProvider", provider.name.as_str(), "oidc");
        mistakes.warn(at, message, mend);
    }
}
