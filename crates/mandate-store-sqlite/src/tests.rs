//! What is SQLite's own: errors of the disk, the folder, what is left on disk.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use mandate_audit::{Decision, Event, What};
use mandate_model::stop::{Subject, Suspension};
use mandate_model::{KeyId, Principal, Secret, StopVersion, Timestamp};
use mandate_ports::{
    Change, CommitError, Committed, KeyPurpose, KeyRecord, KeyState, LogReader, StateReader,
    StoreError, Unit, Writer,
};

use crate::{LogFile, OpenError, SqliteStore, schema};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn open(folder: &Path) -> SqliteStore {
    SqliteStore::open(folder, [7; 16], NOW).unwrap()
}

fn record(message: String) -> Unit {
    let events = vec![Event::new(NOW, What::Alarm { message }, Decision::Noted)];
    Unit {
        events,
        ..Unit::default()
    }
}

/// A unit that needs many pages.
fn large() -> Unit {
    record("x".repeat(60_000))
}

fn suspend() -> Unit {
    let suspension = Suspension {
        subject: Subject::Everything,
        reason: "INC-1".to_owned(),
        operator: Principal::parse("operator:root").unwrap(),
        version: StopVersion::new(0),
        at: NOW,
    };
    Unit {
        changes: vec![Change::Suspend(suspension)],
        ..record("suspended".to_owned())
    }
}

fn full(answer: Result<Committed, CommitError>) -> bool {
    matches!(answer, Err(CommitError::Store(StoreError::Full)))
}

async fn pragma(store: &SqliteStore, sql: &'static str) {
    store.run(move |db| db.execute_batch(sql).unwrap()).await;
}

async fn is_whole(store: &SqliteStore) {
    let head = store.head().await.unwrap();
    let mut tree = mandate_audit::Tree::new();
    for entry in store.entries(0, usize::MAX).await.unwrap().entries {
        tree.append(mandate_audit::leaf_hash(&entry), |_, _| {});
    }
    assert_eq!((tree.size(), tree.root()), (head.size, head.root));
}

#[tokio::test]
async fn a_full_database_refuses_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store"));
    store.commit(record("before".to_owned())).await.unwrap();
    // SQLite never sets it below the size that there is: no page more.
    pragma(&store, "PRAGMA max_page_count = 1").await;
    let mut refused = 0;
    for _ in 0..5 {
        refused += u32::from(full(store.commit(large()).await));
    }
    assert!(refused >= 4, "at most the free pages of one were left");
    let size = store.head().await.unwrap().size;
    pragma(&store, "PRAGMA max_page_count = 1000000").await;
    store.commit(large()).await.unwrap();
    assert_eq!(store.head().await.unwrap().size, size + 1);
    is_whole(&store).await;
}

#[tokio::test]
async fn one_unit_that_does_not_fit_takes_no_other_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store"));
    pragma(&store, "PRAGMA max_page_count = 1").await;
    while store.commit(large()).await.is_ok() {}
    let (small, big, other) = tokio::join!(
        store.commit(record("small".to_owned())),
        store.commit(large()),
        store.commit(record("other".to_owned())),
    );
    assert!(full(big));
    assert!(small.is_ok() && other.is_ok(), "{small:?} {other:?}");
    is_whole(&store).await;
}

#[tokio::test]
async fn a_store_that_cannot_be_written_refuses_and_recovers_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store"));
    let before = store.commit(record("before".to_owned())).await.unwrap();
    pragma(&store, "PRAGMA query_only = ON").await;
    let refused = store.commit(record("refused".to_owned())).await;
    assert!(
        matches!(refused, Err(CommitError::Store(StoreError::Unavailable(_)))),
        "{refused:?}"
    );
    let after = store.commit(record("after".to_owned())).await.unwrap();
    let index = |committed: &Committed| committed.receipts.first().unwrap().index;
    assert_eq!(index(&after), index(&before) + 1);
    is_whole(&store).await;
}

#[tokio::test]
async fn a_second_server_is_kept_out_until_the_first_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path);
    let second = SqliteStore::open(&path, [8; 16], NOW);
    assert!(matches!(second, Err(OpenError::Locked(_))), "{second:?}");
    store.close().await;
    let late = store.commit(record("late".to_owned())).await;
    assert!(matches!(
        late,
        Err(CommitError::Store(StoreError::Unavailable(_)))
    ));
    let again = open(&path);
    let same = again.versions().await.unwrap().epoch;
    assert_eq!(
        same,
        store.versions().await.unwrap().epoch,
        "the epoch is from the first day"
    );
}

#[tokio::test]
async fn a_folder_or_file_that_others_may_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    open(&path).close().await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(&path), mode(&path.join("mandate.db"))),
        (0o700, 0o600)
    );
    for (exposed, bad, good) in [
        (path.clone(), 0o750, 0o700),
        (path.join("mandate.db"), 0o604, 0o600),
    ] {
        std::fs::set_permissions(&exposed, Permissions::from_mode(bad)).unwrap();
        let refused = SqliteStore::open(&path, [7; 16], NOW);
        assert!(
            matches!(&refused, Err(OpenError::Exposed { mode, .. }) if *mode == bad),
            "{refused:?}"
        );
        std::fs::set_permissions(&exposed, Permissions::from_mode(good)).unwrap();
        open(&path).close().await;
    }
}

