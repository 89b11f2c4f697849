//! Units: atomic, in order, checked against the versions that they were decided on.

use std::sync::Arc;

use mandate_audit::{Event, Tree, leaf_hash};
use mandate_model::stop::{Subject, Suspension};
use mandate_model::{StopVersion, TokenId};
use mandate_ports::{
    Change, CommitError, Conflict, LogReader, StateReader, StoreError, Unit, Versions,
};

use super::fixture::{self, NOW, after, commit, conflict, event, unit};
use super::{Store, StoreFactory};

pub(super) async fn run<F: StoreFactory>(factory: &F) {
    a_new_store_is_empty_and_two_have_two_epochs(factory).await;
    a_conflict_leaves_nothing_of_a_unit(&factory.fresh().await).await;
    a_record_without_encoding_leaves_nothing_of_its_unit(&factory.fresh().await).await;
    a_unit_holds_only_against_the_versions_it_was_decided_on(&factory.fresh().await).await;
    receipts_are_consecutive_and_name_their_records(&factory.fresh().await).await;
    concurrent_units_are_each_whole(factory.fresh().await).await;
}

async fn a_new_store_is_empty_and_two_have_two_epochs<F: StoreFactory>(factory: &F) {
    let (one, two) = (factory.fresh().await, factory.fresh().await);
    let versions = one.versions().await.unwrap();
    assert_ne!(versions.epoch, two.versions().await.unwrap().epoch);
    assert_eq!(
        (
            versions.stops.get(),
            versions.bundle.get(),
            versions.keys.get()
        ),
        (0, 0, 0)
    );
    let head = one.head().await.unwrap();
    assert_eq!((head.size, head.root), (0, mandate_audit::empty_root()));
    assert_eq!(one.bundle(None).await.unwrap(), None);
    let again = factory.reopened(one).await;
    assert_eq!(again.versions().await.unwrap(), versions);
}

fn revoke(token: TokenId) -> Change {
    Change::RevokeToken {
        token,
        until: after(60),
    }
}

async fn a_conflict_leaves_nothing_of_a_unit(store: &impl Store) {
    let used = || Change::UseOnce {
        scope: "s".to_owned(),
        id: "i".to_owned(),
        until: after(60),
    };
    commit(store, unit([used()])).await;
    let before = (store.versions().await.unwrap(), store.head().await.unwrap());
    let late = unit([revoke(fixture::token_id(1)), used()]);
    assert_eq!(conflict(store, late).await, Conflict::Used);
    assert_eq!(
        (store.versions().await.unwrap(), store.head().await.unwrap()),
        before
    );
    let check = unit([revoke(fixture::token_id(1))]);
    assert_eq!(commit(store, check).await.receipts[0].index, before.1.size);
}

async fn a_record_without_encoding_leaves_nothing_of_its_unit(store: &impl Store) {
    let too_long = event(&"x".repeat(mandate_audit::MAX_EVENT_BYTES));
    let events = vec![event("first"), too_long];
    let bad = Unit {
        events,
        ..unit([revoke(fixture::token_id(1))])
    };
    let refused = store.commit(bad).await;
    assert!(
        matches!(refused, Err(CommitError::Store(StoreError::Unavailable(_)))),
        "{refused:?}"
    );
    assert_eq!(store.head().await.unwrap().size, 0);
    assert_eq!(store.versions().await.unwrap().stops, StopVersion::new(0));
    assert_eq!(
        commit(store, unit([])).await.receipts[0].index,
        0,
        "the store goes on"
    );
}

