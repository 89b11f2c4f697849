//! Requests: what becomes of a method, a target and header fields.

use http::{HeaderMap, HeaderName, HeaderValue};
use mandate_decide::enforce::{RequestHead, Target, classify as find_action, target_as_sent};
use mandate_model::AttributeValue;
use percent_encoding::percent_decode_str;
use url::Url;

use crate::world::records;

/// Classifies `data`: the first line is method and target, each further one a header field.
///
/// - A target that is accepted has the same segments for a parser that normalises as browsers do
///   (WHATWG URL), and no segment is a dot segment, is empty within the path, or would be decoded
///   further by somebody who decodes twice.
/// - So has its query the same parameters for a parser of forms.
/// - What is sent is, byte for byte, what was classified, but for the credential that the gateway adds.
/// - A path variable is one whole segment, and an action is found by its own method alone.
pub fn classify(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let mut lines = text.split('\n');
    let Some((method, target)) = lines.next().and_then(|line| line.split_once(' ')) else {
        return false;
    };
    let headers = headers(lines);
    if let Ok(parsed) = Target::parse(target) {
        check_reading(&parsed, target);
    }
    let head = RequestHead {
        method,
        path_and_query: target,
        headers: &headers,
    };
    let Ok(pending) = find_action(records(), &head) else {
        return false;
    };
    let action = pending.action().expect("its head says it").as_str();
    let reads = matches!(action, "read" | "search" | "report");
    assert_eq!(method, if reads { "GET" } else { "POST" });
    assert_eq!(
        target_as_sent(target.to_owned(), records()).as_deref(),
        Ok(target)
    );
    if let Ok(classified) = pending.without_body() {
        let segments = Target::parse(target).expect("it was classified");
        check_variables(&classified, segments.segments());
    }
    true
}

pub(crate) fn headers<'a>(lines: impl Iterator<Item = &'a str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            headers.append(name, value);
        }
    }
    headers
}

/// Compares our reading of a target with one that was written for browsers.
fn check_reading(ours: &Target<'_>, target: &str) {
    let theirs = Url::parse(&format!("http://upstream.example{target}"))
        .expect("a target without doubt is a URL");
    let segments: Vec<_> = theirs
        .path_segments()
        .into_iter()
        .flatten()
        .map(|s| percent_decode_str(s).decode_utf8().expect("UTF-8"))
        .collect();
    let root = ours.segments().is_empty() && segments == [""];
    assert!(
        root || ours.segments() == segments,
        "{target:?}: {:?} is {segments:?} for others",
        ours.segments()
    );
    for (i, segment) in ours.segments().iter().enumerate() {
        let last = i + 1 == ours.segments().len();
        assert!(last || !segment.is_empty(), "{target:?}: an empty segment");
        assert!(*segment != "." && *segment != "..", "{target:?}");
        let twice = percent_decode_str(segment).decode_utf8_lossy();
        assert_eq!(twice, *segment, "{target:?} decodes further");
        assert!(!segment.contains(['/', '\\', ';', '\0']), "{target:?}");
    }
    if let Ok(pairs) = ours.query_pairs() {
        let forms: Vec<(String, String)> = theirs.query_pairs().into_owned().collect();
        assert_eq!(pairs, forms, "{target:?}");
    }
}

/// Every variable of a path is the whole of one of its segments.
fn check_variables(
    classified: &mandate_decide::enforce::Classified,
    segments: &[std::borrow::Cow<'_, str>],
) {
    if !classified.shape().contains("{customer}") {
        return;
    }
    let customer = mandate_model::AttributeName::parse("customer").unwrap();
    let found = classified.attributes().values(&customer);
    let expected = segments.get(1).map(|s| AttributeValue::Text(s.to_string()));
    assert_eq!(found, expected.as_slice(), "{}", classified.shape());
}
