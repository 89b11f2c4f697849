//! The life of a request.

mod answers;
mod attributes;
mod authenticate;
mod bindings;
mod challenges;
mod echo;
mod exchange;
mod form;
mod forward;
mod front;
mod headers;
mod holder;
mod inject;
mod manifest;
mod metadata;
mod outcome;
mod proof;
mod refusal;
mod refused;
mod release;
mod route;
mod sse;
mod standing;
mod tunnel;
mod upgrade;
mod upstream_token;
mod usage;
mod verdicts;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Version};
use hyper::body::{Body, Incoming};
use mandate_audit::{Decision, Event, SpoolKey};
use mandate_decide::enforce::{
    self, Ambiguous, Classified, Denial, Facts, RecordedBefore, RequestHead, Right, Unclassifiable,
    classify, headers_as_sent, recorded_before, target_as_sent,
};
use mandate_model::{BootTime, Timestamp};
use mandate_policy::Bundle;
use mandate_policy::decl::{Credential, ServerWorkload};
use mandate_ports::SpoolError;

pub(crate) use authenticate::TokenCache;
pub(crate) use bindings::Bindings;
pub(crate) use exchange::{Asker, AskerParts, Exchanges};
pub(crate) use front::{Arrival, Front, Reply};
pub(crate) use inject::Injections;
pub(crate) use manifest::Manifests;
pub(crate) use proof::Proofs;
pub use proof::PublicAddress;
pub use route::Routing;

pub(crate) use upstream_token::UpstreamTokens;
pub(crate) use verdicts::Verdicts;

use crate::admission::{Admission, Admitted};
use crate::body::{AnyBody, of_request};
use crate::egress::End;
use crate::snapshot::Snapshot;
use crate::upstream::Lent;
use answers::Answers;
use attributes::Reading;
use form::Form;
use holder::Holder;
use outcome::{Decided, Recorded};
use proof::Asking;
use refusal::Refusal;
use refused::{Refused, count, decision_record, short};
use route::Routed;
use standing::{Access, Asked};
use tunnel::Switching;
use upgrade::Upgrade;
use usage::Listening;

/// Serves one request: from its head to the record of its outcome. Runs as a task of its own, so
/// that an agent that goes away leaves no step half done; `reply` is answered once.
pub(crate) async fn serve(
    front: Arc<Front>,
    arrival: Arrival,
    request: Request<Incoming>,
    mut reply: Reply,
) {
    let began = front.gate.clock.boot();
    if let Some(metadata) = metadata::of(&front, &arrival, &request) {
        reply.send(metadata);
        return;
    }
    let place = metadata::place(&arrival, &request);
    // In a box, for it is large: a task is moved about before it begins, and all of it would be copied.
    let mut form = Form::default();
    let to = (&mut reply, &mut form);
    let passing = Box::pin(pass(&front, &arrival, request, to, began));
    if let Err(refused) = passing.await {
        let refusal = refused.recorded(&front, &arrival, began).await;
        let nonce = front.proofs.nonce(front.gate.clock.boot());
        let mut response = form.response(&refusal, nonce);
        if let Some(place) = place {
            metadata::point(response.headers_mut(), &place);
        }
        reply.send(response);
    }
}

