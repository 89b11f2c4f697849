//! What happened between a decision and its commit: what makes the decision void, and what does not.

use mandate_model::TokenId;
use mandate_model::stop::{Subject, Suspension};
use mandate_model::task::{Task, TaskState};
use mandate_ports::{Change, Conflict, StateReader, Unit, Versions};

use super::fixture::{
    NOW, UNLIMITED, after, agent, child, commit, conflict, delegate, end, open, operator, root,
    task_id, token_id, unit,
};
use super::{Store, StoreFactory};

pub(super) async fn run<F: StoreFactory>(factory: &F) {
    a_revoked_token_and_an_ended_task_void_no_other_s_decision(&factory.fresh().await).await;
    a_suspension_and_its_end_void_every_decision(&factory.fresh().await).await;
    a_decision_on_stops_that_the_store_never_had_is_void(&factory.fresh().await).await;
    a_revoked_token_voids_the_decisions_that_it_was_shown_for(&factory.fresh().await).await;
    an_ended_ancestor_voids_the_decisions_of_its_descendants(&factory.fresh().await).await;
    the_last_suspension_outlives_the_process(factory).await;
}

/// A decision that rests on `expect` alone.
fn decided(expect: Versions) -> Unit {
    Unit {
        expect: Some(expect),
        ..unit([])
    }
}

fn revoke(token: TokenId) -> Unit {
    let until = after(60);
    unit([Change::RevokeToken { token, until }])
}

fn retriever() -> Subject {
    Subject::Agent {
        id: agent("retriever"),
    }
}

fn suspend() -> Unit {
    unit([Change::Suspend(Suspension {
        subject: retriever(),
        reason: "INC-1".to_owned(),
        operator: operator(),
        version: mandate_model::StopVersion::default(),
        at: NOW,
    })])
}

async fn a_revoked_token_and_an_ended_task_void_no_other_s_decision(store: &impl Store) {
    let (mine, theirs) = (root(1, UNLIMITED), root(2, UNLIMITED));
    commit(store, open(&mine)).await;
    let before = commit(store, open(&theirs)).await.versions;
    let issuance = || Unit {
        live_tasks: vec![(mine.record.id, NOW)],
        shown_tokens: vec![token_id(1)],
        ..decided(before)
    };
    commit(store, revoke(token_id(2))).await;
    let ended = commit(store, end(&theirs, TaskState::Closed)).await;
    assert_ne!(ended.versions, before, "gateways learn of both");
    commit(store, issuance()).await;
}

async fn a_suspension_and_its_end_void_every_decision(store: &impl Store) {
    let mut before = store.versions().await.unwrap();
    for change in [suspend(), unit([Change::Resume(retriever())])] {
        let moved = commit(store, change).await.versions;
        // What comes after it makes nothing decided before it good again.
        let now = commit(store, revoke(token_id(1))).await.versions;
        let void = conflict(store, decided(before)).await;
        assert_eq!(void, Conflict::Versions(now));
        commit(store, decided(moved)).await;
        commit(store, decided(now)).await;
        before = now;
    }
}

async fn a_decision_on_stops_that_the_store_never_had_is_void(store: &impl Store) {
    let now = commit(store, revoke(token_id(1))).await.versions;
    let ahead = Versions {
        stops: now.stops.next(),
        ..now
    };
    let void = conflict(store, decided(ahead)).await;
    assert_eq!(void, Conflict::Versions(now));
}

async fn a_revoked_token_voids_the_decisions_that_it_was_shown_for(store: &impl Store) {
    let expect = store.versions().await.unwrap();
    let showing = |tokens: &[TokenId]| Unit {
        shown_tokens: tokens.to_vec(),
        ..decided(expect)
    };
    let both = [token_id(1), token_id(2)];
    commit(store, showing(&both)).await;
    let size = commit(store, revoke(token_id(2))).await.receipts[0].index;
    let void = conflict(store, showing(&both)).await;
    assert_eq!(void, Conflict::TokenRevoked(token_id(2)));
    let receipts = commit(store, showing(&both[..1])).await.receipts;
    assert_eq!(receipts[0].index, size + 1, "the void one left nothing");
}

async fn an_ended_ancestor_voids_the_decisions_of_its_descendants(store: &impl Store) {
    let top = root(1, UNLIMITED);
    let middle = child(&top, 2, UNLIMITED);
    let leaf = child(&middle, 3, UNLIMITED);
    commit(store, open(&top)).await;
    commit(store, delegate(&middle)).await;
    let expect = commit(store, delegate(&leaf)).await.versions;
    let of = |task: &Task| Unit {
        live_tasks: vec![(task.record.id, NOW)],
        ..decided(expect)
    };
    commit(store, of(&leaf)).await;
    commit(store, end(&middle, TaskState::Closed)).await;
    let void = conflict(store, of(&leaf)).await;
    let over = |task| void == Conflict::TaskNotLive(task);
    assert!(over(task_id(2)) || over(task_id(3)), "{void:?}");
    commit(store, of(&top)).await;
}

async fn the_last_suspension_outlives_the_process<F: StoreFactory>(factory: &F) {
    let store = factory.fresh().await;
    let before = store.versions().await.unwrap();
    let suspended = commit(&store, suspend()).await.versions;
    let now = commit(&store, revoke(token_id(1))).await.versions;
    let store = factory.reopened(store).await;
    let void = conflict(&store, decided(before)).await;
    assert_eq!(void, Conflict::Versions(now));
    commit(&store, decided(suspended)).await;
}
