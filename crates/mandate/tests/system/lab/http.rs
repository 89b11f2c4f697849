//! HTTP/1.1 in its plainest form: one request, one connection, every byte ours.
//!
//! Negative tests must be able to send what a proper client would not, and a test of crashes must tell an
//! answer that came whole from one that broke off.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

/// Where a server listens.
#[derive(Debug, Clone)]
pub(crate) enum Door {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// An answer that came whole.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
    /// As they came.
    fields: Vec<(String, String)>,
}

/// An answer that did not.
#[derive(Debug)]
pub(crate) struct Broken {
    /// The status, where that much came.
    pub(crate) status: Option<u16>,
    pub(crate) why: String,
}

/// A header.
pub(crate) type Field<'a> = (&'a str, &'a str);

impl Door {
    /// Sends one request and reads the answer to its end.
    pub(crate) fn send(
        &self,
        method: &str,
        target: &str,
        fields: &[Field<'_>],
        body: &[u8],
    ) -> Result<Answer, Broken> {
        let mut request = head(method, target, fields);
        if !body.is_empty() || method == "POST" {
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        let mut stream = self.connect().map_err(|e| broken(&[], &e))?;
        let mut read = Vec::new();
        let told = stream.write_all(&bytes);
        match told.and_then(|()| stream.read_to_end(&mut read)) {
            Ok(_) => parse(&read),
            Err(e) => Err(broken(&read, &e)),
        }
    }

    /// The same, where an answer must come.
    pub(crate) fn call(
        &self,
        method: &str,
        target: &str,
        fields: &[Field<'_>],
        body: &[u8],
    ) -> Answer {
        self.send(method, target, fields, body)
            .unwrap_or_else(|broken| panic!("{method} {target}: {}", broken.why))
    }

    pub(crate) fn get(&self, target: &str, fields: &[Field<'_>]) -> Answer {
        self.call("GET", target, fields, b"")
    }

    pub(crate) fn json(&self, target: &str, body: &Value) -> Answer {
        let kind = [("content-type", "application/json")];
        self.call("POST", target, &kind, body.to_string().as_bytes())
    }

    pub(crate) fn form(&self, target: &str, pairs: &[Field<'_>]) -> Answer {
        self.try_form(target, pairs)
            .unwrap_or_else(|broken| panic!("{target}: {}", broken.why))
    }

    pub(crate) fn try_form(&self, target: &str, pairs: &[Field<'_>]) -> Result<Answer, Broken> {
        let kind = [("content-type", "application/x-www-form-urlencoded")];
        self.send("POST", target, &kind, encode(pairs).as_bytes())
    }

    /// A connection, for tests that write and read piece by piece.
    pub(crate) fn connect(&self) -> io::Result<Box<dyn Duplex>> {
        Ok(match self {
            Door::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
            Door::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
        })
    }
}

/// Both ways.
pub(crate) trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

/// A request's head without its last line, for one request on its connection.
pub(crate) fn head(method: &str, target: &str, fields: &[Field<'_>]) -> String {
    let mut text = format!("{method} {target} HTTP/1.1\r\nhost: mandate\r\nconnection: close\r\n");
    for (name, value) in fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {} {}", self.status, self.body))
    }

    /// A text member of the body.
    pub(crate) fn text(&self, member: &str) -> String {
        match self.json().get(member).and_then(Value::as_str) {
            Some(text) => text.to_owned(),
            None => panic!("no `{member}` in {} {}", self.status, self.body),
        }
    }

    /// The answer, if it has this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    /// The value of a header.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let mut fields = self.fields.iter();
        let found = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    }

    /// Whether it is a refusal: the caller's fault, or a door that is shut for now.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.status, 400 | 401 | 403 | 404 | 503)
    }
}

/// `application/x-www-form-urlencoded`.
pub(crate) fn encode(pairs: &[Field<'_>]) -> String {
    let pairs = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)));
    pairs.collect::<Vec<_>>().join("&")
}

fn escape(text: &str) -> String {
    let byte = |b: u8| match b {
        b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn parse(read: &[u8]) -> Result<Answer, Broken> {
    let end = read.windows(4).position(|w| w == b"\r\n\r\n");
    let end = end.ok_or_else(|| broken(read, &"the head broke off"))?;
    let head = String::from_utf8_lossy(&read[..end]);
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let fields = fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    let (fields, head) = (fields.collect(), head.to_lowercase());
    let body = &read[end + 4..];
    let body = if head.contains("transfer-encoding: chunked") {
        unchunk(body).ok_or_else(|| broken(read, &"the body broke off"))?
    } else {
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if length.is_some_and(|length| length != body.len()) {
            return Err(broken(read, &"the body broke off"));
        }
        body.to_vec()
    };
    Ok(Answer {
        status: status(read).ok_or_else(|| broken(read, &"no status"))?,
        head,
        fields,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// The status of an answer, however much of the rest came.
pub(crate) fn status(read: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(read.get(9..12)?).ok()?;
    text.parse().ok()
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?, 16).ok()?;
        rest = rest.get(end + 2..)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

fn broken(read: &[u8], why: &impl ToString) -> Broken {
    Broken {
        status: status(read),
        why: why.to_string(),
    }
}

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
