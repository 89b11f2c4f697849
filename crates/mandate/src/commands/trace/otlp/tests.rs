use mandate_audit::{Decision, Incomplete, Outcome, Usage, What};
use mandate_model::task::TaskState;
use mandate_model::{KeyId, Timestamp, TokenId, Trigger};
use serde_json::{Value, json};

use super::super::tree::tests::{in_spool, record, story, task};
use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn token() -> TokenId {
    TokenId::new(Timestamp::from_secs(1), [7; 10])
}

/// The story of the tree, with a cause, a token, the caller's own trace, progress and an end.
fn whole() -> Vec<Record> {
    let mut records = story();
    let trigger: Trigger = serde_json::from_value(json!({
        "kind": "schedule", "name": "nightly", "verified": "none", "item": "4711"
    }))
    .unwrap();
    records[0].event.trigger = Some(trigger);
    let issued = What::Issued {
        token_kind: "access".to_owned(),
        audience: "https://records.example".to_owned(),
        expires_at: Timestamp::from_secs(600),
        key: KeyId::parse("oauth-1").unwrap(),
        scope: Some("records:read".to_owned()),
    };
    let path = [task(1), task(2)];
    let mut issued = record(2, &path, "retriever", issued, Decision::Allowed);
    issued.event.token = Some(token());
    records.insert(2, issued);
    let progress = What::AccessProgress {
        admitted: 0,
        admitted_in: None,
        bytes_up: 1,
        bytes_down: 21,
    };
    let progress = record(3, &path, "retriever", progress, Decision::Noted);
    records.insert(4, in_spool(progress, 7));
    let access = &mut records[3].event;
    access.token = Some(token());
    access.trace = Some(TRACE.to_owned());
    access.span = Some(SPAN.to_owned());
    access.server = Some(mandate_model::ServerName::parse("records").unwrap());
    access.action = Some(mandate_model::ActionName::parse("read").unwrap());
    let ended = What::TaskEnded {
        task: task(1),
        state: TaskState::Closed,
        count: 2,
    };
    let ended = record(9, &[task(1)], "orchestrator", ended, Decision::Noted);
    records.push(ended);
    for (index, record) in (0..).zip(&mut records) {
        record.index = index;
    }
    records
}

fn exported(records: &[Record]) -> Value {
    serde_json::to_value(trace(records, false)).unwrap()
}

/// Each span, with the name of the service that it is of.
fn spans(exported: &Value) -> Vec<(String, Value)> {
    let mut spans = Vec::new();
    for group in exported["resourceSpans"].as_array().unwrap() {
        let service = said(&group["resource"], "service.name");
        for span in group["scopeSpans"][0]["spans"].as_array().unwrap() {
            spans.push((
                service["stringValue"].as_str().unwrap().to_owned(),
                span.clone(),
            ));
        }
    }
    spans
}

fn named(exported: &Value, name: &str) -> Value {
    let mut found = spans(exported)
        .into_iter()
        .filter(|(_, span)| span["name"] == name);
    let (_, span) = found.next().unwrap_or_else(|| panic!("no span `{name}`"));
    span
}

/// The value of an attribute; null where it is not said.
fn said(span: &Value, key: &str) -> Value {
    let all = span["attributes"].as_array().into_iter().flatten();
    let mut found = all.filter(|attribute| attribute["key"] == key);
    found
        .next()
        .map_or(Value::Null, |found| found["value"].clone())
}

