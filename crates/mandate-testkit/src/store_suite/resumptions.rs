//! What a resumption voids: everything issued under its subject before, and nothing after.

use mandate_audit::{Decision, Event, What};
use mandate_model::stop::{Lineage, Resumption, Shown, StopSet, Stopped, Subject, Suspension};
use mandate_model::{ActorLevel, KeyId, StopVersion, Timestamp, TokenId};
use mandate_ports::{Change, Conflict, StateReader, Unit, Versions};

use super::fixture::{NOW, actor, after, agent, commit, conflict, event, operator, token_id, unit};
use super::state::key;
use super::{Store, StoreFactory};

pub(super) async fn run<F: StoreFactory>(factory: &F) {
    a_resumption_voids_what_was_issued_before_and_nothing_after(factory).await;
    a_late_resumption_neither_lifts_a_newer_suspension_nor_spares_what_came_between(
        &factory.fresh().await,
    )
    .await;
    it_is_kept_until_the_last_token_has_expired_whatever_the_clock_was_then(factory).await;
    voiding_all_moves_past_what_was_seen_elsewhere(&factory.fresh().await).await;
}

fn retriever() -> Subject {
    let id = agent("retriever");
    Subject::Agent { id }
}

async fn suspend(store: &impl Store, subject: Subject) -> Versions {
    let suspension = Suspension {
        subject,
        reason: "INC-1".to_owned(),
        operator: operator(),
        version: StopVersion::default(),
        at: NOW,
    };
    commit(store, unit([Change::Suspend(suspension)]))
        .await
        .versions
}

async fn resume(store: &impl Store, subject: Subject) -> Versions {
    commit(store, unit([Change::Resume(subject)]))
        .await
        .versions
}

/// An issuance to `name` that was decided against `seen` and recorded at `now`.
fn issuance(name: &str, token: TokenId, seen: Versions, now: Timestamp) -> Unit {
    let what = What::Issued {
        token_kind: "jwt-svid".to_owned(),
        audience: "https://id.acme.example".to_owned(),
        expires_at: now.plus(std::time::Duration::from_secs(300)),
        key: KeyId::parse("k-1").unwrap(),
        scope: None,
    };
    let event = Event {
        actors: vec![actor(name)],
        stops: Some(seen.stops),
        token: Some(token),
        ..Event::new(now, what, Decision::Allowed)
    };
    Unit {
        expect: Some(seen),
        events: vec![event],
        ..Unit::default()
    }
}

/// Issues a token to `name`; it carries the stop version that it was decided against.
async fn issue(store: &impl Store, name: &str, n: u32) -> (ActorLevel, Shown) {
    let seen = store.versions().await.unwrap();
    commit(store, issuance(name, token_id(n), seen, NOW)).await;
    let shown = Shown {
        id: token_id(n),
        stops: seen.stops,
    };
    (actor(name), shown)
}

fn check(stops: &StopSet, (actor, shown): &(ActorLevel, Shown)) -> Result<(), Stopped> {
    stops.check_at_home(&Lineage {
        actors: std::slice::from_ref(actor),
        token: Some(*shown),
        ..Lineage::NONE
    })
}

async fn a_resumption_voids_what_was_issued_before_and_nothing_after<F: StoreFactory>(factory: &F) {
    let store = factory.fresh().await;
    let before = issue(&store, "retriever", 1).await;
    let other = issue(&store, "executor", 2).await;
    // Other stops move the version too, and void nothing.
    let until = after(60);
    let token = token_id(9);
    commit(&store, unit([Change::RevokeToken { token, until }])).await;
    let late = issue(&store, "retriever", 3).await;
    suspend(&store, retriever()).await;
    let resumed = resume(&store, retriever()).await;
    let fresh = issue(&store, "retriever", 4).await;
    let store = factory.reopened(store).await;
    let stops = store.stops(NOW).await.unwrap();
    for token in [&before, &late] {
        assert_eq!(
            check(&stops, token),
            Err(Stopped::IssuedBefore(retriever()))
        );
    }
    for token in [&other, &fresh] {
        assert_eq!(check(&stops, token), Ok(()));
    }
    let entry = stops.resumptions().cloned().collect::<Vec<_>>();
    let expected = Resumption {
        subject: retriever(),
        version: resumed.stops,
        until: after(300),
    };
    assert_eq!(entry, [expected]);
    // Once more: one entry, and what came in between is void as well.
    suspend(&store, retriever()).await;
    resume(&store, retriever()).await;
    let stops = store.stops(NOW).await.unwrap();
    assert_eq!(stops.resumptions().count(), 1);
    assert!(check(&stops, &fresh).is_err());
    assert_eq!(check(&stops, &other), Ok(()));
}

