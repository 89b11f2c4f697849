//! Stops, single use, bundles, keys and gateways; and that all of it outlives the process.

use mandate_audit::{Decision, Event, What};
use mandate_model::stop::{Lineage, Shown, StopSet, Stopped, Subject, Suspension};
use mandate_model::task::TaskState;
use mandate_model::{
    BundleVersion, GatewayId, KeyId, KeysVersion, Principal, Secret, ServerName, StopVersion,
    Timestamp,
};
use mandate_ports::{
    BundleRecord, Change, Conflict, GatewayRecord, KeyPurpose, KeyRecord, KeyState, LogReader,
    SpoolHead, StateReader, Unit,
};

use super::fixture::{
    NOW, accesses, after, agent, child, commit, conflict, delegate, end, open, operator, root,
    token_id, unit,
};
use super::{Store, StoreFactory};

pub(super) async fn run<F: StoreFactory>(factory: &F) {
    a_suspension_gets_its_version_from_the_store(&factory.fresh().await).await;
    the_first_suspension_stays_and_everyone_who_suspended_is_known(factory).await;
    a_resumption_needs_a_suspension(&factory.fresh().await).await;
    a_revoked_token_is_void_whatever_a_clock_says(&factory.fresh().await).await;
    an_identifier_is_used_once_per_scope(&factory.fresh().await).await;
    a_bundle_is_applied_on_the_one_that_was_seen(&factory.fresh().await).await;
    a_key_moves_through_its_life_and_stays_retired(&factory.fresh().await).await;
    a_gateway_is_as_it_last_announced(&factory.fresh().await).await;
    everything_outlives_the_process(factory).await;
}

fn suspension(subject: Subject, reason: &str) -> Suspension {
    Suspension {
        subject,
        reason: reason.to_owned(),
        operator: operator(),
        version: StopVersion::new(0),
        at: NOW,
    }
}

fn retriever() -> Subject {
    Subject::Agent {
        id: agent("retriever"),
    }
}

async fn recorded(store: &impl Store, index: u64) -> What {
    let range = store.entries(index, 1).await.unwrap();
    Event::parse(&range.entries[0]).unwrap().what
}

async fn a_suspension_gets_its_version_from_the_store(store: &impl Store) {
    let subject = Subject::Server {
        name: ServerName::parse("records").unwrap(),
    };
    commit(store, unit([Change::Suspend(suspension(subject, "INC-1"))])).await;
    let what = What::Suspended {
        subject: retriever(),
        version: StopVersion::new(0),
        reason: "INC-2".to_owned(),
    };
    let told = Event::new(NOW, what, Decision::Noted);
    let change = Change::Suspend(suspension(retriever(), "INC-2"));
    let committed = commit(
        store,
        Unit {
            events: vec![told],
            ..unit([change])
        },
    )
    .await;
    assert_eq!(committed.versions.stops, StopVersion::new(2));
    let stops = store.stops(NOW).await.unwrap();
    assert_eq!(stops.version(), StopVersion::new(2));
    let found = stops
        .suspensions()
        .find(|s| s.subject == retriever())
        .unwrap();
    let expected = Suspension {
        version: StopVersion::new(2),
        ..suspension(retriever(), "INC-2")
    };
    assert_eq!(*found, expected);
    let What::Suspended { version, .. } = recorded(store, committed.receipts[0].index).await else {
        panic!("a suspension was recorded");
    };
    assert_eq!(
        version,
        StopVersion::new(2),
        "the record tells the version that it got"
    );
}

async fn the_first_suspension_stays_and_everyone_who_suspended_is_known<F: StoreFactory>(
    factory: &F,
) {
    let store = factory.fresh().await;
    assert!(store.suspenders(&retriever()).await.unwrap().is_empty());
    let of = |name: &str| Principal::parse(&format!("operator:{name}")).unwrap();
    let suspend = |name: &str| {
        unit([Change::Suspend(Suspension {
            operator: of(name),
            ..suspension(retriever(), name)
        })])
    };
    let by = |names: [&str; 3]| names.map(of).to_vec();
    for name in ["zoe", "bob", "zoe", "amy"] {
        commit(&store, suspend(name)).await;
    }
    let everyone = by(["zoe", "bob", "amy"]);
    assert_eq!(store.suspenders(&retriever()).await.unwrap(), everyone);
    let stops = store.stops(NOW).await.unwrap();
    assert_eq!(stops.version(), StopVersion::new(4), "each is a version");
    let first = stops.suspension(&retriever()).unwrap();
    assert_eq!((&first.operator, &*first.reason), (&of("zoe"), "zoe"));
    assert_eq!(first.version, StopVersion::new(1));

    let other = Subject::Everything;
    commit(&store, unit([Change::Suspend(suspension(other, "INC-2"))])).await;
    let store = factory.reopened(store).await;
    assert_eq!(store.suspenders(&retriever()).await.unwrap(), everyone);
    commit(&store, unit([Change::Resume(retriever())])).await;
    assert!(store.suspenders(&retriever()).await.unwrap().is_empty());
    commit(&store, suspend("bob")).await;
    assert_eq!(store.suspenders(&retriever()).await.unwrap(), [of("bob")]);
}

