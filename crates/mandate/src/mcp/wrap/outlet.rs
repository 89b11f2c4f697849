//! The way of messages from a child to the one stream that they belong to: bounded by bytes, not by their number.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// One message on its way.
pub(super) enum Piece {
    /// More may follow.
    Between(String),
    /// The answer; `code` is its error's.
    Last { text: String, code: Option<i64> },
}

impl fmt::Debug for Piece {
    /// Without the message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Piece")
    }
}

/// Where messages are put in.
#[derive(Debug, Clone)]
pub(super) struct Outlet {
    to: UnboundedSender<(Piece, Option<OwnedSemaphorePermit>)>,
    room: Arc<Semaphore>,
}

/// Where they come out. Dropping it tells the other side that nobody reads.
#[derive(Debug)]
pub(super) struct Inlet(UnboundedReceiver<(Piece, Option<OwnedSemaphorePermit>)>);

/// The message was not taken: nobody reads any more, or too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unread;

/// A way for one stream.
pub(super) fn way() -> (Outlet, Inlet) {
    let (to, from) = unbounded_channel();
    let room = Arc::new(Semaphore::new(ROOM as usize));
    (Outlet { to, room }, Inlet(from))
}

impl Outlet {
    /// Puts a message in if there is room now.
    pub(super) fn push(&self, piece: Piece) -> Result<(), Unread> {
        let room = Arc::clone(&self.room);
        let permit = room.try_acquire_many_owned(weight(&piece));
        self.put(piece, Some(permit.map_err(|_| Unread)?))
    }

    /// Puts a message in, and waits for room as long as a reader may take.
    pub(super) async fn send(&self, piece: Piece) -> Result<(), Unread> {
        let room = Arc::clone(&self.room);
        let waited = tokio::select! {
            waited = timeout(PATIENCE, room.acquire_many_owned(weight(&piece))) => waited,
            () = self.to.closed() => return Err(Unread),
        };
        match waited {
            Ok(Ok(permit)) => self.put(piece, Some(permit)),
            Ok(Err(_)) | Err(_) => Err(Unread),
        }
    }

    /// Puts in a short last message of our own, whatever is in front of it.
    pub(super) fn finish(&self, text: String, code: i64) {
        let code = Some(code);
        // Nobody may be left to read it.
        let _ = self.put(Piece::Last { text, code }, None);
    }

    fn put(&self, piece: Piece, permit: Option<OwnedSemaphorePermit>) -> Result<(), Unread> {
        self.to.send((piece, permit)).map_err(|_| Unread)
    }

    /// Waits until nobody reads any more.
    pub(super) async fn unread(&self) {
        self.to.closed().await;
    }

    /// Whether what is put in here and there comes out at one place.
    pub(super) fn leads_where(&self, other: &Outlet) -> bool {
        self.to.same_channel(&other.to)
    }

    /// Whether nobody reads any more.
    pub(super) fn is_unread(&self) -> bool {
        self.to.is_closed()
    }
}

impl Inlet {
    /// The next message; `None` where the stream was cut.
    pub(super) async fn next(&mut self) -> Option<Piece> {
        self.0.recv().await.map(|(piece, _room)| piece)
    }
}

/// A message that is longer than all the room has it for itself.
fn weight(piece: &Piece) -> u32 {
    let (Piece::Between(text) | Piece::Last { text, .. }) = piece;
    u32::try_from(text.len()).unwrap_or(ROOM).clamp(1, ROOM)
}

/// Bytes that wait for one reader.
const ROOM: u32 = 1 << 20;
/// How long a session waits for its reader.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(length: usize) -> Piece {
        Piece::Between("x".repeat(length))
    }

    #[tokio::test]
    async fn a_slow_reader_holds_so_much_and_no_more() {
        let (outlet, mut inlet) = way();
        let half = ROOM as usize / 2;
        assert_eq!(outlet.push(piece(half)), Ok(()));
        assert_eq!(outlet.push(piece(half)), Ok(()));
        assert_eq!(outlet.push(piece(1)), Err(Unread));
        assert!(inlet.next().await.is_some());
        assert_eq!(outlet.push(piece(1)), Ok(()));
        // The end is told whatever waits.
        outlet.finish("{}".to_owned(), -32603);
        drop(inlet);
        outlet.unread().await;
        assert_eq!(outlet.push(piece(1)), Err(Unread));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_waits_for_its_reader_and_not_for_ever() {
        let (outlet, mut inlet) = way();
        outlet.send(piece(ROOM as usize * 2)).await.unwrap();
        let (second, first) = tokio::join!(outlet.send(piece(1)), inlet.next());
        assert!(first.is_some() && second.is_ok());
        outlet.send(piece(ROOM as usize - 1)).await.unwrap();
        assert_eq!(outlet.send(piece(1)).await, Err(Unread));
    }
}
