//! The tree and its proofs against a quadratic model that follows the definitions word for word, against `rs_merkle`,
//! and against every small mutation.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::collections::BTreeSet;

use common::numbered_tree;
use counterfoil_tlog::tile::{self, TilePath, TileReader};
use counterfoil_tlog::*;
use proptest::prelude::*;
use rs_merkle::Hasher;

fn leaves(size: u64) -> Vec<Hash> {
    (0..size).map(|i| leaf_hash(&[i as u8])).collect()
}

/// MTH of RFC 6962, section 2.1.
fn model_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => EMPTY_ROOT,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(model_split(leaves.len()));
            node_hash(&model_root(left), &model_root(right))
        }
    }
}

/// The largest power of two smaller than `n`.
fn model_split(n: usize) -> usize {
    (0..).map(|exponent| 1 << exponent).take_while(|power| *power < n).last().unwrap()
}

/// PATH of RFC 6962, section 2.1.1.
fn model_inclusion(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return vec![];
    }
    let k = model_split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut path, sibling) = if index < k {
        (model_inclusion(index, left), model_root(right))
    } else {
        (model_inclusion(index - k, right), model_root(left))
    };
    path.push(sibling);
    path
}

/// SUBPROOF of RFC 6962, section 2.1.2.
fn model_consistency(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if whole { vec![] } else { vec![model_root(leaves)] };
    }
    let k = model_split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut proof, sibling) = if m <= k {
        (model_consistency(m, left, whole), model_root(right))
    } else {
        (model_consistency(m - k, right, false), model_root(left))
    };
    proof.push(sibling);
    proof
}

/// The maximal subtrees without a proven leaf, from left to right, each with its first leaf.
fn model_multiproof(leaves: &[Hash], start: u64, proven: &BTreeSet<u64>) -> Vec<(u64, Hash)> {
    let end = start + leaves.len() as u64;
    match (proven.range(start..end).next(), leaves) {
        (None, _) => vec![(start, model_root(leaves))],
        (Some(_), [_]) => vec![],
        (Some(_), _) => {
            let k = model_split(leaves.len());
            let mut proof = model_multiproof(&leaves[..k], start, proven);
            proof.extend(model_multiproof(&leaves[k..], start + k as u64, proven));
            proof
        }
    }
}

#[derive(Clone)]
struct Rfc6962;

impl Hasher for Rfc6962 {
    type Hash = [u8; 32];

    fn hash(data: &[u8]) -> [u8; 32] {
        *leaf_hash(data).as_bytes()
    }

    fn concat_and_hash(left: &[u8; 32], right: Option<&[u8; 32]>) -> [u8; 32] {
        right.map_or(*left, |right| *node_hash(&(*left).into(), &(*right).into()).as_bytes())
    }
}

fn rs_merkle_tree(leaves: &[Hash]) -> rs_merkle::MerkleTree<Rfc6962> {
    rs_merkle::MerkleTree::from_leaves(&leaves.iter().map(|leaf| *leaf.as_bytes()).collect::<Vec<_>>())
}

#[test]
fn trees_up_to_70_are_as_defined() {
    let mut frontier = Frontier::new();
    let tree = numbered_tree(70);
    for size in 0..=70 {
        let leaves = leaves(size);
        let root = model_root(&leaves);
        assert_eq!(frontier.head(), TreeHead { size: TreeSize(size), root });
        assert_eq!(tree.head_at(TreeSize(size)), Some(frontier.head()));
        assert_eq!(Frontier::read(TreeSize(size), &tree).unwrap(), frontier);
        assert_eq!(Frontier::from_parts(frontier.size(), frontier.hashes().to_vec()).as_ref(), Ok(&frontier));
        if size > 0 {
            assert_eq!(rs_merkle_tree(&leaves).root(), Some(*root.as_bytes()));
        }
        frontier.push(leaf_hash(&[size as u8]));
    }
    assert_eq!(tree.head_at(TreeSize(71)), None);
}

#[test]
fn stored_frontiers_must_fit_their_size() {
    let [size, max] = [TreeSize(5), TreeSize(limits::TREE_SIZE)];
    for found in [0, 1, 3] {
        let error = FrontierError::WrongCount { size, expected: 2, found };
        assert_eq!(Frontier::from_parts(size, vec![EMPTY_ROOT; found]), Err(error));
    }
    assert!(Frontier::from_parts(max, vec![EMPTY_ROOT; 63]).is_ok());
    let size = TreeSize(max.0 + 1);
    assert_eq!(Frontier::from_parts(size, vec![EMPTY_ROOT]), Err(FrontierError::TooLarge { size }));
}

