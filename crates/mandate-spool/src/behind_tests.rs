//! Records that nobody waits for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use mandate_audit::Draft;
use mandate_ports::{LocalReceipt, Spool, SpoolError};
use mandate_testkit::spool_suite::event;
use tokio::sync::oneshot;

use crate::FileSpool;
use crate::tests::{faulty, open, private_folder};

fn behind(spool: &FileSpool, label: &str) -> oneshot::Receiver<Result<LocalReceipt, SpoolError>> {
    let (tell, told) = oneshot::channel();
    let draft = Arc::new(Draft::of(&event(label)).unwrap());
    spool.append_behind(draft, Box::new(|done| drop(tell.send(done))));
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_nobody_waits_for_is_written_by_itself() {
    let folder = private_folder();
    let spool = open(folder.path()).unwrap();
    let receipt = behind(&spool, "alone").await.unwrap().unwrap();
    assert_eq!(receipt.key.seq, 0);
    assert_eq!(spool.head().next, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_place_is_behind_what_came_before_and_before_what_comes_after() {
    let folder = private_folder();
    let spool = open(folder.path()).unwrap();
    spool.append(event("first")).await.unwrap();
    let second = behind(&spool, "second");
    let third = spool.append(event("third")).await.unwrap();
    assert_eq!(third.key.seq, 2);
    // Whoever waited knows that it is durable too.
    assert_eq!(spool.head().next, 3);
    assert_eq!(second.await.unwrap().unwrap().key.seq, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_it_is_told_also_when_it_is_lost() {
    let folder = private_folder();
    let (spool, broken) = faulty(folder.path());
    broken.store(true, Ordering::SeqCst);
    let lost = behind(&spool, "lost").await.unwrap();
    assert!(matches!(lost, Err(SpoolError::Unwritable(_))), "{lost:?}");
    let refused = oneshot::channel();
    let draft = Arc::new(Draft::of(&event("nowhere")).unwrap());
    let one = spool.current();
    one.append_behind(draft, Box::new(|done| drop(refused.0.send(done))));
    assert!(refused.1.await.unwrap().is_err(), "one spool takes none");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_handed_over_is_left_behind_when_it_closes() {
    let folder = private_folder();
    let spool = open(folder.path()).unwrap();
    let told: Vec<_> = (0..100).map(|n| behind(&spool, &n.to_string())).collect();
    tokio::task::spawn_blocking(|| spool.close()).await.unwrap();
    for (seq, told) in (0..).zip(told) {
        assert_eq!(told.await.unwrap().unwrap().key.seq, seq);
    }
    assert_eq!(open(folder.path()).unwrap().head().next, 100);
}
