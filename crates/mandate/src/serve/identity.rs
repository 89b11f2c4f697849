//! What never changes in the life of a server: its trust domain and its issuer.
//!
//! Every identity, token and suspension is in terms of these two. A server that came back under another
//! name would have forgotten its suspensions, so it refuses to.

use std::io::Write;

use mandate_model::TrustDomain;
use serde::{Deserialize, Serialize};

use crate::context::DataDir;
use crate::failure::Failure;

/// As it is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// The name space.
    pub(crate) trust_domain: TrustDomain,
    /// `iss` of every token.
    pub(crate) issuer: String,
}

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) trust_domain: Option<TrustDomain>,
    pub(crate) issuer: Option<String>,
}

impl Identity {
    /// The identity in `data`, checked against what is wanted; a new one, kept from now on, where
    /// there is none. `new_issuer` is that of a new one, if it can be told.
    pub(crate) fn settle(
        data: &DataDir,
        wanted: Wanted,
        new_issuer: Option<String>,
    ) -> Result<Self, Failure> {
        let Some(kept) = Self::read(data)? else {
            let new = Self {
                trust_domain: wanted.trust_domain.map_or_else(default_domain, Ok)?,
                issuer: new_issuer.ok_or_else(no_issuer)?,
            };
            new.write(data)?;
            return Ok(new);
        };
        let other_domain = wanted.trust_domain.filter(|d| *d != kept.trust_domain);
        differs("trust domain", kept.trust_domain.as_str(), other_domain)?;
        let other_issuer = wanted.issuer.filter(|issuer| *issuer != kept.issuer);
        differs("issuer", &kept.issuer, other_issuer)?;
        Ok(kept)
    }

    /// Name space and issuer of the server that has this folder, or the defaults.
    pub(crate) fn of(data: &DataDir) -> Result<(String, String), Failure> {
        Ok(match Self::read(data)? {
            Some(kept) => (kept.trust_domain.to_string(), kept.issuer),
            None => (DEFAULT_DOMAIN.to_owned(), DEFAULT_ISSUER.to_owned()),
        })
    }

    fn read(data: &DataDir) -> Result<Option<Self>, Failure> {
        let path = data.identity();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Failure::file(&path, &e)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|e| {
            Failure::failed(
                format!("{}: {e}", path.display()),
                "restore the file, or give the server a folder of its own",
            )
        })
    }

    fn write(&self, data: &DataDir) -> Result<(), Failure> {
        let path = data.identity();
        let failed = |e: &std::io::Error| Failure::file(&path, e);
        let mut file = tempfile::NamedTempFile::new_in(data.path()).map_err(|e| failed(&e))?;
        let text = serde_json::to_vec_pretty(self).map_err(|e| failed(&e.into()))?;
        file.write_all(&text).map_err(|e| failed(&e))?;
        file.as_file().sync_all().map_err(|e| failed(&e))?;
        file.persist(&path).map_err(|e| failed(&e.error))?;
        Ok(())
    }
}

fn differs(what: &str, kept: &str, other: Option<impl std::fmt::Display>) -> Result<(), Failure> {
    match other {
        None => Ok(()),
        Some(other) => Err(Failure::usage(
            format!("this server's {what} is `{kept}`, not `{other}`, and never changes"),
            "leave the option out, or give the new server a folder of its own: --data DIR",
        )),
    }
}

/// `0.0.0.0` is nowhere to come to.
fn no_issuer() -> Failure {
    Failure::usage(
        "the issuer of a new server cannot be told from --listen, which is every address of this machine",
        "say --issuer https://HOST:PORT, as the certificate names it and others reach it",
    )
}

fn default_domain() -> Result<TrustDomain, Failure> {
    TrustDomain::parse(DEFAULT_DOMAIN).map_err(|e| Failure::failed(e.to_string(), ""))
}

/// For a server that was not told its own.
pub(crate) const DEFAULT_DOMAIN: &str = "mandate.local";
const DEFAULT_ISSUER: &str = "http://127.0.0.1:7701";

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(domain: &str) -> Wanted {
        Wanted {
            trust_domain: Some(TrustDomain::parse(domain).unwrap()),
            issuer: None,
        }
    }

    #[test]
    fn a_server_keeps_its_name_and_refuses_another() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::resolve(Some(folder.path().to_owned())).unwrap();
        let first =
            Identity::settle(&data, wanted("acme.example"), Some("http://a".to_owned())).unwrap();
        assert_eq!(first.issuer, "http://a");
        let again =
            Identity::settle(&data, Wanted::default(), Some("http://b".to_owned())).unwrap();
        assert_eq!(again, first, "where it listens now does not matter");
        let nowhere = Identity::settle(&data, Wanted::default(), None).unwrap();
        assert_eq!(nowhere, first, "and need not be told again");
        let other = Identity::settle(&data, wanted("other.example"), None);
        assert!(other.unwrap_err().broke.contains("acme.example"));
    }

    #[test]
    fn a_new_server_at_every_address_has_to_be_told_its_issuer() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::resolve(Some(folder.path().to_owned())).unwrap();
        let refused = Identity::settle(&data, wanted("acme.example"), None).unwrap_err();
        assert!(refused.mend.contains("--issuer"), "{}", refused.mend);
        assert!(!data.identity().exists(), "nothing is settled");
    }
}
