//! Budgets: reserved, never compared (A8). Siblings together cannot have more than their parent.

use mandate_model::mandate::Budget;
use mandate_model::task::{Task, TaskState};
use mandate_ports::{Change, CommitError, Conflict};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::fixture::{
    UNLIMITED, accesses, child, commit, conflict, delegate, end, open, root, task_id, unit,
};
use super::{Store, StoreFactory};

pub(super) async fn run<F: StoreFactory>(factory: &F) {
    siblings_cannot_overspend(&factory.fresh().await).await;
    what_is_left_returns_when_a_task_ends(&factory.fresh().await).await;
    a_limited_parent_has_no_unlimited_child(&factory.fresh().await).await;
    children_are_counted_down_the_tree(&factory.fresh().await).await;
    let mut runner = TestRunner::deterministic();
    for _ in 0..CASES {
        let steps = prop::collection::vec(step(), 1..30);
        let steps = steps.new_tree(&mut runner).unwrap().current();
        the_store_agrees_with_the_model(&factory.fresh().await, &steps).await;
    }
}

async fn left(store: &impl Store, task: &Task) -> Budget {
    store.task(task.record.id).await.unwrap().unwrap().remaining
}

fn reserve(task: &Task, count: u64) -> Change {
    Change::ReserveAccesses {
        task: task.record.id,
        count,
    }
}

async fn siblings_cannot_overspend(store: &impl Store) {
    let parent = root(1, accesses(10));
    let (one, two) = (
        child(&parent, 2, accesses(6)),
        child(&parent, 3, accesses(5)),
    );
    commit(store, open(&parent)).await;
    commit(store, delegate(&one)).await;
    let remaining = accesses(4);
    assert_eq!(
        conflict(store, delegate(&two)).await,
        Conflict::Budget { remaining }
    );
    commit(store, delegate(&child(&parent, 3, accesses(4)))).await;
    let refused = conflict(store, unit([reserve(&parent, 1)])).await;
    assert_eq!(
        refused,
        Conflict::Budget {
            remaining: accesses(0)
        }
    );
    commit(store, unit([reserve(&one, 6)])).await;
    assert!(matches!(
        conflict(store, unit([reserve(&one, 1)])).await,
        Conflict::Budget { .. }
    ));
    let unknown = Change::ReserveAccesses {
        task: task_id(9),
        count: 1,
    };
    assert_eq!(
        conflict(store, unit([unknown])).await,
        Conflict::NoTask(task_id(9))
    );
}

async fn what_is_left_returns_when_a_task_ends(store: &impl Store) {
    let parent = root(1, accesses(10));
    let middle = child(&parent, 2, accesses(8));
    let leaf = child(&middle, 3, accesses(5));
    commit(store, open(&parent)).await;
    commit(store, delegate(&middle)).await;
    commit(store, delegate(&leaf)).await;
    commit(store, unit([reserve(&leaf, 2), reserve(&middle, 1)])).await;
    commit(store, end(&middle, TaskState::Closed)).await;
    assert_eq!(
        left(store, &parent).await,
        accesses(7),
        "ten less three spent"
    );
    assert_eq!(left(store, &leaf).await, accesses(0));
    let spent = conflict(store, unit([reserve(&leaf, 1)])).await;
    assert_eq!(spent, Conflict::TaskNotLive(leaf.record.id));
}

async fn a_limited_parent_has_no_unlimited_child(store: &impl Store) {
    let parent = root(1, accesses(10));
    commit(store, open(&parent)).await;
    let refused = conflict(store, delegate(&child(&parent, 2, UNLIMITED))).await;
    assert_eq!(
        refused,
        Conflict::Budget {
            remaining: accesses(10)
        }
    );
    let free = root(3, UNLIMITED);
    commit(store, open(&free)).await;
    commit(store, delegate(&child(&free, 4, accesses(u64::MAX)))).await;
    commit(store, unit([reserve(&free, 1)])).await;
    assert_eq!(left(store, &free).await, UNLIMITED);
}

async fn children_are_counted_down_the_tree(store: &impl Store) {
    let may_have = |n| Budget {
        max_accesses: None,
        max_children: Some(n),
    };
    let parent = root(1, may_have(3));
    commit(store, open(&parent)).await;
    let middle = child(&parent, 2, may_have(1));
    commit(store, delegate(&middle)).await;
    assert_eq!(
        left(store, &parent).await,
        may_have(1),
        "one child, and one that it may have"
    );
    commit(store, delegate(&child(&middle, 3, may_have(0)))).await;
    let refused = conflict(store, delegate(&child(&middle, 4, may_have(0)))).await;
    assert_eq!(
        refused,
        Conflict::Budget {
            remaining: may_have(0)
        }
    );
    commit(store, delegate(&child(&parent, 5, may_have(0)))).await;
    assert!(matches!(
        conflict(store, delegate(&child(&parent, 6, may_have(0)))).await,
        Conflict::Budget { .. }
    ));
}

