//! Streams of events (HTML, "Server-sent events"), as MCP servers answer with.

use http::{HeaderMap, header};

/// In lower case; none of what is not UTF-8.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(said), None) = (types.next(), types.next()) else {
        return None;
    };
    let mut parts = said.to_str().ok()?.split(';').map(str::trim);
    let essence = parts.next()?.to_ascii_lowercase();
    // In another charset its bytes would be other text.
    let utf8 =
        |parameter: &str| parameter.is_empty() || parameter.eq_ignore_ascii_case("charset=utf-8");
    parts.all(utf8).then_some(essence)
}

/// What a line of an event adds to its data.
pub(super) fn data_of(line: &[u8]) -> Option<&[u8]> {
    if line == b"data" {
        return Some(b"");
    }
    let value = line.strip_prefix(b"data:")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

/// Lines end with `\r\n`, `\n` or `\r`.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = rest.iter().position(|b| matches!(b, b'\n' | b'\r'))?;
        let (line, after) = rest.split_at(end);
        rest = after
            .strip_prefix(b"\r\n")
            .or_else(|| after.get(1..))
            .unwrap_or_default();
        Some(line)
    })
}

/// How far an event was looked through for its end, so that no byte is looked at twice.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Looked {
    at: usize,
    /// Where the line begins that `at` is in.
    line: usize,
}

/// Where the first event of `text` ends: after the first empty line. A `\r` at the very end may be half of a line's
/// end, so it ends nothing yet.
pub(super) fn end_of_event(text: &[u8], looked: &mut Looked) -> Option<usize> {
    while let Some(byte) = text.get(looked.at) {
        let length = match (byte, text.get(looked.at + 1)) {
            (b'\n', _) => 1,
            (b'\r', None) => return None,
            (b'\r', Some(b'\n')) => 2,
            (b'\r', Some(_)) => 1,
            _ => {
                looked.at += 1;
                continue;
            }
        };
        let is_empty = looked.at == looked.line;
        looked.at += length;
        looked.line = looked.at;
        if is_empty {
            return Some(std::mem::take(looked).at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_ends_with_the_first_empty_line() {
        for (text, end) in [
            ("data: x\n\nmore", Some(9)),
            ("data: x\r\n\r\nmore", Some(11)),
            ("data: x\r\rmore", Some(9)),
            ("data: x\n\r\nmore", Some(10)),
            ("\n", Some(1)),
            ("data: x\n", None),
            ("data: x\r\n\r", None),
            ("data: x", None),
            ("", None),
        ] {
            let looked = &mut Looked::default();
            assert_eq!(end_of_event(text.as_bytes(), looked), end, "{text:?}");
            // A byte at a time it is the same.
            let looked = &mut Looked::default();
            let found =
                (0..=text.len()).find_map(|n| end_of_event(text.as_bytes().get(..n)?, looked));
            // But where one of two line ends had not come yet.
            assert!(
                found == end || text.contains("\r\n\r\n"),
                "{text:?}: {found:?}"
            );
        }
    }

    #[test]
    fn the_data_of_an_event_is_that_of_all_its_lines() {
        let event = b"id: 1\r\ndata: {\"a\":\rdata:1}\ndata\n: data: no\n\n";
        let data: Vec<&[u8]> = lines(event).filter_map(data_of).collect();
        assert_eq!(data, [&b"{\"a\":"[..], b"1}", b""]);
    }
}
