//! Tasks: opened, delegated against a budget (A8), pinned (A5), ended with all below.

use mandate_model::mandate::{Budget, Mandate};
use mandate_model::task::{
    Delegator, Task, TaskChain, TaskPath, TaskRecord, TaskState, WireMandate,
};
use mandate_model::{ActChain, ActorLevel, Instance, TaskId, Thumbprint, Timestamp, Trigger};
use mandate_ports::{Conflict, StoreError};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::column::{get, id, int, json, moment, parse, timestamp, uint, word, word_of};
use crate::failure::{Outcome, damaged, store_error};
use crate::head::Head;

/// What never changes while a task lives and is never searched for.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixed {
    mandate: WireMandate,
    delegator: Delegator,
    chain: TaskChain,
    path: TaskPath,
    trigger: Trigger,
    purpose: String,
    act: Vec<ActorLevel>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Thumbprint>,
}

/// A root task begins, with its mandate's budget whole.
pub(crate) fn open(db: &Connection, task: &Task) -> Outcome<()> {
    insert(db, task)
}

/// A task is delegated. Its allotment and its place among the children are the parent's no longer.
pub(crate) fn delegate(db: &Connection, task: &Task) -> Outcome<()> {
    let parent = task.record.parent.ok_or(Conflict::NoTask(task.record.id))?;
    let left = open_budget(db, parent)?;
    let allotment = task.record.mandate.budget;
    let after = reserved(left, allotment).ok_or(Conflict::Budget { remaining: left })?;
    set_budget(db, parent, after)?;
    insert(db, task)
}

/// What a parent with `left` has after it handed out `allotment`; `None` if it is too little, or
/// if a limited parent would have an unlimited child.
fn reserved(left: Budget, allotment: Budget) -> Option<Budget> {
    let take = |left: Option<u64>, wanted: Option<u64>, more: u64| match left {
        None => Some(None),
        Some(left) => left.checked_sub(wanted?.checked_add(more)?).map(Some),
    };
    Some(Budget {
        max_accesses: take(left.max_accesses, allotment.max_accesses, 0)?,
        max_children: take(left.max_children, allotment.max_children, 1)?,
    })
}

/// `count` accesses are taken from what the task has left.
pub(crate) fn reserve_accesses(db: &Connection, task: TaskId, count: u64) -> Outcome<()> {
    let left = open_budget(db, task)?;
    let Some(accesses) = left.max_accesses else {
        return Ok(());
    };
    let max_accesses = accesses
        .checked_sub(count)
        .ok_or(Conflict::Budget { remaining: left })?;
    set_budget(
        db,
        task,
        Budget {
            max_accesses: Some(max_accesses),
            ..left
        },
    )
}

/// The first instance to act stays the only one.
pub(crate) fn pin(db: &Connection, task: TaskId, instance: &Instance) -> Outcome<()> {
    let (provider, id) = (instance.provider.as_str(), instance.id.as_str());
    db.prepare_cached(
        "UPDATE task SET provider = ?2, instance = ?3 WHERE id = ?1 AND instance IS NULL",
    )?
    .execute(params![task.as_bytes(), provider, id])?;
    let is_ours: bool = db
        .prepare_cached("SELECT provider = ?2 AND instance = ?3 FROM task WHERE id = ?1")?
        .query_row(params![task.as_bytes(), provider, id], |row| row.get(0))
        .optional()?
        .ok_or(Conflict::NoTask(task))?;
    if is_ours {
        Ok(())
    } else {
        Err(Conflict::Pinned(task).into())
    }
}

/// The task ends, and with it all below; what they have left goes to its parent. Those below were
/// ended from outside, whatever the task's own end is called.
pub(crate) fn end(
    db: &Connection,
    head: &mut Head,
    task: TaskId,
    state: TaskState,
    until: Timestamp,
) -> Outcome<()> {
    open_budget(db, task)?;
    let left = left_below(db, task)?;
    db.prepare_cached(&format!(
        "{BELOW} UPDATE task SET state = iif(id = ?1, ?2, 'cancelled'),
         left_accesses = iif(left_accesses IS NULL, NULL, 0),
         left_children = iif(left_children IS NULL, NULL, 0)
         WHERE id IN (SELECT id FROM below) AND state = 'open'"
    ))?
    .execute(params![task.as_bytes(), ending(state)])?;
    give_back(db, task, left)?;
    head.move_stops();
    crate::stops::remember_ended(db, task, until)
}

