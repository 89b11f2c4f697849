//! Lines of a child's output, of bounded length.

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// What [`next`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line, without its end.
    Whole(Vec<u8>),
    /// The beginning of a line that is longer than allowed; the rest was not kept.
    Long(Vec<u8>),
    /// There are no more.
    End,
}

/// Reads one line, and keeps at most `longest` bytes of it.
pub(crate) async fn next(
    input: &mut (impl AsyncBufRead + Unpin),
    longest: usize,
) -> std::io::Result<Line> {
    let (mut kept, mut is_long) = (Vec::new(), false);
    loop {
        let read = input.fill_buf().await?;
        if read.is_empty() {
            return Ok(if kept.is_empty() {
                Line::End
            } else {
                line(kept, is_long)
            });
        }
        let end = read.iter().position(|byte| *byte == b'\n');
        let part = read.get(..end.unwrap_or(read.len())).unwrap_or_default();
        let room = longest.saturating_sub(kept.len());
        is_long |= part.len() > room;
        kept.extend(part.iter().take(room));
        let used = part.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            return Ok(line(kept, is_long));
        }
    }
}

fn line(kept: Vec<u8>, is_long: bool) -> Line {
    if is_long {
        Line::Long(kept)
    } else {
        Line::Whole(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_that_is_too_long_is_cut_and_the_next_one_is_whole() {
        let mut input = tokio::io::BufReader::with_capacity(3, &b"one\nmuch too long\n\nlast"[..]);
        let mut read = Vec::new();
        loop {
            match next(&mut input, 5).await.unwrap() {
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
}
