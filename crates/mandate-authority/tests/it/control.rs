//! The control stream: order, leases, shipping, tokens for upstreams.

use mandate_audit::{Decision, Event, SpoolChain, SpoolKey, What};
use mandate_model::{GatewayId, Timestamp};
use mandate_ports::SpooledRecord;
use mandate_ports::control::Shipment;
use serde_json::{Value, json};

use crate::client::{Answer, Lines, get, post};
use crate::lab::{Lab, TXN, agent};

pub(crate) fn lease(gateway: &str, versions: &Value) -> Value {
    let origin = SpoolChain::ORIGIN.to_string();
    json!({"gateway": gateway, "stops": versions["stops"], "bundle": versions["bundle"],
           "keys": versions["keys"], "head": {"spool": "s-1", "next": 0, "chain": origin}})
}

pub(crate) async fn versions(lab: &Lab) -> Value {
    lab.look("/operator/v1/status").await.expect(200)["versions"].clone()
}

#[tokio::test]
async fn a_stream_begins_with_the_whole_state_and_goes_on_with_what_changes() {
    let lab = Lab::new().await;
    let socket = lab.socket("control.sock");
    let mut lines = Lines::open(&socket, "/control/v1/stream?gateway=g-1").await;
    let mut first = Vec::new();
    for _ in 0..4 {
        first.push(lines.next().await.unwrap());
    }
    let words: Vec<&str> = first
        .iter()
        .map(|m| m["message"].as_str().unwrap())
        .collect();
    assert_eq!(words, ["hello", "keys", "bundle", "stops"]);
    assert_eq!(first[0]["protocol"], mandate_ports::control::PROTOCOL);
    assert_eq!(first[0]["run"], lab.authority.run().to_string());
    assert_eq!(first[2]["version"], 1);
    assert_eq!(first[2]["files"][0][0], "bundle.yaml");
    lab.suspend(agent("executor")).await;
    let next = lines.next().await.unwrap();
    assert_eq!(next["message"], "stops");
    assert_eq!(next["suspensions"][0]["subject"], agent("executor"));
    assert!(next["version"].as_u64() > first[3]["version"].as_u64());
    let mut second = Lines::open(&socket, "/control/v1/stream?gateway=g-1").await;
    assert_eq!(second.next().await.unwrap()["message"], "hello");
    assert!(
        lines.next().await.is_none(),
        "the second stream replaces the first"
    );
    lab.stopped().await;
    while second.next().await.is_some() {}
}

#[tokio::test]
async fn a_lease_names_the_versions_that_it_was_granted_under() {
    let lab = Lab::new().await;
    let before = versions(&lab).await;
    let granted = lab
        .control("/control/v1/lease", &lease("g-1", &before))
        .await
        .expect(200);
    assert_eq!(granted["lease_ms"], 15_000);
    assert_eq!(granted["versions"], before);
}

#[tokio::test]
async fn a_gateway_that_is_ahead_of_the_store_gets_no_lease() {
    let lab = Lab::new().await;
    let mut ahead = versions(&lab).await;
    ahead["stops"] = json!(99);
    let refused = lab
        .control("/control/v1/lease", &lease("g-1", &ahead))
        .await;
    assert_eq!(refused.expect(409)["type"], "urn:mandate:problem:ahead");
    let ack = json!({"gateway": "g-1", "stops": 99, "cut": 0, "unknown": 0});
    lab.control("/control/v1/ack", &ack).await.expect(409);
    let mut odd = lease("g-1", &versions(&lab).await);
    odd["extra"] = json!(1);
    lab.control("/control/v1/lease", &odd).await.expect(400);
    assert_eq!(
        get(&lab.socket("control.sock"), "/control/v2/stream")
            .await
            .status,
        404
    );
}

fn record(seq: u64, chain: &SpoolChain) -> (SpooledRecord, SpoolChain) {
    let key = SpoolKey {
        gateway: GatewayId::parse("g-1").unwrap(),
        spool: "s-1".to_owned(),
        seq,
    };
    let what = What::AccessDecided {
        request: format!("GET /{seq}"),
    };
    let event = Event {
        gateway: Some(key.gateway.clone()),
        spool: Some(key),
        ..Event::new(Timestamp::from_secs(1_800_000_000), what, Decision::Allowed)
    };
    let bytes = event.canonical().unwrap();
    let chain = chain.after(&bytes);
    let record = SpooledRecord {
        seq,
        event: String::from_utf8(bytes).unwrap(),
        chain: chain.to_string(),
    };
    (record, chain)
}

