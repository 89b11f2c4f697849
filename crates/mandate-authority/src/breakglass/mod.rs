//! Break-glass: from an operator's word to the moment after which nothing gets through (B1, B2).

mod going_on;
mod impact;
mod known;
mod resumers;

use std::time::Duration;

use mandate_audit::{Decision, Event, What};
use mandate_model::stop::{Subject, Suspension};
use mandate_model::{BootTime, OperatorName, Principal, ServerName, StopVersion, Timestamp};
use mandate_ports::{Change, Unit};

use crate::Authority;
use crate::gateways::{Holders, Progress};
pub(crate) use impact::{Impact, left_void};
pub(crate) use known::was_ever_declared;
pub(crate) use resumers::{NobodyResumes, Resumers, check_left, is_suspended};

/// What "effective" means here, in figures.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub(crate) struct Proof {
    /// Whom it stops.
    #[schema(value_type = Object)]
    pub(crate) subject: Subject,
    /// Whether there is such a thing now. A suspension of what is not known acts all the same, and
    /// a name that is wrong by a letter stops nobody.
    pub(crate) known: bool,
    /// The version of the stops that names it.
    #[schema(value_type = u64)]
    pub(crate) version: StopVersion,
    /// Whether no gateway hands on a byte under the subject any more. If not, gateways that did not
    /// acknowledge may go on without a lease, with tokens that were issued before.
    pub(crate) effective: bool,
    /// When it is effective at the latest, if it is not; absent where that is not bounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub(crate) not_effective_until: Option<Timestamp>,
    /// Gateways that may go on.
    pub(crate) going_on: u64,
    /// Server workloads for which they may; any, where `going_on` counts some and this is empty.
    #[schema(value_type = Vec<String>)]
    pub(crate) going_on_for: Vec<ServerName>,
    /// Whether it is stored and survives a restart. If not, it acts in memory and on the streams,
    /// and is stored as soon as the store can be written.
    pub(crate) durable: bool,
    /// From commit to effect, in milliseconds.
    pub(crate) after_ms: u64,
    /// Gateways that could admit something when it was committed.
    pub(crate) gateways: u64,
    /// Those that said that they have applied it, cuts included.
    pub(crate) acknowledged: u64,
    /// Those whose lease has run out instead.
    pub(crate) lease_bounded: u64,
    /// Connections and streams that were cut.
    pub(crate) cut: u64,
    /// Accesses that had been forwarded and not answered: what they did upstream is not known.
    pub(crate) unknown: u64,
    /// Gateways among `acknowledged` that have not said yet what they cut: not in `cut` and
    /// `unknown`.
    pub(crate) untold: u64,
    /// What it hit, as far as the log tells.
    #[serde(flatten)]
    pub(crate) impact: Option<Impact>,
}

/// An operator's word.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) subject: Subject,
    pub(crate) reason: String,
    pub(crate) operator: OperatorName,
}

/// Suspends, and waits until it is effective. Never refused by the store: with nothing writable it
/// acts on memory and on the streams (C3). Refused is only what nobody could lift again.
///
/// It goes on when the caller goes away.
pub(crate) async fn suspend(authority: &Authority, order: Order) -> Result<Proof, NobodyResumes> {
    let began_at = authority.now();
    let (version, durable) = match store(authority, &order).await? {
        Some(version) => (version, true),
        None => {
            let suspension = order.suspension(authority.now());
            let world = authority.suspend_in_memory(suspension)?;
            (world.stops.version(), false)
        }
    };
    if matches!(order.subject, Subject::Key { .. }) {
        // Without waiting: nothing is issued until another key signs. Failing, it is tried again
        // each second.
        let authority = authority.clone();
        tokio::spawn(async move { crate::keys::drive(&authority).await });
    }
    let (began, committed_at) = (authority.boot(), authority.now());
    let holders = authority.gateways().holders(began);
    let progress = wait(authority, &holders, version, began).await;
    let after = authority.boot().since(began);
    authority.metrics().suspended(after);
    let going_on = going_on::under(authority, &order.subject, version, committed_at).await;
    let told = impact::of(authority, &order.subject, began_at);
    let proof = Proof {
        subject: order.subject.clone(),
        known: known::is_known(authority, &order.subject).await,
        version,
        effective: going_on.is_none(),
        not_effective_until: going_on.as_ref().and_then(|going_on| going_on.until),
        going_on: going_on.as_ref().map_or(0, |going_on| going_on.gateways),
        going_on_for: going_on
            .map(|going_on| going_on.servers)
            .unwrap_or_default(),
        durable,
        after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
        gateways: progress.holders,
        acknowledged: progress.acknowledged,
        lease_bounded: progress.holders - progress.acknowledged,
        cut: progress.figures.cut,
        unknown: progress.figures.unknown,
        untold: progress.untold,
        // The figures are for people: the answer does not wait for a log that hangs.
        impact: tokio::time::timeout(LOG_TIMEOUT, told).await.ok().flatten(),
    };
    if durable {
        record_effect(authority, &order, &proof).await;
    }
    log(&order, &proof);
    Ok(proof)
}

/// For whoever reads the server's log: never "effective" of what is not.
fn log(order: &Order, proof: &Proof) {
    let what = match proof.effective {
        true => "a suspension is effective",
        false => "a suspension is NOT effective at every gateway yet",
    };
    tracing::warn!(
        subject = %order.subject,
        operator = %order.operator,
        version = %proof.version,
        known = proof.known,
        durable = proof.durable,
        after_ms = proof.after_ms,
        acknowledged = proof.acknowledged,
        lease_bounded = proof.lease_bounded,
        going_on = proof.going_on,
        "{what}"
    );
}

