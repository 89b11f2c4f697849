//! What ID tokens of people are for.

use super::{one_error_more, with};
use crate::fixtures::{EXAMPLE, load_text};

const AT: &str = "kind: Operator\nmetadata: {name: amy}\nspec: {oidc: {provider: PROVIDER, claims: {sub: amy}}, rights: [audit]}";

fn provider(name: &str, issuer: &str, audience: &str) -> String {
    format!(
        "kind: TrustProvider\nmetadata: {{name: {name}}}\nspec: {{oidc: {{issuer: {issuer}, audience: {audience}}}}}\n---\n"
    )
}

#[test]
fn an_agent_is_handed_no_id_token_by_which_somebody_operates() {
    let login = "https://login.acme.example";
    one_error_more(
        &AT.replace("PROVIDER", "login"),
        "operator `amy` is known by ID tokens that task policy `support-case` has handed to agents",
    );
    // By whatever name: what counts is whose word it is, and for whom.
    let again = provider("again", login, "support-app") + &AT.replace("PROVIDER", "again");
    let found = load_text(&with(&again)).unwrap_err();
    let said = |part: &str| found.iter().filter(|m| m.message.contains(part)).count();
    assert_eq!(said("has handed to agents"), 1, "{found:#?}");
    for other in [
        provider("staff", login, "mandate-cli"),
        provider("staff", "https://staff.acme.example", "support-app"),
    ] {
        let text = other + &AT.replace("PROVIDER", "staff");
        assert!(load_text(&with(&text)).is_ok(), "{text}");
    }
}

/// A provider that is suspended, down or mistyped would lock everybody out.
#[test]
fn somebody_of_the_machine_itself_can_suspend_resume_and_apply_under_no_condition() {
    let all = "[suspend, resume, apply, upstreams, tasks, tokens, audit, keys, gateways, inspect]";
    let root = format!("spec: {{uid: 0, rights: {all}}}");
    assert!(EXAMPLE.contains(&root));
    let with_root = |spec: &str| {
        let staff = provider("staff", "https://staff.acme.example", "mandate-cli");
        let text = EXAMPLE.replacen(&root, &format!("spec: {{{spec}}}"), 1);
        load_text(&format!("{text}---\n{staff}# Nothing more.\n"))
    };
    let person = "oidc: {provider: staff, claims: {sub: amy}}";
    assert!(with_root(&format!("uid: 0, {person}, rights: {all}")).is_ok());
    assert!(with_root(&format!("unixUser: amy, rights: {all}")).is_ok());
    for (spec, missing) in [
        (format!("{person}, rights: {all}"), 3),
        (
            format!("uid: 0, when: 'context.uid == 0', rights: {all}"),
            3,
        ),
    ] {
        let found = with_root(&spec).unwrap_err();
        let part = "by `uid` or `unixUser` and without `when`";
        let said = found.iter().filter(|m| m.message.contains(part)).count();
        assert_eq!((said, found.len()), (missing, missing), "{found:#?}");
    }
    let found = with_root("uid: 0, rights: [suspend, apply]").unwrap_err();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0]
            .message
            .contains("no operator has the right `resume`")
    );
}

#[test]
fn logins_that_are_not_bound_to_this_authority_are_warned_of_where_operators_come_by_them() {
    let staff = |more: &str| {
        let audience = format!("mandate-cli{more}");
        provider("staff", "https://staff.acme.example", &audience)
            + &AT.replace("PROVIDER", "staff")
    };
    let warned = |text: &str| load_text(&with(text)).unwrap().warnings;
    assert_eq!(warned(&staff("")), []);
    assert_eq!(warned(&staff(", nonce: required")), []);
    let found = warned(&staff(", nonce: optional"));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].message.contains("without a nonce"), "{found:#?}");
    one_error_more(&staff(", nonce: never"), "`never`");
}

#[test]
fn a_person_of_one_issuer_is_one_operator_by_whichever_client_they_come() {
    let staff = "https://staff.acme.example";
    let two = |claims: &str, issuer: &str| {
        let providers = provider("one", staff, "one") + &provider("two", issuer, "two");
        let amy = AT.replace("PROVIDER", "one");
        let other = AT
            .replace("PROVIDER", "two")
            .replace("name: amy", "name: other");
        format!(
            "{providers}{amy}\n---\n{}",
            other.replace("sub: amy", claims)
        )
    };
    one_error_more(
        &two("sub: amy, groups: sre", staff),
        "is the same person as `amy`",
    );
    for fine in [
        two("sub: bob", staff),
        two("email: amy", staff),
        two("sub: amy", "https://other.acme.example"),
    ] {
        assert!(load_text(&with(&fine)).is_ok(), "{fine}");
    }
}
