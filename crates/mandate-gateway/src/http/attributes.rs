//! The request's attributes, read from its body where the action declares some there.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use mandate_decide::enforce::{Classified, Denial, Pending};

use super::refusal::Refusal;
use crate::body::{AnyBody, full, incoming};
use crate::listener::Limits;

/// Completes a classification, waiting `within` for the body. The body that goes on is, byte for byte, the one that was read.
pub(super) async fn read_attributes(
    pending: Pending<'_>,
    headers: &HeaderMap,
    body: Incoming,
    limits: &Limits,
    within: Duration,
) -> Result<(Classified, AnyBody), Refusal> {
    let pending = match pending.without_body() {
        Ok(classified) => return Ok((classified, incoming(body))),
        Err(pending) => pending,
    };
    let reading = read(body, limits.decided_body_bytes);
    let bytes = tokio::time::timeout(within.min(limits.header_timeout), reading)
        .await
        .unwrap_or(Err(Refusal::Body {
            status: StatusCode::REQUEST_TIMEOUT,
            detail: "the body that is decided on did not come in time",
        }))?;
    let classified = pending
        .with_body(headers, &bytes)
        .map_err(|why| Refusal::Denied(Denial::Unclassifiable(why)))?;
    Ok((classified, full(bytes)))
}

async fn read(mut body: Incoming, limit: usize) -> Result<Bytes, Refusal> {
    let too_long = || Refusal::Body {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        detail: "the body is longer than a body may be that is decided on",
    };
    let broken = || Refusal::Body {
        status: StatusCode::BAD_REQUEST,
        detail: "the body broke off, or has trailers",
    };
    let announced = body.size_hint().lower();
    if announced > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(too_long());
    }
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let data = frame.map_err(|_| broken())?.into_data();
        bytes.extend_from_slice(&data.map_err(|_| broken())?);
        if bytes.len() > limit {
            return Err(too_long());
        }
    }
    Ok(bytes.freeze())
}
