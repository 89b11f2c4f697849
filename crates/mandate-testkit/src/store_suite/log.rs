//! Reading the log: ranges, search, checkpoints.

use mandate_audit::{Checkpoint, Decision, Event, NoteKey, Tree, What, leaf_hash};
use mandate_model::task::{Task, TaskState};
use mandate_model::{ServerName, Timestamp};
use mandate_ports::{CheckpointRefusal, CheckpointStore, LogReader, Search, Unit};

use super::fixture::{
    UNLIMITED, actor, after, agent, child, commit, delegate, event, open, root, token_id,
};
use super::{Store, StoreFactory};

pub(super) async fn run<F: StoreFactory>(factory: &F) {
    a_range_has_what_is_there_and_no_more(&factory.fresh().await).await;
    search_finds_what_matches_and_nothing_else(&factory.fresh().await).await;
    search_pages_backwards(&factory.fresh().await).await;
    a_checkpoint_is_kept_once_per_size_and_only_of_what_is_committed(factory).await;
}

async fn record(store: &impl Store, event: Event) -> u64 {
    let unit = Unit {
        events: vec![event],
        ..Unit::default()
    };
    commit(store, unit).await.receipts[0].index
}

async fn a_range_has_what_is_there_and_no_more(store: &impl Store) {
    for n in 0..5 {
        record(store, event(&n.to_string())).await;
    }
    let lengths = [(0, 3, 3), (3, 3, 2), (5, 3, 0), (0, 0, 0), (u64::MAX, 1, 0)];
    for (first, limit, found) in lengths {
        let range = store.entries(first, limit).await.unwrap();
        assert_eq!(
            (range.first, range.entries.len()),
            (first, found),
            "{limit} from {first}"
        );
    }
    let range = store.entries(3, 1).await.unwrap();
    assert_eq!(range.entries, [event("3").canonical().unwrap()]);
}

/// An access of `task` at `at`.
fn access(task: &Task, at: Timestamp, decision: Decision, server: &str, token: u32) -> Event {
    let what = What::AccessDecided {
        request: "GET /".to_owned(),
    };
    Event {
        task: Some(task.path.clone()),
        actors: vec![actor("retriever"), actor("orchestrator")],
        server: Some(ServerName::parse(server).unwrap()),
        token: Some(token_id(token)),
        ..Event::new(at, what, decision)
    }
}

/// Two trees, and five records: accesses in `left`, `right` and `other`, the revocation of the
/// first one's token, the end of `left`.
async fn searchable(store: &impl Store) -> ([Task; 4], [u64; 5]) {
    let parent = root(1, UNLIMITED);
    let (left, right) = (child(&parent, 2, UNLIMITED), child(&parent, 3, UNLIMITED));
    let other = root(4, UNLIMITED);
    commit(store, open(&parent)).await;
    commit(store, delegate(&left)).await;
    commit(store, delegate(&right)).await;
    commit(store, open(&other)).await;
    let revoked = What::Revoked { token: token_id(1) };
    let ended = What::TaskEnded {
        task: left.record.id,
        state: TaskState::Closed,
        count: 1,
    };
    let events = [
        access(&left, after(1), Decision::Allowed, "records", 1),
        access(&right, after(2), Decision::Denied, "records", 2),
        access(&other, after(3), Decision::Allowed, "refunds", 3),
        Event::new(after(4), revoked, Decision::Noted),
        Event::new(after(5), ended, Decision::Noted),
    ];
    let mut indexes = [0; 5];
    for (index, event) in indexes.iter_mut().zip(events) {
        *index = record(store, event).await;
    }
    ([parent, left, right, other], indexes)
}

