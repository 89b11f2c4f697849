//! Tokens in files: never on a command line, where every user of the machine could read them.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use mandate_model::Secret;

use crate::failure::Failure;

/// Reads a token from a file, or from standard input where the path is `-`.
pub(crate) fn read(path: &Path) -> Result<Secret<String>, Failure> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(LIMIT).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(LIMIT).read_to_string(&mut text))
    };
    read.map_err(|e| Failure::file(path, &e))?;
    let text = Secret::new(text);
    let token = text.expose().trim();
    if token.is_empty() || token.contains(char::is_whitespace) {
        return Err(Failure::usage(
            format!("{} holds no token", path.display()),
            "a file with one token and nothing else; `mandate task open --to FILE` writes one",
        ));
    }
    Ok(Secret::new(token.to_owned()))
}

/// Writes a token where only this user can read it. The file appears whole or not at all.
pub(crate) fn write(path: &Path, token: &Secret<String>) -> Result<(), Failure> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    // tempfile makes files of mode 0600.
    let failed = |e: &std::io::Error| Failure::file(path, e);
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|e| failed(&e))?;
    file.write_all(token.expose().as_bytes())
        .map_err(|e| failed(&e))?;
    file.persist(path).map_err(|e| failed(&e.error))?;
    Ok(())
}

/// Longer than any token.
const LIMIT: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_its_owner_reads_a_token_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        write(&path, &Secret::new("a.b.c".to_owned())).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(read(&path).unwrap().expose(), "a.b.c");
        std::fs::write(&path, "two words").unwrap();
        assert!(read(&path).is_err());
    }
}
