//! Bundles for tests.

use mandate_model::{Timestamp, TrustDomain};

use crate::{LoadEnv, Loaded, Mistake, SourceFile, load};

/// 2026-11-24, a Tuesday, at 07:00 UTC.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_795_503_600);

/// The example of the design, with processes in place of Kubernetes.
pub(crate) const EXAMPLE: &str = include_str!("../tests/bundles/example.yaml");

pub(crate) fn env() -> LoadEnv {
    LoadEnv {
        trust_domain: TrustDomain::parse("acme.example").unwrap(),
        issuer: "https://mandate.acme.example".to_owned(),
    }
}

pub(crate) fn load_text(text: &str) -> Result<Loaded, Vec<Mistake>> {
    let file = SourceFile {
        name: "bundle.yaml".to_owned(),
        text: text.to_owned(),
    };
    load(&[file], &env(), NOW)
}

pub(crate) fn example() -> crate::Bundle {
    load_text(EXAMPLE)
        .unwrap_or_else(|m| panic!("{m:#?}"))
        .bundle
}

/// The example with one text in it replaced.
pub(crate) fn example_with(old: &str, new: &str) -> Result<Loaded, Vec<Mistake>> {
    assert!(EXAMPLE.contains(old), "the example has no {old:?}");
    load_text(&EXAMPLE.replacen(old, new, 1))
}

/// Loads `text`, whose only mistakes have `accepted` in their message.
pub(crate) fn load_despite(text: &str, accepted: &str) -> crate::Bundle {
    let files = [SourceFile {
        name: "bundle.yaml".to_owned(),
        text: text.to_owned(),
    }];
    let mut mistakes = crate::mistake::Mistakes::default();
    let bundle = crate::check::read_bundle(&files, &env(), NOW, &mut mistakes);
    let unexpected: Vec<_> = mistakes
        .into_sorted(&files)
        .into_iter()
        .filter(|m| m.severity == crate::Severity::Error && !m.message.contains(accepted))
        .collect();
    assert_eq!(unexpected, [], "{text}");
    bundle.unwrap()
}
