//! Records of gateways: shipped at least once, in the log exactly once, and contradictions told
//! (C2).

use mandate_audit::{Decision, Event, SpoolChain, SpoolKey, What};
use mandate_model::GatewayId;
use mandate_model::StopVersion;
use mandate_ports::{Change, GatewayRecord, Ingested, ShippedRecord, SpoolHead, Unit};

use super::fixture::{NOW, commit};
use super::{Store, StoreFactory};

pub(super) async fn run<F: StoreFactory>(factory: &F) {
    a_record_is_in_the_log_once_however_often_it_is_shipped(factory).await;
    the_same_key_with_other_bytes_is_an_alarm(&factory.fresh().await).await;
    a_gap_is_an_alarm_and_nothing_after_it_is_taken(&factory.fresh().await).await;
    a_chain_that_does_not_follow_is_an_alarm(&factory.fresh().await).await;
    a_record_that_names_another_key_is_an_alarm(&factory.fresh().await).await;
    what_was_announced_is_what_must_be_shipped(&factory.fresh().await).await;
    two_spools_are_apart(&factory.fresh().await).await;
}

fn key(spool: &str, seq: u64) -> SpoolKey {
    let gateway = GatewayId::parse("g1").unwrap();
    SpoolKey {
        gateway,
        spool: spool.to_owned(),
        seq,
    }
}

fn spooled(key: SpoolKey, request: &str) -> Vec<u8> {
    let what = What::AccessDecided {
        request: request.to_owned(),
    };
    let event = Event {
        spool: Some(key),
        ..Event::new(NOW, what, Decision::Allowed)
    };
    event.canonical().unwrap()
}

/// The first `count` records of a spool.
fn records(spool: &str, count: u64) -> Vec<ShippedRecord> {
    let mut chain = SpoolChain::ORIGIN;
    let record = |seq| {
        let event = spooled(key(spool, seq), &format!("GET /{seq}"));
        chain = chain.after(&event);
        ShippedRecord {
            key: key(spool, seq),
            event,
            chain: chain.to_string(),
        }
    };
    (0..count).map(record).collect()
}

async fn ship(store: &impl Store, records: &[ShippedRecord]) -> Ingested {
    let changes = vec![Change::Ingest(records.to_vec())];
    let unit = Unit {
        changes,
        ..Unit::default()
    };
    let ingested = commit(store, unit).await.ingested;
    assert_eq!(ingested.next.is_none(), records.is_empty());
    Ingested {
        next: None,
        ..ingested
    }
}

fn ingested(added: u64, known: u64, alarms: u64) -> Ingested {
    Ingested {
        added,
        known,
        alarms,
        next: None,
    }
}

