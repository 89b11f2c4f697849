//! The authority at work: its doors, and what it does without being asked.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mandate_audit::{Decision, Event, What};
use mandate_ports::Unit;
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::listen::{self, Access, Door, PublicSocket, Socket};
use crate::{Authority, breakglass, checkpoint, control, endpoint, health, keys, operator};

/// The doors, open and not served yet.
pub struct Doors {
    sockets: Vec<(Door, Socket)>,
}

impl Doors {
    /// Makes `agent.sock`, `operator.sock` and `control.sock` in the run folder of `authority`, and
    /// takes the two sockets of the network, which are bound already. All of them or none.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn open(
        authority: &Authority,
        public: Option<PublicSocket>,
        observe: Option<TcpListener>,
    ) -> io::Result<Self> {
        let mut sockets = Vec::new();
        let run = &authority.config().run;
        let files = [
            (Door::Agents, "agent.sock", Access::Everyone),
            (Door::Operators, "operator.sock", Access::Everyone),
            (Door::Control, "control.sock", Access::Owner),
        ];
        for (door, name, access) in files {
            let path: PathBuf = run.join(name);
            let listener =
                listen::bind(&path, access).map_err(|why| named(&path.display(), why))?;
            sockets.push((door, Socket::Unix(listener)));
        }
        let observe = observe.map(|socket| PublicSocket { socket, tls: None });
        for (door, bound) in [(Door::Public, public), (Door::Observe, observe)] {
            if let Some(bound) = bound {
                let socket = bound.taken().map_err(|why| named(&door.as_str(), why))?;
                sockets.push((door, socket));
            }
        }
        Ok(Self { sockets })
    }
}

impl fmt::Debug for Doors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doors = self.sockets.iter().map(|(door, _)| door);
        f.debug_list().entries(doors).finish()
    }
}

fn named(what: &dyn std::fmt::Display, why: io::Error) -> io::Error {
    io::Error::new(why.kind(), format!("`{what}`: {why}"))
}

impl Authority {
    /// Serves `doors` until `stop`; then ends streams, lets requests finish, records what was
    /// counted, and signs a last checkpoint.
    pub async fn serve(&self, doors: Doors, registry: Arc<Registry>, stop: CancellationToken) {
        let mut open = JoinSet::new();
        for (door, socket) in doors.sockets {
            let router = match door {
                Door::Public => endpoint::router().merge(operator::remote()),
                Door::Agents => endpoint::router(),
                Door::Operators => operator::router(),
                Door::Control => control::router(),
                Door::Observe => health::router(Arc::clone(&registry)),
            };
            open.spawn(listen::serve(
                self.clone(),
                door,
                socket,
                router,
                stop.clone(),
            ));
        }
        let end = CancellationToken::new();
        let upkeep = tokio::spawn(upkeep(self.clone(), end.clone()));
        let checkpoints = tokio::spawn(checkpoint::keep(self.clone(), end.clone()));
        stop.cancelled().await;
        self.closing().cancel();
        while open.join_next().await.is_some() {}
        end.cancel();
        // A panic in either was reported by the runtime; there is nothing more to end.
        let _ = upkeep.await;
        let _ = checkpoints.await;
    }
}

/// Once a second: what waits for the store, what moved in it, what is due.
async fn upkeep(authority: Authority, end: CancellationToken) {
    let mut tally = Tally::default();
    let mut tick = 0u64;
    loop {
        let ended = tokio::select! {
            biased;
            () = end.cancelled() => true,
            () = tokio::time::sleep(TICK) => false,
        };
        tick = tick.wrapping_add(1);
        recover(&authority).await;
        if ended || tick.is_multiple_of(TALLY_TICKS) {
            tally.record(&authority).await;
        }
        if ended {
            return;
        }
        if is_stale(&authority).await || tick.is_multiple_of(REREAD_TICKS) {
            // Failing is what readiness says; the next tick tries again.
            let _ = authority.refresh().await;
        }
        if let Err(why) = keys::drive(&authority).await {
            tracing::warn!(%why, "keys were not moved; trying again");
        }
    }
}

