//! The contract that every store keeps.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;

use async_trait::async_trait;
use mandate_model::{StoreEpoch, Timestamp};
use mandate_ports::StateReader;
use mandate_store_sqlite::SqliteStore;
use mandate_testkit::entropy::SeededEntropy;
use mandate_testkit::store_suite::{self, StoreFactory};
use tempfile::TempDir;

/// Stores in folders of a temporary directory, found again by their epochs.
struct Folders {
    all: TempDir,
    entropy: SeededEntropy,
    paths: Mutex<HashMap<StoreEpoch, PathBuf>>,
}

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

#[async_trait]
impl StoreFactory for Folders {
    type Store = SqliteStore;

    async fn fresh(&self) -> SqliteStore {
        let random: [u8; 16] = self.entropy.bytes();
        let epoch = StoreEpoch::from_random(random);
        let path = self.all.path().join(epoch.to_string());
        let store = SqliteStore::open(&path, random, NOW).unwrap();
        self.paths.lock().unwrap().insert(epoch, path);
        store
    }

    async fn reopened(&self, store: SqliteStore) -> SqliteStore {
        let epoch = store.versions().await.unwrap().epoch;
        store.close().await;
        let path = self.paths.lock().unwrap().get(&epoch).unwrap().clone();
        SqliteStore::open(&path, self.entropy.bytes(), NOW).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_the_contract_of_stores() {
    let folders = Folders {
        all: tempfile::tempdir().unwrap(),
        entropy: SeededEntropy::new(1),
        paths: Mutex::default(),
    };
    store_suite::run(&folders).await;
}