async fn search_finds_what_matches_and_nothing_else(store: &impl Store) {
    let ([parent, left, right, other], [a, b, c, d, e]) = searchable(store).await;
    let all = || Search {
        since: Some(after(1)),
        limit: 100,
        ..Search::default()
    };
    let under = |task: &Task| Search {
        under_task: Some(task.record.id),
        ..all()
    };
    let tree = |task: &Task| Search {
        root_task: Some(task.record.id),
        ..all()
    };
    let by = |name| Search {
        agent: Some(agent(name)),
        ..all()
    };
    let decided = |decision: &str| Some(decision.to_owned());
    let cases = [
        (all(), vec![e, d, c, b, a]),
        (under(&left), vec![e, a]),
        (under(&parent), vec![b, a]),
        (tree(&right), vec![b, a]),
        (tree(&other), vec![c]),
        (
            Search {
                token: Some(token_id(1)),
                ..all()
            },
            vec![d, a],
        ),
        (by("retriever"), vec![c, b, a]),
        (by("orchestrator"), vec![]),
        (
            Search {
                server: Some(ServerName::parse("refunds").unwrap()),
                ..all()
            },
            vec![c],
        ),
        (
            Search {
                kind: Some("revoked".to_owned()),
                ..all()
            },
            vec![d],
        ),
        (
            Search {
                decision: decided("denied"),
                ..all()
            },
            vec![b],
        ),
        (
            Search {
                until: Some(after(3)),
                ..all()
            },
            vec![b, a],
        ),
        (
            Search {
                since: Some(after(3)),
                until: Some(after(4)),
                ..all()
            },
            vec![c],
        ),
        (
            Search {
                decision: decided("allowed"),
                ..under(&parent)
            },
            vec![a],
        ),
        (Search { limit: 2, ..all() }, vec![e, d]),
    ];
    for (search, expected) in cases {
        finds(store, &search, &expected).await;
    }
}

async fn finds(store: &impl Store, search: &Search, expected: &[u64]) {
    let found = store.search(search).await.unwrap();
    assert!(found.damaged.is_empty(), "{search:?}");
    let found = found.records;
    let indexes: Vec<u64> = found.iter().map(|(index, _)| *index).collect();
    assert_eq!(indexes, expected, "{search:?}");
    for (index, bytes) in found {
        assert_eq!(store.entries(index, 1).await.unwrap().entries, [bytes]);
    }
}

async fn search_pages_backwards(store: &impl Store) {
    for n in 0..7 {
        record(store, event(&n.to_string())).await;
    }
    let (mut before, mut seen) = (None, Vec::new());
    loop {
        let search = Search {
            before,
            limit: 3,
            ..Search::default()
        };
        let page = store.search(&search).await.unwrap().records;
        let Some((last, _)) = page.last() else { break };
        before = Some(*last);
        seen.extend(page.iter().map(|(index, _)| *index));
    }
    assert_eq!(seen, [6, 5, 4, 3, 2, 1, 0]);
}

/// A signed checkpoint of the first `size` records.
async fn signed(store: &impl Store, size: u64, salt: Option<u8>) -> String {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    let entries = store
        .entries(0, usize::try_from(size).unwrap())
        .await
        .unwrap()
        .entries;
    let mut tree = Tree::new();
    entries
        .iter()
        .for_each(|entry| tree.append(leaf_hash(entry), |_, _| {}));
    let root = salt.map_or_else(|| tree.root(), |salt| [salt; 32]);
    let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
    let public = pair.public_key().as_ref().try_into().unwrap();
    let key = NoteKey::new("acme.example/log", public).unwrap();
    let checkpoint = Checkpoint::new(key.name(), size, root).unwrap();
    let signature = pair.sign(checkpoint.text().as_bytes());
    checkpoint
        .sign(&key, signature.as_ref().try_into().unwrap())
        .unwrap()
}

async fn a_checkpoint_is_kept_once_per_size_and_only_of_what_is_committed<F: StoreFactory>(
    factory: &F,
) {
    let store = factory.fresh().await;
    assert_eq!(store.checkpoint().await.unwrap(), None);
    for n in 0..5 {
        record(&store, event(&n.to_string())).await;
    }
    let three = signed(&store, 3, None).await;
    store.keep_checkpoint(three.clone()).await.unwrap();
    store.keep_checkpoint(three.clone()).await.unwrap();
    let wrong = store
        .keep_checkpoint(signed(&store, 4, Some(9)).await)
        .await;
    assert_eq!(wrong, Err(CheckpointRefusal::Root { size: 4 }));
    let five = signed(&store, 5, None).await;
    let early = Checkpoint::new("acme.example/log", 6, [0; 32]).unwrap();
    let early = format!("{}\n— x {}\n", early.text(), "AAAAAAAA");
    let beyond = CheckpointRefusal::Beyond {
        size: 6,
        committed: 5,
    };
    assert_eq!(store.keep_checkpoint(early).await, Err(beyond));
    store.keep_checkpoint(five.clone()).await.unwrap();
    let back = CheckpointRefusal::Taken { size: 3, latest: 5 };
    assert_eq!(store.keep_checkpoint(three).await, Err(back));
    let malformed = store.keep_checkpoint("hello".to_owned()).await;
    assert!(matches!(malformed, Err(CheckpointRefusal::Malformed(_))));
    let store = factory.reopened(store).await;
    assert_eq!(store.checkpoint().await.unwrap(), Some(five));
}