fn ending(state: TaskState) -> &'static str {
    match state {
        TaskState::Closed => "closed",
        // "Open" is no way to end; whoever says it means the task harm.
        TaskState::Open | TaskState::Cancelled => "cancelled",
    }
}

/// The sum of what the open tasks of a subtree have left.
fn left_below(db: &Connection, task: TaskId) -> Outcome<(u64, u64)> {
    let mut statement = db.prepare_cached(&format!(
        "{BELOW} SELECT left_accesses, left_children FROM task
         WHERE id IN (SELECT id FROM below) AND state = 'open'"
    ))?;
    let mut rows = statement.query([task.as_bytes()])?;
    let (mut accesses, mut children) = (0_u64, 0_u64);
    while let Some(row) = rows.next()? {
        let left = budget(row)?;
        accesses = accesses.saturating_add(left.max_accesses.unwrap_or(0));
        children = children.saturating_add(left.max_children.unwrap_or(0));
    }
    Ok((accesses, children))
}

fn give_back(db: &Connection, task: TaskId, (accesses, children): (u64, u64)) -> Outcome<()> {
    let parent: Option<[u8; 16]> = db
        .prepare_cached("SELECT parent FROM task WHERE id = ?1")?
        .query_row([task.as_bytes()], |row| row.get(0))?;
    let Some(parent) = parent else { return Ok(()) };
    let parent = id(&parent)?;
    let left = open_budget(db, parent)?;
    let after = Budget {
        max_accesses: left.max_accesses.map(|n| n.saturating_add(accesses)),
        max_children: left.max_children.map(|n| n.saturating_add(children)),
    };
    set_budget(db, parent, after)
}

/// That `task` and each of its ancestors is open and unexpired at `at`.
pub(crate) fn check_live(db: &Connection, task: TaskId, at: Timestamp) -> Outcome<()> {
    let mut statement = db.prepare_cached(
        "WITH RECURSIVE up (id, parent, state, expires_at) AS (
             SELECT id, parent, state, expires_at FROM task WHERE id = ?1
             UNION ALL
             SELECT task.id, task.parent, task.state, task.expires_at
             FROM task JOIN up ON task.id = up.parent)
         SELECT id, state = 'open' AND ?2 < expires_at FROM up",
    )?;
    let mut rows = statement.query(params![task.as_bytes(), moment(at)])?;
    let mut known = false;
    while let Some(row) = rows.next()? {
        known = true;
        if !row.get::<_, bool>(1)? {
            return Err(Conflict::TaskNotLive(id(&row.get::<_, [u8; 16]>(0)?)?).into());
        }
    }
    if known {
        Ok(())
    } else {
        Err(Conflict::NoTask(task).into())
    }
}

/// What an open task has left.
fn open_budget(db: &Connection, task: TaskId) -> Outcome<Budget> {
    let row = |row: &Row<'_>| Ok((row.get::<_, String>(2)?, budget(row)));
    let (state, left) = db
        .prepare_cached("SELECT left_accesses, left_children, state FROM task WHERE id = ?1")?
        .query_row([task.as_bytes()], row)
        .optional()?
        .ok_or(Conflict::NoTask(task))?;
    if state == "open" {
        Ok(left?)
    } else {
        Err(Conflict::TaskNotLive(task).into())
    }
}

fn set_budget(db: &Connection, task: TaskId, left: Budget) -> Outcome<()> {
    db.prepare_cached("UPDATE task SET left_accesses = ?2, left_children = ?3 WHERE id = ?1")?
        .execute(params![
            task.as_bytes(),
            left.max_accesses.map(int),
            left.max_children.map(int)
        ])?;
    Ok(())
}

fn budget(row: &Row<'_>) -> Result<Budget, StoreError> {
    Ok(Budget {
        max_accesses: get::<Option<i64>>(row, "left_accesses")?.map(uint),
        max_children: get::<Option<i64>>(row, "left_children")?.map(uint),
    })
}

