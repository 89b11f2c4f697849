//! Changes one byte of one record on disk, as an intruder with the file would.

use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::failure::Failure;

/// Finds `needle` in `file` and puts `byte` in place of its last byte, everywhere that it stands.
/// Returns how often that was.
pub(super) fn flip(file: &Path, needle: &str, byte: u8) -> Result<usize, Failure> {
    let failed = |e: std::io::Error| Failure::file(file, &e);
    let content = std::fs::read(file).map_err(failed)?;
    let open = std::fs::OpenOptions::new().write(true).open(file);
    let open = open.map_err(failed)?;
    let mut count = 0;
    for (start, window) in content.windows(needle.len()).enumerate() {
        if window == needle.as_bytes() {
            let at = u64::try_from(start + needle.len() - 1).unwrap_or(u64::MAX);
            open.write_all_at(&[byte], at).map_err(failed)?;
            count += 1;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_differs_and_no_other() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a globex b").unwrap();
        assert_eq!(flip(file.path(), "globex", b'y').unwrap(), 1);
        assert_eq!(std::fs::read(file.path()).unwrap(), b"a globey b");
        assert_eq!(flip(file.path(), "globex", b'y').unwrap(), 0);
    }
}
