//! A task as an OpenTelemetry trace: across agents, to its cause, and into a collector.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::lab::agent::{self, entry, token};
use crate::lab::{Lab, wait};

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// For alice, worker opens a task and hands reading to clerk, who reads once and is refused once. The root
/// task's id, and the tokens that were used.
fn story(lab: &Lab) -> (String, Vec<String>) {
    let (worker, clerk) = (lab.worker(), lab.clerk());
    let root = token(worker.open_for(&lab.id_token("alice")));
    let read = json!([entry("records", "read")]);
    let child = token(worker.delegate(&root, "clerk", &read));
    let access = token(clerk.access(&child, "records"));
    let bearer = format!("Bearer {access}");
    let fields = [("authorization", bearer.as_str()), ("traceparent", CALLER)];
    let gateway = lab.server.gateway();
    gateway.get("/records/items/1", &fields).expect(200);
    gateway
        .call("POST", "/records/items/1", &fields, b"")
        .expect(403);
    let id = agent::claims(&root)["txn"].as_str().unwrap().to_owned();
    (id, vec![root, child, access, lab.key.clone()])
}

/// The spans of a document by their ids, each with the name of its service.
fn spans(document: &Value) -> BTreeMap<String, (String, Value)> {
    let mut all = BTreeMap::new();
    for group in document["resourceSpans"].as_array().unwrap() {
        let service = attribute(&group["resource"], "service.name");
        for span in group["scopeSpans"][0]["spans"].as_array().unwrap() {
            let id = span["spanId"].as_str().unwrap().to_owned();
            all.insert(id, (service.clone(), span.clone()));
        }
    }
    all
}

fn attribute(of: &Value, key: &str) -> String {
    let mut all = of["attributes"].as_array().into_iter().flatten();
    let found = all.find(|attribute| attribute["key"] == key);
    let value = found.map_or(&Value::Null, |found| &found["value"]["stringValue"]);
    value.as_str().unwrap_or_default().to_owned()
}

/// The exported trace, once the gateway's records have reached the log.
fn exported(lab: &Lab, task: &str) -> Value {
    wait::until("both accesses are in the trace", || {
        let ran = lab.run(&["trace", task, "--format", "otlp"]);
        assert_eq!(ran.code, 0, "{}", ran.value);
        let accesses = ran.value.to_string().matches("\"access_decided\"").count();
        let ended = ran.value.to_string().contains("http.response.status_code");
        (accesses == 2 && ended).then_some(ran.value)
    })
}

#[test]
fn a_trace_across_two_agents_and_a_delegated_task_is_complete_to_its_trigger() {
    let lab = Lab::start();
    let (task, secrets) = story(&lab);
    let document = exported(&lab, &task);
    let text = document.to_string();
    for secret in &secrets {
        assert!(!text.contains(secret.as_str()), "a secret is in the trace");
    }
    let trace = task.trim_start_matches("task-").replace('-', "");
    let spans = spans(&document);
    let mut roots = BTreeSet::new();
    for (_, span) in spans.values() {
        assert_eq!(span["traceId"], trace, "the root task's id is the trace's");
        let mut span = span;
        while let Some(parent) = span["parentSpanId"].as_str() {
            span = &spans[parent].1;
        }
        roots.insert(span["spanId"].as_str().unwrap());
    }
    assert_eq!(roots.len(), 1);
    let (service, root) = &spans[*roots.first().unwrap()];
    assert_eq!(
        (service.as_str(), root["name"].as_str()),
        ("worker", Some("task case"))
    );
    assert_eq!(attribute(root, "enduser.id"), "user:login:alice");
    assert_eq!(attribute(root, "mandate.trigger.kind"), "user");
    assert_eq!(attribute(root, "mandate.trigger.verified"), "user");

    let named = |name: &str| {
        spans
            .values()
            .find(|(_, span)| span["name"] == name)
            .unwrap()
    };
    let (service, child) = named("task clerk");
    assert_eq!(
        (service.as_str(), &child["parentSpanId"]),
        ("clerk", &root["spanId"])
    );
    let (service, read) = named("GET /items/{item}/**");
    assert_eq!(
        (service.as_str(), &read["parentSpanId"]),
        ("clerk", &child["spanId"])
    );
    assert!(read["status"].get("code").is_none(), "{read}");
    let claimed = &read["links"][0];
    assert_eq!(claimed["spanId"], "00f067aa0ba902b7", "{read}");
    let (_, refused) = named("POST /items/{item}");
    assert_eq!(refused["status"]["code"], 2, "{refused}");
    assert!(refused["status"]["message"].is_string(), "{refused}");
    let again = exported(&lab, &task);
    let ids: Vec<String> = self::spans(&again).into_keys().collect();
    assert_eq!(
        ids,
        spans.into_keys().collect::<Vec<_>>(),
        "the same task, the same trace"
    );
}

/// Answers one request with `answer`, and gives what was asked.
fn answer_once(listener: TcpListener, answer: &'static str) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        let whole = |asked: &[u8]| {
            let text = String::from_utf8_lossy(asked);
            let (head, body) = text.split_once("\r\n\r\n")?;
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))?;
            (body.len() >= length.parse().unwrap()).then_some(())
        };
        while whole(&asked).is_none() {
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).unwrap();
            assert_ne!(read, 0, "{}", String::from_utf8_lossy(&asked));
            asked.extend_from_slice(&piece[..read]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(asked).unwrap()
    })
}

#[test]
fn a_trace_counts_as_posted_only_where_the_collector_took_all_of_it() {
    let lab = Lab::start();
    let task = agent::claims(&token(lab.worker().open()))["txn"]
        .as_str()
        .unwrap()
        .to_owned();
    let post = |answer: &'static str| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = answer_once(listener, answer);
        let ran = lab.run(&["trace", &task, "--otlp-endpoint", &endpoint]);
        (ran, asked.join().unwrap())
    };
    let (ran, asked) = post("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
    assert_eq!(ran.code, 0, "{}", ran.value);
    assert!(ran.value["spans"].as_u64().unwrap() >= 2, "{}", ran.value);
    assert!(asked.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{asked}");
    assert!(
        asked.contains("content-type: application/json\r\n"),
        "{asked}"
    );
    let (_, body) = asked.split_once("\r\n\r\n").unwrap();
    let posted = spans(&serde_json::from_str(body).unwrap());
    assert_eq!(Some(posted.len() as u64), ran.value["spans"].as_u64());

    for (answer, why) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 71\r\n\r\n{\"partialSuccess\": {\"rejectedSpans\": \"2\", \"errorMessage\": \"too many\"}} ",
            "too many",
        ),
        (
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy",
            "busy",
        ),
    ] {
        let (ran, _) = post(answer);
        let said = ran.value["error"].as_str().unwrap();
        assert!(ran.code == 1 && said.contains(why), "{said}");
    }
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let ran = lab.run(&["trace", &task, "--otlp-endpoint", &format!("http://{free}")]);
    assert_eq!(ran.code, 4, "{}", ran.value);
    let ran = lab.run(&[
        "trace",
        &task,
        "--otlp-endpoint",
        "http://collector.example:4318",
    ]);
    assert_eq!(ran.code, 2, "{}", ran.value);
}
