use std::collections::HashMap;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use mandate_model::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{Decision, NoteError, Tree, What};

struct Log {
    entries: Vec<Option<Vec<u8>>>,
    nodes: HashMap<NodeId, Hash>,
}

fn record(n: u64) -> Vec<u8> {
    let what = What::Alarm {
        message: format!("number {n}"),
    };
    Event::new(Timestamp::from_secs(n), what, Decision::Noted)
        .canonical()
        .unwrap()
}

fn log(size: u64) -> (Log, String) {
    let entries: Vec<_> = (0..size).map(record).collect();
    let (mut tree, mut nodes) = (Tree::new(), HashMap::new());
    for entry in &entries {
        tree.append(leaf_hash(entry), |id, hash| {
            nodes.insert(id, hash);
        });
    }
    let note = sign(tree.size(), tree.root());
    (
        Log {
            entries: entries.into_iter().map(Some).collect(),
            nodes,
        },
        note,
    )
}

fn pair() -> (Ed25519KeyPair, NoteKey) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
    let key = NoteKey::new(
        "acme.example/log",
        pair.public_key().as_ref().try_into().unwrap(),
    );
    (pair, key.unwrap())
}

fn sign(size: u64, root: Hash) -> String {
    let (pair, key) = pair();
    let checkpoint = Checkpoint::new(key.name(), size, root).unwrap();
    let signature = pair.sign(checkpoint.text().as_bytes());
    checkpoint
        .sign(&key, signature.as_ref().try_into().unwrap())
        .unwrap()
}

impl Log {
    fn verify(&self, note: &str) -> Report {
        let entries = self
            .entries
            .iter()
            .enumerate()
            .filter_map(|(n, entry)| Some((n as u64, entry.as_ref()?)));
        verify_log(
            entries,
            |id| self.nodes.get(&id).copied(),
            Some(note),
            &pair().1,
        )
    }

    fn at(&mut self, index: u64) -> &mut Vec<u8> {
        self.entries[usize::try_from(index).unwrap()]
            .as_mut()
            .unwrap()
    }

    /// Computes the stored nodes above `index` anew, up to `level`, as a patient attacker would.
    fn cover_up(&mut self, index: u64, level: u8) {
        for at in 0..=level {
            let id = NodeId {
                level: at,
                index: index >> at,
            };
            let hash = match at {
                0 => leaf_hash(self.at(index)),
                _ => {
                    let child = |n| NodeId {
                        level: at - 1,
                        index: id.index * 2 + n,
                    };
                    match (self.nodes.get(&child(0)), self.nodes.get(&child(1))) {
                        (Some(left), Some(right)) => node_hash(left, right),
                        _ => return,
                    }
                }
            };
            self.nodes.insert(id, hash);
        }
    }
}

#[test]
fn a_whole_log_is_whole_and_confirmed() {
    for size in [0, 1, 2, 7, 64, 100] {
        let (log, note) = log(size);
        let report = log.verify(&note);
        assert!(report.is_whole(), "{report:?}");
        assert_eq!((report.size, report.confirmed), (size, size));
    }
}

#[test]
fn a_record_that_was_changed_is_named() {
    let (mut log, note) = log(21);
    log.at(13)[40] ^= 1;
    let root = Fault::Root { first: 0, last: 20 };
    assert_eq!(
        log.verify(&note).faults,
        [Fault::Changed { index: 13 }, root]
    );
}

#[test]
fn a_record_changed_together_with_its_stored_hash_is_confined_to_its_neighbour() {
    let (mut log, note) = log(21);
    *log.at(13) = record(99);
    log.cover_up(13, 0);
    let root = Fault::Root { first: 0, last: 20 };
    let report = log.verify(&note);
    assert_eq!(
        report.faults,
        [
            Fault::Subtree {
                first: 12,
                last: 13
            },
            root.clone()
        ]
    );
    log.cover_up(13, 2);
    let report = log.verify(&note);
    assert_eq!(
        report.faults,
        [Fault::Subtree { first: 8, last: 15 }, root.clone()]
    );
    log.cover_up(13, 5);
    assert_eq!(log.verify(&note).faults, [root]);
}

