//! Answers: one JSON message, or a stream of them.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use tokio::time::timeout;

use super::outlet::{Inlet, Piece};
use crate::mcp::message::{HEADER, Id, NO_METHOD, VERSION, error};

/// Of every answer.
pub(super) type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// By which rules a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Era {
    /// 2026-07-28: some errors have a status of their own.
    Stateless,
    /// Before.
    Sessions,
}

/// The answer to a request: JSON if it comes first and soon, otherwise a stream that ends with it.
pub(super) async fn deliver(mut inlet: Inlet, era: Era) -> Response<Body> {
    match timeout(SILENCE, inlet.next()).await {
        Ok(Some(Piece::Last { text, code })) => json(status(era, code), text),
        Ok(Some(Piece::Between(text))) => events(Some(text), inlet),
        Ok(None) | Err(_) => events(None, inlet),
    }
}

/// MCP 2026-07-28, "Streamable HTTP": an unknown method, and what is wrong with a head, show in the status.
fn status(era: Era, code: Option<i64>) -> StatusCode {
    match (era, code) {
        (Era::Stateless, Some(NO_METHOD)) => StatusCode::NOT_FOUND,
        (Era::Stateless, Some(VERSION..=HEADER)) => StatusCode::BAD_REQUEST,
        (Era::Stateless | Era::Sessions, _) => StatusCode::OK,
    }
}

/// A stream of messages (server-sent events, without ids: nothing is sent twice). `first` comes before what the
/// inlet has. It ends with the last one, or without where it was cut.
pub(super) fn events(first: Option<String>, inlet: Inlet) -> Response<Body> {
    let begun = (first.map(Piece::Between), Some(inlet));
    let frames = stream::unfold(begun, |(first, inlet)| async move {
        let mut inlet = inlet?;
        let piece = match first {
            Some(first) => Ok(Some(first)),
            None => timeout(KEEP_ALIVE, inlet.next()).await,
        };
        let (text, inlet) = match piece {
            Ok(Some(Piece::Between(text))) => (event(&text), Some(inlet)),
            Ok(Some(Piece::Last { text, .. })) => (event(&text), None),
            Ok(None) => return None,
            Err(_) => (":\n\n".to_owned(), Some(inlet)),
        };
        let frame = Ok(Frame::data(Bytes::from(text)));
        Some((frame, (None, inlet)))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let headers = response.headers_mut();
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(header::CONTENT_TYPE, "text/event-stream");
    set(header::CACHE_CONTROL, "no-store");
    set(header::HeaderName::from_static("x-accel-buffering"), "no");
    response
}

fn event(text: &str) -> String {
    format!("event: message\ndata: {text}\n\n")
}

/// One JSON message.
pub(super) fn json(status: StatusCode, text: String) -> Response<Body> {
    let body = Full::new(Bytes::from(text)).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// An error of ours.
pub(super) fn refused(
    status: StatusCode,
    id: Option<&Id>,
    code: i64,
    message: &str,
) -> Response<Body> {
    json(status, error(id, code, message))
}

/// Nothing to say.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().boxed_unsync());
    *response.status_mut() = status;
    response
}

/// A request that is not answered by then is answered by a stream: whoever waits sees that somebody is there.
const SILENCE: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::super::outlet::way;
    use super::*;

    async fn body(response: Response<Body>) -> String {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_first_is_json_and_any_other_a_stream() {
        let (outlet, inlet) = way();
        outlet.finish("{\"a\":1}".to_owned(), NO_METHOD);
        let answer = deliver(inlet, Era::Stateless).await;
        assert_eq!(answer.status(), 404);
        assert_eq!(body(answer).await, "{\"a\":1}");
        let (outlet, inlet) = way();
        outlet.push(Piece::Between("{\"b\":1}".to_owned())).unwrap();
        outlet.finish("{\"a\":1}".to_owned(), NO_METHOD);
        let answer = deliver(inlet, Era::Stateless).await;
        assert_eq!(answer.status(), 200);
        let text = body(answer).await;
        assert_eq!(
            text,
            "event: message\ndata: {\"b\":1}\n\nevent: message\ndata: {\"a\":1}\n\n"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_long_sees_that_somebody_is_there() {
        let (outlet, inlet) = way();
        let late = async {
            tokio::time::sleep(SILENCE + KEEP_ALIVE * 2).await;
            outlet.finish("{}".to_owned(), 1);
        };
        let answer = async { body(deliver(inlet, Era::Sessions).await).await };
        let (text, ()) = tokio::join!(answer, late);
        assert!(
            text.starts_with(":\n\n") && text.ends_with("data: {}\n\n"),
            "{text}"
        );
    }
}
