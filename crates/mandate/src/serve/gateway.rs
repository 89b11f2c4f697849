//! The gateway, put together: a client of the control stream, also in the authority's own process.

use std::sync::Arc;
use std::time::Duration;

use mandate_gateway::{
    Gateway, GatewayConfig, GatewayPorts, Limits, Listener, PublicAddress, Routing, UnixControl,
    UpstreamTls,
};
use mandate_model::GatewayId;
use mandate_ports::{Credentials, Origin};
use mandate_spool::{FileSpool, OnDamage, SpoolLimits, SpoolOptions};
use mandate_upstream::FileCredentials;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use super::folder;
use super::machine::{SystemClock, SystemEntropy};
use super::tls::TlsDoor;
use crate::context::DataDir;
use crate::failure::Failure;
use crate::proof_key::ProofKey;

/// The gateway and what it rests on.
pub(super) struct Built {
    pub(super) gateway: Gateway,
    credentials: Arc<FileCredentials>,
}

/// Builds it. It admits nothing before it has a lease.
pub(super) async fn build(
    data: &DataDir,
    listen: std::net::TcpListener,
    (address, tls): (String, Option<TlsDoor>),
    registry: &mut Registry,
) -> Result<Built, Failure> {
    let id = GatewayId::parse(GATEWAY).map_err(|e| failed(&e, ""))?;
    let spool = SpoolOptions {
        directory: data.spool(),
        gateway: id.clone(),
        limits: SpoolLimits::default(),
        on_damage: OnDamage::Refuse,
    };
    let spool = FileSpool::open(spool, Arc::new(SystemEntropy));
    let spool = spool.map_err(|e| failed(&e, "`mandate doctor` may know why"))?;
    let credentials = FileCredentials::from_process_environment(&data.gateway_config()).await;
    let credentials = Arc::new(credentials.map_err(|e| failed(&e, "mend gateway.yaml"))?);
    for (name, why) in credentials.problems() {
        tracing::error!(secret = %name, why, "a secret cannot be read; accesses that need it are denied");
    }
    let config = GatewayConfig {
        id,
        marks_path: data.gateway_state(),
        lease_grace: LEASE_GRACE,
        limits: Limits {
            connections: super::hardening::connections(),
            ..Limits::default()
        },
        attribute_key: folder::attribute_key(data)?,
        session_key: folder::session_key(data)?,
    };
    let ports = GatewayPorts {
        control: Arc::new(UnixControl::new(data.control_socket())),
        spool: Arc::new(spool),
        credentials: Arc::clone(&credentials) as Arc<dyn Credentials>,
        tls: Arc::new(FileTls(Arc::clone(&credentials))),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        key: Arc::new(ProofKey::generate().map_err(|e| failed(&e, ""))?),
    };
    let gateway = Gateway::start(config, ports, registry);
    let mut gateway = gateway.map_err(|e| failed(&e, "`mandate doctor` may know why"))?;
    let listener = Listener {
        name: "agents".to_owned(),
        socket: listen,
        routing: Routing::Path,
        public: PublicAddress::Base(address),
        tls: None,
    };
    gateway.listen(listener).map_err(|e| failed(&e, ""))?;
    if let Some(door) = tls {
        let listener = Listener {
            name: "agents-tls".to_owned(),
            socket: door.bound.socket,
            routing: Routing::Hosts,
            public: PublicAddress::Host {
                tls: true,
                port: door.public_port,
            },
            tls: Some(door.config),
        };
        gateway.listen(listener).map_err(|e| failed(&e, ""))?;
    }
    Ok(Built {
        gateway,
        credentials,
    })
}

impl Built {
    /// Reads the local configuration and secrets again when they change, until `end`.
    pub(super) fn follow_secrets(&self, end: CancellationToken) {
        let credentials = Arc::clone(&self.credentials);
        tokio::spawn(async move {
            let mut looks = 0_u32;
            loop {
                tokio::select! {
                    () = end.cancelled() => return,
                    () = tokio::time::sleep(LOOK) => {}
                }
                credentials.refresh().await;
                looks = looks.wrapping_add(1);
                if looks.is_multiple_of(LOOKS_PER_RUN) {
                    credentials.rerun_commands().await;
                }
            }
        });
    }
}

/// Trust in upstreams, as the local configuration says.
struct FileTls(Arc<FileCredentials>);

impl UpstreamTls for FileTls {
    fn client_config(
        &self,
        origin: &Origin,
        ca: Option<&str>,
    ) -> Result<Arc<rustls::ClientConfig>, String> {
        self.0.tls_config(origin, ca).map_err(|e| e.to_string())
    }
}

fn failed(why: &dyn std::fmt::Display, mend: &str) -> Failure {
    Failure::failed(why.to_string(), mend)
}

/// The one gateway of this process.
pub(crate) const GATEWAY: &str = "local";
const LEASE_GRACE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_secs(5);
const LOOKS_PER_RUN: u32 = 60;
