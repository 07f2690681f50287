//! Salted commitments to payloads, and item sets of them.

use counterfoil_keys::random_salt;
use counterfoil_receipt::{
    Opening, Root,
    body::{Item, ItemSet},
    bundle::{PayloadLine, ProofHash, SetProof},
    field::{Count, List, Whole},
    limits::{PAYLOAD_BYTES, SET_ITEMS},
    text::Label,
};
use counterfoil_tlog::{Hash, LeafIndex, TreeHead, TreeSize, inclusion, leaf_hash, node_hash};
use rs_merkle::{Hasher, MerkleTree};

use crate::error::ClientError;

/// A payload: what a record names, and what opens it.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// For the record.
    pub item: Item,
    /// For whoever may see the content; the log's server keeps it until it is erased.
    pub opening: Opening,
}

/// Many payloads under one root: what a record names, and what discloses each.
#[derive(Clone, Debug)]
pub struct SealedSet {
    /// For the record.
    pub set: ItemSet,
    /// For whoever may see them, each without the rest; in the order of the contents.
    pub payloads: Vec<PayloadLine>,
}

/// Commits to `content` under a fresh salt of 32 random bytes.
///
/// # Errors
/// [`ClientError::Random`] if the system gives no randomness, [`ClientError::Misuse`] for content over 4 MiB.
pub fn seal(label: Label, media_type: Label, content: Vec<u8>) -> Result<Sealed, ClientError> {
    let size = Count::new(content.len() as u64).ok_or_else(|| too_large(&label))?;
    let opening = open(label.clone(), content)?;
    Ok(Sealed { item: Item { commitment: opening.commitment(), label, media_type, size }, opening })
}

/// Commits to contents, each under its own label and a fresh salt, and to all of them by one root. What a line discloses
/// says nothing about the others.
///
/// # Errors
/// [`ClientError::Random`] if the system gives no randomness, [`ClientError::Misuse`] for content over 4 MiB, and for none or
/// more than 65,536 contents.
pub fn seal_set(label: Label, contents: Vec<(Label, Vec<u8>)>) -> Result<SealedSet, ClientError> {
    let items = Whole::<1, SET_ITEMS>::new(contents.len() as u64);
    let items =
        items.ok_or_else(|| misuse(&label, &format!("{} items, not 1–{SET_ITEMS}", contents.len())))?;
    let openings = contents.into_iter().map(|(label, content)| open(label, content));
    let openings = openings.collect::<Result<Vec<_>, _>>()?;
    let leaves: Vec<Hash> =
        openings.iter().map(|opening| leaf_hash(opening.commitment().as_bytes())).collect();
    let tree =
        MerkleTree::<Rfc6962>::from_leaves(&leaves.iter().map(|leaf| *leaf.as_bytes()).collect::<Vec<_>>());
    let root = tree.root().ok_or_else(|| misuse(&label, "no root"))?;
    let head = TreeHead { size: TreeSize(items.get()), root: Hash::from(root) };
    let disclose = |(index, (opening, leaf)): (u64, (Opening, Hash))| {
        let proof: Vec<Hash> =
            tree.proof(&[index as usize]).proof_hashes().iter().map(|hash| Hash::from(*hash)).collect();
        // As every reader will: another implementation made the tree.
        let holds = inclusion::verify(leaf, LeafIndex(index), &proof, &head);
        holds.map_err(|why| misuse(&label, &format!("item {index}: {why}")))?;
        let index = Count::new(index).ok_or_else(|| misuse(&label, "too many items"))?;
        let proof = List(proof.iter().map(|hash| ProofHash(*hash.as_bytes())).collect());
        let set = SetProof { index, items, proof, root: Root::from_bytes(root) };
        Ok(PayloadLine::disclosing(opening, Some(set)))
    };
    let payloads =
        (0..).zip(openings.into_iter().zip(leaves)).map(disclose).collect::<Result<_, ClientError>>()?;
    Ok(SealedSet { set: ItemSet { items, label, root: Root::from_bytes(root) }, payloads })
}

fn open(label: Label, content: Vec<u8>) -> Result<Opening, ClientError> {
    if content.len() > PAYLOAD_BYTES {
        return Err(too_large(&label));
    }
    let salt = random_salt().map_err(|error| ClientError::Random(error.to_string()))?;
    Ok(Opening { salt, label, content })
}

fn too_large(label: &Label) -> ClientError {
    misuse(label, &format!("more than {PAYLOAD_BYTES} bytes"))
}

fn misuse(label: &Label, why: &str) -> ClientError {
    ClientError::Misuse(format!("payload {label}: {why}"))
}

/// The hashing of RFC 6962, section 2.1.
#[derive(Clone)]
struct Rfc6962;

impl Hasher for Rfc6962 {
    type Hash = [u8; 32];

    fn hash(data: &[u8]) -> [u8; 32] {
        *leaf_hash(data).as_bytes()
    }

    fn concat_and_hash(left: &[u8; 32], right: Option<&[u8; 32]>) -> [u8; 32] {
        right.map_or(*left, |right| *node_hash(&Hash::from(*left), &Hash::from(*right)).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use counterfoil_tlog::MemoryTree;

    use super::*;

    fn label(text: &str) -> Label {
        Label::new(text).unwrap()
    }

    #[test]
    fn the_root_of_a_set_is_that_of_the_log_s_own_tree() {
        for count in 1..=40 {
            let contents =
                (0..count).map(|number| (label(&format!("page {number}")), vec![number])).collect();
            let SealedSet { set, payloads } = seal_set(label("pages"), contents).unwrap();
            let leaves = payloads.iter().map(|line| leaf_hash(line.commitment.as_bytes()));
            let tree: MemoryTree = leaves.collect();
            assert_eq!((set.items.get(), set.root.as_bytes()), (count.into(), tree.head().root.as_bytes()));
            for (index, line) in (0..).zip(payloads) {
                let proof = inclusion::prove(LeafIndex(index), tree.size(), &tree).unwrap();
                let shown = line.set.unwrap();
                assert_eq!((shown.index.get(), shown.root), (index, set.root));
                assert!(shown.proof.0.iter().map(|hash| &hash.0).eq(proof.iter().map(Hash::as_bytes)));
            }
        }
    }

    #[test]
    fn a_set_has_one_item_to_the_limit() {
        assert!(matches!(seal_set(label("none"), Vec::new()), Err(ClientError::Misuse(_))));
        let many =
            |count: u64| seal_set(label("many"), (0..count).map(|_| (label("x"), Vec::new())).collect());
        assert_eq!(many(SET_ITEMS).unwrap().payloads.len() as u64, SET_ITEMS);
        assert!(matches!(many(SET_ITEMS + 1), Err(ClientError::Misuse(_))));
        let large = vec![(label("x"), vec![0; PAYLOAD_BYTES + 1])];
        assert!(matches!(seal_set(label("large"), large), Err(ClientError::Misuse(_))));
    }
}
