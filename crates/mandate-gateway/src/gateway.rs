//! Putting a gateway together, and taking it down.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use mandate_audit::{Decision, Event, What};
use mandate_decide::enforce::LeaseState;
use mandate_model::{GatewayId, Secret};
use mandate_ports::{Clock, Credentials, Entropy, ProofSigner, Spool, Versions};
use prometheus_client::registry::Registry as MetricsRegistry;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::admission::{Cut, Gate, Registry};
use crate::control::{Client, Control, ControlParts, ControlSocket, ship};
use crate::http::{Asker, AskerParts, Exchanges, Front, Proofs, TokenCache, UpstreamTokens};
use crate::lease::Lease;
use crate::listener::{Door, Limits, Listener, accept};
use crate::marks::{Marks, MarksError};
use crate::metrics::Metrics;
use crate::record::Recorder;
use crate::refusals::{Refusals, WINDOW};
use crate::snapshot::Snapshots;
use crate::spent::Spent;
use crate::status::Status;
use crate::upstream::{Pool, PoolLimits, UpstreamTls};

/// How a gateway behaves. Checked values: parsing is the program's.
#[derive(Debug)]
pub struct GatewayConfig {
    /// The gateway instance. The same one each time it starts.
    pub id: GatewayId,
    /// The file in which it keeps what it has seen of the authority's store (B4).
    pub marks_path: PathBuf,
    /// How long open streams wait for a lease before they are reset (B3).
    pub lease_grace: Duration,
    /// What callers can use up.
    pub limits: Limits,
    /// Keys the hashes by which records show personal attributes.
    pub attribute_key: Secret<Vec<u8>>,
    /// Says whose sessions of MCP servers are, and what they want back. Gateways that stand before the same servers have the same.
    pub session_key: Secret<Vec<u8>>,
}

/// What a gateway is given of the world.
#[derive(Clone)]
pub struct GatewayPorts {
    /// The way to the authority.
    pub control: Arc<dyn ControlSocket>,
    /// Its records.
    pub spool: Arc<dyn Spool>,
    /// Secrets for upstreams.
    pub credentials: Arc<dyn Credentials>,
    /// How upstreams prove who they are.
    pub tls: Arc<dyn UpstreamTls>,
    /// The machine's clocks.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Its key: access tokens that it gets for agents are bound to it (A9).
    pub key: Arc<dyn ProofSigner>,
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What it has seen of the store cannot be read: it could not notice a store that went back.
    #[error("{0}")]
    Marks(#[from] MarksError),
    /// A door cannot be used.
    #[error("listener `{name}` cannot be used")]
    Listener {
        /// The listener.
        name: String,
        /// What the system said.
        #[source]
        why: std::io::Error,
    },
}

/// How a gateway stands at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayStatus {
    /// Whether it admits.
    pub ready: bool,
    /// What is left of its lease.
    pub lease_remaining: Duration,
    /// What it has applied.
    pub versions: Option<Versions>,
    /// Admitted accesses under way.
    pub open_accesses: usize,
    /// Records that wait to be shipped.
    pub unshipped: u64,
    /// What keeps it from its work, in words.
    pub trouble: Option<String>,
}

/// A running gateway. Dropping it ends it without grace; [`Gateway::stop`] is kinder.
pub struct Gateway {
    front: Arc<Front>,
    status: Arc<Status>,
    stop: CancellationToken,
    tasks: Vec<AbortOnDropHandle<()>>,
}

