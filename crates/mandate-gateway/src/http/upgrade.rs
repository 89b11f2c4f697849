//! Upgrades to another protocol, where the action declares them (RFC 9110 §7.8, RFC 6455).
//!
//! Only HTTP/1.1 has them: an extended `CONNECT` (RFC 8441) is not offered, and refused.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use mandate_policy::decl::Action;
use sha1::{Digest, Sha1};

use super::refusal::Refusal;

/// An upgrade that its action declares and that is asked for as it must be.
#[derive(Debug, Clone)]
pub(super) struct Upgrade {
    /// The protocol, in lower case.
    protocol: String,
    websocket: Option<Handshake>,
}

/// What an upstream must answer with (RFC 6455 §4.1).
#[derive(Debug, Clone)]
struct Handshake {
    accept: String,
    subprotocols: Vec<String>,
}

/// The upgrade that a request for `action` asks for that shows `tokens`, if it asks for one.
pub(super) fn of(
    head: &Parts,
    action: Option<&Action>,
    tokens: &[&str],
) -> Result<Option<Upgrade>, Refusal> {
    let Some(asked) = head.headers.get(header::UPGRADE) else {
        return Ok(None);
    };
    let protocol = asked
        .to_str()
        .map_or_else(|_| String::new(), str::to_ascii_lowercase);
    if !action.is_some_and(|action| action.upgrade.contains(&protocol)) {
        return Err(Refusal::Request {
            status: StatusCode::NOT_IMPLEMENTED,
            rule: "http.upgrade",
            detail: "the action declares no upgrade to this protocol",
        });
    }
    let asked_well = head.method == Method::GET
        && head.version == Version::HTTP_11
        && connection_upgrades(&head.headers);
    if !asked_well {
        return malformed("an upgrade is a `GET` over HTTP/1.1 with `connection: upgrade`");
    }
    let websocket = match protocol.as_str() {
        "websocket" => Some(handshake(&head.headers, tokens)?),
        _other => None,
    };
    Ok(Some(Upgrade {
        protocol,
        websocket,
    }))
}

impl Upgrade {
    /// Its name, as actions declare it.
    pub(super) fn protocol(&self) -> &str {
        &self.protocol
    }

    /// Puts into the outgoing head what asks for it. What would hide an echo of the credential from
    /// this gateway is not asked for (C4).
    pub(super) fn ask(&self, headers: &mut HeaderMap, has_credential: bool) -> Result<(), Refusal> {
        if has_credential {
            headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
        }
        self.name_in(headers)
    }

    /// Names it in a head, in either direction.
    pub(super) fn name_in(&self, headers: &mut HeaderMap) -> Result<(), Refusal> {
        let protocol =
            HeaderValue::from_str(&self.protocol).map_err(|_| Refusal::UnaskedUpgrade)?;
        headers.insert(header::UPGRADE, protocol);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        Ok(())
    }

    /// That an upstream's 101 is the answer to what was asked with the fields of `sent`.
    pub(super) fn check(&self, answer: &HeaderMap, sent_extensions: bool) -> Result<(), Refusal> {
        let switched = one(answer, &header::UPGRADE)
            .is_some_and(|found| found.eq_ignore_ascii_case(&self.protocol));
        let fits = self
            .websocket
            .as_ref()
            .is_none_or(|handshake| handshake.is_met_by(answer));
        let extended = answer.contains_key(header::SEC_WEBSOCKET_EXTENSIONS);
        if switched && connection_upgrades(answer) && fits && (sent_extensions || !extended) {
            Ok(())
        } else {
            Err(Refusal::UnaskedUpgrade)
        }
    }
}

impl Handshake {
    fn is_met_by(&self, answer: &HeaderMap) -> bool {
        let accepted = one(answer, &header::SEC_WEBSOCKET_ACCEPT) == Some(self.accept.as_str());
        let chosen = answer
            .get_all(header::SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .count();
        let offered = one(answer, &header::SEC_WEBSOCKET_PROTOCOL)
            .is_some_and(|one| self.subprotocols.iter().any(|offered| offered == one));
        accepted && (chosen == 0 || offered)
    }
}

/// The handshake of a WebSocket client (RFC 6455 §4.2.1).
fn handshake(headers: &HeaderMap, tokens: &[&str]) -> Result<Handshake, Refusal> {
    if one(headers, &header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return malformed("`sec-websocket-version` must be 13");
    }
    let key = one(headers, &header::SEC_WEBSOCKET_KEY);
    let is_key = |key: &&str| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16);
    let Some(key) = key.filter(is_key) else {
        return malformed("`sec-websocket-key` must stand once and be 16 bytes in base64");
    };
    let subprotocols = subprotocols(headers)?;
    let carries = |name: &String| {
        let mut tokens = tokens.iter();
        tokens.any(|token| carries_credential(name, token))
    };
    if subprotocols.iter().any(carries) {
        return Err(Refusal::Request {
            status: StatusCode::BAD_REQUEST,
            rule: "request.token",
            detail: "`sec-websocket-protocol` carries a credential, which belongs into `authorization` alone",
        });
    }
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    Ok(Handshake {
        accept: STANDARD.encode(digest),
        subprotocols,
    })
}

