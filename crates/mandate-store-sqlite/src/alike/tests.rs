use mandate_audit::{Decision, SpoolChain, What};
use mandate_model::{GatewayId, TaskId, Timestamp, TokenId};

use super::*;

fn shipped(seq: u64, at: u64, message: &str) -> ShippedRecord {
    let key = SpoolKey {
        gateway: GatewayId::parse("gateway-1").unwrap(),
        spool: "0".repeat(32),
        seq,
    };
    let what = What::Alarm {
        message: message.to_owned(),
    };
    let event = Event {
        token: Some(TokenId::new(Timestamp::from_secs(1), [7; 10])),
        spool: Some(key.clone()),
        ..Event::new(Timestamp::from_millis(at), what, Decision::Noted)
    };
    let event = event.canonical().unwrap();
    let chain = SpoolChain::ORIGIN.after(&event).to_string();
    ShippedRecord { key, event, chain }
}

fn parsed(record: &ShippedRecord) -> Option<Found> {
    canonical_event(record).map(|event| Found::of(&event).unwrap())
}

#[test]
fn what_is_read_fast_is_found_as_what_is_parsed() {
    let mut alike = Alike::default();
    let first = alike.read(&shipped(0, 1_000, "a")).unwrap().unwrap();
    let next = shipped(1_234, 2_000_000, "a");
    let second = alike.read(&next).unwrap().unwrap();
    assert!(
        Arc::ptr_eq(&first.words, &second.words),
        "it was not parsed"
    );
    assert_eq!(Some(second), parsed(&next));
    let other = shipped(2, 2_000, "b");
    let third = alike.read(&other).unwrap().unwrap();
    assert!(!Arc::ptr_eq(&first.words, &third.words));
    assert_eq!(Some(third), parsed(&other));
}

#[test]
fn a_record_that_names_another_key_is_none_however_it_is_read() {
    let mut alike = Alike::default();
    alike.read(&shipped(0, 1_000, "a")).unwrap().unwrap();
    let mut other_number = shipped(1, 1_000, "a");
    other_number.key.seq = 2;
    let mut other_spool = shipped(1, 1_000, "a");
    other_spool.key.spool = "1".repeat(32);
    let mut other_gateway = shipped(1, 1_000, "a");
    other_gateway.key.gateway = GatewayId::parse("gateway-2").unwrap();
    for record in [other_number, other_spool, other_gateway] {
        assert_eq!(alike.read(&record).unwrap(), None);
    }
}

#[test]
fn a_record_in_another_form_is_none_however_it_is_read() {
    let mut alike = Alike::default();
    alike.read(&shipped(0, 1_000, "a")).unwrap().unwrap();
    let text = String::from_utf8(shipped(1, 1_000, "a").event).unwrap();
    for (form, other) in [
        ("\"at\":1000", "\"at\":01000"),
        ("\"at\":1000", "\"at\":1e3"),
        ("\"at\":1000", "\"at\":1000.0"),
        ("\"at\":1000", "\"at\": 1000"),
        ("\"at\":1000", "\"at\":-1000"),
        ("\"at\":1000", "\"at\":\"1000\""),
        ("\"seq\":1", "\"seq\":01"),
        ("\"seq\":1", "\"seq\":1,\"seq\":1"),
    ] {
        let record = ShippedRecord {
            event: text.replacen(form, other, 1).into_bytes(),
            ..shipped(1, 1_000, "a")
        };
        assert_ne!(record.event, text.as_bytes());
        assert_eq!(alike.read(&record).unwrap(), None, "{other}");
    }
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut alike = Alike::default();
    for n in 0..40_u64 {
        let long = format!("{n} {}", "x".repeat(30_000));
        alike.read(&shipped(n, 1_000, &long)).unwrap().unwrap();
    }
    assert_eq!(alike.known.len(), 1, "all of them begin alike");
    assert_eq!(
        alike.known.values().map(Vec::len).sum::<usize>(),
        MOST_IN_ONE_PLACE
    );
    for n in 0..400_u128 {
        let mut record = shipped(0, 1_000, &"x".repeat(60_000));
        let mut event = Event::parse(&record.event).unwrap();
        let action = format!("act-{n}");
        event.action = Some(mandate_model::ActionName::parse(&action).unwrap());
        event.task = Some(mandate_model::task::TaskPath::root_of(TaskId::new(
            Timestamp::from_secs(1),
            [1; 10],
        )));
        record.event = event.canonical().unwrap();
        alike.read(&record).unwrap().unwrap();
    }
    let held: usize = alike.known.values().flatten().map(Known::size).sum();
    assert_eq!(held, alike.size);
    assert!(held <= MOST_BYTES + 70_000, "{held}");
}
