//! Just enough of URLs: an origin and a plain base path, nothing that could be read in two ways.

use crate::decl::Upstream;

/// Why text is no URL that we would use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum MalformedUrl {
    #[error("does not begin with `http://` or `https://`")]
    Scheme,
    #[error("has a user, a query, a fragment or a character that does not belong there")]
    Characters,
    #[error("has no host in lower case")]
    Host,
    #[error("has no port from 1 to 65535")]
    Port,
    #[error("has a path that is not in plain form")]
    Path,
    #[error("is neither `https` nor on this machine")]
    Plain,
}

/// Reads `http(s)://host[:port][/base]`.
pub(super) fn parse_upstream(text: &str) -> Result<Upstream, MalformedUrl> {
    let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err(MalformedUrl::Scheme),
    };
    let odd = |c: char| c.is_whitespace() || c.is_control() || "?#@\\%\"<>".contains(c);
    if rest.contains(odd) {
        return Err(MalformedUrl::Characters);
    }
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, path),
        None => (rest, ""),
    };
    let (host, port) = host_and_port(authority)?;
    Ok(Upstream {
        tls,
        host,
        port: match port {
            None => {
                if tls {
                    443
                } else {
                    80
                }
            }
            Some(text) => port_number(text)?,
        },
        base_path: base_path(path)?,
    })
}

fn host_and_port(authority: &str) -> Result<(String, Option<&str>), MalformedUrl> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(MalformedUrl::Host)?;
        let address: core::net::Ipv6Addr = host.parse().map_err(|_| MalformedUrl::Host)?;
        let port = match after {
            "" => None,
            _ => Some(after.strip_prefix(':').ok_or(MalformedUrl::Port)?),
        };
        return Ok((address.to_string(), port));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
    if host.is_empty() || host.len() > 253 || !host.bytes().all(plain) {
        return Err(MalformedUrl::Host);
    }
    Ok((host.to_owned(), port))
}

fn port_number(text: &str) -> Result<u16, MalformedUrl> {
    let number: u16 = text.parse().map_err(|_| MalformedUrl::Port)?;
    if number == 0 || number.to_string() != text {
        return Err(MalformedUrl::Port);
    }
    Ok(number)
}

fn base_path(path: &str) -> Result<String, MalformedUrl> {
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Ok(String::new());
    }
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(';');
    if path.split('/').all(plain) {
        Ok(format!("/{path}"))
    } else {
        Err(MalformedUrl::Path)
    }
}

/// Whether keys may be fetched from `text`: `https`, or plain `http` on this machine.
pub(super) fn check_fetchable(text: &str) -> Result<(), MalformedUrl> {
    let url = parse_upstream(text)?;
    let loopback = matches!(url.host.as_str(), "localhost" | "127.0.0.1" | "::1");
    if url.tls || loopback {
        Ok(())
    } else {
        Err(MalformedUrl::Plain)
    }
}

/// Whether `text` can be an OAuth resource indicator: an absolute URI without fragment
/// (RFC 8707 §2), one string.
pub(super) fn is_resource_indicator(text: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '#' || !c.is_ascii();
    let scheme = |s: &str| {
        s.starts_with(|c: char| c.is_ascii_lowercase())
            && s.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c))
    };
    !text.contains(odd)
        && text
            .split_once(':')
            .is_some_and(|(s, rest)| scheme(s) && !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_upstream_and_refuses_what_could_be_read_in_two_ways() {
        for (text, host, port, base) in [
            (
                "https://records.internal:8443",
                "records.internal",
                8443,
                "",
            ),
            ("http://127.0.0.1", "127.0.0.1", 80, ""),
            ("https://[::1]/v1/x/", "::1", 443, "/v1/x"),
        ] {
            let url = parse_upstream(text).unwrap();
            assert_eq!(
                (url.host.as_str(), url.port, url.base_path.as_str()),
                (host, port, base)
            );
        }
        use MalformedUrl::*;
        for (text, why) in [
            ("ftp://a", Scheme),
            ("https://u@a", Characters),
            ("https://a?x", Characters),
            ("https://a/%2e", Characters),
            ("https://", Host),
            ("https://A", Host),
            ("https://a:0", Port),
            ("https://a:080", Port),
            ("https://a:99999", Port),
            ("https://a//b", Path),
            ("https://a/../b", Path),
        ] {
            assert_eq!(parse_upstream(text), Err(why), "{text}");
        }
        assert_eq!(check_fetchable("http://login.example"), Err(Plain));
        assert_eq!(check_fetchable("http://localhost:9"), Ok(()));
    }
}
