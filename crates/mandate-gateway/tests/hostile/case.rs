//! The cases of `vectors/http`, as its README says.

use std::path::Path;

/// One case.
#[derive(Debug, Default, Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) short: bool,
    pub(crate) send: Send,
    pub(crate) answers: Vec<Vec<Answer>>,
    pub(crate) upstream: Vec<Arrival>,
    pub(crate) has: Vec<(String, String)>,
    pub(crate) lacks: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) enum Send {
    Http1(Vec<u8>),
    Http2(Vec<Frame>),
}

impl Default for Send {
    fn default() -> Self {
        Send::Http1(Vec::new())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Status(u16, Option<String>),
    Reset,
    Closed,
}

/// What must, or may, reach the upstream.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) line: String,
    pub(crate) maybe: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Frame {
    Headers {
        stream: u32,
        end: bool,
        fields: Vec<(Vec<u8>, Vec<u8>)>,
    },
    Raw {
        times: u32,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: Vec<u8>,
    },
    /// Requests without a token, each reset by the client, or made to be reset by the server.
    Resets { times: u32, by_server: bool },
}

/// The cases of one file.
pub(crate) fn read(file: &str, token: &str) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/http");
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    let mut cases = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let said = said(line, &mut cases, token);
        assert!(said.is_some(), "{file}:{}: {line}", n + 1);
    }
    for case in &cases {
        assert!(!case.answers.is_empty(), "{}: no answer", case.name);
    }
    cases
}

fn said(line: &str, cases: &mut Vec<Case>, token: &str) -> Option<()> {
    if line.is_empty() || line.starts_with('#') {
        return Some(());
    }
    if let Some(rest) = line.strip_prefix("target ") {
        cases.push(target_case(rest, token)?);
        return Some(());
    }
    if let Some(rest) = line.strip_prefix("field ") {
        cases.push(field_case(rest, token)?);
        return Some(());
    }
    if let Some(name) = line.strip_prefix("== ") {
        cases.push(Case {
            name: name.to_owned(),
            ..Case::default()
        });
        return Some(());
    }
    let case = cases.last_mut()?;
    if line.starts_with("why: ") {
        return Some(());
    }
    if line == "h2" {
        case.send = Send::Http2(Vec::new());
    } else if line == "limits: short" {
        case.short = true;
    } else if let Some(request) = line.strip_prefix("& ") {
        case.bytes()?.extend(request_line(request, token));
    } else if let Some(text) = line.strip_prefix("+ ") {
        case.bytes()?.extend(bytes_of(text, token));
    } else if let Some(frame) = line.strip_prefix("> ") {
        let frame = self::frame(frame, token)?;
        case.frames()?.push(frame);
    } else if let Some(text) = line.strip_prefix('|') {
        case.line(text, token)?;
    } else if let Some(answer) = line.strip_prefix("answer: ") {
        case.answers.push(answers(answer)?);
    } else if let Some(arrival) = line.strip_prefix("upstream: ") {
        case.arrives(arrival, false, token);
    } else if let Some(arrival) = line.strip_prefix("upstream?: ") {
        case.arrives(arrival, true, token);
    } else if let Some(field) = line.strip_prefix("has: ") {
        let (name, value) = field.split_once(": ")?;
        case.has.push((name.to_owned(), value.to_owned()));
    } else {
        let name = line.strip_prefix("lacks: ")?;
        case.lacks.push(name.to_owned());
    }
    Some(())
}

impl Case {
    fn bytes(&mut self) -> Option<&mut Vec<u8>> {
        match &mut self.send {
            Send::Http1(bytes) => Some(bytes),
            Send::Http2(_) => None,
        }
    }

    fn frames(&mut self) -> Option<&mut Vec<Frame>> {
        match &mut self.send {
            Send::Http1(_) => None,
            Send::Http2(frames) => Some(frames),
        }
    }

    fn arrives(&mut self, line: &str, maybe: bool, token: &str) {
        let line = String::from_utf8(bytes_of(line, token)).unwrap();
        self.upstream.push(Arrival { line, maybe });
    }

    /// A line of a head, or a field of the last `HEADERS` frame.
    fn line(&mut self, text: &str, token: &str) -> Option<()> {
        let text = bytes_of(text, token);
        match &mut self.send {
            Send::Http1(bytes) => {
                bytes.extend(text.strip_prefix(b" ").unwrap_or(&text));
                bytes.extend(b"\r\n");
            }
            Send::Http2(frames) => {
                let Frame::Headers { fields, .. } = frames.last_mut()? else {
                    return None;
                };
                let at = text.iter().skip(1).position(|b| *b == b':')? + 1;
                fields.push((text[..at].to_vec(), text[at + 2..].to_vec()));
            }
        }
        Some(())
    }
}

