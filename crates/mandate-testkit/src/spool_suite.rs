//! What every [`Spool`] must do.

use std::sync::Arc;

use mandate_audit::{Decision, Event, SpoolChain, What};
use mandate_model::Timestamp;
use mandate_ports::{LocalReceipt, Spool, SpoolError, SpoolHead};

/// An event that says `message`.
pub fn event(message: impl Into<String>) -> Event {
    let message = message.into();
    let at = Timestamp::from_millis(1_800_000_000_000);
    Event::new(at, What::Alarm { message }, Decision::Noted)
}

/// Runs every case. `fresh` makes a spool without records each time.
pub async fn run<S: Spool + 'static>(mut fresh: impl FnMut() -> S) {
    numbers_records_from_zero_in_order(&fresh()).await;
    records_carry_their_key_and_are_chained(&fresh()).await;
    concurrent_appends_leave_no_gap(Arc::new(fresh())).await;
    reads_no_more_than_asked(&fresh()).await;
    what_is_shipped_does_not_wait_any_more(&fresh()).await;
    an_event_without_encoding_takes_no_number(&fresh()).await;
    assert!(fresh().retired().is_empty());
    what_is_to_ship_is_the_spool_by_itself(&fresh()).await;
}

async fn what_is_to_ship_is_the_spool_by_itself(spool: &impl Spool) {
    append(spool, 0..2).await;
    let all = spool.to_ship();
    assert_eq!(all.len(), 1);
    let one = all.first().unwrap();
    assert_eq!(one.head(), spool.head());
    assert!(one.append(event("by the wrong way")).await.is_err());
    one.shipped(1).await.unwrap();
    assert_eq!(spool.unshipped_from(), 1);
}

/// A spool that is opened again on the same storage goes on where it was. `open` opens it, `close`
/// gives the storage free.
pub async fn reopening<S: Spool>(mut open: impl FnMut() -> S, close: impl Fn(S)) {
    let spool = open();
    append(&spool, 0..3).await;
    spool.shipped(1).await.unwrap();
    let head = spool.head();
    close(spool);

    let spool = open();
    assert_eq!(spool.head(), head);
    assert!(
        spool.unshipped_from() <= 1,
        "nothing unshipped is forgotten"
    );
    let receipts = append(&spool, 3..4).await;
    assert_eq!(
        (receipts[0].key.seq, &receipts[0].key.spool),
        (3, &head.spool)
    );
    check_chain(&spool, spool.unshipped_from()).await;
}

async fn append(spool: &impl Spool, messages: std::ops::Range<u64>) -> Vec<LocalReceipt> {
    let mut receipts = Vec::new();
    for n in messages {
        receipts.push(spool.append(event(format!("event {n}"))).await.unwrap());
    }
    receipts
}

async fn numbers_records_from_zero_in_order(spool: &impl Spool) {
    let empty = spool.head();
    assert_eq!(
        (empty.next, empty.chain),
        (0, SpoolChain::ORIGIN.to_string())
    );
    let receipts = append(spool, 0..5).await;
    let numbers: Vec<u64> = receipts.iter().map(|r| r.key.seq).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    assert!(receipts.iter().all(|r| r.key.spool == empty.spool));
    assert_eq!(spool.head().next, 5);
    assert_eq!(spool.head().spool, empty.spool);
}

async fn records_carry_their_key_and_are_chained(spool: &impl Spool) {
    let receipts = append(spool, 0..4).await;
    for (record, receipt) in spool.read(0, 10).await.unwrap().iter().zip(&receipts) {
        let stored = Event::parse(record.event.as_bytes()).unwrap();
        assert_eq!(stored.spool.as_ref(), Some(&receipt.key));
        assert_eq!(stored.canonical().unwrap(), record.event.as_bytes());
        let original = event(format!("event {}", record.seq));
        assert_eq!(stored.what, original.what);
    }
    check_chain(spool, 0).await;
}

/// Checks the chain of the records from `from` on as far as it can be: from the record after it.
async fn check_chain(spool: &impl Spool, from: u64) {
    let SpoolHead { next, chain, .. } = spool.head();
    let records = spool.read(from, 1000).await.unwrap();
    let mut before = (from == 0).then_some(SpoolChain::ORIGIN);
    for (expected, record) in (from..).zip(&records) {
        assert_eq!(record.seq, expected, "no gap");
        let stated = SpoolChain::parse(&record.chain).unwrap();
        if let Some(before) = before {
            assert_eq!(before.after(record.event.as_bytes()), stated);
        }
        before = Some(stated);
    }
    let last = records.last().unwrap();
    assert_eq!((last.seq + 1, &last.chain), (next, &chain));
}

async fn concurrent_appends_leave_no_gap<S: Spool + 'static>(spool: Arc<S>) {
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let spool = spool.clone();
            tokio::spawn(async move { spool.append(event(format!("event {n}"))).await.unwrap() })
        })
        .collect();
    let mut numbers = Vec::new();
    for task in tasks {
        let receipt = task.await.unwrap();
        assert!(
            receipt.key.seq < spool.head().next,
            "head counts what has a receipt"
        );
        numbers.push(receipt.key.seq);
    }
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..200));
    check_chain(&*spool, 0).await;
}

async fn reads_no_more_than_asked(spool: &impl Spool) {
    append(spool, 0..5).await;
    let numbers = async |from, limit| -> Vec<u64> {
        let records = spool.read(from, limit).await.unwrap();
        records.iter().map(|r| r.seq).collect()
    };
    assert_eq!(numbers(1, 2).await, [1, 2]);
    assert_eq!(numbers(3, 10).await, [3, 4]);
    assert!(numbers(5, 10).await.is_empty());
    assert!(numbers(0, 0).await.is_empty());
}

async fn what_is_shipped_does_not_wait_any_more(spool: &impl Spool) {
    append(spool, 0..5).await;
    assert_eq!(spool.unshipped_from(), 0);
    spool.shipped(3).await.unwrap();
    spool.shipped(2).await.unwrap();
    assert_eq!(spool.unshipped_from(), 3, "shipping never goes back");
    assert_eq!(spool.read(3, 10).await.unwrap().len(), 2);
    assert!(spool.shipped(6).await.is_err(), "there is no record 5");
    assert_eq!(spool.unshipped_from(), 3);
    spool.shipped(5).await.unwrap();
    assert_eq!((spool.unshipped_from(), spool.head().next), (5, 5));
}

async fn an_event_without_encoding_takes_no_number(spool: &impl Spool) {
    let long = event("x".repeat(mandate_audit::MAX_EVENT_BYTES));
    let refused = spool.append(long).await;
    assert!(
        matches!(refused, Err(SpoolError::Encoding(_))),
        "{refused:?}"
    );
    let receipts = append(spool, 0..1).await;
    assert_eq!(receipts[0].key.seq, 0);
}
