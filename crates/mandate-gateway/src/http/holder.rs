//! Who holds a token of ours, asked before anything else that depends on the server workload.
//!
//! Everybody else is told what is wrong with their token, whichever server workload they name, and as fast:
//! they learn nothing of which there are, nor of what they take (P8).

use http::HeaderMap;
use mandate_token::{AccessToken, JwtSvid, SignedClaims, TokenError};

use super::authenticate::shown;
use super::front::Front;
use super::refusal::Refusal;
use crate::snapshot::Snapshot;

/// The token of a request, which this authority signed, for whatever it is and was.
pub(super) enum Holder {
    Access(SignedClaims<AccessToken>),
    Svid(SignedClaims<JwtSvid>),
}

impl Holder {
    pub(super) fn of(
        front: &Front,
        snapshot: &Snapshot,
        headers: &HeaderMap,
    ) -> Result<Self, Refusal> {
        let token = shown(headers)?.token;
        match front.tokens.signed(token, snapshot) {
            Ok(signed) => Ok(Self::Access(signed)),
            Err(no_access @ Refusal::Token(TokenError::Type { .. })) => {
                match front.exchanges.svid(token, snapshot) {
                    Ok(signed) => Ok(Self::Svid(signed)),
                    // It is neither; agents rather show access tokens.
                    Err(Refusal::Token(TokenError::Type { .. })) => Err(no_access),
                    Err(why) => Err(why),
                }
            }
            Err(why) => Err(why),
        }
    }
}
