//! The test data of transparency-dev/merkle: RFC 6962 proofs, subtree proofs, known answers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::fmt::Write as _;
use std::path::Path;

use common::{base64, hash_from_hex, json, json_files, numbered_tree, unhex, vectors};
use counterfoil_tlog::subtree::SubtreeHead;
use counterfoil_tlog::*;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

const SET: &str = "merkle-transparency-dev";

/// Some cases compare roots that are no SHA-256 hashes ("don't care 2"). Any injection keeps what they test.
fn hash(value: &Value) -> Hash {
    let bytes = base64(value);
    <[u8; 32]>::try_from(bytes.as_slice()).map_or_else(|_| leaf_hash(&bytes), Hash::new)
}

fn proof(case: &Value) -> Vec<Hash> {
    case["proof"].as_array().map_or(vec![], |hashes| hashes.iter().map(hash).collect())
}

fn number(case: &Value, name: &str) -> u64 {
    case[name].as_u64().unwrap_or_else(|| panic!("{name} in {case}"))
}

/// Runs every case, and counts those to accept and those to refuse. An empty string for a hash, which the type
/// [`Hash`] can't hold, counts as refused.
fn run(folder: &Path, check: impl Fn(&Value) -> Result<(), ProofError>) -> (usize, usize) {
    let (mut accepted, mut refused) = (0, 0);
    for (path, case) in json_files(folder) {
        let expressible = ["root", "root1", "root2", "leafHash"].iter().all(|name| case[name] != "");
        let accept = expressible && check(&case).is_ok();
        assert_eq!(accept, !case["wantErr"].as_bool().unwrap(), "{}", path.display());
        if accept { accepted += 1 } else { refused += 1 }
    }
    (accepted, refused)
}

#[test]
fn inclusion_proofs() {
    let Some(folder) = vectors(SET) else { return };
    let counts = run(&folder.join("inclusion"), |case| {
        let head = TreeHead { size: TreeSize(number(case, "treeSize")), root: hash(&case["root"]) };
        let index = LeafIndex(number(case, "leafIdx"));
        inclusion::verify(hash(&case["leafHash"]), index, &proof(case), &head)
    });
    assert_eq!(counts, (6, 92));
}

#[test]
fn consistency_proofs() {
    let Some(folder) = vectors(SET) else { return };
    let counts = run(&folder.join("consistency"), |case| {
        let old = TreeHead { size: TreeSize(number(case, "size1")), root: hash(&case["root1"]) };
        let new = TreeHead { size: TreeSize(number(case, "size2")), root: hash(&case["root2"]) };
        consistency::verify(&old, &new, &proof(case))
    });
    assert_eq!(counts, (6, 92));
}

#[test]
fn subtree_inclusion_proofs() {
    let Some(folder) = vectors(SET) else { return };
    let counts = run(&folder.join("subtreeinclusion"), |case| {
        let (start, end) = (number(case, "start"), number(case, "end"));
        let subtree = SubtreeHead { start, end, root: hash(&case["root"]) };
        let index = LeafIndex(number(case, "leafIdx"));
        subtree::verify_inclusion(hash(&case["leafHash"]), index, &proof(case), &subtree)
    });
    assert_eq!(counts, (12, 192));
}

#[test]
fn subtree_consistency_proofs() {
    let Some(folder) = vectors(SET) else { return };
    let counts = run(&folder.join("subtreeconsistency"), |case| {
        let (start, end) = (number(case, "start"), number(case, "end"));
        let subtree = SubtreeHead { start, end, root: hash(&case["root1"]) };
        let head = TreeHead { size: TreeSize(number(case, "size")), root: hash(&case["root2"]) };
        subtree::verify_consistency(&subtree, &head, &proof(case))
    });
    assert_eq!(counts, (12, 106));
}

#[test]
fn known_answers() {
    let Some(folder) = vectors(SET) else { return };
    let kat = json(folder.join("rfc6962-kat.json"));
    let hexes = |value: &Value| -> Vec<Hash> {
        value.as_array().unwrap().iter().map(|hash| hash_from_hex(hash.as_str().unwrap())).collect()
    };
    let inputs = kat["leaf_inputs_hex"].as_array().unwrap();
    let tree: MemoryTree = inputs.iter().map(|input| leaf_hash(&unhex(input.as_str().unwrap()))).collect();
    assert_eq!(tree.size(), TreeSize(8));

    let roots = hexes(&kat["root_by_size_hex"]);
    assert_eq!(roots.len(), 9);
    for (size, expected) in roots.into_iter().enumerate() {
        let size = TreeSize(size as u64);
        assert_eq!(tree.head_at(size), Some(TreeHead { size, root: expected }));
        assert_eq!(root(size, &tree), Ok(expected));
    }
    let levels = kat["complete_subtree_nodes_by_level_hex"].as_array().unwrap();
    assert_eq!(levels.len(), 4);
    for (level, nodes) in levels.iter().enumerate() {
        for (index, expected) in hexes(nodes).into_iter().enumerate() {
            assert_eq!(tree.node(level as u8, index as u64), Ok(expected));
        }
    }
    let known = &kat["hash_kat"];
    assert_eq!(EMPTY_ROOT.to_string(), known["empty_root"]);
    assert_eq!(leaf_hash(b"").to_string(), known["leaf_empty"]);
    assert_eq!(leaf_hash(b"L123456").to_string(), known["leaf_L123456"]);
}

/// Every subtree, inclusion proof and consistency proof of every tree up to size 130, under one hash each.
#[test]
fn accumulated_known_answers() {
    let Some(folder) = vectors(SET) else { return };
    let kat = json(folder.join("rfc6962-kat.json"));
    let expected = &kat["accumulated_sha256_mtc_draft"];
    let tree = numbered_tree(130);
    let is_subtree =
        |start: u64, end: u64| start == end || start.is_multiple_of((end - start).next_power_of_two());
    let spell = |proof: Vec<Hash>| proof.iter().map(|hash| format!(" {hash}")).collect::<String>();
    let (mut roots, mut inclusions, mut consistencies) = (String::new(), String::new(), String::new());
    for end in 0..=130 {
        for start in (0..=end).filter(|start| is_subtree(*start, end)) {
            writeln!(roots, "[{start}, {end}) {}", subtree::root(start, end, &tree).unwrap()).unwrap();
            for index in start..end {
                let proof = subtree::prove_inclusion(LeafIndex(index), start, end, &tree).unwrap();
                writeln!(inclusions, "{index} [{start}, {end}){}", spell(proof)).unwrap();
            }
        }
    }
    for size in 0..=130 {
        for end in 0..=size {
            for start in (0..=end).filter(|start| is_subtree(*start, end)) {
                let proof = subtree::prove_consistency(start, end, TreeSize(size), &tree).unwrap();
                writeln!(consistencies, "[{start}, {end}) {size}{}", spell(proof)).unwrap();
            }
        }
    }
    for (name, lines) in [
        ("subtree_hash '[%d, %d) %x\\n'", roots),
        ("subtree_inclusion '%d [%d, %d)' + ' %x'* + '\\n'", inclusions),
        ("subtree_consistency '[%d, %d) %d' + ' %x'* + '\\n'", consistencies),
    ] {
        let digest = Hash::new(Sha256::digest(lines).into());
        assert_eq!(digest.to_string(), expected[name].as_str().unwrap(), "{name}");
    }
}
