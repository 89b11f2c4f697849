//! Proofs that a caller holds a key (DPoP, RFC 9449).
//!
//! A proof is no token of ours and shares no validator with one: its key is in its header, and it is
//! good for one request. It is taken apart first ([`UnverifiedProof`]), so that whoever wants a nonce
//! of their own can refuse one without it before any signature is checked; then it is held against
//! the request ([`UnverifiedProof::verify`]), and only then is the signature looked at.
//!
//! That a proof is used once is for who has a memory or a store: [`DpopProof::id`] and
//! [`DpopProof::dead_at`] are what they need.

mod build;
mod error;
mod key;
mod nonce;
mod target;

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_model::{Thumbprint, Timestamp};
use serde_json::{Map, Value};

pub use build::{ProofRequest, UnsignedProof, thumbprint_of_point};
pub use error::ProofError;
pub use key::PROOF_ALGORITHMS;
pub use nonce::{NONCE_LIFE, Nonces};
pub use target::{HttpTarget, MalformedTarget};

use crate::id_token::moment_of;
use crate::{Part, strict};
use key::{ProofKey, sha256};

/// The most bytes of a proof.
pub const MAX_PROOF_BYTES: usize = 4 * 1024;

/// How long ago a proof may have been made.
pub const PROOF_AGE: Duration = Duration::from_secs(60);

/// How far ahead the clock of its maker may be.
pub const PROOF_AHEAD: Duration = Duration::from_secs(60);

/// The request that a proof must be for.
#[derive(Debug, Clone, Copy)]
pub struct ProofFor<'a> {
    /// Its method (`htm`).
    pub method: &'a str,
    /// Its target (`htu`).
    pub target: &'a HttpTarget,
    /// The token that is shown beside the proof (`ath`); `None` where none is, and then the proof must
    /// name none.
    pub access_token: Option<&'a str>,
    /// The task token that is shown beside the proof (`tth`); as above.
    pub task_token: Option<&'a str>,
}

/// A proof taken apart. Nothing in it is verified; nothing in it may be believed.
pub struct UnverifiedProof<'a> {
    signing_input: &'a str,
    signature: Vec<u8>,
    key: ProofKey,
    claims: Claims,
}

/// A proof that held for one request at one moment. The only maker is [`UnverifiedProof::verify`].
#[derive(Clone, PartialEq, Eq)]
pub struct DpopProof {
    key: Thumbprint,
    id: Thumbprint,
    dead_at: Timestamp,
}

impl DpopProof {
    /// The key that its holder has (`cnf.jkt`, RFC 9449 §6.1).
    pub fn key(&self) -> Thumbprint {
        self.key
    }

    /// What makes this proof this one: SHA-256 of key and `jti`. Never of its text: from one ECDSA
    /// signature anyone can compute another. And never of `jti` alone: else one holder of a key could
    /// use up the proofs of another.
    pub fn id(&self) -> Thumbprint {
        self.id
    }

    /// From when on it is refused for its age, so that it may be forgotten.
    pub fn dead_at(&self) -> Timestamp {
        self.dead_at
    }
}

impl fmt::Debug for DpopProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DpopProof(by {})", self.key)
    }
}

impl<'a> UnverifiedProof<'a> {
    /// Takes `proof` apart: form, header, key and claims.
    pub fn parse(proof: &'a str) -> Result<Self, ProofError> {
        if proof.len() > MAX_PROOF_BYTES {
            return Err(ProofError::TooLarge);
        }
        let (signing_input, signature) = proof.rsplit_once('.').ok_or(ProofError::Shape)?;
        let (header, claims) = signing_input.split_once('.').ok_or(ProofError::Shape)?;
        if claims.contains('.') {
            return Err(ProofError::Shape);
        }
        Ok(Self {
            signing_input,
            signature: decode(signature, Part::Signature)?,
            key: read_header(&decode(header, Part::Header)?)?,
            claims: Claims::read(&decode(claims, Part::Claims)?)?,
        })
    }

    /// The nonce that it claims: to be held against one's own before anything is computed.
    pub fn untrusted_nonce(&self) -> Option<&str> {
        self.claims.nonce.as_deref()
    }

    /// Holds the proof against the request that it came with, then checks its signature
    /// (RFC 9449 §4.3).
    pub fn verify(self, request: &ProofFor<'_>, now: Timestamp) -> Result<DpopProof, ProofError> {
        self.claims.check_request(request)?;
        self.claims.check_times(now)?;
        if !self
            .key
            .verifies(self.signing_input.as_bytes(), &self.signature)
        {
            return Err(ProofError::Signature);
        }
        let key = self.key.thumbprint();
        let id = [key.as_bytes().as_slice(), self.claims.jti.as_bytes()].concat();
        Ok(DpopProof {
            key,
            id: Thumbprint::new(sha256(&id)),
            dead_at: self.claims.issued_at.plus(PROOF_AGE),
        })
    }
}

impl fmt::Debug for UnverifiedProof<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnverifiedProof(…)")
    }
}

