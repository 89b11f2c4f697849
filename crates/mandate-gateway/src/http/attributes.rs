//! The request's attributes, read from its body where the action declares some there.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use mandate_decide::enforce::{
    Ambiguous, Classified, Denial, MethodOverrides, Pending, RequestHead, Unclassifiable,
};

use mandate_policy::decl::ServerWorkload;

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
    pub(super) fn of(body: &Incoming, server: &ServerWorkload, limits: &Limits) -> Self {
        let limit = u64::try_from(longest(server, limits)).unwrap_or(u64::MAX);
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
        if matches!(head.method, "GET" | "HEAD") || pending.takes_no_body() {
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

/// What is decided on.
pub(super) struct Read {
    pub(super) classified: Classified,
    /// What goes on is, byte for byte, what was read.
    pub(super) body: AnyBody,
    /// The body, where it was read whole.
    pub(super) bytes: Option<Bytes>,
}

/// Why a body is not decided on, and the body as far as it was read whole.
pub(super) type Unread = (Refusal, Option<Bytes>);

/// How a body is read that is decided on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// In bytes.
    pub(super) longest: usize,
    /// How long it is waited for.
    pub(super) within: Duration,
}

impl Reading {
    /// Of a request for `server`, whose body may take `within`.
    pub(super) fn of(server: &ServerWorkload, limits: &Limits, within: Duration) -> Self {
        Self {
            longest: longest(server, limits),
            within: within.min(limits.header_timeout),
        }
    }
}

/// A message to an MCP server or an agent may carry a file, and a prompt many; attributes are read from shorter bodies elsewhere.
fn longest(server: &ServerWorkload, limits: &Limits) -> usize {
    let most = if server.mcp.is_some() || server.a2a.is_some() {
        MESSAGE_BYTES
    } else if server.llm.is_some() {
        PROMPT_BYTES
    } else {
        return limits.decided_body_bytes;
    };
    usize::try_from(server.http.max_body_bytes).map_or(most, |declared| declared.min(most))
}

/// Completes a classification that [`check_head`] let pass.
///
/// A body in which some server would look for another method is looked through: before anything of it
/// goes on where its length says that it is short, otherwise as it passes.
pub(super) async fn read_attributes(
    pending: Pending<'_>,
    head: &RequestHead<'_>,
    body: Incoming,
    reading: Reading,
) -> Result<Read, Unread> {
    let looking = MethodOverrides::of(head.method, head.headers);
    let pending = match pending.without_body() {
        Ok(classified) => return look_through(classified, looking, body, reading).await,
        Err(pending) => pending,
    };
    let bytes = read_in_time(body, reading)
        .await
        .map_err(|why| (why, None))?;
    let read = |why: Refusal| (why, Some(bytes.clone()));
    let classified = pending
        .with_body(head.headers, &bytes)
        .map_err(|why| read(no_action(why)))?;
    if let Some(looking) = looking.map_err(|why| read(ambiguous(why)))? {
        let looked = looking.look_at_whole(&bytes);
        looked.map_err(|why| read(ambiguous(why)))?;
    }
    Ok(Read {
        classified,
        body: full(bytes.clone()),
        bytes: Some(bytes),
    })
}

/// Nothing is decided on in the body, but for whether it replaces the method.
async fn look_through(
    classified: Classified,
    looking: Result<Option<MethodOverrides>, Ambiguous>,
    body: Incoming,
    reading: Reading,
) -> Result<Read, Unread> {
    let passes = |classified, body| Read {
        classified,
        body,
        bytes: None,
    };
    if body.is_end_stream() {
        return Ok(passes(classified, incoming(body)));
    }
    let Some(looking) = looking.map_err(|why| (ambiguous(why), None))? else {
        return Ok(passes(classified, incoming(body)));
    };
    let short = u64::try_from(reading.longest).unwrap_or(u64::MAX);
    if body.size_hint().exact().is_none_or(|length| length > short) {
        let body = looked_through(incoming(body), looking);
        return Ok(passes(classified, body));
    }
    let bytes = read_in_time(body, reading)
        .await
        .map_err(|why| (why, None))?;
    let looked = looking.look_at_whole(&bytes);
    looked.map_err(|why| (ambiguous(why), None))?;
    Ok(passes(classified, full(bytes)))
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

async fn read_in_time(body: Incoming, reading: Reading) -> Result<Bytes, Refusal> {
    tokio::time::timeout(reading.within, read(body, reading.longest))
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

/// As the SDKs' own servers take.
const MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// What the larger of the two APIs takes.
const PROMPT_BYTES: usize = 32 * 1024 * 1024;
