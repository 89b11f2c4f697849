//! Tasks, records and units to store.

use mandate_audit::{Decision, Event, What};
use mandate_model::mandate::{Budget, Entries, Mandate, RawEntry, parse_entries};
use mandate_model::task::{Delegator, Task, TaskChain, TaskPath, TaskRecord, TaskState};
use mandate_model::{
    ActChain, ActorLevel, AttestationKind, InstanceId, OperatorName, Principal, ProviderName,
    SpiffeId, TaskId, Timestamp, TokenId, Trigger, TriggerKind, Verified,
};
use mandate_ports::{Change, CommitError, Committed, Conflict, Unit, Writer};

/// The moment at which everything happens.
pub(super) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// `NOW` and so many seconds.
pub(super) fn after(secs: u64) -> Timestamp {
    NOW.plus(std::time::Duration::from_secs(secs))
}

pub(super) fn task_id(n: u32) -> TaskId {
    TaskId::new(NOW, random(n))
}

pub(super) fn token_id(n: u32) -> TokenId {
    TokenId::new(NOW, random(n))
}

fn random(n: u32) -> [u8; 10] {
    let mut bytes = [0x5a; 10];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    bytes
}

pub(super) fn agent(name: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://acme.example/agent/{name}")).unwrap()
}

pub(super) fn actor(name: &str) -> ActorLevel {
    ActorLevel {
        sub: agent(name),
        inst: InstanceId::parse(&format!("{name}-1")).unwrap(),
        prv: ProviderName::parse("linux").unwrap(),
        att: AttestationKind::Process,
        host: None,
    }
}

pub(super) fn principal() -> Principal {
    Principal::parse("user:login:alice").unwrap()
}

pub(super) fn operator() -> Principal {
    Principal::parse("operator:root").unwrap()
}

pub(super) fn accesses(n: u64) -> Budget {
    Budget {
        max_accesses: Some(n),
        max_children: None,
    }
}

pub(super) const UNLIMITED: Budget = Budget {
    max_accesses: None,
    max_children: None,
};

fn entries() -> Entries {
    let raw = r#"[{"type": "mandate_access", "server": "records", "actions": ["read"],
        "constraints": {"customer": {"in": ["acme"]}, "amount_cents": {"max": 100}}}]"#;
    parse_entries(serde_json::from_str::<Vec<RawEntry>>(raw).unwrap()).unwrap()
}

/// A root task that an operator opened.
pub(super) fn operators_root(n: u32) -> Task {
    let task = root(n, UNLIMITED);
    let name = OperatorName::parse("root").unwrap();
    let record = TaskRecord {
        delegator: Delegator::operator(name),
        ..task.record
    };
    Task {
        chain: TaskChain::after(&TaskChain::ORIGIN, &record),
        record,
        ..task
    }
}

/// A root task that lives an hour.
pub(super) fn root(n: u32, budget: Budget) -> Task {
    let record = TaskRecord {
        id: task_id(n),
        parent: None,
        mandate: Mandate {
            entries: entries(),
            not_before: None,
            expires_at: after(3600),
            budget,
            max_depth: 8,
        },
        delegator: actor("orchestrator").into(),
        may_act: agent("orchestrator"),
    };
    Task {
        path: TaskPath::root_of(record.id),
        chain: TaskChain::after(&TaskChain::ORIGIN, &record),
        principal: principal(),
        trigger: Trigger {
            kind: TriggerKind::Schedule {
                name: "nightly".to_owned(),
            },
            verified: Verified::None,
            provider: None,
            item: Some("4711".to_owned()),
        },
        purpose: "answer-case".to_owned(),
        act: ActChain::empty(),
        instance: None,
        key: None,
        state: TaskState::Open,
        remaining: budget,
        created_at: NOW,
        record,
    }
}

/// A task delegated by `parent`.
pub(super) fn child(parent: &Task, n: u32, budget: Budget) -> Task {
    let mut record = parent.record.clone();
    record.id = task_id(n);
    record.parent = Some(parent.record.id);
    record.mandate.budget = budget;
    record.may_act = agent("retriever");
    Task {
        path: parent.path.child(record.id).unwrap(),
        chain: TaskChain::after(&parent.chain, &record),
        act: parent.act.pushed(actor("orchestrator")).unwrap(),
        remaining: budget,
        record,
        ..parent.clone()
    }
}

/// A record that says nothing but `message`.
pub(super) fn event(message: &str) -> Event {
    let what = What::Alarm {
        message: message.to_owned(),
    };
    Event::new(NOW, what, Decision::Noted)
}

/// A unit of `changes` with one record.
pub(super) fn unit(changes: impl IntoIterator<Item = Change>) -> Unit {
    Unit {
        changes: changes.into_iter().collect(),
        events: vec![event("a change")],
        ..Unit::default()
    }
}

pub(super) fn open(task: &Task) -> Unit {
    unit([Change::OpenTask(Box::new(task.clone()))])
}

pub(super) fn delegate(task: &Task) -> Unit {
    unit([Change::DelegateTask(Box::new(task.clone()))])
}

pub(super) fn end(task: &Task, state: TaskState) -> Unit {
    let task = task.record.id;
    unit([Change::EndTask {
        task,
        state,
        until: after(600),
    }])
}

/// Commits `unit`, which collides with nothing.
pub(super) async fn commit(store: &impl Writer, unit: Unit) -> Committed {
    store.commit(unit).await.unwrap()
}

/// What `unit` collides with.
pub(super) async fn conflict(store: &impl Writer, unit: Unit) -> Conflict {
    match store.commit(unit).await {
        Err(CommitError::Conflict(conflict)) => conflict,
        other => panic!("a conflict was due: {other:?}"),
    }
}
