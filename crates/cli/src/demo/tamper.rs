//! A bundle in the hands of somebody who wants it to say something else.

use counterfoil_receipt::{
    UnverifiedRecord,
    body::Type,
    bundle::{
        CheckpointLine, EndLine, Header, PayloadLine, PositionLine, ProofHash, ProofHashes, read_line,
        write_line,
    },
    field::{Count, List, Whole},
};
use counterfoil_tlog::{Hash, leaf_hash, node_hash};

/// A bundle, taken apart.
#[derive(Clone)]
pub struct Pieces {
    header: Header,
    /// Checkpoints and policy documents, as they stand.
    before: Vec<Vec<u8>>,
    entries: Vec<Entry>,
    right: Vec<ProofHash>,
    payloads: Vec<Vec<u8>>,
    /// Leaves of the last checkpoint's tree.
    size: u64,
}

#[derive(Clone)]
struct Entry {
    index: u64,
    left: Vec<ProofHash>,
    record: Vec<u8>,
}

impl Pieces {
    /// Takes a bundle apart; `None` if it is none.
    pub fn of(bundle: &[u8]) -> Option<Self> {
        let mut lines = bundle.strip_suffix(b"\n")?.split(|byte| *byte == b'\n');
        let header: Header = read_line(lines.next()?).ok()?;
        let count = usize::try_from(header.checkpoints.get() + header.documents.get()).ok()?;
        let before: Vec<Vec<u8>> = lines.by_ref().take(count).map(<[u8]>::to_vec).collect();
        let mut entries = Vec::new();
        for _ in 0..header.entries.get() {
            let position: PositionLine = read_line(lines.next()?).ok()?;
            entries.push(Entry {
                index: position.index.get(),
                left: position.left.0,
                record: lines.next()?.to_vec(),
            });
        }
        let end: EndLine = read_line(lines.next()?).ok()?;
        let last = before.get(usize::try_from(header.checkpoints.get()).ok()?.checked_sub(1)?)?;
        let note: CheckpointLine = read_line(last).ok()?;
        let size = note.checkpoint.0.lines().nth(1)?.parse().ok()?;
        Some(Self {
            header,
            before,
            entries,
            right: end.right.0,
            payloads: lines.map(<[u8]>::to_vec).collect(),
            size,
        })
    }

    /// Puts it together again, with counts that are right.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut header = self.header.clone();
        header.entries = Whole::new(self.entries.len() as u64).unwrap_or(header.entries);
        write_line(&header, &mut out);
        let raw = |line: &Vec<u8>, out: &mut Vec<u8>| {
            out.extend_from_slice(line);
            out.push(b'\n');
        };
        self.before.iter().for_each(|line| raw(line, &mut out));
        for entry in &self.entries {
            if let Some(index) = Count::new(entry.index) {
                write_line(&PositionLine { index, left: hashes(&entry.left) }, &mut out);
            }
            raw(&entry.record, &mut out);
        }
        write_line(&EndLine { right: hashes(&self.right) }, &mut out);
        self.payloads.iter().for_each(|line| raw(line, &mut out));
        out
    }

    /// The records of the bundle's run, in log order.
    pub fn run_records(&self) -> Vec<UnverifiedRecord> {
        let records = self.entries.iter().filter_map(|entry| UnverifiedRecord::parse(&entry.record).ok());
        records.filter(|record| record.run() == Some(self.header.run)).collect()
    }

    /// The first of the run's records of a type.
    pub fn first(&self, kind: Type) -> Option<UnverifiedRecord> {
        self.run_records().into_iter().find(|record| record.kind() == kind)
    }

    /// The first content that the bundle discloses under a label.
    pub fn payload(&self, label: &str) -> Option<Vec<u8>> {
        let mut lines = self.payloads.iter().filter_map(|line| read_line::<PayloadLine>(line).ok());
        lines.find(|line| line.label.as_str() == label).map(|line| line.content.0)
    }

    /// Size and root of the last checkpoint, as records name them in `basis`.
    pub fn basis(&self) -> Option<(u64, String)> {
        let last = self.before.get(usize::try_from(self.header.checkpoints.get()).ok()?.checked_sub(1)?)?;
        let note: CheckpointLine = read_line(last).ok()?;
        let root = Hash::from_base64(note.checkpoint.0.lines().nth(2)?)?;
        Some((self.size, counterfoil_receipt::Root::from_bytes(*root.as_bytes()).to_string()))
    }

    /// Gives one record's part of the proof to another: exchanges two hashes that differ.
    pub fn swap_proof_hashes(&mut self) -> Option<()> {
        let lists = self.entries.iter_mut().map(|entry| &mut entry.left).chain([&mut self.right]);
        let mut slots = lists.flat_map(|list| list.iter_mut());
        let first = slots.next()?;
        let other = slots.find(|slot| **slot != *first)?;
        std::mem::swap(first, other);
        Some(())
    }

    /// Leaves out the first record of a type, and no more.
    pub fn leave_out(&mut self, kind: Type) -> Option<()> {
        let at = self.position(kind)?;
        self.entries.remove(at);
        Some(())
    }

    /// Leaves it out as somebody does who knows how Merkle trees work: its hash goes into the proof instead.
    pub fn leave_out_skilfully(&mut self, kind: Type) -> Option<()> {
        let at = self.position(kind)?;
        let tree = self.tree()?;
        self.entries.remove(at);
        let kept: Vec<u64> = self.entries.iter().map(|entry| entry.index).collect();
        let mut segments = vec![Vec::new()];
        tree.prove(&kept, &mut segments);
        self.right = segments.pop()?;
        for (entry, left) in self.entries.iter_mut().zip(segments) {
            entry.left = left;
        }
        Some(())
    }

    /// Changes one letter of what the first record of a type says in its summary.
    pub fn change_a_letter(&mut self, kind: Type) -> Option<()> {
        const SUMMARY: &[u8] = b"\"summary\":\"";
        let at = self.position(kind)?;
        let record = &mut self.entries[at].record;
        let start = record.windows(SUMMARY.len()).position(|window| window == SUMMARY)? + SUMMARY.len();
        let letter = record.get_mut(start..)?.iter_mut().find(|byte| byte.is_ascii_lowercase())?;
        *letter = if *letter == b'a' { b'e' } else { b'a' };
        Some(())
    }

    fn position(&self, kind: Type) -> Option<usize> {
        let id = self.first(kind)?.id();
        self.entries
            .iter()
            .position(|entry| UnverifiedRecord::parse(&entry.record).is_ok_and(|record| record.id() == id))
    }

    /// The tree as far as leaves and proof show it.
    fn tree(&self) -> Option<Tree> {
        let leaves: Vec<(u64, Hash)> =
            self.entries.iter().map(|entry| (entry.index, leaf_hash(&entry.record))).collect();
        let proof = self.entries.iter().flat_map(|entry| &entry.left).chain(&self.right);
        let mut proof = proof.map(|hash| Hash::new(hash.0));
        Tree::grow(0, self.size, &leaves, &mut proof)
    }
}

