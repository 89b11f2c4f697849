//! The request target, read in the one way that leaves no doubt how an upstream will read it.
//!
//! Gateways and upstreams that normalise differently are how requests get past gateways
//! (FAILURES 33). So nothing is normalised here: a target that could be read in two ways is
//! refused, and what is classified is, byte for byte, what is sent.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::parameter::encoded_overrides_method;

/// Why a request target is refused. The request is denied, whatever policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ambiguous {
    /// It is not in origin form (RFC 9112 §3.2.1).
    #[error("the request target must be a path")]
    Form,
    /// It is longer than 8 KiB.
    #[error("the request target is longer than 8 KiB")]
    TooLong,
    /// A byte that does not belong there unencoded.
    #[error("the request target has a character that must be percent-encoded or left out")]
    Character,
    /// `//`. One slash at the end is no such thing: it is an empty last segment, which an action's
    /// pattern must name.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// `.` or `..`, encoded or not.
    #[error("the path has a dot segment")]
    DotSegment,
    /// `;`, which some servers cut off as a path parameter.
    #[error("the path has a `;`")]
    Parameter,
    /// A percent-encoding that is malformed, in lower case, or not needed.
    #[error(
        "the path has a percent-encoding that is malformed, in lower case, or of a character that needs none"
    )]
    Encoding,
    /// An encoded `/`, `\`, control character or `%`: some upstreams decode once more.
    #[error("the path has an encoded slash, backslash, percent sign or control character")]
    EncodedDelimiter,
    /// Decoded, it is no UTF-8.
    #[error("the path is not UTF-8 when decoded")]
    NotUtf8,
    /// A query with `;` or malformed encoding, where a query attribute depends on how it is read.
    #[error("the query can be read in more than one way")]
    Query,
    /// `_method` and the like: some servers would take the request for one of another method.
    #[error("the query has a parameter by which some servers replace the method")]
    Method,
    /// The same in the body, or a body of which nobody can tell.
    #[error(
        "the body has a member by which some servers replace the method, or is encoded or malformed so that nobody can tell"
    )]
    BodyMethod,
    /// What the body of a `POST` is can be read in more than one way (RFC 9110 §8.3.1).
    #[error(
        "the content type is not one `type/subtype` with `;name=value` after it, each name once; or its charset is not UTF-8, or a multipart type has no plain `boundary`"
    )]
    BodyType,
}

/// A target that has one reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target<'a> {
    segments: Vec<Cow<'a, str>>,
    query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Reads the path and query of a request, as they came.
    pub fn parse(path_and_query: &'a str) -> Result<Self, Ambiguous> {
        if path_and_query.len() > MAX_TARGET {
            return Err(Ambiguous::TooLong);
        }
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        let rest = path.strip_prefix('/').ok_or(Ambiguous::Form)?;
        if query.is_some_and(|q| !q.bytes().all(is_query_byte)) {
            return Err(Ambiguous::Character);
        }
        if query.is_some_and(has_method_override) {
            return Err(Ambiguous::Method);
        }
        let segments = if rest.is_empty() {
            Vec::new()
        } else {
            decode_segments(rest)?
        };
        Ok(Self { segments, query })
    }

    /// The segments of the path, decoded; empty for `/`.
    pub fn segments(&self) -> &[Cow<'a, str>] {
        &self.segments
    }

    /// The query's parameters, decoded, in order.
    pub fn query_pairs(&self) -> Result<Vec<(String, String)>, Ambiguous> {
        let query = self.query.unwrap_or_default();
        if query.contains(';') {
            return Err(Ambiguous::Query);
        }
        query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(decode_pair)
            .collect()
    }
}

/// Looks at every name that some server could find in the query, well-formed or not.
fn has_method_override(query: &str) -> bool {
    query.split(['&', ';']).any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        encoded_overrides_method(name.as_bytes())
    })
}

fn decode_segments(rest: &str) -> Result<Vec<Cow<'_, str>>, Ambiguous> {
    let (inner, slash) = match rest.strip_suffix('/') {
        Some(inner) => (inner, true),
        None => (rest, false),
    };
    let mut segments: Vec<_> = inner
        .split('/')
        .map(decode_segment)
        .collect::<Result<_, _>>()?;
    if slash {
        segments.push(Cow::Borrowed(""));
    }
    Ok(segments)
}

fn decode_segment(segment: &str) -> Result<Cow<'_, str>, Ambiguous> {
    if segment.is_empty() {
        return Err(Ambiguous::EmptySegment);
    }
    if segment == "." || segment == ".." {
        return Err(Ambiguous::DotSegment);
    }
    if segment.contains(';') {
        return Err(Ambiguous::Parameter);
    }
    if !segment.bytes().all(|b| b == b'%' || is_segment_byte(b)) {
        return Err(Ambiguous::Character);
    }
    check_encodings(segment)?;
    percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| Ambiguous::NotUtf8)
}

