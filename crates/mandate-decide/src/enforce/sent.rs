//! A request's head as it goes out, but for what the gateway puts in itself.
//!
//! Whatever is decided on must be read from this: what is decided on and not sent, or sent and not
//! decided on, would let an agent say one thing here and another thing there (FAILURES 33, 35).

use std::collections::BTreeSet;

use http::header::{self, HeaderMap, HeaderName};
use mandate_policy::decl::{Credential, ServerWorkload};

use super::target::Ambiguous;

/// The fields that `server` gets of `received`.
pub fn headers_as_sent(received: &HeaderMap, server: &ServerWorkload) -> HeaderMap {
    let named = named_by_connection(received);
    let passes =
        |name: &&HeaderName| server.passes(name.as_str()) && !named.contains(name.as_str());
    let mut sent = received.clone();
    for name in received.keys().filter(|name| !passes(name)) {
        sent.remove(name);
    }
    sent
}

/// Fields that `connection` declares hop-by-hop (RFC 9110 §7.6.1), in lower case.
pub fn named_by_connection(headers: &HeaderMap) -> BTreeSet<String> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect()
}

/// The target as it goes out, but for the credential: where that is a parameter, an agent's own of
/// that name is taken out, so that no upstream can prefer it and no decision is made on it. Some servers
/// end a parameter at `;` too, where others read on: nobody can tell then which parameters there are.
pub fn target_as_sent(target: String, server: &ServerWorkload) -> Result<String, Ambiguous> {
    match &server.credential {
        Credential::Query { name, .. } => {
            let query = target.split_once('?').map_or("", |(_, query)| query);
            if query.contains(';') {
                return Err(Ambiguous::Query);
            }
            Ok(without_parameter(&target, name))
        }
        Credential::Header { .. }
        | Credential::Basic { .. }
        | Credential::MandateToken
        | Credential::None => Ok(target),
    }
}

fn without_parameter(target: &str, name: &str) -> String {
    let Some((path, query)) = target.split_once('?') else {
        return target.to_owned();
    };
    let is_another = |pair: &&str| {
        let key = pair.split('=').next().unwrap_or_default().replace('+', " ");
        let key = percent_encoding::percent_decode_str(&key).decode_utf8_lossy();
        !pair.is_empty() && !key.eq_ignore_ascii_case(name)
    };
    let pairs: Vec<&str> = query.split('&').filter(is_another).collect();
    if pairs.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", pairs.join("&"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_credential_replaces_the_agents_own_parameter() {
        let others = without_parameter("/a?x=1&KEY=mine&%6bey=2&k=3", "key");
        assert_eq!(others, "/a?x=1&k=3");
        assert_eq!(without_parameter("/a?key=1", "key"), "/a");
        assert_eq!(without_parameter("/a", "key"), "/a");
    }
}
