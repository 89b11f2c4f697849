//! Whoever writes the database puts a record where the tree has none: verification names it, and no
//! search, export or proof ever shows it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

use std::path::Path;

use mandate_audit::{
    Decision, Event, Fault, RowFault, SpoolChain, SpoolKey, What, leaf_hash, node_hash,
};
use mandate_model::task::TaskPath;
use mandate_model::{GatewayId, TaskId, Timestamp};
use mandate_ports::{Change, LogReader, Search, ShippedRecord, StoreError, Unit, Writer};
use mandate_store_sqlite::{LogFile, SqliteStore};
use rusqlite::{Connection, params};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn task() -> TaskId {
    TaskId::new(NOW, [1; 10])
}

fn event(request: String, spool: Option<SpoolKey>) -> Vec<u8> {
    let what = What::AccessDecided { request };
    let event = Event {
        spool,
        task: Some(TaskPath::root_of(task())),
        ..Event::new(NOW, what, Decision::Allowed)
    };
    event.canonical().unwrap()
}

fn shipped(count: u64) -> Vec<ShippedRecord> {
    let mut chain = SpoolChain::ORIGIN;
    let record = |seq| {
        let key = SpoolKey {
            gateway: GatewayId::parse("g1").unwrap(),
            spool: "s1".to_owned(),
            seq,
        };
        let event = event(format!("GET /{seq}"), Some(key.clone()));
        chain = chain.after(&event);
        ShippedRecord {
            key,
            event,
            chain: chain.to_string(),
        }
    };
    (0..count).map(record).collect()
}

/// A closed store of 300 records in rows of 128, 128 and 44; and the records.
async fn of_rows(folder: &Path) -> Vec<Vec<u8>> {
    let store = SqliteStore::open(folder, [7; 16], NOW).unwrap();
    let unit = Unit {
        changes: vec![Change::Ingest(shipped(300))],
        ..Unit::default()
    };
    assert_eq!(store.commit(unit).await.unwrap().ingested.added, 300);
    let entries = store.entries(0, 1_000).await.unwrap().entries;
    store.close().await;
    assert_eq!(entries.len(), 300);
    entries
}

/// One record as a row's bytes.
fn row_of(entry: &[u8]) -> Vec<u8> {
    let length = u32::try_from(entry.len()).unwrap();
    [&length.to_le_bytes()[..], entry].concat()
}

fn forged() -> Vec<u8> {
    row_of(&event("GET /forged".to_owned(), None))
}

fn append(db: &Connection, first: i64, bytes: &[u8], more: i64) {
    db.execute(
        "UPDATE log SET entries = CAST(entries || ?2 AS BLOB), count = count + ?3 WHERE first = ?1",
        params![first, bytes, more],
    )
    .unwrap();
}

fn insert(db: &Connection, first: i64, count: i64, bytes: &[u8]) {
    let at = i64::try_from(NOW.as_millis()).unwrap();
    db.execute(
        "INSERT INTO log (first, count, earliest, latest, entries) VALUES (?1, ?2, ?3, ?3, ?4)",
        params![first, count, at, bytes],
    )
    .unwrap();
    // Whatever finds the row that it is put into finds this one too.
    db.execute(
        "INSERT OR IGNORE INTO found_by SELECT sort, value, ?1 FROM found_by WHERE first = 0",
        [first],
    )
    .unwrap();
}

fn bytes(db: &Connection, first: i64) -> Vec<u8> {
    let one = "SELECT entries FROM log WHERE first = ?1";
    db.query_row(one, [first], |row| row.get(0)).unwrap()
}

fn set(db: &Connection, first: i64, bytes: &[u8]) {
    db.execute(
        "UPDATE log SET entries = ?2 WHERE first = ?1",
        params![first, bytes],
    )
    .unwrap();
}

type Tamper = fn(&Connection);

