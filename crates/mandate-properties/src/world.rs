//! The bundle, the keys and the moment that everything is tried against.

use std::sync::LazyLock;

use mandate_model::{KeyId, ServerName, Timestamp, TrustDomain};
use mandate_policy::decl::ServerWorkload;
use mandate_policy::{Bundle, LoadEnv, SourceFile, load};

/// 2027-01-15, a Friday.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

pub(crate) const ISSUER: &str = "https://mandate.acme.example";

pub(crate) const BUNDLE: &str = include_str!("bundle.yaml");

static LOADED: LazyLock<Bundle> =
    LazyLock::new(|| load(&[file(BUNDLE)], &env(), NOW).expect("it loads").bundle);

pub(crate) fn world() -> &'static Bundle {
    &LOADED
}

pub(crate) fn records() -> &'static ServerWorkload {
    server("records")
}

/// An MCP server.
pub(crate) fn desk() -> &'static ServerWorkload {
    server("desk")
}

/// An agent that is called.
pub(crate) fn helper() -> &'static ServerWorkload {
    server("helper")
}

fn server(name: &str) -> &'static ServerWorkload {
    let name = ServerName::parse(name).unwrap();
    world().server(&name).unwrap()
}

pub(crate) fn env() -> LoadEnv {
    LoadEnv {
        trust_domain: TrustDomain::parse("acme.example").unwrap(),
        issuer: ISSUER.to_owned(),
    }
}

pub(crate) fn file(text: &str) -> SourceFile {
    SourceFile {
        name: "bundle.yaml".to_owned(),
        text: text.to_owned(),
    }
}

pub(crate) fn key_id(text: &str) -> KeyId {
    KeyId::parse(text).unwrap()
}