/// The request's life, in order. Where the order matters, the reason stands beside the step.
async fn pass(
    front: &Arc<Front>,
    arrival: &Arrival,
    request: Request<Incoming>,
    (reply, form): (&mut Reply, &mut Form),
    began: BootTime,
) -> Result<(), Refused> {
    // Accept: nothing is looked at without the right to admit, and nothing that is ambiguous. Which
    // right there is depends on the server workload.
    arrival
        .fault
        .map_or(Ok(()), |fault| Err(Refusal::Malformed(fault)))?;
    route::check_form(&request)?;
    let snapshot = front.snapshot()?;
    front.check_lease(snapshot.bundle.as_deref())?;
    // Who has no token of ours gets no further, and learns nothing of any server workload.
    let holder = Holder::of(front, &snapshot, request.headers())?;
    let (right, bundle, routed) = find(front, arrival, &snapshot, &request)?;
    let server = routed.server;
    let (mut head, body) = request.into_parts();
    let agent = head.extensions.remove::<hyper::upgrade::OnUpgrade>();

    // Classify: what will be sent, byte for byte, so what must not be sent goes first. The result
    // is kept until it is known who asks.
    let sent = headers_as_sent(&head.headers, server);
    let target = target_as_sent(routed.target, server).map_err(two_readings)?;
    let as_sent = request_head(&head, &target, &sent);
    let pending = classify(server, &as_sent);

    // Authenticate: before a byte of the body is read.
    let asked = request_head(&head, &target, &head.headers);
    let coming = exchange::Coming {
        snapshot: &snapshot,
        bundle,
        right,
        server,
        head: &head,
        asked: &asked,
        as_sent: &as_sent,
        asking: asking(front, arrival, &head, routed.host.as_deref()),
        body: attributes::Announced::of(&body, server, &front.limits),
    };
    let authenticated = exchange::authenticate(front, &coming, &holder)?;
    *form = Form::of(server, pending.as_ref().ok());
    let denied = |refusal, classified: Option<&Classified>| {
        authenticated.refused(front, &coming, refusal, classified)
    };
    let pending = pending.map_err(|why| denied(unclassifiable(why), None))?;
    let upgrade = authenticated.check_head(front, &coming, &pending);
    let upgrade = upgrade.map_err(|why| denied(why, None))?;
    let within = time_for_the_body(server, authenticated.expires_at(), front.now());
    let reading = Reading::of(server, &front.limits, within);
    let read = attributes::read_attributes(pending, &as_sent, body, reading).await;
    let read = read.map_err(|(why, bytes)| {
        form.read(bytes);
        denied(why, None).in_words(form.words())
    })?;
    let classified = read.classified;
    form.read(read.bytes.clone());
    // Whoever went away meanwhile gets no access: nobody would have asked for what it does.
    if reply.is_gone() {
        return Err(denied(Refusal::AgentGone, Some(&classified)));
    }

    // Who brought no access token, and what one is got for, is decided as if they had brought it (A9).
    let getting = authenticated.with_token(front, &coming, &classified);
    let caller = getting.await?;
    let (token, body) = (caller.token(), caller.body((read.body, read.bytes))?);

    // Decide: pure, over one snapshot.
    let facts = coming.facts(front, token, front.now());
    let (admission, record) = decided(front, &facts, bundle, &asked, &classified)?;

    // Admit: registered before the record, so that a stop that comes now finds it (B1).
    let asked = as_asked(&head, &target, &sent, upgrade.as_ref());
    let standing = Access::new(front, bundle, server, &caller, asked, &classified);
    let admitted = front.registry.admit(
        front.gate.clone(),
        Box::new(standing),
        server.lease_loss,
        admission.expires_at(),
        snapshot.generation,
    );
    let access = Arc::clone(admitted.admission());
    access.uses(&arrival.socket, head.version < Version::HTTP_2);
    count(front, &record, began);

    // Record: durable before anything is forwarded; for reads of internal upstreams, where the
    // arrival of a request matters to nobody, before anything is released (C1). Where the server
    // workload asks for it, in the authority's log too (C2).
    let recording = outcome::decided(front, &record).shared();
    let mut progress = pin!(outcome::progress(front, &access, recording.clone()));
    let (decided, answered) = {
        let outgoing = Unaddressed {
            head: &head,
            sent,
            target: &target,
            caller: &caller,
            classified: &classified,
            upgrade: upgrade.as_ref(),
        };
        let forwarding = inject_and_forward(front, &access, server, outgoing, body, reply);
        // Where it lies it stays: what is handed on is its place.
        let forwarding = pin!(forwarding);
        let forwarding = outcome::beside(progress.as_mut(), forwarding);
        let before = recorded_before(server, classified.effect());
        in_order(front, &access, before, recording, forwarding).await
    };
    let decided = match decided {
        Ok(decided) => decided,
        Err(why) => return Err(unrecorded(admitted, record, why, answered).await),
    };

    // Release: checked at every chunk. Then what became of it is recorded.
    let listening = Listening::to(server, &head.method);
    let handing = Handing {
        idle: server.http.idle_timeout,
        nonce: front.nonce_for(token.claims()),
        switching: Switching::of(server, upgrade, agent),
        answers: Answers::of(front, &classified, (bundle, server), token),
        session: caller.of_server(&classified, server),
        usage: listening.clone(),
    };
    let handing_over = hand_over(front, arrival, &access, answered, handing, reply);
    let released = outcome::beside(progress.as_mut(), pin!(handing_over)).await;
    finish(front, (server, listening), admitted, &decided, released).await
}

