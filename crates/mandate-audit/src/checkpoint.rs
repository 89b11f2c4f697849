//! Checkpoints (C2SP tlog-checkpoint): what the log was when it had so many records.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::{Hash, NoteError, NoteKey};

/// The statement of a checkpoint: this log had this root at this size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Hash,
}

/// Text that is no checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a checkpoint is three lines: the log's origin, its size, and its root in base64")]
pub struct MalformedCheckpoint;

/// Why a checkpoint is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note around it.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The statement.
    #[error(transparent)]
    Statement(#[from] MalformedCheckpoint),
    /// It is of another log.
    #[error("the checkpoint is of log `{found}`, not of `{expected}`")]
    Origin {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
}

/// A checkpoint whose signature and origin were verified, and by which key. The one maker is
/// [`Checkpoint::open`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCheckpoint {
    checkpoint: Checkpoint,
    key: NoteKey,
}

impl Checkpoint {
    /// What is to be signed for the log `origin` at `size` with `root`.
    pub fn new(origin: &str, size: u64, root: Hash) -> Result<Self, MalformedCheckpoint> {
        if origin.is_empty() || origin.chars().any(char::is_control) {
            return Err(MalformedCheckpoint);
        }
        Ok(Self {
            origin: origin.to_owned(),
            size,
            root,
        })
    }

    /// The text of the note; its bytes are what is signed.
    pub fn text(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            STANDARD.encode(self.root)
        )
    }

    /// The signed note, `signature` being over the bytes of [`text`](Self::text) by `key`, whose
    /// name is the origin. What comes out has been verified.
    pub fn sign(&self, key: &NoteKey, signature: &[u8; 64]) -> Result<String, CheckpointError> {
        let note = key.attach(&self.text(), signature)?;
        Self::open(&note, key)?;
        Ok(note)
    }

    /// The checkpoint in `note`, if `key` signed it and is named as its origin.
    pub fn open(note: &str, key: &NoteKey) -> Result<VerifiedCheckpoint, CheckpointError> {
        let checkpoint = Self::parse(key.open(note)?)?;
        if checkpoint.origin != key.name() {
            return Err(CheckpointError::Origin {
                found: checkpoint.origin,
                expected: key.name().to_owned(),
            });
        }
        Ok(VerifiedCheckpoint {
            checkpoint,
            key: key.clone(),
        })
    }

    /// What `note` says, whoever signed it: for a store that keeps notes, never for a verifier.
    pub fn dangerous_unverified(note: &str) -> Result<Self, CheckpointError> {
        Ok(Self::parse(crate::note::split(note)?.0)?)
    }

    /// Reads the statement. Extension lines after the root are allowed and mean nothing to us.
    fn parse(text: &str) -> Result<Self, MalformedCheckpoint> {
        let mut lines = text
            .strip_suffix('\n')
            .ok_or(MalformedCheckpoint)?
            .split('\n');
        let mut line = || lines.next().ok_or(MalformedCheckpoint);
        let (origin, size, root) = (line()?, line()?, line()?);
        if lines.any(str::is_empty) {
            return Err(MalformedCheckpoint);
        }
        let bytes = STANDARD.decode(root).map_err(|_| MalformedCheckpoint)?;
        let number: u64 = size.parse().map_err(|_| MalformedCheckpoint)?;
        if number.to_string() != size {
            return Err(MalformedCheckpoint);
        }
        Self::new(
            origin,
            number,
            bytes.try_into().map_err(|_| MalformedCheckpoint)?,
        )
    }

    /// Which log.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// How many records.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root over them.
    pub fn root(&self) -> &Hash {
        &self.root
    }
}

impl VerifiedCheckpoint {
    /// The key that signed it: whether that one is to be trusted is for the caller to know.
    pub fn key(&self) -> &NoteKey {
        &self.key
    }
}

impl std::ops::Deref for VerifiedCheckpoint {
    type Target = Checkpoint;
    fn deref(&self) -> &Checkpoint {
        &self.checkpoint
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    fn signer(seed: u8, name: &str) -> (Ed25519KeyPair, NoteKey) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let public = pair.public_key().as_ref().try_into().unwrap();
        (pair, NoteKey::new(name, public).unwrap())
    }