/// Each `%` begins two upper-case hex digits of a byte that needs encoding (RFC 3986 §6.2.2) and
/// that no server takes for a delimiter.
fn check_encodings(segment: &str) -> Result<(), Ambiguous> {
    let mut parts = segment.split('%');
    parts.next();
    for part in parts {
        let byte = part
            .get(..2)
            .and_then(upper_hex)
            .ok_or(Ambiguous::Encoding)?;
        if is_unreserved(byte) {
            return Err(Ambiguous::Encoding);
        }
        if matches!(byte, b'/' | b'\\' | b'%' | b';') || byte < 0x20 || byte == 0x7f {
            return Err(Ambiguous::EncodedDelimiter);
        }
    }
    Ok(())
}

fn upper_hex(digits: &str) -> Option<u8> {
    let upper = digits
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
    if upper {
        u8::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

fn decode_pair(pair: &str) -> Result<(String, String), Ambiguous> {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    Ok((decode_query(name)?, decode_query(value)?))
}

fn decode_query(text: &str) -> Result<String, Ambiguous> {
    let well_formed = text.split('%').skip(1).all(|part| {
        part.get(..2)
            .is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
    });
    if !well_formed {
        return Err(Ambiguous::Query);
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced)
        .decode_utf8()
        .map_err(|_| Ambiguous::Query)?;
    if decoded.chars().any(char::is_control) {
        return Err(Ambiguous::Query);
    }
    Ok(decoded.into_owned())
}

fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')
}

/// `pchar` of RFC 3986 §3.3 without `;`.
fn is_segment_byte(b: u8) -> bool {
    is_unreserved(b)
        || matches!(
            b,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@'
        )
}

fn is_query_byte(b: u8) -> bool {
    is_segment_byte(b) || matches!(b, b'/' | b'?' | b'%' | b';' | b'[' | b']')
}

const MAX_TARGET: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_path_is_taken_apart_and_decoded() {
        let target = Target::parse("/customers/acme%20corp/notes?a=1&b=x%2By+z").unwrap();
        assert_eq!(target.segments(), ["customers", "acme corp", "notes"]);
        let pairs = [
            ("a".to_owned(), "1".to_owned()),
            ("b".to_owned(), "x+y z".to_owned()),
        ];
        assert_eq!(target.query_pairs().unwrap(), pairs);
        assert!(Target::parse("/").unwrap().segments().is_empty());
        assert_eq!(
            Target::parse("/customers/").unwrap().segments(),
            ["customers", ""]
        );
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        use Ambiguous::*;
        let cases = [
            ("customers", Form),
            ("http://x/y", Form),
            ("*", Form),
            ("//customers", EmptySegment),
            ("/customers//acme", EmptySegment),
            ("/customers/acme//", EmptySegment),
            ("/customers/./acme", DotSegment),
            ("/customers/../acme", DotSegment),
            ("/customers/%2e%2e/acme", Encoding),
            ("/customers/%2E%2E/acme", Encoding),
            ("/customers/acme;x=1", Parameter),
            ("/customers/acme%3Bx", EncodedDelimiter),
            ("/customers%2Facme", EncodedDelimiter),
            ("/customers%5Cacme", EncodedDelimiter),
            ("/customers/%252e", EncodedDelimiter),
            ("/customers/%00", EncodedDelimiter),
            ("/customers/%0A", EncodedDelimiter),
            ("/customers/%61cme", Encoding),
            ("/customers/%c3%a9", Encoding),
            ("/customers/%4", Encoding),
            ("/customers/%zz", Encoding),
            ("/customers/%FF", NotUtf8),
            ("/customers\\acme", Character),
            ("/customers/a b", Character),
            ("/customers/\u{e9}", Character),
            ("/customers/acme#x", Character),
            ("/a?b c", Character),
            ("/a?x=1&_method=DELETE", Method),
            ("/a?x=%4;%5FMethod=DELETE", Method),
            ("/a?[_method]=DELETE", Method),
            ("/a?_method%00x=DELETE", Method),
            ("/a?%u005Fmethod=DELETE", Method),
            ("/a?_HttpMethod=PATCH", Method),
        ];
        for (text, why) in cases {
            assert_eq!(Target::parse(text), Err(why), "{text}");
        }
        assert_eq!(
            Target::parse(&format!("/{}", "a".repeat(MAX_TARGET))),
            Err(TooLong)
        );
    }

    #[test]
    fn a_query_with_two_readings_is_refused_where_it_matters() {
        for bad in ["/a?x=1;y=2", "/a?x=%4", "/a?x=%FF", "/a?x=%00"] {
            assert_eq!(
                Target::parse(bad).unwrap().query_pairs(),
                Err(Ambiguous::Query),
                "{bad}"
            );
        }
    }
}
