//! The request's attributes, read from its body where the action declares some there.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use mandate_decide::enforce::{
    Ambiguous, Classified, Denial, MethodOverrides, Pending, RequestHead, Unclassifiable,
};

use super::refusal::Refusal;
use crate::body::{AnyBody, checked_by, full, incoming};
use crate::listener::Limits;

/// What a head says of the body that follows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Announced {
    none: bool,
    /// For one that is decided on.
    too_long: bool,
}

impl Announced {
    pub(super) fn of(body: &Incoming, limits: &Limits) -> Self {
        let limit = u64::try_from(limits.decided_body_bytes).unwrap_or(u64::MAX);
        Self {
            none: body.is_end_stream(),
            too_long: body.size_hint().lower() > limit,
        }
    }
}

/// Refuses what can be told from the head to be no body that goes on: before any of it is waited for.
pub(super) fn check_head(
    pending: &Pending<'_>,
    head: &RequestHead<'_>,
    body: Announced,
) -> Result<(), Refusal> {
    if !pending.needs_body() {
        if body.none {
            return Ok(());
        }
        if matches!(head.method, "GET" | "HEAD") {
            return Err(unexpected());
        }
    }
    pending.check_body_type(head.headers).map_err(no_action)?;
    MethodOverrides::of(head.method, head.headers).map_err(ambiguous)?;
    if pending.needs_body() && body.too_long {
        return Err(too_long());
    }
    Ok(())
}

/// Completes a classification that [`check_head`] let pass, waiting `within` for the body. The body that goes on is, byte for byte, the one that was read.
///
/// A body in which some server would look for another method is looked through: before anything of it
/// goes on where its length says that it is short, otherwise as it passes.
pub(super) async fn read_attributes(
    pending: Pending<'_>,
    head: &RequestHead<'_>,
    body: Incoming,
    limits: &Limits,
    within: Duration,
) -> Result<(Classified, AnyBody), Refusal> {
    let looking = MethodOverrides::of(head.method, head.headers);
    let pending = match pending.without_body() {
        Ok(classified) if body.is_end_stream() => return Ok((classified, incoming(body))),
        Ok(classified) => {
            let Some(looking) = looking.map_err(ambiguous)? else {
                return Ok((classified, incoming(body)));
            };
            let short = u64::try_from(limits.decided_body_bytes).unwrap_or(u64::MAX);
            if body.size_hint().exact().is_none_or(|length| length > short) {
                return Ok((classified, looked_through(incoming(body), looking)));
            }
            let bytes = read_in_time(body, limits, within).await?;
            looking.look_at_whole(&bytes).map_err(ambiguous)?;
            return Ok((classified, full(bytes)));
        }
        Err(pending) => pending,
    };
    let bytes = read_in_time(body, limits, within).await?;
    let classified = pending.with_body(head.headers, &bytes).map_err(no_action)?;
    if let Some(looking) = looking.map_err(ambiguous)? {
        looking.look_at_whole(&bytes).map_err(ambiguous)?;
    }
    Ok((classified, full(bytes)))
}

fn ambiguous(why: Ambiguous) -> Refusal {
    no_action(Unclassifiable::Ambiguous(why))
}

fn no_action(why: Unclassifiable) -> Refusal {
    Refusal::Denied(Denial::Unclassifiable(why))
}

fn too_long() -> Refusal {
    Refusal::Body {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        detail: "the body is longer than a body may be that is decided on",
    }
}

/// RFC 9110 §9.3.1: it has no meaning, and a server that does not read it takes it for the next request.
fn unexpected() -> Refusal {
    Refusal::Body {
        status: StatusCode::BAD_REQUEST,
        detail: "a `GET` or `HEAD` has no body, unless its action reads an attribute from it",
    }
}

async fn read_in_time(body: Incoming, limits: &Limits, within: Duration) -> Result<Bytes, Refusal> {
    let reading = read(body, limits.decided_body_bytes);
    tokio::time::timeout(within.min(limits.header_timeout), reading)
        .await
        .unwrap_or(Err(Refusal::Body {
            status: StatusCode::REQUEST_TIMEOUT,
            detail: "the body that is decided on did not come in time",
        }))
}

/// `body`, broken off before the member that would replace its method: what is not whole is carried
/// out by nobody.
fn looked_through(body: AnyBody, mut looking: MethodOverrides) -> AnyBody {
    checked_by(body, move |bytes| looking.look(bytes))
}

async fn read(mut body: Incoming, limit: usize) -> Result<Bytes, Refusal> {
    let broken = || Refusal::Body {
        status: StatusCode::BAD_REQUEST,
        detail: "the body broke off, or has trailers",
    };
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
