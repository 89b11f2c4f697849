//! One live key for each instance, and what becomes of the one before (A5).

use mandate_model::stop::{Lineage, Stopped};
use mandate_model::{Instance, InstanceId, ProviderName, StopVersion, Thumbprint, Timestamp};
use mandate_ports::{Change, Conflict, HeldKey, StateReader, Unit};

use super::fixture::{NOW, after, commit, conflict, event, unit};
use super::state::use_once;
use super::{Store, StoreFactory};

pub(super) async fn run<F: StoreFactory>(factory: &F) {
    an_instance_has_one_live_key(&factory.fresh().await).await;
    a_replaced_key_is_void_and_does_not_come_back(factory).await;
    what_was_decided_on_another_key_is_not_stored(&factory.fresh().await).await;
    a_proof_is_used_once_with_what_it_brought(factory).await;
}

const OLD: Thumbprint = Thumbprint::new([1; 32]);
const NEW: Thumbprint = Thumbprint::new([2; 32]);

fn instance(provider: &str) -> Instance {
    Instance {
        provider: ProviderName::parse(provider).unwrap(),
        id: InstanceId::parse("one").unwrap(),
    }
}

fn held(key: Option<Thumbprint>, at: Timestamp) -> HeldKey {
    HeldKey {
        instance: instance("linux"),
        key,
        at,
    }
}

fn bind(taken_for: Option<Thumbprint>, key: Thumbprint, at: u64, until: u64) -> Unit {
    unit([Change::BindKey {
        holder: held(taken_for, after(at)),
        key,
        until: after(until),
    }])
}

/// A unit that rests on the instance having this key.
fn resting_on(key: Option<Thumbprint>, at: u64) -> Unit {
    Unit {
        held_keys: vec![held(key, after(at))],
        events: vec![event("decided")],
        ..Unit::default()
    }
}

async fn an_instance_has_one_live_key(store: &impl Store) {
    let live = |provider, at| {
        let instance = instance(provider);
        async move { store.live_key(&instance, after(at)).await.unwrap() }
    };
    assert_eq!(live("linux", 0).await, None);
    let bound = commit(store, bind(None, OLD, 0, 60)).await;
    assert_eq!(bound.versions.stops, StopVersion::new(0), "nothing is void");
    assert_eq!(live("linux", 59).await, Some(OLD));
    assert_eq!(live("linux", 60).await, None, "it has expired");
    assert_eq!(live("cloud", 0).await, None, "a namesake is another one");
    commit(store, bind(Some(OLD), OLD, 10, 90)).await;
    commit(store, bind(Some(OLD), OLD, 10, 30)).await;
    assert_eq!(live("linux", 89).await, Some(OLD), "the later end holds");
    // Who did not know of it is told, and who knows replaces it.
    let another = Conflict::KeyReplaced(instance("linux"));
    assert_eq!(conflict(store, bind(None, NEW, 20, 90)).await, another);
    let replaced = commit(store, bind(Some(OLD), NEW, 20, 120)).await;
    assert_eq!(replaced.versions.stops, StopVersion::new(1));
    assert_eq!(live("linux", 20).await, Some(NEW));
}

async fn a_replaced_key_is_void_and_does_not_come_back<F: StoreFactory>(factory: &F) {
    let store = factory.fresh().await;
    commit(&store, bind(None, OLD, 0, 60)).await;
    commit(&store, bind(Some(OLD), NEW, 1, 60)).await;
    let store = factory.reopened(store).await;
    let stops = store.stops(NOW).await.unwrap();
    let bound_to = |key| {
        stops.check(&Lineage {
            holder: Some(key),
            ..Lineage::NONE
        })
    };
    assert_eq!(bound_to(&OLD), Err(Stopped::KeyReplaced));
    assert_eq!(bound_to(&NEW), Ok(()));
    let kept: Vec<_> = stops.replaced_keys().collect();
    assert_eq!(kept, [(&OLD, &after(60))], "as long as what is bound to it");
    let again = conflict(&store, bind(Some(NEW), OLD, 2, 60)).await;
    assert_eq!(again, Conflict::KeyReplaced(instance("linux")));
    // By then nothing is bound to either of them any more.
    let late = conflict(&store, bind(None, OLD, 1_000, 1_060)).await;
    assert_eq!(late, Conflict::KeyReplaced(instance("linux")));
    commit(&store, bind(None, NEW, 1_000, 1_060)).await;
}

async fn what_was_decided_on_another_key_is_not_stored(store: &impl Store) {
    commit(store, resting_on(None, 0)).await;
    commit(store, bind(None, OLD, 0, 60)).await;
    commit(store, resting_on(Some(OLD), 1)).await;
    let another = Conflict::KeyReplaced(instance("linux"));
    for (key, at) in [(None, 1), (Some(NEW), 1), (Some(OLD), 60)] {
        assert_eq!(conflict(store, resting_on(key, at)).await, another);
    }
    commit(store, resting_on(None, 60)).await;
}

/// The proof and what it was shown for are one: neither is stored without the other, and a process
/// that comes later knows.
async fn a_proof_is_used_once_with_what_it_brought<F: StoreFactory>(factory: &F) {
    let store = factory.fresh().await;
    let once = |taken_for, key, at| {
        let mut unit = bind(taken_for, key, at, 60);
        unit.changes.push(use_once("dpop", "proof", after(60)));
        unit
    };
    commit(&store, once(None, OLD, 0)).await;
    let store = factory.reopened(store).await;
    assert_eq!(
        conflict(&store, once(Some(OLD), NEW, 1)).await,
        Conflict::Used
    );
    let live = store.live_key(&instance("linux"), after(1)).await.unwrap();
    assert_eq!(live, Some(OLD), "the key was not replaced");
}