#[test]
fn an_earlier_checkpoint_narrows_what_is_in_doubt() {
    let (early, early_note) = log(8);
    drop(early);
    let (mut log, note) = log(21);
    *log.at(13) = record(99);
    log.cover_up(13, 5);
    let key = pair().1;
    let open = |note: &str| Checkpoint::open(note, &key).unwrap();
    let mut verifier = LogVerifier::new([open(&note), open(&early_note)]);
    for entry in &log.entries {
        verifier.record(entry.as_deref(), |id| log.nodes.get(&id).copied());
    }
    let report = verifier.finish();
    assert_eq!(report.faults, [Fault::Root { first: 8, last: 20 }]);
    assert_eq!(report.confirmed, 8);
}

fn against(log: &Log, kept: &str, doubted: bool) -> Report {
    let kept = Checkpoint::open(kept, &pair().1).unwrap();
    let mut verifier = LogVerifier::new([]).since(kept, doubted);
    for entry in &log.entries {
        verifier.record(entry.as_deref(), |id| log.nodes.get(&id).copied());
    }
    verifier.finish()
}

#[test]
fn a_checkpoint_kept_elsewhere_tells_a_log_that_grew_from_one_that_was_rolled_back_or_forked() {
    let (grown, _) = log(21);
    let (_, kept) = log(8);
    let verdict = |report: &Report| report.since.map(|since| (since.size, since.verdict));
    let report = against(&grown, &kept, false);
    assert_eq!(verdict(&report), Some((8, Verdict::Consistent)));
    assert!(report.is_whole() && report.confirmed == 8, "{report:?}");

    let (shorter, _) = log(7);
    let report = against(&shorter, &kept, false);
    assert_eq!(verdict(&report), Some((8, Verdict::RolledBack)));
    assert_eq!(report.faults, [Fault::Missing { first: 7, last: 7 }]);

    let (mut other, _) = log(21);
    *other.at(3) = record(99);
    other.cover_up(3, 5);
    let report = against(&other, &kept, false);
    assert_eq!(verdict(&report), Some((8, Verdict::Forked)));
    assert_eq!(report.faults, [Fault::Root { first: 0, last: 7 }]);

    let (mut holed, _) = log(21);
    holed.entries[3] = None;
    let report = against(&holed, &kept, false);
    let consistent = Some((8, Verdict::Consistent));
    assert_eq!(verdict(&report), consistent, "its stored hash stands in");
    assert_eq!(report.faults, [Fault::Missing { first: 3, last: 3 }]);
    for level in 0..4 {
        let index = 3 >> level;
        holed.nodes.remove(&NodeId { level, index });
    }
    let report = against(&holed, &kept, false);
    assert_eq!(verdict(&report), Some((8, Verdict::Undecided)));
    assert!(!report.is_whole());
}

#[test]
fn a_checkpoint_of_an_empty_log_is_consistent_with_every_log() {
    let (_, kept) = log(0);
    let report = against(&log(3).0, &kept, false);
    let since = report.since.unwrap();
    assert_eq!((since.size, since.verdict), (0, Verdict::Consistent));
}

#[test]
fn a_checkpoint_of_a_doubted_key_is_compared_and_confirms_nothing() {
    let (grown, note) = log(21);
    let (_, kept) = log(8);
    let report = against(&grown, &kept, true);
    assert!(report.is_whole() && report.confirmed == 0, "{report:?}");
    let note = Checkpoint::open(&note, &pair().1).unwrap();
    let mut verifier = LogVerifier::new([]).doubting([note]);
    for entry in &log(20).0.entries {
        verifier.record(entry.as_deref(), |id| grown.nodes.get(&id).copied());
    }
    verifier.record(Some(&record(99)), |_| None);
    let faults = verifier.finish().faults;
    let root = Fault::Root { first: 0, last: 20 };
    assert!(faults.contains(&root), "{faults:?}");
}