impl Gateway {
    /// Starts the control task, the shipping of records and the housekeeping. Nothing is admitted
    /// before the first lease. Metrics are registered in `metrics`.
    ///
    /// # Errors
    /// If its marks cannot be read.
    pub fn start(
        config: GatewayConfig,
        ports: GatewayPorts,
        metrics: &mut MetricsRegistry,
    ) -> Result<Self, StartError> {
        let marks = Marks::read(&config.marks_path)?;
        let metrics = Arc::new(Metrics::register(metrics));
        let recorder = Arc::new(Recorder {
            spool: Arc::clone(&ports.spool),
            gateway: config.id.clone(),
            clock: Arc::clone(&ports.clock),
            appended: Arc::new(Notify::new()),
            shipped: Arc::new(Notify::new()),
            behind: AtomicU64::new(0),
            waiting: Arc::default(),
            hurry: Arc::default(),
            metrics: Arc::clone(&metrics),
            failed: Arc::default(),
        });
        let gate = Gate {
            snapshots: Arc::new(Snapshots::default()),
            lease: Lease::none(Arc::clone(&ports.clock)),
            clock: Arc::clone(&ports.clock),
        };
        let client = Client::new(Arc::clone(&ports.control));
        let front = front(&config, &ports, gate, recorder, metrics, client.clone());
        let front = Arc::new(front);
        let status = Arc::new(Status::default());
        let control = Control::new(ControlParts {
            client: client.clone(),
            gateway: config.id.clone(),
            gate: front.gate.clone(),
            registry: Arc::clone(&front.registry),
            recorder: front.recorder.clone(),
            status: Arc::clone(&status),
            marks_path: config.marks_path,
            marks,
            lease_grace: config.lease_grace,
        });
        let shipping = ship(client, config.id, front.recorder.clone());
        let tasks = [
            tokio::spawn(control.run()),
            tokio::spawn(shipping),
            tokio::spawn(keep_house(Arc::clone(&front))),
        ];
        Ok(Self {
            front,
            status,
            stop: CancellationToken::new(),
            tasks: tasks.map(AbortOnDropHandle::new).into(),
        })
    }

    /// Opens a door.
    ///
    /// # Errors
    /// If the socket cannot be used.
    pub fn listen(&mut self, listener: Listener) -> Result<(), StartError> {
        let unusable = |why| StartError::Listener {
            name: listener.name.clone(),
            why,
        };
        listener.socket.set_nonblocking(true).map_err(unusable)?;
        let socket = tokio::net::TcpListener::from_std(listener.socket).map_err(unusable)?;
        let tls = listener.tls.map(|config| {
            let mut config = (*config).clone();
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            tokio_rustls::TlsAcceptor::from(Arc::new(config))
        });
        let door = Door {
            name: listener.name.as_str().into(),
            routing: listener.routing,
            public: Arc::new(listener.public),
            limits: self.front.limits,
            front: Arc::clone(&self.front),
        };
        let accepting = tokio::spawn(accept(socket, door, tls, self.stop.clone()));
        self.tasks.push(AbortOnDropHandle::new(accepting));
        Ok(())
    }

    /// How it stands.
    pub fn status(&self) -> GatewayStatus {
        status(&self.front, &self.status)
    }

    /// Tells at any time what keeps it from its work, in words for people; nothing if nothing does.
    pub fn findings(&self) -> impl Fn() -> Vec<String> + Send + Sync + 'static {
        let (front, own) = (Arc::clone(&self.front), Arc::clone(&self.status));
        move || findings(&front, &own)
    }

    /// Accepts nothing more, lets accesses end for `grace`, cuts the rest, records all that, and
    /// ships what it can for another `grace`.
    pub async fn stop(self, grace: Duration) {
        self.stop.cancel();
        let ended = tokio::time::timeout(grace, self.front.registry.until_empty()).await;
        if ended.is_err() {
            let cut = Cut::new("gateway.stopping", "the gateway stops");
            self.front.registry.cut_all(&cut).await;
        }
        self.front.refusals.flush(&self.front.recorder).await;
        let shipped = async {
            while self.front.recorder.unshipped() > 0 {
                tokio::time::sleep(SHIP_LOOK).await;
            }
        };
        let _ = tokio::time::timeout(grace, shipped).await;
    }
}