#[tokio::test]
async fn another_release_s_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path);
    pragma(&store, "PRAGMA user_version = 99").await;
    store.close().await;
    let refused = SqliteStore::open(&path, [7; 16], NOW);
    assert!(
        matches!(refused, Err(OpenError::Schema { found: 99, .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_log_is_read_beside_a_server_and_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path);
    store.commit(record("one".to_owned())).await.unwrap();
    let log = LogFile::open_read_only(&path).unwrap();
    assert_eq!(log.head().await.unwrap(), store.head().await.unwrap());
    store.commit(record("two".to_owned())).await.unwrap();
    assert_eq!(log.head().await.unwrap().size, 2);
    store.close().await;
    drop((store, log));
    let log = LogFile::open_read_only(&path.join("mandate.db")).unwrap();
    assert_eq!(log.entries(0, 9).await.unwrap().entries.len(), 2);
}

/// Whether any file of `folder` has `needle` in it.
fn on_disk(folder: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|file| {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}

const PRIVATE: &[u8] = b"the private part of a key, in truth PKCS#8";

/// Adds key `k1`.
async fn add_key(store: &SqliteStore, purpose: KeyPurpose) {
    let key = KeyRecord {
        id: KeyId::parse("k1").unwrap(),
        purpose,
        state: KeyState::Announced,
        since: NOW,
        pkcs8: Secret::new(PRIVATE.to_vec()),
        public: vec![4; 65],
    };
    store
        .commit(Unit {
            changes: vec![Change::AddKey(key)],
            ..Unit::default()
        })
        .await
        .unwrap();
}

async fn move_key(store: &SqliteStore, state: KeyState) {
    let change = Change::SetKeyState {
        key: KeyId::parse("k1").unwrap(),
        state,
        since: NOW,
    };
    store
        .commit(Unit {
            changes: vec![change],
            ..Unit::default()
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_retired_key_s_private_part_is_nowhere_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path);
    add_key(&store, KeyPurpose::Oauth).await;
    assert!(on_disk(&path, PRIVATE));
    move_key(&store, KeyState::Verifying).await;
    assert!(on_disk(&path, PRIVATE));
    move_key(&store, KeyState::Retired).await;
    store.close().await;
    assert!(!on_disk(&path, PRIVATE));
}

#[tokio::test]
async fn a_key_of_the_log_that_signs_no_more_is_kept_without_its_private_part() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path);
    add_key(&store, KeyPurpose::Log).await;
    move_key(&store, KeyState::Signing).await;
    assert!(on_disk(&path, PRIVATE));
    move_key(&store, KeyState::Verifying).await;
    let keys = store.keys().await.unwrap();
    assert_eq!((keys.len(), keys[0].public.len()), (1, 65));
    store.close().await;
    assert!(!on_disk(&path, PRIVATE));
}

#[tokio::test]
async fn a_reader_that_takes_long_keeps_no_commit_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path);
    add_key(&store, KeyPurpose::Oauth).await;
    let reader = rusqlite::Connection::open(path.join("mandate.db")).unwrap();
    let reading = reader.unchecked_transaction().unwrap();
    let records: i64 = reading
        .query_row("SELECT count(*) FROM log", [], |row| row.get(0))
        .unwrap();
    move_key(&store, KeyState::Retired).await;
    // Each commit after the first waited for the reader: two seconds.
    let commits = async {
        for n in 0..20 {
            store.commit(record(n.to_string())).await.unwrap();
        }
    };
    let limit = schema::BUSY * 10;
    tokio::time::timeout(limit, commits).await.unwrap();
    assert!(on_disk(&path, PRIVATE), "the reader is still in its moment");
    assert_eq!(records, 0);
    reading.commit().unwrap();
    let mut more = 0;
    while on_disk(&path, PRIVATE) {
        store.commit(record("more".to_owned())).await.unwrap();
        more += 1;
        assert!(more < 200, "it is tried again");
    }
}

#[tokio::test]
async fn an_unknown_sender_gone_is_no_reason_not_to_commit() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store"));
    let cloned = store.clone();
    let asked = tokio::spawn(async move { cloned.commit(record("asked".to_owned())).await });
    asked.await.unwrap().unwrap();
    store.commit(suspend()).await.unwrap();
    assert_eq!(store.head().await.unwrap().size, 2);
}

#[tokio::test]
async fn whoever_reads_the_log_keeps_no_reading_of_the_state_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store"));
    let mut ends = Vec::new();
    let mut readers = Vec::new();
    for _ in 0..8 {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let log = store.log();
        let read = async move { log.read(move |_| Ok(ended.recv().is_ok())).await };
        readers.push(tokio::spawn(read));
        ends.push(end);
    }
    // On one worker: each reader has begun, or waits for a connection of the log.
    tokio::task::yield_now().await;
    let limit = std::time::Duration::from_secs(60);
    let keys = tokio::time::timeout(limit, store.keys()).await;
    assert_eq!(keys.unwrap().unwrap().len(), 0);
    drop(ends);
    for reader in readers {
        assert!(!reader.await.unwrap().unwrap());
    }
}
