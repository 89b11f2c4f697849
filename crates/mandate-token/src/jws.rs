//! Compact JWS (RFC 7515 §7.1), taken apart strictly and believed in nothing.

use aws_lc_rs::signature::ParsedPublicKey;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_model::KeyId;
use serde_json::{Map, Value};

use crate::kind::sealed::OwnKind;
use crate::{KeySet, Limit, Part, TokenError, strict};

/// The most bytes of a token.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The most bytes of a header, decoded.
pub const MAX_HEADER_BYTES: usize = 1024;

/// A token taken apart. Nothing in it is verified; nothing in it may be believed.
pub struct UnverifiedJws<'a> {
    signing_input: &'a str,
    header: UnverifiedHeader,
    claims: Vec<u8>,
    signature: Vec<u8>,
}

#[derive(Debug)]
struct UnverifiedHeader {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    has_others: bool,
}

impl<'a> UnverifiedJws<'a> {
    /// Takes `token` apart: three parts, each in the one base64url form, a header without repeated
    /// members and without keys of its own. The claims are not looked at yet.
    pub fn parse(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLarge(Limit::TokenBytes));
        }
        let (signing_input, signature) = token.rsplit_once('.').ok_or(TokenError::Shape)?;
        let (header, claims) = signing_input.split_once('.').ok_or(TokenError::Shape)?;
        if claims.contains('.') {
            return Err(TokenError::Shape);
        }
        Ok(Self {
            signing_input,
            header: UnverifiedHeader::parse(&decode(header, Part::Header)?)?,
            claims: decode(claims, Part::Claims)?,
            signature: decode(signature, Part::Signature)?,
        })
    }

    /// The `kid` that the token claims, for finding a key.
    pub fn untrusted_kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// The `typ` that the token claims.
    pub fn untrusted_typ(&self) -> Option<&str> {
        self.header.typ.as_deref()
    }

    /// Whether there are headers beside `alg`, `kid` and `typ`.
    pub(crate) fn has_other_headers(&self) -> bool {
        self.header.has_others
    }

    pub(crate) fn untrusted_alg(&self) -> &str {
        &self.header.alg
    }

    pub(crate) fn untrusted_claims(&self) -> &[u8] {
        &self.claims
    }

    pub(crate) fn signing_input(&self) -> &[u8] {
        self.signing_input.as_bytes()
    }

    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Checks header, key and signature of a token of ours; gives the key and the claims' bytes,
    /// which from here on are what this authority signed.
    pub(crate) fn verify(self, keys: &KeySet, kind: &OwnKind) -> Result<SignedBytes, TokenError> {
        let (key, public) = self.key(keys, kind)?;
        public
            .verify_sig(self.signing_input(), &self.signature)
            .map_err(|_| TokenError::Signature)?;
        let claims = self.claims;
        Ok(SignedBytes { key, claims })
    }

    /// The same without the arithmetic: of a token that this process has just signed.
    pub(crate) fn read_vouched(
        self,
        keys: &KeySet,
        kind: &OwnKind,
    ) -> Result<SignedBytes, TokenError> {
        let (key, _) = self.key(keys, kind)?;
        if self.signature.len() != SIGNATURE_BYTES {
            return Err(TokenError::Signature);
        }
        let claims = self.claims;
        Ok(SignedBytes { key, claims })
    }

    /// The key that its header names, if the header is that of a token of `kind` and the key is for such.
    fn key<'k>(
        &self,
        keys: &'k KeySet,
        kind: &OwnKind,
    ) -> Result<(KeyId, &'k ParsedPublicKey), TokenError> {
        self.check_header(kind)?;
        let kid = self.untrusted_kid().ok_or(TokenError::MissingKeyId)?;
        let key = KeyId::parse(kid).map_err(|_| TokenError::UnknownKey)?;
        let (r#use, public) = keys.find(&key).ok_or(TokenError::UnknownKey)?;
        if r#use != kind.key_use {
            let kind = kind.name;
            return Err(TokenError::KeyUse { key, kind });
        }
        Ok((key, public))
    }

    fn check_header(&self, kind: &OwnKind) -> Result<(), TokenError> {
        if self.untrusted_typ() != Some(kind.typ) {
            return Err(TokenError::Type {
                kind: kind.name,
                typ: kind.typ,
            });
        }
        if self.untrusted_alg() != "ES256" {
            return Err(TokenError::Algorithm);
        }
        if self.header.has_others {
            return Err(TokenError::UnknownHeader);
        }
        Ok(())
    }
}

/// Claims that a key of ours signed, not read yet.
pub(crate) struct SignedBytes {
    pub(crate) key: KeyId,
    pub(crate) claims: Vec<u8>,
}

impl UnverifiedHeader {
    fn parse(bytes: &[u8]) -> Result<Self, TokenError> {
        if bytes.len() > MAX_HEADER_BYTES {
            return Err(TokenError::TooLarge(Limit::HeaderBytes));
        }
        let mut members: Map<String, Value> = strict::from_slice(bytes).map_err(malformed)?;
        refuse_dangerous(&members)?;
        Ok(Self {
            alg: text(&mut members, "alg")?.ok_or(TokenError::Algorithm)?,
            kid: text(&mut members, "kid")?,
            typ: text(&mut members, "typ")?,
            has_others: !members.is_empty(),
        })
    }
}

fn refuse_dangerous(members: &Map<String, Value>) -> Result<(), TokenError> {
    if members.contains_key("crit") {
        return Err(TokenError::CriticalHeader);
    }
    match KEY_MEMBERS.iter().find(|name| members.contains_key(**name)) {
        Some(name) => Err(TokenError::KeyInHeader(name)),
        None => Ok(()),
    }
}

fn text(members: &mut Map<String, Value>, name: &str) -> Result<Option<String>, TokenError> {
    match members.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_),
        ) => Err(malformed(strict::JsonProblem::Shape(format!(
            "`{name}` is no text"
        )))),
    }
}

fn malformed(problem: strict::JsonProblem) -> TokenError {
    let part = Part::Header;
    TokenError::Json { part, problem }
}

/// The engine refuses padding, other alphabets and trailing bits: each value has one spelling.
fn decode(text: &str, part: Part) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| TokenError::Base64(part))
}

/// `r ‖ s` of ES256 (RFC 7518 §3.4).
const SIGNATURE_BYTES: usize = 64;
const KEY_MEMBERS: [&str; 4] = ["jku", "x5u", "jwk", "x5c"];
