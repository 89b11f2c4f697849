//! Frames on a connection, and what comes back.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::case::{Answer, Case, Frame};
use crate::http1::rule;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is known of a stream.
#[derive(Debug, Default)]
struct Stream {
    status: Option<u16>,
    body: Vec<u8>,
    ended: bool,
    reset: bool,
}

/// Sends the frames, and gives what became of each stream that the case tells of.
pub(crate) async fn drive(address: SocketAddr, case: &Case, frames: &[Frame]) -> Vec<Answer> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let mut bytes = PREFACE.to_vec();
    // Without a table every answer spells its status out.
    bytes.extend(frame(4, 0, 0, &[0, 1, 0, 0, 0, 0]));
    let mut asked = Vec::new();
    for frame in frames {
        bytes.extend(encoded(frame, &mut asked));
    }
    let writing = tokio::spawn(async move {
        let _ = write.write_all(&bytes).await;
        write
    });
    let mut streams: BTreeMap<u32, Stream> =
        asked.into_iter().map(|n| (n, Stream::default())).collect();
    let (mut came, mut over, mut ended) = (Vec::new(), false, false);
    loop {
        while let Some((kind, flags, stream, payload)) = next(&mut came) {
            over |= kind == 7;
            note(streams.entry(stream).or_default(), kind, flags, &payload);
        }
        let answers = answers(&streams, case.answers.len(), over);
        if ended || answers.len() >= case.answers.len() {
            writing.abort();
            return answers;
        }
        let mut buffer = [0; 4096];
        match read.read(&mut buffer).await {
            Ok(count @ 1..) => came.extend_from_slice(&buffer[..count]),
            Ok(0) | Err(_) => (over, ended) = (true, true),
        }
    }
}

/// What became of the streams so far, in order; what an ended connection left open is closed.
fn answers(streams: &BTreeMap<u32, Stream>, wanted: usize, over: bool) -> Vec<Answer> {
    let mut answers = Vec::new();
    for stream in streams
        .iter()
        .filter(|(id, _)| **id > 0)
        .map(|(_, stream)| stream)
    {
        match (stream.status, stream.ended, stream.reset) {
            (Some(status), true, _) => answers.push(Answer::Status(status, rule(&stream.body))),
            (_, _, true) => answers.push(Answer::Reset),
            (_, _, false) => break,
        }
    }
    answers.truncate(wanted);
    if over && answers.len() < wanted {
        answers.push(Answer::Closed);
    }
    answers
}

fn note(stream: &mut Stream, kind: u8, flags: u8, payload: &[u8]) {
    match kind {
        0 => stream.body.extend_from_slice(payload),
        1 if stream.status.is_none() => stream.status = status(payload),
        3 => stream.reset = true,
        _ => {}
    }
    stream.ended |= kind <= 1 && flags & 1 == 1;
}

/// The first whole frame of `came`: type, flags, stream, payload.
fn next(came: &mut Vec<u8>) -> Option<(u8, u8, u32, Vec<u8>)> {
    let header: [u8; 9] = came.get(..9)?.try_into().unwrap();
    let length =
        usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
    let payload = came.get(9..9 + length)?.to_vec();
    came.drain(..9 + length);
    let stream = u32::from_be_bytes(header[5..].try_into().unwrap());
    Some((header[3], header[4], stream, payload))
}

/// `:status`, which comes first: an entry of the static table, or digits in Huffman's code.
fn status(block: &[u8]) -> Option<u16> {
    let block = if block.first()? & 0xe0 == 0x20 {
        &block[1..]
    } else {
        block
    };
    let known = [200, 204, 206, 304, 400, 404, 500];
    match *block.first()? {
        indexed @ 0x88..=0x8e => Some(known[usize::from(indexed - 0x88)]),
        0x08 | 0x48 | 0x18 => {
            let (length, text) = (block.get(1)?, block.get(2..)?);
            if length & 0x80 == 0 {
                return std::str::from_utf8(text.get(..3)?).ok()?.parse().ok();
            }
            Some(huffman_digits(text))
        }
        _ => None,
    }
}

fn huffman_digits(text: &[u8]) -> u16 {
    let bits: Vec<u8> = text
        .iter()
        .flat_map(|b| (0..8).rev().map(move |n| b >> n & 1))
        .collect();
    let number = |bits: &[u8]| bits.iter().fold(0_u16, |n, bit| n << 1 | u16::from(*bit));
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        // RFC 7541, appendix B: 0, 1 and 2 in five bits, 3 to 9 in six.
        let short = number(&bits[at..at + 5]);
        let (digit, taken) = if short <= 2 {
            (short, 5)
        } else {
            (number(&bits[at..at + 6]) - 0x19 + 3, 6)
        };
        status = status * 10 + digit;
        at += taken;
    }
    status
}

fn encoded(what: &Frame, asked: &mut Vec<u32>) -> Vec<u8> {
    match what {
        Frame::Headers {
            stream,
            end,
            fields,
        } => {
            if !asked.contains(stream) {
                asked.push(*stream);
            }
            let block: Vec<u8> = fields.iter().flat_map(|(n, v)| literal(n, v)).collect();
            frame(1, 4 | u8::from(*end), *stream, &block)
        }
        Frame::Raw {
            times,
            kind,
            flags,
            stream,
            payload,
        } => frame(*kind, *flags, *stream, payload).repeat(usize::try_from(*times).unwrap()),
        Frame::Resets { times, by_server } => {
            let fields = [
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/records/customers/acme/notes"),
                (":authority", "gateway"),
            ];
            let block: Vec<u8> = fields
                .iter()
                .flat_map(|(n, v)| literal(n.as_bytes(), v.as_bytes()))
                .collect();
            (0..*times)
                .flat_map(|n| {
                    let stream = 2 * n + 1;
                    let mut both = frame(1, 5, stream, &block);
                    both.extend(if *by_server {
                        // RFC 9113 §6.9: an increment of zero is an error of the stream.
                        frame(8, 0, stream, &[0; 4])
                    } else {
                        frame(3, 0, stream, &[0, 0, 0, 8])
                    });
                    both
                })
                .collect()
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A literal field without indexing (RFC 7541 §6.2.2).
fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        let mut left = text.len();
        if left < 127 {
            bytes.push(u8::try_from(left).unwrap());
        } else {
            bytes.push(127);
            left -= 127;
            while left >= 128 {
                bytes.push(u8::try_from(left % 128).unwrap() | 128);
                left /= 128;
            }
            bytes.push(u8::try_from(left).unwrap());
        }
        bytes.extend(text);
    }
    bytes
}
