//! Why a token is refused: one variant per rule.

use mandate_model::mandate::{MAX_ENTRIES, MAX_VALUES, MalformedEntry, TooLarge};
use mandate_model::{KeyId, MAX_ACT_LEVELS, mandate::MAX_DEPTH};

use crate::{JsonProblem, MAX_HEADER_BYTES, MAX_TOKEN_BYTES};

/// Why a token of ours is refused. Every variant is the fault of whoever sent the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not have three parts.
    #[error("a token has three parts with a `.` between them (RFC 7515 §7.1)")]
    Shape,
    /// A part is no canonical base64url.
    #[error("the {0} is no base64url without padding in its one form (RFC 7515 §2)")]
    Base64(Part),
    /// A part is no strict JSON, or lacks or adds a member.
    #[error("the {part} is malformed: {problem}")]
    Json {
        /// Header or claims.
        part: Part,
        /// What is wrong.
        problem: JsonProblem,
    },
    /// It passes a limit.
    #[error("the token passes a limit: {0}")]
    TooLarge(Limit),
    /// `alg` is not `ES256`. A key has one algorithm, whatever a header says.
    #[error("`alg` is `ES256` (RFC 8725 §3.1)")]
    Algorithm,
    /// The header brings or names a key of its own.
    #[error(
        "the header may not carry `{0}`: keys come from the published key set (RFC 8725 §3.10)"
    )]
    KeyInHeader(&'static str),
    /// The header demands extensions.
    #[error("the header may not carry `crit`: no extension is understood (RFC 7515 §4.1.11)")]
    CriticalHeader,
    /// The header has a member that its kind does not have.
    #[error("the header has a member beside `alg`, `kid` and `typ`")]
    UnknownHeader,
    /// `typ` is of another kind.
    #[error("this is no {kind}: its `typ` must be `{typ}` (RFC 8725 §3.11)")]
    Type {
        /// The kind asked for.
        kind: &'static str,
        /// Its `typ`.
        typ: &'static str,
    },
    /// There is no `kid`.
    #[error("the header lacks `kid`")]
    MissingKeyId,
    /// No key of the set has this `kid`.
    #[error("no published key has this `kid`")]
    UnknownKey,
    /// The key signs tokens of another use.
    #[error("key `{key}` does not sign a {kind}")]
    KeyUse {
        /// The key.
        key: KeyId,
        /// The kind asked for.
        kind: &'static str,
    },
    /// The signature does not hold.
    #[error("the signature does not hold")]
    Signature,
    /// `iss` is another one.
    #[error("the token is of another issuer")]
    Issuer,
    /// `aud` is another one.
    #[error("the token is for another audience")]
    Audience,
    /// `aud` is a list.
    #[error("`aud` must be one string: a token for several audiences is refused")]
    SeveralAudiences,
    /// A client assertion is not for the issuer.
    #[error(
        "a client assertion's `aud` must be the issuer `{issuer}` and nothing else, not the token endpoint (RFC 10070): ask for a JWT-SVID with that audience"
    )]
    AssertionAudience {
        /// What `aud` must be.
        issuer: String,
    },
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` lies ahead.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iat` lies ahead: a clock is wrong, here or where it was issued.
    #[error("the token was issued in the future: a clock is wrong")]
    FromTheFuture,
    /// `scope` is not what `authorization_details` say (A10).
    #[error("`scope` is not what `authorization_details` say")]
    Scope,
    /// `authorization_details` are no entries of a mandate.
    #[error("`authorization_details`: {0}")]
    Entries(MalformedEntry),
    /// Claims contradict each other.
    #[error("the claims contradict each other: {0}")]
    Contradiction(&'static str),
}

impl From<MalformedEntry> for TokenError {
    fn from(why: MalformedEntry) -> Self {
        match why {
            MalformedEntry::TooLarge(TooLarge::Entries) => TokenError::TooLarge(Limit::Entries),
            MalformedEntry::TooLarge(TooLarge::Values) => TokenError::TooLarge(Limit::Values),
            why @ (MalformedEntry::Type
            | MalformedEntry::NoActions
            | MalformedEntry::DuplicateAction(_)
            | MalformedEntry::Constraint { .. }) => TokenError::Entries(why),
        }
    }
}

/// A part of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The first.
    Header,
    /// The second.
    Claims,
    /// The third.
    Signature,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Part::Header => "header",
            Part::Claims => "claims",
            Part::Signature => "signature",
        })
    }
}

/// Which limit a token passes (FAILURES 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// The whole token.
    #[error("a token has at most {MAX_TOKEN_BYTES} bytes")]
    TokenBytes,
    /// The header.
    #[error("a header has at most {MAX_HEADER_BYTES} bytes")]
    HeaderBytes,
    /// Levels of `act`.
    #[error("`act` has at most {MAX_ACT_LEVELS} levels")]
    ActLevels,
    /// Ids of `task.path`.
    #[error("`task.path` has at most {MAX_DEPTH} ids")]
    PathDepth,
    /// Entries of `authorization_details`.
    #[error("`authorization_details` has at most {MAX_ENTRIES} entries of one action each")]
    Entries,
    /// Values that `authorization_details` list.
    #[error("`authorization_details` lists at most {MAX_VALUES} values in all")]
    Values,
}
