//! The server as a whole: what is started in which order, and ended in the reverse.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mandate_authority::{Doors, PublicSocket};
use mandate_ports::{Clock, Entropy};
use mandate_store_sqlite::SqliteStore;
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::endpoints::Endpoints;
use super::identity::{Identity, Wanted};
use super::machine::{SystemClock, SystemEntropy};
use super::sockets::{Bound, Sockets};
use super::{Args, authority, dev_issuer, folder, gateway};
use crate::context::{Context, DataDir};
use crate::failure::Failure;

/// A running server.
pub(super) struct Server {
    data: DataDir,
    store: SqliteStore,
    gateway: gateway::Built,
    serving: JoinHandle<()>,
    stop: CancellationToken,
    endpoints: Endpoints,
}

impl Server {
    /// Starts everything, and waits until accesses are admitted.
    ///
    /// All sockets are bound before anything is served: a server that cannot have one of them has
    /// done nothing yet.
    pub(super) async fn start(args: Args, context: &Context) -> Result<Self, Failure> {
        let data = context.data.clone();
        let sockets = Sockets::bind(&args)?;
        folder::prepare(&data)?;
        let identity = identity(&args, &data, &sockets)?;
        let store = open_store(&data)?;
        let mut registry = Registry::default();
        let lease = Duration::from_secs(args.lease);
        let built = authority::build(store.clone(), &identity, lease, &data, &mut registry).await?;
        let endpoints = sockets.endpoints(identity, args.gateway_url.clone());
        let public = PublicSocket {
            socket: sockets.public.socket,
            tls: sockets.public_tls,
        };
        let metrics = sockets.metrics.socket;
        let doors = Doors::open(&built.authority, Some(public), Some(metrics));
        let doors =
            doors.map_err(|e| Failure::failed(e.to_string(), "`mandate doctor` may know more"))?;
        let address = endpoints.gateway_url();
        let (door, tls) = (sockets.gateway.socket, sockets.gateway_tls);
        let gateway = gateway::build(&data, door, (address, tls), &mut registry).await?;
        built.authority.tell_also(gateway.gateway.findings());
        let stop = CancellationToken::new();
        if let Some(dev) = sockets.dev_issuer {
            start_dev_issuer(dev, &stop)?;
        }
        // Before anything answers: whoever finds the server also finds where it listens.
        publish(&endpoints, &data)?;
        let serving = serve(built, doors, registry, &stop);
        gateway.follow_secrets(stop.clone());
        let server = Self {
            data,
            store,
            gateway,
            serving,
            stop,
            endpoints,
        };
        server.until_ready().await;
        Ok(server)
    }

