//! A server workload that knows nothing of Mandate: it keeps what it was asked, and wants an API key.
//!
//! By the last segment of the path: `stream` answers with a line every few milliseconds until it is cut,
//! `elsewhere` redirects, `echo` repeats the credential, `challenge` asks for a proof of possession, all else
//! is a small JSON answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::wait::pause;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) target: String,
    /// Request line and headers, as they came.
    pub(crate) head: String,
    /// How much of the body came, and whether it was all of it.
    pub(crate) body: usize,
    pub(crate) whole: bool,
}

impl Seen {
    /// The value of a header.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut values = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value.trim())
    }
}

/// The running upstream. It ends with the test program.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let upstream = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
        };
        let shared = upstream.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        upstream
    }

    /// All requests so far whose target has `part` in it.
    pub(crate) fn seen(&self, part: &str) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap();
        let of_interest = seen.iter().filter(|seen| seen.target.contains(part));
        of_interest.cloned().collect()
    }

    /// One connection, request after request. A broken one is nobody's fault here.
    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(&stream);
        while let Some(head) = read_head(&mut reader) {
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let place = self.note(&target, &head);
            let whole = self.take_body(&mut reader, place, &head).is_some();
            self.seen.lock().unwrap()[place].whole = whole;
            if !whole || answer(&stream, &target, &head).is_err() {
                return;
            }
        }
    }

    fn note(&self, target: &str, head: &str) -> usize {
        let mut seen = self.seen.lock().unwrap();
        seen.push(Seen {
            target: target.to_owned(),
            head: head.to_owned(),
            body: 0,
            whole: false,
        });
        seen.len() - 1
    }

    /// Reads the body, counted as it comes; `None` if it broke off.
    fn take_body(&self, reader: &mut impl BufRead, place: usize, head: &str) -> Option<()> {
        let head = head.to_lowercase();
        if !head.contains("transfer-encoding: chunked") {
            let mut lines = head.lines();
            let length =
                lines.find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            return self.take(reader, place, length.unwrap_or(0));
        }
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            self.take(reader, place, size)?;
            reader.read_line(&mut String::new()).ok()?;
            if size == 0 {
                return Some(());
            }
        }
    }

    fn take(&self, reader: &mut impl Read, place: usize, length: usize) -> Option<()> {
        let mut buffer = [0; 4096];
        let mut left = length;
        while left > 0 {
            let most = left.min(buffer.len());
            let count = reader
                .read(&mut buffer[..most])
                .ok()
                .filter(|count| *count > 0)?;
            left -= count;
            self.seen.lock().unwrap()[place].body += count;
        }
        Some(())
    }
}

/// The head of the next request.
fn read_head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            return Some(head);
        }
        head.push_str(&line);
    }
}

fn answer(mut stream: &TcpStream, target: &str, head: &str) -> std::io::Result<()> {
    let path = target.split('?').next().unwrap_or_default();
    match path.rsplit('/').next().unwrap_or_default() {
        "stream" => pour(stream),
        "elsewhere" => stream.write_all(
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        ),
        "challenge" => stream.write_all(
            b"HTTP/1.1 401 Unauthorized\r\nwww-authenticate: DPoP error=\"use_dpop_nonce\"\r\ndpop-nonce: mine\r\ncontent-length: 0\r\n\r\n",
        ),
        "echo" => {
            let credential = head
                .lines()
                .find(|line| line.to_lowercase().starts_with("authorization:"));
            stream.write_all(plain(credential.unwrap_or_default()).as_bytes())
        }
        _ => stream.write_all(plain(&format!("{{\"target\": \"{path}\"}}")).as_bytes()),
    }
}

fn plain(body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// Line after line until nobody takes them any more.
fn pour(mut stream: &TcpStream) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
    loop {
        stream.write_all(b"5\r\nline\n\r\n")?;
        pause();
    }
}
