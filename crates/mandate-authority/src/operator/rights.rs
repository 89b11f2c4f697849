//! What a bundle does to the rights of operators, as pure functions.

use mandate_model::OperatorName;
use mandate_policy::decl::{Operator, Right};
use mandate_policy::{Bundle, OperatorIdentity};

/// Why an operator may not make a bundle live that it could otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Overreach {
    /// Nobody gives what is not theirs.
    #[error(
        "the bundle gives operator `{to}` the right `{right}`, which whoever applies it does not hold (or only under another `when`); let an operator apply it who does"
    )]
    Gives {
        /// Who would have it.
        to: OperatorName,
        /// The right.
        right: Right,
    },
    /// Of those who may apply bundles now, none could any more.
    #[error(
        "under the bundle nobody could apply bundles who can now; let the successor be able to beside you, and apply what takes it from you as the successor"
    )]
    NobodyApplies,
}

impl Overreach {
    /// Its name in records.
    pub(super) fn rule(&self) -> &'static str {
        match self {
            Overreach::Gives { .. } => "operator.gives",
            Overreach::NobodyApplies => "operator.nobody_applies",
        }
    }
}

/// Whether the operator `who` of `old` may make `new` live, as far as operators' rights go (C4).
///
/// A right is given where a declaration of `new` has it, and none of `old` for the same user has it
/// without a condition or under the same one.
pub(super) fn check(
    who: OperatorIdentity<'_>,
    old: &Bundle,
    new: &Bundle,
) -> Result<(), Overreach> {
    for declared in new.operators() {
        for right in &declared.rights {
            let has = |was: &Operator| covers(was, *right, declared.when.as_deref());
            // Each way in counts by itself: a right is given too where somebody gets another way to it.
            let by_user = declared.user.is_none()
                || old
                    .operators()
                    .any(|was| was.user == declared.user && has(was));
            let by_oidc = declared.oidc.is_none()
                || old
                    .operators()
                    .any(|was| was.oidc == declared.oidc && has(was));
            let held = old.operators().any(|was| was.is(who) && has(was));
            if !(held || by_user && by_oidc) {
                let (to, right) = (declared.name.clone(), *right);
                return Err(Overreach::Gives { to, right });
            }
        }
    }
    let applies = |o: &&Operator| o.rights.contains(&Right::Apply);
    let stays = |o: &Operator| {
        let mut before = old.operators().filter(applies);
        o.is(who) || before.any(|was| is_same(was, o))
    };
    if new.operators().filter(applies).any(stays) {
        Ok(())
    } else {
        Err(Overreach::NobodyApplies)
    }
}

/// Whether two declarations have a way in common.
fn is_same(one: &Operator, other: &Operator) -> bool {
    one.user.is_some() && one.user == other.user || one.oidc.is_some() && one.oidc == other.oidc
}

fn covers(was: &Operator, right: Right, when: Option<&str>) -> bool {
    was.rights.contains(&right) && (was.when.is_none() || was.when.as_deref() == when)
}

#[cfg(test)]
mod tests {
    use mandate_model::{Timestamp, TrustDomain};
    use mandate_policy::{LoadEnv, SourceFile};

    use super::*;

    const APPLIER: OperatorIdentity<'static> = OperatorIdentity::User { uid: 1, user: None };

    fn bundle(operators: &[(&str, &str)]) -> Bundle {
        let one = |(name, spec): &(&str, &str)| {
            format!(
                "apiVersion: mandate.dev/v1alpha1\nkind: Operator\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
            )
        };
        let login = "apiVersion: mandate.dev/v1alpha1\nkind: TrustProvider\nmetadata: {name: login}\nspec: {oidc: {issuer: \"https://login.example\", audience: ops}}\n---\n";
        let text = operators.iter().map(one).collect::<Vec<_>>().join("---\n");
        let file = SourceFile {
            name: "a.yaml".to_owned(),
            text: format!("{login}{text}"),
        };
        let env = LoadEnv {
            trust_domain: TrustDomain::parse("acme.example").unwrap(),
            issuer: "https://a.example".to_owned(),
        };
        mandate_policy::load(&[file], &env, Timestamp::from_secs(1_800_000_000))
            .unwrap()
            .bundle
    }

