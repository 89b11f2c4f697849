//! One changed byte on disk, and which record it is.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

use std::path::Path;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use mandate_audit::{
    Checkpoint, Decision, Event, Fault, NodeId, NoteKey, RowFault, SpoolChain, SpoolKey, Verdict,
    VerifiedCheckpoint, What,
};
use mandate_model::stop::{Subject, Suspension};
use mandate_model::task::TaskPath;
use mandate_model::{GatewayId, KeyId, Principal, Secret, StopVersion, TaskId, Timestamp};
use mandate_ports::{
    Change, CheckpointStore, GatewayRecord, KeyPurpose, KeyRecord, KeyState, LogReader,
    ShippedRecord, SpoolHead, Unit, Writer,
};
use mandate_store_sqlite::{LogFile, SqliteStore, Verification};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn key() -> (Ed25519KeyPair, NoteKey) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
    let public = pair.public_key().as_ref().try_into().unwrap();
    (pair, NoteKey::new("acme.example/log", public).unwrap())
}

/// A closed store of three records of tasks, the first of them a denial.
async fn of_tasks(folder: &Path) {
    let store = SqliteStore::open(folder, [7; 16], NOW).unwrap();
    for n in 0..3u8 {
        let task = TaskId::new(NOW, [n; 10]);
        let what = What::AccessDecided {
            request: format!("GET /{n}"),
        };
        let decision = [Decision::Denied, Decision::Allowed][usize::from(n.min(1))];
        let event = Event {
            task: Some(TaskPath::root_of(task)),
            ..Event::new(NOW, what, decision)
        };
        let events = vec![event];
        store
            .commit(Unit {
                events,
                ..Unit::default()
            })
            .await
            .unwrap();
    }
    sign(&store).await;
    store.close().await;
}

async fn sign(store: &SqliteStore) -> VerifiedCheckpoint {
    let (pair, key) = key();
    let head = store.head().await.unwrap();
    let checkpoint = Checkpoint::new(key.name(), head.size, head.root).unwrap();
    let signature = pair.sign(checkpoint.text().as_bytes());
    let note = checkpoint
        .sign(&key, signature.as_ref().try_into().unwrap())
        .unwrap();
    store.keep_checkpoint(note.clone()).await.unwrap();
    Checkpoint::open(&note, &key).unwrap()
}

async fn fill(store: &SqliteStore, from: u64, to: u64) {
    for n in from..to {
        let what = What::Alarm {
            message: format!("this is number {n:03}"),
        };
        let events = vec![Event::new(NOW, what, Decision::Noted)];
        store
            .commit(Unit {
                events,
                ..Unit::default()
            })
            .await
            .unwrap();
    }
}

async fn verify(folder: &Path) -> Verification {
    let log = LogFile::open_read_only(folder).unwrap();
    log.verify(vec![key().1], None, |_, _| {}).await.unwrap()
}

/// Changes `old` to `new`, of the same length, in the bytes of the database file.
fn patch(folder: &Path, old: &str, new: &str) {
    let path = folder.join("mandate.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let places: Vec<_> = (0..bytes.len() - old.len())
        .filter(|at| bytes[*at..].starts_with(old.as_bytes()))
        .collect();
    assert_eq!(places.len(), 1, "the text is in the file once");
    bytes[places[0]..places[0] + new.len()].copy_from_slice(new.as_bytes());
    std::fs::write(&path, bytes).unwrap();
}

fn sql(folder: &Path, sql: &str) {
    let db = rusqlite::Connection::open(folder.join("mandate.db")).unwrap();
    assert_eq!(db.execute(sql, []).unwrap(), 1, "{sql}");
}

/// A closed store of forty records, with checkpoints at 16 and 40.
async fn closed(folder: &Path) {
    let store = SqliteStore::open(folder, [7; 16], NOW).unwrap();
    fill(&store, 0, 16).await;
    sign(&store).await;
    fill(&store, 16, 40).await;
    sign(&store).await;
    store.close().await;
}

#[tokio::test]
async fn a_log_that_nobody_touched_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    closed(&path).await;
    let found = verify(&path).await;
    assert!(found.is_whole(), "{found:?}");
    assert_eq!((found.report.size, found.report.confirmed), (40, 40));
    let note = found.checkpoint.unwrap();
    assert_eq!(Checkpoint::open(&note, &key().1).unwrap().size(), 40);
}

#[tokio::test]
async fn one_changed_byte_on_disk_names_its_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    closed(&path).await;
    patch(&path, "this is number 027", "this is number 028");
    let found = verify(&path).await.report;
    assert_eq!(
        found.faults,
        [
            Fault::Changed { index: 27 },
            Fault::Root {
                first: 16,
                last: 39
            }
        ]
    );
    assert_eq!(
        found.confirmed, 16,
        "what an earlier checkpoint confirms is not in doubt"
    );
}