    fn signed(seed: u8, name: &str, checkpoint: &Checkpoint) -> Result<String, CheckpointError> {
        let (pair, key) = signer(seed, name);
        let signature = pair.sign(checkpoint.text().as_bytes());
        checkpoint.sign(&key, signature.as_ref().try_into().unwrap())
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint::new("acme.example/log", 7, [9; 32]).unwrap()
    }

    #[test]
    fn the_example_of_the_note_specification_verifies() {
        let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let note = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n\n\
                    — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let key = NoteKey::parse(key).unwrap();
        assert!(key.open(note).unwrap().ends_with("problem is.\n"));
        assert_eq!(
            key.open(&note.replace("problem is", "problem was")),
            Err(NoteError::BadSignature("PeterNeumann".to_owned()))
        );
    }

    #[test]
    fn a_signed_checkpoint_opens_with_its_key_alone() {
        let note = signed(1, "acme.example/log", &checkpoint()).unwrap();
        let (_, key) = signer(1, "acme.example/log");
        assert_eq!(*Checkpoint::open(&note, &key).unwrap(), checkpoint());
        assert_eq!(NoteKey::parse(&key.to_string()), Ok(key));
        let (_, other) = signer(2, "acme.example/log");
        assert!(matches!(
            Checkpoint::open(&note, &other),
            Err(CheckpointError::Note(NoteError::NotSigned(_)))
        ));
        let (_, renamed) = signer(1, "other.example/log");
        assert!(matches!(
            Checkpoint::open(&note, &renamed),
            Err(CheckpointError::Note(NoteError::NotSigned(_)))
        ));
    }

    #[test]
    fn any_changed_byte_voids_a_note() {
        let note = signed(1, "acme.example/log", &checkpoint()).unwrap();
        let (_, key) = signer(1, "acme.example/log");
        for at in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1;
            let opened = String::from_utf8(bytes).map(|note| Checkpoint::open(&note, &key).is_ok());
            assert_ne!(opened, Ok(true), "byte {at}");
        }
    }

    #[test]
    fn other_signatures_are_passed_over_and_a_false_one_of_ours_is_not() {
        let note = signed(1, "acme.example/log", &checkpoint()).unwrap();
        let (_, key) = signer(1, "acme.example/log");
        let witness = format!("— witness {}\n", STANDARD.encode([7; 68]));
        assert!(key.open(&format!("{note}{witness}")).is_ok());
        let false_one = [&key.id()[..], &[7; 64]].concat();
        let false_one = format!("— {} {}\n", key.name(), STANDARD.encode(false_one));
        assert!(matches!(
            key.open(&format!("{note}{false_one}")),
            Err(NoteError::BadSignature(_))
        ));
        assert_eq!(
            key.open(&format!("{note}unsigned\n")),
            Err(NoteError::Malformed)
        );
    }

    #[test]
    fn a_checkpoint_of_another_log_is_refused() {
        let other = Checkpoint::new("other.example/log", 7, [9; 32]).unwrap();
        assert!(matches!(
            signed(1, "acme.example/log", &other),
            Err(CheckpointError::Origin { .. })
        ));
    }

    #[test]
    fn a_statement_has_one_form() {
        let root = STANDARD.encode([9; 32]);
        assert_eq!(
            Checkpoint::parse(&format!("acme.example/log\n7\n{root}\n")),
            Ok(checkpoint())
        );
        assert!(Checkpoint::parse(&format!("a\n7\n{root}\nextension\n")).is_ok());
        for bad in [
            format!("a\n7\n{root}"),
            format!("a\n07\n{root}\n"),
            format!("a\n+7\n{root}\n"),
            format!("\n7\n{root}\n"),
            format!("a\n7\n{root}=\n"),
            format!("a\n7\n{root}\n\n"),
            "a\n7\n".to_owned(),
        ] {
            assert_eq!(Checkpoint::parse(&bad), Err(MalformedCheckpoint), "{bad:?}");
        }
    }
}