async fn a_resumption_needs_a_suspension(store: &impl Store) {
    let resume = || unit([Change::Resume(retriever())]);
    assert_eq!(
        conflict(store, resume()).await,
        Conflict::NotSuspended(retriever())
    );
    commit(
        store,
        unit([Change::Suspend(suspension(retriever(), "INC-1"))]),
    )
    .await;
    let resumed = commit(store, resume()).await;
    assert_eq!(
        resumed.versions.stops,
        StopVersion::new(2),
        "a resumption is a version too"
    );
    assert_eq!(store.stops(NOW).await.unwrap().suspensions().count(), 0);
    assert_eq!(
        conflict(store, resume()).await,
        Conflict::NotSuspended(retriever())
    );
}

async fn a_revoked_token_is_void_whatever_a_clock_says(store: &impl Store) {
    let revoke = Change::RevokeToken {
        token: token_id(1),
        until: after(60),
    };
    let committed = commit(store, unit([revoke])).await;
    assert_eq!(committed.versions.stops, StopVersion::new(1));
    let earlier = Change::RevokeToken {
        token: token_id(1),
        until: after(30),
    };
    commit(store, unit([earlier])).await;
    let lineage = Lineage {
        token: Some(Shown {
            id: token_id(1),
            stops: StopVersion::default(),
        }),
        ..Lineage::NONE
    };
    let check = |stops: StopSet| stops.check(&lineage);
    for seconds in [0, 59, 60, 365 * 24 * 3600] {
        assert_eq!(
            check(store.stops(after(seconds)).await.unwrap()),
            Err(Stopped::TokenRevoked(token_id(1)))
        );
    }
}

pub(super) fn use_once(scope: &str, id: &str, until: Timestamp) -> Change {
    Change::UseOnce {
        scope: scope.to_owned(),
        id: id.to_owned(),
        until,
    }
}

async fn an_identifier_is_used_once_per_scope(store: &impl Store) {
    let once = |scope, id| unit([use_once(scope, id, after(60))]);
    commit(store, once("proof", "a")).await;
    commit(store, once("proof", "b")).await;
    commit(store, once("id-token/x", "a")).await;
    assert_eq!(conflict(store, once("proof", "a")).await, Conflict::Used);
    let twice = unit([
        use_once("proof", "c", after(60)),
        use_once("proof", "c", after(60)),
    ]);
    assert_eq!(conflict(store, twice).await, Conflict::Used);
}

fn bundle(text: &str) -> BundleRecord {
    BundleRecord {
        files: vec![
            ("agents.yaml".to_owned(), text.to_owned()),
            ("b.yaml".to_owned(), String::new()),
        ],
        digest: "ab".repeat(32),
        operator: operator(),
        at: NOW,
    }
}

async fn a_bundle_is_applied_on_the_one_that_was_seen(store: &impl Store) {
    let apply = |base, text| {
        unit([Change::ApplyBundle {
            base: BundleVersion::new(base),
            record: bundle(text),
        }])
    };
    assert_eq!(
        conflict(store, apply(1, "x")).await,
        Conflict::Bundle(BundleVersion::new(0))
    );
    let first = commit(store, apply(0, "kind: \"AgentType\" # é\n")).await;
    assert_eq!(first.versions.bundle, BundleVersion::new(1));
    assert_eq!(
        conflict(store, apply(0, "late")).await,
        Conflict::Bundle(BundleVersion::new(1))
    );
    commit(store, apply(1, "second")).await;
    let live = store.bundle(None).await.unwrap().unwrap();
    assert_eq!(live, (BundleVersion::new(2), bundle("second")));
    let earlier = store
        .bundle(Some(BundleVersion::new(1)))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(earlier.1, bundle("kind: \"AgentType\" # é\n"));
    assert_eq!(
        store.bundle(Some(BundleVersion::new(3))).await.unwrap(),
        None
    );
}

pub(super) fn key(name: &str, since: u64) -> KeyRecord {
    KeyRecord {
        id: KeyId::parse(name).unwrap(),
        purpose: KeyPurpose::Oauth,
        state: KeyState::Announced,
        since: after(since),
        pkcs8: Secret::new(vec![7; 138]),
        public: vec![4; 65],
    }
}