/// Decides, and spends what is good for a number of uses; the decision's record.
fn decided(
    front: &Front,
    facts: &Facts<'_>,
    bundle: &Arc<Bundle>,
    asked: &RequestHead<'_>,
    classified: &Classified,
) -> Result<(enforce::Admission, Event), Refused> {
    let verdict = front.verdicts.decide(facts, bundle, classified);
    let as_accepted = |admission| {
        let seen = front.manifests.check_seen(front, facts.server, classified);
        seen.map(|()| admission)
    };
    let verdict = verdict.and_then(as_accepted);
    let record = decision_record(front, facts, asked, Some(classified), &verdict);
    let admission = verdict.map_err(|why| Refused::denial(Refusal::Denied(why), record.clone()))?;
    if let Some(spend) = admission.spend() {
        // Spent before it is recorded: a token is never used twice because a record failed.
        let uses = facts.token.claims().uses;
        let allowed = uses.map_or(1, std::num::NonZeroU32::get);
        front
            .spent
            .spend(spend, allowed, facts.now)
            .map_err(|why| {
                let refusal = Refusal::Spent(why);
                Refused::after_authentication(front, facts, asked, refusal, Some(classified))
            })?;
    }
    Ok((admission, record))
}

/// No longer than a body may stand still, and never beyond the token.
fn time_for_the_body(server: &ServerWorkload, expires_at: Timestamp, now: Timestamp) -> Duration {
    server.http.idle_timeout.min(expires_at.since(now))
}

/// What is decided on again while it runs.
fn as_asked(head: &Parts, target: &str, sent: &HeaderMap, upgrade: Option<&Upgrade>) -> Asked {
    Asked {
        method: head.method.clone(),
        target: target.to_owned(),
        headers: sent.clone(),
        upgrade: upgrade.map(|upgrade| upgrade.protocol().to_owned()),
    }
}

/// What a proof of possession must have been made for.
fn asking<'a>(
    front: &Front,
    arrival: &'a Arrival,
    head: &'a Parts,
    host: Option<&'a str>,
) -> Asking<'a> {
    Asking {
        method: head.method.as_str(),
        address: &arrival.public,
        host,
        path: head.uri.path(),
        now: front.now(),
        boot: front.gate.clock.boot(),
    }
}

/// Records and forwards, in the order that the server workload and the effect ask for.
async fn in_order(
    front: &Front,
    access: &Admission,
    before: RecordedBefore,
    recording: impl Future<Output = Recorded>,
    forwarding: impl Future<Output = Forwarded>,
) -> (Recorded, Forwarded) {
    if before == RecordedBefore::Release {
        return tokio::join!(recording, forwarding);
    }
    let decided = match recording.await {
        Ok(decided) => decided,
        Err(why) => return (Err(why), Err(Refusal::AgentGone)),
    };
    let logged = match before {
        RecordedBefore::ForwardingInTheLog => in_the_log(front, access, &decided.key).await,
        RecordedBefore::Forwarding | RecordedBefore::Release => Ok(()),
    };
    match logged {
        Ok(()) => (Ok(decided), forwarding.await),
        Err(refusal) => (Ok(decided), Err(refusal)),
    }
}

type Released = Result<(u16, Lent), (Option<u16>, Refusal)>;

/// How an answer is released.
struct Handing {
    /// How long nothing may pass.
    idle: Duration,
    /// For the agent's next proof.
    nonce: Option<HeaderValue>,
    /// What the connections switch to.
    switching: Option<Switching>,
    /// What becomes of it.
    answers: Option<Answers>,
    /// Of an MCP server: what of a session it may give.
    session: Option<exchange::Given>,
    /// Of an LLM: who listens for what its reply took.
    usage: Option<Arc<Listening>>,
}

