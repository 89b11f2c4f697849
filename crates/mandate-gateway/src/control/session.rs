//! The control task: one stream after another, applied in order, and a lease renewed beside it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use mandate_model::{BootTime, GatewayId};
use mandate_ports::control::{ControlMessage, LeaseGrant, LeaseRequest};
use tokio_util::task::AbortOnDropHandle;

use super::ack::Acks;
use super::client::SHORT;
use super::draft::{Draft, Refused, Step};
use super::lines::Messages;
use super::{Client, ControlError};
use crate::admission::{Cut, Gate, Registry};
use crate::lease::{LeaseKeeper, Sent, Use};
use crate::marks::Marks;
use crate::record::Recorder;
use crate::snapshot::Snapshot;
use crate::status::Status;

/// What the control task works with.
pub(crate) struct ControlParts {
    pub(crate) client: Client,
    pub(crate) gateway: GatewayId,
    pub(crate) gate: Gate,
    pub(crate) registry: Arc<Registry>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) status: Arc<Status>,
    pub(crate) marks_path: PathBuf,
    pub(crate) marks: Option<Marks>,
    pub(crate) lease_grace: Duration,
}

/// The control task's own state. Nobody else swaps snapshots or touches the lease.
pub(crate) struct Control {
    parts: ControlParts,
    keeper: LeaseKeeper,
    draft: Draft,
    acks: Acks,
    renewal: Option<AbortOnDropHandle<Renewed>>,
    next_renewal: BootTime,
    lease: Duration,
    last_heard: BootTime,
    lost_at: Option<BootTime>,
    /// Marks that could not be written yet.
    unwritten: bool,
}

type Renewed = (Sent, Result<LeaseGrant, ControlError>);

#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Lost(#[from] ControlError),
    #[error("{0}")]
    Refused(#[from] Refused),
    #[error("the authority's store is behind this gateway: {0}")]
    Ahead(ControlError),
}

impl Control {
    pub(crate) fn new(parts: ControlParts) -> Self {
        let now = parts.gate.clock.boot();
        Self {
            keeper: LeaseKeeper::new(Arc::clone(&parts.gate.lease)),
            draft: Draft::default(),
            acks: Acks::start(parts.client.clone(), parts.gateway.clone()),
            renewal: None,
            next_renewal: now,
            lease: DEFAULT_LEASE,
            last_heard: now,
            lost_at: None,
            unwritten: false,
            parts,
        }
    }

    /// Runs for ever.
    pub(crate) async fn run(mut self) {
        let mut wait = FIRST_WAIT;
        loop {
            let ended = self.session().await;
            let greeted = self.draft.is_open();
            wait = match ended {
                Ended::Lost(_) if greeted => FIRST_WAIT,
                Ended::Lost(_) => (wait * 2).min(LONGEST_WAIT),
                Ended::Refused(_) | Ended::Ahead(_) => LONGEST_WAIT,
            };
            tracing::warn!(why = %ended, "the control stream ended");
            // Before the lease is dropped: whoever sees that finds the reason.
            self.parts.status.trouble(ended.to_string());
            match &ended {
                Ended::Refused(Refused::WentBack(_)) | Ended::Ahead(_) => self.went_back().await,
                Ended::Refused(_) => self.answered_no(),
                Ended::Lost(why) if is_no(why) => self.answered_no(),
                Ended::Lost(_) => {}
            }
            self.rest(wait).await;
            self.look_for_acceptance();
        }
    }

    /// Ends the lease; a grant that is under way was asked for before, and is not taken.
    fn drop_lease(&mut self) {
        self.keeper.drop_lease();
        self.renewal = None;
    }

    /// The store went back. That is kept in the marks until an operator accepts it, since its versions
    /// catch up with what was seen by themselves (B4).
    async fn went_back(&mut self) {
        self.drop_lease();
        // Nobody's acceptance is overwritten: it is looked for before the next stream.
        if self.accepted().is_some() {
            return;
        }
        if let Some(marks) = self.parts.marks.as_mut().filter(|marks| !marks.went_back) {
            marks.went_back = true;
            self.unwritten = true;
            self.write_again().await;
        }
    }

