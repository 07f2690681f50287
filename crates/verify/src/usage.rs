//! What a bundle's records use: everything else in the bundle is refused.

use std::collections::{HashMap, HashSet};

use counterfoil_receipt::{
    Body, Commitment, Opening, PolicyDigest, Principal, RecordId, Root, UnverifiedRecord,
    body::{Audience, Evidence, Policy as PolicyBody, RevocationTarget, Type},
    bundle::{PayloadLine, SetProof},
    text::Group,
};
use counterfoil_tlog::{Hash, LeafIndex, TreeHead, TreeSize, inclusion, leaf_hash};

use crate::{
    assemble::{delegation_named, limited_key, timed_by_rule},
    bundle::content_differs,
    fault::{Fault, Finding},
    rule::Rule,
};

/// What the records that were read use.
#[derive(Debug, Default)]
pub(crate) struct Used {
    /// Commitments that records name one by one, with what each record that holds says about them.
    items: HashMap<Commitment, Vec<Claim>>,
    /// Item sets that records name, with the number of their items.
    sets: HashSet<(Root, u64)>,
    documents: HashSet<PolicyDigest>,
    /// Who signed something, or is named as an owner.
    principals: HashSet<Principal>,
    /// Groups that proposals name as their audience, and who was ever put into which group.
    groups: HashSet<Group>,
    memberships: HashMap<Principal, HashSet<Group>>,
    /// Whose key it is that a revocation ends.
    holders: HashMap<[u8; 32], Principal>,
    concerned: Vec<(Entry, Concern)>,
    /// What each delegation narrows, and which ones proposals name.
    narrows: HashMap<RecordId, RecordId>,
    delegations: HashSet<RecordId>,
    /// Keys that were enrolled with a validity.
    limited: HashSet<[u8; 32]>,
    /// Snapshots and what is or may be judged by log time, in order.
    timeline: Vec<(Entry, Timed)>,
    /// Proposals that a time-out or an escalation names.
    awaited: HashSet<RecordId>,
    /// The last entries of the bundle's checkpoints.
    ends: HashMap<u64, Option<(RecordId, Type)>>,
}

/// What log time has to do with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timed {
    /// It gives log time.
    Snapshot,
    /// It is judged by it.
    Judged,
    /// It is, if a timer names it.
    Proposal,
}

/// Index and id.
type Entry = (u64, RecordId);

/// What one record says about a payload: its label and, of an item, its size in bytes.
#[derive(Debug)]
struct Claim {
    by: Entry,
    label: String,
    size: Option<u64>,
}

/// What a record of the authority is about.
#[derive(Debug)]
enum Concern {
    Principal(Principal),
    Key([u8; 32]),
    Delegation(RecordId),
}

impl Used {
    /// Notes what an entry uses. `holds`: whether it took its place in the fold.
    pub(crate) fn note(&mut self, record: &UnverifiedRecord, index: u64, holds: bool) {
        let entry = (index, record.id());
        self.note_payloads(record, holds.then_some(entry));
        self.principals.insert(record.author().principal.clone());
        let signer = record.author().key;
        let awaited = timed_by_rule(record);
        self.awaited.extend(awaited);
        let is_limited = self.limited.contains(signer.material());
        let timed = match record.kind() {
            Type::Snapshot => Some(Timed::Snapshot),
            Type::Proposal if !is_limited => Some(Timed::Proposal),
            kind => (kind == Type::Execution || awaited.is_some() || is_limited).then_some(Timed::Judged),
        };
        self.timeline.extend(timed.map(|timed| (entry, timed)));
        self.limited.extend(limited_key(record));
        match record.body() {
            Body::Trigger(body) => {
                self.principals.insert(body.owner.principal.clone());
            }
            Body::Handoff(body) => {
                self.principals.insert(body.to.principal.clone());
            }
            Body::Decision(body) => self.principals.extend(body.approver.clone()),
            Body::Policy(body) => {
                if let PolicyBody::Digest(digest) = **body {
                    self.documents.insert(digest);
                }
            }
            Body::Proposal(body) => {
                self.delegations.extend(body.delegation);
                match &body.audience {
                    Audience::Principal(principal) => self.principals.insert(principal.clone()),
                    Audience::Group(group) => self.groups.insert(group.clone()),
                };
            }
            Body::Keyring(body) => {
                self.memberships
                    .entry(body.principal.clone())
                    .or_default()
                    .extend(body.groups.iter().cloned());
                self.holders.insert(*body.key.material(), body.principal.clone());
                self.concerned.push((entry, Concern::Principal(body.principal.clone())));
            }
            Body::Revocation(body) => self.concerned.push((
                entry,
                match &body.target {
                    RevocationTarget::Key(key) => Concern::Key(*key.material()),
                    RevocationTarget::Delegation(id) => Concern::Delegation(*id),
                },
            )),
            Body::Genesis(body) => {
                let roots = body.authority.roots.0.iter().chain([&body.log.snapshot]);
                self.principals.extend(roots.clone().map(|root| root.principal.clone()));
                self.holders.extend(roots.map(|root| (*root.key.material(), root.principal.clone())));
            }
            Body::Delegation(_) => {
                self.narrows.extend(delegation_named(record).map(|prev| (entry.1, prev)));
                self.concerned.push((entry, Concern::Delegation(entry.1)));
            }
            _ => {}
        }
        if let Some(end) = self.ends.get_mut(&index) {
            *end = Some((record.id(), record.kind()));
        }
    }