/// An operator asks to resume; before that is committed another one resumes, the agent attests, and
/// a third suspends again.
async fn a_late_resumption_neither_lifts_a_newer_suspension_nor_spares_what_came_between(
    store: &impl Store,
) {
    let asked_at = suspend(store, retriever()).await;
    resume(store, retriever()).await;
    let between = issue(store, "retriever", 1).await;
    let again = suspend(store, retriever()).await;
    let late = Unit {
        expect: Some(asked_at),
        ..unit([Change::Resume(retriever())])
    };
    assert_eq!(conflict(store, late).await, Conflict::Versions(again));
    let stops = store.stops(NOW).await.unwrap();
    let suspended = Err(Stopped::Suspended(retriever()));
    assert_eq!(check(&stops, &between), suspended);
    resume(store, retriever()).await;
    let stops = store.stops(NOW).await.unwrap();
    let void = Err(Stopped::IssuedBefore(retriever()));
    assert_eq!(check(&stops, &between), void);
    // Decided before, stored after: never.
    let stale = issuance("retriever", token_id(2), again, NOW);
    let now = store.versions().await.unwrap();
    assert_eq!(conflict(store, stale).await, Conflict::Versions(now));
}

async fn it_is_kept_until_the_last_token_has_expired_whatever_the_clock_was_then<
    F: StoreFactory,
>(
    factory: &F,
) {
    let store = factory.fresh().await;
    // The clock is ahead by thirty hours, a token is issued, and the clock is put right.
    let ahead = after(30 * 3600);
    let seen = store.versions().await.unwrap();
    commit(&store, issuance("retriever", token_id(1), seen, ahead)).await;
    suspend(&store, retriever()).await;
    resume(&store, retriever()).await;
    let shown = Shown {
        id: token_id(1),
        stops: seen.stops,
    };
    let store = factory.reopened(store).await;
    for hour in 0..=30 {
        tell(&store, hour * 3600).await;
        let stops = store.stops(after(hour * 3600)).await.unwrap();
        let void = Err(Stopped::IssuedBefore(retriever()));
        assert_eq!(check(&stops, &(actor("retriever"), shown)), void, "{hour}");
    }
    // Long after it is forgotten, or a store would grow for ever.
    for hour in 31..40 {
        tell(&store, hour * 3600).await;
    }
    let stops = store.stops(after(40 * 3600)).await.unwrap();
    assert_eq!(stops.resumptions().count(), 0);
}

async fn tell(store: &impl Store, seconds: u64) {
    let told = Event {
        at: after(seconds),
        ..event("the time")
    };
    let unit = Unit {
        events: vec![told],
        ..Unit::default()
    };
    commit(store, unit).await;
}

async fn voiding_all_moves_past_what_was_seen_elsewhere(store: &impl Store) {
    commit(store, unit([Change::AddKey(key("k1", 0))])).await;
    let before = issue(store, "retriever", 1).await;
    let until = after(300);
    let void = |beyond| {
        let beyond = StopVersion::new(beyond);
        unit([Change::VoidAll { beyond, until }])
    };
    let moved = commit(store, void(40)).await.versions;
    assert_eq!(moved.stops, StopVersion::new(41));
    let lost = (
        actor("executor"),
        Shown {
            id: token_id(2),
            stops: StopVersion::new(40),
        },
    );
    let fresh = issue(store, "retriever", 3).await;
    let stops = store.stops(NOW).await.unwrap();
    let all = Err(Stopped::IssuedBefore(Subject::Everything));
    for token in [&before, &lost] {
        assert_eq!(check(&stops, token), all);
    }
    assert_eq!(check(&stops, &fresh), Ok(()));
    // A session of whoever resumes "everything" is not voided by that, and by this it is.
    let ended = session(&stops, 40);
    assert!(matches!(
        ended,
        Err(Stopped::IssuedBefore(Subject::Key { .. }))
    ));
    assert_eq!(session(&stops, 41), Ok(()));
    // Where nothing was lost it is a version like any other.
    let moved = commit(store, void(7)).await.versions;
    assert_eq!(moved.stops, StopVersion::new(42));
    let stops = store.stops(NOW).await.unwrap();
    assert_eq!(check(&stops, &fresh), all);
}

/// What the stops say of an operator's session that was issued under `stops`.
fn session(stops: &StopSet, issued: u64) -> Result<(), Stopped> {
    let token = Shown {
        id: token_id(9),
        stops: StopVersion::new(issued),
    };
    stops.check_at_home(&Lineage {
        keys: &[KeyId::parse("k1").unwrap()],
        operates: true,
        token: Some(token),
        ..Lineage::NONE
    })
}