/// Releases the answer to the agent, and follows it until nothing of it is under way.
async fn hand_over(
    front: &Front,
    arrival: &Arrival,
    access: &Arc<Admission>,
    answered: Forwarded,
    handing: Handing,
    reply: &mut Reply,
) -> Released {
    let Handing {
        idle,
        nonce,
        switching,
        answers,
        session,
        usage,
    } = handing;
    let (answered, needles) = answered.map_err(|refusal| (None, refusal))?;
    let status = answered.response.status().as_u16();
    // A client of MCP would take it for what its own token is worth, and get another one, again and again.
    if session.is_some() && status == StatusCode::UNAUTHORIZED.as_u16() {
        answered.lent.kill();
        return Err((Some(status), Refusal::Refused));
    }
    let switches = answered.response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if let Some(switching) = switching.filter(|_| switches) {
        let (response, lent) = (answered.response, answered.lent);
        let done =
            tunnel::switch(front, arrival, access, response, needles, switching, reply).await;
        // Nothing is HTTP on either connection any more; what has not left by now will not.
        access.up.finish(End::Dropped);
        access.down.finish(End::Dropped);
        return match done {
            Ok(()) => Ok((status, lent)),
            Err(refusal) => {
                lent.kill();
                Err((Some(status), refusal))
            }
        };
    }
    let looking = (answers, usage.as_ref());
    let releasing = release::release(access, answered.response, needles, idle, looking);
    let response = forward::unless_cut(access, releasing).await;
    match response.and_then(|r| forward::may_go(access).map(|()| r)) {
        Ok(mut response) => {
            access.down.leaves_by(&arrival.socket);
            if let Some(given) = &session {
                given.put(front, response.headers_mut());
            }
            // For the next proof.
            if let Some(nonce) = nonce {
                response.headers_mut().insert(proof::DPOP_NONCE, nonce);
            }
            reply.send(response);
            outcome::follow(front, access, &answered.lent, idle).await;
            Ok((status, answered.lent))
        }
        Err(refusal) => {
            answered.lent.kill();
            Err((Some(status), refusal))
        }
    }
}

/// Waits until the authority has the record, or the access is cut, or it takes too long.
async fn in_the_log(front: &Front, access: &Admission, record: &SpoolKey) -> Result<(), Refusal> {
    let shipped = async {
        let shipped = front.recorder.until_shipped(record);
        let in_time = tokio::time::timeout(SHIPPED_WITHIN, shipped).await;
        in_time.map_err(|_| Refusal::NotShipped)
    };
    forward::unless_cut(access, shipped).await
}

/// The server workload that is asked for, if the request is no larger than it takes, and on which ground
/// it may be admitted for.
fn find<'s>(
    front: &Front,
    arrival: &Arrival,
    snapshot: &'s Snapshot,
    request: &Request<Incoming>,
) -> Result<(Right, &'s Arc<Bundle>, Routed<'s>), Refusal> {
    let bundle = snapshot.bundle.as_ref();
    let routed = bundle.map(|bundle| {
        let routed = route::route(arrival.routing, bundle, request)?;
        // Another gateway's is none of this one.
        let served = routed.server.gateways.serves(&front.gateway);
        served.then_some((bundle, routed)).ok_or(route::NO_SERVER)
    });
    let server = match &routed {
        Some(Ok((_, routed))) => Some(routed.server),
        Some(Err(_)) | None => None,
    };
    let right = front.right_to_admit(server)?;
    let (bundle, routed) = routed.ok_or(NO_BUNDLE)??;
    check_size(routed.server, request)?;
    Ok((right, bundle, routed))
}

/// Ends an admission, hands its connection back, and records how it ended.
async fn finish(
    front: &Arc<Front>,
    (server, listening): (&ServerWorkload, Option<Arc<Listening>>),
    admitted: Admitted,
    decided: &Decided,
    released: Released,
) -> Result<(), Refused> {
    let access = Arc::clone(admitted.admission());
    let (status, refusal, lent) = match released {
        Ok((status, lent)) => (Some(status), None, Some(lent)),
        Err((status, refusal)) => {
            access.up.finish(End::Dropped);
            access.down.finish(End::Dropped);
            access.drain().await;
            (status, Some(refusal), None)
        }
    };
    let whole = access.cut().is_none()
        && [&access.up, &access.down]
            .iter()
            .all(|way| way.ended() == Some(End::Whole));
    // What is told of it is fixed before the guard goes, which marks it as ended.
    let came_whole = access.down.ended() == Some(End::Whole);
    let usage = listening.and_then(|listening| listening.usage(came_whole));
    if let Some(usage) = &usage {
        front.metrics.used(server.name.as_str(), usage);
    }
    let told = (status, usage);
    let record = outcome::completed(front, &access, decided, told, refusal.as_ref());
    // Whoever waits for the last access to end, to stop, finds its record handed over.
    front.recorder.note_draft(record, "access_completed");
    admitted.end();
    if let Some(lent) = lent.filter(|_| whole) {
        front.pool.give_back(&inject::place_of(server), lent).await;
    }
    if let Some(Refusal::Credential(why)) = &refusal {
        tracing::warn!(server = %server.name, %why, "an access lacks its credential");
    }
    refusal.map_or(Ok(()), |refusal| Err(Refused::after_admission(refusal)))
}