fn insert(db: &Connection, task: &Task) -> Outcome<()> {
    let record = &task.record;
    let budget = record.mandate.budget;
    let rows = db
        .prepare_cached(
            "INSERT INTO task (id, parent, root, depth, state, expires_at, created_at, instance,
             left_accesses, left_children, principal, may_act, fixed, provider)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
             ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            record.id.as_bytes(),
            record.parent.as_ref().map(TaskId::as_bytes),
            task.path.root().as_bytes(),
            task.path.depth(),
            word_of(&task.state)?,
            moment(record.mandate.expires_at),
            moment(task.created_at),
            task.instance.as_ref().map(|pinned| pinned.id.as_str()),
            budget.max_accesses.map(int),
            budget.max_children.map(int),
            task.principal.to_string(),
            record.may_act.as_str(),
            json(&Fixed::of(task))?,
            task.instance
                .as_ref()
                .map(|pinned| pinned.provider.as_str()),
        ])?;
    if rows == 1 {
        Ok(())
    } else {
        Err(Conflict::Used.into())
    }
}

impl Fixed {
    fn of(task: &Task) -> Self {
        Self {
            mandate: WireMandate::from(&task.record.mandate),
            delegator: task.record.delegator.clone(),
            chain: task.chain,
            path: task.path.clone(),
            trigger: task.trigger.clone(),
            purpose: task.purpose.clone(),
            act: task.act.levels().to_vec(),
            key: task.key,
        }
    }
}

/// A task.
pub(crate) fn task(db: &Connection, task: TaskId) -> Result<Option<Task>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM task WHERE id = ?1");
    db.prepare_cached(&sql)
        .and_then(|mut statement| {
            statement
                .query_row([task.as_bytes()], |row| Ok(from_row(row)))
                .optional()
        })
        .map_err(store_error)?
        .transpose()
}

/// A task and all below it, parents before children.
pub(crate) fn subtree(db: &Connection, task: TaskId) -> Result<Vec<Task>, StoreError> {
    let sql = format!(
        "{BELOW} SELECT {COLUMNS} FROM task WHERE id IN (SELECT id FROM below) ORDER BY depth, id"
    );
    let mut statement = db.prepare_cached(&sql).map_err(store_error)?;
    let mut rows = statement.query([task.as_bytes()]).map_err(store_error)?;
    let mut tasks = Vec::new();
    while let Some(row) = rows.next().map_err(store_error)? {
        tasks.push(from_row(row)?);
    }
    Ok(tasks)
}

fn from_row(row: &Row<'_>) -> Result<Task, StoreError> {
    let fixed: Fixed = parse("a task", &get::<String>(row, "fixed")?)?;
    let parent: Option<[u8; 16]> = get(row, "parent")?;
    let instance = pinned(get(row, "provider")?, get(row, "instance")?)?;
    Ok(Task {
        record: TaskRecord {
            id: id(&get::<[u8; 16]>(row, "id")?)?,
            parent: parent.map(|parent| id(&parent)).transpose()?,
            mandate: Mandate::try_from(fixed.mandate).map_err(|e| damaged("a mandate", e))?,
            delegator: fixed.delegator,
            may_act: word("an agent", get(row, "may_act")?)?,
        },
        path: fixed.path,
        chain: fixed.chain,
        principal: word("a principal", get(row, "principal")?)?,
        trigger: fixed.trigger,
        purpose: fixed.purpose,
        act: ActChain::from_levels(fixed.act)
            .ok_or_else(|| damaged("an actor chain", "it is too long"))?,
        instance,
        key: fixed.key,
        state: word("a task's state", get(row, "state")?)?,
        remaining: budget(row)?,
        created_at: timestamp(get(row, "created_at")?),
    })
}

fn pinned(
    provider: Option<String>,
    instance: Option<String>,
) -> Result<Option<Instance>, StoreError> {
    provider
        .zip(instance)
        .map(|(provider, id)| {
            Ok(Instance {
                provider: word("a provider", provider)?,
                id: word("an instance", id)?,
            })
        })
        .transpose()
}

const COLUMNS: &str = "id, parent, state, created_at, provider, instance, left_accesses, \
                       left_children, principal, may_act, fixed";

/// The task `?1` and all below it.
const BELOW: &str = "WITH RECURSIVE below (id) AS (
    SELECT id FROM task WHERE id = ?1
    UNION ALL
    SELECT task.id FROM task JOIN below ON task.parent = below.id)";
