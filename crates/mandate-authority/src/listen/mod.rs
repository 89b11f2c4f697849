//! Doors: sockets on which the authority is asked, and what is known of who asks.

mod places;
mod serve;
mod sources;
mod unix;

use std::net::SocketAddr;
use std::sync::Arc;

use mandate_ports::PeerProcess;
use mandate_token::{OperatorSession, Verified};

use crate::Authority;

pub use serve::{Door, PublicSocket};
pub(crate) use serve::{NO_OPERATOR, Socket, serve};
pub use unix::Access;
pub(crate) use unix::bind;

/// Who is at the other end of a connection, in the words of somebody else than they.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A network address. It proves nothing.
    Network(SocketAddr),
    /// A process of this machine, held by a pidfd for as long as the connection lasts.
    Process(Arc<PeerProcess>),
    /// A person with an operator's session, for one request.
    Session(Arc<SessionHolder>),
}

/// A person whose session holds. The one maker is the verification of a session.
#[derive(Debug)]
pub struct SessionHolder {
    pub(crate) session: Verified<OperatorSession>,
    /// From where.
    pub(crate) prefix: String,
}

impl Origin {
    /// Where refusals before authentication and connections are counted: a /24, a /48 or a local
    /// user (C3).
    pub(crate) fn prefix(&self) -> String {
        match self {
            Origin::Network(SocketAddr::V4(address)) => {
                let [a, b, c, _] = address.ip().octets();
                format!("{a}.{b}.{c}.0/24")
            }
            Origin::Network(SocketAddr::V6(address)) => {
                let [a, b, c, ..] = address.ip().segments();
                format!("{a:x}:{b:x}:{c:x}::/48")
            }
            Origin::Process(peer) => format!("uid {}", peer.uid),
            Origin::Session(holder) => holder.prefix.clone(),
        }
    }
}

/// One connection: what every handler gets beside the request.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// The authority.
    pub(crate) authority: Authority,
    /// Who asks.
    pub(crate) origin: Origin,
    /// Through which door.
    pub(crate) door: Door,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_network_not_by_address() {
        let of = |text: &str| Origin::Network(text.parse().unwrap()).prefix();
        assert_eq!(of("192.0.2.7:1"), "192.0.2.0/24");
        assert_eq!(of("[2001:db8:1:2::9]:1"), "2001:db8:1::/48");
    }
}
