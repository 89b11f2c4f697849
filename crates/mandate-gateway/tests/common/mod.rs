//! A gateway under test: the real one, with a real spool, real sockets and a small authority that
//! speaks the control stream.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "shared by several test programs, which may panic"
)]

pub mod agent;
pub mod authority;
mod bundle;
pub mod desk;
pub mod tokens;
pub mod upstream;
pub mod vectors;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mandate_audit::{Draft, Event};
use mandate_gateway::{
    Gateway, GatewayConfig, GatewayPorts, Limits, Listener, PublicAddress, Routing, UnixControl,
    UpstreamTls,
};
use mandate_model::{BootTime, GatewayId, Secret, SecretName, Timestamp};
use mandate_ports::{
    Clock, CredentialError, Credentials, Done, Entropy, LocalReceipt, Origin, Spool, SpoolError,
    SpoolHead, SpooledRecord,
};
use mandate_spool::{FileSpool, OnDamage, SpoolLimits, SpoolOptions};

pub use authority::Authority;
pub use bundle::bundle;
pub use upstream::Upstream;

pub const SECRET: &str = "upstream-key-4711/x";

/// The machine's clocks, and a wall clock that a test can move.
#[derive(Default)]
pub struct Clocks {
    pub wall_ms: AtomicI64,
}

impl Clock for Clocks {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test with real sockets has real time"
    )]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let ms = i64::try_from(since.unwrap().as_millis()).unwrap();
        let moved = ms + self.wall_ms.load(Ordering::SeqCst);
        Timestamp::from_millis(u64::try_from(moved).unwrap())
    }
    fn boot(&self) -> BootTime {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let ns = time.tv_sec * 1_000_000_000 + time.tv_nsec;
        BootTime::from_nanos(u64::try_from(ns).unwrap())
    }
}

struct Random;

impl Entropy for Random {
    fn fill(&self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes).unwrap();
    }
}

/// A real spool that can be told to fail or to be slow.
pub struct TestSpool {
    inner: FileSpool,
    pub full: AtomicBool,
    /// Whoever writes this holds all appends up.
    pub slow: tokio::sync::RwLock<()>,
}

#[async_trait]
impl Spool for TestSpool {
    async fn append_draft(&self, draft: Arc<Draft>) -> Result<LocalReceipt, SpoolError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(SpoolError::Full);
        }
        let _passed = self.slow.read().await;
        self.inner.append_draft(draft).await
    }
    fn append_behind(&self, draft: Arc<Draft>, done: Done) {
        if self.full.load(Ordering::SeqCst) {
            return done(Err(SpoolError::Full));
        }
        self.inner.append_behind(draft, done);
    }
    fn head(&self) -> SpoolHead {
        self.inner.head()
    }
    async fn read(&self, from: u64, limit: usize) -> Result<Vec<SpooledRecord>, SpoolError> {
        self.inner.read(from, limit).await
    }
    fn unshipped_from(&self) -> u64 {
        self.inner.unshipped_from()
    }
    async fn shipped(&self, next: u64) -> Result<(), SpoolError> {
        self.inner.shipped(next).await
    }
    fn current(&self) -> Arc<dyn Spool> {
        self.inner.current()
    }
    fn retired(&self) -> Vec<Arc<dyn Spool>> {
        self.inner.retired()
    }
}

/// Secrets, each pinned to the upstream's own origin.
pub struct Secrets {
    pub origins: Mutex<HashMap<String, Origin>>,
}

#[async_trait]
impl Credentials for Secrets {
    async fn secret(
        &self,
        name: &SecretName,
        origin: &Origin,
    ) -> Result<Arc<Secret<Vec<u8>>>, CredentialError> {
        let origins = self.origins.lock().unwrap();
        let pinned = origins
            .get(name.as_str())
            .ok_or_else(|| CredentialError::Unmapped(name.clone()))?;
        if pinned != origin {
            return Err(CredentialError::WrongOrigin {
                name: name.clone(),
                origin: origin.clone(),
            });
        }
        Ok(Arc::new(Secret::new(SECRET.as_bytes().to_vec())))
    }
}

/// Whom upstreams' certificates are trusted from; a test can change it.
pub struct Trust(pub Mutex<Arc<rustls::ClientConfig>>);