#[tokio::test]
async fn deleted_records_nodes_and_checkpoints_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    closed(&path).await;
    sql(&path, "DELETE FROM log WHERE first = 5");
    // Record 19 completed its leaf, node 9 of level 1, and node 4 of level 2.
    sql(
        &path,
        "UPDATE node SET hashes = CAST(substr(hashes, 1, 32) || zeroblob(32) || substr(hashes, 65) AS BLOB)
         WHERE first = 19",
    );
    sql(
        &path,
        "UPDATE checkpoint SET note = replace(note, 'acme', 'evil') WHERE size = 40",
    );
    let found = verify(&path).await.report;
    assert_eq!(found.faults[0], Fault::Missing { first: 5, last: 5 });
    assert_eq!(
        found.faults[1],
        Fault::StoredNode(NodeId { level: 1, index: 9 })
    );
    assert!(matches!(found.faults[2], Fault::Checkpoint(_)));
    assert_eq!(found.faults.len(), 3);
}

#[tokio::test]
async fn a_log_that_was_cut_off_and_signed_anew_fails_against_a_checkpoint_kept_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let (real, forged) = (folder.path().join("real"), folder.path().join("forged"));
    let store = SqliteStore::open(&real, [7; 16], NOW).unwrap();
    fill(&store, 0, 20).await;
    let kept = sign(&store).await;
    store.close().await;
    let store = SqliteStore::open(&forged, [7; 16], NOW).unwrap();
    fill(&store, 0, 10).await;
    fill(&store, 50, 70).await;
    sign(&store).await;
    assert!(
        store
            .log()
            .verify(vec![key().1], None, |_, _| {})
            .await
            .unwrap()
            .is_whole()
    );
    let found = store
        .log()
        .verify(vec![key().1], Some(kept), |_, _| {})
        .await
        .unwrap();
    assert!(
        found
            .report
            .faults
            .contains(&Fault::Root { first: 0, last: 19 }),
        "{found:?}"
    );
}

fn shipped(count: u64) -> Vec<ShippedRecord> {
    let mut chain = SpoolChain::ORIGIN;
    let record = |seq| {
        let gateway = GatewayId::parse("g1").unwrap();
        let key = SpoolKey {
            gateway,
            spool: "s1".to_owned(),
            seq,
        };
        let what = What::AccessDecided {
            request: format!("GET /{seq}"),
        };
        let spool = Some(key.clone());
        let event = Event {
            spool,
            ..Event::new(NOW, what, Decision::Allowed)
        }
        .canonical()
        .unwrap();
        chain = chain.after(&event);
        ShippedRecord {
            key,
            event,
            chain: chain.to_string(),
        }
    };
    (0..count).map(record).collect()
}

#[tokio::test]
async fn records_announced_and_never_shipped_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = SqliteStore::open(&path, [7; 16], NOW).unwrap();
    let records = shipped(5);
    let head = SpoolHead {
        spool: "s1".to_owned(),
        next: 5,
        chain: records[4].chain.clone(),
    };
    let gateway = GatewayRecord {
        id: GatewayId::parse("g1").unwrap(),
        lease_ms: 15_000,
        at: NOW,
        stops: StopVersion::new(0),
        head,
    };
    let changes = vec![
        Change::RenewGateway(gateway),
        Change::Ingest(records[..3].to_vec()),
    ];
    store
        .commit(Unit {
            changes,
            ..Unit::default()
        })
        .await
        .unwrap();
    let found = store
        .log()
        .verify(vec![key().1], None, |_, _| {})
        .await
        .unwrap();
    assert!(found.is_whole(), "{found:?}");
    let [withheld] = found.withheld.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(
        (
            withheld.spool.as_str(),
            withheld.shipped,
            withheld.announced
        ),
        ("s1", 3, 5)
    );
    store.close().await;
    drop(store);
    sql(&path, "UPDATE spool SET next = 2 WHERE name = 's1'");
    let found = verify(&path).await;
    assert_eq!(found.spools.len(), 1);
    assert_eq!(found.spools[0].seq, 2);
}

