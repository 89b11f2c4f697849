//! Bundles as they come from operators and from the store, compiled by the one compiler.

use mandate_model::Timestamp;
use mandate_policy::{Bundle, LoadEnv, Loaded, Mistake, SourceFile};

use crate::Config;

/// Compiles `files` as they stand at `at`; every mistake if they do not load.
pub(crate) fn load(
    files: &[(String, String)],
    config: &Config,
    at: Timestamp,
) -> Result<Loaded, Vec<Mistake>> {
    let env = LoadEnv {
        trust_domain: config.trust_domain.clone(),
        issuer: config.issuer.as_str().to_owned(),
    };
    mandate_policy::load(&sources(files), &env, at)
}

/// Compiles a bundle that was applied at `at`. What was good then is good now: an `until` that has
/// passed since ends what it limits, and does not make the bundle unreadable.
pub(crate) fn compile(
    files: &[(String, String)],
    config: &Config,
    at: Timestamp,
) -> Result<Bundle, Vec<Mistake>> {
    load(files, config, at).map(|loaded| loaded.bundle)
}

/// The files' digest.
pub(crate) fn digest(files: &[(String, String)]) -> String {
    mandate_policy::digest(&sources(files))
}

/// The first mistake, for a line of text.
pub(crate) fn first_of(mistakes: &[Mistake]) -> String {
    mistakes
        .first()
        .map_or_else(|| "it does not load".to_owned(), ToString::to_string)
}

fn sources(files: &[(String, String)]) -> Vec<SourceFile> {
    let source = |(name, text): &(String, String)| SourceFile {
        name: name.clone(),
        text: text.clone(),
    };
    files.iter().map(source).collect()
}
