//! What every [`PersonVerifier`] must do.

use mandate_model::{ProviderName, Timestamp};
use mandate_policy::Bundle;
use mandate_ports::{PersonRefusal, PersonVerifier};

/// Tokens for one verifier.
#[derive(Debug)]
pub struct Cases {
    /// A bundle that declares `provider`.
    pub bundle: Bundle,
    /// The provider that signed them.
    pub provider: ProviderName,
    /// A token that is good at `now`, and whom it names.
    pub good: (String, &'static str),
    /// Tokens that differ from it by one detail, and that detail.
    pub bad: Vec<(&'static str, String)>,
    /// The moment.
    pub now: Timestamp,
}

/// Runs every case.
pub async fn run(verifier: &impl PersonVerifier, cases: &Cases) {
    let (good, subject) = &cases.good;
    let verify = async |provider: &ProviderName, token: &str, now| {
        verifier.verify(provider, token, &cases.bundle, now).await
    };
    let person = verify(&cases.provider, good, cases.now).await.unwrap();
    assert_eq!(person.subject(), *subject);
    for (detail, token) in &cases.bad {
        let refused = verify(&cases.provider, token, cases.now).await;
        assert!(
            matches!(refused, Err(PersonRefusal::Token(_))),
            "{detail}: {refused:?}"
        );
    }
    let later = cases.now.plus(std::time::Duration::from_secs(24 * 3600));
    assert!(verify(&cases.provider, good, later).await.is_err());
    let undeclared = ProviderName::parse("undeclared").unwrap();
    let refused = verify(&undeclared, good, cases.now).await;
    assert!(refused.is_err(), "no provider vouches that is not declared");
}