#[tokio::test]
async fn a_record_that_searches_would_miss_is_named() {
    for (change, index) in [
        (
            "UPDATE found_by SET value = CAST('allowed' AS BLOB) WHERE sort = 6 AND first = 0",
            0,
        ),
        ("UPDATE log SET earliest = earliest + 1 WHERE first = 1", 1),
        ("UPDATE log SET latest = latest - 1 WHERE first = 1", 1),
        (
            "UPDATE found_by SET value = CAST('alarm' AS BLOB) WHERE sort = 5 AND first = 1",
            1,
        ),
        ("DELETE FROM found_by WHERE sort = 1 AND first = 2", 2),
        (
            "UPDATE found_by SET first = 1 WHERE sort = 1 AND first = 2",
            2,
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        of_tasks(&path).await;
        assert!(verify(&path).await.is_whole());
        sql(&path, change);
        let found = verify(&path).await;
        assert_eq!(found.report.faults, [Fault::Index { index }], "{change}");
        assert!(!found.is_whole());
    }
    for change in [
        "INSERT INTO found_by SELECT sort, value, 1 FROM found_by WHERE sort = 1 AND first = 2",
        "INSERT INTO found_by VALUES (2, CAST('spiffe://a/agent/x' AS BLOB), 1)",
        "INSERT INTO found_by VALUES (4, x'00', 1)",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        of_tasks(&path).await;
        sql(&path, change);
        let found = verify(&path).await.report.faults;
        let rows = Fault::Rows {
            found: 10,
            expected: 9,
        };
        assert_eq!(found, [rows], "{change}");
    }
}

/// A closed store of 300 records of one shipment, each of a task of its own.
async fn of_lots(folder: &Path) {
    let store = SqliteStore::open(folder, [7; 16], NOW).unwrap();
    let changes = vec![Change::Ingest(shipped(300))];
    let unit = Unit {
        changes,
        ..Unit::default()
    };
    assert_eq!(store.commit(unit).await.unwrap().ingested.added, 300);
    sign(&store).await;
    store.close().await;
}

#[tokio::test]
async fn a_changed_record_among_many_of_a_row_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    of_lots(&path).await;
    assert!(verify(&path).await.is_whole());
    patch(&path, "GET /137\"", "GET /731\"");
    let found = verify(&path).await;
    assert_eq!(found.report.faults[0], Fault::Changed { index: 137 });
}

#[tokio::test]
async fn a_row_that_counts_its_records_wrongly_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    of_lots(&path).await;
    sql(&path, "UPDATE log SET count = count + 2 WHERE first = 128");
    let found = verify(&path).await;
    let fault = RowFault::Count {
        said: 130,
        held: 128,
    };
    assert_eq!(found.report.faults, [Fault::Row { first: 128, fault }]);
}

#[tokio::test]
async fn a_row_that_is_lost_loses_its_records_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    of_lots(&path).await;
    sql(&path, "DELETE FROM log WHERE first = 128");
    let found = verify(&path).await;
    let missing = Fault::Missing {
        first: 128,
        last: 255,
    };
    assert_eq!(found.report.faults, [missing]);
}

