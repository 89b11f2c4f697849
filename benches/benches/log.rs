//! What a gateway's records cost on their way into the log: encoding, reading back, and taking
//! shipments over, durably.
//!
//! `cargo bench -p mandate-bench --bench log`

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench stops where it cannot go on, and reads the clock"
)]

use std::hint::black_box;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use mandate_audit::{Decision, Event, Outcome, SpoolChain, SpoolKey, What};
use mandate_bench::figures::{Samples, ms, us};
use mandate_model::task::TaskPath;
use mandate_model::{
    ActionName, ActorLevel, AttestationKind, AttributeName, AttributeValue, BundleVersion,
    GatewayId, InstanceId, PolicyName, Principal, ProviderName, ServerName, SpiffeId, StopVersion,
    TaskId, Timestamp, TokenId, Trigger, TriggerKind, Verified,
};
use mandate_ports::{Change, ShippedRecord, Unit, Writer};
use mandate_store_sqlite::SqliteStore;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
/// As many as a gateway ships at a time.
const SHIPMENT: usize = 512;
const SHIPMENTS: usize = 100;
const SPOOL: &str = "0198f0b0c0ffee00";

fn main() {
    let records = spool(SHIPMENT * SHIPMENTS);
    encoding(&records);
    taking_over(records);
}

fn encoding(records: &[ShippedRecord]) {
    let mut encode = Samples::default();
    let mut parse = Samples::default();
    for batch in records.chunks(SHIPMENT) {
        let began = Instant::now();
        let events: Vec<Event> = batch
            .iter()
            .map(|record| Event::parse(black_box(&record.event)).unwrap())
            .collect();
        parse.push(began.elapsed() / u32::try_from(batch.len()).unwrap());
        let began = Instant::now();
        for event in &events {
            black_box(event.canonical().unwrap());
        }
        encode.push(began.elapsed() / u32::try_from(batch.len()).unwrap());
    }
    let bytes: usize = records.iter().map(|record| record.event.len()).sum();
    println!(
        "a record of {} bytes: encoded in {}, read back in {}",
        bytes / records.len(),
        us(encode.median()),
        us(parse.median())
    );
}

fn taking_over(records: Vec<ShippedRecord>) {
    let count = records.len();
    let folder = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir()
        .unwrap();
    let store = SqliteStore::open(folder.path(), [7; 16], NOW).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut each = Samples::default();
    let mut records = records.into_iter();
    let began = Instant::now();
    for _ in 0..SHIPMENTS {
        let shipment = records.by_ref().take(SHIPMENT).collect();
        let unit = Unit {
            changes: vec![Change::Ingest(shipment)],
            ..Unit::default()
        };
        let sent = Instant::now();
        let added = runtime.block_on(store.commit(unit)).unwrap().ingested;
        each.push(sent.elapsed());
        assert_eq!((added.added, added.alarms), (512, 0));
    }
    let took = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a count of records")]
    let rate = count as f64 / took;
    println!(
        "shipments of {SHIPMENT} records taken over, durably: {rate:.0} records/s; one in {} median, {} p99",
        ms(each.median()),
        ms(each.p99())
    );
    runtime.block_on(store.close());
}

/// The records of accesses, admitted and completed, as a gateway makes them.
fn spool(count: usize) -> Vec<ShippedRecord> {
    let gateway = GatewayId::parse("gateway-1").unwrap();
    let mut chain = SpoolChain::ORIGIN;
    (0..count)
        .map(|n| {
            let key = SpoolKey {
                gateway: gateway.clone(),
                spool: SPOOL.to_owned(),
                seq: u64::try_from(n).unwrap(),
            };
            let event = Event {
                spool: Some(key.clone()),
                gateway: Some(gateway.clone()),
                ..event(n)
            };
            let event = event.canonical().unwrap();
            chain = chain.after(&event);
            ShippedRecord {
                key,
                event,
                chain: chain.to_string(),
            }
        })
        .collect()
}

fn event(n: usize) -> Event {
    let what = if n.is_multiple_of(2) {
        What::AccessDecided {
            request: "GET /customers/{customer}".to_owned(),
        }
    } else {
        What::AccessCompleted {
            admitted: u64::try_from(n - 1).unwrap(),
            admitted_in: Some(SPOOL.to_owned()),
            outcome: Outcome::Completed,
            status: Some(200),
            bytes_up: 0,
            bytes_down: 64,
            usage: None,
        }
    };
    let decision = if n.is_multiple_of(2) {
        Decision::Allowed
    } else {
        Decision::Noted
    };
    // A hundred accesses a token, a thousand a task.
    let (token, task) = (n / 200, n / 2_000);
    let root = TaskId::new(NOW, random(task, 1));
    let path = TaskPath::root_of(root).child(TaskId::new(NOW, random(task, 2)));
    Event {
        policies: vec![PolicyName::parse("reading").unwrap()],
        actors: vec![actor("retriever"), actor("orchestrator")],
        task: path,
        principal: Some(Principal::parse("user:login:alice").unwrap()),
        trigger: Some(Trigger {
            kind: TriggerKind::User,
            verified: Verified::User,
            provider: Some(ProviderName::parse("login").unwrap()),
            item: None,
        }),
        server: Some(ServerName::parse("records").unwrap()),
        action: Some(ActionName::parse("read").unwrap()),
        attributes: [(
            AttributeName::parse("customer").unwrap(),
            vec![AttributeValue::Text("acme".to_owned())],
        )]
        .into(),
        bundle: Some(BundleVersion::new(3)),
        stops: Some(StopVersion::new(4)),
        token: Some(TokenId::new(NOW, random(token, 3))),
        ..Event::new(NOW, what, decision)
    }
}

fn actor(name: &str) -> ActorLevel {
    ActorLevel {
        sub: SpiffeId::parse(&format!("spiffe://bench.example/agent/{name}")).unwrap(),
        inst: InstanceId::parse("process:4711:998877").unwrap(),
        prv: ProviderName::parse("process").unwrap(),
        att: AttestationKind::Process,
        host: None,
    }
}

/// Ten bytes that are told apart by `n` and `kind`.
fn random(n: usize, kind: u8) -> [u8; 10] {
    let mut bytes = [kind; 10];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    bytes
}
