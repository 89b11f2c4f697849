//! The data of server-sent events (HTML, "Server-sent events"), in whatever pieces they come.

use super::LONGEST;

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// Its data.
    Data(&'a [u8]),
    /// It was longer than what is read.
    TooLong,
}

/// A stream as far as it came. No byte is looked at twice, and nothing is kept of an event that is over.
#[derive(Default)]
pub(super) struct Events {
    /// Of the line that has not ended.
    line: Vec<u8>,
    /// Of the lines of this event before it.
    data: Vec<u8>,
    has_data: bool,
    /// Whether the line has any bytes, kept or not.
    has_line: bool,
    /// The line before ended with `\r`, whose `\n` may still come.
    after_return: bool,
    /// The first line is over, which alone may begin with a byte order mark.
    began: bool,
    too_long: bool,
}

impl Events {
    /// Reads on; tells `each` of every event that ends.
    pub(super) fn read(&mut self, mut bytes: &[u8], mut each: impl FnMut(Event<'_>)) {
        loop {
            if !bytes.is_empty() && std::mem::take(&mut self.after_return) {
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let Some((line, [end, rest @ ..])) = end.map(|end| bytes.split_at(end)) else {
                return self.keep(bytes);
            };
            self.keep(line);
            self.after_return = *end == b'\r';
            self.end_line(&mut each);
            bytes = rest;
        }
    }

    fn keep(&mut self, part: &[u8]) {
        self.has_line |= !part.is_empty();
        if self.too_long {
            return;
        }
        if self.line.len() + self.data.len() + part.len() > LONGEST {
            self.too_long = true;
            (self.line, self.data) = (Vec::new(), Vec::new());
        } else {
            self.line.extend_from_slice(part);
        }
    }

    fn end_line(&mut self, each: &mut impl FnMut(Event<'_>)) {
        let mut has_line = std::mem::take(&mut self.has_line);
        let mut line = &self.line[..];
        if !std::mem::replace(&mut self.began, true)
            && let Some(rest) = line.strip_prefix(b"\xef\xbb\xbf")
        {
            line = rest;
            has_line = !line.is_empty();
        }
        if let Some(data) = data_of(line) {
            if self.has_data {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(data);
            self.has_data = true;
        }
        self.line.clear();
        if has_line {
            return;
        }
        if std::mem::take(&mut self.too_long) {
            each(Event::TooLong);
        } else if self.has_data {
            each(Event::Data(&self.data));
        }
        self.data.clear();
        self.has_data = false;
    }
}

/// What a line adds to the data of its event.
fn data_of(line: &[u8]) -> Option<&[u8]> {
    if line == b"data" {
        return Some(b"");
    }
    let value = line.strip_prefix(b"data:")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}
