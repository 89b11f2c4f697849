//! An operator's session with a server elsewhere, in a file of this user alone.

use std::path::{Path, PathBuf};

use mandate_model::{Secret, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::failure::Failure;

/// A session, and what the server that began it is.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Session {
    /// The server, as it was named.
    pub(crate) authority: String,
    /// `iss` of its tokens.
    pub(crate) issuer: String,
    /// Its name space.
    pub(crate) trust_domain: String,
    /// Whom its records name.
    pub(crate) operator: String,
    /// Who vouched.
    pub(crate) provider: String,
    /// What records name the session by.
    pub(crate) id: String,
    /// When it ends.
    pub(crate) expires_at: Timestamp,
    session: String,
}

impl Session {
    /// As the server at `authority` answered.
    pub(crate) fn new(parts: Parts<'_>) -> Self {
        Self {
            authority: parts.authority.to_owned(),
            issuer: parts.issuer,
            trust_domain: parts.trust_domain,
            operator: parts.operator,
            provider: parts.provider,
            id: parts.id,
            expires_at: parts.expires_at,
            session: parts.session.expose().clone(),
        }
    }

    /// What is sent.
    pub(crate) fn secret(&self) -> Secret<String> {
        Secret::new(self.session.clone())
    }
}

/// What a session is made of.
pub(crate) struct Parts<'a> {
    pub(crate) authority: &'a str,
    pub(crate) issuer: String,
    pub(crate) trust_domain: String,
    pub(crate) operator: String,
    pub(crate) provider: String,
    pub(crate) id: String,
    pub(crate) expires_at: Timestamp,
    pub(crate) session: Secret<String>,
}

/// Where sessions of this user are: gone with their login, and on no disk.
#[derive(Debug, Clone)]
pub(crate) struct Sessions(PathBuf);

impl Sessions {
    /// In the user's runtime folder, which the system makes for them alone.
    pub(crate) fn of(runtime: Option<&Path>) -> Result<Self, Failure> {
        match runtime {
            Some(folder) if folder.is_absolute() => Ok(Self(folder.join("mandate"))),
            Some(_) | None => Err(Failure::usage(
                "there is no runtime folder to keep a session in",
                "set XDG_RUNTIME_DIR to a folder of this user alone, such as /run/user/UID",
            )),
        }
    }

    fn path(&self, authority: &str) -> PathBuf {
        let digest = Sha256::digest(authority.as_bytes());
        let name: String = digest.iter().take(12).map(|b| format!("{b:02x}")).collect();
        self.0.join(format!("operator-{name}.json"))
    }

    /// The session with the server at `authority`, if it has not ended at `now`.
    pub(crate) fn read(&self, authority: &str, now: Timestamp) -> Result<Session, Failure> {
        let path = self.path(authority);
        let none = |why: String| {
            Failure::failed(
                why,
                format!("begin one: mandate login --authority {authority}"),
            )
        };
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(none(format!("there is no session with {authority}")));
            }
            Err(e) => return Err(Failure::file(&path, &e)),
        };
        let session: Session = serde_json::from_slice(&bytes)
            .map_err(|e| none(format!("{} is damaged: {e}", path.display())))?;
        if session.authority != authority {
            return Err(none(format!("{} is of another server", path.display())));
        }
        if session.expires_at <= now {
            return Err(none(format!("the session with {authority} has ended")));
        }
        Ok(session)
    }

    /// Keeps `session` where this user alone can read it, whole or not at all.
    pub(crate) fn write(&self, session: &Session) -> Result<(), Failure> {
        use std::os::unix::fs::DirBuilderExt;
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0);
        made.map_err(|e| Failure::file(&self.0, &e))?;
        let path = self.path(&session.authority);
        let text = serde_json::to_string(session)
            .map_err(|e| Failure::failed(format!("a session cannot be written: {e}"), ""))?;
        super::token_file::write(&path, &Secret::new(text))
    }

    /// Forgets the session with the server at `authority`.
    pub(crate) fn remove(&self, authority: &str) -> Result<(), Failure> {
        let path = self.path(authority);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Failure::file(&path, &e)),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn session(authority: &str) -> Session {
        Session::new(Parts {
            authority,
            issuer: "https://id.acme.example".to_owned(),
            trust_domain: "acme.example".to_owned(),
            operator: "amy".to_owned(),
            provider: "login".to_owned(),
            id: "tok-1".to_owned(),
            expires_at: Timestamp::from_secs(900),
            session: Secret::new("a.b.c".to_owned()),
        })
    }

    #[test]
    fn a_session_is_its_owners_alone_and_ends() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = Sessions::of(Some(folder.path())).unwrap();
        let (one, other) = ("https://a.example", "https://b.example");
        sessions.write(&session(one)).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&sessions.0), 0o700);
        assert_eq!(mode(&sessions.path(one)), 0o600);
        let at = Timestamp::from_secs;
        assert_eq!(
            sessions.read(one, at(899)).unwrap().secret().expose(),
            "a.b.c"
        );
        assert!(sessions.read(one, at(900)).is_err());
        assert!(sessions.read(other, at(1)).is_err());
        sessions.remove(one).unwrap();
        sessions.remove(one).unwrap();
        assert!(sessions.read(one, at(1)).is_err());
    }

    #[test]
    fn without_a_runtime_folder_there_is_no_session() {
        assert!(Sessions::of(None).is_err());
        assert!(Sessions::of(Some(Path::new("run"))).is_err());
    }
}
