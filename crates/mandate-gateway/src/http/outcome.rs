//! What became of an admitted access, recorded while it runs and when it ends.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use mandate_audit::{Draft, EncodeError, Event, FollowUp, Outcome, SpoolKey, Usage, What};
use mandate_ports::SpoolError;

use super::front::Front;
use super::refusal::Refusal;
use crate::admission::{Admission, Cut, Side};
use crate::egress::End;
use crate::upstream::Lent;

/// `work`, with [`progress`] beside it.
pub(super) async fn beside<T>(
    progress: Pin<&mut impl Future<Output = Infallible>>,
    work: impl Future<Output = T>,
) -> T {
    tokio::select! {
        done = work => done,
        never = progress => match never {},
    }
}

/// Follows an access until nothing of it is under way, one way or the other.
pub(super) async fn follow(front: &Front, admission: &Admission, lent: &Lent, idle: Duration) {
    let ended = async {
        let down = admission.down.until_ended().await;
        if down != End::Whole {
            return;
        }
        admission.down.until_clear().await;
    };
    tokio::select! {
        () = ended => {}
        () = admission.cancelled() => {}
        () = front.expiry(admission) => {
            front.expired(admission);
        }
        () = standstill(front, admission, idle) => {
            admission.abort(Cut::new("http.idle", "nothing passed for too long"));
        }
    }
    if admission.up.ended() != Some(End::Whole) {
        // The answer is over; what the agent still uploads goes nowhere.
        admission.up.finish(End::Dropped);
        lent.kill();
    }
    if admission.cut().is_some() || admission.down.ended() != Some(End::Whole) {
        admission.down.finish(End::Dropped);
    }
    admission.drain().await;
}

/// Resolves when nothing has passed for `idle`, though it might have.
pub(super) async fn standstill(front: &Front, admission: &Admission, idle: Duration) {
    let bytes = || admission.up.bytes().saturating_add(admission.down.bytes());
    let (mut seen, mut seen_at) = (bytes(), front.gate.clock.boot());
    loop {
        tokio::time::sleep(LOOK.min(idle)).await;
        let (now, total) = (front.gate.clock.boot(), bytes());
        let may_pass = !admission.is_paused() && !admission.meter.is_full();
        if total != seen {
            (seen, seen_at) = (total, now);
        } else if now.since(seen_at) >= idle && may_pass {
            return;
        }
    }
}

/// Once the decision is recorded, records progress each minute or 16 MiB, whatever the access is
/// about meanwhile; nothing more passes until such a record is durable, and one that cannot be written
/// cuts (C1).
pub(super) async fn progress(
    front: &Front,
    admission: &Admission,
    recording: impl Future<Output = Recorded>,
) -> Infallible {
    let Ok(decided) = recording.await else {
        return std::future::pending().await;
    };
    let mut told_at = front.gate.clock.boot();
    loop {
        let full = tokio::time::timeout(LOOK, admission.meter.until_full()).await;
        let now = front.gate.clock.boot();
        if full.is_err() && now.since(told_at) < TELL_AFTER {
            continue;
        }
        told_at = now;
        let unrecorded = admission.meter.unrecorded();
        let what = What::AccessProgress {
            admitted: decided.key.seq,
            admitted_in: Some(decided.key.spool.clone()),
            bytes_up: admission.up.bytes(),
            bytes_down: admission.down.bytes(),
        };
        let draft = decided.followed_by(front, admission, &what, Because::default());
        let written = match draft {
            Ok(draft) => front.recorder.append_draft(Arc::new(draft)).await.is_ok(),
            Err(_) => false,
        };
        if !written {
            let why = "its progress cannot be recorded";
            admission.abort(Cut::new("record.unwritable", why));
            return std::future::pending().await;
        }
        admission.meter.recorded(unrecorded);
    }
}

/// What became of a decision's record.
pub(super) type Recorded = Result<Arc<Decided>, SpoolError>;

/// Makes the record of a decision durable.
pub(super) fn decided<'f>(
    front: &'f Front,
    record: &Event,
) -> impl Future<Output = Recorded> + use<'f> {
    let (draft, without_lease) = (Draft::of(record).map(Arc::new), record.without_lease);
    async move {
        let draft = draft?;
        let receipt = front.recorder.append_draft(Arc::clone(&draft)).await?;
        Ok(Arc::new(Decided {
            key: receipt.key,
            draft,
            without_lease,
        }))
    }
}

/// The decision's record: what every later record of the access repeats, so that each of them
/// reaches its cause (P5).
pub(super) struct Decided {
    /// Its whole name: what is recorded later may be in another spool, which was begun meanwhile.
    pub(super) key: SpoolKey,
    draft: Arc<Draft>,
    without_lease: bool,
}

/// The rule by which an access ended, where one did, and more on it.
#[derive(Default)]
struct Because<'a> {
    rule: Option<&'a str>,
    detail: Option<&'a str>,
}

impl Decided {
    fn followed_by(
        &self,
        front: &Front,
        admission: &Admission,
        what: &What,
        because: Because<'_>,
    ) -> Result<Draft, EncodeError> {
        self.draft.followed_by(&FollowUp {
            at: front.gate.clock.now(),
            what,
            rule: because.rule,
            detail: because.detail,
            without_lease: self.without_lease || admission.went_without_lease(),
        })
    }
}

/// The record of how an access ended.
pub(super) fn completed(
    front: &Front,
    admission: &Admission,
    decided: &Decided,
    (status, usage): (Option<u16>, Option<Usage>),
    refusal: Option<&Refusal>,
) -> Result<Draft, EncodeError> {
    let what = What::AccessCompleted {
        admitted: decided.key.seq,
        admitted_in: Some(decided.key.spool.clone()),
        outcome: outcome(admission, refusal),
        status,
        bytes_up: admission.up.bytes(),
        bytes_down: admission.down.bytes(),
        usage,
    };
    let followed_by = |rule, detail| {
        let because = Because { rule, detail };
        decided.followed_by(front, admission, &what, because)
    };
    match (admission.cut(), refusal) {
        (Some(cut), _) => followed_by(Some(&*cut.rule), Some(&*cut.detail)),
        (None, Some(refusal)) => followed_by(Some(&*refusal.rule()), Some(&*refusal.to_string())),
        (None, None) => followed_by(None, admission.ended_by().map(Side::ended_it)),
    }
}

fn outcome(admission: &Admission, refusal: Option<&Refusal>) -> Outcome {
    if !admission.was_forwarded() {
        return match refusal {
            Some(Refusal::Connect(_)) => Outcome::UpstreamFailed,
            Some(_) | None => Outcome::Aborted,
        };
    }
    if admission.cut().is_some() {
        return if admission.was_answered() {
            Outcome::Cut
        } else {
            Outcome::Unknown
        };
    }
    match (refusal, admission.down.ended()) {
        (Some(Refusal::AgentGone), _) | (None, Some(End::Dropped)) => Outcome::AgentGone,
        (Some(_), _) | (None, Some(End::Broken)) => Outcome::UpstreamFailed,
        (None, Some(End::Whole) | None) => Outcome::Completed,
    }
}

const LOOK: Duration = Duration::from_secs(1);
const TELL_AFTER: Duration = Duration::from_secs(60);
