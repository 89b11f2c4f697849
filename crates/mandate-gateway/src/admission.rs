//! Admitted accesses: who may still hand on a byte, and how that ends (B1).
//!
//! An admission is registered before its decision is checked for the last time, and each check
//! compares the snapshot's generation with the one that the admission was decided under. So
//! a new snapshot finds every access: either the access is registered and is decided again by
//! [`Registry::decide_again`], or its own next check sees the new generation.

mod cut;
mod meter;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use mandate_decide::enforce::{Right, right_to_admit};
use mandate_model::{TaskId, Timestamp};
use mandate_policy::decl::LeaseLoss;
use mandate_ports::Clock;
use tokio_util::sync::CancellationToken;

use cut::Counts;
pub(crate) use cut::{Cut, Cuts, Side};

use meter::Meter;

use crate::egress::Egress;
use crate::lease::Lease;
use crate::snapshot::{Snapshot, Snapshots};
use crate::socket::Socket;

/// What an access was decided on, so that it can be decided again.
pub(crate) trait Standing: Send + Sync {
    /// Whether the access would still be admitted under `snapshot` at `now`, and what then happens to
    /// it when the lease ends. Pure.
    fn stands(&self, snapshot: &Snapshot, now: Timestamp) -> Result<LeaseLoss, Cut>;

    /// The task that the access is made in.
    fn task(&self) -> Option<TaskId>;
}

/// Whether a chunk may be handed on at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Go {
    /// Yes.
    Now,
    /// Not while there is no lease, and the access does not go on without one (B3).
    WhenLeased,
}

/// What every check looks at.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// One admitted access.
pub(crate) struct Admission {
    id: u64,
    gate: Gate,
    standing: Box<dyn Standing>,
    expires_at: Timestamp,
    /// The generation of the snapshot under which it was last decided.
    generation: AtomicU64,
    /// Whether it goes on when the lease ends. Changed with `sockets` locked, which are held for it.
    continues: AtomicBool,
    /// Whether anything of it was let happen without a lease.
    without_lease: AtomicBool,
    cut: OnceLock<Cut>,
    cancelled: CancellationToken,
    gone: CancellationToken,
    counts: Arc<Counts>,
    /// Carries every socket of the access; `true` where the socket carries nothing else.
    sockets: Mutex<Vec<(Arc<Socket>, bool)>>,
    forwarded: AtomicBool,
    answered: AtomicBool,
    ended_by: OnceLock<Side>,
    /// Bytes towards the upstream.
    pub(crate) up: Arc<Egress>,
    /// Bytes towards the agent.
    pub(crate) down: Arc<Egress>,
    /// What of both no record tells of yet.
    pub(crate) meter: Meter,
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission")
            .field("id", &self.id)
            .field("cut", &self.cut)
            .finish_non_exhaustive()
    }
}

impl Admission {
    /// The check before each chunk. Nothing may be awaited between it and the handing on.
    pub(crate) fn check(&self) -> Result<Go, Cut> {
        if let Some(cut) = self.cut.get() {
            return Err(cut.clone());
        }
        let now = self.gate.clock.now();
        self.decide_under_current(now)?;
        if now >= self.expires_at {
            return Err(self.abort(Cut::new("token.expired", "the access token has expired")));
        }
        Ok(match self.right() {
            Some(Right::Leased) => Go::Now,
            Some(Right::WithoutLease) => {
                self.without_lease.store(true, Ordering::SeqCst);
                Go::Now
            }
            None => Go::WhenLeased,
        })
    }

    /// On which ground it may pass bytes at this moment.
    fn right(&self) -> Option<Right> {
        right_to_admit(self.gate.lease.state(), self.on_loss())
    }

    fn on_loss(&self) -> LeaseLoss {
        if self.continues.load(Ordering::SeqCst) {
            LeaseLoss::Continue
        } else {
            LeaseLoss::Stop
        }
    }

    /// Says that `side` ended its direction of a connection that has switched protocols. The first counts.
    pub(crate) fn ends_by(&self, side: Side) {
        let _ = self.ended_by.set(side);
    }

    /// Who ended it, where one of the two did.
    pub(crate) fn ended_by(&self) -> Option<Side> {
        self.ended_by.get().copied()
    }

    /// Whether it waits for a lease.
    pub(crate) fn is_paused(&self) -> bool {
        self.right().is_none()
    }

