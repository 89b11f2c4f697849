//! From the wire's bundle and keys to what decisions look at.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_model::{Timestamp, TrustDomain};
use mandate_policy::{Bundle, LoadEnv, SourceFile, load};
use mandate_ports::control::PublicKeyRecord;
use mandate_ports::{KeyPurpose, KeyState};
use mandate_token::{KeySet, KeyUse};

/// The keys that access tokens are verified with. Those of other uses are not needed here.
pub(crate) fn key_set(keys: Vec<PublicKeyRecord>) -> Result<Arc<KeySet>, String> {
    let usable = keys
        .into_iter()
        .filter(|key| key.state != KeyState::Retired)
        .filter_map(|key| key_use(key.purpose).map(|r#use| (key, r#use)));
    let points = usable
        .map(|(key, r#use)| match URL_SAFE_NO_PAD.decode(&key.public) {
            Ok(point) => Ok((key.id, r#use, point)),
            Err(_) => Err(format!("key `{}` is no base64url", key.id)),
        })
        .collect::<Result<Vec<_>, _>>()?;
    KeySet::new(points)
        .map(Arc::new)
        .map_err(|why| why.to_string())
}

fn key_use(purpose: KeyPurpose) -> Option<KeyUse> {
    match purpose {
        KeyPurpose::Oauth => Some(KeyUse::Oauth),
        KeyPurpose::Svid => Some(KeyUse::Svid),
        KeyPurpose::Log => None,
    }
}

/// Compiles a bundle with the code that the authority used. The text says every mistake.
pub(crate) fn compile(
    trust_domain: &TrustDomain,
    issuer: &str,
    files: Vec<(String, String)>,
    now: Timestamp,
) -> Result<Arc<Bundle>, String> {
    let files: Vec<_> = files
        .into_iter()
        .map(|(name, text)| SourceFile { name, text })
        .collect();
    let env = LoadEnv {
        trust_domain: trust_domain.clone(),
        issuer: issuer.to_owned(),
    };
    match load(&files, &env, now) {
        Ok(loaded) => Ok(Arc::new(loaded.bundle)),
        Err(mistakes) => {
            let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
            Err(lines.join("; "))
        }
    }
}