/// Something that is tried. Tasks are named by a number, modulo how many there are.
#[derive(Debug, Clone)]
enum Step {
    Open(Budget),
    Delegate(usize, Budget),
    Reserve(usize, u64),
    End(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let limit = || prop::option::weighted(0.8, 0u64..12);
    let budget = move || {
        (limit(), limit()).prop_map(|(max_accesses, max_children)| Budget {
            max_accesses,
            max_children,
        })
    };
    prop_oneof![
        1 => budget().prop_map(Step::Open),
        4 => (any::<usize>(), budget()).prop_map(|(at, budget)| Step::Delegate(at, budget)),
        4 => (any::<usize>(), 0u64..5).prop_map(|(at, n)| Step::Reserve(at, n)),
        1 => any::<usize>().prop_map(Step::End),
    ]
}

/// What the store should have, told by the plainest means.
#[derive(Default)]
struct Model {
    tasks: Vec<Modelled>,
}

struct Modelled {
    task: Task,
    parent: Option<usize>,
    open: bool,
    left: Budget,
    spent: u64,
}

impl Model {
    fn add(&mut self, task: Task, parent: Option<usize>) {
        let left = task.record.mandate.budget;
        self.tasks.push(Modelled {
            task,
            parent,
            open: true,
            left,
            spent: 0,
        });
    }

    /// Whether it is allowed, and the model after it.
    fn delegate(&mut self, at: usize, task: &Task) -> bool {
        let (had, wants) = (self.tasks[at].left, task.record.mandate.budget);
        let fits = |had: Option<u64>, wants: Option<u64>, more| {
            had.is_none_or(|had| wants.is_some_and(|wants| wants + more <= had))
        };
        let allowed = self.tasks[at].open
            && fits(had.max_accesses, wants.max_accesses, 0)
            && fits(had.max_children, wants.max_children, 1);
        if allowed {
            let less = |had: Option<u64>, wants: Option<u64>, more| {
                had.map(|had| had - wants.unwrap() - more)
            };
            self.tasks[at].left = Budget {
                max_accesses: less(had.max_accesses, wants.max_accesses, 0),
                max_children: less(had.max_children, wants.max_children, 1),
            };
            self.add(task.clone(), Some(at));
        }
        allowed
    }

    fn reserve(&mut self, at: usize, n: u64) -> bool {
        let modelled = &mut self.tasks[at];
        let allowed = modelled.open && modelled.left.max_accesses.is_none_or(|left| n <= left);
        if allowed {
            modelled.left.max_accesses = modelled.left.max_accesses.map(|left| left - n);
            modelled.spent += n;
        }
        allowed
    }

    fn end(&mut self, at: usize) -> bool {
        if !self.tasks[at].open {
            return false;
        }
        for below in 0..self.tasks.len() {
            if self.tasks[below].parent == Some(at) {
                self.end(below);
            }
        }
        let returned = std::mem::take(&mut self.tasks[at].left);
        self.tasks[at].open = false;
        self.tasks[at].left = Budget {
            max_accesses: returned.max_accesses.map(|_| 0),
            max_children: returned.max_children.map(|_| 0),
        };
        if let Some(parent) = self.tasks[at].parent {
            let left = &mut self.tasks[parent].left;
            left.max_accesses = left
                .max_accesses
                .map(|n| n + returned.max_accesses.unwrap());
            left.max_children = left
                .max_children
                .map(|n| n + returned.max_children.unwrap());
        }
        true
    }

    /// What was spent at and below `at`.
    fn spent(&self, at: usize) -> u64 {
        let below = (0..self.tasks.len()).filter(|n| self.tasks[*n].parent == Some(at));
        self.tasks[at].spent + below.map(|n| self.spent(n)).sum::<u64>()
    }
}

async fn the_store_agrees_with_the_model(store: &impl Store, steps: &[Step]) {
    let mut model = Model::default();
    model.add(root(0, accesses(9)), None);
    commit(store, open(&model.tasks[0].task)).await;
    for (n, step) in steps.iter().enumerate() {
        let id = u32::try_from(n).unwrap() + 1;
        let pick = |at: &usize| at % model.tasks.len();
        let (unit, allowed) = match step {
            Step::Open(budget) => {
                let task = root(id, *budget);
                model.add(task.clone(), None);
                (open(&task), true)
            }
            Step::Delegate(at, budget) => {
                let at = pick(at);
                if model.tasks[at].task.path.depth() >= mandate_model::mandate::MAX_DEPTH {
                    continue;
                }
                let task = child(&model.tasks[at].task, id, *budget);
                (delegate(&task), model.delegate(at, &task))
            }
            Step::Reserve(at, count) => {
                let at = pick(at);
                let unit = unit([reserve(&model.tasks[at].task, *count)]);
                (unit, model.reserve(at, *count))
            }
            Step::End(at) => {
                let at = pick(at);
                (
                    end(&model.tasks[at].task, TaskState::Cancelled),
                    model.end(at),
                )
            }
        };
        match store.commit(unit).await {
            Ok(_) => assert!(allowed, "step {n} of {steps:?}"),
            Err(CommitError::Conflict(_)) => assert!(!allowed, "step {n} of {steps:?}"),
            Err(error) => panic!("{error}"),
        }
    }
    for (at, modelled) in model.tasks.iter().enumerate() {
        let stored = store.task(modelled.task.record.id).await.unwrap().unwrap();
        assert_eq!(stored.remaining, modelled.left, "task {at} after {steps:?}");
        assert_eq!(stored.state == TaskState::Open, modelled.open);
        if let Some(limit) = modelled.task.record.mandate.budget.max_accesses {
            assert!(
                model.spent(at) <= limit,
                "no subtree spends more than it was given"
            );
        }
    }
}

const CASES: u32 = 24;
