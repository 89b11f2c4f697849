//! Tasks: kept whole, live only with their ancestors, ended with all below.

use mandate_model::mandate::Budget;
use mandate_model::stop::{Lineage, Stopped};
use mandate_model::task::{Task, TaskState};
use mandate_model::{Instance, InstanceId, ProviderName, StopVersion, Timestamp};
use mandate_ports::{Change, Conflict, Unit};

use super::fixture::{
    NOW, UNLIMITED, after, child, commit, conflict, delegate, end, open, operators_root, root,
    task_id, unit,
};
use super::{Store, StoreFactory};

pub(super) async fn run<F: StoreFactory>(factory: &F) {
    a_task_is_read_as_it_was_stored(&factory.fresh().await).await;
    a_task_id_is_taken_once(&factory.fresh().await).await;
    a_task_is_live_only_with_every_ancestor(&factory.fresh().await).await;
    a_task_ends_with_all_below_and_nothing_beside(&factory.fresh().await).await;
    the_first_instance_stays_the_only_one(&factory.fresh().await).await;
    a_task_that_was_read_before_is_read_as_it_is_now(&factory.fresh().await).await;
}

async fn state(store: &impl Store, task: &Task) -> TaskState {
    store.task(task.record.id).await.unwrap().unwrap().state
}

async fn a_task_is_read_as_it_was_stored(store: &impl Store) {
    let parent = root(1, UNLIMITED);
    let middle = child(&parent, 2, UNLIMITED);
    let leaf = child(&middle, 3, UNLIMITED);
    commit(store, open(&parent)).await;
    commit(store, delegate(&middle)).await;
    commit(store, delegate(&leaf)).await;
    commit(store, open(&root(4, UNLIMITED))).await;
    for task in [&parent, &middle, &leaf] {
        assert_eq!(
            store.task(task.record.id).await.unwrap().as_ref(),
            Some(task)
        );
    }
    let by_operator = operators_root(5);
    commit(store, open(&by_operator)).await;
    assert_eq!(
        store.task(task_id(5)).await.unwrap().as_ref(),
        Some(&by_operator)
    );
    assert_eq!(store.task(task_id(9)).await.unwrap(), None);
    let tree = store.subtree(parent.record.id).await.unwrap();
    assert_eq!(tree, [parent, middle.clone(), leaf.clone()]);
    assert_eq!(
        store.subtree(middle.record.id).await.unwrap(),
        [middle, leaf]
    );
    assert!(store.subtree(task_id(9)).await.unwrap().is_empty());
}

async fn a_task_id_is_taken_once(store: &impl Store) {
    let parent = root(1, UNLIMITED);
    commit(store, open(&parent)).await;
    assert_eq!(conflict(store, open(&parent)).await, Conflict::Used);
    let other = root(6, UNLIMITED);
    commit(store, open(&other)).await;
    let kid = child(&other, 1, UNLIMITED);
    assert_eq!(conflict(store, delegate(&kid)).await, Conflict::Used);
    let orphan = child(&root(7, UNLIMITED), 8, UNLIMITED);
    assert_eq!(
        conflict(store, delegate(&orphan)).await,
        Conflict::NoTask(task_id(7))
    );
}

async fn a_task_is_live_only_with_every_ancestor(store: &impl Store) {
    let parent = root(1, UNLIMITED);
    let mut middle = child(&parent, 2, UNLIMITED);
    middle.record.mandate.expires_at = after(100);
    let leaf = child(&middle, 3, UNLIMITED);
    commit(store, open(&parent)).await;
    commit(store, delegate(&middle)).await;
    commit(store, delegate(&leaf)).await;
    let live = |task: &Task, at: Timestamp| Unit {
        live_tasks: vec![(task.record.id, at)],
        ..unit([])
    };
    commit(store, live(&leaf, after(99))).await;
    let expired = conflict(store, live(&leaf, after(100))).await;
    assert!(matches!(expired, Conflict::TaskNotLive(id) if id != parent.record.id));
    commit(store, live(&parent, after(100))).await;
    let unknown = root(9, UNLIMITED);
    assert_eq!(
        conflict(store, live(&unknown, NOW)).await,
        Conflict::NoTask(task_id(9))
    );
    commit(store, end(&middle, TaskState::Closed)).await;
    assert!(matches!(
        conflict(store, live(&leaf, NOW)).await,
        Conflict::TaskNotLive(_)
    ));
    commit(store, live(&parent, NOW)).await;
}