#[test]
fn every_span_leads_to_the_root_task_and_that_to_its_cause() {
    let exported = exported(&whole());
    let spans = spans(&exported);
    let trace = "00000000-03e8-7101-8101-010101010101".replace('-', "");
    let ids: Vec<&Value> = spans.iter().map(|(_, span)| &span["spanId"]).collect();
    let mut roots = Vec::new();
    for (_, span) in &spans {
        assert_eq!(span["traceId"].as_str(), Some(trace.as_str()), "{span}");
        match span.get("parentSpanId") {
            Some(parent) => assert!(ids.contains(&parent), "{span}"),
            None => roots.push(span),
        }
    }
    assert_eq!(roots.len(), 1, "{roots:?}");
    let root = roots[0];
    assert_eq!(root["name"], "task support-case");
    for (key, value) in [
        ("enduser.id", "user:login:alice"),
        ("mandate.trigger.kind", "schedule"),
        ("mandate.trigger.name", "nightly"),
        ("mandate.trigger.item", "4711"),
        ("mandate.trigger.verified", "none"),
        ("mandate.task.state", "closed"),
    ] {
        assert_eq!(said(root, key)["stringValue"], value, "{key}");
    }
    let child = named(&exported, "task retriever");
    assert_eq!(child["parentSpanId"], root["spanId"]);
    for step in ["issue access", "GET /customers/{customer}", "access"] {
        let step = named(&exported, step);
        assert_eq!(step["parentSpanId"], child["spanId"], "{step}");
    }
}

#[test]
fn spans_are_of_the_agent_type_whose_doing_they_are() {
    let exported = exported(&whole());
    let services: Vec<(String, Value)> = spans(&exported)
        .into_iter()
        .map(|(service, span)| (service, span["name"].clone()))
        .collect();
    let of = |service: &str, span: &str| services.contains(&(service.to_owned(), span.into()));
    assert!(of("orchestrator", "task support-case"), "{services:?}");
    assert!(of("retriever", "task retriever"), "{services:?}");
    assert!(of("retriever", "GET /customers/{customer}"), "{services:?}");
    let resource = &exported["resourceSpans"][1]["resource"];
    assert_eq!(
        said(resource, "service.namespace")["stringValue"],
        "a.example"
    );
}

#[test]
fn an_access_lasts_from_its_decision_to_its_end_and_a_denial_is_an_error_with_its_rule() {
    let exported = exported(&whole());
    let access = named(&exported, "GET /customers/{customer}");
    assert_eq!(access["startTimeUnixNano"], "2000000000");
    assert_eq!(access["endTimeUnixNano"], "3000000000");
    assert_eq!(access["kind"], 3);
    assert_eq!(said(&access, "http.request.method")["stringValue"], "GET");
    assert_eq!(
        said(&access, "http.response.status_code")["intValue"],
        "200"
    );
    assert_eq!(access["status"], json!({}));
    assert_eq!(access["events"][0]["name"], "mandate.progress");
    let denied = named(&exported, "access");
    let error = json!({"code": 2, "message": "mandate.unfit"});
    assert_eq!(denied["status"], error);
    assert_eq!(said(&denied, "error.type")["stringValue"], "mandate.unfit");
}

#[test]
fn an_access_that_did_not_end_well_is_an_error() {
    for (outcome, status, rule, error) in [
        (Outcome::Completed, Some(503), None, "503"),
        (Outcome::Cut, Some(200), Some("stopped"), "stopped"),
        (Outcome::AgentGone, None, None, "agent_gone"),
    ] {
        let mut records = whole();
        let end = &mut records[5].event;
        end.rule = rule.map(str::to_owned);
        end.what = What::AccessCompleted {
            admitted: 0,
            admitted_in: None,
            outcome,
            status,
            bytes_up: 0,
            bytes_down: 0,
            usage: None,
        };
        let access = named(&exported(&records), "GET /customers/{customer}");
        assert_eq!(access["status"]["message"], error);
    }
}

