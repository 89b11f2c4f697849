//! Lines of a child's output, of bounded length.

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// What [`Lines::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line, without its end.
    Whole(Vec<u8>),
    /// The beginning of a line that is longer than allowed; the rest was not kept.
    Long(Vec<u8>),
    /// There are no more.
    End,
}

/// The lines of `input`, of which at most `longest` bytes are kept each.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    input: R,
    longest: usize,
    kept: Vec<u8>,
    is_long: bool,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(crate) fn new(input: R, longest: usize) -> Self {
        Self {
            input,
            longest,
            kept: Vec::new(),
            is_long: false,
        }
    }

    /// The next one. Whoever stops waiting loses nothing: what was read of a line is kept for the next call.
    pub(crate) async fn next(&mut self) -> std::io::Result<Line> {
        loop {
            let read = self.input.fill_buf().await?;
            if read.is_empty() {
                return Ok(if self.kept.is_empty() {
                    Line::End
                } else {
                    self.line()
                });
            }
            let end = read.iter().position(|byte| *byte == b'\n');
            let part = read.get(..end.unwrap_or(read.len())).unwrap_or_default();
            let room = self.longest.saturating_sub(self.kept.len());
            self.is_long |= part.len() > room;
            let kept = part.get(..room.min(part.len())).unwrap_or_default();
            self.kept.extend_from_slice(kept);
            let used = part.len() + usize::from(end.is_some());
            self.input.consume(used);
            if end.is_some() {
                return Ok(self.line());
            }
        }
    }

    fn line(&mut self) -> Line {
        let kept = std::mem::take(&mut self.kept);
        match std::mem::take(&mut self.is_long) {
            true => Line::Long(kept),
            false => Line::Whole(kept),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_that_is_too_long_is_cut_and_the_next_one_is_whole() {
        let input = tokio::io::BufReader::with_capacity(3, &b"one\nmuch too long\n\nlast"[..]);
        let mut lines = Lines::new(input, 5);
        let mut read = Vec::new();
        loop {
            match lines.next().await.unwrap() {
                Line::End => break,
                line @ (Line::Whole(_) | Line::Long(_)) => read.push(line),
            }
        }
        let expected = [
            Line::Whole(b"one".to_vec()),
            Line::Long(b"much ".to_vec()),
            Line::Whole(Vec::new()),
            Line::Whole(b"last".to_vec()),
        ];
        assert_eq!(read, expected);
    }
    #[tokio::test]
    async fn whoever_stops_waiting_loses_nothing_of_a_line() {
        use futures_util::FutureExt;
        use tokio::io::AsyncWriteExt;
        let (mut to, from) = tokio::io::duplex(64);
        let mut lines = Lines::new(tokio::io::BufReader::new(from), 64);
        to.write_all(b"begin").await.unwrap();
        assert!(lines.next().now_or_never().is_none(), "it has no end yet");
        to.write_all(b" and end\n").await.unwrap();
        let whole = Line::Whole(b"begin and end".to_vec());
        assert_eq!(lines.next().await.unwrap(), whole);
    }
}