async fn a_unit_holds_only_against_the_versions_it_was_decided_on(store: &impl Store) {
    let decided = store.versions().await.unwrap();
    let expecting = |expect| Unit {
        expect: Some(expect),
        ..unit([])
    };
    commit(store, expecting(decided)).await;
    let suspension = Suspension {
        subject: Subject::Everything,
        reason: "INC-1".to_owned(),
        operator: fixture::operator(),
        version: StopVersion::new(0),
        at: NOW,
    };
    let moved = commit(store, unit([Change::Suspend(suspension)]))
        .await
        .versions;
    assert_eq!(
        moved,
        Versions {
            stops: decided.stops.next(),
            ..decided
        }
    );
    assert_eq!(
        conflict(store, expecting(decided)).await,
        Conflict::Versions(moved)
    );
    assert_eq!(store.head().await.unwrap().size, 2);
    commit(store, expecting(moved)).await;
    let bundle = Versions {
        bundle: moved.bundle.next(),
        ..moved
    };
    assert_eq!(
        conflict(store, expecting(bundle)).await,
        Conflict::Versions(moved)
    );
    let keys = Versions {
        keys: moved.keys.next(),
        ..moved
    };
    assert_eq!(
        conflict(store, expecting(keys)).await,
        Conflict::Versions(moved)
    );
}

async fn receipts_are_consecutive_and_name_their_records(store: &impl Store) {
    let mut expected = 0;
    for count in [1_u64, 0, 3] {
        let events: Vec<Event> = (0..count).map(|n| event(&format!("{count}/{n}"))).collect();
        let receipts = commit(
            store,
            Unit {
                events: events.clone(),
                ..Unit::default()
            },
        )
        .await
        .receipts;
        for (receipt, event) in receipts.iter().zip(&events) {
            assert_eq!(receipt.index, expected);
            let range = store.entries(expected, 1).await.unwrap();
            assert_eq!(range.entries, [event.canonical().unwrap()]);
            expected += 1;
        }
        assert_eq!(receipts.len() as u64, count);
    }
    assert_eq!(store.head().await.unwrap().size, expected);
}

async fn concurrent_units_are_each_whole<S: Store>(store: S) {
    let store = Arc::new(store);
    let mut units = tokio::task::JoinSet::new();
    for n in 0..200_u32 {
        let store = Arc::clone(&store);
        // Every fourth collides: of each four, the first to come uses the identifier.
        let id = (n / 4).to_string();
        units.spawn(async move {
            let used = Change::UseOnce {
                scope: "s".to_owned(),
                id,
                until: after(60),
            };
            let events = vec![event(&format!("{n}/0")), event(&format!("{n}/1"))];
            store
                .commit(Unit {
                    events,
                    ..unit([used])
                })
                .await
        });
    }
    let outcomes = units.join_all().await;
    let mut indexes: Vec<u64> = Vec::new();
    for committed in outcomes.iter().flatten() {
        let [first, second] = committed.receipts.as_slice() else {
            panic!("two receipts were due")
        };
        assert_eq!(second.index, first.index + 1);
        indexes.extend([first.index, second.index]);
    }
    indexes.sort_unstable();
    assert_eq!(
        indexes,
        (0..100).collect::<Vec<_>>(),
        "fifty units of two records"
    );
    let conflicts = outcomes
        .iter()
        .filter(|o| matches!(o, Err(CommitError::Conflict(Conflict::Used))));
    assert_eq!(conflicts.count(), 150);
    the_tree_is_that_of_the_entries(&*store).await;
}

/// The committed root follows from the entries alone, and every node is stored.
pub(super) async fn the_tree_is_that_of_the_entries(store: &impl Store) {
    let head = store.head().await.unwrap();
    let range = store.entries(0, usize::MAX).await.unwrap();
    assert_eq!(range.entries.len() as u64, head.size);
    let (mut tree, mut nodes) = (Tree::new(), Vec::new());
    for entry in &range.entries {
        tree.append(leaf_hash(entry), |id, hash| nodes.push((id, hash)));
    }
    assert_eq!(tree.root(), head.root);
    let ids: Vec<_> = nodes.iter().map(|(id, _)| *id).collect();
    assert_eq!(
        store.nodes(&ids).await.unwrap(),
        nodes.into_iter().collect()
    );
    assert_eq!(store.node(0, head.size).await.unwrap(), None);
}
