//! Heads of the parts of a multipart body (RFC 2046 §5.1, RFC 7578).
//!
//! What names a part is found by its readers in many ways: Rack looks for `Content-Disposition:` anywhere in
//! the head and takes `Content-ID` or the file's name where it finds none, PHP glues lines without a colon
//! to the one before, Tomcat decodes words of RFC 2047, busboy drops quotes. So a head has to be plain, and
//! no word of it, wherever it stands, may be a name that replaces the method.

use super::media_type::is_token_byte;
use crate::enforce::parameter::encoded_overrides_method;

/// Looks for boundaries wherever they stand, and at the heads that follow them.
#[derive(Debug)]
pub(super) struct Parts {
    /// `--` and the boundary, in lower case.
    delimiter: Vec<u8>,
    /// The last bytes, as many as that.
    last: Vec<u8>,
    at: At,
    /// How lines end, once a delimiter has shown it: all others end like it.
    feeds_alone: Option<bool>,
}

#[derive(Debug)]
enum At {
    /// Before the first part, in a part, or after the last one.
    Content,
    /// Right after a boundary.
    Delimiter(Vec<u8>),
    /// Among the fields of a part.
    Head { line: Vec<u8>, lines: usize },
}

impl Parts {
    pub(super) fn between(boundary: &str) -> Self {
        let delimiter = format!("--{boundary}").to_ascii_lowercase().into_bytes();
        Self {
            delimiter,
            last: Vec::new(),
            at: At::Content,
            feeds_alone: None,
        }
    }

    /// Whether a part's name replaces the method, or cannot be told.
    pub(super) fn finds(&mut self, byte: u8) -> bool {
        match &mut self.at {
            At::Content => {
                if self.is_delimiter(byte) {
                    self.at = At::Delimiter(Vec::new());
                }
                false
            }
            At::Delimiter(rest) => {
                rest.push(byte);
                self.after_delimiter()
            }
            At::Head { line, .. } if byte == b'\n' => {
                let line = std::mem::take(line);
                self.head_line(&line)
            }
            At::Head { line, .. } => {
                line.push(byte);
                line.len() > LONGEST_LINE
            }
        }
    }

    fn is_delimiter(&mut self, byte: u8) -> bool {
        if self.last.len() >= self.delimiter.len() {
            self.last.remove(0);
        }
        self.last.push(byte.to_ascii_lowercase());
        let found = self.last == self.delimiter;
        if found {
            self.last.clear();
        }
        found
    }

    /// A line end begins a head, `--` ends the body. Of anything else some say that it is a boundary.
    fn after_delimiter(&mut self) -> bool {
        let At::Delimiter(rest) = &self.at else {
            return false;
        };
        let feeds_alone = match rest.as_slice() {
            b"--" => {
                self.at = At::Content;
                return false;
            }
            b"\r\n" => false,
            b"\n" => true,
            b"-" | b"\r" => return false,
            _other => return true,
        };
        self.at = At::Head {
            line: Vec::new(),
            lines: 0,
        };
        *self.feeds_alone.get_or_insert(feeds_alone) != feeds_alone
    }

    fn head_line(&mut self, line: &[u8]) -> bool {
        let At::Head { lines, .. } = &mut self.at else {
            return false;
        };
        let line = match (line.strip_suffix(b"\r"), self.feeds_alone) {
            (Some(line), Some(false)) => line,
            (None, Some(true)) => line,
            // A line that ends another way than others do is none to some.
            (Some(_) | None, _) => return true,
        };
        if line.is_empty() {
            // Of a head without fields some take the next lines for it.
            let is_head = *lines > 0;
            self.at = At::Content;
            return !is_head;
        }
        *lines += 1;
        *lines > MOST_LINES || !is_plain(line, *lines == 1) || has_override(line)
    }
}

/// `name: value`, or more of a field that has begun; of bytes that nobody stumbles over.
fn is_plain(line: &[u8], is_first: bool) -> bool {
    let bytes = line
        .iter()
        .all(|b| *b == b'\t' || (*b >= b' ' && *b != 0x7f));
    let continues = line.first().is_some_and(|b| matches!(b, b' ' | b'\t'));
    let named = || {
        let mut parts = line.splitn(2, |b| *b == b':');
        let name = parts.next().unwrap_or_default();
        parts.next().is_some() && !name.is_empty() && name.iter().all(|b| is_token_byte(*b))
    };
    bytes && if continues { !is_first } else { named() }
}

/// Whether any word of the line replaces the method, with quotes as ends of words and as if there were none
/// (busboy); or is encoded so that nobody can tell (RFC 2047 §2, RFC 2231 §3).
fn has_override(line: &[u8]) -> bool {
    let line: Vec<u8> = line.iter().copied().filter(|b| *b != b'\\').collect();
    let follows = |first: u8, second: fn(&u8) -> bool| {
        line.windows(2)
            .any(|pair| matches!(pair, [a, b] if *a == first && second(b)))
    };
    if follows(b'=', |b| *b == b'?') || follows(b'*', u8::is_ascii_digit) {
        return true;
    }
    let bare: Vec<u8> = line.iter().copied().filter(|b| *b != b'"').collect();
    has_word(&line) || has_word(&bare)
}

fn has_word(line: &[u8]) -> bool {
    line.split(|b| b" \t\";=,:<>()'".contains(b))
        .any(encoded_overrides_method)
}

const LONGEST_LINE: usize = 4096;
const MOST_LINES: usize = 32;