#[test]
fn what_a_reply_of_a_model_took_is_said_in_the_words_of_the_conventions() {
    let mut records = whole();
    if let What::AccessCompleted { usage, .. } = &mut records[5].event.what {
        *usage = Some(Usage {
            model: Some("gpt-4.1".to_owned()),
            input: Some(37),
            output: Some(11),
            cached: Some(30),
            cache_write: Some(5),
            reasoning: Some(6),
            incomplete: Some(Incomplete::BrokeOff),
        });
    }
    let access = named(&exported(&records), "GET /customers/{customer}");
    for (name, count) in [
        ("gen_ai.usage.input_tokens", "37"),
        ("gen_ai.usage.output_tokens", "11"),
        ("gen_ai.usage.cache_read.input_tokens", "30"),
        ("gen_ai.usage.cache_creation.input_tokens", "5"),
        ("gen_ai.usage.reasoning.output_tokens", "6"),
    ] {
        assert_eq!(said(&access, name)["intValue"], count, "{name}");
    }
    for (name, text) in [
        ("gen_ai.response.model", "gpt-4.1"),
        ("mandate.usage.incomplete", "broke_off"),
    ] {
        assert_eq!(said(&access, name)["stringValue"], text, "{name}");
    }
}

#[test]
fn links_lead_to_the_callers_own_trace_and_to_the_exchange_that_gave_the_token() {
    let records = whole();
    let access = named(&exported(&records), "GET /customers/{customer}");
    let issued = named(&exported(&records), "issue access");
    let links = access["links"].as_array().unwrap();
    assert_eq!(links.len(), 2);
    assert_eq!(
        (links[0]["traceId"].as_str(), links[0]["spanId"].as_str()),
        (Some(TRACE), Some(SPAN))
    );
    let claimed = said(&links[0], "mandate.link");
    assert_eq!(claimed["stringValue"], "claimed_by_the_caller");
    assert_eq!(links[1]["spanId"], issued["spanId"]);
    assert_ne!(
        access["traceId"], TRACE,
        "what the caller says names no task"
    );

    let mut records = whole();
    records[3].event.span = None;
    let access = named(&exported(&records), "GET /customers/{customer}");
    assert_eq!(access["links"].as_array().unwrap().len(), 1);
}

#[test]
fn a_task_ends_with_the_one_above_it_and_an_open_one_where_it_was_heard_of_last() {
    let mut records = whole();
    let child = named(&exported(&records), "task retriever");
    assert_eq!(child["endTimeUnixNano"], "9000000000");
    records.pop();
    let child = named(&exported(&records), "task retriever");
    assert_eq!(child["endTimeUnixNano"], "4000000000");
    assert_eq!(said(&child, "mandate.task.state")["stringValue"], "open");
}

#[test]
fn the_same_task_is_the_same_trace_whenever_it_is_exported() {
    let records = whole();
    let ids = |records: &[Record]| -> Vec<Value> {
        let all = spans(&exported(records));
        all.into_iter()
            .map(|(_, span)| span["spanId"].clone())
            .collect()
    };
    let (early, late) = (ids(&records[..3]), ids(&records));
    assert!(
        early.iter().all(|id| late.contains(id)),
        "{early:?} {late:?}"
    );
    let distinct: std::collections::BTreeSet<String> = late.iter().map(Value::to_string).collect();
    assert_eq!(distinct.len(), late.len());
}

#[test]
fn what_is_left_out_is_said_and_a_completion_without_its_decision_stands_for_itself() {
    let records = whole();
    let value = serde_json::to_value(trace(&records[5..], true)).unwrap();
    let root = named(&value, "task ?");
    assert_eq!(said(&root, "mandate.left_out")["boolValue"], true);
    let end = named(&value, "access_completed");
    assert_eq!(said(&end, "http.response.status_code")["intValue"], "200");
    assert_eq!(trace(&[], false).summary(), None);
}

#[test]
fn a_trace_in_parts_is_the_whole_trace() {
    let whole = trace(&whole(), false);
    let (id, all) = whole.summary().unwrap();
    let parts = whole.in_parts(2);
    let mut sum = 0;
    for part in parts {
        let (of, spans) = part.summary().unwrap();
        assert!(of == id && spans <= 2);
        sum += spans;
    }
    assert_eq!(sum, all);
}

#[test]
fn the_document_is_the_golden_one() {
    let json = serde_json::to_string_pretty(&trace(&whole(), false)).unwrap();
    let json = json.replace(env!("CARGO_PKG_VERSION"), "its version");
    insta::assert_snapshot!(json);
}