#[tokio::test]
async fn a_head_that_is_not_the_records_is_named_and_its_size_is_not_believed() {
    for (change, fault) in [
        ("UPDATE meta SET log_root = zeroblob(32)", Fault::Head),
        (
            "UPDATE meta SET log_size = 1099511627776",
            Fault::Missing {
                first: 40,
                last: (1 << 40) - 1,
            },
        ),
        (
            "UPDATE meta SET log_size = -1",
            Fault::Missing {
                first: 40,
                last: u64::MAX - 1,
            },
        ),
        (
            "INSERT INTO log SELECT 40, count, earliest, latest, entries FROM log WHERE first = 3",
            Fault::Beyond { count: 1 },
        ),
        (
            "INSERT INTO log SELECT -1, count, earliest, latest, entries FROM log WHERE first = 3",
            Fault::Beyond { count: 1 },
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        closed(&path).await;
        sql(&path, change);
        let found = verify(&path).await.report;
        assert!(
            found.faults.contains(&fault),
            "{change}: {:?}",
            found.faults
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    closed(&path).await;
    sql(&path, "UPDATE meta SET log_size = 39");
    let found = verify(&path).await.report;
    assert!(
        found.faults.contains(&Fault::Beyond { count: 1 }),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_key_of_the_log_that_is_suspended_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = SqliteStore::open(&path, [7; 16], NOW).unwrap();
    for (name, purpose) in [("log-1", KeyPurpose::Log), ("oauth-1", KeyPurpose::Oauth)] {
        let id = KeyId::parse(name).unwrap();
        let key = KeyRecord {
            id: id.clone(),
            purpose,
            state: KeyState::Signing,
            since: NOW,
            pkcs8: Secret::new(vec![7; 100]),
            public: vec![4; 65],
        };
        let suspension = Suspension {
            subject: Subject::Key { id },
            reason: "INC-1".to_owned(),
            operator: Principal::parse("operator:root").unwrap(),
            version: StopVersion::new(0),
            at: NOW,
        };
        let changes = vec![Change::AddKey(key), Change::Suspend(suspension)];
        let unit = Unit {
            changes,
            ..Unit::default()
        };
        store.commit(unit).await.unwrap();
    }
    let found = store
        .log()
        .verify(vec![key().1], None, |_, _| {})
        .await
        .unwrap();
    assert_eq!(found.suspended, [KeyId::parse("log-1").unwrap()]);
    assert!(found.is_whole(), "{found:?}");
}

/// Makes the key that signs checkpoints here the store's, and suspends it.
async fn suspend_the_key(store: &SqliteStore) {
    let id = KeyId::parse("log-1").unwrap();
    let key = KeyRecord {
        id: id.clone(),
        purpose: KeyPurpose::Log,
        state: KeyState::Signing,
        since: NOW,
        pkcs8: Secret::new(vec![7; 100]),
        public: key().1.public().to_vec(),
    };
    let suspension = Suspension {
        subject: Subject::Key { id },
        reason: "INC-1".to_owned(),
        operator: Principal::parse("operator:root").unwrap(),
        version: StopVersion::new(0),
        at: NOW,
    };
    let unit = Unit {
        changes: vec![Change::AddKey(key), Change::Suspend(suspension)],
        ..Unit::default()
    };
    store.commit(unit).await.unwrap();
}

#[tokio::test]
async fn what_a_suspended_key_signed_confirms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("store"), [7; 16], NOW).unwrap();
    fill(&store, 0, 20).await;
    let kept = sign(&store).await;
    let log = store.log();
    let verify = |since| log.verify(vec![key().1], since, |_, _| {});
    let before = verify(Some(kept.clone())).await.unwrap();
    assert_eq!(
        (before.report.confirmed, before.since_is_suspended),
        (20, false)
    );

    suspend_the_key(&store).await;
    let found = verify(Some(kept)).await.unwrap();
    assert!(found.is_whole(), "{found:?}");
    assert_eq!(
        (found.report.confirmed, found.since_is_suspended),
        (0, true)
    );
    assert_eq!(found.report.since.unwrap().verdict, Verdict::Consistent);
    assert_eq!(found.checkpoint, None, "nobody should keep it");

    // It is compared all the same: a log that it does not fit was changed.
    let root = [9; 32];
    let (pair, key) = key();
    let other = Checkpoint::new(key.name(), 20, root).unwrap();
    let signature = pair.sign(other.text().as_bytes());
    let note = other.sign(&key, signature.as_ref().try_into().unwrap());
    let other = Checkpoint::open(&note.unwrap(), &key).unwrap();
    let found = verify(Some(other)).await.unwrap();
    assert_eq!(found.report.since.unwrap().verdict, Verdict::Forked);
    assert!(!found.is_whole());
}

#[tokio::test]
async fn a_log_that_grows_while_it_is_verified_is_whole_and_no_file_of_it_has_to_grow() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = std::sync::Arc::new(SqliteStore::open(&path, [7; 16], NOW).unwrap());
    let what = What::Alarm {
        message: "one of many".to_owned(),
    };
    let events = vec![Event::new(NOW, what, Decision::Noted); 2_500];
    let many = Unit {
        events,
        ..Unit::default()
    };
    store.commit(many).await.unwrap();
    sign(&store).await;
    let (tell, told) = std::sync::mpsc::channel();
    let (server, runtime) = (store.clone(), tokio::runtime::Handle::current());
    let progress = move |done, _| {
        runtime.block_on(fill(&server, done, done + 5));
        // SQLite says 1 where a reader still needs what the write-ahead log has.
        let db = rusqlite::Connection::open(path.join("mandate.db")).unwrap();
        let busy = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
        let busy: i64 = busy.unwrap();
        tell.send(busy).unwrap();
    };
    let found = store.log().verify(vec![key().1], None, progress).await;
    let found = found.unwrap();
    assert!(found.is_whole(), "{found:?}");
    assert_eq!((found.report.size, found.report.confirmed), (2_500, 2_500));
    assert_eq!(told.iter().collect::<Vec<i64>>(), [0; 4]);
    assert_eq!(store.head().await.unwrap().size, 2_520);
}

#[tokio::test]
async fn verifying_tells_now_and_then_how_far_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("store"), [7; 16], NOW).unwrap();
    let what = What::Alarm {
        message: "one of many".to_owned(),
    };
    let events = vec![Event::new(NOW, what, Decision::Noted); 2_500];
    let many = Unit {
        events,
        ..Unit::default()
    };
    store.commit(many).await.unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let progress = move |done, all| tell.send((done, all)).unwrap();
    let verified = store.log().verify(vec![key().1], None, progress).await;
    assert_eq!(verified.unwrap().report.size, 2_500);
    let told: Vec<(u64, u64)> = told.iter().collect();
    assert_eq!(
        told,
        [0, 1_024, 2_048, 2_500].map(|done| (done, 2_500)).to_vec()
    );
}
