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
                Door::Public | Door::Agents => endpoint::router(),
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
                let excess = self.0.len().saturating_sub(MOST_WAITING);
                self.0.drain(..excess);
            }
        }
    }
}

const TICK: Duration = Duration::from_secs(1);
const TALLY_TICKS: u64 = 10;
const REREAD_TICKS: u64 = 30;
const MOST_WAITING: usize = 2048;