/// Proofs in the largest tree are as long as they get; one leaf more is refused.
#[test]
fn the_largest_tree_can_be_verified_and_the_next_not() {
    let size = TreeSize(limits::TREE_SIZE);
    let index = LeafIndex(size.0 - 1);
    let proof = [EMPTY_ROOT; limits::PROOF_HASHES];
    let expected = |result: Result<Hash, ProofError>| match result {
        Err(ProofError::WrongLength { expected, .. }) => expected,
        other => panic!("{other:?}"),
    };
    assert_eq!(expected(inclusion::root(EMPTY_ROOT, LeafIndex(0), &proof, size)), 63);
    assert!(inclusion::root(EMPTY_ROOT, index, &proof[..62], size).is_ok());
    let [old, new] = [size.0 / 2 - 1, size.0].map(|size| TreeHead { size: TreeSize(size), root: EMPTY_ROOT });
    let error = consistency::verify(&old, &new, &[]).unwrap_err();
    assert!(matches!(error, ProofError::WrongLength { expected: 1..=limits::PROOF_HASHES, .. }), "{error}");
    let mut verifier = MultiproofVerifier::new(size).unwrap();
    verifier.push(index, &proof[..62], EMPTY_ROOT).unwrap();
    assert!(verifier.finish(&[]).is_ok());

    let over = TreeSize(size.0 + 1);
    assert_eq!(inclusion::root(EMPTY_ROOT, index, &[], over), Err(ProofError::TreeTooLarge { size: over }));
    assert_eq!(MultiproofVerifier::new(over).unwrap_err(), ProofError::TreeTooLarge { size: over });
}

#[test]
fn inclusion_proofs_up_to_40_are_as_defined_and_nothing_else_verifies() {
    let tree = numbered_tree(40);
    for size in 1..=40 {
        let leaves = leaves(size);
        let head = tree.head_at(TreeSize(size)).unwrap();
        let other_library = rs_merkle_tree(&leaves);
        for index in 0..size {
            let leaf = leaves[index as usize];
            let proof = inclusion::prove(LeafIndex(index), head.size, &tree).unwrap();
            assert_eq!(proof, model_inclusion(index as usize, &leaves));
            let theirs = other_library.proof(&[index as usize]);
            assert_eq!(proof, theirs.proof_hashes().iter().copied().map(Hash::new).collect::<Vec<_>>());
            inclusion::verify(leaf, LeafIndex(index), &proof, &head).unwrap();

            for mutant in mutations(&proof) {
                inclusion::verify(leaf, LeafIndex(index), &mutant, &head).unwrap_err();
            }
            for wrong in (0..=size).filter(|wrong| *wrong != index) {
                inclusion::verify(leaf, LeafIndex(wrong), &proof, &head).unwrap_err();
            }
            inclusion::verify(flip(leaf), LeafIndex(index), &proof, &head).unwrap_err();
            inclusion::verify(leaf, LeafIndex(index), &proof, &TreeHead { root: flip(head.root), ..head })
                .unwrap_err();
        }
    }
}

#[test]
fn consistency_proofs_up_to_40_are_as_defined_and_nothing_else_verifies() {
    let tree = numbered_tree(40);
    for size in 1..=40 {
        let leaves = leaves(size);
        let new = tree.head_at(TreeSize(size)).unwrap();
        for old_size in 1..=size {
            let old = tree.head_at(TreeSize(old_size)).unwrap();
            let proof = consistency::prove(old.size, new.size, &tree).unwrap();
            assert_eq!(proof, model_consistency(old_size as usize, &leaves, true));
            consistency::verify(&old, &new, &proof).unwrap();

            for mutant in mutations(&proof) {
                consistency::verify(&old, &new, &mutant).unwrap_err();
            }
            consistency::verify(&TreeHead { root: flip(old.root), ..old }, &new, &proof).unwrap_err();
            consistency::verify(&old, &TreeHead { root: flip(new.root), ..new }, &proof).unwrap_err();
        }
        assert_eq!(consistency::verify(&TreeHead::EMPTY, &new, &[]), Err(ProofError::FromEmptyTree));
        let larger = TreeHead { size: TreeSize(size + 1), ..new };
        assert_eq!(consistency::verify(&larger, &new, &[]).unwrap_err().code(), "proof-sizes-reversed");
    }
}