impl UpstreamTls for Trust {
    fn client_config(
        &self,
        _origin: &Origin,
        ca: Option<&str>,
    ) -> Result<Arc<rustls::ClientConfig>, String> {
        match ca {
            None | Some("acme") => Ok(self.0.lock().unwrap().clone()),
            Some(other) => Err(format!("`{other}` is not mapped")),
        }
    }
}

/// A self-signed certificate for upstream and gateway, and the trust in it.
pub struct Certificates {
    pub server: Arc<rustls::ServerConfig>,
    pub client: Arc<rustls::ClientConfig>,
}

impl Certificates {
    pub fn new() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let names = ["127.0.0.1", "records.acme.example"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let mut server = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.unwrap())
            .unwrap();
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let client = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            server: Arc::new(server),
            client: Arc::new(client),
        }
    }
}

/// Everything that a test needs.
pub struct World {
    pub authority: Authority,
    pub upstream: Upstream,
    pub gateway: Gateway,
    pub spool: Arc<TestSpool>,
    pub secrets: Arc<Secrets>,
    pub clocks: Arc<Clocks>,
    pub address: SocketAddr,
    pub tls_address: SocketAddr,
    pub trust: Arc<rustls::ClientConfig>,
    /// What clients with that trust, and the gateway, take for upstream or gateway.
    pub server_tls: Arc<rustls::ServerConfig>,
    pub upstream_trust: Arc<Trust>,
    pub folder: tempfile::TempDir,
}

pub struct Options {
    /// TLS to the upstream, and a listener with TLS beside the plain one.
    pub tls: bool,
    /// The gateway does not know the upstream's certificate.
    pub distrust: bool,
    /// The upstream's credential is a token of the authority.
    pub mandate_token: bool,
    pub lease_ms: u64,
    pub grace: Duration,
    pub granting: bool,
    /// How many records may wait to be shipped.
    pub max_unshipped: u64,
    pub server: String,
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tls: false,
            distrust: false,
            mandate_token: false,
            lease_ms: 15_000,
            grace: Duration::from_secs(30),
            granting: true,
            max_unshipped: SpoolLimits::default().max_unshipped_records,
            server: String::new(),
            limits: Limits::default(),
        }
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(Options::default()).await
    }

    /// A world whose gateway is ready, if the authority grants leases.
    pub async fn with(options: Options) -> Self {
        let granting = options.granting;
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::new();
        let upstream = Upstream::start(options.tls.then(|| certificates.server.clone())).await;
        let mut bundle = bundle(upstream.address, &options.server);
        if options.tls {
            bundle = bundle.replace("upstream: http:", "upstream: https:");
        }
        if options.mandate_token {
            let header = "{header: Authorization, value: \"Bearer ${secret:records-key}\"}";
            bundle = bundle.replace(header, "{mandateToken: {}}");
        }
        let authority = Authority::start(folder.path(), bundle, &options).await;
        let clocks = Arc::new(Clocks::default());
        let spool = Arc::new(TestSpool {
            inner: open_bounded_spool(folder.path(), options.max_unshipped),
            full: AtomicBool::new(false),
            slow: tokio::sync::RwLock::new(()),
        });
        let scheme = if options.tls { "https" } else { "http" };
        let pinned = origin(scheme, upstream.address);
        let secrets = Arc::new(Secrets {
            origins: Mutex::new([("records-key".to_owned(), pinned)].into()),
        });
        let trust = if options.distrust {
            Certificates::new().client
        } else {
            certificates.client.clone()
        };
        let upstream_trust = Arc::new(Trust(Mutex::new(trust)));
        let ports = GatewayPorts {
            control: Arc::new(UnixControl::new(folder.path().join("control.sock"))),
            spool: spool.clone(),
            credentials: secrets.clone(),
            tls: upstream_trust.clone(),
            clock: clocks.clone(),
            entropy: Arc::new(Random),
            key: Arc::new(mandate_testkit::proofs::AgentKey::generate()),
        };
        let mut gateway = start(folder.path(), ports, &options);
        let address = listen(&mut gateway, "dev", Routing::Path, None);
        let tls = Some(certificates.server.clone());
        let tls_address = listen(&mut gateway, "tls", Routing::Hosts, tls);
        let world = Self {
            authority,
            upstream,
            gateway,
            spool,
            secrets,
            clocks,
            address,
            tls_address,
            trust: certificates.client,
            server_tls: certificates.server,
            upstream_trust,
            folder,
        };
        if granting {
            world.until(|world| world.gateway.status().ready).await;
        }
        world
    }

    /// Waits until `met`, looking often; panics after ten seconds.
    pub async fn until(&self, met: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !met(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let within = tokio::time::timeout(Duration::from_secs(10), waiting).await;
        within.expect("it never came true");
    }

    /// Moves the wall clock on, to where the gateway takes single-use tokens, and waits until it has
    /// noticed and is ready again.
    pub async fn pass_start(&self) {
        self.clocks.wall_ms.store(7_000, Ordering::SeqCst);
        self.record(|r| matches!(r.what, mandate_audit::What::Alarm { .. }))
            .await;
        self.until(|world| world.gateway.status().ready).await;
    }

    /// Makes another bundle live, and waits until the gateway decides by it.
    pub async fn apply(&self, bundle: String) {
        self.authority.apply_bundle(bundle);
        let version = self.authority.state().bundle_version;
        let applied = |w: &Self| w.gateway.status().versions.unwrap().bundle.get() == version;
        self.until(applied).await;
        self.until(|world| world.gateway.status().ready).await;
    }

    /// Leads the server workload to `upstream`, the secret's pin with it.
    pub async fn lead_to(&self, upstream: SocketAddr) {
        self.pin("http", upstream);
        self.apply(bundle(upstream, "")).await;
    }

    /// Pins the secret to the origin of `upstream`.
    pub fn pin(&self, scheme: &str, upstream: SocketAddr) {
        let pinned = origin(scheme, upstream);
        let pins = &self.secrets.origins;
        pins.lock()
            .unwrap()
            .insert("records-key".to_owned(), pinned);
    }

    /// Waits until the authority has a record that `fits`, and gives it.
    pub async fn record(&self, fits: impl Fn(&Event) -> bool) -> Event {
        self.until(|world| world.authority.records().iter().any(&fits))
            .await;
        self.authority
            .records()
            .into_iter()
            .find(|r| fits(r))
            .unwrap()
    }
}

