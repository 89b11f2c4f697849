//! What every [`Peers`] must do.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use mandate_ports::{Peers, Users};

/// The peer of a pair made here is this process, held by a pidfd that is its own.
pub fn run(peers: &impl Peers) {
    let (here, there) = UnixStream::pair().unwrap();
    let one = peers.peer(here.as_fd()).unwrap();
    let two = peers.peer(there.as_fd()).unwrap();
    let own = i32::try_from(std::process::id()).unwrap();
    assert_eq!((one.pid, two.pid), (own, own));
    assert_eq!((one.uid, one.gid), (two.uid, two.gid));
    let file = std::fs::File::open("/dev/null").unwrap();
    assert!(
        peers.peer(file.as_fd()).is_err(),
        "what is no socket has no peer"
    );
}

/// Root has a name, and a number that nobody has, none.
pub fn users(users: &impl Users) {
    assert_eq!(users.name(0).unwrap().as_deref(), Some("root"));
    assert_eq!(users.name(4_000_000_000).unwrap(), None);
}
