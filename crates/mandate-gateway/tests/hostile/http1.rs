//! Bytes on a connection, and the answers that come back.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::case::{Answer, Case};

/// Sends `bytes`, and gives the answers as long as the case waits for more, then everything to the end.
pub(crate) async fn drive(address: SocketAddr, case: &Case, bytes: &[u8]) -> Vec<Answer> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let to_send = bytes.to_vec();
    // A gateway that refuses early does not read on.
    let writing = tokio::spawn(async move {
        let _ = write.write_all(&to_send).await;
        write
    });
    let without_body = bytes.starts_with(b"HEAD ");
    let (mut came, mut answers) = (Vec::new(), Vec::new());
    let mut write = Some(writing);
    loop {
        while let Some((answer, length)) = answer(&came, without_body) {
            came.drain(..length);
            answers.extend(answer);
        }
        if answers.len() >= case.answers.len()
            && let Some(writing) = write.take()
        {
            // Nothing more is waited for: the gateway ends the connection once it has nothing to say.
            let _ = writing.await.unwrap().shutdown().await;
        }
        let mut buffer = [0; 4096];
        match read.read(&mut buffer).await {
            Ok(count @ 1..) => came.extend_from_slice(&buffer[..count]),
            Ok(0) | Err(_) => break,
        }
    }
    if answers.len() < case.answers.len() {
        answers.push(Answer::Closed);
    }
    answers
}

/// The first answer in `came`, if it is whole, and its length; none for an interim one.
fn answer(came: &[u8], without_body: bool) -> Option<(Option<Answer>, usize)> {
    let end = came.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&came[..end]).to_lowercase();
    let status: u16 = head.split(' ').nth(1)?.parse().ok()?;
    if status < 200 {
        return Some((None, end));
    }
    let length = if without_body {
        0
    } else {
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        length.map_or(0, |length| length.parse().unwrap())
    };
    let body = came.get(end..end + length)?;
    Some((Some(Answer::Status(status, rule(body))), end + length))
}

/// The rule that a refusal names.
pub(crate) fn rule(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(body.get("rule")?.as_str()?.to_owned())
}