fn subprotocols(headers: &HeaderMap) -> Result<Vec<String>, Refusal> {
    let mut found: Vec<String> = Vec::new();
    for value in headers.get_all(header::SEC_WEBSOCKET_PROTOCOL) {
        let Ok(text) = value.to_str() else {
            return malformed("`sec-websocket-protocol` must be a list of names");
        };
        for name in text.split(',').map(str::trim) {
            let is_name = !name.is_empty() && name.bytes().all(crate::wire::is_token);
            if !is_name || found.iter().any(|known| known == name) {
                return malformed("`sec-websocket-protocol` must be a list of names, each once");
            }
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

/// Browsers can set no `authorization` on a WebSocket, so people put tokens there: as they are, or
/// encoded, behind a name that says so.
fn carries_credential(name: &str, token: &str) -> bool {
    let folded = name.to_ascii_lowercase();
    let encoded = URL_SAFE_NO_PAD.encode(token);
    ["bearer", "authorization", "access_token"]
        .iter()
        .any(|word| folded.contains(word))
        || name.contains(token)
        || name.contains(&encoded)
}

fn connection_upgrades(headers: &HeaderMap) -> bool {
    let mut upgrades = false;
    for value in headers.get_all(header::CONNECTION) {
        for option in value
            .as_bytes()
            .split(|b| *b == b',')
            .map(<[u8]>::trim_ascii)
        {
            upgrades |= option.eq_ignore_ascii_case(b"upgrade");
            if !option.eq_ignore_ascii_case(b"upgrade")
                && !option.eq_ignore_ascii_case(b"keep-alive")
            {
                return false;
            }
        }
    }
    upgrades
}

/// The value of a field that stands once.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        (_, _) => None,
    }
}

fn malformed<T>(detail: &'static str) -> Result<T, Refusal> {
    Err(Refusal::Request {
        status: StatusCode::BAD_REQUEST,
        rule: "http.upgrade",
        detail,
    })
}

/// RFC 6455 §1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(extra: &[(&'static str, &'static str)]) -> HeaderMap {
        let usual = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let mut headers = HeaderMap::new();
        for (name, value) in usual {
            headers.insert(name, HeaderValue::from_static(value));
        }
        for (name, value) in extra {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_accept_key_is_the_one_of_the_rfc() {
        let found = handshake(&fields(&[]), &["t.o.k"]).unwrap();
        assert_eq!(found.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_handshake_that_differs_in_one_detail_is_refused() {
        for other in [
            ("sec-websocket-version", "8"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ"),
            ("sec-websocket-key", "c2hvcnQ="),
            ("sec-websocket-protocol", "chat, chat"),
            ("sec-websocket-protocol", "chat,,x"),
            ("sec-websocket-protocol", "chat, t.o.k"),
            ("sec-websocket-protocol", "dC5vLms"),
            (
                "sec-websocket-protocol",
                "base64url.Bearer.authorization.k8s.io.x",
            ),
        ] {
            assert!(
                handshake(&fields(&[other]), &["other", "t.o.k"]).is_err(),
                "{other:?}"
            );
        }
        for other in ["close, upgrade", "upgrade, x-customer", "keep-alive"] {
            let mut headers = fields(&[]);
            headers.insert("connection", HeaderValue::from_static(other));
            assert!(!connection_upgrades(&headers), "{other}");
        }
    }

    #[test]
    fn an_upstream_switches_to_what_was_asked_for_or_not_at_all() {
        let asked = Upgrade {
            protocol: "websocket".to_owned(),
            websocket: Some(
                handshake(&fields(&[("sec-websocket-protocol", "a, b")]), &["t"]).unwrap(),
            ),
        };
        let accept = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let answers = |more: &[(&'static str, &'static str)]| {
            let mut headers = fields(more);
            headers.insert(accept.0, HeaderValue::from_static(accept.1));
            for (name, value) in more {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            asked.check(&headers, false)
        };
        assert!(answers(&[]).is_ok());
        assert!(answers(&[("sec-websocket-protocol", "b")]).is_ok());
        for wrong in [
            ("upgrade", "h2c"),
            ("connection", "close"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOp="),
            ("sec-websocket-protocol", "c"),
            ("sec-websocket-extensions", "permessage-deflate"),
        ] {
            assert!(answers(&[wrong]).is_err(), "{wrong:?}");
        }
        assert!(asked.check(&fields(&[]), false).is_err(), "no accept key");
    }
}
