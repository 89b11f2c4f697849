//! Bundles for tests.

use mandate_model::{Timestamp, TrustDomain};
use mandate_policy::{Bundle, LoadEnv, SourceFile, load};
use mandate_ports::ShownFrom;

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_795_503_600);

/// Where evidence is shown from, unless that matters.
pub(crate) fn somewhere() -> ShownFrom {
    ShownFrom::new("192.0.2.0/24")
}

pub(crate) fn bundle(text: &str) -> Bundle {
    let file = SourceFile {
        name: "bundle.yaml".to_owned(),
        text: text.to_owned(),
    };
    let env = LoadEnv {
        trust_domain: TrustDomain::parse("acme.example").unwrap(),
        issuer: "https://mandate.acme.example".to_owned(),
    };
    match load(&[file], &env, NOW) {
        Ok(loaded) => loaded.bundle,
        Err(mistakes) => panic!("{mistakes:#?}"),
    }
}
