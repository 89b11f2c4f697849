//! A second gateway of the server's, in this process, whose way to the authority can be cut.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mandate_gateway::{
    ControlIo, ControlSocket, Gateway, GatewayConfig, GatewayPorts, Limits, Listener,
    PublicAddress, Routing, UpstreamTls,
};
use mandate_model::{BootTime, GatewayId, Secret, SecretName, Timestamp};
use mandate_ports::{Clock, CredentialError, Credentials, Entropy, Origin};
use mandate_spool::{FileSpool, OnDamage, SpoolLimits, SpoolOptions};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::http::{Answer, Door};

/// The gateway. It holds no secrets, so it serves only what needs none.
pub(crate) struct Edge {
    gateway: Gateway,
    way: Arc<Way>,
    address: SocketAddr,
    // Last: the gateway's tasks run on it.
    _runtime: Runtime,
}

impl Edge {
    /// Starts it as the gateway `edge` of the server in `data`; what it keeps goes into `folder`.
    pub(crate) fn start(data: &Path, folder: &Path) -> Self {
        let runtime = Runtime::new().unwrap();
        let way = Arc::new(Way {
            socket: data.join("run/control.sock"),
            cut: AtomicBool::new(false),
            open: std::sync::Mutex::default(),
        });
        let (gateway, address) = runtime.block_on(async { start(folder, way.clone()) });
        Self {
            gateway,
            way,
            address,
            _runtime: runtime,
        }
    }

    /// Ends every connection to the authority, and lets none begin.
    pub(crate) fn cut(&self) {
        self.way.cut.store(true, Ordering::SeqCst);
        self.way
            .open
            .lock()
            .unwrap()
            .drain(..)
            .for_each(|open| open.cancel());
    }

    pub(crate) fn mend(&self) {
        self.way.cut.store(false, Ordering::SeqCst);
    }

    /// Whether it has a lease.
    pub(crate) fn is_ready(&self) -> bool {
        self.gateway.status().ready
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its door.
    pub(crate) fn door(&self) -> Door {
        Door::Tcp(self.address)
    }

    /// `GET` through it.
    pub(crate) fn access(&self, target: &str, token: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        self.door()
            .get(target, &[("authorization", bearer.as_str())])
    }
}

fn start(folder: &Path, way: Arc<Way>) -> (Gateway, SocketAddr) {
    let id = GatewayId::parse("edge").unwrap();
    let spool = SpoolOptions {
        directory: folder.join("edge-spool"),
        gateway: id.clone(),
        limits: SpoolLimits::default(),
        on_damage: OnDamage::Refuse,
    };
    let config = GatewayConfig {
        id,
        marks_path: folder.join("edge.json"),
        lease_grace: Duration::from_secs(30),
        limits: Limits::default(),
        attribute_key: Secret::new(b"key".to_vec()),
        session_key: Secret::new(b"key".to_vec()),
    };
    let ports = GatewayPorts {
        control: way,
        spool: Arc::new(FileSpool::open(spool, Arc::new(Machine)).unwrap()),
        credentials: Arc::new(Nothing),
        tls: Arc::new(Nothing),
        clock: Arc::new(Machine),
        entropy: Arc::new(Machine),
        key: Arc::new(mandate_testkit::proofs::AgentKey::generate()),
    };
    let mut metrics = prometheus_client::registry::Registry::default();
    let mut gateway = Gateway::start(config, ports, &mut metrics).unwrap();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let listener = Listener {
        name: "edge".to_owned(),
        socket,
        routing: Routing::Path,
        public: PublicAddress::Base(format!("http://{address}")),
        tls: None,
    };
    gateway.listen(listener).unwrap();
    (gateway, address)
}

/// The way to the authority.
struct Way {
    socket: PathBuf,
    cut: AtomicBool,
    open: std::sync::Mutex<Vec<CancellationToken>>,
}

#[async_trait]
impl ControlSocket for Way {
    async fn connect(&self) -> std::io::Result<Box<dyn ControlIo>> {
        let mut there = tokio::net::UnixStream::connect(&self.socket).await?;
        let (here, mut far) = tokio::net::UnixStream::pair()?;
        let open = CancellationToken::new();
        // Looked at with the list locked: a cut finds this connection, or this finds the cut.
        {
            let mut all = self.open.lock().unwrap();
            if self.cut.load(Ordering::SeqCst) {
                return Err(std::io::ErrorKind::ConnectionRefused.into());
            }
            all.push(open.clone());
        }
        tokio::spawn(async move {
            tokio::select! {
                () = open.cancelled() => {}
                _ = tokio::io::copy_bidirectional(&mut far, &mut there) => {}
            }
        });
        Ok(Box::new(here))
    }
}

/// The machine's clocks and randomness.
struct Machine;

impl Clock for Machine {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Timestamp::from_millis(u64::try_from(since.unwrap().as_millis()).unwrap())
    }

    fn boot(&self) -> BootTime {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let ns = time.tv_sec * 1_000_000_000 + time.tv_nsec;
        BootTime::from_nanos(u64::try_from(ns).unwrap())
    }
}

impl Entropy for Machine {
    fn fill(&self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes).unwrap();
    }
}

/// No secrets and no trust.
struct Nothing;

#[async_trait]
impl Credentials for Nothing {
    async fn secret(
        &self,
        name: &SecretName,
        _: &Origin,
    ) -> Result<Arc<Secret<Vec<u8>>>, CredentialError> {
        Err(CredentialError::Unmapped(name.clone()))
    }
}

impl UpstreamTls for Nothing {
    fn client_config(
        &self,
        _: &Origin,
        _: Option<&str>,
    ) -> Result<Arc<rustls::ClientConfig>, String> {
        Err("there is none".to_owned())
    }
}