fn verify_multiproof(size: u64, leaves: &[(u64, Hash)], segments: &[Vec<Hash>]) -> Result<Hash, ProofError> {
    let mut verifier = MultiproofVerifier::new(TreeSize(size))?;
    let (right, lefts) = segments.split_last().unwrap();
    for ((index, leaf), left) in leaves.iter().zip(lefts) {
        verifier.push(LeafIndex(*index), left, *leaf)?;
    }
    verifier.finish(right)
}

#[test]
fn multiproofs_of_every_subset_of_trees_up_to_11_are_as_defined() {
    for size in 1..=11_u64 {
        for subset in 1..1_u64 << size {
            check_multiproof(size, &(0..size).filter(|index| subset >> index & 1 == 1).collect());
        }
    }
}

fn check_multiproof(size: u64, proven: &BTreeSet<u64>) {
    let all = leaves(size);
    let tree: MemoryTree = all.iter().copied().collect();
    let indices: Vec<LeafIndex> = proven.iter().copied().map(LeafIndex).collect();
    let segments = multiproof::prove(TreeSize(size), &indices, &tree).unwrap();

    // The model's list, cut where the proven leaves lie.
    let mut expected = vec![Vec::new(); proven.len() + 1];
    for (start, hash) in model_multiproof(&all, 0, proven) {
        expected[proven.range(..start).count()].push(hash);
    }
    assert_eq!(segments, expected, "{proven:?} of {size}");

    let theirs = rs_merkle_tree(&all).proof(&proven.iter().map(|index| *index as usize).collect::<Vec<_>>());
    let theirs: BTreeSet<Hash> = theirs.proof_hashes().iter().copied().map(Hash::new).collect();
    assert_eq!(segments.iter().flatten().copied().collect::<BTreeSet<_>>(), theirs);

    let pairs: Vec<_> = proven.iter().map(|index| (*index, all[*index as usize])).collect();
    assert_eq!(verify_multiproof(size, &pairs, &segments), Ok(tree.head().root));
}

/// The root, or the error, must change whatever is changed.
#[test]
fn mutated_multiproofs_don_t_lead_to_the_root() {
    for (size, proven) in
        [(7, vec![0, 3, 6]), (13, vec![2, 3, 9]), (16, vec![5, 12]), (21, vec![20]), (1, vec![0])]
    {
        let all = leaves(size);
        let tree: MemoryTree = all.iter().copied().collect();
        let root = tree.head().root;
        let indices: Vec<LeafIndex> = proven.iter().copied().map(LeafIndex).collect();
        let segments = multiproof::prove(TreeSize(size), &indices, &tree).unwrap();
        let pairs: Vec<_> = proven.iter().map(|index| (*index, all[*index as usize])).collect();
        assert_eq!(verify_multiproof(size, &pairs, &segments), Ok(root));

        for at in 0..segments.len() {
            for mutant in mutations(&segments[at]) {
                let mut changed = segments.clone();
                changed[at] = mutant;
                assert_ne!(verify_multiproof(size, &pairs, &changed), Ok(root));
            }
        }
        for at in 0..pairs.len() {
            let mut changed = pairs.clone();
            changed[at].1 = flip(changed[at].1);
            assert_ne!(verify_multiproof(size, &changed, &segments), Ok(root));
            for index in (0..=size + 1).filter(|index| *index != pairs[at].0) {
                let mut changed = pairs.clone();
                changed[at].0 = index;
                assert_ne!(
                    verify_multiproof(size, &changed, &segments),
                    Ok(root),
                    "{index} for {}",
                    pairs[at].0
                );
            }
        }
    }
}

#[test]
fn multiproof_verifiers_refuse_what_is_out_of_order() {
    let [a, b] = [leaf_hash(b"a"), leaf_hash(b"b")];
    let mut verifier = MultiproofVerifier::new(TreeSize(4)).unwrap();
    assert_eq!(
        verifier.push(LeafIndex(4), &[], a),
        Err(ProofError::IndexOutOfRange { index: LeafIndex(4), size: TreeSize(4) })
    );
    assert_eq!(verifier.push(LeafIndex(1), &[], a), Err(ProofError::WrongLength { expected: 1, found: 0 }));
    verifier.push(LeafIndex(1), &[b], a).unwrap();
    for index in [LeafIndex(1), LeafIndex(0)] {
        let error = ProofError::NotAscending { previous: LeafIndex(1), index };
        assert_eq!(verifier.push(index, &[], a), Err(error.clone()));
        let tree = numbered_tree(4);
        let prove = multiproof::prove(TreeSize(4), &[LeafIndex(1), index], &tree);
        assert_eq!(prove, Err(ProveError::Impossible(error)));
    }
    assert_eq!(verifier.clone().finish(&[]), Err(ProofError::WrongLength { expected: 1, found: 0 }));
    assert_eq!(verifier.clone().finish(&[a, b]), Err(ProofError::WrongLength { expected: 1, found: 2 }));
    assert_eq!(verifier.finish(&[b]), Ok(node_hash(&node_hash(&b, &a), &b)));
    for size in [0, 4] {
        assert_eq!(MultiproofVerifier::new(TreeSize(size)).unwrap().finish(&[a]), Err(ProofError::NoLeaves));
    }
}