/// `NAME: METHOD TARGET -> ANSWER -- why`
fn target_case(text: &str, token: &str) -> Option<Case> {
    let (name, rest) = text.split_once(": ")?;
    let (request, rest) = rest.split_once(" -> ")?;
    let (answer, _why) = rest.split_once(" -- ")?;
    let mut bytes = request_line(request, token);
    bytes.extend(b"\r\n");
    let mut case = Case {
        name: format!("target {name}"),
        send: Send::Http1(bytes),
        ..Case::default()
    };
    if answer == "ok" {
        let (method, target) = request.split_once(' ')?;
        let target = target.strip_prefix("/records")?;
        case.answers.push(vec![Answer::Status(200, None)]);
        case.arrives(&format!("{method} {target} body=0"), false, token);
    } else {
        case.answers.push(answers(answer)?);
    }
    Some(case)
}

/// `NAME: Field: value -> ANSWER -- why`
fn field_case(text: &str, token: &str) -> Option<Case> {
    let (name, rest) = text.split_once(": ")?;
    let (field, rest) = rest.split_once(" -> ")?;
    let (answer, _why) = rest.split_once(" -- ")?;
    let mut bytes = request_line("GET /records/customers/acme/notes", token);
    bytes.extend(bytes_of(field, token));
    bytes.extend(b"\r\n\r\n");
    let mut case = Case {
        name: format!("field {name}"),
        send: Send::Http1(bytes),
        ..Case::default()
    };
    let (field, value) = field.split_once(": ")?;
    match answer {
        "passes" => case.has.push((field.to_owned(), value.to_owned())),
        "stripped" => case.lacks.push(field.to_owned()),
        "ok" => {}
        other => {
            case.answers.push(answers(other)?);
            return Some(case);
        }
    }
    case.answers.push(vec![Answer::Status(200, None)]);
    case.arrives("GET /customers/acme/notes body=0", false, token);
    Some(case)
}

fn answers(text: &str) -> Option<Vec<Answer>> {
    let one = |text: &str| match text {
        "closed" => Some(Answer::Closed),
        "reset" => Some(Answer::Reset),
        _ => {
            let (status, rule) = match text.split_once(' ') {
                Some((status, rule)) => (status, Some(rule.to_owned())),
                None => (text, None),
            };
            Some(Answer::Status(status.parse().ok()?, rule))
        }
    };
    text.split(" or ").map(one).collect()
}

fn frame(text: &str, token: &str) -> Option<Frame> {
    let (times, text) = match text.split_once(" times ") {
        Some((times, text)) => (times.parse().ok()?, text),
        None => (1, text),
    };
    let mut words = text.splitn(5, ' ');
    match words.next()? {
        "reset-request" => Some(Frame::Resets {
            times,
            by_server: false,
        }),
        "bad-request" => Some(Frame::Resets {
            times,
            by_server: true,
        }),
        "headers" => Some(Frame::Headers {
            stream: words.next()?.parse().ok()?,
            end: words.next() == Some("end"),
            fields: Vec::new(),
        }),
        "data" => {
            let rest = text.strip_prefix("data ")?;
            let (stream, rest) = rest.split_once(' ')?;
            let (flags, payload) = match rest.strip_prefix("end ") {
                Some(payload) => (1, payload),
                None => (0, rest),
            };
            let (kind, stream) = (0, stream.parse().ok()?);
            let payload = bytes_of(payload, token);
            Some(Frame::Raw {
                times,
                kind,
                flags,
                stream,
                payload,
            })
        }
        "frame" => {
            let mut number = || words.next()?.parse::<u32>().ok();
            let (kind, flags, stream) = (number()?, number()?, number()?);
            Some(Frame::Raw {
                times,
                kind: u8::try_from(kind).ok()?,
                flags: u8::try_from(flags).ok()?,
                stream,
                payload: bytes_of(words.next().unwrap_or_default(), token),
            })
        }
        _ => None,
    }
}

fn request_line(request: &str, token: &str) -> Vec<u8> {
    let head = "HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer";
    let mut bytes = bytes_of(request, token);
    bytes.extend(format!(" {head} {token}\r\n").bytes());
    bytes
}

/// Text with its escapes and repetitions.
pub(crate) fn bytes_of(text: &str, token: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.replace("${token}", token);
    while let Some(at) = rest.find("${") {
        let end = at + rest[at..].find('}').unwrap();
        let (times, repeated) = rest[at + 2..end].split_once('*').unwrap();
        bytes.extend(unescaped(&rest[..at]));
        bytes.extend(unescaped(repeated).repeat(times.parse().unwrap()));
        rest = rest[end + 1..].to_owned();
    }
    bytes.extend(unescaped(&rest));
    bytes
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut from = text.as_bytes();
    while let [first, rest @ ..] = from {
        let (byte, taken) = match (first, rest) {
            (b'\\', [b'r', ..]) => (b'\r', 1),
            (b'\\', [b'n', ..]) => (b'\n', 1),
            (b'\\', [b't', ..]) => (b'\t', 1),
            (b'\\', [b'0', ..]) => (0, 1),
            (b'\\', [b'\\', ..]) => (b'\\', 1),
            (b'\\', [b'x', high, low, ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).unwrap();
                (u8::from_str_radix(digits, 16).unwrap(), 3)
            }
            _ => (*first, 0),
        };
        bytes.push(byte);
        from = &rest[taken..];
    }
    bytes
}
