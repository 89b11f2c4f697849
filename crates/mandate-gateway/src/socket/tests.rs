use mandate_model::{BootTime, Timestamp};
use mandate_ports::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::lease::LeaseKeeper;

struct StillClock(AtomicU64);

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }
    fn boot(&self) -> BootTime {
        BootTime::from_nanos(self.0.load(Ordering::SeqCst))
    }
}

fn lease() -> Arc<Lease> {
    Lease::none(Arc::new(StillClock(AtomicU64::new(1))))
}

async fn pair() -> (Arc<Socket>, GuardedIo, TcpStream, Arc<Lease>) {
    let lease = lease();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap());
    let (accepted, peer) = tokio::join!(listener.accept(), peer);
    let (socket, io) = Socket::guard(accepted.unwrap().0, lease.clone());
    (socket, io, peer.unwrap(), lease)
}

fn renew(lease: &Arc<Lease>) {
    use mandate_model::{BundleVersion, KeysVersion, StopVersion, StoreEpoch};
    let versions = mandate_ports::Versions {
        epoch: StoreEpoch::from_random([1; 16]),
        stops: StopVersion::new(1),
        bundle: BundleVersion::new(1),
        keys: KeysVersion::new(1),
    };
    let mut keeper = LeaseKeeper::new(lease.clone());
    let grant = mandate_ports::control::LeaseGrant {
        lease_ms: 1000,
        versions,
    };
    keeper.granted(keeper.sending(), &grant, Some(&versions));
}

#[tokio::test]
async fn bytes_pass_both_ways() {
    let (_socket, mut io, mut peer, _) = pair().await;
    io.write_all(b"ping").await.unwrap();
    let mut got = [0; 4];
    peer.read_exact(&mut got).await.unwrap();
    peer.write_all(b"pong").await.unwrap();
    io.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"pong");
}

#[tokio::test]
async fn a_killed_socket_is_reset_and_what_the_kernel_still_held_is_gone() {
    let (socket, mut io, mut peer, _) = pair().await;
    // More than both kernels' buffers hold: the write ends by being stuck.
    let block = vec![7_u8; 64 * 1024 * 1024];
    let writer = tokio::spawn(async move { io.write_all(&block).await });
    let mut got = vec![0; 1024];
    peer.read_exact(&mut got).await.unwrap();
    socket.kill();
    assert!(writer.await.unwrap().is_err());
    let mut rest = Vec::new();
    let end = peer.read_to_end(&mut rest).await;
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert!(socket.is_over());
}

#[tokio::test]
async fn a_reader_is_woken_by_a_kill() {
    let (socket, mut io, _peer, _) = pair().await;
    let reader = tokio::spawn(async move { io.read(&mut [0; 8]).await });
    tokio::task::yield_now().await;
    socket.kill();
    assert!(reader.await.unwrap().is_err());
}

#[tokio::test]
async fn a_held_socket_writes_nothing_without_a_lease_and_goes_on_when_it_is_renewed() {
    let (socket, mut io, mut peer, lease) = pair().await;
    socket.hold(LeaseLoss::Stop);
    let mut write = tokio_test_pending(&mut io);
    assert!(futures_util::poll!(&mut write).is_pending());
    let mut got = [0; 1];
    assert_eq!(
        peer.try_read(&mut got).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    renew(&lease);
    write.await.unwrap();
    peer.read_exact(&mut got).await.unwrap();
}

#[tokio::test]
async fn a_paused_write_ends_when_its_socket_is_killed() {
    let (socket, mut io, _peer, _lease) = pair().await;
    socket.hold(LeaseLoss::Stop);
    let writer = tokio::spawn(async move { io.write_all(b"x").await });
    tokio::task::yield_now().await;
    socket.kill();
    assert!(writer.await.unwrap().is_err());
}

#[tokio::test]
async fn a_released_socket_writes_without_a_lease() {
    let (socket, mut io, mut peer, _) = pair().await;
    socket.hold(LeaseLoss::Stop);
    let writer = tokio::spawn(async move {
        io.write_all(b"x").await.unwrap();
        io
    });
    tokio::task::yield_now().await;
    socket.release(LeaseLoss::Stop);
    let _io = writer.await.unwrap();
    let mut got = [0; 1];
    peer.read_exact(&mut got).await.unwrap();
}

#[tokio::test]
async fn what_goes_on_writes_without_a_lease_unless_something_on_the_socket_does_not() {
    let clock = Arc::new(StillClock(AtomicU64::new(1)));
    let lease = Lease::none(clock.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap());
    let (accepted, peer) = tokio::join!(listener.accept(), peer);
    let (socket, mut io) = Socket::guard(accepted.unwrap().0, lease.clone());
    let mut peer = peer.unwrap();
    socket.hold(LeaseLoss::Continue);
    {
        let mut write = tokio_test_pending(&mut io);
        assert!(futures_util::poll!(&mut write).is_pending(), "no lease yet");
    }
    renew(&lease);
    clock.0.fetch_add(995_000_000, Ordering::SeqCst);
    assert!(!lease.holds());
    let mut got = [0; 1];
    io.write_all(b"x").await.unwrap();
    peer.read_exact(&mut got).await.unwrap();
    socket.hold(LeaseLoss::Stop);
    let mut write = tokio_test_pending(&mut io);
    assert!(futures_util::poll!(&mut write).is_pending());
    socket.release(LeaseLoss::Stop);
    write.await.unwrap();
    peer.read_exact(&mut got).await.unwrap();
    lease.drop_now();
    let mut write = tokio_test_pending(&mut io);
    assert!(
        futures_util::poll!(&mut write).is_pending(),
        "dropped is not lost"
    );
}

fn tokio_test_pending(
    io: &mut GuardedIo,
) -> std::pin::Pin<Box<dyn Future<Output = io::Result<()>> + '_>> {
    Box::pin(io.write_all(b"x"))
}
