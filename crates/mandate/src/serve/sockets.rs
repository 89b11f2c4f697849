//! The sockets of the network: bound before anything else is done, and never let go of in between.
//!
//! An address with port 0 is whatever the system gave, and no one else can have it meanwhile. What
//! is derived from an address, the issuer first of all, comes after.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use rustls::ServerConfig;

use super::endpoints::Endpoints;
use super::identity::Identity;
use super::tls::TlsDoor;
use super::{Args, options};
use crate::failure::Failure;

/// All of them.
pub(super) struct Sockets {
    pub(super) public: Bound,
    /// What is spoken at `public`, if not plain HTTP.
    pub(super) public_tls: Option<Arc<ServerConfig>>,
    pub(super) gateway: Bound,
    pub(super) gateway_tls: Option<TlsDoor>,
    pub(super) metrics: Bound,
    pub(super) dev_issuer: Option<Bound>,
}

/// A socket that has its address and serves nobody yet.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) socket: TcpListener,
    /// As the system gave it.
    pub(super) address: SocketAddr,
}

impl Sockets {
    /// Binds all that is asked for: a server that cannot have one of them has done nothing yet.
    pub(super) fn bind(args: &Args) -> Result<Self, Failure> {
        options::check_loopback(args)?;
        let dev = args.dev.then(|| Bound::at("--dev-listen", args.dev_listen));
        Ok(Self {
            public_tls: args.tls.listen()?,
            public: Bound::at("--listen", args.listen)?,
            gateway: Bound::at("--gateway-listen", args.gateway_listen)?,
            gateway_tls: args.tls.door()?,
            metrics: Bound::at("--metrics-listen", args.metrics_listen)?,
            dev_issuer: dev.transpose()?,
        })
    }

    /// What the server says of itself, with its `identity`.
    pub(super) fn endpoints(&self, identity: Identity, gateway_url: Option<String>) -> Endpoints {
        Endpoints {
            issuer: identity.issuer,
            trust_domain: identity.trust_domain.to_string(),
            authority: self.public.address,
            gateway: self.gateway.address,
            gateway_url,
            gateway_tls: self.gateway_tls.as_ref().map(|door| door.bound.address),
            metrics: self.metrics.address,
            dev_issuer: self.dev_issuer.as_ref().map(|bound| bound.address),
            pid: std::process::id(),
        }
    }
}

impl Bound {
    /// Binds `address`, which `option` says.
    pub(super) fn at(option: &str, address: SocketAddr) -> Result<Self, Failure> {
        let bound = TcpListener::bind(address).and_then(|socket| {
            let address = socket.local_addr()?;
            Ok(Self { socket, address })
        });
        bound.map_err(|e| failed(option, address, &e))
    }

    /// For tasks. Panics outside a runtime.
    pub(super) fn listener(self) -> Result<tokio::net::TcpListener, Failure> {
        let listener = self
            .socket
            .set_nonblocking(true)
            .and_then(|()| tokio::net::TcpListener::from_std(self.socket));
        listener.map_err(|e| failed("a socket", self.address, &e))
    }
}

fn failed(option: &str, address: SocketAddr, why: &std::io::Error) -> Failure {
    Failure::failed(
        format!("{option} {address}: {why}"),
        format!("say another address: {option} 127.0.0.1:0 takes any free port"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_is_held_from_the_moment_that_it_is_known() {
        let any = "127.0.0.1:0".parse().unwrap();
        let bound = Bound::at("--listen", any).unwrap();
        assert_ne!(bound.address.port(), 0);
        let taken = Bound::at("--gateway-listen", bound.address).unwrap_err();
        let said = format!("--gateway-listen {}", bound.address);
        assert!(taken.broke.contains(&said), "{}", taken.broke);
        drop(bound);
    }
}
