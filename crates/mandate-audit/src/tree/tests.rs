use std::collections::HashMap;
use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

/// RFC 6962 §2.1, word for word; nothing of the code under test but SHA-256.
fn naive_root(entries: &[Vec<u8>]) -> Hash {
    match entries {
        [] => Sha256::digest([]).into(),
        [one] => Sha256::digest([&[0], one.as_slice()].concat()).into(),
        _ => {
            let mut k = 1;
            while k * 2 < entries.len() {
                k *= 2;
            }
            let (left, right) = entries.split_at(k);
            Sha256::digest([&[1], &naive_root(left)[..], &naive_root(right)[..]].concat()).into()
        }
    }
}

fn entries(n: u64) -> Vec<Vec<u8>> {
    (0..n).map(|i| format!("entry {i}").into_bytes()).collect()
}

fn grown(entries: &[Vec<u8>]) -> (Tree, HashMap<NodeId, Hash>) {
    let (mut tree, mut nodes) = (Tree::new(), HashMap::new());
    for entry in entries {
        tree.append(leaf_hash(entry), |id, hash| {
            assert!(nodes.insert(id, hash).is_none(), "{id:?} twice");
        });
    }
    (tree, nodes)
}

fn look(nodes: &HashMap<NodeId, Hash>) -> impl FnMut(NodeId) -> Result<Option<Hash>, Infallible> {
    |id| Ok(nodes.get(&id).copied())
}

fn hex(hash: Hash) -> String {
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn the_empty_tree_and_the_empty_leaf_hash_as_rfc_6962_says() {
    assert_eq!(
        hex(Tree::new().root()),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    assert_eq!(
        hex(leaf_hash(b"")),
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    );
}

#[test]
fn every_small_tree_has_the_root_of_the_recursive_definition() {
    for n in 0..70 {
        let entries = entries(n);
        let (tree, nodes) = grown(&entries);
        assert_eq!(tree.root(), naive_root(&entries), "{n} leaves");
        assert_eq!(Tree::load(n, look(&nodes)).unwrap(), tree);
        let root = ProofPlan::root(n).build(look(&nodes)).unwrap();
        assert_eq!(
            root.first().copied().unwrap_or_else(empty_root),
            tree.root()
        );
    }
}

#[test]
fn every_leaf_of_every_small_tree_is_proved_and_no_other() {
    for n in 1..40 {
        let entries = entries(n);
        let (tree, nodes) = grown(&entries);
        for index in 0..n {
            let proof = ProofPlan::inclusion(index, n)
                .unwrap()
                .build(look(&nodes))
                .unwrap();
            let leaf = leaf_hash(&entries[usize::try_from(index).unwrap()]);
            let root = tree.root();
            assert_eq!(
                verify_inclusion(&leaf, index, n, &proof, &root),
                Ok(()),
                "{index} of {n}"
            );
            assert!(verify_inclusion(&leaf_hash(b"x"), index, n, &proof, &root).is_err());
            for other in (0..n + 2).filter(|other| *other != index) {
                assert!(verify_inclusion(&leaf, other, n, &proof, &root).is_err());
            }
        }
        assert_eq!(ProofPlan::inclusion(n, n), None);
    }
}

#[test]
fn every_prefix_of_every_small_tree_is_proved_and_no_other_tree() {
    for new in 0..40 {
        let (tree, nodes) = grown(&entries(new));
        for old in 0..=new {
            let (before, _) = grown(&entries(old));
            let proof = ProofPlan::consistency(old, new)
                .unwrap()
                .build(look(&nodes))
                .unwrap();
            let (was, is) = (before.root(), tree.root());
            assert_eq!(
                verify_consistency((old, &was), (new, &is), &proof),
                Ok(()),
                "{old} to {new}"
            );
            assert!(verify_consistency((old, &leaf_hash(b"x")), (new, &is), &proof).is_err());
            if old > 0 {
                assert!(verify_consistency((old, &was), (new, &leaf_hash(b"x")), &proof).is_err());
            }
        }
        assert_eq!(ProofPlan::consistency(new + 1, new), None);
    }
}

#[test]
fn a_missing_node_is_named() {
    let (_, mut nodes) = grown(&entries(5));
    let gone = NodeId { level: 2, index: 0 };
    nodes.remove(&gone);
    let plan = ProofPlan::inclusion(4, 5).unwrap();
    assert_eq!(plan.build(look(&nodes)), Err(BuildError::Missing(gone)));
    assert!(plan.nodes().any(|id| id == gone));
    assert_eq!(Tree::load(5, look(&nodes)), Err(BuildError::Missing(gone)));
}

#[test]
fn absurd_sizes_do_not_overflow() {
    let hash = empty_root();
    assert!(verify_inclusion(&hash, u64::MAX, u64::MAX, &[hash; 64], &hash).is_err());
    assert!(verify_inclusion(&hash, 0, 0, &[], &hash).is_err());
    assert!(verify_consistency((u64::MAX - 1, &hash), (u64::MAX, &hash), &[hash; 65]).is_err());
    assert!(verify_consistency((5, &hash), (4, &hash), &[]).is_err());
    assert!(
        ProofPlan::inclusion(u64::MAX - 1, u64::MAX)
            .unwrap()
            .nodes()
            .count()
            < 65
    );
}

proptest! {
    #[test]
    fn proofs_verify_and_any_flipped_bit_fails(
        new in 1u64..700, a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>(), bit in 0usize..256,
    ) {
        let entries = entries(new);
        let (tree, nodes) = grown(&entries);
        let root = tree.root();
        let index = a.index(entries.len()) as u64;
        let leaf = leaf_hash(&entries[a.index(entries.len())]);
        let mut proof = ProofPlan::inclusion(index, new).unwrap().build(look(&nodes)).unwrap();
        prop_assert!(verify_inclusion(&leaf, index, new, &proof, &root).is_ok());
        if !proof.is_empty() {
            let at = b.index(proof.len());
            proof[at][bit / 8] ^= 1 << (bit % 8);
            prop_assert!(verify_inclusion(&leaf, index, new, &proof, &root).is_err());
        }
        let old = b.index(entries.len()) as u64;
        let before = grown(&entries[..b.index(entries.len())]).0.root();
        let mut proof = ProofPlan::consistency(old, new).unwrap().build(look(&nodes)).unwrap();
        prop_assert!(verify_consistency((old, &before), (new, &root), &proof).is_ok());
        if !proof.is_empty() {
            let at = a.index(proof.len());
            proof[at][bit / 8] ^= 1 << (bit % 8);
            prop_assert!(verify_consistency((old, &before), (new, &root), &proof).is_err());
        }
    }
}
