//! What an upstream says about proofs of possession, which is not for it to say.
//!
//! Proofs are between agents and gateways. An upstream that asks for one would have agents repeat a
//! request that it has carried out already, or make proofs with nonces of its own choice.

use http::HeaderMap;
use http::header::{HeaderValue, WWW_AUTHENTICATE};

use super::proof::DPOP_NONCE;

/// Takes challenges of the scheme `DPoP` and nonces for it out of the fields of an answer
/// (RFC 9449 §7.1, §8). Other challenges stay.
pub(super) fn strip_proof_challenges(headers: &mut HeaderMap) {
    headers.remove(DPOP_NONCE);
    let asks_for_proof = |value: &HeaderValue| names_dpop(value.as_bytes());
    if !headers.get_all(WWW_AUTHENTICATE).iter().any(asks_for_proof) {
        return;
    }
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    let kept: Vec<HeaderValue> = values.filter_map(without_dpop).collect();
    headers.remove(WWW_AUTHENTICATE);
    for value in kept {
        headers.append(WWW_AUTHENTICATE, value);
    }
}

fn names_dpop(value: &[u8]) -> bool {
    value
        .windows(4)
        .any(|four| four.eq_ignore_ascii_case(b"dpop"))
}

/// A field's value without such challenges; `None` where nothing is left, or where it cannot be told
/// what belongs to which.
fn without_dpop(value: &HeaderValue) -> Option<HeaderValue> {
    if !names_dpop(value.as_bytes()) {
        return Some(value.clone());
    }
    HeaderValue::from_str(&other_challenges(value.to_str().ok()?)?).ok()
}

/// The others of a list of challenges (RFC 9110 §11.6.1).
fn other_challenges(list: &str) -> Option<String> {
    let mut kept = Vec::new();
    let mut keeps = false;
    for element in elements(list)? {
        if let Some(scheme) = scheme_of(element) {
            keeps = !scheme.eq_ignore_ascii_case("dpop");
        }
        if keeps {
            kept.push(element);
        }
    }
    (!kept.is_empty()).then(|| kept.join(", "))
}

/// What stands between the commas that are in no quoted string; `None` if one does not end.
fn elements(list: &str) -> Option<Vec<&str>> {
    let (mut quoted, mut escaped) = (false, false);
    let split = list.split(|c| {
        let was_escaped = std::mem::take(&mut escaped);
        match c {
            '"' if !was_escaped => quoted = !quoted,
            '\\' if quoted && !was_escaped => escaped = true,
            _ => {}
        }
        c == ',' && !quoted
    });
    let elements = split.map(str::trim).filter(|element| !element.is_empty());
    let elements: Vec<&str> = elements.collect();
    (!quoted).then_some(elements)
}

/// The scheme, if the element begins a challenge: a token that no `=` follows.
fn scheme_of(element: &str) -> Option<&str> {
    let end = element
        .find(|c: char| !is_token(c))
        .unwrap_or(element.len());
    let (token, rest) = element.split_at_checked(end)?;
    let is_parameter = rest.trim_start().starts_with('=');
    (!token.is_empty() && !is_parameter).then_some(token)
}

/// RFC 9110 §5.6.2.
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(values: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        headers.insert(DPOP_NONCE, HeaderValue::from_static("n"));
        for value in values {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(WWW_AUTHENTICATE, value);
        }
        strip_proof_challenges(&mut headers);
        assert!(!headers.contains_key(DPOP_NONCE));
        let left = headers.get_all(WWW_AUTHENTICATE).iter();
        left.map(|v| v.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn challenges_for_proofs_are_taken_out_and_others_stay_as_they_are() {
        for (values, expected) in [
            (
                &[r#"Basic realm="a, b""#][..],
                &[r#"Basic realm="a, b""#][..],
            ),
            (&[r#"DPoP error="use_dpop_nonce""#], &[]),
            (&["dpop"], &[]),
            (
                &[r#"DPoP algs="ES256", error="x""#, "Negotiate"],
                &["Negotiate"],
            ),
            (
                &[
                    r#"Basic realm="a", dPoP error="use_dpop_nonce", algs="x", Bearer scope="s", error="e""#,
                ],
                &[r#"Basic realm="a", Bearer scope="s", error="e""#],
            ),
            // A word in quotes is no challenge.
            (
                &[r#"Basic realm="say \", DPoP \" x""#],
                &[r#"Basic realm="say \", DPoP \" x""#],
            ),
            (&[r#"Basic realm = "dpop""#], &[r#"Basic realm = "dpop""#]),
            (&["Negotiate YWJj==, DPoP"], &["Negotiate YWJj=="]),
            // What cannot be told apart is not passed on.
            (&[r#"Basic realm="a, DPoP"#], &[]),
        ] {
            assert_eq!(left(values), expected, "{values:?}");
        }
    }

    #[test]
    fn a_challenge_that_is_no_text_does_not_pass_where_it_names_proofs() {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_bytes(b"DPoP realm=\"\xff\"").unwrap();
        headers.insert(WWW_AUTHENTICATE, value);
        strip_proof_challenges(&mut headers);
        assert!(headers.is_empty());
    }
}