/// The one proof among the `DPoP` fields of a request; `None` where there is none (RFC 9449 §4.3,
/// first rule).
pub fn only_proof<'a>(
    fields: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<&'a str>, ProofError> {
    let mut fields = fields.into_iter();
    let Some(first) = fields.next() else {
        return Ok(None);
    };
    if fields.next().is_some() {
        return Err(ProofError::Several);
    }
    let text = std::str::from_utf8(first).map_err(|_| ProofError::Shape)?;
    // A list of two in one field is two proofs as well: a proof has no comma.
    if text.contains(',') {
        return Err(ProofError::Several);
    }
    Ok(Some(text))
}

/// What `ath` and `tth` say of a token: base64url of its SHA-256 (RFC 9449 §4.2).
pub(crate) fn hash_of(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(token.as_bytes()))
}

fn read_header(bytes: &[u8]) -> Result<ProofKey, ProofError> {
    let json = |problem| ProofError::Json {
        part: Part::Header,
        problem,
    };
    let header: Map<String, Value> = strict::from_slice(bytes).map_err(json)?;
    let text = |name: &str| header.get(name).and_then(Value::as_str);
    // RFC 8725 §3.11.
    if text("typ") != Some(TYP) {
        return Err(ProofError::Type);
    }
    if header.contains_key("crit") {
        return Err(ProofError::CriticalHeader);
    }
    // RFC 8725 §3.10: nothing that would have to be fetched.
    if let Some(name) = ELSEWHERE.iter().find(|name| header.contains_key(**name)) {
        return Err(ProofError::KeyElsewhere(name));
    }
    let alg = text("alg").ok_or(ProofError::Algorithm)?;
    let jwk = header.get("jwk").and_then(Value::as_object);
    ProofKey::read(alg, jwk.ok_or(ProofError::Key)?)
}

/// What a proof claims. Members beside these are not looked at (RFC 9449 §4.2).
struct Claims {
    jti: String,
    method: String,
    target: HttpTarget,
    issued_at: Timestamp,
    not_before: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    access_token_hash: Option<String>,
    task_token_hash: Option<String>,
    nonce: Option<String>,
}

impl Claims {
    fn read(bytes: &[u8]) -> Result<Self, ProofError> {
        let json = |problem| ProofError::Json {
            part: Part::Claims,
            problem,
        };
        let claims: Map<String, Value> = strict::from_slice(bytes).map_err(json)?;
        let moment = |name| moment_of(&claims, name).map_err(|()| ProofError::Claim(name));
        Ok(Self {
            jti: required(&claims, "jti")?,
            method: required(&claims, "htm")?,
            target: HttpTarget::parse(&required(&claims, "htu")?)
                .map_err(|_| ProofError::Claim("htu"))?,
            issued_at: moment("iat")?.ok_or(ProofError::Claim("iat"))?,
            not_before: moment("nbf")?,
            expires_at: moment("exp")?,
            access_token_hash: optional(&claims, "ath")?,
            task_token_hash: optional(&claims, "tth")?,
            nonce: optional(&claims, "nonce")?,
        })
    }

    fn check_request(&self, request: &ProofFor<'_>) -> Result<(), ProofError> {
        if self.method != request.method {
            return Err(ProofError::Method);
        }
        if self.target != *request.target {
            return Err(ProofError::Target);
        }
        check_hash(
            "ath",
            self.access_token_hash.as_deref(),
            request.access_token,
        )?;
        check_hash("tth", self.task_token_hash.as_deref(), request.task_token)
    }

    fn check_times(&self, now: Timestamp) -> Result<(), ProofError> {
        if now >= self.issued_at.plus(PROOF_AGE) {
            return Err(ProofError::TooOld);
        }
        if self.issued_at > now.plus(PROOF_AHEAD) {
            return Err(ProofError::FromTheFuture);
        }
        // Nothing asks for these two; whoever sends them means something by it (RFC 7519 §4.1.4).
        if self.expires_at.is_some_and(|until| now >= until) {
            return Err(ProofError::TooOld);
        }
        if self
            .not_before
            .is_some_and(|from| from > now.plus(PROOF_AHEAD))
        {
            return Err(ProofError::FromTheFuture);
        }
        Ok(())
    }
}

/// A proof names the tokens that it came with, and no others: one that was made for a request with a
/// token is none for a request without.
fn check_hash(
    name: &'static str,
    claimed: Option<&str>,
    token: Option<&str>,
) -> Result<(), ProofError> {
    match (claimed, token) {
        (None, None) => Ok(()),
        (Some(_), None) => Err(ProofError::StrayHash(name)),
        (Some(claimed), Some(token)) if claimed == hash_of(token) => Ok(()),
        (Some(_) | None, Some(_)) => Err(ProofError::Hash(name)),
    }
}

fn required(claims: &Map<String, Value>, name: &'static str) -> Result<String, ProofError> {
    optional(claims, name)?.ok_or(ProofError::Claim(name))
}

fn optional(claims: &Map<String, Value>, name: &'static str) -> Result<Option<String>, ProofError> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
        Some(_) => Err(ProofError::Claim(name)),
    }
}

fn decode(text: &str, part: Part) -> Result<Vec<u8>, ProofError> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| ProofError::Base64(part))
}

const TYP: &str = "dpop+jwt";
const ELSEWHERE: [&str; 3] = ["jku", "x5u", "x5c"];
