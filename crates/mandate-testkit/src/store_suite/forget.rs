//! What a store may forget, and by whose clock.

use mandate_audit::Event;
use mandate_model::Timestamp;
use mandate_model::task::TaskState;
use mandate_ports::{Change, Conflict, StateReader, Unit};

use super::fixture::{
    NOW, accesses, after, commit, conflict, end, event, open, root, token_id, unit,
};
use super::state::use_once;
use super::{Store, StoreFactory};

pub(super) async fn run<F: StoreFactory>(factory: &F) {
    forgetting_moves_no_version_and_frees_nothing_early(&factory.fresh().await).await;
    a_clock_that_jumps_and_comes_back_makes_nothing_forgotten(factory).await;
    what_expired_long_ago_is_forgotten(&factory.fresh().await).await;
}

const YEAR: u64 = 365 * 24 * 3600;

/// What a clock tells that stands `seconds` after the beginning.
async fn tell(store: &impl Store, seconds: u64) {
    let events = vec![Event {
        at: after(seconds),
        ..event("the time")
    }];
    commit(
        store,
        Unit {
            events,
            ..Unit::default()
        },
    )
    .await;
}

/// Revoked, ended or used once: nothing of it comes back because a clock was wrong for a while.
async fn a_clock_that_jumps_and_comes_back_makes_nothing_forgotten<F: StoreFactory>(factory: &F) {
    let store = factory.fresh().await;
    let task = root(1, accesses(1));
    commit(&store, open(&task)).await;
    commit(&store, end(&task, TaskState::Closed)).await;
    let revoke = Change::RevokeToken {
        token: token_id(1),
        until: after(60),
    };
    let once = || use_once("proof", "a", after(60));
    commit(&store, unit([revoke, once()])).await;
    let before = store.stops(NOW).await.unwrap();
    for seconds in 0..100 {
        tell(&store, YEAR + seconds).await;
    }
    let store = factory.reopened(store).await;
    tell(&store, YEAR + 200).await;
    tell(&store, 30).await;
    tell(&store, 31).await;
    assert_eq!(store.stops(after(31)).await.unwrap(), before);
    assert_eq!(conflict(&store, unit([once()])).await, Conflict::Used);
}

/// Else a store would grow for ever.
async fn what_expired_long_ago_is_forgotten(store: &impl Store) {
    let revoke = Change::RevokeToken {
        token: token_id(1),
        until: after(60),
    };
    commit(store, unit([revoke, use_once("s", "a", after(60))])).await;
    for hours in 0..100 {
        tell(store, hours * 3600).await;
    }
    let now = after(100 * 3600);
    assert_eq!(store.stops(now).await.unwrap().revoked().count(), 0);
    commit(store, unit([use_once("s", "a", now)])).await;
}

async fn forgetting_moves_no_version_and_frees_nothing_early(store: &impl Store) {
    let revoke = Change::RevokeToken {
        token: token_id(1),
        until: after(60),
    };
    let for_ever = Timestamp::from_millis(u64::MAX);
    let once = [
        use_once("s", "short", after(60)),
        use_once("s", "long", for_ever),
    ];
    let before = commit(store, unit(once.into_iter().chain([revoke])))
        .await
        .versions;
    let later = Event {
        at: after(1_000_000),
        ..event("the time")
    };
    let later = commit(
        store,
        Unit {
            events: vec![later],
            ..Unit::default()
        },
    )
    .await;
    assert_eq!(later.versions, before);
    assert_eq!(
        conflict(store, unit([use_once("s", "long", for_ever)])).await,
        Conflict::Used
    );
}
