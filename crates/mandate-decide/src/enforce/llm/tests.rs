//! Replies in the shapes that the references of both APIs show (`vectors/llm`).

use std::path::Path;

use http::{HeaderMap, HeaderValue, header};
use mandate_audit::{Incomplete, Usage};
use mandate_policy::decl::LlmApi;

use super::*;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/llm");

fn headers(media_type: &str) -> HeaderMap {
    let value = HeaderValue::from_str(media_type).unwrap();
    HeaderMap::from_iter([(header::CONTENT_TYPE, value)])
}

fn of(name: &str) -> (UsageReader, Vec<u8>) {
    let bytes = std::fs::read(Path::new(FOLDER).join(name)).unwrap();
    let api = match name.split_once('-').unwrap().0 {
        "openai" => LlmApi::OpenAi,
        "anthropic" => LlmApi::Anthropic,
        other => panic!("{other}"),
    };
    let media_type = match name.rsplit_once('.').unwrap().1 {
        "json" => "application/json",
        "sse" => "text/event-stream; charset=utf-8",
        other => panic!("{other}"),
    };
    (UsageReader::of(api, &headers(media_type)), bytes)
}

fn usage(name: &str) -> Usage {
    let (mut reader, bytes) = of(name);
    reader.read(&bytes);
    reader.usage(true)
}

/// Model; input, output; cached, cache write, reasoning.
fn said(model: &str, counts: [Option<u64>; 5]) -> Usage {
    let [input, output, cached, cache_write, reasoning] = counts;
    Usage {
        model: Some(model.to_owned()),
        input,
        output,
        cached,
        cache_write,
        reasoning,
        incomplete: None,
    }
}

const CLAUDE: &str = "claude-sonnet-4-5-20250929";
const GPT: &str = "gpt-4.1-2025-04-14";
const NAMES: [&str; 12] = [
    "openai-chat.json",
    "openai-chat.sse",
    "openai-chat-without-usage.sse",
    "openai-response.json",
    "openai-response-completed.sse",
    "openai-response-incomplete.sse",
    "openai-response-failed.sse",
    "openai-embeddings.json",
    "anthropic-message.json",
    "anthropic-message.sse",
    "anthropic-web-search.sse",
    "anthropic-overloaded.sse",
];

#[test]
fn every_shape_of_a_reply_is_read() {
    let chat = [Some(19), Some(10), Some(8), None, Some(4)];
    let response = [Some(37), Some(11), Some(30), Some(5), Some(6)];
    // What a cache had to do with is no part of Anthropic's `input_tokens`.
    let message = [Some(1125), Some(15), Some(1000), Some(100), Some(7)];
    for (name, expected) in [
        ("openai-chat.json", said(GPT, chat)),
        ("openai-chat.sse", said("gpt-4o-mini", chat)),
        ("openai-response.json", said(GPT, response)),
        ("openai-response-completed.sse", said(GPT, response)),
        ("openai-response-incomplete.sse", said(GPT, response)),
        ("openai-response-failed.sse", said(GPT, response)),
        (
            "openai-embeddings.json",
            said("text-embedding-3-small", [Some(8), None, None, None, None]),
        ),
        ("anthropic-message.json", said(CLAUDE, message)),
        ("anthropic-message.sse", said(CLAUDE, message)),
        (
            "anthropic-web-search.sse",
            said(CLAUDE, [Some(10_682), Some(510), Some(0), Some(0), None]),
        ),
    ] {
        assert_eq!(usage(name), expected, "{name}");
    }
}

#[test]
fn a_stream_that_says_nothing_or_breaks_off_says_so() {
    let silent = Usage {
        incomplete: Some(Incomplete::NotSaid),
        ..said("gpt-4o-mini", [None; 5])
    };
    assert_eq!(usage("openai-chat-without-usage.sse"), silent);
    let begun = [Some(1125), Some(1), Some(1000), Some(100), None];
    let broken = Usage {
        incomplete: Some(Incomplete::BrokeOff),
        ..said(CLAUDE, begun)
    };
    assert_eq!(usage("anthropic-overloaded.sse"), broken);
    // What came of a reply that was cut is no JSON.
    let (mut reader, bytes) = of("openai-chat.json");
    reader.read(&bytes[..bytes.len() - 9]);
    assert_eq!(reader.usage(false).incomplete, Some(Incomplete::BrokeOff));
    assert_eq!(reader.usage(true).incomplete, Some(Incomplete::Unreadable));
}

#[test]
fn whatever_pieces_a_reply_comes_in_it_says_the_same() {
    for name in NAMES {
        let (_, bytes) = of(name);
        let whole = usage(name);
        for at in 0..=bytes.len() {
            let (mut reader, _) = of(name);
            let (one, other) = bytes.split_at(at);
            reader.read(one);
            reader.read(other);
            assert_eq!(reader.usage(true), whole, "{name}, split at {at}");
        }
        let (mut reader, _) = of(name);
        bytes.iter().for_each(|byte| reader.read(&[*byte]));
        assert_eq!(reader.usage(true), whole, "{name}, byte by byte");
    }
}