/// Each hash changed, dropped, doubled or swapped with the next; one more at either end.
fn mutations(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut mutants = vec![[proof, &[EMPTY_ROOT]].concat(), [&[EMPTY_ROOT], proof].concat()];
    for at in 0..proof.len() {
        let mut flipped = proof.to_vec();
        flipped[at] = flip(flipped[at]);
        mutants.push(flipped);
        mutants.push([&proof[..at], &proof[at + 1..]].concat());
        mutants.push([&proof[..=at], &proof[at..]].concat());
        if at > 0 {
            let mut swapped = proof.to_vec();
            swapped.swap(at - 1, at);
            mutants.push(swapped);
        }
    }
    mutants
}

fn flip(hash: Hash) -> Hash {
    let mut bytes = *hash.as_bytes();
    bytes[31] ^= 1;
    Hash::new(bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn multiproofs_are_as_defined(
        (size, proven) in (1..600_u64).prop_flat_map(|size| {
            (Just(size), proptest::collection::btree_set(0..size, 1..=(size.min(40) as usize)))
        })
    ) {
        check_multiproof(size, &proven);
    }

    #[test]
    fn large_trees_are_those_of_rs_merkle(size in 1..1500_u64, index in any::<proptest::sample::Index>()) {
        let all = leaves(size);
        let tree: MemoryTree = all.iter().copied().collect();
        let theirs = rs_merkle_tree(&all);
        prop_assert_eq!(theirs.root(), Some(*tree.head().root.as_bytes()));
        let index = index.index(all.len());
        let proof = inclusion::prove(LeafIndex(index as u64), tree.size(), &tree).unwrap();
        let theirs: Vec<_> = theirs.proof(&[index]).proof_hashes().iter().copied().map(Hash::new).collect();
        prop_assert_eq!(proof, theirs);
    }

    /// What a log writes as it grows from `old` to `new` is enough to prove from tiles.
    #[test]
    fn proofs_from_tiles_are_those_from_memory(a in 1..1400_u64, b in 1..1400_u64, c in 0..1400_u64) {
        let (old, new) = (TreeSize(a.min(b)), TreeSize(a.max(b)));
        let tree = numbered_tree(new.0);
        let written: BTreeSet<TilePath> = tile::tiles(old).chain(tile::new_tiles(old, new)).collect();
        for path in tile::tiles(new) {
            prop_assert!(written.contains(&path), "{}", path);
        }
        let reader = TileReader::new(new, |path: &TilePath| {
            let start = path.index() * 256;
            let level = path.level().unwrap() * 8;
            assert!(written.contains(path), "{path}");
            let hashes = (start..start + u64::from(path.width())).map(|index| tree.node(level, index));
            Ok::<_, MissingNode>(tile::encode_tile(&hashes.collect::<Result<Vec<_>, _>>()?))
        });
        prop_assert_eq!(root(new, &reader).unwrap(), tree.head().root);
        prop_assert_eq!(consistency::prove(old, new, &reader).unwrap(), consistency::prove(old, new, &tree).unwrap());
        let index = LeafIndex(c % new.0);
        prop_assert_eq!(inclusion::prove(index, new, &reader).unwrap(), inclusion::prove(index, new, &tree).unwrap());
    }
}

#[test]
fn an_inclusion_proof_shows_the_tree_before_its_leaf() {
    let leaves: Vec<Hash> = (0..70_u8).map(|at| leaf_hash(&[at])).collect();
    let tree = |size: usize| leaves[..size].iter().copied().collect::<MemoryTree>();
    for size in 1..=leaves.len() {
        let new = tree(size);
        for index in 0..size {
            let (leaf, of) = (LeafIndex(index as u64), TreeSize(size as u64));
            let proof = inclusion::prove(leaf, of, &new).unwrap();
            let expected = (index > 0).then(|| tree(index).head().root);
            assert_eq!(inclusion::root_before(leaf, &proof, of).unwrap(), expected, "{index} of {size}");
            let longer = [&proof[..], &[leaves[0]]].concat();
            assert!(inclusion::root_before(leaf, &longer, of).is_err());
        }
    }
}
