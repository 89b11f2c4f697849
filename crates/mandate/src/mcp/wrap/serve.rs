//! Connections, and how all of it ends.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::door::Door;

/// Serves until `stop`; then ends every child, and waits for that.
pub(crate) async fn serve(listener: TcpListener, door: Door, stop: CancellationToken) {
    let door = Arc::new(door);
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let connections = TaskTracker::new();
    while let Some(place) = tokio::select! {
        place = Arc::clone(&places).acquire_owned() => place.ok(),
        () = stop.cancelled() => None,
    } {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let Ok((stream, _)) = stream else {
            // Out of descriptors, say: some may be free by then.
            tokio::time::sleep(AFTER_FAILURE).await;
            continue;
        };
        let (door, stop) = (Arc::clone(&door), stop.clone());
        connections.spawn(async move {
            let asked = CancellationToken::new();
            let service = service_fn(|request| {
                asked.cancel();
                async { Ok::<_, Infallible>(door.answer(request).await) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD);
            let mut connection =
                std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
            // What goes wrong is told by the answer, or the client has gone.
            tokio::select! {
                _ = connection.as_mut() => {}
                () = silence(&asked) => {}
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
            drop(place);
        });
    }
    // Their ends are answers to what is under way.
    door.close().await;
    connections.close();
    if timeout(LAST_WORDS, connections.wait()).await.is_err() {
        tracing::debug!("some clients did not read their last answers");
    }
}

/// That nothing was asked in time. Whoever asked and has not the key is gone by then.
async fn silence(asked: &CancellationToken) {
    if timeout(FIRST_HEAD, asked.cancelled()).await.is_ok() {
        std::future::pending().await
    }
}

const MOST_CONNECTIONS: usize = 512;
/// How long the first head of a connection may take to come: strangers hold no place for longer.
const FIRST_HEAD: Duration = Duration::from_secs(2);
/// How long each other one may, and the gateway may keep a connection for it.
const HEAD: Duration = Duration::from_secs(10);
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// For answers that are on their way when everything ends.
const LAST_WORDS: Duration = Duration::from_secs(1);
