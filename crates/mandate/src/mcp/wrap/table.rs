//! The sessions there are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_ports::Entropy;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::session::Session;
use super::shared::lock;
use crate::serve::machine::SystemEntropy;

/// All sessions, by their ids, which nobody can guess.
pub(super) struct Table {
    places: Arc<Semaphore>,
    all: u32,
    sessions: Arc<Mutex<HashMap<String, Arc<Session>>>>,
    closing: CancellationToken,
}

impl Table {
    pub(super) fn new(most: usize) -> Self {
        let all = u32::try_from(most).unwrap_or(u32::MAX);
        Self {
            places: Arc::new(Semaphore::new(all as usize)),
            all,
            sessions: Arc::default(),
            closing: CancellationToken::new(),
        }
    }

    /// A place for a session, where one is left.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Takes a session in until its child ends, and gives its id.
    pub(super) fn keep(&self, session: Arc<Session>) -> String {
        let mut bytes = [0; 32];
        SystemEntropy.fill(&mut bytes);
        let id = URL_SAFE_NO_PAD.encode(bytes);
        lock(&self.sessions).insert(id.clone(), Arc::clone(&session));
        if self.closing.is_cancelled() {
            // It began while all others were ended.
            session.end();
        }
        let (sessions, key) = (Arc::clone(&self.sessions), id.clone());
        tokio::spawn(async move {
            session.ended().await;
            lock(&sessions).remove(&key);
        });
        id
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<Session>> {
        let found = lock(&self.sessions).get(id).cloned();
        found.filter(|session| !session.is_over())
    }

    /// The session, which from now on is nobody's.
    pub(super) fn remove(&self, id: &str) -> Option<Arc<Session>> {
        lock(&self.sessions).remove(id)
    }

    /// Waits until no session begins any more.
    pub(super) async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Ends all, lets none begin, and waits until the last child is gone.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        let sessions: Vec<_> = lock(&self.sessions).drain().map(|(_, s)| s).collect();
        for session in sessions {
            session.end();
        }
        // Those that are only beginning give their places back too.
        let all = self.places.acquire_many(self.all).await;
        drop(all);
        self.places.close();
    }
}
