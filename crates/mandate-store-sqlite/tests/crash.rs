//! A store on a disk that loses what was not synced.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::path::Path;

use mandate_audit::{Decision, Event, What};
use mandate_model::Timestamp;
use mandate_ports::{LogReader, Unit, Writer};
use mandate_store_sqlite::SqliteStore;
use mandate_testkit::losing_disk::Fate;
use mandate_testkit::losing_disk::apart::{Disks, serve_if_asked};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, [7; 16], NOW).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_new_store_answered_is_there_after_a_crash() {
    // This test is also the process that serves the disk.
    if serve_if_asked() {
        return;
    }
    let disks = Disks::start("what_a_new_store_answered_is_there_after_a_crash");
    let Some(disk) = disks.mount(None, 1) else {
        return;
    };
    let store = open(&disk.path().join("data/store"));
    let what = What::Alarm {
        message: "the first record".to_owned(),
    };
    let unit = Unit {
        events: vec![Event::new(NOW, what, Decision::Noted)],
        ..Unit::default()
    };
    store.commit(unit).await.unwrap();
    for fate in [Fate::Lost, Fate::Torn { sector: 512 }] {
        let found = disk.after_crash(fate, 1);
        let again = disks.mount(Some(&found), 1).unwrap();
        let store = open(&again.path().join("data/store"));
        assert_eq!(store.head().await.unwrap().size, 1, "{fate:?}");
        store.close().await;
    }
}
