//! The server's folder: made with the right modes, before anything is put into it.

use std::fs::DirBuilder;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mandate_model::Secret;
use mandate_ports::Entropy;

use super::machine::SystemEntropy;
use crate::context::DataDir;
use crate::failure::Failure;

/// Makes what is missing. Other users may pass through to the sockets and read nothing else.
pub(super) fn prepare(data: &DataDir) -> Result<(), Failure> {
    make(data.path(), 0o711)?;
    check_owner(data.path())?;
    check_own(data.path())?;
    make(&data.run(), 0o755)?;
    check_owner(&data.run())?;
    check_own(&data.run())?;
    let config = data.gateway_config();
    write_new(&config, GATEWAY_YAML.as_bytes())
}

/// Whoever can write into a folder can replace what is in it, whatever the modes of that: sockets, the
/// log's public keys, the store.
pub(crate) fn check_own(folder: &Path) -> Result<(), Failure> {
    let found = std::fs::metadata(folder).map_err(|e| Failure::file(folder, &e))?;
    let (mode, shown) = (found.permissions().mode() & 0o7777, folder.display());
    if mode & 0o022 == 0 {
        return Ok(());
    }
    Err(Failure::failed(
        format!("{shown} has mode {mode:o}: other users can replace what is in it"),
        format!("see that nobody has, then `chmod go-w {shown}`; or choose another --data"),
    ))
}

/// A server keeps nothing in somebody else's folder: its owner can replace what is in it too.
fn check_owner(folder: &Path) -> Result<(), Failure> {
    let found = std::fs::metadata(folder).map_err(|e| Failure::file(folder, &e))?;
    let (owner, own) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner == own {
        return Ok(());
    }
    let shown = folder.display();
    Err(Failure::failed(
        format!("{shown} belongs to user {owner}, who can replace what is in it"),
        format!(
            "run this as that user, or `chown {own} {shown}` once you have seen what is in it; or choose another --data"
        ),
    ))
}

/// The key of the hashes by which records show personal attributes: the same for the log's life.
pub(super) fn attribute_key(data: &DataDir) -> Result<Secret<Vec<u8>>, Failure> {
    let lost = "put it back as it was; without it, hashes in the log can be matched no more";
    key(&data.attribute_key(), lost)
}

/// The key of the codes that say whose sessions of MCP servers are.
pub(super) fn session_key(data: &DataDir) -> Result<Secret<Vec<u8>>, Failure> {
    let lost = "put it back as it was, or remove it: clients then begin other sessions";
    key(&data.session_key(), lost)
}

/// A key of 32 bytes in a file, drawn where there is none.
fn key(path: &Path, lost: &str) -> Result<Secret<Vec<u8>>, Failure> {
    let mut fresh = [0; 32];
    SystemEntropy.fill(&mut fresh);
    write_new(path, &fresh)?;
    let key = std::fs::read(path).map_err(|e| Failure::file(path, &e))?;
    if key.len() == fresh.len() {
        return Ok(Secret::new(key));
    }
    Err(Failure::failed(
        format!("{} is not 32 bytes long", path.display()),
        lost,
    ))
}

/// What is in a folder is lost with its name, and that is durable when the folder above is synced.
fn make(folder: &Path, mode: u32) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::file(folder, &e);
    let missing = folder.ancestors().take_while(|path| !path.exists());
    let missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
    let made = DirBuilder::new().recursive(true).mode(mode).create(folder);
    made.map_err(failed)?;
    let mut above = missing.iter().filter_map(|made| made.parent());
    above.try_for_each(sync).map_err(failed)
}

fn sync(folder: &Path) -> std::io::Result<()> {
    let is_here = folder.as_os_str().is_empty();
    let folder = if is_here { Path::new(".") } else { folder };
    std::fs::File::open(folder)?.sync_all()
}

/// Writes a file for this user alone, durably and whole or not at all, if there is none.
fn write_new(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let failed = |e: &std::io::Error| Failure::file(path, e);
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    // Made with mode 0600.
    let mut aside = tempfile::NamedTempFile::new_in(folder).map_err(|e| failed(&e))?;
    aside
        .write_all(content)
        .and_then(|()| aside.as_file().sync_all())
        .map_err(|e| failed(&e))?;
    match aside.persist_noclobber(path) {
        Ok(_) => sync(folder).map_err(|e| failed(&e)),
        // Whoever made it may have crashed before its name was durable.
        Err(e) if e.error.kind() == ErrorKind::AlreadyExists => {
            sync(folder).map_err(|e| failed(&e))
        }
        Err(e) => Err(failed(&e.error)),
    }
}

const GATEWAY_YAML: &str = "\
# Secrets for upstreams: bundles name them, this file maps them and pins where they may be sent.
#
# secrets:
#   records-key:
#     file: /etc/mandate/records-key        # or env: NAME, or command: [/usr/bin/program, argument]
#     origins: [https://records.internal:8443]
secrets: {}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_others_can_write_is_refused_before_anything_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::resolve(Some(folder.path().to_owned())).unwrap();
        let set = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for mode in [0o777, 0o1777, 0o775, 0o702] {
            set(data.path(), mode);
            let refused = prepare(&data).unwrap_err();
            assert!(refused.mend.contains("chmod go-w"), "{mode:o}: {refused:?}");
            assert!(!data.gateway_config().exists(), "{mode:o}");
        }
        set(data.path(), 0o755);
        prepare(&data).unwrap();
        set(&data.run(), 0o777);
        assert!(prepare(&data).is_err(), "its sockets could be replaced");
    }

    #[test]
    fn a_folder_of_another_user_is_refused() {
        // Of root's, or given away by root: a folder of somebody else in either case.
        let given = tempfile::tempdir().unwrap();
        let folder = if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(given.path(), Some(4001), None).unwrap();
            given.path()
        } else {
            Path::new("/usr")
        };
        let refused = check_owner(folder).unwrap_err();
        assert!(refused.broke.contains("belongs to user"), "{refused:?}");
    }

    #[test]
    fn others_pass_through_and_secrets_stay() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::resolve(Some(folder.path().join("data"))).unwrap();
        prepare(&data).unwrap();
        let first = attribute_key(&data).unwrap();
        prepare(&data).unwrap();
        assert!(attribute_key(&data).unwrap() == first, "the same key again");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(data.path()), 0o711);
        assert_eq!(mode(&data.attribute_key()), 0o600);
        std::fs::write(data.attribute_key(), b"").unwrap();
        assert!(attribute_key(&data).is_err(), "an empty key is no key");
    }
}