/// The bytes of records that are no alarms, and how many alarms there are.
async fn logged(store: &impl Store) -> (Vec<Vec<u8>>, usize) {
    let all = store.entries(0, usize::MAX).await.unwrap().entries;
    let is_alarm =
        |bytes: &Vec<u8>| matches!(Event::parse(bytes).unwrap().what, What::Alarm { .. });
    let (alarms, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(is_alarm);
    (rest, alarms.len())
}

fn bytes(records: &[ShippedRecord]) -> Vec<Vec<u8>> {
    records.iter().map(|record| record.event.clone()).collect()
}

async fn a_record_is_in_the_log_once_however_often_it_is_shipped<F: StoreFactory>(factory: &F) {
    let store = factory.fresh().await;
    let all = records("s1", 5);
    assert_eq!(ship(&store, &all[..3]).await, ingested(3, 0, 0));
    assert_eq!(ship(&store, &all[1..4]).await, ingested(1, 2, 0));
    let store = factory.reopened(store).await;
    assert_eq!(ship(&store, &all).await, ingested(1, 4, 0));
    assert_eq!(logged(&store).await, (bytes(&all), 0));
}

async fn the_same_key_with_other_bytes_is_an_alarm(store: &impl Store) {
    let all = records("s1", 3);
    ship(store, &all).await;
    let mut forged = all[1].clone();
    forged.event = spooled(key("s1", 1), "GET /other");
    assert_eq!(ship(store, &[forged.clone()]).await, ingested(0, 0, 1));
    assert_eq!(logged(store).await, (bytes(&all), 1));
    assert_eq!(ship(store, &[forged]).await, ingested(0, 0, 1));
    assert_eq!(
        logged(store).await.1,
        1,
        "the same alarm again fills nothing"
    );
    let more = records("s1", 4);
    assert_eq!(
        ship(store, &more[3..]).await,
        ingested(1, 0, 0),
        "the spool goes on"
    );
}

async fn a_gap_is_an_alarm_and_nothing_after_it_is_taken(store: &impl Store) {
    let all = records("s1", 6);
    ship(store, &all[..2]).await;
    assert_eq!(ship(store, &all[3..]).await, ingested(0, 0, 3));
    assert_eq!(logged(store).await, (bytes(&all[..2]), 1));
    assert_eq!(ship(store, &all[2..]).await, ingested(4, 0, 0));
    assert_eq!(logged(store).await.0, bytes(&all));
}

async fn a_chain_that_does_not_follow_is_an_alarm(store: &impl Store) {
    let all = records("s1", 2);
    ship(store, &all[..1]).await;
    let mut broken = all[1].clone();
    broken.chain = SpoolChain::ORIGIN.to_string();
    assert_eq!(ship(store, &[broken]).await, ingested(0, 0, 1));
    assert_eq!(logged(store).await, (bytes(&all[..1]), 1));
}

async fn a_record_that_names_another_key_is_an_alarm(store: &impl Store) {
    let event = spooled(key("s2", 0), "GET /");
    let chain = SpoolChain::ORIGIN.after(&event).to_string();
    let moved = ShippedRecord {
        key: key("s1", 0),
        event,
        chain,
    };
    assert_eq!(ship(store, &[moved]).await, ingested(0, 0, 1));
    let event = [spooled(key("s1", 0), "GET /").as_slice(), b" "].concat();
    let chain = SpoolChain::ORIGIN.after(&event).to_string();
    let spaced = ShippedRecord {
        key: key("s1", 0),
        event,
        chain,
    };
    assert_eq!(ship(store, &[spaced]).await, ingested(0, 0, 1));
    assert_eq!(logged(store).await, (Vec::new(), 2));
}

async fn announce(store: &impl Store, next: u64, chain: &str) {
    let record = GatewayRecord {
        id: GatewayId::parse("g1").unwrap(),
        lease_ms: 15_000,
        at: NOW,
        stops: StopVersion::new(0),
        head: SpoolHead {
            spool: "s1".to_owned(),
            next,
            chain: chain.to_owned(),
        },
    };
    let changes = vec![Change::RenewGateway(record)];
    commit(
        store,
        Unit {
            changes,
            ..Unit::default()
        },
    )
    .await;
}

async fn what_was_announced_is_what_must_be_shipped(store: &impl Store) {
    let all = records("s1", 3);
    announce(store, 2, &all[1].chain).await;
    assert_eq!(ship(store, &all[..1]).await, ingested(1, 0, 0));
    // Another second record, with a chain of its own that follows.
    let event = spooled(key("s1", 1), "GET /other");
    let chain = SpoolChain::parse(&all[0].chain)
        .unwrap()
        .after(&event)
        .to_string();
    let rewritten = ShippedRecord {
        key: key("s1", 1),
        event,
        chain,
    };
    assert_eq!(ship(store, &[rewritten]).await, ingested(0, 0, 1));
    assert_eq!(ship(store, &all[1..]).await, ingested(2, 0, 0));
    assert_eq!(logged(store).await, (bytes(&all), 1));
    announce(store, 3, &all[1].chain).await;
    assert_eq!(
        logged(store).await.1,
        2,
        "an announcement that contradicts what was shipped"
    );
    announce(store, 3, &all[2].chain).await;
    assert_eq!(logged(store).await.1, 2);
}

async fn two_spools_are_apart(store: &impl Store) {
    let (one, two) = (records("s1", 2), records("s2", 2));
    let mixed = [
        one[0].clone(),
        two[0].clone(),
        two[1].clone(),
        one[1].clone(),
    ];
    assert_eq!(ship(store, &mixed).await, ingested(4, 0, 0));
    assert_eq!(logged(store).await, (bytes(&mixed), 0));
}
