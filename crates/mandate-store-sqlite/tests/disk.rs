//! A disk of their own for stores: full, read-only, and well again.
//!
//! The same errors, raised by SQLite itself, are tested in `src/tests.rs` everywhere.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]

use std::path::{Path, PathBuf};

use mandate_audit::{Decision, Event, What};
use mandate_model::stop::{Subject, Suspension};
use mandate_model::{Principal, StopVersion, Timestamp};
use mandate_ports::{Change, CommitError, LogReader, StateReader, StoreError, Unit, Writer};
use mandate_store_sqlite::{LogFile, SqliteStore};
use mandate_testkit::disk::Disk;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A small disk.
fn disk() -> Option<Disk> {
    Disk::mount(16)
}

fn store_on(disk: &Disk) -> PathBuf {
    disk.path().join("store")
}

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, [7; 16], NOW).unwrap()
}

fn record(size: usize) -> Unit {
    let what = What::Alarm {
        message: "x".repeat(size),
    };
    Unit {
        events: vec![Event::new(NOW, what, Decision::Noted)],
        ..Unit::default()
    }
}

fn suspend(n: u32) -> Unit {
    let suspension = Suspension {
        subject: Subject::Everything,
        reason: format!("INC-{n}"),
        operator: Principal::parse("operator:root").unwrap(),
        version: StopVersion::new(0),
        at: NOW,
    };
    Unit {
        changes: vec![Change::Suspend(suspension)],
        ..record(100)
    }
}

/// Commits until the disk is full; says how many were committed.
async fn commit_until_full(store: &SqliteStore) -> u64 {
    let mut count = 0;
    loop {
        match store.commit(record(50_000)).await {
            Ok(_) => count += 1,
            Err(CommitError::Store(StoreError::Full)) => return count,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn verify(store: &SqliteStore, size: u64) {
    let head = store.head().await.unwrap();
    let mut tree = mandate_audit::Tree::new();
    for entry in store.entries(0, usize::MAX).await.unwrap().entries {
        tree.append(mandate_audit::leaf_hash(&entry), |_, _| {});
    }
    assert_eq!(
        (head.size, tree.size(), tree.root()),
        (size, size, head.root)
    );
}

#[tokio::test]
async fn a_full_disk_takes_suspensions_alone_and_recovers_without_help() {
    let Some(disk) = disk() else { return };
    let store = open(&store_on(&disk));
    store.commit(record(10)).await.unwrap();
    let filling = disk.fill();
    let mut size = 1 + commit_until_full(&store).await;
    for n in 0..20 {
        store.commit(suspend(n)).await.unwrap();
        size += 1;
        let refused = store.commit(record(10)).await;
        assert!(
            matches!(refused, Err(CommitError::Store(StoreError::Full))),
            "{n}: {refused:?}"
        );
    }
    verify(&store, size).await;
    drop(filling);
    store.commit(record(10)).await.unwrap();
    verify(&store, size + 1).await;
    assert!(
        store_on(&disk).join("reserve").exists(),
        "the reserve stands again"
    );
    store.close().await;
    let again = open(&store_on(&disk));
    assert_eq!(again.versions().await.unwrap().stops, StopVersion::new(20));
    verify(&again, size + 1).await;
}

#[tokio::test]
async fn a_store_that_filled_its_disk_opens_again_and_still_takes_a_suspension() {
    let Some(disk) = disk() else { return };
    let store = open(&store_on(&disk));
    let size = commit_until_full(&store).await;
    assert!(size > 10);
    drop(store.commit(suspend(1)).await.unwrap());
    store.close().await;
    drop(store);
    let again = open(&store_on(&disk));
    verify(&again, size + 1).await;
    again.commit(suspend(2)).await.unwrap();
}

#[tokio::test]
async fn a_read_only_disk_refuses_everything_and_recovers_without_help() {
    let Some(disk) = disk() else { return };
    let store = open(&store_on(&disk));
    store.commit(record(10)).await.unwrap();
    store.close().await;
    drop(store);
    disk.remount("ro");
    assert!(SqliteStore::open(&store_on(&disk), [7; 16], NOW).is_err());
    let log = LogFile::open_read_only(&store_on(&disk)).unwrap();
    assert_eq!(log.head().await.unwrap().size, 1, "the log can be verified");
    drop(log);
    disk.remount("rw");
    let store = open(&store_on(&disk));
    store.commit(record(10)).await.unwrap();
    verify(&store, 2).await;
}
