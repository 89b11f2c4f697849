//! The head of an HTTP/1.1 request, as RFC 9112 lets a sender generate it and in no other spelling.

use http::StatusCode;

/// How the body of a request is delimited (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// By its length; zero where there is none.
    Length(u64),
    Chunked,
    /// Another protocol may follow, and no body does.
    Upgrade,
}

/// What a head may use up.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadLimits {
    pub(super) bytes: usize,
    pub(super) fields: usize,
}

/// The rule that a head breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the request line is not `METHOD target HTTP/1.1` (RFC 9112 section 3)")]
    RequestLine,
    #[error("HTTP/1.1 or HTTP/2 is needed")]
    Version,
    #[error("the request target has a character that no URI has (RFC 9112 section 3.2)")]
    Target,
    #[error("a line does not end in CRLF, or has a NUL (RFC 9112 section 2.2)")]
    LineEnd,
    #[error("a field line has white space before its colon, or is folded (RFC 9112 section 5)")]
    FieldLine,
    #[error("a field has a name that is no token, or a control character (RFC 9110 section 5)")]
    Field,
    #[error("there must be one `host`, without user information (RFC 9112 section 3.2)")]
    Host,
    #[error("`content-length` must stand once and be a number (RFC 9112 section 6.3)")]
    Length,
    #[error("`transfer-encoding` must stand once and be `chunked` (RFC 9112 section 6.1)")]
    Coding,
    #[error(
        "`content-length` and `transfer-encoding` contradict each other (RFC 9112 section 6.3)"
    )]
    LengthAndCoding,
    #[error("the chunked body is malformed, or has chunk extensions (RFC 9112 section 7.1)")]
    Chunk,
    #[error("a request that asks for another protocol has no body here")]
    UpgradeWithBody,
    #[error("the request's head is too long or has too many fields")]
    TooLarge,
}

impl Fault {
    /// The rule's name in records, metrics and replies.
    pub(crate) fn rule(self) -> &'static str {
        match self {
            Fault::RequestLine
            | Fault::LineEnd
            | Fault::FieldLine
            | Fault::Field
            | Fault::Chunk => "http.malformed",
            Fault::Target => "request.target",
            Fault::Version => "http.version",
            Fault::Host => "http.host",
            Fault::Length | Fault::Coding | Fault::LengthAndCoding => "http.ambiguous",
            Fault::UpgradeWithBody => "http.upgrade",
            Fault::TooLarge => "http.limit",
        }
    }

    /// The status of the reply.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Fault::RequestLine
            | Fault::Target
            | Fault::LineEnd
            | Fault::FieldLine
            | Fault::Field
            | Fault::Host
            | Fault::Length
            | Fault::Coding
            | Fault::LengthAndCoding
            | Fault::Chunk
            | Fault::UpgradeWithBody => StatusCode::BAD_REQUEST,
            Fault::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Fault::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        }
    }
}

/// Where the head at the beginning of `bytes` ends, if it has come whole. `scanned` is how far a former
/// look at the same head came.
pub(super) fn end(
    bytes: &[u8],
    scanned: &mut usize,
    limits: &HeadLimits,
) -> Result<Option<usize>, Fault> {
    let mut at = *scanned;
    let ended = loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(found) = rest.iter().position(|b| matches!(b, b'\r' | b'\n' | 0)) else {
            *scanned = bytes.len();
            break None;
        };
        at += found;
        match bytes.get(at..at + 2) {
            Some(b"\r\n") => {}
            // What follows the carriage return has not come yet.
            None if bytes.get(at) == Some(&b'\r') => {
                *scanned = at;
                break None;
            }
            Some(_) | None => return Err(Fault::LineEnd),
        }
        if at == 0 {
            return Err(Fault::RequestLine);
        }
        if bytes
            .get(..at)
            .is_some_and(|before| before.ends_with(b"\r\n"))
        {
            break Some(at + 2);
        }
        at += 2;
    };
    if ended.unwrap_or(bytes.len()) > limits.bytes {
        return Err(Fault::TooLarge);
    }
    Ok(ended)
}