/// However early a stream of Anthropic's is cut: what was known then is said, and that it is not all.
#[test]
fn what_was_known_of_a_stream_that_was_cut_is_known() {
    let (_, bytes) = of("anthropic-message.sse");
    let text = String::from_utf8(bytes.clone()).unwrap();
    let end_of = |event: &str| {
        let (_, after) = text.split_once(&format!("event: {event}")).unwrap();
        let (event_itself, _) = after.split_once("\n\n").unwrap();
        text.len() - after.len() + event_itself.len() + "\n\n".len()
    };
    let (began, counted, over) = (
        end_of("message_start"),
        end_of("message_delta"),
        end_of("message_stop"),
    );
    for at in 0..=bytes.len() {
        let (mut reader, _) = of("anthropic-message.sse");
        reader.read(&bytes[..at]);
        let usage = reader.usage(false);
        let (input, output) = match at {
            _ if at < began => (None, None),
            _ if at < counted => (Some(1125), Some(1)),
            _ => (Some(1125), Some(15)),
        };
        assert_eq!((usage.input, usage.output), (input, output), "{at}");
        let incomplete = (at < over).then_some(Incomplete::BrokeOff);
        assert_eq!(usage.incomplete, incomplete, "{at}");
    }
}

fn read(api: LlmApi, media_type: &str, text: &str) -> Usage {
    let mut reader = UsageReader::of(api, &headers(media_type));
    reader.read(text.as_bytes());
    reader.usage(true)
}

#[test]
fn what_is_of_another_type_was_not_said() {
    for usage in [
        r#"null"#,
        r#"[1, {"prompt_tokens": 1}]"#,
        r#""prompt_tokens""#,
        r#"{}"#,
        r#"{"prompt_tokens": -1, "completion_tokens": 1.5}"#,
        r#"{"prompt_tokens": "7", "completion_tokens": [7]}"#,
        r#"{"prompt_tokens": {"n": 7}, "completion_tokens": true}"#,
        r#"{"prompt_tokens": 1000000000001, "completion_tokens": 1e9}"#,
        r#"{"prompt_tokens": 99999999999999999999999999}"#,
        r#"{"prompt_tokens_details": 7, "completion_tokens_details": [[]]}"#,
    ] {
        let text = format!(r#"{{"model": 7, "usage": {usage}}}"#);
        let expected = Usage {
            incomplete: Some(Incomplete::NotSaid),
            ..Usage::default()
        };
        let said = read(LlmApi::OpenAi, "application/json", &text);
        assert_eq!(said, expected, "{text}");
    }
}

#[test]
fn what_has_two_readings_is_not_read() {
    for text in [
        r#"{"usage": {"prompt_tokens": 1}, "usage": {"prompt_tokens": 2}}"#,
        r#"{"usage": {"prompt_tokens": 1, "prompt_tokens": 2}}"#,
        r#"{"usage": {"prompt_tokens": 1}} {}"#,
        r#"["model", "usage"]"#,
        "",
        "tokens: 7",
    ] {
        let said = read(LlmApi::OpenAi, "application/json", text);
        assert_eq!(said.counts().count(), 0, "{text}");
        assert!(said.incomplete.is_some(), "{text}");
    }
    // Deeper than anybody reads.
    let deep = format!("{{\"a\": {}", "[".repeat(100_000));
    let said = read(LlmApi::OpenAi, "application/json", &deep);
    assert_eq!(said.incomplete, Some(Incomplete::Unreadable));
}

#[test]
fn a_name_of_a_model_is_short_and_plain() {
    let text = format!(
        r#"{{"model": "a\n\u0000ü <{}", "usage": {{"input_tokens": 1}}}}"#,
        "x".repeat(500)
    );
    let said = read(LlmApi::Anthropic, "application/json", &text);
    let model = said.model.unwrap();
    assert_eq!(model.len(), Usage::LONGEST_MODEL);
    assert!(model.starts_with("a____<xxx"), "{model}");
}

#[test]
fn what_is_too_long_encoded_or_of_another_type_is_not_read() {
    let long = format!(
        r#"{{"x": "{}", "usage": {{"input_tokens": 1}}}}"#,
        "x".repeat(LONGEST)
    );
    let said = read(LlmApi::OpenAi, "application/json", &long);
    assert_eq!(said.incomplete, Some(Incomplete::TooLong));
    // Of a stream what comes after it is read all the same, for no byte of it was kept.
    let events =
        format!("data: {long}\n\ndata: {{\"model\":\"m\",\"usage\":{{\"prompt_tokens\":1}}}}\n\n");
    let said = read(LlmApi::OpenAi, "text/event-stream", &events);
    assert_eq!(
        (said.input, said.incomplete),
        (Some(1), Some(Incomplete::TooLong))
    );
    let said = read(
        LlmApi::OpenAi,
        "text/event-stream",
        &(events + "data: [DONE]\n\n"),
    );
    assert_eq!((said.input, said.incomplete), (Some(1), None));

    let (_, bytes) = of("openai-chat.json");
    let mut encoded = headers("application/json");
    encoded.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    let mut reader = UsageReader::of(LlmApi::OpenAi, &encoded);
    reader.read(&bytes);
    assert_eq!(reader.usage(true).incomplete, Some(Incomplete::Encoded));
    for other in ["audio/mpeg", "text/plain", "application/jsonl"] {
        let mut reader = UsageReader::of(LlmApi::OpenAi, &headers(other));
        reader.read(&bytes);
        let expected = Some(Incomplete::NotSaid);
        assert_eq!(reader.usage(true).incomplete, expected, "{other}");
    }
}

#[test]
fn events_are_told_apart_as_browsers_do() {
    let mut heard = Vec::new();
    let mut events = Events::default();
    let text = "\u{feff}data: a\n\n: data: no\ndata\ndata:  b\rdata:c\r\n\r\nevent: x\n\nid\ndata:d\n\r\ndata: never";
    events.read(text.as_bytes(), |event| match event {
        Event::Data(data) => heard.push(String::from_utf8(data.to_vec()).unwrap()),
        Event::TooLong => panic!("nothing is"),
    });
    assert_eq!(heard, ["a", "\n b\nc", "d"]);
}
