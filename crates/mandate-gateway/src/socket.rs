//! A TCP socket that can be killed from outside, and that writes only while its lease holds.
//!
//! hyper, h2 and rustls each keep bytes that were handed to them and not yet written. What is
//! promised about a suspension is therefore enforced here, at the last place before the kernel:
//! after [`Socket::kill`] has returned, no byte of whatever was buffered anywhere above reaches
//! the kernel, and what the kernel had not sent is dropped with a reset (B1). While a socket
//! carries an admitted access, nothing is written without a lease (B3), unless every access that it
//! carries goes on without one.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures_util::task::AtomicWaker;
use mandate_decide::enforce::right_to_admit;
use mandate_policy::decl::LeaseLoss;
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::lease::Lease;

/// The shared half of a connection: what admissions hold to cut it.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    lease: Arc<Lease>,
    /// Held for the length of one non-blocking system call, so that a kill waits for a write in
    /// progress and none begins after it.
    writing: Mutex<()>,
    killed: AtomicBool,
    closed: AtomicBool,
    /// How many admitted accesses it carries that stop when the lease ends.
    stopping: AtomicUsize,
    /// How many that go on.
    continuing: AtomicUsize,
    /// How often everything that was buffered above has been written out.
    flushes: AtomicU64,
    reader: AtomicWaker,
    writer: AtomicWaker,
    /// Wakes who waits for a flush or for the end.
    changed: Notify,
}

impl Socket {
    /// Takes charge of `stream`: the shared half and the half that is read and written.
    pub(crate) fn guard(stream: TcpStream, lease: Arc<Lease>) -> (Arc<Socket>, GuardedIo) {
        let socket = Arc::new(Socket {
            stream,
            lease,
            writing: Mutex::new(()),
            killed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            stopping: AtomicUsize::new(0),
            continuing: AtomicUsize::new(0),
            flushes: AtomicU64::new(0),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            changed: Notify::new(),
        });
        let io = GuardedIo {
            socket: Arc::clone(&socket),
        };
        (socket, io)
    }

    /// Resets the connection. When this returns, nothing more is handed to the kernel, and what the
    /// kernel still had to send is gone.
    pub(crate) fn kill(&self) {
        {
            let _no_write_in_progress = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            if self.killed.swap(true, Ordering::SeqCst) {
                return;
            }
            // Dissolving the association sends RST and purges the send queue, at once and
            // whoever still holds the descriptor; closing it would wait for the last owner.
            // If it fails the peer has gone already, and the linger of zero covers the close.
            let _ = rustix::net::sockopt::set_socket_linger(
                &self.stream,
                Some(std::time::Duration::ZERO),
            );
            let _ = rustix::net::connect_unspec(&self.stream);
        }
        self.reader.wake();
        self.writer.wake();
        self.changed.notify_waiters();
    }

    /// Whether nothing can leave any more: killed or closed.
    pub(crate) fn is_over(&self) -> bool {
        self.killed.load(Ordering::SeqCst) || self.closed.load(Ordering::SeqCst)
    }

    /// Resolves when nothing can leave any more.
    pub(crate) async fn until_over(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.is_over() {
                return;
            }
            changed.await;
        }
    }

    /// How often everything buffered above was written out. A mark for [`Socket::flushed_since`].
    pub(crate) fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::SeqCst)
    }

    /// Whether everything that was buffered at `mark` has left or never will.
    pub(crate) fn flushed_since(&self, mark: u64) -> bool {
        self.flushes() > mark || self.is_over()
    }

    /// Resolves at the next flush or at the end; create it before looking at the state.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// Has whoever drives the connection look at it again, and so flush it.
    pub(crate) fn hurry(&self) {
        self.reader.wake();
        self.writer.wake();
    }

    /// From here on the socket writes only under a lease, or without one as long as all that it
    /// carries goes on.
    pub(crate) fn hold(&self, on_loss: LeaseLoss) {
        self.held(on_loss).fetch_add(1, Ordering::SeqCst);
    }

    /// Undoes one [`Socket::hold`].
    pub(crate) fn release(&self, on_loss: LeaseLoss) {
        self.held(on_loss).fetch_sub(1, Ordering::SeqCst);
        self.writer.wake();
    }

    fn held(&self, on_loss: LeaseLoss) -> &AtomicUsize {
        match on_loss {
            LeaseLoss::Stop => &self.stopping,
            LeaseLoss::Continue => &self.continuing,
        }
    }

    /// Bytes of two accesses cannot be told apart here: one that stops holds up all the others.
    fn may_write(&self) -> bool {
        let on_loss = if self.stopping.load(Ordering::SeqCst) > 0 {
            LeaseLoss::Stop
        } else if self.continuing.load(Ordering::SeqCst) > 0 {
            LeaseLoss::Continue
        } else {
            return true;
        };
        right_to_admit(self.lease.state(), on_loss).is_some()
    }

    fn poll_may_write(&self, cx: &Context<'_>) -> Poll<()> {
        if self.may_write() {
            return Poll::Ready(());
        }
        self.writer.register(cx.waker());
        self.lease.wake_when_renewed(cx.waker());
        // A renewal between the look and the registration would otherwise be missed.
        if self.may_write() || self.is_over() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Reads what is there. Less than there was room for means that there is no more, which whoever waits for
    /// the socket is told at once: a second read would find out nothing else.
    fn read_now(&self, room: &mut [u8]) -> io::Result<usize> {
        let all = room.len();
        let mut last = None;
        let read = self.stream.try_io(Interest::READABLE, || {
            let (_, read) = rustix::net::recv(&self.stream, room, RecvFlags::empty())?;
            if 0 < read && read < all {
                last = Some(read);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(read)
        });
        last.map_or(read, Ok)
    }

    fn write_now(&self, write: impl Fn(&TcpStream) -> io::Result<usize>) -> io::Result<usize> {
        let _exclusive = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.killed.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        write(&self.stream)
    }

    fn poll_write_with(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if !self.is_over() {
                ready!(self.poll_may_write(cx));
            }
            match self.write_now(&write) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.writer.register(cx.waker());
                    ready!(self.stream.poll_write_ready(cx))?;
                }
                done => return Poll::Ready(done),
            }
        }
    }
}

/// The half that hyper owns.
#[derive(Debug)]
pub(crate) struct GuardedIo {
    socket: Arc<Socket>,
}

impl AsyncRead for GuardedIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = &self.socket;
        loop {
            socket.reader.register(cx.waker());
            if socket.killed.load(Ordering::SeqCst) {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            ready!(socket.stream.poll_read_ready(cx))?;
            match socket.read_now(buf.initialize_unfilled()) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
                Ok(n) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for GuardedIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_write_with(cx, |s| s.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.socket
            .poll_write_with(cx, |s| s.try_write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Reached only when everything above has written all it had: TCP itself keeps nothing back.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.flushes.fetch_add(1, Ordering::SeqCst);
        self.socket.changed.notify_waiters();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = rustix::net::shutdown(&self.socket.stream, rustix::net::Shutdown::Write);
        match done {
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => Poll::Ready(Ok(())),
            Err(e) => Poll::Ready(Err(e.into())),
        }
    }
}

impl Drop for GuardedIo {
    /// Marks the end; whoever waits does the work.
    fn drop(&mut self) {
        self.socket.closed.store(true, Ordering::SeqCst);
        self.socket.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