/// Checks a whole head, the empty line included, whose lines all end in CRLF.
pub(super) fn check(head: &[u8], limits: &HeadLimits) -> Result<Framing, Fault> {
    let mut lines = head
        .split(|b| *b == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    check_request_line(lines.next().unwrap_or_default())?;
    let mut seen = Seen::default();
    let mut fields = 0;
    for line in lines.take_while(|line| !line.is_empty()) {
        fields += 1;
        if fields > limits.fields {
            return Err(Fault::TooLarge);
        }
        let (name, value) = field(line)?;
        seen.note(name, value)?;
    }
    seen.framing()
}

fn check_request_line(line: &[u8]) -> Result<(), Fault> {
    let mut parts = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Fault::RequestLine);
    };
    let is_method = !method.is_empty() && method.len() <= LONGEST_METHOD;
    if !is_method || !method.iter().all(|b| is_token(*b)) || target.is_empty() {
        return Err(Fault::RequestLine);
    }
    // RFC 9112 §2.3: the version is spelled in one way, and `HTTP/1.0` has neither `host` nor chunks.
    if version != b"HTTP/1.1" {
        let is_version = version.len() == 8 && version.starts_with(b"HTTP/");
        return Err(if is_version {
            Fault::Version
        } else {
            Fault::RequestLine
        });
    }
    // A fragment is no part of a target (RFC 9112 §3.2), and some servers cut it off.
    if !target.iter().all(|b| b.is_ascii_graphic() && *b != b'#') {
        return Err(Fault::Target);
    }
    Ok(())
}

/// Name and value of a field line (RFC 9112 §5): no space before the colon, no folding.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let colon = line.iter().position(|b| *b == b':').ok_or(Fault::Field)?;
    let (name, value) = line.split_at_checked(colon).ok_or(Fault::Field)?;
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    if name.first().is_some_and(blank) || name.last().is_some_and(blank) {
        return Err(Fault::FieldLine);
    }
    let plain = |b: &u8| *b >= b' ' && *b != 0x7f || *b == b'\t';
    if name.is_empty() || !name.iter().all(|b| is_token(*b)) || !value.iter().all(plain) {
        return Err(Fault::Field);
    }
    Ok((name, value))
}

/// The fields that say where a request ends and whom it is for.
#[derive(Debug, Default)]
struct Seen {
    length: Option<u64>,
    chunked: bool,
    host: bool,
    upgrade: bool,
}

impl Seen {
    fn note(&mut self, name: &[u8], value: &[u8]) -> Result<(), Fault> {
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = length(value).filter(|_| self.length.is_none());
            self.length = Some(length.ok_or(Fault::Length)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Fault::Coding);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"host") {
            if self.host || !is_host(value) {
                return Err(Fault::Host);
            }
            self.host = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        }
        Ok(())
    }

    fn framing(self) -> Result<Framing, Fault> {
        if !self.host {
            return Err(Fault::Host);
        }
        match (self.length, self.chunked, self.upgrade) {
            (Some(_), true, _) => Err(Fault::LengthAndCoding),
            (Some(1..), _, true) | (_, true, true) => Err(Fault::UpgradeWithBody),
            (_, false, true) => Ok(Framing::Upgrade),
            (None, true, false) => Ok(Framing::Chunked),
            (length, false, false) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

/// `1*DIGIT` (RFC 9110 §8.6), and no more of them than a number has.
fn length(value: &[u8]) -> Option<u64> {
    let digits = value.len() <= 19 && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| digits)?;
    text.parse().ok()
}

/// A name or address, maybe with a port (RFC 9110 §7.2). Never `user@`, a list, or a path.
fn is_host(value: &[u8]) -> bool {
    let (host, port) = match value.iter().rposition(|b| *b == b':') {
        Some(colon) if !value.ends_with(b"]") => value.split_at(colon),
        Some(_) | None => (value, &[] as &[u8]),
    };
    let port = port.strip_prefix(b":").unwrap_or(port);
    let port_fits = port.len() <= 5 && port.iter().all(u8::is_ascii_digit);
    let bracketed = host
        .strip_prefix(b"[")
        .and_then(|host| host.strip_suffix(b"]"));
    let fits = match bracketed {
        Some(address) => address
            .iter()
            .all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')),
        None => host
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(b)),
    };
    !host.is_empty() && fits && port_fits
}

/// `tchar` of RFC 9110 §5.6.2.
pub(crate) fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// Longer than any registered one.
const LONGEST_METHOD: usize = 32;
