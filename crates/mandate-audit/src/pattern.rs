//! Records that say what an earlier one said, but for numbers.
//!
//! An agent at work makes record after record of which only the moment, the place in the spool and some counts
//! differ. To see that such a record is canonical takes comparing it with the earlier one, and nothing needs to
//! be parsed or encoded.

use std::ops::Range;

use mandate_model::Timestamp;

use crate::Event;

/// A canonical record with holes where its numbers are. Whatever fits into it is canonical too, and says the
/// same but for them.
#[derive(Debug)]
pub struct Pattern {
    bytes: Box<[u8]>,
    holes: Vec<(Number, Range<usize>)>,
}

/// What a record that fits has in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// When it was decided ([`Event::at`]).
    pub at: Timestamp,
    /// Its number in its spool.
    pub seq: u64,
}

/// A number that differs between records which say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    /// `at`.
    At,
    /// `spool.seq`.
    Seq,
    /// `what.admitted`, `what.bytes_up`, `what.bytes_down`.
    Count,
}

impl Pattern {
    /// The pattern of `event`, whose canonical form `bytes` are; `None` if it is of no spool.
    pub fn of(bytes: &[u8], event: &Event) -> Option<Self> {
        let pattern = Self {
            bytes: bytes.into(),
            holes: holes(bytes),
        };
        let said = Numbers {
            at: event.at,
            seq: event.spool.as_ref()?.seq,
        };
        (pattern.fits(bytes) == Some(said)).then_some(pattern)
    }

    /// The numbers of the record `bytes`; `None` if it says anything else than this one.
    pub fn fits(&self, bytes: &[u8]) -> Option<Numbers> {
        if bytes.len() > crate::MAX_EVENT_BYTES {
            return None;
        }
        let (mut rest, mut from) = (bytes, 0);
        let (mut at, mut seq) = (None, None);
        for (number, hole) in &self.holes {
            rest = rest.strip_prefix(self.bytes.get(from..hole.start)?)?;
            let digits = digits(rest);
            let (value, after) = rest.split_at_checked(digits)?;
            let value = read(value)?;
            match number {
                Number::At => at = Some(Timestamp::from_millis(value)),
                Number::Seq => seq = Some(value),
                Number::Count => {}
            }
            (rest, from) = (after, hole.end);
        }
        (rest == self.bytes.get(from..)?).then_some(())?;
        Some(Numbers { at: at?, seq: seq? })
    }

    /// How many bytes of memory it takes, about.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.holes.len() * size_of::<(Number, Range<usize>)>()
    }
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// A number in its one canonical spelling, well below 2^53 (RFC 8785 §3.2.2.3).
fn read(text: &[u8]) -> Option<u64> {
    let leads = text.first() == Some(&b'0') && text.len() > 1;
    if leads || text.is_empty() || text.len() > MOST_DIGITS {
        return None;
    }
    let digit = |byte: &u8| char::from(*byte).to_digit(10).map(u64::from);
    text.iter()
        .try_fold(0, |sum: u64, byte| Some(sum * 10 + digit(byte)?))
}

/// Where the numbers are in a canonical record.
fn holes(bytes: &[u8]) -> Vec<(Number, Range<usize>)> {
    let mut holes = Vec::new();
    let mut walk = Walk { bytes, at: 0 };
    // Names of the members that are open, outermost first.
    let mut within: Vec<Option<&[u8]>> = Vec::new();
    let mut name = None;
    while let Some(token) = walk.next() {
        match token {
            Token::Open => within.push(name.take()),
            Token::Close => {
                within.pop();
                name = None;
            }
            Token::Name(read) => name = Some(read),
            Token::Value(place) => {
                let outer = within.get(1).copied().flatten();
                let number = name
                    .take()
                    .and_then(|name| number(within.len(), outer, name));
                let is_number = bytes.get(place.clone()).is_some_and(|v| read(v).is_some());
                holes.extend(number.filter(|_| is_number).map(|number| (number, place)));
            }
        }
    }
    holes
}

/// Which number the member `name` is, `depth` deep and within the outermost's member `outer`.
fn number(depth: usize, outer: Option<&[u8]>, name: &[u8]) -> Option<Number> {
    match (depth, outer, name) {
        (1, None, b"at") => Some(Number::At),
        (2, Some(b"spool"), b"seq") => Some(Number::Seq),
        (2, Some(b"what"), b"admitted" | b"bytes_up" | b"bytes_down") => Some(Number::Count),
        _ => None,
    }
}

/// Reads JSON without white space, as canonical records are.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

enum Token<'a> {
    Open,
    Close,
    Name(&'a [u8]),
    /// A text, a number or a word.
    Value(Range<usize>),
}

impl<'a> Walk<'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let begin = self.at;
            match self.bytes.get(begin)? {
                b'{' | b'[' => {
                    self.at += 1;
                    return Some(Token::Open);
                }
                b'}' | b']' => {
                    self.at += 1;
                    return Some(Token::Close);
                }
                b',' | b':' => self.at += 1,
                b'"' => {
                    self.text()?;
                    let text = self.bytes.get(begin + 1..self.at - 1)?;
                    let is_name = self.bytes.get(self.at) == Some(&b':');
                    let place = begin..self.at;
                    return Some(if is_name {
                        Token::Name(text)
                    } else {
                        Token::Value(place)
                    });
                }
                _ => {
                    let rest = self.bytes.get(begin..)?;
                    let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b']');
                    self.at += rest.iter().position(is_end)?;
                    return Some(Token::Value(begin..self.at));
                }
            }
        }
    }

    /// Goes behind the text that begins here.
    fn text(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            match self.bytes.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some(())
    }
}

const MOST_DIGITS: usize = 15;

#[cfg(test)]
mod tests;
