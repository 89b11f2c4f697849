//! What every [`Attestor`] must do.

use mandate_model::AgentTypeName;
use mandate_policy::Bundle;
use mandate_ports::{AttestRefusal, Attestor, Evidence, ShownFrom};

/// Evidence and bundles for one attestor.
pub struct Cases<E, G> {
    /// Makes evidence of one and the same instance, as often as asked.
    pub evidence: E,
    /// Makes evidence that was good and is gone.
    pub gone: G,
    /// A bundle in which exactly one agent type fits the evidence, and which.
    pub one: (Bundle, AgentTypeName),
    /// A bundle in which no agent type fits it.
    pub none: Bundle,
    /// A bundle in which two agent types fit it.
    pub two: Bundle,
}

/// Runs every case.
pub async fn run<E, G>(attestor: &impl Attestor, cases: Cases<E, G>)
where
    E: Fn() -> Evidence,
    G: Fn() -> Evidence,
{
    let (bundle, agent) = &cases.one;
    let from = &ShownFrom::new("192.0.2.0/24");
    let first = attestor
        .attest((cases.evidence)(), from, bundle)
        .await
        .unwrap();
    assert_eq!(&first.agent, agent);
    assert!(
        bundle.provider(&first.provider).is_some(),
        "a provider of the bundle vouches"
    );
    let again = attestor
        .attest((cases.evidence)(), from, bundle)
        .await
        .unwrap();
    assert_eq!(first, again, "one instance has one name");

    let refused = attestor.attest((cases.evidence)(), from, &cases.none).await;
    assert!(
        matches!(refused, Err(AttestRefusal::NoRule { .. })),
        "{refused:?}"
    );
    let refused = attestor.attest((cases.evidence)(), from, &cases.two).await;
    assert_eq!(refused, Err(AttestRefusal::Ambiguous));
    let refused = attestor.attest((cases.gone)(), from, bundle).await;
    assert!(
        matches!(refused, Err(AttestRefusal::Gone | AttestRefusal::Broken(_))),
        "{refused:?}"
    );
}