fn status(front: &Front, status: &Status) -> GatewayStatus {
    let gate = &front.gate;
    let snapshot = gate.snapshots.load();
    let unrecorded = front.recorder.trouble();
    GatewayStatus {
        ready: snapshot.is_some() && gate.lease.holds() && unrecorded.is_none(),
        lease_remaining: gate.lease.remaining(),
        versions: snapshot.map(|s| s.versions),
        open_accesses: front.registry.len(),
        unshipped: front.recorder.unshipped(),
        trouble: unrecorded.or_else(|| status.what()),
    }
}

fn findings(front: &Front, own: &Status) -> Vec<String> {
    let status = status(front, own);
    if status.ready {
        return Vec::new();
    }
    let admits = match front.gate.lease.state() {
        LeaseState::Lost => "admits only for server workloads that go on without a lease",
        LeaseState::Held | LeaseState::None => "admits nothing",
    };
    let why = status.trouble;
    let why = why.unwrap_or_else(|| "it has no lease".to_owned());
    vec![format!("gateway `{}` {admits}: {why}", front.gateway)]
}

fn front(
    config: &GatewayConfig,
    ports: &GatewayPorts,
    gate: Gate,
    recorder: Arc<Recorder>,
    metrics: Arc<Metrics>,
    client: Client,
) -> Front {
    let pool = Pool::new(
        Arc::clone(&ports.tls),
        Arc::clone(&gate.lease),
        Arc::clone(&ports.clock),
        PoolLimits {
            idle: Duration::from_secs(20),
            idle_per_origin: 64,
        },
    );
    let mut secret = [0; 32];
    ports.entropy.fill(&mut secret);
    let asker = Asker::new(AskerParts {
        client: client.clone(),
        gateway: config.id.clone(),
        key: Arc::clone(&ports.key),
        entropy: Arc::clone(&ports.entropy),
    });
    Front {
        exchanges: Exchanges::new(asker),
        proofs: Proofs::keyed(&secret, config.limits.proofs),
        gateway: config.id.clone(),
        registry: Arc::new(Registry::default()),
        recorder,
        credentials: Arc::clone(&ports.credentials),
        injections: crate::http::Injections::default(),
        verdicts: crate::http::Verdicts::default(),
        pool,
        tokens: TokenCache::new(),
        upstream_tokens: UpstreamTokens::new(client, config.id.clone()),
        spent: Spent::since(gate.clock.now()),
        refusals: Refusals::default(),
        metrics,
        attribute_key: Secret::new(config.attribute_key.expose().clone()),
        bindings: crate::http::Bindings::new(&config.session_key),
        manifests: crate::http::Manifests::default(),
        limits: config.limits,
        gate,
    }
}

/// Figures once a second, counted refusals once a window.
async fn keep_house(front: Arc<Front>) {
    loop {
        for _ in 0..WINDOW.as_secs() {
            let metrics = &front.metrics;
            metrics
                .lease_seconds
                .set(front.gate.lease.remaining().as_secs_f64());
            metrics
                .open
                .set(i64::try_from(front.registry.len()).unwrap_or(i64::MAX));
            let unshipped = front.recorder.unshipped();
            metrics
                .unshipped
                .set(i64::try_from(unshipped).unwrap_or(i64::MAX));
            try_recording_again(&front.recorder).await;
            front.exchanges.tidy(&front);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        front.refusals.flush(&front.recorder).await;
    }
}

/// A gateway that is not ready gets no requests, so it finds out by itself whether it can record
/// again; the record that shows it tells of the gap.
async fn try_recording_again(recorder: &Recorder) {
    if recorder.may_have_passed() {
        let message =
            "this gateway could not write records for a time; what it refused meanwhile has none";
        let what = What::Alarm {
            message: message.to_owned(),
        };
        let event = Event::new(recorder.clock.now(), what, Decision::Noted);
        recorder.note(event).await;
    }
}

const SHIP_LOOK: Duration = Duration::from_millis(20);