#[test]
fn a_stored_node_that_was_changed_or_lost_is_named_and_no_record() {
    for level in 0..4 {
        let (mut log, note) = log(21);
        let id = NodeId { level, index: 1 };
        log.nodes.get_mut(&id).unwrap()[0] ^= 1;
        assert_eq!(log.verify(&note).faults, [Fault::StoredNode(id)]);
        log.nodes.remove(&id);
        assert_eq!(log.verify(&note).faults, [Fault::StoredNode(id)]);
    }
}

#[test]
fn missing_records_are_named_and_the_rest_still_checked() {
    let (mut log, note) = log(21);
    log.entries[4] = None;
    log.entries[5] = None;
    log.at(9)[3] ^= 1;
    let faults = log.verify(&note).faults;
    assert!(
        faults.contains(&Fault::Missing { first: 4, last: 5 }),
        "{faults:?}"
    );
    assert!(faults.contains(&Fault::Changed { index: 9 }), "{faults:?}");
    log.nodes.remove(&NodeId { level: 0, index: 4 });
    let faults = log.verify(&note).faults;
    assert!(faults.contains(&Fault::Changed { index: 9 }), "{faults:?}");
}

#[test]
fn a_log_that_was_cut_off_misses_its_tail() {
    let (mut log, note) = log(21);
    log.entries.truncate(18);
    assert_eq!(
        log.verify(&note).faults,
        [Fault::Missing {
            first: 18,
            last: 20
        }]
    );
}

#[test]
fn a_gap_of_absurd_size_is_not_walked() {
    let (log, note) = log(1);
    let entries = [(0, record(0)), (u64::MAX, record(1))];
    let report = verify_log(
        entries,
        |id| log.nodes.get(&id).copied(),
        Some(&note),
        &pair().1,
    );
    assert_eq!(
        report.faults,
        [Fault::Missing {
            first: 1,
            last: u64::MAX - 1
        }]
    );
}

#[test]
fn a_record_that_is_not_canonical_is_named_even_where_the_tree_fits() {
    let spaced = [record(1).as_slice(), b" "].concat();
    let (mut tree, mut nodes) = (Tree::new(), HashMap::new());
    let entries = [record(0), spaced];
    for entry in &entries {
        tree.append(leaf_hash(entry), |id, hash| {
            nodes.insert(id, hash);
        });
    }
    let log = Log {
        entries: entries.into_iter().map(Some).collect(),
        nodes,
    };
    let report = log.verify(&sign(2, tree.root()));
    assert_eq!(report.faults, [Fault::NotCanonical { index: 1 }]);
}

#[test]
fn a_checkpoint_with_a_bad_signature_is_a_fault_and_confirms_nothing() {
    let (log, note) = log(21);
    let report = log.verify(&note.replace("\n21\n", "\n20\n"));
    let bad = CheckpointError::Note(NoteError::BadSignature("acme.example/log".to_owned()));
    assert_eq!(report.faults, [Fault::Checkpoint(bad)]);
    assert_eq!(report.confirmed, 0);
}

proptest! {
    #[test]
    fn a_single_flipped_bit_of_a_record_is_localised(size in 1u64..300, a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>(), bit in 0u8..8) {
        let (mut log, note) = log(size);
        let index = a.index(log.entries.len()) as u64;
        let at = b.index(log.at(index).len());
        log.at(index)[at] ^= 1 << bit;
        let report = log.verify(&note);
        prop_assert_eq!(report.faults.first(), Some(&Fault::Changed { index }));
        prop_assert_eq!(report.faults.len(), 2);
    }

    #[test]
    fn a_covered_up_change_is_never_missed(size in 1u64..300, a in any::<prop::sample::Index>(), level in 0u8..10) {
        let (mut log, note) = log(size);
        let index = a.index(log.entries.len()) as u64;
        *log.at(index) = record(size + 1);
        log.cover_up(index, level);
        let report = log.verify(&note);
        let named = report.faults.iter().any(|fault| {
            matches!(fault, Fault::Subtree { first, last } | Fault::Root { first, last }
                if (first..=last).contains(&&index))
        });
        prop_assert!(named, "{:?}", report);
    }
}
