//! A chunked body (RFC 9112 §7.1): sizes in plain hex, no extensions, every line ended by CRLF.

use super::head::is_token;

/// Where in a chunked body the next byte is.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    at: At,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In the size, with so many digits read.
    Size {
        size: u64,
        digits: u8,
    },
    /// After the carriage return of a size line.
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    /// Before the CRLF after the data; before its line feed, if `cr`.
    DataEnd {
        cr: bool,
    },
    /// In a line of the trailer section with so many bytes of the section read.
    Trailer {
        part: Part,
        read: u16,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// At the beginning of a line.
    Start,
    Name,
    Value,
    /// After a carriage return; at the end of the body, if `last`.
    End {
        last: bool,
    },
}

impl Default for At {
    fn default() -> Self {
        At::Size { size: 0, digits: 0 }
    }
}

/// A chunked body that is not framed as a sender may frame it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the chunked body is malformed, or has chunk extensions or a long trailer section")]
pub(super) struct BadChunk;

impl Chunks {
    /// How many of `bytes` belong to the body, and whether it ends with them.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<(usize, bool), BadChunk> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if let At::Data { left } = &mut self.at {
                let here = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len() - at);
                *left -= u64::try_from(here).unwrap_or(*left);
                if *left == 0 {
                    self.at = At::DataEnd { cr: false };
                }
                at += here;
                continue;
            }
            at += 1;
            if self.step(*byte)? {
                return Ok((at, true));
            }
        }
        Ok((at, false))
    }

    /// One byte of framing; whether the body ends with it.
    fn step(&mut self, byte: u8) -> Result<bool, BadChunk> {
        self.at = match (self.at, byte) {
            (At::Size { size, digits }, _) if byte.is_ascii_hexdigit() && digits < MOST_DIGITS => {
                let digit = char::from(byte).to_digit(16).ok_or(BadChunk)?;
                let size = size << 4 | u64::from(digit);
                At::Size {
                    size,
                    digits: digits + 1,
                }
            }
            (At::Size { size, digits: 1.. }, b'\r') => At::SizeEnd { size },
            (At::SizeEnd { size: 0 }, b'\n') => At::Trailer {
                part: Part::Start,
                read: 0,
            },
            (At::SizeEnd { size }, b'\n') => At::Data { left: size },
            (At::DataEnd { cr: false }, b'\r') => At::DataEnd { cr: true },
            (At::DataEnd { cr: true }, b'\n') => At::default(),
            (
                At::Trailer {
                    part: Part::End { last: true },
                    ..
                },
                b'\n',
            ) => return Ok(true),
            (At::Trailer { part, read }, _) if read < LONGEST_TRAILERS => At::Trailer {
                part: part.after(byte)?,
                read: read + 1,
            },
            (
                At::Size { .. }
                | At::SizeEnd { .. }
                | At::Data { .. }
                | At::DataEnd { .. }
                | At::Trailer { .. },
                _,
            ) => return Err(BadChunk),
        };
        Ok(false)
    }
}

impl Part {
    fn after(self, byte: u8) -> Result<Self, BadChunk> {
        match (self, byte) {
            (Part::Start, b'\r') => Ok(Part::End { last: true }),
            (Part::Name, b':') => Ok(Part::Value),
            (Part::Start | Part::Name, _) if is_token(byte) => Ok(Part::Name),
            (Part::Value, b'\r') => Ok(Part::End { last: false }),
            (Part::Value, b'\t' | b' '..=b'~' | 0x80..) => Ok(Part::Value),
            (Part::End { last: false }, b'\n') => Ok(Part::Start),
            (Part::Start | Part::Name | Part::Value | Part::End { .. }, _) => Err(BadChunk),
        }
    }
}

/// Leading zeros included: 4 GiB less one byte in one chunk.
const MOST_DIGITS: u8 = 8;
/// Trailers reach no upstream.
const LONGEST_TRAILERS: u16 = 8 * 1024;