async fn a_task_ends_with_all_below_and_nothing_beside(store: &impl Store) {
    let parent = root(1, UNLIMITED);
    let (middle, beside) = (child(&parent, 2, UNLIMITED), child(&parent, 3, UNLIMITED));
    let leaf = child(&middle, 4, UNLIMITED);
    commit(store, open(&parent)).await;
    for task in [&middle, &beside, &leaf] {
        commit(store, delegate(task)).await;
    }
    let ended = commit(store, end(&middle, TaskState::Closed)).await;
    assert_eq!(
        ended.versions.stops,
        StopVersion::new(1),
        "gateways must learn of it"
    );
    assert_eq!(state(store, &middle).await, TaskState::Closed);
    assert_eq!(state(store, &leaf).await, TaskState::Cancelled);
    assert_eq!(state(store, &beside).await, TaskState::Open);
    assert_eq!(state(store, &parent).await, TaskState::Open);
    let stops = store.stops(NOW).await.unwrap();
    let path: Vec<_> = leaf.path.iter().collect();
    let lineage = Lineage {
        path: &path,
        ..Lineage::NONE
    };
    assert_eq!(
        stops.check(&lineage),
        Err(Stopped::TaskEnded(middle.record.id))
    );
    assert_eq!(
        store.stops(after(600)).await.unwrap().check(&lineage),
        Err(Stopped::TaskEnded(middle.record.id)),
        "whatever a clock says"
    );
    let again = conflict(store, end(&middle, TaskState::Cancelled)).await;
    assert_eq!(again, Conflict::TaskNotLive(middle.record.id));
    let below = child(&leaf, 5, UNLIMITED);
    assert_eq!(
        conflict(store, delegate(&below)).await,
        Conflict::TaskNotLive(leaf.record.id)
    );
    let unknown = root(9, UNLIMITED);
    assert_eq!(
        conflict(store, end(&unknown, TaskState::Closed)).await,
        Conflict::NoTask(task_id(9))
    );
}

async fn the_first_instance_stays_the_only_one(store: &impl Store) {
    let task = root(1, UNLIMITED);
    commit(store, open(&task)).await;
    let instance = |provider: &str, name: &str| Instance {
        provider: ProviderName::parse(provider).unwrap(),
        id: InstanceId::parse(name).unwrap(),
    };
    let pin = |task, name: &str| {
        let instance = instance("linux", name);
        unit([Change::PinInstance { task, instance }])
    };
    let id = task.record.id;
    commit(store, pin(id, "first")).await;
    commit(store, pin(id, "first")).await;
    assert_eq!(
        conflict(store, pin(id, "second")).await,
        Conflict::Pinned(id)
    );
    let namesake = Change::PinInstance {
        task: id,
        instance: instance("cloud", "first"),
    };
    assert_eq!(
        conflict(store, unit([namesake])).await,
        Conflict::Pinned(id),
        "another provider's instance of that name is another one"
    );
    assert_eq!(
        conflict(store, pin(task_id(9), "first")).await,
        Conflict::NoTask(task_id(9))
    );
    let pinned = store.task(id).await.unwrap().unwrap().instance;
    assert_eq!(pinned, Some(instance("linux", "first")));
}

/// Whatever a store remembers of what it has read.
async fn a_task_that_was_read_before_is_read_as_it_is_now(store: &impl Store) {
    let budget = Budget {
        max_accesses: Some(10),
        max_children: Some(5),
    };
    let parent = root(1, budget);
    let allotted = Budget {
        max_accesses: Some(4),
        max_children: Some(0),
    };
    let kid = child(&parent, 2, allotted);
    let now = async |task: &Task| {
        let read = || async { store.task(task.record.id).await.unwrap().unwrap() };
        let (first, again) = (read().await, read().await);
        assert_eq!(first, again);
        first
    };
    commit(store, open(&parent)).await;
    assert_eq!(now(&parent).await.remaining, budget);
    commit(store, delegate(&kid)).await;
    let left = now(&parent).await.remaining;
    assert_eq!((left.max_accesses, left.max_children), (Some(6), Some(4)));
    let one = Change::ReserveAccesses {
        task: kid.record.id,
        count: 1,
    };
    assert_eq!(now(&kid).await.remaining, allotted);
    commit(store, unit(vec![one])).await;
    assert_eq!(now(&kid).await.remaining.max_accesses, Some(3));
    let instance = Instance {
        provider: ProviderName::parse("host").unwrap(),
        id: InstanceId::parse("pid:7").unwrap(),
    };
    let pin = Change::PinInstance {
        task: kid.record.id,
        instance: instance.clone(),
    };
    commit(store, unit(vec![pin])).await;
    assert_eq!(now(&kid).await.instance, Some(instance));
    commit(store, end(&parent, TaskState::Closed)).await;
    assert_eq!(now(&parent).await.state, TaskState::Closed);
    assert_eq!(now(&kid).await.state, TaskState::Cancelled);
}