/// Records whether a suspension is effective, if that can be done in time. That it came is recorded.
async fn record_effect(authority: &Authority, order: &Order, proof: &Proof) {
    let recorded = authority.record(order.outcome(authority.now(), proof));
    match tokio::time::timeout(LOG_TIMEOUT, recorded).await {
        Ok(Ok(_receipt)) => {}
        Ok(Err(why)) => tracing::error!(%why, "the effect of a suspension is not recorded"),
        Err(_) => tracing::error!("the effect of a suspension is not recorded: the store hangs"),
    }
}

/// Commits the suspension with the exclusive lock held; `None` if that is not possible in time.
async fn store(authority: &Authority, order: &Order) -> Result<Option<StopVersion>, NobodyResumes> {
    let stored = tokio::time::timeout(STORE_TIMEOUT, store_exclusively(authority, order)).await;
    match stored {
        Ok(version) => version,
        Err(_) => {
            authority
                .writable()
                .failed(authority.now(), "the store does not answer".to_owned());
            Ok(None)
        }
    }
}

async fn store_exclusively(
    authority: &Authority,
    order: &Order,
) -> Result<Option<StopVersion>, NobodyResumes> {
    let _alone = authority.gate().write().await;
    // Alone: of two operators who suspend each other at once, the last one is not suspended.
    check_left(&authority.world(), [order.suspension(authority.now())])?;
    Ok(store_held(authority, order).await)
}

/// The caller holds the exclusive lock.
async fn store_held(authority: &Authority, order: &Order) -> Option<StopVersion> {
    if !authority.undurable().is_empty() {
        return None;
    }
    let version = authority.ports().state.versions().await.ok()?.stops.next();
    let committed = authority
        .write(order.unit(authority.now(), version))
        .await
        .ok()?;
    let version = committed.versions.stops;
    // Stored and not readable: memory says it to the gateways, and it is stored again later.
    let world = authority.refresh().await.ok()?;
    (world.stops.version() >= version).then_some(version)
}

/// Stores what acts in memory alone, in order; says whether nothing is left.
pub(crate) async fn store_undurable(authority: &Authority) -> bool {
    let _alone = authority.gate().write().await;
    loop {
        let Some(next) = authority.undurable().first() else {
            return true;
        };
        let Principal::Operator(operator) = next.operator.clone() else {
            return false;
        };
        let order = Order {
            subject: next.subject,
            reason: next.reason,
            operator,
        };
        let Ok(versions) = authority.ports().state.versions().await else {
            return false;
        };
        let version = versions.stops.next();
        let unit = order.unit(next.at, version);
        authority.undurable().storing(version);
        if authority.write(unit).await.is_err() {
            authority.undurable().not_stored();
            return false;
        }
        authority.undurable().stored();
        if authority.refresh().await.is_err() {
            return false;
        }
    }
}

/// Until every holder has acknowledged `version`, or no lease of before it can live: on this
/// machine's boot clock, from after the commit (B2).
async fn wait(
    authority: &Authority,
    holders: &Holders,
    version: StopVersion,
    began: BootTime,
) -> Progress {
    let mut acknowledged = authority.gateways().watch();
    loop {
        let progress = authority.gateways().progress(holders, version);
        let passed = authority.boot().since(began);
        if progress.acknowledged == progress.holders || passed >= holders.bound {
            return progress;
        }
        // A machine that slept finds more time passed than its timers know: look again and again.
        let nap = holders.bound.saturating_sub(passed).min(LOOK_AGAIN);
        // Either way the loop looks again.
        let _ = tokio::time::timeout(nap, acknowledged.changed()).await;
    }
}

impl Order {
    fn suspension(&self, at: Timestamp) -> Suspension {
        Suspension {
            subject: self.subject.clone(),
            reason: self.reason.clone(),
            operator: Principal::Operator(self.operator.clone()),
            version: StopVersion::default(),
            at,
        }
    }

    fn unit(&self, at: Timestamp, version: StopVersion) -> Unit {
        let what = What::Suspended {
            subject: self.subject.clone(),
            version,
            reason: self.reason.clone(),
        };
        Unit {
            changes: vec![Change::Suspend(self.suspension(at))],
            events: vec![self.event(at, what)],
            ..Unit::default()
        }
    }

    fn outcome(&self, at: Timestamp, proof: &Proof) -> Event {
        let what = if proof.effective {
            What::SuspensionEffective {
                version: proof.version,
                after_ms: proof.after_ms,
                acknowledged: proof.acknowledged,
                lease_bounded: proof.lease_bounded,
                cut: proof.cut,
            }
        } else {
            What::SuspensionNotEffective {
                version: proof.version,
                until: proof.not_effective_until,
                acknowledged: proof.acknowledged,
                going_on: proof.going_on,
                cut: proof.cut,
            }
        };
        self.event(at, what)
    }

    fn event(&self, at: Timestamp, what: What) -> Event {
        Event {
            principal: Some(Principal::Operator(self.operator.clone())),
            ..Event::new(at, what, Decision::Noted)
        }
    }
}

const STORE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the answer waits for what it could do without.
const LOG_TIMEOUT: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