    /// What the authority sends cannot be taken. A grant that is under way is not taken either: it would
    /// make this gateway go on.
    fn answered_no(&mut self) {
        self.keeper.answered_no();
        self.renewal = None;
    }

    /// An operator accepts a store that went back by rewriting the marks (B4). What was known of
    /// the former store is then forgotten.
    fn look_for_acceptance(&mut self) {
        if let Some(marks) = self.accepted() {
            tracing::warn!(epoch = %marks.epoch, "an operator accepted another state of the store");
            self.drop_lease();
            self.draft.forget();
            // The former store's versions, acknowledged or not, are none of this one's.
            self.acks = Acks::start(self.parts.client.clone(), self.parts.gateway.clone());
            self.parts.marks = Some(marks);
            self.unwritten = false;
            self.parts.status.marks(None);
        }
    }

    /// The marks on disk, if only an operator can have put them there.
    fn accepted(&self) -> Option<Marks> {
        if self.unwritten {
            // What is on disk is older because nothing newer could be written, not by anybody's will.
            return None;
        }
        let on_disk = Marks::read(&self.parts.marks_path).ok().flatten()?;
        let known = self.parts.marks.as_ref()?;
        on_disk.goes_back_from(known).then_some(on_disk)
    }

    /// Waits, and goes on looking at the clocks and at the lease's end.
    async fn rest(&mut self, wait: Duration) {
        self.draft.reopen();
        let until = self.parts.gate.clock.boot().plus(wait);
        loop {
            let left = until.since(self.parts.gate.clock.boot());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(self.tick())).await;
            self.look_at_clocks().await;
            self.write_again().await;
        }
    }

    async fn session(&mut self) -> Ended {
        let mut messages = match self.connect().await {
            Ok(body) => Messages::new(body),
            Err(why) => return why.into(),
        };
        self.last_heard = self.parts.gate.clock.boot();
        let mut tick = std::pin::pin!(tokio::time::sleep(self.tick()));
        loop {
            let step = tokio::select! {
                // However often there is a message: clocks are looked at, and leases renewed, in time. Then,
                // where several are due, what stops something before what lets it go on.
                biased;
                () = tick.as_mut() => {
                    tick.set(tokio::time::sleep(self.tick()));
                    self.ticked().await
                }
                message = messages.next() => self.heard(message).await,
                renewed = finished(&mut self.renewal) => {
                    let step = self.renewed(renewed);
                    // How long a lease is, and so how often to look, is known from here on.
                    tick.set(tokio::time::sleep(self.tick()));
                    step
                }
            };
            if let Err(ended) = step {
                return ended;
            }
        }
    }

    /// Opens the stream, and goes on looking at the clocks and at the lease's end.
    async fn connect(&mut self) -> Result<Incoming, ControlError> {
        let (client, gateway) = (self.parts.client.clone(), self.parts.gateway.clone());
        let mut opening = std::pin::pin!(client.stream(gateway.as_str()));
        loop {
            tokio::select! {
                biased;
                opened = &mut opening => return opened,
                () = tokio::time::sleep(self.tick()) => {
                    self.look_at_clocks().await;
                    self.write_again().await;
                }
            }
        }
    }

    async fn heard(&mut self, message: Result<ControlMessage, ControlError>) -> Result<(), Ended> {
        self.last_heard = self.parts.gate.clock.boot();
        let now = self.parts.gate.clock.now();
        match self.draft.take(message?, self.parts.marks.as_ref(), now)? {
            Step::Nothing => {}
            Step::BadBundle(version, why) => {
                tracing::error!(%version, %why, "a bundle cannot be applied; the last good one stays, and admission ends with the lease");
                self.parts
                    .status
                    .trouble(format!("bundle {version} cannot be applied: {why}"));
                self.keeper.bundle_refused(version);
            }
            Step::Apply(snapshot) => self.apply(snapshot).await,
        }
        Ok(())
    }

    /// Swaps the snapshot, decides every open access again, and only then counts it as applied.
    async fn apply(&mut self, snapshot: Arc<Snapshot>) {
        let before = self.parts.gate.snapshots.load().map(|s| s.versions);
        self.parts.gate.snapshots.publish(Arc::clone(&snapshot));
        let now = self.parts.gate.clock.now();
        let new = Marks::of(&snapshot.versions, snapshot.durable_stops, &snapshot.stops);
        let known = self.parts.marks.replace(new.clone());
        let writing = async {
            if self.unwritten || known.as_ref() != Some(&new) {
                Some(write(new, self.parts.marks_path.clone()).await)
            } else {
                None
            }
        };
        let deciding = self.parts.registry.decide_again(&snapshot, now);
        let (cuts, written) = tokio::join!(deciding, writing);
        written.into_iter().for_each(|written| self.wrote(written));
        self.parts.recorder.metrics.cuts.inc_by(cuts.cut);
        let (run, stops) = (snapshot.run, snapshot.versions.stops);
        if !self.acks.have_told(run, stops) {
            self.acks.applied(run, stops, cuts);
        }
        if self.keeper.applied(Some(&snapshot.versions)) == Use::Now {
            self.leased();
        }
        // A lease request says which bundle is applied: an operator waits for that word.
        let news = before.map(|v| v.bundle) != Some(snapshot.versions.bundle);
        if self.draft.is_open() && (news || !self.parts.gate.lease.holds()) {
            self.next_renewal = self.parts.gate.clock.boot();
            self.renew_if_due();
        }
    }

    /// What was seen is persisted before it is acknowledged (B4). A disk that cannot be written does
    /// not keep a suspension from acting: it is told of, and tried again each tick.
    fn wrote(&mut self, written: Result<(), String>) {
        let failed = written.err().map(|why| {
            format!("what this gateway has seen of the authority's store is not on disk: {why}")
        });
        if let (Some(why), false) = (&failed, self.unwritten) {
            tracing::error!(%why, "the marks cannot be written");
            self.parts.recorder.alarm(why.clone());
        }
        self.unwritten = failed.is_some();
        self.parts.status.marks(failed);
    }

    async fn write_again(&mut self) {
        if let (true, Some(marks)) = (self.unwritten, self.parts.marks.clone()) {
            let written = write(marks, self.parts.marks_path.clone()).await;
            self.wrote(written);
        }
    }

    fn leased(&mut self) {
        self.lost_at = None;
        self.parts.status.well();
    }

    async fn ticked(&mut self) -> Result<(), Ended> {
        self.look_at_clocks().await;
        self.write_again().await;
        let silent = self.parts.gate.clock.boot().since(self.last_heard);
        if silent > self.lease {
            return Err(ControlError::NoAnswer("nothing came for a whole lease".to_owned()).into());
        }
        self.renew_if_due();
        Ok(())
    }

    async fn look_at_clocks(&mut self) {
        if let Some(jump) = self.keeper.clocks_jumped() {
            let millis = jump.as_millis();
            tracing::warn!(millis, "the wall clock jumped; the lease is dropped");
            self.parts.recorder.alarm(format!(
                "the wall clock of this gateway jumped by {millis} ms; its lease was dropped"
            ));
            self.renewal = None;
            self.next_renewal = self.parts.gate.clock.boot();
        }
        self.end_grace().await;
    }

    /// B3: what has been paused for longer than the grace is reset.
    async fn end_grace(&mut self) {
        if self.parts.gate.lease.holds() {
            self.lost_at = None;
            return;
        }
        let now = self.parts.gate.clock.boot();
        let lost_at = *self.lost_at.get_or_insert(now);
        if now.since(lost_at) < self.parts.lease_grace || self.parts.registry.len() == 0 {
            return;
        }
        let cut = Cut::new("gateway.lease_ended", "the gateway has no lease");
        let cut = self.parts.registry.cut_paused(&cut).await;
        if cut > 0 {
            self.parts.recorder.metrics.cuts.inc_by(cut);
            tracing::warn!(cut, "no lease for the whole grace; open accesses are reset");
        }
    }

    fn renew_if_due(&mut self) {
        let now = self.parts.gate.clock.boot();
        let Some(snapshot) = self.parts.gate.snapshots.load() else {
            return;
        };
        if !self.draft.is_open() || self.renewal.is_some() || now < self.next_renewal {
            return;
        }
        self.next_renewal = now.plus(self.lease / 3);
        let request = LeaseRequest {
            gateway: self.parts.gateway.clone(),
            run: snapshot.run,
            stops: snapshot.versions.stops,
            bundle: snapshot.versions.bundle,
            keys: snapshot.versions.keys,
            head: self.parts.recorder.head(),
        };
        let client = self.parts.client.clone();
        let sent = self.keeper.sending();
        self.renewal = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let answer = client.post("/control/v1/lease", &request, SHORT).await;
            (sent, answer)
        })));
    }

    fn renewed(&mut self, renewed: Option<Renewed>) -> Result<(), Ended> {
        self.renewal = None;
        let now = self.parts.gate.clock.boot();
        // It became due while this one was under way: something was applied that this one did not say.
        let news = self.next_renewal <= now;
        match renewed {
            Some((sent, Ok(grant))) => {
                let applied = self.parts.gate.snapshots.load().map(|s| s.versions);
                self.lease = Duration::from_millis(grant.lease_ms.max(1));
                self.next_renewal = self.next_renewal.min(now.plus(self.lease / 3));
                match self.keeper.granted(sent, &grant, applied.as_ref()) {
                    Use::Now => self.leased(),
                    Use::WhenApplied => {}
                    Use::Never => self.next_renewal = now,
                }
                if news {
                    self.renew_if_due();
                }
                Ok(())
            }
            Some((_, Err(why @ ControlError::Refused { .. }))) if is_ahead(&why) => {
                Err(Ended::Ahead(why))
            }
            // Its stream tells what it has; whether that has gone back is seen there, by what was durable.
            Some((_, Err(why @ ControlError::Refused { .. }))) if is_of_another_run(&why) => {
                Err(Ended::Lost(why))
            }
            Some((_, Err(why))) => {
                tracing::warn!(%why, "the lease was not renewed");
                if is_no(&why) {
                    self.keeper.answered_no();
                }
                self.next_renewal = now.plus(self.tick());
                Ok(())
            }
            // The task was ended from outside: the process is ending.
            None => Ok(()),
        }
    }

    fn tick(&self) -> Duration {
        (self.lease / 15).clamp(SHORTEST_TICK, LONGEST_TICK)
    }
}

