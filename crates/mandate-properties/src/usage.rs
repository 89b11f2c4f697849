//! Replies of LLMs: whatever pieces they come in, the same is read, and nothing that could not be recorded.

use http::{HeaderMap, HeaderValue, header};
use mandate_audit::{Decision, Draft, Event, Outcome, Usage, What};
use mandate_decide::enforce::UsageReader;
use mandate_policy::decl::LlmApi;

use crate::world::NOW;

/// Reads `data` as a reply: its first byte says of which API it is, whether it is a stream, and where it is split.
///
/// - In two pieces, and byte by byte, the same is read as at once.
/// - What is read can be recorded: the name of a model is short and plain, counts are no larger than is believed.
/// - So can what is read of a reply that is cut off.
pub fn usage(data: &[u8]) -> bool {
    let Some((how, reply)) = data.split_first() else {
        return false;
    };
    let api = if how & 1 == 0 {
        LlmApi::OpenAi
    } else {
        LlmApi::Anthropic
    };
    let media_type = if how & 2 == 0 {
        "application/json"
    } else {
        "text/event-stream"
    };
    let value = HeaderValue::from_static(media_type);
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, value)]);
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut reader = UsageReader::of(api, &headers);
        for piece in pieces {
            reader.read(piece);
        }
        (reader.usage(true), reader.usage(false))
    };
    let (whole, _) = read(&mut std::iter::once(reply));
    let (one, other) = reply.split_at(usize::from(how >> 2) * reply.len() / 64);
    assert_eq!(read(&mut [one, other].into_iter()).0, whole);
    assert_eq!(read(&mut reply.chunks(1)).0, whole);
    recordable(&whole);
    let (_, cut) = read(&mut std::iter::once(one));
    recordable(&cut);
    whole.incomplete.is_none()
}

fn recordable(usage: &Usage) {
    let model = usage.model.as_deref().unwrap_or("none");
    assert!(!model.is_empty() && model.len() <= Usage::LONGEST_MODEL);
    assert!(model.bytes().all(|b| b.is_ascii_graphic()), "{model}");
    assert!(usage.counts().all(|(_, n)| n <= 3 * Usage::MOST));
    // What no kind is said of is never all.
    assert!(usage.incomplete.is_some() || usage.counts().next().is_some());
    let what = What::AccessCompleted {
        admitted: 0,
        admitted_in: None,
        outcome: Outcome::Completed,
        status: Some(200),
        bytes_up: 0,
        bytes_down: 0,
        usage: Some(usage.clone()),
    };
    let event = Event::new(NOW, what, Decision::Noted);
    Draft::of(&event).expect("it has an encoding");
    let bytes = event.canonical().expect("it has an encoding");
    assert_eq!(Event::parse(&bytes).expect("it is a record"), event);
}