/// A request that is admitted and lacks what this gateway puts in.
struct Unaddressed<'a> {
    head: &'a Parts,
    sent: HeaderMap,
    target: &'a str,
    caller: &'a exchange::Caller<'a>,
    classified: &'a Classified,
    upgrade: Option<&'a Upgrade>,
}

type Forwarded = Result<(forward::Answered, echo::Needles), Refusal>;

/// Inject, then forward. The credential is fetched after the decision and after nothing else.
async fn inject_and_forward(
    front: &Arc<Front>,
    access: &Arc<Admission>,
    server: &ServerWorkload,
    request: Unaddressed<'_>,
    body: AnyBody,
    reply: &mut Reply,
) -> Forwarded {
    let Unaddressed {
        head,
        sent,
        target,
        caller,
        classified,
        upgrade,
    } = request;
    let token = caller.text();
    let upstream_token = front.upstream_tokens.of(server, token, front.now()).await?;
    let token = upstream_token.as_deref().map(|t| t.expose().as_str());
    let outgoing = inject::outgoing(
        &*front.credentials,
        &front.injections,
        server,
        sent,
        target,
        token,
    );
    let mut outgoing = outgoing.await?;
    let looking = manifest::Looking {
        front,
        access,
        server,
        target,
        upstream_token: token,
    };
    looking.check(classified).await?;
    standing::pass_task_id(server, access, &mut outgoing.headers)?;
    caller.put(&mut outgoing.headers)?;
    if let Some(upgrade) = upgrade {
        outgoing.upgrades = true;
        upgrade.ask(&mut outgoing.headers, server.credential != Credential::None)?;
    }
    let body = of_request(body, server.http.max_body_bytes);
    let forwarding = forward::forward(front, access, server, head, &outgoing, body, reply);
    let answered = forward::unless_cut(access, forwarding).await?;
    Ok((answered, outgoing.needles))
}

/// Without a record there is no access: what was forwarded for it is reset, nothing is released.
///
/// A record that is too long is no fault of the disk: that the access was refused for it is recorded.
async fn unrecorded(
    admitted: Admitted,
    record: Event,
    why: SpoolError,
    answered: Forwarded,
) -> Refused {
    let access = admitted.admission();
    if let Ok((answered, _)) = answered {
        answered.lent.kill();
    }
    access.up.finish(End::Dropped);
    access.down.finish(End::Dropped);
    access.drain().await;
    admitted.end();
    let too_long = matches!(why, SpoolError::Encoding(_));
    let refusal = Refusal::Unrecorded(why);
    if !too_long {
        return Refused::after_admission(refusal);
    }
    let record = Event {
        decision: Decision::Denied,
        rule: Some(refusal.rule()),
        detail: Some(refusal.to_string()),
        ..short(record)
    };
    Refused::denial(refusal, record)
}

fn request_head<'a>(head: &'a Parts, target: &'a str, sent: &'a HeaderMap) -> RequestHead<'a> {
    RequestHead {
        method: head.method.as_str(),
        path_and_query: target,
        headers: sent,
    }
}

fn two_readings(_: Ambiguous) -> Refusal {
    Refusal::Request {
        status: StatusCode::BAD_REQUEST,
        rule: "request.target",
        detail: "a query with `;` can be read in two ways; write it as `%3B`",
    }
}

fn unclassifiable(why: Unclassifiable) -> Refusal {
    Refusal::Denied(Denial::Unclassifiable(why))
}

/// The server workload's own limits, which may be narrower than the listener's.
fn check_size(server: &ServerWorkload, request: &Request<Incoming>) -> Result<(), Refusal> {
    let fields = request.headers().iter();
    let head: usize = fields.map(|(n, v)| n.as_str().len() + v.len() + 4).sum();
    if u64::try_from(head).unwrap_or(u64::MAX) > u64::from(server.http.max_header_bytes) {
        return Err(Refusal::Request {
            status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            rule: "http.limit",
            detail: "the request's head is too long",
        });
    }
    if request.body().size_hint().lower() > server.http.max_body_bytes {
        return Err(Refusal::Body {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            detail: "the request's body is too long",
        });
    }
    Ok(())
}

/// A shipment that failed is tried again each second.
const SHIPPED_WITHIN: Duration = Duration::from_secs(5);
const NO_BUNDLE: Refusal = Refusal::Request {
    status: StatusCode::NOT_FOUND,
    rule: "request.no_server",
    detail: "no server workload answers here",
};