    /// Whether anything of it was let happen without a lease.
    pub(crate) fn went_without_lease(&self) -> bool {
        self.without_lease.load(Ordering::SeqCst)
    }

    fn decide_under_current(&self, now: Timestamp) -> Result<(), Cut> {
        let Some(snapshot) = self.gate.snapshots.load() else {
            return Err(self.abort(Cut::new("gateway.not_ready", "the gateway has no state")));
        };
        if self.generation.load(Ordering::SeqCst) >= snapshot.generation {
            return Ok(());
        }
        self.decide_under(&snapshot, now)
    }

    fn decide_under(&self, snapshot: &Snapshot, now: Timestamp) -> Result<(), Cut> {
        match self.standing.stands(snapshot, now) {
            Ok(on_loss) => {
                self.becomes(on_loss);
                self.generation
                    .fetch_max(snapshot.generation, Ordering::SeqCst);
                Ok(())
            }
            Err(cut) => {
                let unknown = self.was_forwarded() && !self.was_answered();
                if self.abort_first(cut.clone()) {
                    self.counts.add(unknown);
                }
                Err(self.cut.get().cloned().unwrap_or(cut))
            }
        }
    }

    /// What happens to it when the lease ends, from here on.
    fn becomes(&self, on_loss: LeaseLoss) {
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.on_loss();
        if before == on_loss {
            return;
        }
        self.continues
            .store(on_loss == LeaseLoss::Continue, Ordering::SeqCst);
        for (socket, _) in &*sockets {
            socket.hold(on_loss);
            socket.release(before);
        }
    }

    /// Ends it: when this returns, no byte leaves by a socket that it has to itself. Tells the
    /// reason that counts, which is the first.
    pub(crate) fn abort(&self, cut: Cut) -> Cut {
        self.abort_first(cut.clone());
        self.cut.get().cloned().unwrap_or(cut)
    }

    fn abort_first(&self, cut: Cut) -> bool {
        let first = self.cut.set(cut).is_ok();
        if first {
            self.kill(|own| own);
            self.cancelled.cancel();
        }
        first
    }

    fn kill(&self, which: impl Fn(bool) -> bool) {
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets
            .iter()
            .filter(|(_, own)| which(*own))
            .for_each(|(socket, _)| socket.kill());
    }

    /// Resets every connection that it uses, those that it shares included.
    pub(crate) fn kill_all(&self) {
        self.kill(|_| true);
    }

    /// Has the access use `socket`, alone if `own`. From here on the socket
    /// writes under a lease only, or as long as all that it carries goes on without one.
    pub(crate) fn uses(&self, socket: &Arc<Socket>, own: bool) {
        {
            let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
            socket.hold(self.on_loss());
            sockets.push((Arc::clone(socket), own));
        }
        // An abort before the push has not seen this socket.
        if own && self.cut.get().is_some() {
            socket.kill();
        }
    }

    /// Says that bytes may have reached the upstream.
    pub(crate) fn mark_forwarded(&self) {
        self.forwarded.store(true, Ordering::SeqCst);
    }

    /// Says that the upstream has answered.
    pub(crate) fn mark_answered(&self) {
        self.answered.store(true, Ordering::SeqCst);
    }

    /// Whether bytes may have reached the upstream.
    pub(crate) fn was_forwarded(&self) -> bool {
        self.forwarded.load(Ordering::SeqCst)
    }

    /// Whether the upstream has answered.
    pub(crate) fn was_answered(&self) -> bool {
        self.answered.load(Ordering::SeqCst)
    }

    /// Why it was cut, if it was.
    pub(crate) fn cut(&self) -> Option<&Cut> {
        self.cut.get()
    }

    /// Resolves when it is cut.
    pub(crate) async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// A future of its own for bodies, which must be woken by a cut.
    pub(crate) fn cancelled_owned(&self) -> tokio_util::sync::WaitForCancellationFutureOwned {
        self.cancelled.clone().cancelled_owned()
    }

    /// What its bodies wait at while there is no lease.
    pub(crate) fn lease(&self) -> &Lease {
        &self.gate.lease
    }

    /// The task that it is made in.
    pub(crate) fn task(&self) -> Option<TaskId> {
        self.standing.task()
    }

    /// When it ends at the latest.
    pub(crate) fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Waits until nothing of it is under way in either direction; a direction that is not clear
    /// after [`DRAIN`] has its connection reset instead.
    pub(crate) async fn drain(&self) {
        tokio::join!(self.up.drain(DRAIN), self.down.drain(DRAIN));
    }
}