/// A way to write what the tree has not into the database, and what verification says to it.
type Way = (&'static str, Tamper, Fault);

fn row(first: u64, fault: RowFault) -> Fault {
    Fault::Row { first, fault }
}

fn overlap(held: u64, room: u64) -> RowFault {
    RowFault::Overlap { held, room }
}

fn ways() -> Vec<Way> {
    [more_in_a_row(), more_rows(), others_in_their_place()].concat()
}

fn more_in_a_row() -> Vec<Way> {
    vec![
        (
            "appended to a row",
            |db| append(db, 0, &forged(), 0),
            row(
                0,
                RowFault::Count {
                    said: 128,
                    held: 129,
                },
            ),
        ),
        (
            "appended and counted",
            |db| append(db, 0, &forged(), 1),
            row(0, overlap(129, 128)),
        ),
        (
            "appended to the last row",
            |db| append(db, 256, &forged(), 1),
            row(256, overlap(45, 44)),
        ),
        (
            "a count that shrank",
            |db| append(db, 128, b"", -1),
            row(
                128,
                RowFault::Count {
                    said: 127,
                    held: 128,
                },
            ),
        ),
        (
            "a count below nothing",
            |db| append(db, 128, b"", -129),
            row(
                128,
                RowFault::Count {
                    said: -1,
                    held: 128,
                },
            ),
        ),
        (
            "a row's records twice",
            |db| append(db, 0, &bytes(db, 0), 128),
            row(0, overlap(256, 128)),
        ),
        (
            "bytes left over",
            |db| append(db, 128, b"\x01", 0),
            row(128, RowFault::Leftover),
        ),
        (
            "half a record left over",
            |db| append(db, 256, &forged()[..40], 1),
            row(256, RowFault::Leftover),
        ),
    ]
}

fn more_rows() -> Vec<Way> {
    vec![
        (
            "a row put between",
            |db| insert(db, 5, 1, &forged()),
            row(0, overlap(128, 5)),
        ),
        (
            "a row put between, with its hash",
            |db| {
                insert(db, 5, 1, &forged());
                // Record 5 completes its leaf and the node above it.
                let leaf = leaf_hash(&event("GET /forged".to_owned(), None));
                let hashes = [leaf, node_hash(&[0; 32], &leaf)].concat();
                db.execute("INSERT INTO node VALUES (5, ?1)", [hashes])
                    .unwrap();
            },
            row(0, overlap(128, 5)),
        ),
        (
            "a row without records put between",
            |db| insert(db, 5, 0, b""),
            row(5, RowFault::Empty),
        ),
        (
            "a row behind the end",
            |db| insert(db, 300, 1, &forged()),
            Fault::Beyond { count: 1 },
        ),
        (
            "a row far behind the end",
            |db| insert(db, i64::MAX, 1, &forged()),
            Fault::Beyond { count: 1 },
        ),
        (
            "a row before the first",
            |db| insert(db, -1, 1, &forged()),
            Fault::Beyond { count: 1 },
        ),
        (
            "a row a second time behind the end",
            |db| insert(db, 300, 128, &bytes(db, 0)),
            Fault::Beyond { count: 128 },
        ),
    ]
}

fn others_in_their_place() -> Vec<Way> {
    vec![
        (
            "two rows swapped",
            |db| {
                let (one, other) = (bytes(db, 0), bytes(db, 128));
                set(db, 0, &other);
                set(db, 128, &one);
            },
            Fault::Changed { index: 0 },
        ),
        (
            "two records of a row swapped",
            |db| {
                let entries = bytes(db, 0);
                let length = |at: usize| {
                    let length = entries[at..at + 4].try_into().unwrap();
                    4 + u32::from_le_bytes(length) as usize
                };
                let first = length(0);
                let second = length(first);
                let (one, rest) = entries.split_at(first);
                let (two, rest) = rest.split_at(second);
                set(db, 0, &[two, one, rest].concat());
            },
            Fault::Changed { index: 0 },
        ),
        (
            "a row's last record taken away",
            |db| {
                let entries = bytes(db, 0);
                let last = row_of(&event(
                    "GET /127".to_owned(),
                    Some(SpoolKey {
                        gateway: GatewayId::parse("g1").unwrap(),
                        spool: "s1".to_owned(),
                        seq: 127,
                    }),
                ));
                set(db, 0, entries.strip_suffix(&last[..]).unwrap());
                append(db, 0, b"", -1);
            },
            Fault::Missing {
                first: 127,
                last: 127,
            },
        ),
        (
            "the first row moved",
            |db| {
                db.execute("UPDATE log SET first = 1 WHERE first = 0", [])
                    .unwrap();
            },
            Fault::Missing { first: 0, last: 0 },
        ),
        (
            "a record in another's place",
            |db| {
                let mut entries = forged();
                entries.extend_from_slice(&forged());
                set(db, 256, &entries);
                append(db, 256, b"", 2 - 44);
            },
            Fault::Changed { index: 256 },
        ),
        (
            "a row that is no record at all",
            |db| set(db, 256, &row_of(b"\xff").repeat(44)),
            Fault::Changed { index: 299 },
        ),
    ]
}

fn searches() -> Vec<Search> {
    let all = Search {
        limit: 1_000,
        ..Search::default()
    };
    vec![
        all.clone(),
        Search {
            root_task: Some(task()),
            ..all.clone()
        },
        Search {
            kind: Some("access_decided".to_owned()),
            ..all.clone()
        },
        Search {
            since: Some(NOW),
            before: Some(u64::MAX),
            ..all
        },
    ]
}

#[tokio::test]
async fn whatever_is_put_beside_the_records_is_named_and_never_shown() {
    for (way, tamper, fault) in ways() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let committed = of_rows(&path).await;
        let log = LogFile::open_read_only(&path).unwrap();
        let whole = log.verify(Vec::new(), None, |_, _| {}).await.unwrap();
        assert!(whole.is_whole(), "{way}: {whole:?}");
        for search in searches() {
            let found = log.search(&search).await.unwrap();
            assert_eq!((found.records.len(), found.damaged.len()), (300, 0));
        }
        let db = Connection::open(path.join("mandate.db")).unwrap();
        tamper(&db);
        drop(db);

        let found = log.verify(Vec::new(), None, |_, _| {}).await.unwrap();
        assert!(!found.is_whole(), "{way}");
        assert!(
            found.report.faults.contains(&fault),
            "{way}: {:?}",
            found.report.faults
        );
        for search in searches() {
            let found = log.search(&search).await.unwrap();
            for (index, bytes) in &found.records {
                let index = usize::try_from(*index).unwrap();
                assert_eq!(committed.get(index), Some(bytes), "{way}: {search:?}");
            }
            // What is gone leaves nothing behind that a search could meet.
            let gone = matches!(fault, Fault::Missing { .. });
            let told = found.records.len() == 300 || !found.damaged.is_empty();
            assert!(gone || told, "{way}: {search:?}");
        }
        match log.entries(0, 1_000).await {
            Ok(range) => assert_eq!(range.entries, committed, "{way}"),
            Err(StoreError::Damaged(why)) => assert!(why.contains("audit verify"), "{way}: {why}"),
            Err(why) => panic!("{way}: {why}"),
        }
    }
}

