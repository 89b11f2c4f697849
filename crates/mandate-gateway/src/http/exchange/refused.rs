//! Why an agent gets no access token by this gateway.

use http::StatusCode;

/// What its caller learns: the rule that it broke, in the authority's words (P8). The authority has
/// recorded it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExchangeRefusal {
    /// The server workload is not assigned to this gateway.
    #[error(
        "this gateway does not exchange tokens for this server workload: get an access token of the authority, and send that"
    )]
    Unassigned,
    /// The authority refused.
    #[error("{description}")]
    Denied {
        /// Whose fault it is.
        fault: Fault,
        /// The words of the authority.
        description: String,
    },
    /// The authority does not answer in time, or with what is no answer.
    #[error("the authority gives no access token now; try again")]
    NoAnswer,
}

/// What was wrong, as far as the agent can mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What it may do.
    Right,
    /// The tokens that it brought.
    Token,
    /// The proof that it brought.
    Proof,
    /// Nothing: it may try again.
    Nothing,
}

impl Fault {
    /// Of the authority's `error` (RFC 6749 §5.2, RFC 8693 §2.2.2, RFC 9449 §5).
    pub(super) fn of(error: &str) -> Self {
        match error {
            "access_denied"
            | "invalid_target"
            | "invalid_scope"
            | "invalid_authorization_details"
            | "unauthorized_client" => Fault::Right,
            "invalid_dpop_proof" => Fault::Proof,
            // The second is about the gateway's own proof.
            "temporarily_unavailable" | "use_dpop_nonce" => Fault::Nothing,
            _ => Fault::Token,
        }
    }
}

impl ExchangeRefusal {
    /// The rule's name in records, metrics and replies.
    pub(crate) fn rule(&self) -> &'static str {
        match self {
            Self::Unassigned => "exchange.unassigned",
            Self::Denied { fault, .. } => match fault {
                Fault::Right => "exchange.denied",
                Fault::Token => "exchange.token",
                Fault::Proof => "exchange.proof",
                Fault::Nothing => "exchange.later",
            },
            Self::NoAnswer => "exchange.no_answer",
        }
    }

    /// The status of the reply.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Unassigned => StatusCode::FORBIDDEN,
            Self::Denied { fault, .. } => match fault {
                Fault::Right => StatusCode::FORBIDDEN,
                Fault::Token | Fault::Proof => StatusCode::UNAUTHORIZED,
                Fault::Nothing => StatusCode::SERVICE_UNAVAILABLE,
            },
            Self::NoAnswer => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The error code of a challenge, where another token or proof would help.
    pub(crate) fn challenge(&self) -> Option<&'static str> {
        match self {
            Self::Denied { fault, .. } => match fault {
                Fault::Token => Some("invalid_token"),
                Fault::Proof => Some("invalid_dpop_proof"),
                Fault::Right | Fault::Nothing => None,
            },
            Self::Unassigned | Self::NoAnswer => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_can_mend_is_said_with_a_status_that_asks_for_it() {
        for (error, status, challenge) in [
            ("access_denied", 403, None),
            ("invalid_target", 403, None),
            ("unauthorized_client", 403, None),
            ("invalid_request", 401, Some("invalid_token")),
            ("invalid_client", 401, Some("invalid_token")),
            ("invalid_dpop_proof", 401, Some("invalid_dpop_proof")),
            ("temporarily_unavailable", 503, None),
            ("use_dpop_nonce", 503, None),
            ("anything else", 401, Some("invalid_token")),
        ] {
            let refused = ExchangeRefusal::Denied {
                fault: Fault::of(error),
                description: String::new(),
            };
            assert_eq!(refused.status(), status, "{error}");
            assert_eq!(refused.challenge(), challenge, "{error}");
        }
    }
}