async fn ship(lab: &Lab, records: &[SpooledRecord]) -> Answer {
    let shipment = Shipment {
        gateway: GatewayId::parse("g-1").unwrap(),
        spool: "s-1".to_owned(),
        records: records.to_vec(),
    };
    let lines = String::from_utf8(shipment.to_lines().unwrap()).unwrap();
    ship_lines(lab, Shipment::CONTENT_TYPE, lines).await
}

async fn ship_lines(lab: &Lab, kind: &str, lines: String) -> Answer {
    let socket = lab.socket("control.sock");
    post(&socket, "/control/v1/records", kind, lines).await
}

#[tokio::test]
async fn records_are_in_the_log_exactly_once_and_a_gap_is_named() {
    let lab = Lab::new().await;
    let mut chain = SpoolChain::ORIGIN;
    let mut records = Vec::new();
    for seq in 0..3 {
        let (one, next) = record(seq, &chain);
        records.push(one);
        chain = next;
    }
    let gap = ship(&lab, &records[1..]).await.expect(409);
    assert_eq!(
        (&gap["type"], &gap["next"]),
        (&json!("urn:mandate:problem:gap"), &json!(0))
    );
    assert_eq!(ship(&lab, &records).await.expect(200)["next"], 3);
    assert_eq!(ship(&lab, &records).await.expect(200)["next"], 3);
    let decided = lab.events().await;
    let decided = decided
        .iter()
        .filter(|event| event.what.kind() == "access_decided");
    assert_eq!(decided.count(), 3);
    let head = r#"{"gateway":"g-1","spool":"s-1","first":3}"#;
    let empty = ship_lines(&lab, Shipment::CONTENT_TYPE, format!("{head}\n")).await;
    empty.expect(400);
    let cut_off = format!("{head}\nchain {{}}");
    let cut_off = ship_lines(&lab, Shipment::CONTENT_TYPE, cut_off).await;
    cut_off.expect(400);
    let as_json = ship_lines(&lab, "application/json", "{}".to_owned()).await;
    as_json.expect(400);
}

#[tokio::test]
async fn a_token_for_an_upstream_is_never_one_for_an_agent() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    let task = lab.open(&backlog, "audit", &[]).await.token();
    let form = [
        ("subject_token", task.as_str()),
        ("subject_token_type", TXN),
        ("resource", "https://ledger.acme.example"),
    ];
    let access = lab.exchange(&backlog, &form).await.token();
    let ask = json!({"gateway": "g-1", "access_token": access});
    let path = "/control/v1/upstream-token";
    let upstream = lab.control(path, &ask).await.expect(200);
    assert_ne!(upstream["token"], access);
    let swapped = json!({"gateway": "g-1", "access_token": upstream["token"]});
    assert_eq!(lab.control(path, &swapped).await.status, 403);
    let nightly = lab.open(&backlog, "nightly", &[]).await.token();
    let plain = lab.access(&backlog, &nightly).await.token();
    let ask_plain = json!({"gateway": "g-1", "access_token": plain});
    assert_eq!(
        lab.control(path, &ask_plain).await.expect(403)["rule"],
        "upstream.none"
    );
    lab.suspend(agent("backlog")).await;
    assert_eq!(lab.control(path, &ask).await.expect(403)["rule"], "stopped");
}

#[tokio::test]
async fn a_token_that_is_refused_for_an_upstream_all_the_time_does_not_fill_the_log() {
    let lab = Lab::new().await;
    let backlog = lab.svid("backlog").await;
    let nightly = lab.open(&backlog, "nightly", &[]).await.token();
    let plain = lab.access(&backlog, &nightly).await.token();
    let ask = json!({"gateway": "g-1", "access_token": plain});
    for _ in 0..400 {
        let refused = lab.control("/control/v1/upstream-token", &ask).await;
        assert_eq!(refused.expect(403)["rule"], "upstream.none");
    }
    let recorded = lab.refused_rules().await.len();
    assert!((50..400).contains(&recorded), "{recorded}");
}
