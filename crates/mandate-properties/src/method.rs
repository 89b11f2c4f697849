//! Bodies that could replace the method of their request.

use http::{HeaderMap, HeaderValue, header};
use mandate_decide::enforce::MethodOverrides;

/// Reads the first line of `data` as a content type, or as none if it is empty, and the rest as the body of a
/// `POST`.
///
/// - In whatever pieces a body comes, the same is found in it; and what is found in pieces is found in the whole.
/// - In a body that passes, no reader finds `_method`: neither WHATWG's of forms, nor serde_json, nor one of
///   multipart bodies that cuts the type at a comma, looks for a boundary anywhere and takes any line of a head.
pub fn method(data: &[u8]) -> bool {
    let mut parts = data.splitn(2, |b| *b == b'\n');
    let kind = parts.next().unwrap_or_default();
    let body = parts.next().unwrap_or_default();
    let mut headers = HeaderMap::new();
    if !kind.is_empty() {
        let Ok(value) = HeaderValue::from_bytes(kind) else {
            return false;
        };
        headers.insert(header::CONTENT_TYPE, value);
    }
    let look = || MethodOverrides::of("POST", &headers);
    let Ok(Some(looking)) = look() else {
        return false;
    };
    let passes = looking.look_at_whole(body).is_ok();
    let in_pieces = |length: usize| {
        let mut looking = look().expect("as before").expect("as before");
        body.chunks(length).all(|piece| looking.look(piece).is_ok())
    };
    let by_bytes = in_pieces(1);
    for length in [2, 7, 4096] {
        assert_eq!(in_pieces(length), by_bytes, "in pieces of {length}");
    }
    assert!(by_bytes || !passes, "found in pieces and not in the whole");
    if passes {
        nobody_finds_it(&String::from_utf8_lossy(kind).to_lowercase(), body);
    }
    passes
}

fn nobody_finds_it(kind: &str, body: &[u8]) {
    let essence = kind.split([';', ',', ' ']).next().unwrap_or_default();
    if kind.is_empty() || essence == "application/x-www-form-urlencoded" {
        let mut names = url::form_urlencoded::parse(body).map(|(name, _)| name);
        assert!(!names.any(|name| is_it(&name)), "in a form");
    }
    let json = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let json: Result<serde_json::Value, _> = serde_json::from_slice(json);
    if let Ok(serde_json::Value::Object(members)) = json {
        assert!(!members.keys().any(|name| is_it(name)), "in JSON");
    }
    if essence.starts_with("multipart/")
        && let Some((_, boundary)) = kind.rsplit_once("boundary=")
    {
        let boundary = boundary.trim_start_matches('"');
        let boundary = boundary.split(['"', ';', ',']).next().unwrap_or_default();
        let text = String::from_utf8_lossy(body).to_lowercase();
        for line_end in ["\r\n", "\n"] {
            let delimiter = format!("--{boundary}{line_end}");
            let mut parts = text.split(&delimiter).skip(1);
            assert!(!parts.any(|part| is_named(part, line_end)), "in multipart");
        }
    }
}

/// PHP ends a name at a zero byte or a bracket, and passes over spaces before it.
fn is_it(name: &str) -> bool {
    let begins = name.trim_start_matches(' ').split(['\0', '[']).next();
    begins.is_some_and(|name| name.eq_ignore_ascii_case("_method"))
}

fn is_named(part: &str, line_end: &str) -> bool {
    let end = format!("{line_end}{line_end}");
    let head = part.split_once(&end).map(|(head, _)| head);
    head.is_some_and(|head| {
        head.contains("content-disposition:") && head.contains("name=\"_method\"")
    })
}
