use mandate_model::mandate::{Budget, Entries, Mandate};
use mandate_model::task::TaskChain;
use mandate_model::{
    ActorLevel, AttestationKind, GatewayId, InstanceId, ProviderName, SpiffeId, Timestamp,
};

use super::super::text::render;
use super::*;
use crate::output::Paint;

pub(in crate::commands::trace) fn task(n: u8) -> TaskId {
    TaskId::new(Timestamp::from_secs(u64::from(n)), [n; 10])
}

pub(in crate::commands::trace) fn agent(name: &str) -> ActorLevel {
    ActorLevel {
        sub: SpiffeId::parse(&format!("spiffe://a.example/agent/{name}")).unwrap(),
        inst: InstanceId::parse("i1").unwrap(),
        prv: ProviderName::parse("process").unwrap(),
        att: AttestationKind::Process,
        host: None,
    }
}

pub(in crate::commands::trace) fn mandate() -> WireMandate {
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

/// What `who` did at second `index`.
pub(in crate::commands::trace) fn record(
    index: u64,
    path: &[TaskId],
    who: &str,
    what: What,
    decision: Decision,
) -> Record {
    let event = Event {
        task: Some(TaskPath::try_from(path.to_vec()).unwrap()),
        actors: vec![agent(who)],
        principal: Some(Principal::parse("user:login:alice").unwrap()),
        ..Event::new(Timestamp::from_secs(index), what, decision)
    };
    Record { index, event }
}

pub(in crate::commands::trace) fn in_spool(mut record: Record, seq: u64) -> Record {
    record.event.spool = Some(SpoolKey {
        gateway: GatewayId::parse("g1").unwrap(),
        spool: "s".to_owned(),
        seq,
    });
    record
}

/// Two agents, a delegated task, an access that was allowed and one that was not.
pub(in crate::commands::trace) fn story() -> Vec<Record> {
    let (root, child) = (vec![task(1)], vec![task(1), task(2)]);
    let opened = What::TaskOpened {
        purpose: "support-case".to_owned(),
        mandate: mandate(),
        chain: TaskChain::ORIGIN,
        policy: PolicyName::parse("support-case").unwrap(),
        may_act: None,
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
        admitted_in: None,
        outcome: mandate_audit::Outcome::Completed,
        status: Some(200),
        bytes_up: 0,
        bytes_down: 42,
        usage: None,
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
    let trace = Trace::of(&story(), false).unwrap();
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
fn a_task_that_an_operator_opened_is_its_agents_and_the_operator_is_the_cause() {
    let opened = What::TaskOpened {
        purpose: "repair".to_owned(),
        mandate: mandate(),
        chain: TaskChain::ORIGIN,
        policy: PolicyName::parse("repair").unwrap(),
        may_act: Some(agent("backlog").sub),
    };
    let mut opened = record(0, &[task(1)], "nobody", opened, Decision::Allowed);
    opened.event.actors.clear();
    opened.event.principal = Some(Principal::parse("operator:oncall").unwrap());
    opened.event.detail = Some("INC-4711".to_owned());
    let trace = Trace::of(&[opened], false).unwrap();
    assert_eq!(trace.task.agent.as_deref(), Some("backlog"));
    let text = render(&trace, false, Paint::NONE);
    for word in ["operator:oncall", "backlog", "repair", "INC-4711"] {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
}

#[test]
fn an_access_that_did_not_end_well_says_by_which_rule() {
    let mut records = story();
    records[3].event.rule = Some("upstream.echo".to_owned());
    records[3].event.what = What::AccessCompleted {
        admitted: 0,
        admitted_in: None,
        outcome: mandate_audit::Outcome::UpstreamFailed,
        status: Some(200),
        bytes_up: 0,
        bytes_down: 0,
        usage: None,
    };
    let trace = Trace::of(&records, false).unwrap();
    let outcome = trace.task.children[0].steps[0].outcome.clone().unwrap();
    assert_eq!(outcome["rule"], "upstream.echo");
    let text = render(&trace, false, Paint::NONE);
    let said = "→ upstream_failed after 0 bytes by upstream.echo";
    assert!(text.contains(said), "{text}");
}

#[test]
fn what_a_reply_of_a_model_took_is_shown() {
    let mut records = story();
    let all = mandate_audit::Usage {
        model: Some("claude-sonnet-4-5".to_owned()),
        input: Some(1125),
        output: Some(15),
        cached: Some(1000),
        cache_write: Some(100),
        reasoning: Some(7),
        incomplete: None,
    };
    let silent = mandate_audit::Usage {
        incomplete: Some(mandate_audit::Incomplete::TooLong),
        ..mandate_audit::Usage::default()
    };
    for (said, shown) in [
        (
            all,
            "→ 200, 42 bytes, 1125 tokens in (1000 cached, 100 to cache), 15 tokens out (7 reasoning) of claude-sonnet-4-5",
        ),
        (silent, "→ 200, 42 bytes, tokens unknown (too_long)"),
    ] {
        if let What::AccessCompleted { usage, .. } = &mut records[3].event.what {
            *usage = Some(said);
        }
        let trace = Trace::of(&records, false).unwrap();
        let text = render(&trace, false, Paint::NONE);
        assert!(text.contains(shown), "{text}");
    }
}

#[test]
fn a_completion_of_another_spool_is_nobody_elses() {
    let mut records = story();
    records[3].event.spool.as_mut().unwrap().spool = "t".to_owned();
    let trace = Trace::of(&records, false).unwrap();
    assert!(trace.task.children[0].steps[0].outcome.is_none());
}

#[test]
fn the_printed_tree_names_everybody() {
    let text = render(&Trace::of(&story(), false).unwrap(), false, Paint::NONE);
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
    assert!(Trace::of(&[], false).is_none());
}

#[test]
fn a_completion_in_a_spool_that_was_begun_meanwhile_reaches_its_decision() {
    let mut records = story();
    let end = &mut records[3].event;
    end.spool.as_mut().unwrap().spool = "t".to_owned();
    if let What::AccessCompleted { admitted_in, .. } = &mut end.what {
        *admitted_in = Some("s".to_owned());
    }
    let trace = Trace::of(&records, false).unwrap();
    let step = &trace.task.children[0].steps[0];
    assert_eq!(step.outcome.as_ref().unwrap()["status"], 200);
}

#[test]
fn a_task_with_an_earlier_id_than_its_parent_is_shown_with_all_below_it() {
    let mut records = story();
    // The clock stepped back between the parent and its children.
    let path = [task(9), task(5), task(7)];
    for record in &mut records {
        let depth = record.event.task.as_ref().unwrap().iter().count();
        record.event.task = Some(TaskPath::try_from(path[..=depth].to_vec()).unwrap());
    }
    let trace = Trace::of(&records, true).unwrap();
    assert_eq!(trace.task.id, task(9));
    let child = &trace.task.children[0];
    assert_eq!((child.id, child.children[0].id), (task(5), task(7)));
    assert_eq!(child.children[0].steps.len(), 2);
    let text = render(&trace, false, Paint::NONE);
    assert!(text.contains("left out"), "{text}");
    assert!(!render(&Trace::of(&records, false).unwrap(), false, Paint::NONE).contains("left out"));
}
