//! The files of a bundle, their digest, and their YAML as documents of nodes with places.

mod node;
mod yaml;

use sha2::{Digest, Sha256};

pub(crate) use node::{Key, Node, Value};
pub(crate) use yaml::documents;

/// One file of a bundle: its name within the bundle's folder, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// The name, with `/` between folders.
    pub name: String,
    /// The text.
    pub text: String,
}

/// SHA-256 over the files, sorted by name, in lower-case hex. Does not depend on their order.
///
/// Names and texts are preceded by their lengths, so that no two sets of files have one digest
/// because a boundary moved.
pub fn digest(files: &[SourceFile]) -> String {
    let mut sorted: Vec<&SourceFile> = files.iter().collect();
    sorted.sort_by(|a, b| (&a.name, &a.text).cmp(&(&b.name, &b.text)));
    let mut hash = Sha256::new();
    for file in sorted {
        for part in [&file.name, &file.text] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part.as_bytes());
        }
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The most files of a bundle.
pub(crate) const MAX_FILES: usize = 1_000;

/// The most bytes of a bundle, all files together.
pub(crate) const MAX_BYTES: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> SourceFile {
        SourceFile {
            name: name.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_digest_depends_on_names_and_texts_and_not_on_order() {
        let (a, b) = (file("a", "1"), file("b", "2"));
        assert_eq!(
            digest(&[a.clone(), b.clone()]),
            digest(&[b.clone(), a.clone()])
        );
        assert_ne!(digest(std::slice::from_ref(&a)), digest(&[file("a", "2")]));
        assert_ne!(digest(&[file("ab", "c")]), digest(&[file("a", "bc")]));
        assert_eq!(digest(&[a, b]).len(), 64);
    }
}
