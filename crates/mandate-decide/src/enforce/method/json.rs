//! Names of the members of the outermost object.

use super::LONGEST_NAME;
use crate::enforce::parameter::overrides_method;

/// A JSON text, or several one after the other.
#[derive(Debug)]
pub(super) struct Members {
    /// The type of the body says so. Otherwise it is looked at as long as it reads as JSON.
    said: bool,
    /// A byte that means something has come.
    begun: bool,
    /// It is no JSON.
    over: bool,
    depth: u32,
    /// A name is next, in the outermost object.
    name_next: bool,
    text: Option<Text>,
}

#[derive(Debug)]
struct Text {
    /// As it stands, with its quotes; of a name alone.
    name: Option<Vec<u8>>,
    escaped: bool,
}

impl Members {
    /// Of a body whose type says that it is JSON: what is none could be read by who is lenient.
    pub(super) fn said() -> Self {
        Self {
            said: true,
            begun: false,
            over: false,
            depth: 0,
            name_next: false,
            text: None,
        }
    }

    /// Of any body: some servers take each for JSON, whatever its type.
    pub(super) fn sniffed() -> Self {
        Self {
            said: false,
            ..Self::said()
        }
    }

    pub(super) fn finds(&mut self, byte: u8) -> bool {
        if self.over {
            return false;
        }
        if let Some(text) = &mut self.text {
            let ended = text.push(byte);
            return text.is_too_long()
                || ended && self.text.take().is_some_and(|text| text.is_override());
        }
        match byte {
            // RS parts the texts of `application/json-seq` (RFC 7464 §2.2).
            b' ' | b'\t' | b'\r' | b'\n' | 0x1e => return false,
            // A byte order mark, which Express and others take off.
            0xef | 0xbb | 0xbf if !self.begun => return false,
            b'"' => {
                let name = std::mem::take(&mut self.name_next).then(|| vec![byte]);
                self.text = Some(Text {
                    name,
                    escaped: false,
                });
            }
            b'{' | b'[' => {
                self.depth = self.depth.saturating_add(1);
                self.name_next = self.depth == 1 && byte == b'{';
            }
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b',' => self.name_next = self.depth == 1,
            b':' => {}
            // Numbers and the three words; also those that Python writes, such as `NaN`.
            b'+' | b'-' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {}
            // A comment, a name without quotes, a zero byte of UTF-16: read by those who are lenient.
            _other if self.said => return true,
            _other => self.over = true,
        }
        let first = !std::mem::replace(&mut self.begun, true);
        if first && !self.said && byte != b'{' {
            self.over = true;
        }
        false
    }
}

impl Text {
    /// Takes the next byte; whether it was the last.
    fn push(&mut self, byte: u8) -> bool {
        if let Some(name) = &mut self.name {
            name.push(byte);
        }
        if self.escaped {
            self.escaped = false;
            return false;
        }
        self.escaped = byte == b'\\';
        byte == b'"'
    }

    fn is_too_long(&self) -> bool {
        self.name
            .as_ref()
            .is_some_and(|name| name.len() > LONGEST_NAME)
    }

    fn is_override(&self) -> bool {
        let Some(quoted) = &self.name else {
            return false;
        };
        let whole: Result<String, _> = serde_json::from_slice(quoted);
        let begins = begins(quoted);
        whole.is_ok_and(|name| overrides_method(&name)) || overrides_method(&begins)
    }
}

/// What a reader that ends texts at a zero byte takes a name for, however long the rest is.
fn begins(quoted: &[u8]) -> String {
    let text = String::from_utf8_lossy(quoted);
    let Some((begin, _)) = text.split_once("\\u0000") else {
        return String::new();
    };
    serde_json::from_str(&format!("{begin}\"")).unwrap_or_default()
}