fn hashes(list: &[ProofHash]) -> ProofHashes {
    List(list.to_vec())
}

/// An RFC 6962 tree whose free subtrees are known by their hashes only.
struct Tree {
    start: u64,
    end: u64,
    hash: Hash,
    halves: Option<Box<[Tree; 2]>>,
}

impl Tree {
    fn grow(
        start: u64,
        end: u64,
        leaves: &[(u64, Hash)],
        proof: &mut dyn Iterator<Item = Hash>,
    ) -> Option<Self> {
        let shown = |(index, _): &&(u64, Hash)| (start..end).contains(index);
        let node = |hash| Self { start, end, hash, halves: None };
        match leaves.iter().find(shown) {
            None => proof.next().map(node),
            Some((_, hash)) if end - start == 1 => Some(node(*hash)),
            Some(_) => {
                let middle = start + (end - start).next_power_of_two() / 2;
                let left = Self::grow(start, middle, leaves, proof)?;
                let right = Self::grow(middle, end, leaves, proof)?;
                let hash = node_hash(&left.hash, &right.hash);
                Some(Self { start, end, hash, halves: Some(Box::new([left, right])) })
            }
        }
    }

    /// The multiproof of the kept leaves: a segment before each, and one after the last.
    fn prove(&self, kept: &[u64], segments: &mut Vec<Vec<ProofHash>>) {
        let is_free = !kept.iter().any(|index| (self.start..self.end).contains(index));
        match &self.halves {
            _ if is_free => {
                segments.last_mut().into_iter().for_each(|last| last.push(ProofHash(*self.hash.as_bytes())))
            }
            None => segments.push(Vec::new()),
            Some(halves) => halves.iter().for_each(|half| half.prove(kept, segments)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seven leaves, of which a bundle shows 1, 2, 5; then 2 is left out.
    #[test]
    fn the_proof_without_a_leaf_leads_to_the_same_root() {
        use counterfoil_tlog::{LeafIndex, MemoryTree, multiproof};
        let leaves: Vec<Hash> = (0_u8..7).map(|leaf| leaf_hash(&[leaf])).collect();
        let tree: MemoryTree = leaves.iter().copied().collect();
        let prove = |indices: &[u64]| {
            let indices: Vec<LeafIndex> = indices.iter().copied().map(LeafIndex).collect();
            multiproof::prove(tree.size(), &indices, &tree).unwrap()
        };
        let mut proof = prove(&[1, 2, 5]).into_iter().flatten();
        let shown: Vec<(u64, Hash)> = [1, 2, 5].map(|index| (index, leaves[index as usize])).to_vec();
        let grown = Tree::grow(0, 7, &shown, &mut proof).unwrap();
        assert_eq!(grown.hash, tree.head().root);
        let mut segments = vec![Vec::new()];
        grown.prove(&[1, 5], &mut segments);
        let segments: Vec<Vec<Hash>> =
            segments.iter().map(|segment| segment.iter().map(|hash| Hash::new(hash.0)).collect()).collect();
        assert_eq!(segments, prove(&[1, 5]));
    }
}
