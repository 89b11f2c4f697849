//! Origins as configuration writes them.

use mandate_ports::Origin;

/// Text that is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no origin: `https://host` or `https://host:port` (or `http`), lower case, without path, user or query"
)]
pub struct MalformedOrigin(String);

/// Reads `scheme://host[:port]`; the port is filled in (RFC 6454 §4).
pub fn parse_origin(text: &str) -> Result<Origin, MalformedOrigin> {
    parts(text).ok_or_else(|| MalformedOrigin(text.chars().take(200).collect()))
}

fn parts(text: &str) -> Option<Origin> {
    let (scheme, authority) = text.split_once("://")?;
    let default = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let address: std::net::Ipv6Addr = address.parse().ok()?;
            (address.to_string(), port)
        }
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            (is_host(host).then(|| host.to_owned())?, port)
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default,
        None => return None,
        Some(digits) => number(digits)?,
    };
    Some(Origin {
        scheme: scheme.to_owned(),
        host,
        port,
    })
}

fn is_host(text: &str) -> bool {
    let fits =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_');
    (1..=253).contains(&text.len()) && text.bytes().all(fits)
}

/// A port number as it is usually written: no sign, no leading zero.
fn number(digits: &str) -> Option<u16> {
    let port: u16 = digits.parse().ok()?;
    (port != 0 && port.to_string() == digits).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_in_the_port() {
        for (text, shown) in [
            ("https://a.example", "https://a.example:443"),
            ("http://127.0.0.1", "http://127.0.0.1:80"),
            ("https://a:8443", "https://a:8443"),
            ("https://[0::1]:8443", "https://[::1]:8443"),
        ] {
            assert_eq!(parse_origin(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn refuses_what_is_more_or_less_than_an_origin() {
        for text in [
            "",
            "a",
            "ftp://a",
            "https://",
            "https://a/",
            "https://a/path",
            "https://a?x",
            "https://u@a",
            "https://A",
            "https://a:",
            "https://a:0",
            "https://a:+1",
            "https://a:080",
            "https://a:65536",
            "https://[::1",
            "https://[::1]x",
            "https://[a]",
            "https://a:1:2",
        ] {
            assert!(parse_origin(text).is_err(), "{text}");
        }
    }
}
