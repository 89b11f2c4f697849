//! The server as a whole: what is started in which order, and ended in the reverse.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mandate_authority::Doors;
use mandate_ports::{Clock, Entropy};
use mandate_store_sqlite::SqliteStore;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::endpoints::Endpoints;
use super::identity::{Identity, Wanted};
use super::machine::{SystemClock, SystemEntropy};
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
        check_loopback(&args)?;
        folder::prepare(&data)?;
        let (public, metrics) = (settle(args.listen)?, settle(args.metrics_listen)?);
        let identity = identity(&args, &data, public)?;
        let store = open_store(&data)?;
        let mut registry = Registry::default();
        let lease = Duration::from_secs(args.lease);
        let built = authority::build(store.clone(), &identity, lease, &data, &mut registry).await?;
        let doors = Doors::open(&built.authority, Some(public), Some(metrics)).await;
        let doors = doors.map_err(|e| Failure::failed(e.to_string(), "say another address"))?;
        let door = gateway::bind(args.gateway_listen)?;
        let at = door.local_addr();
        let at = at.map_err(|e| Failure::failed(e.to_string(), ""))?;
        let tls = args.tls.door()?;
        let gateway_tls = tls.as_ref().map(|door| door.address);
        let gateway = gateway::build(&data, door, tls, &mut registry).await?;
        built.authority.tell_also(gateway.gateway.findings());
        let stop = CancellationToken::new();
        let dev_issuer = start_dev_issuer(&args, &stop).await?;
        let serving = serve(built, doors, registry, &stop);
        gateway.follow_secrets(stop.clone());
        let server = Self {
            data,
            store,
            gateway,
            serving,
            stop,
            endpoints: Endpoints {
                issuer: identity.issuer,
                trust_domain: identity.trust_domain.to_string(),
                authority: public,
                gateway: at,
                gateway_tls,
                metrics,
                dev_issuer,
                pid: std::process::id(),
            },
        };
        server.until_ready().await;
        server.publish()?;
        Ok(server)
    }

    /// Where it listens.
    pub(super) fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    fn publish(&self) -> Result<(), Failure> {
        let path = self.data.endpoints();
        self.endpoints
            .write(&path)
            .map_err(|e| Failure::file(&path, &e))
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

fn identity(args: &Args, data: &DataDir, listen: SocketAddr) -> Result<Identity, Failure> {
    let wanted = Wanted {
        trust_domain: args.trust_domain.clone(),
        issuer: args.issuer.clone(),
    };
    Identity::settle(data, wanted, format!("http://{listen}"))
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

/// Tokens must not travel in clear: without TLS, the doors are open to this machine alone.
fn check_loopback(args: &Args) -> Result<(), Failure> {
    let doors = [
        ("--listen", args.listen),
        ("--gateway-listen", args.gateway_listen),
        ("--metrics-listen", args.metrics_listen),
    ];
    match doors
        .iter()
        .find(|(_, address)| !address.ip().is_loopback())
    {
        None => Ok(()),
        Some((option, address)) => Err(Failure::usage(
            format!("{option} {address} is not on loopback, and this version serves no TLS there"),
            "listen on 127.0.0.1; the gateway has --tls-listen for agents elsewhere, and the rest a proxy with TLS in front",
        )),
    }
}

async fn start_dev_issuer(
    args: &Args,
    stop: &CancellationToken,
) -> Result<Option<SocketAddr>, Failure> {
    if !args.dev {
        return Ok(None);
    }
    if !args.dev_listen.ip().is_loopback() {
        return Err(Failure::usage(
            "the test issuer of --dev listens on loopback alone",
            "leave --dev-listen out",
        ));
    }
    let failed = |e: std::io::Error| Failure::failed(format!("--dev: {e}"), "say --dev-listen");
    let listener = TcpListener::bind(args.dev_listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let stop = stop.clone();
    tokio::spawn(async move {
        if let Err(why) = dev_issuer::run(listener, stop).await {
            tracing::error!(%why, "the test issuer ended");
        }
    });
    Ok(Some(address))
}

/// Port 0 becomes one that is free now: the issuer has to be known before anything listens.
fn settle(address: SocketAddr) -> Result<SocketAddr, Failure> {
    if address.port() != 0 {
        return Ok(address);
    }
    std::net::TcpListener::bind(address)
        .and_then(|listener| listener.local_addr())
        .map_err(|e| Failure::failed(format!("{address}: {e}"), "say another address"))
}

const GRACE: Duration = Duration::from_secs(5);
const LOOKS: u32 = 500;
const LOOK: Duration = Duration::from_millis(20);
