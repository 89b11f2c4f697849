//! Names of elements.

use super::is_plain_charset;
use crate::enforce::parameter::overrides_method;

/// The elements of an XML text, however deep: which of them a framework binds to is its own matter.
#[derive(Debug, Default)]
pub(super) struct Elements {
    begun: bool,
    /// What stands between `<` and `>`, as far as it matters.
    tag: Option<Vec<u8>>,
    /// It is longer than what is kept of it.
    long: bool,
}

impl Elements {
    pub(super) fn finds(&mut self, byte: u8) -> bool {
        // UTF-16 and wider: what stands there cannot be told byte by byte.
        if byte == 0 {
            return true;
        }
        if !std::mem::replace(&mut self.begun, true) {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | 0xef | 0xbb | 0xbf => self.begun = false,
                b'<' => {}
                // Another charset, which parsers find out by the first bytes (XML 1.0, appendix F).
                _other => return true,
            }
        }
        match (&mut self.tag, byte) {
            (None, b'<') => return self.begins(),
            (Some(_), b'<') => return self.ends() || self.begins(),
            (Some(_), b'>') => return self.ends(),
            (Some(tag), _) if tag.len() < LONGEST_TAG => tag.push(byte),
            // Attributes, comments and CDATA may be long, a name may not.
            (Some(tag), _) => {
                return !std::mem::replace(&mut self.long, true) && tag.iter().all(is_name_byte);
            }
            (None, _) => {}
        }
        false
    }

    fn begins(&mut self) -> bool {
        (self.tag, self.long) = (Some(Vec::new()), false);
        false
    }

    fn ends(&mut self) -> bool {
        let tag = self.tag.take().unwrap_or_default();
        let text = String::from_utf8_lossy(&tag);
        let name = text.split(|c: char| c.is_whitespace()).next();
        let name = name.unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            // An entity can hold elements that are not seen here.
            name if name.starts_with("!entity") => true,
            "?xml" => tag.len() >= LONGEST_TAG || !declares_plain(&text),
            _other => {
                let name = name.trim_matches('/');
                overrides_method(name.rsplit(':').next().unwrap_or_default())
            }
        }
    }
}

/// Whether an XML declaration names no charset in which names are other bytes (XML 1.0 §4.3.3).
fn declares_plain(declaration: &str) -> bool {
    let Some((_, said)) = declaration.split_once("encoding") else {
        return true;
    };
    let said = said.trim_start().strip_prefix('=').map(str::trim_start);
    let mut quoted = said.unwrap_or_default().split(['"', '\'']);
    quoted.next().is_some_and(str::is_empty)
        && quoted.next().is_some_and(is_plain_charset)
        && !declaration.matches("encoding").skip(1).any(|_| true)
}

/// What a name is made of, and a `/` before it (XML 1.0 §2.3).
fn is_name_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b':' | b'_' | b'-' | b'.' | b'/')
        || *byte >= 0x80
}

/// As much of a tag as is looked at: its name, and of an XML declaration all.
const LONGEST_TAG: usize = 256;
