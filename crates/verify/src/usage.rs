//! What a bundle's records use: everything else in the bundle is refused.

use std::collections::{HashMap, HashSet};

use counterfoil_receipt::{
    Body, Commitment, PolicyDigest, Principal, Root, UnverifiedRecord,
    body::{Audience, Evidence, Policy as PolicyBody, RevocationTarget, Type},
    bundle::{PayloadLine, SetProof},
    text::Group,
};
use counterfoil_tlog::{Hash, LeafIndex, TreeHead, TreeSize, inclusion, leaf_hash};

use crate::{bundle::content_differs, fault::Fault, rule::Rule};

/// What the records that were read use.
#[derive(Debug, Default)]
pub(crate) struct Used {
    /// Commitments that records name, with the label and, for items, the size that they state.
    items: HashMap<Commitment, (String, Option<u64>)>,
    sets: HashMap<Root, u64>,
    documents: HashSet<PolicyDigest>,
    /// Who signed something, or is named as an owner.
    principals: HashSet<Principal>,
    /// Groups that proposals name as their audience, and who was ever put into which group.
    groups: HashSet<Group>,
    memberships: HashMap<Principal, HashSet<Group>>,
    /// Whose key it is that a revocation ends.
    holders: HashMap<[u8; 32], Principal>,
    concerned: Vec<(u64, Concern)>,
    /// Executions and snapshots, by index; `true` for a snapshot.
    timeline: Vec<(u64, bool)>,
    /// The last entries of the bundle's checkpoints.
    ends: HashMap<u64, Option<Type>>,
}

/// What a record of the authority is about.
#[derive(Debug)]
enum Concern {
    Principal(Principal),
    Key([u8; 32]),
    Nothing,
}

impl Used {
    /// Notes what an entry uses.
    pub(crate) fn note(&mut self, record: &UnverifiedRecord, index: u64) {
        self.principals.insert(record.author().principal.clone());
        record.body().evidence().into_iter().for_each(|evidence| self.name(evidence));
        if let Some(action) = record.body().action() {
            for (pointer, commitment) in action.committed.iter().flat_map(|map| map.iter()) {
                self.items.insert(*commitment, (pointer.to_string(), None));
            }
        }
        match record.body() {
            Body::Trigger(body) => {
                self.principals.insert(body.owner.principal.clone());
            }
            Body::Handoff(body) => {
                self.principals.insert(body.to.principal.clone());
            }
            Body::Policy(body) => {
                if let PolicyBody::Digest(digest) = **body {
                    self.documents.insert(digest);
                }
            }
            Body::Proposal(body) => match &body.audience {
                Audience::Principal(principal) => {
                    self.principals.insert(principal.clone());
                }
                Audience::Group(group) => {
                    self.groups.insert(group.clone());
                }
            },
            Body::Keyring(body) => {
                self.memberships
                    .entry(body.principal.clone())
                    .or_default()
                    .extend(body.groups.iter().cloned());
                self.holders.insert(*body.key.material(), body.principal.clone());
                self.concerned.push((index, Concern::Principal(body.principal.clone())));
            }
            Body::Revocation(body) => self.concerned.push((
                index,
                match &body.target {
                    RevocationTarget::Key(key) => Concern::Key(*key.material()),
                    RevocationTarget::Delegation(_) => Concern::Nothing,
                },
            )),
            Body::Genesis(body) => {
                let roots = body.authority.roots.0.iter().chain([&body.log.snapshot]);
                self.principals.extend(roots.clone().map(|root| root.principal.clone()));
                self.holders.extend(roots.map(|root| (*root.key.material(), root.principal.clone())));
            }
            Body::Delegation(_) => self.concerned.push((index, Concern::Nothing)),
            Body::Snapshot(_) => self.timeline.push((index, true)),
            Body::Execution(_) => self.timeline.push((index, false)),
            _ => {}
        }
        if let Some(kind) = self.ends.get_mut(&index) {
            *kind = Some(record.kind());
        }
    }

    /// How many payloads the records name, one by one or in sets.
    pub(crate) fn items(&self) -> u64 {
        self.items.len() as u64 + self.sets.values().sum::<u64>()
    }

    /// Notes that a checkpoint ends with the entry at `index`.
    pub(crate) fn ends_at(&mut self, index: u64) {
        self.ends.insert(index, None);
    }