fn is_ahead(why: &ControlError) -> bool {
    matches!(why, ControlError::Refused { name, .. } if name == "ahead")
}

fn is_of_another_run(why: &ControlError) -> bool {
    matches!(why, ControlError::Refused { name, .. } if name == "run")
}

/// Whether it is more than silence: somebody spoke, and not only to say that nobody can be asked now.
fn is_no(why: &ControlError) -> bool {
    match why {
        ControlError::NoAnswer(_) => false,
        ControlError::Unreadable(_) => true,
        ControlError::Refused { status, .. } => *status != UNAVAILABLE,
    }
}

async fn finished(renewal: &mut Option<AbortOnDropHandle<Renewed>>) -> Option<Renewed> {
    match renewal {
        Some(task) => task.await.ok(),
        None => std::future::pending().await,
    }
}

async fn write(marks: Marks, path: PathBuf) -> Result<(), String> {
    let written = tokio::task::spawn_blocking(move || marks.write(&path)).await;
    match written {
        Ok(written) => written.map_err(|why| why.to_string()),
        Err(why) => Err(why.to_string()),
    }
}

const UNAVAILABLE: u16 = 503;
const DEFAULT_LEASE: Duration = Duration::from_secs(15);
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
const SHORTEST_TICK: Duration = Duration::from_millis(20);
const LONGEST_TICK: Duration = Duration::from_secs(1);
