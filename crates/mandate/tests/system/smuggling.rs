//! Requests that two parsers could cut apart at two places: refused, or sent on as the one that was decided.

use std::io::{Read, Write};

use crate::lab::Lab;
use crate::lab::agent::token;
use crate::lab::http::status;
use crate::lab::upstream::Seen;
use crate::lab::wait;

/// What a second parser might take for a request of its own. It carries no token.
const HIDDEN: &str = "GET /items/smuggled HTTP/1.1\r\nhost: mandate\r\n\r\n";

#[test]
fn smuggled_requests_reach_no_upstream() {
    let lab = Lab::start();
    let worker = lab.worker();
    let task = token(worker.open());
    lab.until_writes_are_admitted(&worker, &task);
    let length = HIDDEN.len();
    let chunked = "transfer-encoding: chunked\r\n";
    let chunk = format!("{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n");
    for (framing, body) in [
        (
            format!("content-length: 0\r\ncontent-length: {length}\r\n"),
            HIDDEN.to_owned(),
        ),
        (
            format!("content-length: {length}\r\ncontent-length: 0\r\n"),
            HIDDEN.to_owned(),
        ),
        (
            format!("content-length: 0, {length}\r\n"),
            HIDDEN.to_owned(),
        ),
        (format!("content-length: +{length}\r\n"), HIDDEN.to_owned()),
        (
            format!("content-length: 0x{length:x}\r\n"),
            HIDDEN.to_owned(),
        ),
        (format!("content-length : {length}\r\n"), HIDDEN.to_owned()),
        (
            format!("content-length:\r\n {length}\r\n"),
            HIDDEN.to_owned(),
        ),
        (
            format!("content-length: {length}\r\n{chunked}"),
            chunk.clone(),
        ),
        (format!("{chunked}content-length: 4\r\n"), chunk.clone()),
        (format!("{chunked}{chunked}"), chunk.clone()),
        ("transfer-encoding: xchunked\r\n".to_owned(), chunk.clone()),
        (
            "transfer-encoding: chunked, identity\r\n".to_owned(),
            chunk.clone(),
        ),
        (
            "transfer-encoding: identity\r\n".to_owned(),
            HIDDEN.to_owned(),
        ),
        ("transfer-encoding : chunked\r\n".to_owned(), chunk.clone()),
        (
            "transfer-encoding:\u{b}chunked\r\n".to_owned(),
            chunk.clone(),
        ),
        (
            "x: y\r\n transfer-encoding: chunked\r\n".to_owned(),
            chunk.clone(),
        ),
        (
            chunked.to_owned(),
            format!("0x{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n"),
        ),
        (chunked.to_owned(), format!("-1\r\n{HIDDEN}\r\n0\r\n\r\n")),
        (
            chunked.to_owned(),
            format!("ffffffffffffffff1\r\n{HIDDEN}\r\n0\r\n\r\n"),
        ),
        (chunked.to_owned(), format!("{length:x}\n{HIDDEN}\n0\n\n")),
        (
            format!("upgrade: h2c\r\nconnection: upgrade\r\ncontent-length: {length}\r\n"),
            HIDDEN.to_owned(),
        ),
        (
            "expect: 200-ok\r\nx\0y: z\r\n".to_owned(),
            HIDDEN.to_owned(),
        ),
    ] {
        let access = token(worker.access(&task, "records"));
        let before = lab.upstream.seen("/").len();
        let answered = send(&lab, &access, &framing, &body);
        let seen = lab.upstream.seen("/");
        let as_decided =
            |seen: &Seen| seen.target == "/items/1" && seen.body == length && seen.whole;
        match answered {
            // Framed anew by the gateway: one request, whose body is a body.
            Some(200) => assert!(
                seen.len() == before + 1 && as_decided(&seen[before]),
                "{framing:?}: {seen:?}"
            ),
            None | Some(400 | 417 | 501) => assert_eq!(seen.len(), before, "{framing:?}: {seen:?}"),
            Some(_) => panic!(
                "{framing:?}: {answered:?} {}",
                lab.access("/records/items/x", &access).body
            ),
        }
    }
    assert_eq!(lab.upstream.seen("smuggled").len(), 0);
}

#[test]
fn a_body_that_looks_like_a_request_is_a_body() {
    let lab = Lab::start();
    let worker = lab.worker();
    let task = token(worker.open());
    lab.until_writes_are_admitted(&worker, &task);
    for framing in [false, true] {
        let access = token(worker.access(&task, "records"));
        let (framing, body) = if framing {
            let body = format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len());
            ("transfer-encoding: chunked\r\n".to_owned(), body)
        } else {
            (
                format!("content-length: {}\r\n", HIDDEN.len()),
                HIDDEN.to_owned(),
            )
        };
        assert_eq!(send(&lab, &access, &framing, &body), Some(200));
    }
    let seen = lab.upstream.seen("/items/1");
    let of_bodies = seen
        .iter()
        .filter(|seen| seen.body == HIDDEN.len() && seen.whole);
    assert_eq!((seen.len(), of_bodies.count()), (2, 2), "{seen:?}");
}

/// Sends it on a connection of its own, half closed after it; the status of the first answer, if one comes.
fn send(lab: &Lab, access: &str, framing: &str, body: &str) -> Option<u16> {
    let head = format!(
        "POST /records/items/1 HTTP/1.1\r\nhost: mandate\r\nauthorization: Bearer {access}\r\n"
    );
    let mut stream = lab.server.gateway().connect().unwrap();
    // A gateway that refuses early resets what it did not read.
    drop(stream.write_all(format!("{head}{framing}\r\n{body}").as_bytes()));
    let mut read = Vec::new();
    let mut buffer = [0; 1024];
    wait::until("an answer or an end", || {
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => read.extend_from_slice(&buffer[..count]),
            Ok(_) | Err(_) => return Some(()),
        }
        status(&read).map(|_| ())
    });
    status(&read)
}
