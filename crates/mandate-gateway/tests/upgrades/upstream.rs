//! A WebSocket server of another make.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// One that answers `echo …` with itself, does what a test feeds it, and tells what came.
#[derive(Clone, Default)]
pub(crate) struct Upstream {
    pub(crate) address: Option<SocketAddr>,
    pub(crate) asked: Arc<Mutex<Vec<HeaderMap>>>,
    feeds: Arc<Mutex<Vec<mpsc::UnboundedSender<Feed>>>>,
    pub(crate) came: Arc<Mutex<Vec<String>>>,
    ended: Arc<AtomicUsize>,
}

#[derive(Clone)]
enum Feed {
    Say(Message),
    Reset,
}

impl Upstream {
    /// One that speaks TLS if it is told how.
    pub(crate) async fn start(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Self {
            address: Some(listener.local_addr().unwrap()),
            ..Self::default()
        };
        let shared = upstream.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, tls) = (shared.clone(), tls.clone());
                tokio::spawn(async move {
                    let raw = stream.as_fd().try_clone_to_owned().unwrap();
                    match tls.map(tokio_rustls::TlsAcceptor::from) {
                        Some(tls) => shared.serve(tls.accept(stream).await.unwrap(), raw).await,
                        None => shared.serve(stream, raw).await,
                    }
                });
            }
        });
        upstream
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin, raw: OwnedFd) {
        let asked = self.asked.clone();
        #[expect(clippy::result_large_err, reason = "the library's signature")]
        let note = move |request: &Request, response: Response| {
            asked.lock().unwrap().push(request.headers().clone());
            Ok(response)
        };
        let mut socket = accept_hdr_async(stream, note).await.unwrap();
        let (feed, mut fed) = mpsc::unbounded_channel();
        self.feeds.lock().unwrap().push(feed);
        loop {
            let sent = tokio::select! {
                feed = fed.recv() => match feed.unwrap() {
                    Feed::Say(message) => socket.send(message).await,
                    Feed::Reset => {
                        reset_when_closed(&raw);
                        break;
                    }
                },
                came = socket.next() => match came {
                    Some(Ok(Message::Text(text))) => {
                        self.came.lock().unwrap().push(text.to_string());
                        if text.starts_with("echo") {
                            socket.send(Message::Text(text)).await
                        } else {
                            Ok(())
                        }
                    }
                    Some(Ok(_other)) => Ok(()),
                    Some(Err(_)) | None => break,
                },
            };
            if sent.is_err() {
                break;
            }
        }
        drop((socket, raw));
        self.ended.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn feed(&self, text: &str) {
        self.tell(&Feed::Say(Message::text(text)));
    }

    /// Has it end every connection, as RFC 6455 §7.1.1 has it.
    pub(crate) fn close(&self) {
        self.tell(&Feed::Say(Message::Close(None)));
    }

    /// Has it reset every connection.
    pub(crate) fn reset(&self) {
        self.tell(&Feed::Reset);
    }

    fn tell(&self, what: &Feed) {
        let feeds = self.feeds.lock().unwrap();
        feeds.iter().for_each(|feed| drop(feed.send(what.clone())));
    }

    pub(crate) fn open(&self) -> usize {
        self.feeds.lock().unwrap().len() - self.ended.load(Ordering::SeqCst)
    }
}

/// What is sent no more is thrown away, and the peer gets a reset.
pub(crate) fn reset_when_closed(socket: impl AsFd) {
    rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO)).unwrap();
}
