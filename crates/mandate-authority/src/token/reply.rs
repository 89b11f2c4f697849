//! Answers of the token endpoint. One that hands out a token asks for what was issued, with its receipt.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use mandate_decide::exchange::OauthError;
use mandate_model::Timestamp;

use super::issue::Issued;
use crate::problem::RETRY_AFTER;

/// The token, now that its records are durable (P4).
pub(super) fn granted(issued: &Issued, now: Timestamp) -> Response {
    plain(StatusCode::OK, &issued.response(now))
}

/// An error (RFC 6749 §5.2).
pub(crate) fn refused(error: OauthError, description: &str) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::json!({
        "error": error.code,
        "error_description": printable(description),
    });
    let mut response = plain(status, &body);
    if status == StatusCode::UNAUTHORIZED {
        // RFC 9110 §15.5.2 wants a challenge. Clients prove themselves in the form.
        let challenge = HeaderValue::from_static(CHALLENGE);
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
    }
    response
}

/// RFC 6749 §5.1: no cache keeps it.
fn plain(status: StatusCode, body: &serde_json::Value) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
        (header::PRAGMA, "no-cache"),
    ];
    (status, headers, body.to_string()).into_response()
}

/// RFC 6749 §5.2: visible ASCII without `"` and `\`; ours has `'` in the place of a quote.
fn printable(text: &str) -> String {
    let allowed = |c: char| match c {
        '"' | '\\' => '\'',
        ' '..='~' => c,
        _ => '?',
    };
    let text = text.replace('§', "section ");
    text.chars().take(MAX_DESCRIPTION).map(allowed).collect()
}

const CHALLENGE: &str = "SPIFFE-JWT realm=\"mandate\"";
const MAX_DESCRIPTION: usize = 600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_has_only_what_the_standard_allows() {
        assert_eq!(printable("say \"x\" \\ é\n"), "say 'x' ' ??");
        assert_eq!(printable("RFC 9110 §3.11"), "RFC 9110 section 3.11");
        assert_eq!(printable(&"x".repeat(1000)).len(), MAX_DESCRIPTION);
    }
}