#[tokio::test]
async fn a_row_that_is_gone_is_missed_by_searches_that_meet_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    of_rows(&path).await;
    let db = Connection::open(path.join("mandate.db")).unwrap();
    db.execute("DELETE FROM log WHERE first = 128", []).unwrap();
    drop(db);
    let log = LogFile::open_read_only(&path).unwrap();
    for search in searches() {
        let found = log.search(&search).await.unwrap();
        assert_eq!((found.records.len(), found.damaged), (172, vec![128]));
    }
    let of_the_rest = Search {
        before: Some(128),
        limit: 1_000,
        ..Search::default()
    };
    let found = log.search(&of_the_rest).await.unwrap();
    assert_eq!((found.records.len(), found.damaged.len()), (128, 0));
}

#[tokio::test]
async fn what_is_whole_is_still_found_beside_a_row_that_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let committed = of_rows(&path).await;
    let db = Connection::open(path.join("mandate.db")).unwrap();
    append(&db, 128, &forged(), 1);
    drop(db);
    let log = LogFile::open_read_only(&path).unwrap();
    let found = log.search(&searches()[0]).await.unwrap();
    assert_eq!((found.records.len(), found.damaged), (300, vec![128]));
    assert_eq!(
        log.entries(256, 100).await.unwrap().entries,
        committed[256..]
    );
    assert_eq!(log.entries(0, 128).await.unwrap().entries, committed[..128]);
    let refused = log.entries(0, 129).await;
    assert!(
        matches!(refused, Err(StoreError::Damaged(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_shipment_is_not_taken_for_known_by_a_record_that_was_forged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    of_rows(&path).await;
    let db = Connection::open(path.join("mandate.db")).unwrap();
    append(&db, 256, &forged(), 1);
    drop(db);
    let store = SqliteStore::open(&path, [7; 16], NOW).unwrap();
    let again = |records: &[ShippedRecord]| Unit {
        changes: vec![Change::Ingest(records.to_vec())],
        ..Unit::default()
    };
    let records = shipped(300);
    let known = store.commit(again(&records[..128])).await.unwrap();
    assert_eq!((known.ingested.known, known.ingested.alarms), (128, 0));
    let damaged = store.commit(again(&records[299..])).await.unwrap();
    assert_eq!((damaged.ingested.known, damaged.ingested.alarms), (0, 1));
    assert_eq!(damaged.ingested.next, Some(300));
}
