//! The only crate that parses, assembles and verifies token bytes.
//!
//! Five kinds are ours, each a struct of typed claims: [`JwtSvid`] (what an agent is),
//! [`TaskToken`] (why it works), [`AccessToken`] (one server workload, one task),
//! [`UpstreamToken`] (what a gateway shows to an upstream) and [`OperatorSession`] (a person who
//! operates). [`IdToken`] is other people's: it proves the person behind a task or a session. A token of one kind is never another: header type, key use
//! and claims differ, and each is checked (RFC 8725 §3.11, §3.12).
//!
//! Text becomes a token in steps, each with a type of its own:
//! [`UnverifiedJws`] → [`SignedClaims`] (the signature holds) → [`Verified`] (issuer, audience and
//! times hold as well). Outgoing tokens go [`UnsignedToken`] → [`SignedToken`] → [`CheckedToken`],
//! which re-reads what was signed; only the last shows its text.
//!
//! [`dpop`] has the proofs that callers make of keys of their own: no tokens, and read by code of their
//! own.
//!
//! This crate never holds a private key: signing is a port. It reads no clock.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "tests may panic"
    )
)]

mod access_token;
mod assemble;
mod confirmation;
pub mod dpop;
mod error;
mod evidence;
mod id_token;
mod jws;
mod keys;
mod kind;
mod login;
mod names;
mod operator_session;
mod remember;
mod scope;
mod strict;
mod svid;
mod task_token;
#[cfg(test)]
mod tests;
mod upstream_token;
mod wire;

pub use access_token::{AccessToken, ActingChain};
pub use assemble::{BuildError, CheckError, CheckedToken, Encoded, SignedToken, UnsignedToken};
pub use confirmation::Confirmation;
pub use error::{Limit, Part, TokenError};
pub use evidence::{EvidenceError, EvidenceRules, EvidenceSource, EvidenceToken};
pub use id_token::{
    IdToken, IdTokenError, IdTokenKeys, JwksError, SpiffeBundle, UnverifiedIdToken,
};
pub use jws::{MAX_HEADER_BYTES, MAX_TOKEN_BYTES, UnverifiedJws};
pub use keys::{KeySet, KeySetError, KeyUse};
pub use kind::{Expect, FUTURE_LEEWAY, Kind, SignedClaims, Verified};
pub use login::LoginSecret;
pub use names::{Audience, Issuer, MalformedUri};
pub use operator_session::OperatorSession;
pub use remember::{Signatures, VerifyEach};
pub use scope::{MalformedScope, Scope, parse_scope, scope_of};
pub use strict::{JsonProblem, check_json};
pub use svid::JwtSvid;
pub use task_token::{MayAct, TaskToken};
pub use upstream_token::UpstreamToken;
