//! What agents put on the wire, read strictly before hyper reads it (FAILURES 34).
//!
//! hyper is lenient where RFC 9112 lets a server be: it takes bare line feeds for line ends, joins
//! two equal lengths, and drops a length that stands beside a transfer coding. What it sends on is framed
//! anew, so nothing is smuggled past this gateway; but such a request has no one meaning, and whoever
//! sends it wants somebody to read it otherwise. So each head and each chunk passes here first, and
//! hyper sees only what RFC 9112 lets a sender generate.
//!
//! Nothing is mended and nothing but what a refusal needs is kept. A head that breaks a rule never
//! reaches hyper: a plain request of our own stands in for it, [`Wire::fault_of`] tells which one that is,
//! and it is answered with the rule. Of HTTP/2 only the frames are counted: its grammar is h2's to check.

mod chunks;
mod frames;
mod head;

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use futures_util::task::AtomicWaker;
use mandate_ports::Clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use chunks::Chunks;
use frames::Frames;
pub(crate) use head::Fault;
pub(crate) use head::is_token;
use head::{Framing, HeadLimits};

use crate::listener::Limits;

/// The shared half of a watched connection.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    /// Which of the connection's requests, counted from zero, stands in for one that broke a rule.
    fault: OnceLock<(u64, Fault)>,
    /// An upgrade was asked for: nothing more is HTTP until it is known what it is.
    upgrading: AtomicBool,
    /// The connection speaks another protocol by now.
    upgraded: AtomicBool,
    reader: AtomicWaker,
}

impl Wire {
    /// What is wrong with the connection's request number `n`, counted from zero.
    pub(crate) fn fault_of(&self, n: u64) -> Option<Fault> {
        let (nth, fault) = self.fault.get()?;
        (*nth == n).then_some(*fault)
    }

    /// An upgrade has been agreed on: what comes from here on is another protocol.
    pub(crate) fn agree(&self) {
        self.upgraded.store(true, Ordering::SeqCst);
        self.reader.wake();
    }

    /// Whether the connection speaks another protocol by now.
    pub(crate) fn is_upgraded(&self) -> bool {
        self.upgraded.load(Ordering::SeqCst)
    }

    /// Whether an upgrade was asked for and nothing came of it: the connection is good for nothing more.
    pub(crate) fn is_spent(&self) -> bool {
        self.upgrading.load(Ordering::SeqCst) && !self.is_upgraded()
    }
}

/// Watches what is read from `io`.
pub(crate) fn watch<T>(io: T, limits: &Limits, clock: Arc<dyn Clock>) -> (Arc<Wire>, Watched<T>) {
    let wire = Arc::<Wire>::default();
    let io = Watched {
        io,
        wire: Arc::clone(&wire),
        clock,
        limits: HeadLimits {
            bytes: usize::try_from(limits.header_bytes).unwrap_or(usize::MAX),
            fields: limits.header_fields,
        },
        phase: Phase::Beginning,
        heads: 0,
        scanned: 0,
        held: BytesMut::new(),
        ready: BytesMut::new(),
    };
    (wire, io)
}

/// The half that hyper reads.
pub(crate) struct Watched<T> {
    io: T,
    wire: Arc<Wire>,
    clock: Arc<dyn Clock>,
    limits: HeadLimits,
    phase: Phase,
    /// Heads that hyper was given.
    heads: u64,
    /// How much of the head in `held` has been looked through for its end.
    scanned: usize,
    /// A head that has not come whole.
    held: BytesMut,
    /// What hyper may have and had no room for.
    ready: BytesMut,
}

/// What comes next.
#[derive(Debug)]
enum Phase {
    /// The connection's first bytes: HTTP/1.1 or the preface of HTTP/2.
    Beginning,
    Head,
    /// So many bytes of a body.
    Length(u64),
    Chunked(Chunks),
    /// Bytes of a protocol that has not been agreed on.
    Upgrading,
    Upgraded,
    Http2(Frames),
    /// A rule was broken: whatever comes is thrown away.
    Over,
}

/// What became of some bytes.
enum Passed {
    /// So many of them may go on; the rest waits for more.
    Bytes(usize),
    /// So many of them may go on; what follows broke a rule.
    Fault(usize, Fault),
}