fn origin(scheme: &str, address: SocketAddr) -> Origin {
    Origin {
        scheme: scheme.to_owned(),
        host: address.ip().to_string(),
        port: address.port(),
    }
}

pub fn open_spool(folder: &std::path::Path) -> FileSpool {
    open_bounded_spool(folder, SpoolLimits::default().max_unshipped_records)
}

fn open_bounded_spool(folder: &std::path::Path, max_unshipped_records: u64) -> FileSpool {
    let options = SpoolOptions {
        directory: folder.join("spool"),
        gateway: gateway_id(),
        limits: SpoolLimits {
            max_unshipped_records,
            ..SpoolLimits::default()
        },
        on_damage: OnDamage::Refuse,
    };
    FileSpool::open(options, Arc::new(Random)).unwrap()
}

fn start(folder: &std::path::Path, ports: GatewayPorts, options: &Options) -> Gateway {
    let config = GatewayConfig {
        id: gateway_id(),
        marks_path: folder.join("marks.json"),
        lease_grace: options.grace,
        limits: options.limits,
        attribute_key: Secret::new(b"key".to_vec()),
        session_key: Secret::new(b"session".to_vec()),
    };
    let mut metrics = prometheus_client::registry::Registry::default();
    Gateway::start(config, ports, &mut metrics).unwrap()
}

fn listen(
    gateway: &mut Gateway,
    name: &str,
    routing: Routing,
    tls: Option<Arc<rustls::ServerConfig>>,
) -> SocketAddr {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let listener = Listener {
        name: name.to_owned(),
        socket,
        routing,
        public: match routing {
            Routing::Path => PublicAddress::Base(format!("http://{address}")),
            Routing::Hosts => PublicAddress::Host {
                tls: tls.is_some(),
                port: address.port(),
            },
        },
        tls,
    };
    gateway.listen(listener).unwrap();
    address
}

pub fn gateway_id() -> GatewayId {
    GatewayId::parse("gateway-1").unwrap()
}
