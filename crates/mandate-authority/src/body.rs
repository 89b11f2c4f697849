//! Request bodies, bounded in size and time, read as strict JSON or forms.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// Another content type.
    #[error("`content-type` must be `{0}`")]
    ContentType(&'static str),
    /// More bytes than allowed.
    #[error("the body has more than {0} bytes")]
    TooLarge(usize),
    /// It did not come in time, or broke off.
    #[error("the body did not arrive")]
    Broken,
}

impl From<BodyError> for Problem {
    fn from(why: BodyError) -> Self {
        match why {
            BodyError::TooLarge(_) => Problem::too_large(why.to_string()),
            BodyError::ContentType(_) | BodyError::Broken => Problem::malformed(why.to_string()),
        }
    }
}

/// Reads a JSON body. Unknown and duplicate members and trailing bytes are errors.
pub(crate) async fn json<T: DeserializeOwned>(
    request: Request,
    limit: usize,
) -> Result<T, Problem> {
    let bytes = read(request, "application/json", limit).await?;
    serde_json::from_slice(&bytes).map_err(|why| Problem::malformed(why.to_string()))
}

/// Reads a body of `content_type`, of `limit` bytes at most.
pub(crate) async fn read(
    request: Request,
    content_type: &'static str,
    limit: usize,
) -> Result<Bytes, BodyError> {
    if !is_of_type(request.headers(), content_type) {
        return Err(BodyError::ContentType(content_type));
    }
    let too_long = |length: u64| length > limit as u64;
    if axum::body::HttpBody::size_hint(request.body())
        .upper()
        .is_some_and(too_long)
    {
        return Err(BodyError::TooLarge(limit));
    }
    let bytes = axum::body::to_bytes(request.into_body(), limit.saturating_add(1));
    match tokio::time::timeout(BODY_TIMEOUT, bytes).await {
        Ok(Ok(bytes)) if bytes.len() <= limit => Ok(bytes),
        Ok(Ok(_)) => Err(BodyError::TooLarge(limit)),
        Ok(Err(why)) if is_length_limit(&why) => Err(BodyError::TooLarge(limit)),
        Ok(Err(_)) | Err(_) => Err(BodyError::Broken),
    }
}

/// `Content-Type` is `wanted`, with no parameter but a `charset` of UTF-8.
fn is_of_type(headers: &HeaderMap, wanted: &str) -> bool {
    let mut all = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(only), None) = (all.next(), all.next()) else {
        return false;
    };
    let Ok(text) = only.to_str() else {
        return false;
    };
    let mut parts = text.split(';').map(str::trim);
    let is_wanted = parts
        .next()
        .is_some_and(|kind| kind.eq_ignore_ascii_case(wanted));
    is_wanted && parts.all(|p| p.is_empty() || p.eq_ignore_ascii_case("charset=utf-8"))
}

fn is_length_limit(why: &axum::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(why);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A JSON answer that no cache may keep.
pub(crate) fn answer(value: &impl serde::Serialize) -> Response {
    answer_with(value, "no-store")
}

/// A JSON answer with this `Cache-Control`.
pub(crate) fn answer_with(value: &impl serde::Serialize, cache: &'static str) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let kind = HeaderValue::from_static("application/json");
            let cache = HeaderValue::from_static(cache);
            let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, cache)];
            (headers, Body::from(bytes)).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

const BODY_TIMEOUT: Duration = Duration::from_secs(15);
