//! What ID tokens of people are for.

use super::{one_error_more, with};
use crate::fixtures::load_text;

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