    /// Notes the payloads that a record names. What it says about them is a claim of its own, if it holds.
    fn note_payloads(&mut self, record: &UnverifiedRecord, by: Option<Entry>) {
        let mut claim = |commitment, label: &str, size| {
            let claims = self.items.entry(commitment).or_default();
            claims.extend(by.map(|by| Claim { by, label: label.to_owned(), size }));
        };
        for evidence in record.body().evidence() {
            match evidence {
                Evidence::Item(item) => claim(item.commitment, item.label.as_str(), Some(item.size.get())),
                Evidence::Set(set) => {
                    self.sets.insert((set.root, set.items.get()));
                }
            }
        }
        let committed = record.body().action().and_then(|action| action.committed.as_ref());
        for (pointer, commitment) in committed.into_iter().flat_map(|map| map.iter()) {
            claim(*commitment, pointer.as_str(), None);
        }
    }

    /// How many payloads the records name, one by one or in sets.
    pub(crate) fn items(&self) -> u64 {
        self.items.len() as u64 + self.sets.iter().map(|(_, items)| items).sum::<u64>()
    }

    /// Notes that a checkpoint ends with the entry at `index`.
    pub(crate) fn ends_at(&mut self, index: u64) {
        self.ends.insert(index, None);
    }

    /// Id and type of the entry with which a checkpoint ends, if it is in the bundle.
    pub(crate) fn end(&self, index: u64) -> Option<(RecordId, Type)> {
        self.ends.get(&index).copied().flatten()
    }

    /// Opens one disclosed payload.
    pub(crate) fn open(&self, line: PayloadLine) -> Result<Opening, Fault> {
        let (named, set) = (line.commitment, line.set.clone());
        let opening = line.into_opening();
        let computed = opening.commitment();
        if computed != named {
            return Err(content_differs(&named, &computed));
        }
        match set {
            Some(set) => self.set_holds(&named, &set)?,
            None => self.is_named(&named)?,
        }
        Ok(opening)
    }

    /// R-BUN-05: every payload is named by a record of the bundle, once.
    fn is_named(&self, commitment: &Commitment) -> Result<(), Fault> {
        if self.items.contains_key(commitment) {
            return Ok(());
        }
        Err(Fault::violated(Rule::PayloadUnused, format!("{commitment} is named by no record")))
    }

    /// What records claim about a payload that was opened, and what is not so: each claim is judged for the record that makes it.
    pub(crate) fn false_claims(&self, commitment: &Commitment, opening: &Opening) -> Vec<Finding> {
        let size = opening.content.len() as u64;
        let claims = self.items.get(commitment).map_or(&[][..], Vec::as_slice);
        let judged = claims.iter().filter_map(|claim| {
            let Claim { by: (index, record), label, .. } = claim;
            let why = if label != opening.label.as_str() {
                format!("claims the label {label:?}, the payload has {:?}", opening.label.as_str())
            } else {
                let stated = claim.size.filter(|stated| *stated != size)?;
                format!("claims {stated} bytes, the payload has {size}")
            };
            let fault = Fault::violated(Rule::PayloadMismatch, format!("{commitment}: {why}"));
            Some(Finding::of(fault).at(*index, Some(*record)))
        });
        judged.collect()
    }

