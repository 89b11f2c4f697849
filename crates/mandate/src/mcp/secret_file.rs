//! Files with one secret each, which nobody else may be able to read.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_model::Secret;
use mandate_ports::Entropy;

use crate::failure::Failure;
use crate::serve::machine::SystemEntropy;

/// Reads a secret: the text of the file without the space around it.
pub(crate) fn read(path: &Path) -> Result<Secret<String>, Failure> {
    let file = File::open(path).map_err(|e| Failure::file(path, &e))?;
    check(path, &file)?;
    let mut text = String::new();
    let read = file.take(LONGEST + 1).read_to_string(&mut text);
    let text = Secret::new(text);
    if read.map_err(|e| Failure::file(path, &e))? as u64 > LONGEST {
        return Err(Failure::usage(
            format!("{} has more than {LONGEST} bytes", path.display()),
            "a file with the secret and nothing else",
        ));
    }
    let secret = text.expose().trim();
    if secret.is_empty() {
        return Err(Failure::usage(
            format!("{} is empty", path.display()),
            "a file with the secret and nothing else",
        ));
    }
    Ok(Secret::new(secret.to_owned()))
}

/// The key in the file at `path`; a new one, if there is no file yet.
pub(crate) fn key(path: &Path) -> Result<Secret<String>, Failure> {
    if !path.exists() {
        make(path)?;
    }
    let key = read(path)?;
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    if key.expose().len() < SHORTEST || !key.expose().bytes().all(is_token) {
        return Err(Failure::usage(
            format!("{} holds no key", path.display()),
            "a key is at least 32 characters of a bearer token (RFC 6750); remove the file, and one is made",
        ));
    }
    Ok(key)
}

/// By the open file, not by its name, which could be another one by now.
fn check(path: &Path, file: &File) -> Result<(), Failure> {
    let about = file.metadata().map_err(|e| Failure::file(path, &e))?;
    if !about.is_file() {
        return Err(Failure::usage(
            format!("{} is no file", path.display()),
            "name a file with the secret and nothing else",
        ));
    }
    let us = rustix::process::geteuid().as_raw();
    guarded(about.mode(), about.uid(), us).map_err(|(why, mend)| {
        let path = path.display();
        Failure::usage(format!("{path} {why}"), format!("{mend} {path}"))
    })
}

/// Whether nobody else can read or write a file; else why not, and the command that mends it. The same that the gateway
/// asks of its secrets: a file of root's may be for the group that `us` is in, who could not read it otherwise.
fn guarded(mode: u32, owner: u32, us: u32) -> Result<(), (String, String)> {
    if owner != 0 && owner != us {
        return Err((
            format!("belongs to user {owner}, and not to root or to the user of this process"),
            format!("chown {us}"),
        ));
    }
    let others = if owner == 0 { 0o037 } else { 0o077 };
    if mode & others != 0 {
        return Err((
            "can be read or written by others".to_owned(),
            "give the secret to nobody else: chmod 600".to_owned(),
        ));
    }
    Ok(())
}

/// Appears whole, with mode 0600, or not at all; a file that somebody made in the meantime stays.
fn make(path: &Path) -> Result<(), Failure> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    let mut bytes = [0; 32];
    SystemEntropy.fill(&mut bytes);
    let key = Secret::new(URL_SAFE_NO_PAD.encode(bytes));
    let failed = |e: &std::io::Error| Failure::file(path, e);
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|e| failed(&e))?;
    file.write_all(key.expose().as_bytes())
        .and_then(|()| file.as_file().sync_all())
        .map_err(|e| failed(&e))?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(failed(&e.error)),
    }
}

const LONGEST: u64 = 1 << 16;
const SHORTEST: usize = 32;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let made = key(&path).unwrap();
        assert_eq!(made.expose().len(), 43);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(key(&path).unwrap().expose(), made.expose());
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o604)).unwrap();
        let why = key(&path).err().unwrap();
        assert!(why.broke.contains("by others"), "{why:?}");
        assert!(!why.broke.contains(made.expose()) && !why.mend.contains(made.expose()));
    }

    #[test]
    fn a_file_of_somebody_else_is_no_secret() {
        for (mode, owner, us, is_ours) in [
            (0o600, 1000, 1000, true),
            (0o400, 0, 1000, true),
            (0o640, 0, 1000, true),
            (0o640, 0, 0, true),
            (0o640, 1000, 1000, false),
            (0o600, 1001, 1000, false),
            (0o600, 1000, 0, false),
            (0o660, 0, 1000, false),
            (0o644, 0, 1000, false),
            (0o604, 0, 0, false),
        ] {
            let found = guarded(0o100_000 | mode, owner, us);
            assert_eq!(found.is_ok(), is_ours, "{mode:o} of {owner} for {us}");
        }
    }

    #[test]
    fn a_secret_is_whole_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let most = usize::try_from(LONGEST).unwrap();
        for (length, fits) in [(most, true), (most + 1, false)] {
            std::fs::write(&path, "x".repeat(length)).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            assert_eq!(read(&path).is_ok(), fits, "{length}");
        }
    }

    #[test]
    fn what_could_be_guessed_is_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for text in ["", "short", &"a b".repeat(20)] {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            assert!(key(&path).is_err(), "{text}");
        }
        assert!(key(folder.path()).is_err());
    }
}
