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
    /// Of those who could lift suspensions under the bundle, all are suspended.
    #[error(
        "under the bundle nobody could resume: every operator by `uid` or `unixUser` who has the right `resume` without `when` is suspended; resume one, or give the right to another one"
    )]
    NobodyResumes,
}

impl Overreach {
    /// Its name in records.
    pub(super) fn rule(&self) -> &'static str {
        match self {
            Overreach::Gives { .. } => "operator.gives",
            Overreach::NobodyApplies => "operator.nobody_applies",
            Overreach::NobodyResumes => "operator.nobody_resumes",
        }
    }
}

/// Whether the operator `who` of `old` may make `new` live, as far as operators' rights go (C4).
///
/// A right is given where a declaration of `new` has it, and none of `old` for the same user or person
/// has it without a condition or under the same one. A person is the same where the trust provider is
/// the same one by all that it is pinned by: whoever could give its name to another issuer or other
/// keys could be everybody whom it vouches for (FAILURES 8).
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
                || !loosens_logins(declared, old, new)
                    && old
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

/// Whether somebody's ID token would be good here whoever it was shown to, and is not yet.
fn loosens_logins(declared: &Operator, old: &Bundle, new: &Bundle) -> bool {
    let unbound = |bundle: &Bundle| {
        let rule = declared.oidc.as_ref();
        let provider = rule.and_then(|rule| bundle.provider(&rule.provider)?.oidc());
        provider.is_some_and(|oidc| oidc.dangerous_unbound_logins)
    };
    unbound(new) && !unbound(old)
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
        bundle_at(
            "issuer: \"https://login.example\", audience: ops",
            operators,
        )
    }

    fn bundle_at(login: &str, operators: &[(&str, &str)]) -> Bundle {
        let one = |(name, spec): &(&str, &str)| {
            format!(
                "apiVersion: mandate.dev/v1alpha1\nkind: Operator\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
            )
        };
        let login = format!(
            "apiVersion: mandate.dev/v1alpha1\nkind: TrustProvider\nmetadata: {{name: login}}\nspec: {{oidc: {{{login}}}}}\n---\n"
        );
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
        let pin = pin_of(&new);
        let as_person = OperatorIdentity::Person {
            provider: &provider,
            pin: &pin,
            claims: &claims,
        };
        assert_eq!(check(as_person, &new, &new), Ok(()));
    }

    fn pin_of(bundle: &Bundle) -> mandate_model::ProviderPin {
        let mut pins = bundle.providers().filter_map(|p| Some(p.oidc()?.pin()));
        pins.next().unwrap()
    }

    /// Whoever may apply and nothing else would be root, at an issuer or with keys of their own.
    #[test]
    fn whose_word_a_provider_is_changes_only_whoever_holds_all_that_people_hold_by_it() {
        let me = ("me", "uid: 1, rights: [apply]");
        let rights = "rights: [suspend, resume, apply, upstreams]";
        let root = format!("uid: 2, oidc: {{provider: login, claims: {{sub: r}}}}, {rights}");
        let at = |login: &str| bundle_at(login, &[me, ("root", &root)]);
        let usual = "issuer: \"https://login.example\", audience: ops";
        let old = at(usual);
        assert_eq!(
            check(APPLIER, &old, &at(&format!("{usual}, maxAge: 5m"))),
            Ok(())
        );
        let root_itself = OperatorIdentity::User { uid: 2, user: None };
        for other in [
            "issuer: \"https://evil.example\", audience: ops",
            "issuer: \"https://login.example\", audience: other",
            "issuer: \"https://login.example\", audience: ops, jwksUri: \"https://evil.example/k\"",
            "issuer: \"https://login.example\", audience: ops, tokenType: at+jwt",
        ] {
            let refused = check(APPLIER, &old, &at(other)).unwrap_err();
            assert_eq!(refused.rule(), "operator.gives", "{other}");
            assert_eq!(check(root_itself, &old, &at(other)), Ok(()), "{other}");
        }
        // Nor does their login become anybody's who was shown it; the way back is no gift.
        let unbound = at(&format!("{usual}, nonce: optional"));
        assert!(check(APPLIER, &old, &unbound).is_err());
        assert_eq!(check(APPLIER, &unbound, &old), Ok(()));
        assert_eq!(check(APPLIER, &unbound, &unbound), Ok(()));
    }

    /// A typo in an issuer would lock out everybody who comes by it, whoever applies it.
    #[test]
    fn whoever_comes_by_a_provider_does_not_count_as_able_to_apply_by_another_one() {
        let person = "oidc: {provider: login, claims: {sub: r}}, rights: [suspend, resume, apply]";
        let door = ("door", "uid: 2, rights: [suspend, resume, apply]");
        let at = |issuer: &str, operators: &[(&str, &str)]| {
            bundle_at(&format!("issuer: \"{issuer}\", audience: ops"), operators)
        };
        let right = "https://login.example";
        let old = at(right, &[("root", person), door]);
        let (provider, pin) = (
            mandate_model::ProviderName::parse("login").unwrap(),
            pin_of(&old),
        );
        let claims = serde_json::from_value(serde_json::json!({"sub": "r"})).unwrap();
        let who = OperatorIdentity::Person {
            provider: &provider,
            pin: &pin,
            claims: &claims,
        };
        let other = ("other", "uid: 3, rights: [suspend, resume, apply]");
        assert_eq!(
            check(who, &old, &at(right, &[("root", person), other])),
            Ok(())
        );
        let typo = at("https://logn.example", &[("root", person), other]);
        assert_eq!(check(who, &old, &typo), Err(Overreach::NobodyApplies));
        let typo = at("https://logn.example", &[("root", person), door]);
        assert_eq!(check(who, &old, &typo), Ok(()), "`door` can mend it");
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
