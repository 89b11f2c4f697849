//! What became of an admitted access, recorded while it runs and when it ends.

use std::time::Duration;

use mandate_audit::{Decision, Event, Outcome, What};

use super::front::Front;
use super::refusal::Refusal;
use crate::admission::{Admission, Cut};
use crate::egress::End;
use crate::upstream::Lent;

/// Follows an access until nothing of it is under way, one way or the other.
pub(super) async fn follow(
    front: &Front,
    admission: &Admission,
    decided: &Decided,
    lent: &Lent,
    idle: Duration,
) {
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
        () = progress(front, admission, decided, idle) => {}
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

/// Records progress each minute or 16 MiB; a record that cannot be written cuts (C1), as does
/// a stream that stands still.
async fn progress(front: &Front, admission: &Admission, decided: &Decided, idle: Duration) {
    let bytes = || admission.up.bytes().saturating_add(admission.down.bytes());
    let (mut seen, mut seen_at) = (bytes(), front.gate.clock.boot());
    let (mut told, mut told_at) = (seen, seen_at);
    loop {
        tokio::time::sleep(LOOK.min(idle)).await;
        let (now, total) = (front.gate.clock.boot(), bytes());
        if total != seen {
            (seen, seen_at) = (total, now);
        } else if now.since(seen_at) >= idle && !admission.is_paused() {
            admission.abort(Cut::new("http.idle", "nothing passed for too long"));
            return;
        }
        if total - told < TELL_BYTES && now.since(told_at) < TELL_AFTER {
            continue;
        }
        (told, told_at) = (total, now);
        let what = What::AccessProgress {
            admitted: decided.seq,
            bytes_up: admission.up.bytes(),
            bytes_down: admission.down.bytes(),
        };
        if front
            .recorder
            .append(decided.event(front, admission, what))
            .await
            .is_err()
        {
            admission.abort(Cut::new(
                "record.unwritable",
                "its progress cannot be recorded",
            ));
            return;
        }
    }
}

/// The decision's record: what every later record of the access repeats, so that each of them
/// reaches its cause (P5).
pub(super) struct Decided {
    pub(super) seq: u64,
    pub(super) record: Event,
}

impl Decided {
    fn event(&self, front: &Front, admission: &Admission, what: What) -> Event {
        Event {
            at: front.gate.clock.now(),
            what,
            decision: Decision::Noted,
            rule: None,
            detail: None,
            policies: Vec::new(),
            without_lease: self.record.without_lease || admission.went_without_lease(),
            spool: None,
            ..self.record.clone()
        }
    }
}

/// The record of how an access ended.
pub(super) fn completed(
    front: &Front,
    admission: &Admission,
    decided: &Decided,
    status: Option<u16>,
    refusal: Option<&Refusal>,
) -> Event {
    let what = What::AccessCompleted {
        admitted: decided.seq,
        outcome: outcome(admission, refusal),
        status,
        bytes_up: admission.up.bytes(),
        bytes_down: admission.down.bytes(),
    };
    let mut event = decided.event(front, admission, what);
    match (admission.cut(), refusal) {
        (Some(cut), _) => {
            event.rule = Some(cut.rule.clone());
            event.detail = Some(cut.detail.clone());
        }
        (None, Some(refusal)) => {
            event.rule = Some(refusal.rule());
            event.detail = Some(refusal.to_string());
        }
        (None, None) => {}
    }
    event
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
const TELL_BYTES: u64 = 16 * 1024 * 1024;