/// The admissions of this process.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    next: AtomicU64,
    live: Mutex<HashMap<u64, Arc<Admission>>>,
    counts: Arc<Counts>,
}

impl Registry {
    /// Registers an access that was decided under `generation`, and which goes on or not when the lease
    /// ends. It must be checked after this and before its first effect.
    pub(crate) fn admit(
        self: &Arc<Self>,
        gate: Gate,
        standing: Box<dyn Standing>,
        on_loss: LeaseLoss,
        expires_at: Timestamp,
        generation: u64,
    ) -> Admitted {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let admission = Arc::new(Admission {
            id,
            gate,
            standing,
            expires_at,
            generation: AtomicU64::new(generation),
            continues: AtomicBool::new(on_loss == LeaseLoss::Continue),
            without_lease: AtomicBool::new(false),
            cut: OnceLock::new(),
            cancelled: CancellationToken::new(),
            gone: CancellationToken::new(),
            counts: Arc::clone(&self.counts),
            sockets: Mutex::default(),
            forwarded: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            ended_by: OnceLock::new(),
            up: Arc::default(),
            down: Arc::default(),
            meter: Meter::default(),
        });
        self.locked().insert(id, Arc::clone(&admission));
        Admitted {
            admission,
            registry: Arc::clone(self),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.locked().len()
    }

    /// Decides every admission again under `snapshot`, cuts those that fail, and waits until they
    /// are drained: after this, nothing of what was cut leaves this process (B1).
    pub(crate) async fn decide_again(&self, snapshot: &Snapshot, now: Timestamp) -> Cuts {
        let failed: Vec<_> = self
            .all()
            .into_iter()
            .filter(|admission| admission.decide_under(snapshot, now).is_err())
            .collect();
        drained(failed).await;
        self.counts.take()
    }

    /// Cuts every admission: the gateway stops. Tells how many.
    pub(crate) async fn cut_all(&self, cut: &Cut) -> u64 {
        cut_these(self.all(), cut).await
    }

    /// Cuts every admission that waits for a lease: that has been gone for too long (B3). Tells how many.
    pub(crate) async fn cut_paused(&self, cut: &Cut) -> u64 {
        let paused = |admission: &Arc<Admission>| admission.is_paused();
        cut_these(self.all().into_iter().filter(paused).collect(), cut).await
    }

    /// Resolves when there are none.
    pub(crate) async fn until_empty(&self) {
        for admission in self.all() {
            admission.gone.cancelled().await;
        }
    }

    fn all(&self) -> Vec<Arc<Admission>> {
        self.locked().values().cloned().collect()
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Admission>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn cut_these(these: Vec<Arc<Admission>>, cut: &Cut) -> u64 {
    let first = |admission: &&Arc<Admission>| admission.abort_first(cut.clone());
    let count = these.iter().filter(first).count();
    drained(these).await;
    u64::try_from(count).unwrap_or(u64::MAX)
}

async fn drained(cut: Vec<Arc<Admission>>) {
    let all_gone = async {
        for admission in &cut {
            admission.gone.cancelled().await;
        }
    };
    if tokio::time::timeout(DRAIN, all_gone).await.is_err() {
        // HTTP/2 connections that would not flush in time: the stream's reset is not enough.
        cut.iter().for_each(|admission| admission.kill_all());
    }
}

/// The epoch guard: while it lives, the admission is registered.
///
/// It is ended by [`Admitted::end`]; a dropped one only marks the admission as gone, so that
/// a future that hyper dropped half-way is not waited for.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    registry: Arc<Registry>,
}

impl Admitted {
    /// The admission.
    pub(crate) fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    /// Ends the admission: nothing of it is under way any more.
    pub(crate) fn end(self) {
        drop(self);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let admission = &self.admission;
        // From here on nobody else decides for it: whatever still wants to leave is refused.
        let _ = admission
            .cut
            .set(Cut::new("gateway.ended", "the access has ended"));
        self.registry.locked().remove(&admission.id);
        {
            let sockets = &admission.sockets;
            let mut sockets = sockets.lock().unwrap_or_else(PoisonError::into_inner);
            let on_loss = admission.on_loss();
            sockets
                .drain(..)
                .for_each(|(socket, _)| socket.release(on_loss));
        }
        admission.gone.cancel();
    }
}

/// How long a cut HTTP/2 stream may take to be reset and flushed before its connection is reset.
pub(crate) const DRAIN: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