async fn a_key_moves_through_its_life_and_stays_retired(store: &impl Store) {
    commit(
        store,
        unit([Change::AddKey(key("k1", 0)), Change::AddKey(key("k2", 1))]),
    )
    .await;
    let set = |name: &str, state| {
        let (key, since) = (KeyId::parse(name).unwrap(), after(9));
        unit([Change::SetKeyState { key, state, since }])
    };
    let signing = commit(store, set("k1", KeyState::Signing)).await;
    assert_eq!(
        signing.versions.keys,
        KeysVersion::new(3),
        "each change is a version"
    );
    let keys = store.keys().await.unwrap();
    let seen: Vec<_> = keys
        .iter()
        .map(|k| (k.id.as_str(), k.state, k.since))
        .collect();
    assert!(
        seen.contains(&("k1", KeyState::Signing, after(9))),
        "{seen:?}"
    );
    assert!(
        seen.contains(&("k2", KeyState::Announced, after(1))),
        "{seen:?}"
    );
    assert!(
        keys.iter()
            .all(|k| k.pkcs8.expose() == &[7; 138] && k.public == [4; 65])
    );
    commit(store, set("k1", KeyState::Retired)).await;
    assert_eq!(store.keys().await.unwrap().len(), 1);
    let no_key = Conflict::NoKey(KeyId::parse("k1").unwrap());
    assert_eq!(conflict(store, set("k1", KeyState::Signing)).await, no_key);
    assert_eq!(
        conflict(store, unit([Change::AddKey(key("k2", 0))])).await,
        Conflict::Used
    );
}

fn gateway(name: &str, next: u64) -> GatewayRecord {
    GatewayRecord {
        id: GatewayId::parse(name).unwrap(),
        lease_ms: 15_000,
        at: after(next),
        stops: StopVersion::new(next),
        head: SpoolHead {
            spool: "s1".to_owned(),
            next,
            chain: chain(next),
        },
    }
}

fn chain(n: u64) -> String {
    let start = mandate_audit::SpoolChain::ORIGIN;
    (0..n)
        .fold(start, |chain, n| chain.after(&n.to_be_bytes()))
        .to_string()
}

async fn a_gateway_is_as_it_last_announced(store: &impl Store) {
    let renew = |name, next| unit([Change::RenewGateway(gateway(name, next))]);
    let before = commit(store, renew("g2", 0)).await.versions;
    commit(store, renew("g1", 1)).await;
    let after = commit(store, renew("g1", 5)).await.versions;
    assert_eq!(before, after, "a lease changes no decision");
    assert_eq!(
        store.gateways().await.unwrap(),
        [gateway("g1", 5), gateway("g2", 0)]
    );
}

async fn everything_outlives_the_process<F: StoreFactory>(factory: &F) {
    let store = factory.fresh().await;
    let parent = root(1, accesses(10));
    let kid = child(&parent, 2, accesses(4));
    commit(&store, open(&parent)).await;
    commit(&store, delegate(&kid)).await;
    commit(&store, end(&kid, TaskState::Cancelled)).await;
    let changes = [
        Change::Suspend(suspension(retriever(), "INC-1")),
        Change::RevokeToken {
            token: token_id(1),
            until: after(60),
        },
        use_once("proof", "a", after(60)),
        Change::ApplyBundle {
            base: BundleVersion::new(0),
            record: bundle("x"),
        },
        Change::AddKey(key("k1", 0)),
        Change::RenewGateway(gateway("g1", 3)),
    ];
    let last = commit(&store, unit(changes)).await;
    let stops = store.stops(NOW).await.unwrap();
    let tree = store.subtree(parent.record.id).await.unwrap();
    let head = store.head().await.unwrap();
    let entries = store.entries(0, 100).await.unwrap();

    let store = factory.reopened(store).await;
    assert_eq!(store.versions().await.unwrap(), last.versions);
    assert_eq!(store.stops(NOW).await.unwrap(), stops);
    assert_eq!(store.subtree(parent.record.id).await.unwrap(), tree);
    assert_eq!(store.head().await.unwrap(), head);
    assert_eq!(store.entries(0, 100).await.unwrap(), entries);
    assert_eq!(
        store.bundle(None).await.unwrap(),
        Some((BundleVersion::new(1), bundle("x")))
    );
    assert_eq!(store.keys().await.unwrap().len(), 1);
    assert_eq!(store.gateways().await.unwrap(), [gateway("g1", 3)]);
    assert_eq!(
        conflict(&store, unit([use_once("proof", "a", after(60))])).await,
        Conflict::Used
    );
    super::units::the_tree_is_that_of_the_entries(&store).await;
    assert_eq!(commit(&store, unit([])).await.receipts[0].index, head.size);
}
