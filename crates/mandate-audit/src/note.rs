//! Signed notes (C2SP signed-note): a text and who signed it, in a form that people can read.

use std::fmt;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// A key that notes are verified with: a name, and an Ed25519 public key.
#[derive(Clone, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    public: [u8; 32],
}

/// Why a note is not accepted, or not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It is not a text, an empty line and signature lines.
    #[error("a signed note is a text, an empty line, and lines `— <key name> <base64>`")]
    Malformed,
    /// None of its signatures is by the key.
    #[error("the note is not signed by key `{0}`")]
    NotSigned(String),
    /// A signature claims to be by the key and is not.
    #[error("the note's signature by key `{0}` is not valid")]
    BadSignature(String),
}

/// A name or text that is no verifier key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a note key is `<name>+<id>+<base64>` with an Ed25519 key; its name has no white space and no `+`"
)]
pub struct MalformedNoteKey;

impl NoteKey {
    /// The key `public` under `name`.
    pub fn new(name: &str, public: [u8; 32]) -> Result<Self, MalformedNoteKey> {
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(MalformedNoteKey);
        }
        Ok(Self {
            name: name.to_owned(),
            public,
        })
    }

    /// Reads the text form that verifiers are given: `<name>+<hex id>+<base64 of 0x01 ‖ key>`.
    pub fn parse(text: &str) -> Result<Self, MalformedNoteKey> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(MalformedNoteKey);
        };
        let bytes = STANDARD.decode(key).map_err(|_| MalformedNoteKey)?;
        let public = bytes
            .strip_prefix(&[ED25519_TYPE])
            .ok_or(MalformedNoteKey)?;
        let key = Self::new(name, public.try_into().map_err(|_| MalformedNoteKey)?)?;
        // The id follows from the rest, so one comparison checks all three parts.
        (key.to_string() == text)
            .then_some(key)
            .ok_or(MalformedNoteKey)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public key itself.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// Its id: the first four bytes of `SHA-256(name ‖ "\n" ‖ 0x01 ‖ key)`.
    pub fn id(&self) -> [u8; 4] {
        let mut hash = Sha256::new();
        hash.update(&self.name);
        hash.update(b"\n");
        hash.update([ED25519_TYPE]);
        hash.update(self.public);
        let [a, b, c, d, ..] = <[u8; 32]>::from(hash.finalize());
        [a, b, c, d]
    }

    /// The note of `text`, which ends in a newline, with `signature` over exactly its bytes.
    /// What comes out has been verified with this key.
    pub fn attach(&self, text: &str, signature: &[u8; 64]) -> Result<String, NoteError> {
        let signed = [&self.id()[..], signature].concat();
        let note = format!("{text}\n— {} {}\n", self.name, STANDARD.encode(signed));
        self.open(&note).map(str::to_owned)?;
        Ok(note)
    }

    /// The text of `note`, if this key signed it. Signatures of keys that are not ours say nothing.
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        let (text, signatures) = split(note)?;
        let mut signed = false;
        for line in signatures.lines() {
            let (name, bytes) = parse_signature(line)?;
            let Some(signature) = bytes.strip_prefix(&self.id()[..]) else {
                continue;
            };
            if name == self.name {
                self.verify(text, signature)?;
                signed = true;
            }
        }
        signed
            .then_some(text)
            .ok_or_else(|| NoteError::NotSigned(self.name.clone()))
    }

    fn verify(&self, text: &str, signature: &[u8]) -> Result<(), NoteError> {
        UnparsedPublicKey::new(&ED25519, self.public)
            .verify(text.as_bytes(), signature)
            .map_err(|_| NoteError::BadSignature(self.name.clone()))
    }
}

impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u32::from_be_bytes(self.id());
        let key = STANDARD.encode([&[ED25519_TYPE], &self.public[..]].concat());
        write!(f, "{}+{id:08x}+{key}", self.name)
    }
}

impl fmt::Debug for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text, its last newline included, and the signature lines.
pub(crate) fn split(note: &str) -> Result<(&str, &str), NoteError> {
    let control = |c: char| c.is_control() && c != '\n';
    if note.len() > MAX_NOTE || note.chars().any(control) {
        return Err(NoteError::Malformed);
    }
    let (_, signatures) = note.rsplit_once("\n\n").ok_or(NoteError::Malformed)?;
    let text = note
        .strip_suffix(signatures)
        .and_then(|rest| rest.strip_suffix('\n'))
        .ok_or(NoteError::Malformed)?;
    let whole = signatures.ends_with('\n') && signatures.lines().count() <= MAX_SIGNATURES;
    whole
        .then_some((text, signatures))
        .ok_or(NoteError::Malformed)
}

fn parse_signature(line: &str) -> Result<(&str, Vec<u8>), NoteError> {
    let (name, signature) = line
        .strip_prefix("— ")
        .and_then(|rest| rest.split_once(' '))
        .ok_or(NoteError::Malformed)?;
    let bytes = STANDARD
        .decode(signature)
        .map_err(|_| NoteError::Malformed)?;
    if name.is_empty() || bytes.len() <= 4 {
        return Err(NoteError::Malformed);
    }
    Ok((name, bytes))
}

/// C2SP signed-note: the signature type of Ed25519.
const ED25519_TYPE: u8 = 0x01;
/// More than any checkpoint with its cosignatures has; bounds what a stranger's note costs.
const MAX_NOTE: usize = 1 << 20;
const MAX_SIGNATURES: usize = 100;