    #[test]
    fn nobody_gives_a_right_that_is_not_theirs() {
        let root = ("root", "uid: 2, rights: [suspend, resume, apply, keys]");
        let old = bundle(&[("me", "uid: 1, rights: [apply, audit]"), root]);
        for (mine, others, fits) in [
            ("uid: 1, rights: [apply, audit]", root, true),
            ("uid: 1, rights: [apply]", root, true),
            ("uid: 1, rights: [apply, audit, upstreams]", root, false),
            (
                "uid: 1, rights: [apply, audit]",
                ("root", "uid: 3, rights: [suspend, resume, apply]"),
                false,
            ),
            (
                "uid: 1, rights: [apply, audit]",
                ("root", "uid: 2, rights: [suspend, resume, apply, audit]"),
                true,
            ),
        ] {
            let new = bundle(&[("me", mine), others]);
            assert_eq!(
                check(APPLIER, &old, &new).is_ok(),
                fits,
                "{mine} {others:?}"
            );
        }
    }

    #[test]
    fn a_condition_is_loosened_only_by_whoever_holds_the_right_without_it() {
        let all = ("root", "uid: 2, rights: [suspend, resume, apply]");
        let tied = "uid: 1, rights: [apply, tasks], when: \"context.user == \\\"x\\\"\"";
        let old = bundle(&[("me", tied), all]);
        assert!(check(APPLIER, &old, &old).is_ok());
        let new = bundle(&[("me", "uid: 1, rights: [apply, tasks]"), all]);
        assert!(check(APPLIER, &old, &new).is_err());
        let free = bundle(&[("me", "uid: 1, rights: [apply, tasks]"), all]);
        assert!(check(APPLIER, &free, &old).is_ok(), "tightening is no gift");
    }

    #[test]
    fn another_way_in_is_given_by_whoever_holds_the_right() {
        let root = ("root", "uid: 2, rights: [suspend, resume, apply, keys]");
        let person = "oidc: {provider: login, claims: {sub: r}}";
        let rooted = format!("uid: 2, {person}, rights: [suspend, resume, apply, keys]");
        let old = bundle(&[("me", "uid: 1, rights: [apply]"), root]);
        let new = bundle(&[("me", "uid: 1, rights: [apply]"), ("root", &rooted)]);
        assert!(check(APPLIER, &old, &new).is_err());
        let root_itself = OperatorIdentity::User { uid: 2, user: None };
        assert_eq!(check(root_itself, &old, &new), Ok(()));
        assert_eq!(check(APPLIER, &new, &new), Ok(()));
        let claims = serde_json::from_value(serde_json::json!({"sub": "r"})).unwrap();
        let provider = mandate_model::ProviderName::parse("login").unwrap();
        let as_person = OperatorIdentity::Person {
            provider: &provider,
            claims: &claims,
        };
        assert_eq!(check(as_person, &new, &new), Ok(()));
    }

    #[test]
    fn somebody_who_applies_now_can_apply_afterwards() {
        let all = "rights: [suspend, resume, apply]";
        let of = |uids: &[u32]| {
            let specs: Vec<(String, String)> = uids
                .iter()
                .map(|uid| (format!("o{uid}"), format!("uid: {uid}, {all}")))
                .collect();
            let pairs: Vec<(&str, &str)> = specs
                .iter()
                .map(|(name, spec)| (name.as_str(), spec.as_str()))
                .collect();
            bundle(&pairs)
        };
        let gone = Err(Overreach::NobodyApplies);
        assert_eq!(check(APPLIER, &of(&[1]), &of(&[7])), gone);
        assert_eq!(check(APPLIER, &of(&[1]), &bundle(&[])), gone);
        assert_eq!(check(APPLIER, &of(&[1]), &of(&[1, 7])), Ok(()));
        assert_eq!(check(APPLIER, &of(&[1, 7]), &of(&[7])), Ok(()));
    }
}