    fn set_holds(&self, commitment: &Commitment, set: &SetProof) -> Result<(), Fault> {
        if !self.sets.contains(&(set.root, set.items.get())) {
            let detail = format!(
                "{commitment} belongs to the set {} of {} items, which no record names",
                set.root, set.items
            );
            return Err(Fault::violated(Rule::PayloadUnused, detail));
        }
        let head = TreeHead { size: TreeSize(set.items.get()), root: Hash::from(*set.root.as_bytes()) };
        let proof: Vec<Hash> = set.proof.0.iter().map(|hash| Hash::from(hash.0)).collect();
        let leaf = leaf_hash(commitment.as_bytes());
        inclusion::verify(leaf, LeafIndex(set.index.get()), &proof, &head)
            .map_err(|why| Fault::violated(Rule::PayloadMismatch, format!("{commitment}: {why}")))
    }

    /// What nothing in the bundle uses. Where a checkpoint could not be opened, which snapshots end one is not known, and
    /// none is called unused.
    pub(crate) fn leftovers(&self, documents: &[PolicyDigest], ends_are_known: bool) -> Vec<Finding> {
        let mut unused = Vec::new();
        let mut known: HashMap<&Principal, bool> = HashMap::new();
        let mut matters = |principal| *known.entry(principal).or_insert_with(|| self.concerns(principal));
        let links = self.links();
        for (entry, concern) in &self.concerned {
            let (is_used, why) = match concern {
                Concern::Principal(principal) => {
                    (matters(principal), "concerns nobody who signed a record of the run")
                }
                Concern::Key(key) => (
                    self.holders.get(key).is_some_and(&mut matters),
                    "concerns nobody who signed a record of the run",
                ),
                Concern::Delegation(id) => {
                    (links.contains(id), "is about a delegation under which nothing was proposed")
                }
            };
            if !is_used {
                unused.push((entry, why));
            }
        }
        let is_judged =
            |(entry, timed): &&(Entry, Timed)| *timed != Timed::Proposal || self.awaited.contains(&entry.1);
        let timeline: Vec<&(Entry, Timed)> = self.timeline.iter().filter(is_judged).collect();
        for (at, (entry, timed)) in timeline.iter().enumerate() {
            let is_snapshot = *timed == Timed::Snapshot;
            let beside_timed = [at.checked_sub(1), Some(at + 1)]
                .into_iter()
                .flatten()
                .filter_map(|neighbour| timeline.get(neighbour))
                .any(|(_, timed)| *timed != Timed::Snapshot);
            if is_snapshot && ends_are_known && !beside_timed && !self.ends.contains_key(&entry.0) {
                unused.push((entry, "the snapshot times no record of the bundle and ends no checkpoint"));
            }
        }
        let unused =
            unused.into_iter().map(|((index, id), why)| Finding::of(not_used(why)).at(*index, Some(*id)));
        let unnamed = documents.iter().find(|digest| !self.documents.contains(*digest));
        let unnamed = unnamed
            .map(|digest| Finding::of(not_used(&format!("no policy record names the document {digest}"))));
        unused.chain(unnamed).collect()
    }

    /// Every link of the delegations that proposals name.
    fn links(&self) -> HashSet<RecordId> {
        let mut links = HashSet::new();
        for named in &self.delegations {
            let mut link = Some(named);
            while let Some(id) = link.filter(|id| links.insert(**id)) {
                link = self.narrows.get(id);
            }
        }
        links
    }

    /// Whether the keyring of `principal` matters to the records that were read.
    fn concerns(&self, principal: &Principal) -> bool {
        let in_audience = |groups: &HashSet<Group>| !groups.is_disjoint(&self.groups);
        self.principals.contains(principal) || self.memberships.get(principal).is_some_and(in_audience)
    }
}

/// R-BUN-07: every record belongs to the run, or is one that its verification needs.
pub(crate) fn not_used(why: &str) -> Fault {
    Fault::violated(Rule::RecordUnused, why)
}