impl<T> Watched<T> {
    /// Looks at `bytes`, which begin where the last ones that went on ended.
    fn look(&mut self, bytes: &[u8]) -> io::Result<Passed> {
        let mut at = 0;
        // Where the request began whose body is looked at, if hyper has nothing of it yet.
        let mut begun = None;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let taken = match &mut self.phase {
                _ if rest.is_empty() => return Ok(Passed::Bytes(at)),
                Phase::Beginning => {
                    let same = rest.iter().zip(PREFACE).all(|(a, b)| a == b);
                    if same && rest.len() < PREFACE.len() {
                        return Ok(Passed::Bytes(at));
                    }
                    self.phase = if same {
                        at += PREFACE.len();
                        Phase::Http2(Frames::default())
                    } else {
                        Phase::Head
                    };
                    continue;
                }
                Phase::Head => match self.head(rest) {
                    Ok(Some(taken)) => {
                        begun = Some(at);
                        taken
                    }
                    Ok(None) => return Ok(Passed::Bytes(at)),
                    Err(fault) => return Ok(Passed::Fault(at, fault)),
                },
                Phase::Length(left) => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= u64::try_from(here).unwrap_or(*left);
                    if *left == 0 {
                        self.phase = Phase::Head;
                    }
                    here
                }
                Phase::Chunked(chunks) => match (chunks.pass(rest), begun) {
                    (Ok((taken, ended)), _) => {
                        if ended {
                            self.phase = Phase::Head;
                        }
                        taken
                    }
                    (Err(_), Some(begun)) => {
                        self.heads -= 1;
                        return Ok(Passed::Fault(begun, Fault::Chunk));
                    }
                    (Err(why), None) => return Err(malformed(why)),
                },
                Phase::Upgrading => return Ok(Passed::Bytes(at)),
                Phase::Upgraded => rest.len(),
                Phase::Http2(frames) => {
                    frames.pass(rest, self.clock.boot()).map_err(malformed)?;
                    rest.len()
                }
                // Nothing is left to say; it counts as taken and goes nowhere.
                Phase::Over => return Ok(Passed::Bytes(at)),
            };
            at += taken;
        }
    }

    /// Looks at a head; how long it is, if it is there.
    fn head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        let Some(end) = head::end(bytes, &mut self.scanned, &self.limits)? else {
            return Ok(None);
        };
        let framing = head::check(bytes.get(..end).unwrap_or_default(), &self.limits)?;
        self.scanned = 0;
        self.heads += 1;
        self.phase = match framing {
            Framing::Length(0) => Phase::Head,
            Framing::Length(length) => Phase::Length(length),
            Framing::Chunked => Phase::Chunked(Chunks::default()),
            Framing::Upgrade => {
                self.wire.upgrading.store(true, Ordering::SeqCst);
                Phase::Upgrading
            }
        };
        Ok(Some(end))
    }

    /// Takes what came last, which is at the end of `buf` from `before` on, and leaves there what may go on.
    fn sift(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let came = buf.filled().get(before..).unwrap_or_default();
        if self.held.is_empty() {
            // Mostly everything may go on and is where it belongs already.
            let passed = self.look(came)?;
            let (may, fault) = passed.parts();
            self.held
                .extend_from_slice(came.get(may..).unwrap_or_default());
            buf.set_filled(before + may);
            self.end_with(fault);
            return Ok(());
        }
        let came = BytesMut::from(came);
        buf.set_filled(before);
        self.sift_held(&came)
    }

    /// The same for what came into a place of our own, behind what is held.
    fn sift_held(&mut self, came: &[u8]) -> io::Result<()> {
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(came);
        let (may, fault) = self.look(&all)?.parts();
        self.held = all.split_off(may);
        self.ready.unsplit(all);
        self.end_with(fault);
        Ok(())
    }

    fn end_with(&mut self, fault: Option<Fault>) {
        let Some(fault) = fault else { return };
        let _ = self.wire.fault.set((self.heads, fault));
        self.ready.extend_from_slice(STAND_IN);
        self.held.clear();
        self.phase = Phase::Over;
    }

    fn hand_over(&mut self, buf: &mut ReadBuf<'_>) {
        let here = buf.remaining().min(self.ready.len());
        buf.put_slice(self.ready.get(..here).unwrap_or_default());
        self.ready.advance(here);
        if self.ready.is_empty() {
            // A connection that rests keeps no room.
            self.ready = BytesMut::new();
        }
    }
}

impl Passed {
    fn parts(self) -> (usize, Option<Fault>) {
        match self {
            Passed::Bytes(may) => (may, None),
            Passed::Fault(may, fault) => (may, Some(fault)),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = &mut *self;
        me.wire.reader.register(cx.waker());
        let before = buf.filled().len();
        loop {
            if matches!(me.phase, Phase::Upgrading) {
                if me.wire.is_upgraded() {
                    me.phase = Phase::Upgraded;
                    me.ready.unsplit(std::mem::take(&mut me.held));
                } else if me.held.len() >= MOST_BEFORE_AN_UPGRADE {
                    return Poll::Pending;
                }
            }
            me.hand_over(buf);
            if buf.filled().len() > before || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if matches!(me.phase, Phase::Over) {
                return me.throw_away(cx);
            }
            let came = if buf.remaining() < ROOM {
                // As long as hyper asks which protocol it is, it takes a few bytes at a time.
                let mut space = [0; ROOM];
                let mut own = ReadBuf::new(&mut space);
                ready!(Pin::new(&mut me.io).poll_read(cx, &mut own))?;
                me.sift_held(own.filled())?;
                own.filled().len()
            } else {
                ready!(Pin::new(&mut me.io).poll_read(cx, buf))?;
                let came = buf.filled().len() - before;
                me.sift(buf, before)?;
                came
            };
            if came == 0 {
                // The end. A head that broke off is nobody's request.
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<T: AsyncRead + Unpin> Watched<T> {
    /// Reads on without looking, so that the refusal is not lost to a reset for unread bytes. Never
    /// ends: for hyper an end would mean that nobody waits for the answer, after which it closes anyway.
    fn throw_away(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [0; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Pending;
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

fn malformed(why: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// What one read should have room for.
const ROOM: usize = 4096;
/// RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What hyper reads instead of a head that broke a rule. It is answered and nothing else.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
/// What a client may say before an upgrade is agreed on, which is too early already (RFC 6455 §4.1).
const MOST_BEFORE_AN_UPGRADE: usize = 16 * 1024;

#[cfg(test)]
mod tests;
