//! Who is at the other end of a Unix socket.

use std::io;
use std::os::fd::BorrowedFd;

use mandate_ports::{PeerProcess, Peers};
use nix::sys::socket::{getsockopt, sockopt};

/// Asks the kernel of this machine (Linux 6.5 or later).
///
/// It names the process that connected, as it was then. A pidfd opened later from a pid could
/// already mean another process (FAILURES 31), so it comes from the socket itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct KernelPeers;

impl Peers for KernelPeers {
    fn peer(&self, socket: BorrowedFd<'_>) -> io::Result<PeerProcess> {
        let pidfd = getsockopt(&socket, sockopt::PeerPidfd)?;
        let credentials = getsockopt(&socket, sockopt::PeerCredentials)?;
        if credentials.pid() <= 0 {
            let reason = "the peer is in a process namespace that cannot be seen from here";
            return Err(io::Error::other(reason));
        }
        Ok(PeerProcess {
            pidfd,
            pid: credentials.pid(),
            uid: credentials.uid(),
            gid: credentials.gid(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_the_port_promises() {
        mandate_testkit::peers_suite::run(&KernelPeers);
        mandate_testkit::peers_suite::users(&crate::PasswdUsers);
    }
}