/// What could not be stored is stored first. A store that failed is asked to record that it did:
/// whoever waits for readiness sends nothing that could find out.
async fn recover(authority: &Authority) {
    if !authority.undurable().is_empty() {
        breakglass::store_undurable(authority).await;
    } else if let Some(failing) = authority.writable().failing() {
        let message = format!(
            "the store failed from {} on: {}",
            failing.since, failing.why
        );
        let alarm = Event::new(authority.now(), What::Alarm { message }, Decision::Noted);
        if authority.record(alarm).await.is_ok() {
            tracing::info!("the store can be written again");
        }
    }
}

async fn is_stale(authority: &Authority) -> bool {
    let versions = authority.ports().state.versions().await;
    versions.is_ok_and(|versions| versions != authority.world().versions)
}

/// Counted refusals on their way into the log.
#[derive(Default)]
struct Tally(Vec<Event>);

impl Tally {
    async fn record(&mut self, authority: &Authority) {
        self.0.extend(authority.refusals().take(authority.now()));
        if self.0.is_empty() {
            return;
        }
        let unit = Unit {
            events: self.0.clone(),
            ..Unit::default()
        };
        match authority.commit(unit).await {
            Ok(_receipt) => self.0.clear(),
            Err(why) => {
                tracing::error!(%why, "counted refusals wait to be recorded");
                self.0 = within(std::mem::take(&mut self.0));
            }
        }
    }
}

/// At most [`MOST_WAITING`] of `counted`, the latest; one record in the place of all others has
/// their sum.
fn within(mut counted: Vec<Event>) -> Vec<Event> {
    if counted.len() <= MOST_WAITING {
        return counted;
    }
    let latest = counted.split_off(counted.len() + 1 - MOST_WAITING);
    let (mut sum, mut first) = (0u64, None);
    for event in counted {
        if let What::RefusedCount { count, since, .. } = event.what {
            sum = sum.saturating_add(count);
            first.get_or_insert((event.at, since));
        }
    }
    let rest = first.map(|(at, since)| {
        let what = What::RefusedCount {
            listener: "any".to_owned(),
            source: "elsewhere".to_owned(),
            count: sum,
            since,
        };
        Event {
            rule: Some("any".to_owned()),
            ..Event::new(at, what, Decision::Denied)
        }
    });
    rest.into_iter().chain(latest).collect()
}

const TICK: Duration = Duration::from_secs(1);
const TALLY_TICKS: u64 = 10;
const REREAD_TICKS: u64 = 30;
const MOST_WAITING: usize = 2048;

#[cfg(test)]
mod tests {
    use mandate_model::Timestamp;

    use super::*;

    #[test]
    fn refusals_that_wait_too_long_are_added_up_and_none_is_lost() {
        let counted = (1..=5000u64).map(|n| {
            let what = What::RefusedCount {
                listener: "public".to_owned(),
                source: n.to_string(),
                count: 2,
                since: Timestamp::from_secs(n),
            };
            Event::new(Timestamp::from_secs(n), what, Decision::Denied)
        });
        let kept = within(within(counted.collect()));
        let seen: Vec<(&str, u64, Timestamp)> = kept
            .iter()
            .map(|event| match &event.what {
                What::RefusedCount {
                    source,
                    count,
                    since,
                    ..
                } => (source.as_str(), *count, *since),
                _ => panic!("another record"),
            })
            .collect();
        assert_eq!(seen.len(), MOST_WAITING);
        assert_eq!(seen.iter().map(|(_, count, _)| count).sum::<u64>(), 10_000);
        let oldest = (seen[0].0, seen[0].2);
        assert_eq!(oldest, ("elsewhere", Timestamp::from_secs(1)));
        assert_eq!(seen[MOST_WAITING - 1].0, "5000");
    }
}
