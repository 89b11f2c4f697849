//! Which header fields pass, in either direction.
//!
//! An upstream must never be told who calls by anyone but this gateway, and never in the agent's
//! own words (FAILURES 35).

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use mandate_decide::enforce::named_by_connection;
use mandate_policy::headers::is_hop_by_hop;

use super::challenges::strip_proof_challenges;
use super::refusal::Refusal;

/// Whether an answer's body is what it says, and not an encoding of it.
pub(super) fn is_plain(headers: &HeaderMap) -> bool {
    let only = |name: &HeaderName, known: &str| {
        let mut values = headers.get_all(name).iter();
        values.all(|value| {
            value
                .to_str()
                .is_ok_and(|text| text.trim().eq_ignore_ascii_case(known))
        })
    };
    only(&header::CONTENT_ENCODING, "identity") && only(&header::TRANSFER_ENCODING, "chunked")
}

/// Whether `connection` says only what concerns the connection. Any other name would have fields of
/// the request vanish on the way (RFC 9110 §7.6.1), and nobody needs that.
pub(super) fn connection_is_plain(headers: &HeaderMap) -> bool {
    let plain = |option: &str| {
        let option = option.trim();
        ["", "close", "keep-alive", "te"]
            .iter()
            .any(|known| option.eq_ignore_ascii_case(known))
    };
    headers
        .get_all(header::CONNECTION)
        .iter()
        .all(|value| value.to_str().is_ok_and(|text| text.split(',').all(plain)))
}

/// Refuses a request that shows a token of the agent's to the upstream too, in its target or in another
/// field than its own (FAILURES 35).
pub(super) fn keeps_tokens(tokens: &[&str], target: &str, sent: &HeaderMap) -> Result<(), Refusal> {
    let shows = |token: &str, value: &HeaderValue| {
        value.len() >= token.len() && value.to_str().is_ok_and(|text| text.contains(token))
    };
    let shown = |token: &&str| target.contains(*token) || sent.values().any(|v| shows(token, v));
    if !tokens.iter().any(shown) {
        return Ok(());
    }
    Err(Refusal::Request {
        status: StatusCode::BAD_REQUEST,
        rule: "request.token",
        detail: "a token stands in another place than `authorization` or `Txn-Token`, where the upstream would see it",
    })
}

/// Takes from a response's fields what is between upstream and gateway alone, and what an upstream
/// says about proofs, which are between agent and gateway. `alt-svc` would lead the agent past the
/// gateway.
pub(super) fn strip_response(headers: &mut HeaderMap) {
    let named = named_by_connection(headers);
    let between = |name: &str| named.contains(name) || is_hop_by_hop(name) || name == "alt-svc";
    let names: Vec<HeaderName> = headers.keys().cloned().collect();
    for name in names.iter().filter(|name| between(name.as_str())) {
        headers.remove(name);
    }
    strip_proof_challenges(headers);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(names: &[(&'static str, &'static str)]) -> HeaderMap {
        names
            .iter()
            .map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_response_keeps_its_own_fields_only() {
        let mut headers = fields(&[
            ("content-type", "a/b"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("alt-svc", "h3=\":443\""),
            ("location", "/a"),
            ("dpop-nonce", "n"),
            ("www-authenticate", "DPoP error=\"use_dpop_nonce\""),
        ]);
        strip_response(&mut headers);
        assert_eq!(headers.len(), 2);
    }
}
