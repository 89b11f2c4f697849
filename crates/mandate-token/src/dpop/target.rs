//! The URI of a request, in the one form in which two of them are compared.

use std::fmt;

/// The target URI of a request without query and fragment, normalised by syntax and scheme
/// (RFC 3986 §6.2.2, §6.2.3), as RFC 9449 §4.3 has `htu` compared.
///
/// A server makes it of its own *configured* address and of the path that it was asked for, never
/// of a header that a caller or a proxy wrote.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HttpTarget(String);

/// Text that is no target URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a target is an `http` or `https` URI of ASCII with a host and without user information")]
pub struct MalformedTarget;

impl HttpTarget {
    /// Reads a URI; its query and its fragment are left out.
    pub fn parse(uri: &str) -> Result<Self, MalformedTarget> {
        if uri.len() > MAX_TARGET || !uri.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(MalformedTarget);
        }
        let (scheme, rest) = uri.split_once("://").ok_or(MalformedTarget)?;
        let scheme = scheme.to_ascii_lowercase();
        let usual_port = match scheme.as_str() {
            "https" => "443",
            "http" => "80",
            _ => return Err(MalformedTarget),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at_checked(end).ok_or(MalformedTarget)?;
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        let authority = authority_of(authority, usual_port)?;
        let path = path_of(path)?;
        Ok(Self(format!("{scheme}://{authority}{path}")))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Host in lower case, without the scheme's usual port or an empty one.
fn authority_of(text: &str, usual_port: &str) -> Result<String, MalformedTarget> {
    if text.contains('@') {
        return Err(MalformedTarget);
    }
    let after_host = text.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match text.get(after_host..).and_then(|tail| tail.find(':')) {
        None => (text, ""),
        Some(at) => {
            let (host, port) = text
                .split_at_checked(after_host + at)
                .ok_or(MalformedTarget)?;
            (host, port.get(1..).unwrap_or_default())
        }
    };
    if host.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(MalformedTarget);
    }
    let host = without_needless_escapes(host)?.to_ascii_lowercase();
    Ok(match port {
        "" => host,
        usual if usual == usual_port => host,
        other => format!("{host}:{other}"),
    })
}

/// Escapes in one form, dot segments removed, never empty.
fn path_of(text: &str) -> Result<String, MalformedTarget> {
    let path = without_needless_escapes(text)?;
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            plain => kept.push(plain),
        }
    }
    Ok(format!("/{}", kept.join("/")))
}

/// Unreserved characters unescaped, other escapes with upper-case digits (RFC 3986 §6.2.2.1,
/// §6.2.2.2).
fn without_needless_escapes(text: &str) -> Result<String, MalformedTarget> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let byte = hex(rest.next())? * 16 + hex(rest.next())?;
        let is_unreserved =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if is_unreserved {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(out)
}

fn hex(digit: Option<char>) -> Result<u8, MalformedTarget> {
    let value = digit.and_then(|d| d.to_digit(16)).ok_or(MalformedTarget)?;
    u8::try_from(value).map_err(|_| MalformedTarget)
}

const MAX_TARGET: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(uri: &str) -> String {
        HttpTarget::parse(uri).unwrap().as_str().to_owned()
    }

    #[test]
    fn what_rfc_3986_takes_for_the_same_is_the_same() {
        for (one, other) in [
            (
                "HTTPS://Server.Example.COM/token",
                "https://server.example.com/token",
            ),
            ("https://a.example:443/x", "https://a.example/x"),
            ("http://a.example:80", "http://a.example/"),
            ("https://a.example:/x", "https://a.example/x"),
            (
                "https://a.example/%7euser/%2f",
                "https://a.example/~user/%2F",
            ),
            ("https://a.example/a/./b/../c", "https://a.example/a/c"),
            ("https://a.example/a/%2e%2E/c", "https://a.example/c"),
            ("https://a.example/a/..", "https://a.example/"),
            ("https://a.example/../../a", "https://a.example/a"),
            ("https://a.example/x?y=/z#w", "https://a.example/x"),
            ("https://a.example?y", "https://a.example/"),
            ("https://[2001:DB8::1]:443/x", "https://[2001:db8::1]/x"),
        ] {
            assert_eq!(of(one), of(other), "{one}");
        }
    }

    #[test]
    fn what_is_another_resource_stays_another() {
        let base = of("https://a.example/x");
        for other in [
            "http://a.example/x",
            "https://b.example/x",
            "https://a.example:8443/x",
            "https://a.example/X",
            "https://a.example/x/",
            "https://a.example//x",
            "https://a.example/x%2F",
            "https://a.example/",
        ] {
            assert_ne!(of(other), base, "{other}");
        }
        assert_ne!(of("https://a.example/a%2Fb"), of("https://a.example/a/b"));
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for bad in [
            "",
            "/token",
            "a.example/x",
            "ftp://a.example/",
            "https:///x",
            "https://u@a.example/",
            "https://a.example:x/",
            "https://a.example/%zz",
            "https://a.example/%2",
            "https://a.example/\u{e9}",
            "https://a.example/a b",
        ] {
            assert_eq!(HttpTarget::parse(bad), Err(MalformedTarget), "{bad}");
        }
        let long = format!("https://a.example/{}", "x".repeat(MAX_TARGET));
        assert_eq!(HttpTarget::parse(&long), Err(MalformedTarget));
    }

    proptest! {
        #[test]
        fn a_normal_form_is_its_own_normal_form(
            path in "[/a-zA-Z.%0-9~?#:@-]{0,40}", host in "[a-zA-Z.]{1,12}", port in "(:[0-9]{0,4})?",
        ) {
            if let Ok(target) = HttpTarget::parse(&format!("https://{host}{port}/{path}")) {
                prop_assert_eq!(of(target.as_str()), target.as_str());
                prop_assert!(!target.as_str().contains(['?', '#']));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = HttpTarget::parse(&text);
        }
    }
}
