//! Handing the request to its upstream and waiting for the head of the answer.

use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version, header};
use hyper::body::Incoming;
use mandate_policy::decl::ServerWorkload;

use super::front::{Front, Reply};
use super::inject::Outgoing;
use super::refusal::Refusal;
use crate::admission::{Admission, Go};
use crate::body::{AnyBody, Checked};
use crate::egress::End;
use crate::upstream::Lent;

/// The connection that answered, and the answer's head.
pub(super) struct Answered {
    pub(super) response: Response<Incoming>,
    pub(super) lent: Lent,
}

/// Forwards once. A request that an upstream closed its door on before a byte of it was sent is
/// sent again on a new connection; nothing else is ever repeated, and no redirect is followed.
pub(super) async fn forward(
    front: &Front,
    admission: &std::sync::Arc<Admission>,
    server: &ServerWorkload,
    head: &Parts,
    outgoing: &Outgoing,
    body: AnyBody,
    reply: &mut Reply,
) -> Result<Answered, Refusal> {
    if reply.is_gone() {
        return Err(Refusal::AgentGone);
    }
    let connect = server.http.connect_timeout;
    let lent = if outgoing.upgrades {
        front.pool.open_http1(&outgoing.place, connect).await
    } else {
        front.pool.lend(&outgoing.place, connect).await
    };
    let mut lent = lent.map_err(Refusal::Connect)?;
    let checked = Checked::new(admission, &admission.up, body);
    let mut request = Request::new(checked);
    *request.method_mut() = head.method.clone();
    loop {
        address(&mut request, outgoing, lent.is_http2())?;
        let (socket, own) = lent.socket();
        admission.uses(socket, own);
        admission.up.leaves_by(socket);
        // B1: checked right before the first byte, with no await in between.
        may_go(admission)?;
        admission.mark_forwarded();
        let answer = lent.send(request);
        let waiting = wait(front, admission, server, reply);
        let failed = tokio::select! {
            answer = answer => match answer {
                Ok(response) => {
                    admission.mark_answered();
                    return Ok(Answered { response, lent });
                }
                Err(failed) => failed,
            },
            refusal = waiting => {
                lent.kill();
                return Err(refusal);
            }
        };
        let reused = lent.reused;
        let mut failed = failed;
        match failed.take_message() {
            Some(unsent) if reused => request = unsent,
            Some(_) | None => return Err(broke(admission)),
        }
        lent = front
            .pool
            .open(&outgoing.place, connect)
            .await
            .map_err(Refusal::Connect)?;
    }
}

/// The check before an effect that cannot be paused: without a lease it is refused.
pub(super) fn may_go(admission: &Admission) -> Result<(), Refusal> {
    match admission.check() {
        Ok(Go::Now) => Ok(()),
        Ok(Go::WhenLeased) => Err(Refusal::NotNow {
            rule: "gateway.no_lease",
            detail: "this gateway has no lease of its authority now",
        }),
        Err(cut) => Err(Refusal::Cut(cut)),
    }
}

/// `work`, given up when the access is cut: a cut never waits for an upstream.
pub(super) async fn unless_cut<T>(
    admission: &Admission,
    work: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    tokio::select! {
        done = work => done,
        () = admission.cancelled() => Err(broke(admission)),
    }
}

fn broke(admission: &Admission) -> Refusal {
    if let Some(cut) = admission.cut() {
        return Refusal::Cut(cut.clone());
    }
    match admission.up.ended() {
        Some(End::Broken) => Refusal::Body {
            status: StatusCode::BAD_REQUEST,
            detail: "the request's body broke off or is too long",
        },
        Some(End::Whole | End::Dropped) | None => Refusal::UpstreamBroke,
    }
}

/// Resolves when there is no sense in waiting for the answer any longer.
async fn wait(
    front: &Front,
    admission: &Admission,
    server: &ServerWorkload,
    reply: &mut Reply,
) -> Refusal {
    let answer_late = async {
        admission.up.until_ended().await;
        tokio::time::sleep(server.http.response_timeout).await;
    };
    tokio::select! {
        () = reply.gone() => Refusal::AgentGone,
        () = answer_late => Refusal::UpstreamTimeout,
        () = stalled(admission, server.http.idle_timeout) => Refusal::Body {
            status: StatusCode::REQUEST_TIMEOUT,
            detail: "the request's body stood still",
        },
        () = front.expiry(admission) => Refusal::Cut(front.expired(admission)),
    }
}

/// Resolves when an upload has stood still for `idle`.
async fn stalled(admission: &Admission, idle: Duration) {
    loop {
        let before = admission.up.bytes();
        tokio::time::sleep(idle).await;
        if admission.up.ended().is_some() {
            std::future::pending::<()>().await;
        }
        if admission.up.bytes() == before {
            return;
        }
    }
}

/// Writes target and host in the form that the connection's protocol wants.
pub(super) fn address(
    request: &mut Request<Checked>,
    outgoing: &Outgoing,
    http2: bool,
) -> Result<(), Refusal> {
    let unusable = || Refusal::Request {
        status: StatusCode::BAD_REQUEST,
        rule: "request.target",
        detail: "the request target cannot be forwarded",
    };
    let origin = &outgoing.place.origin;
    let bracketed = origin.host.contains(':');
    let host = if bracketed {
        format!("[{}]", origin.host)
    } else {
        origin.host.clone()
    };
    let usual = matches!(
        (origin.scheme.as_str(), origin.port),
        ("http", 80) | ("https", 443)
    );
    let authority = if usual {
        host
    } else {
        format!("{host}:{}", origin.port)
    };
    *request.headers_mut() = outgoing.headers.clone();
    if http2 {
        let uri = format!("{}://{authority}{}", origin.scheme, outgoing.target);
        *request.uri_mut() = uri.parse::<Uri>().map_err(|_| unusable())?;
        *request.version_mut() = Version::HTTP_2;
    } else {
        *request.uri_mut() = outgoing.target.parse::<Uri>().map_err(|_| unusable())?;
        *request.version_mut() = Version::HTTP_11;
        let host = HeaderValue::from_str(&authority).map_err(|_| unusable())?;
        request.headers_mut().insert(header::HOST, host);
    }
    Ok(())
}