    /// The type of the entry with which a checkpoint ends, if it is in the bundle.
    pub(crate) fn end(&self, index: u64) -> Option<Type> {
        self.ends.get(&index).copied().flatten()
    }

    /// Checks one disclosed payload.
    pub(crate) fn payload(&self, line: &PayloadLine) -> Result<(), Fault> {
        let opening = line.clone().into_opening();
        let computed = opening.commitment();
        if computed != line.commitment {
            return Err(content_differs(&line.commitment, &computed));
        }
        match &line.set {
            Some(set) => self.set_holds(line, set),
            None => self.is_named(line, opening.content.len() as u64),
        }
    }

    /// R-BUN-05: every payload is named by a record of the bundle, once.
    fn is_named(&self, line: &PayloadLine, size: u64) -> Result<(), Fault> {
        let unused =
            |why: String| Err(Fault::violated(Rule::PayloadUnused, format!("{} {why}", line.commitment)));
        match self.items.get(&line.commitment) {
            None => unused("is named by no record".to_owned()),
            Some((label, _)) if label != line.label.as_str() => unused(format!("is named as {label:?}")),
            Some((_, Some(stated))) if *stated != size => {
                Err(content_differs(&format!("{stated} bytes"), &format!("{size} bytes")))
            }
            Some(_) => Ok(()),
        }
    }

    fn set_holds(&self, line: &PayloadLine, set: &SetProof) -> Result<(), Fault> {
        if self.sets.get(&set.root) != Some(&set.items.get()) {
            let detail =
                format!("{} belongs to the item set {}, which no record names", line.commitment, set.root);
            return Err(Fault::violated(Rule::PayloadUnused, detail));
        }
        let head = TreeHead { size: TreeSize(set.items.get()), root: Hash::from(*set.root.as_bytes()) };
        let proof: Vec<Hash> = set.proof.0.iter().map(|hash| Hash::from(hash.0)).collect();
        let leaf = leaf_hash(line.commitment.as_bytes());
        inclusion::verify(leaf, LeafIndex(set.index.get()), &proof, &head)
            .map_err(|why| Fault::violated(Rule::PayloadMismatch, format!("{}: {why}", line.commitment)))
    }

    /// What nothing in the bundle uses. Where a checkpoint could not be opened, which snapshots end one is not known, and
    /// none is called unused.
    pub(crate) fn leftovers(&self, documents: &[PolicyDigest], ends_are_known: bool) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut known: HashMap<&Principal, bool> = HashMap::new();
        for (index, concern) in &self.concerned {
            let principal = match concern {
                Concern::Principal(principal) => Some(principal),
                Concern::Key(key) => self.holders.get(key),
                Concern::Nothing => None,
            };
            if !principal
                .is_some_and(|principal| *known.entry(principal).or_insert_with(|| self.concerns(principal)))
            {
                faults
                    .push(not_used(&format!("entry {index} concerns nobody who signed a record of the run")));
            }
        }
        for (at, (index, is_snapshot)) in self.timeline.iter().enumerate() {
            let beside_execution = [at.checked_sub(1), Some(at + 1)]
                .into_iter()
                .flatten()
                .any(|neighbour| matches!(self.timeline.get(neighbour), Some((_, false))));
            if *is_snapshot && ends_are_known && !beside_execution && !self.ends.contains_key(index) {
                faults.push(not_used(&format!(
                    "the snapshot at entry {index} is neither beside an execution nor an end"
                )));
            }
        }
        let unnamed = documents.iter().find(|digest| !self.documents.contains(*digest));
        faults
            .extend(unnamed.map(|digest| not_used(&format!("no policy record names the document {digest}"))));
        faults
    }

    /// Whether the keyring of `principal` matters to the records that were read.
    fn concerns(&self, principal: &Principal) -> bool {
        let in_audience = |groups: &HashSet<Group>| !groups.is_disjoint(&self.groups);
        self.principals.contains(principal) || self.memberships.get(principal).is_some_and(in_audience)
    }

    fn name(&mut self, evidence: Evidence) {
        match evidence {
            Evidence::Item(item) => {
                self.items.insert(item.commitment, (item.label.to_string(), Some(item.size.get())));
            }
            Evidence::Set(set) => {
                self.sets.insert(set.root, set.items.get());
            }
        }
    }
}

/// R-BUN-07: every record belongs to the run, or is one that its verification needs.
pub(crate) fn not_used(why: &str) -> Fault {
    Fault::violated(Rule::RecordUnused, why)
}
