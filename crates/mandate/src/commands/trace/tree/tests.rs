use mandate_model::mandate::{Budget, Entries, Mandate};
use mandate_model::task::TaskChain;
use mandate_model::{
    ActorLevel, AttestationKind, GatewayId, InstanceId, ProviderName, SpiffeId, Timestamp,
};

use super::super::text::render;
use super::*;
use crate::output::Paint;

fn task(n: u8) -> TaskId {
    TaskId::new(Timestamp::from_secs(u64::from(n)), [n; 10])
}

fn agent(name: &str) -> ActorLevel {
    ActorLevel {
        sub: SpiffeId::parse(&format!("spiffe://a.example/agent/{name}")).unwrap(),
        inst: InstanceId::parse("i1").unwrap(),
        prv: ProviderName::parse("process").unwrap(),
        att: AttestationKind::Process,
        host: None,
    }
}

fn mandate() -> WireMandate {
    let raw = serde_json::json!([{"type": "mandate_access", "server": "records", "actions": ["read"],
        "constraints": {"customer": {"in": ["acme"]}}}]);
    let raw = serde_json::from_value(raw).unwrap();
    let entries: Entries = mandate_model::mandate::parse_entries(raw).unwrap();
    WireMandate::from(&Mandate {
        entries,
        not_before: None,
        expires_at: Timestamp::from_secs(600),
        budget: Budget::default(),
        max_depth: 8,
    })
}

fn record(index: u64, path: &[TaskId], who: &str, what: What, decision: Decision) -> Record {
    let event = Event {
        task: Some(TaskPath::try_from(path.to_vec()).unwrap()),
        actors: vec![agent(who)],
        principal: Some(Principal::parse("user:login:alice").unwrap()),
        ..Event::new(Timestamp::from_secs(index), what, decision)
    };
    Record { index, event }
}

fn in_spool(mut record: Record, seq: u64) -> Record {
    record.event.spool = Some(SpoolKey {
        gateway: GatewayId::parse("g1").unwrap(),
        spool: "s".to_owned(),
        seq,
    });
    record
}

fn story() -> Vec<Record> {
    let (root, child) = (vec![task(1)], vec![task(1), task(2)]);
    let opened = What::TaskOpened {
        purpose: "support-case".to_owned(),
        mandate: mandate(),
        chain: TaskChain::ORIGIN,
        policy: PolicyName::parse("support-case").unwrap(),
    };
    let delegated = What::TaskDelegated {
        may_act: agent("retriever").sub,
        mandate: mandate(),
        chain: TaskChain::ORIGIN,
    };
    let decided = || What::AccessDecided {
        request: "GET /customers/{customer}".to_owned(),
    };
    let completed = What::AccessCompleted {
        admitted: 0,
        outcome: mandate_audit::Outcome::Completed,
        status: Some(200),
        bytes_up: 0,
        bytes_down: 42,
    };
    let mut denied = record(4, &child, "retriever", decided(), Decision::Denied);
    denied.event.rule = Some("mandate.unfit".to_owned());
    vec![
        record(0, &root, "orchestrator", opened, Decision::Allowed),
        record(1, &child, "orchestrator", delegated, Decision::Allowed),
        in_spool(
            record(2, &child, "retriever", decided(), Decision::Allowed),
            0,
        ),
        in_spool(
            record(3, &child, "retriever", completed, Decision::Noted),
            1,
        ),
        in_spool(denied, 2),
    ]
}

#[test]
fn a_trace_leads_from_the_principal_to_each_access_and_its_rule() {
    let trace = Trace::of(&story()).unwrap();
    assert_eq!(trace.principal.unwrap().to_string(), "user:login:alice");
    assert_eq!(trace.purpose.as_deref(), Some("support-case"));
    assert_eq!(trace.task.agent.as_deref(), Some("orchestrator"));
    let child = &trace.task.children[0];
    assert_eq!(child.agent.as_deref(), Some("retriever"));
    assert_eq!(child.mandate, ["records:read where customer in acme"]);
    assert_eq!(
        child.steps.len(),
        2,
        "the completion belongs to its decision"
    );
    assert_eq!(child.steps[0].outcome.as_ref().unwrap()["status"], 200);
    assert_eq!(child.steps[1].rule.as_deref(), Some("mandate.unfit"));
}

#[test]
fn an_access_that_did_not_end_well_says_by_which_rule() {
    let mut records = story();
    records[3].event.rule = Some("upstream.echo".to_owned());
    records[3].event.what = What::AccessCompleted {
        admitted: 0,
        outcome: mandate_audit::Outcome::UpstreamFailed,
        status: Some(200),
        bytes_up: 0,
        bytes_down: 0,
    };
    let trace = Trace::of(&records).unwrap();
    let outcome = trace.task.children[0].steps[0].outcome.clone().unwrap();
    assert_eq!(outcome["rule"], "upstream.echo");
    let text = render(&trace, false, Paint::NONE);
    let said = "→ upstream_failed after 0 bytes by upstream.echo";
    assert!(text.contains(said), "{text}");
}

#[test]
fn a_completion_of_another_spool_is_nobody_elses() {
    let mut records = story();
    records[3].event.spool.as_mut().unwrap().spool = "t".to_owned();
    let trace = Trace::of(&records).unwrap();
    assert!(trace.task.children[0].steps[0].outcome.is_none());
}

#[test]
fn the_printed_tree_names_everybody() {
    let text = render(&Trace::of(&story()).unwrap(), false, Paint::NONE);
    for word in [
        "alice",
        "orchestrator",
        "retriever",
        "mandate.unfit",
        "200",
        "support-case",
    ] {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
    assert!(Trace::of(&[]).is_none());
}