    /// Where it listens.
    pub(super) fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// A gateway without lease is no reason not to start: it says why it admits nothing, and an
    /// operator can mend it only through a server that runs.
    async fn until_ready(&self) {
        for _ in 0..LOOKS {
            if self.gateway.gateway.status().ready {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
        let trouble = self.gateway.gateway.status().trouble;
        tracing::error!(
            why = trouble.unwrap_or_default(),
            "the gateway has no lease and admits nothing"
        );
    }

    /// Ends only if serving ends by itself, which it never should.
    pub(super) async fn failed(&mut self) -> &'static str {
        // Whether it returned or panicked: it does not serve any more.
        let _ = (&mut self.serving).await;
        "the authority does not serve any more"
    }

    /// Lets accesses end, ships records while the authority still takes them, then ends the rest.
    pub(super) async fn stop(self) {
        // Nobody shall take it for a running server from here on.
        let _ = std::fs::remove_file(self.data.endpoints());
        self.gateway.gateway.stop(GRACE).await;
        self.stop.cancel();
        if !self.serving.is_finished() {
            // It was told; whether it ends well is in its own logs.
            let _ = self.serving.await;
        }
        self.store.close().await;
    }
}

/// Trust domain and issuer: what the folder keeps, or for a new one what is said. By default the
/// issuer is where the authority listens.
fn publish(endpoints: &Endpoints, data: &DataDir) -> Result<(), Failure> {
    let path = data.endpoints();
    endpoints.write(&path).map_err(|e| Failure::file(&path, &e))
}

fn identity(args: &Args, data: &DataDir, sockets: &Sockets) -> Result<Identity, Failure> {
    let issuer = match &args.issuer {
        Some(said) => Some(said.clone()),
        None if sockets.public.address.ip().is_unspecified() => None,
        None => Some(default_issuer(sockets)),
    };
    let wanted = Wanted {
        trust_domain: args.trust_domain.clone(),
        issuer: args.issuer.clone(),
    };
    if sockets.public_tls.is_some() {
        args.issuer.as_deref().map_or(Ok(()), check_https)?;
    }
    let identity = Identity::settle(data, wanted, issuer)?;
    if sockets.public_tls.is_some() {
        check_https(&identity.issuer)?;
    }
    if points_elsewhere(&identity.issuer, sockets.public.address) {
        tracing::warn!(
            issuer = identity.issuer,
            listen = %sockets.public.address,
            "the issuer names another address of this machine than --listen, and never changes: whoever starts at the issuer finds nothing; listen there, or give the server a folder of its own (--data DIR)"
        );
    }
    Ok(identity)
}

/// An issuer that is a name can lead here by a proxy. A loopback address leads to what listens on it.
fn points_elsewhere(issuer: &str, listens: SocketAddr) -> bool {
    let authority = issuer.split("://").nth(1);
    let authority = authority.and_then(|rest| rest.split('/').next());
    let named: Option<SocketAddr> = authority.and_then(|text| text.parse().ok());
    named.is_some_and(|named| named.ip().is_loopback() && named != listens)
}

fn default_issuer(sockets: &Sockets) -> String {
    let scheme = match sockets.public_tls {
        Some(_) => "https",
        None => "http",
    };
    format!("{scheme}://{}", sockets.public.address)
}

/// Whoever starts at an issuer of plain HTTP would find nothing at a door that speaks TLS alone.
fn check_https(issuer: &str) -> Result<(), Failure> {
    if issuer.starts_with("https://") {
        return Ok(());
    }
    Err(Failure::usage(
        format!(
            "the issuer `{issuer}` is not https, and with --listen-cert the token endpoint speaks TLS alone"
        ),
        "an issuer never changes: give a new server a folder of its own (--data DIR) and --issuer https://HOST:PORT, or leave --listen-cert and --listen-key out",
    ))
}

fn serve(
    built: authority::Built,
    doors: Doors,
    registry: Registry,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let (authority, registry) = (built.authority.clone(), Arc::new(registry));
    tokio::spawn(built.follow_keys(stop.clone()));
    let stop = stop.clone();
    tokio::spawn(async move { authority.serve(doors, registry, stop).await })
}

fn open_store(data: &DataDir) -> Result<SqliteStore, Failure> {
    let mut epoch = [0; 16];
    SystemEntropy.fill(&mut epoch);
    SqliteStore::open(&data.store(), epoch, SystemClock.now())
        .map_err(|e| Failure::failed(e.to_string(), "`mandate doctor` may know more"))
}

fn start_dev_issuer(bound: Bound, stop: &CancellationToken) -> Result<(), Failure> {
    let listener = bound.listener()?;
    let stop = stop.clone();
    tokio::spawn(async move {
        if let Err(why) = dev_issuer::run(listener, stop).await {
            tracing::error!(%why, "the test issuer ended");
        }
    });
    Ok(())
}

const GRACE: Duration = Duration::from_secs(5);
const LOOKS: u32 = 500;
const LOOK: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_at_another_loopback_address_than_the_one_listened_on_is_noticed() {
        let listens: SocketAddr = "127.0.0.1:7701".parse().unwrap();
        assert!(points_elsewhere("http://127.0.0.1:7799", listens));
        assert!(!points_elsewhere("http://127.0.0.1:7701", listens));
        assert!(!points_elsewhere("https://id.acme.example:7799/x", listens));
    }
}
