//! Why a proof is refused: one variant per rule.

use super::{MAX_PROOF_BYTES, PROOF_AGE, PROOF_AHEAD};
use crate::{JsonProblem, Part};

/// Why a proof is refused. Every variant is the fault of whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// There are several.
    #[error("a request has one `DPoP` field with one proof (RFC 9449 §4.3)")]
    Several,
    /// It is too long.
    #[error("a proof has at most {MAX_PROOF_BYTES} bytes")]
    TooLarge,
    /// It does not have three parts.
    #[error("a proof has three parts with a `.` between them (RFC 7515 §7.1)")]
    Shape,
    /// A part is no canonical base64url.
    #[error("the proof's {0} is no base64url without padding in its one form (RFC 7515 §2)")]
    Base64(Part),
    /// A part is no strict JSON.
    #[error("the proof's {part} is malformed: {problem}")]
    Json {
        /// Header or claims.
        part: Part,
        /// What is wrong.
        problem: JsonProblem,
    },
    /// `typ` is another one.
    #[error("this is no proof: its `typ` must be `dpop+jwt` (RFC 9449 §4.2)")]
    Type,
    /// `alg` is none of those allowed.
    #[error("`alg` of a proof is `ES256` or `Ed25519`, which is also called `EdDSA`")]
    Algorithm,
    /// The header demands extensions.
    #[error("a proof's header may not carry `crit`: no extension is understood")]
    CriticalHeader,
    /// The header names a key that is elsewhere.
    #[error("a proof's header may not carry `{0}`: its key is in `jwk` (RFC 8725 §3.10)")]
    KeyElsewhere(&'static str),
    /// `jwk` has a member of a private or symmetric key.
    #[error(
        "`jwk` of the proof has `{0}`: that is a private key, which others may know by now; make a new one (RFC 9449 §4.3)"
    )]
    PrivateKey(&'static str),
    /// `jwk` is missing or is no key for `alg`.
    #[error("`jwk` of the proof is no public key of the kind that its `alg` needs")]
    Key,
    /// A claim is missing or has another form.
    #[error("the proof lacks `{0}`, or it has another form than it must have (RFC 9449 §4.2)")]
    Claim(&'static str),
    /// `htm` is another method.
    #[error("`htm` of the proof is not the request's method")]
    Method,
    /// `htu` is another target.
    #[error(
        "`htu` of the proof is not the address of this request as the server knows itself, without query"
    )]
    Target,
    /// The hash of a token that was shown is missing or another one.
    #[error("`{0}` of the proof is not the SHA-256 of the token beside it (RFC 9449 §4.3)")]
    Hash(&'static str),
    /// The hash of a token that was not shown.
    #[error("the proof has `{0}` and was made to be shown beside a token; there is none")]
    StrayHash(&'static str),
    /// `iat` is too long ago, or `exp` has passed.
    #[error(
        "the proof is older than {} seconds: make one for each request, by a clock that is right", PROOF_AGE.as_secs()
    )]
    TooOld,
    /// `iat` or `nbf` lies too far ahead.
    #[error(
        "the proof is more than {} seconds ahead: a clock is wrong", PROOF_AHEAD.as_secs()
    )]
    FromTheFuture,
    /// The signature does not hold.
    #[error("the proof's signature does not hold")]
    Signature,
}
