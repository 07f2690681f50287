//! A log in memory: it signs, admits, seals and proves.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::Arc,
};

use counterfoil_receipt::{
    Body, Commitment, Draft, MapRoot, Opening, Place, PolicyDigest, RecordId, Root, RunId, Salt, Type,
    UnverifiedRecord,
    action::Json,
    body::{Basis, Form, Genesis, Item, ItemSet, Snapshot},
    bundle::{DocumentLine, PayloadLine, ProofHash, SetProof},
    field::{Count, List, Millis, Whole},
};
use counterfoil_tlog::{
    Checkpoint, Hash, LeafIndex, MemoryTree, PosixSeconds, SeedSigner, Signer as _, TreeHead, TreeSize,
    UnverifiedNote, consistency, cosign, inclusion, leaf_hash, multiproof, sign_note,
};
use counterfoil_verify::{
    Assembly, Dimension, Effect, Fault, IndexKey, KeyCache, Lookup, Roots, Scope, State, check_signature,
    index_keys, select, timed_by_rule,
};

use crate::{Actor, TrustFile, actor::note_key, actor::seed, label};

/// The time at which every ledger starts, in milliseconds: 2026-01-01.
const START: u64 = 1_767_225_600_000;
/// How far time moves with each record.
const TICK: u64 = 1_000;

/// A log in memory.
#[derive(Clone, Debug)]
pub struct Ledger {
    origin: String,
    note: Arc<SeedSigner>,
    log: Actor,
    entries: Vec<Vec<u8>>,
    tree: MemoryTree,
    state: State,
    keys: KeyCache,
    checkpoints: BTreeMap<u64, String>,
    openings: BTreeMap<Commitment, (Opening, Option<SetProof>)>,
    documents: BTreeMap<PolicyDigest, Json>,
    time: u64,
    salts: u64,
}

/// Why a record is not admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The rule's id.
    pub rule: &'static str,
    /// Its stable code.
    pub code: &'static str,
    /// The evidence.
    pub detail: String,
}

impl Ledger {
    /// A log that starts with this genesis, signed by `root`, and a snapshot: its smallest signed tree.
    pub fn new(origin: &str, genesis: Genesis, root: &Actor, log: &Actor) -> Self {
        let mut ledger = Self {
            origin: origin.to_owned(),
            note: Arc::new(note_key(origin)),
            log: log.clone(),
            entries: Vec::new(),
            tree: MemoryTree::new(),
            state: State::new(Scope::Complete),
            keys: KeyCache::default(),
            checkpoints: BTreeMap::new(),
            openings: BTreeMap::new(),
            documents: BTreeMap::new(),
            time: START,
            salts: 0,
        };
        ledger.add(root, None, genesis);
        ledger.close();
        ledger
    }

    /// The vkey under which a log of this origin signs its checkpoints.
    pub fn vkey(origin: &str) -> String {
        note_key(origin).key().to_string()
    }

    /// The state after the last entry.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The id of the genesis.
    pub fn log(&self) -> RecordId {
        self.state.log().expect("a ledger starts with a genesis")
    }

    /// The entries, as logged.
    pub fn entries(&self) -> &[Vec<u8>] {
        &self.entries
    }

    /// How many entries there are.
    pub fn size(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The time of the last record.
    pub const fn now(&self) -> u64 {
        self.time
    }

    /// Lets time pass.
    pub const fn wait(&mut self, millis: u64) {
        self.time += millis;
    }

    /// The draft of a record that would stand next, where it belongs: after the head of its chain, or after
    /// the heads of its run.
    pub fn draft(&mut self, by: &Actor, run: Option<RunId>, body: impl Into<Body>) -> Draft {
        self.time += TICK;
        let body = body.into();
        Draft {
            place: self.place(&body, run),
            time: Millis::new(self.time).expect("a time"),
            principal: by.principal.clone(),
            role: by.role,
            body,
        }
    }

    /// A signed record that would stand next.
    pub fn sign(&mut self, by: &Actor, run: Option<RunId>, body: impl Into<Body>) -> UnverifiedRecord {
        self.draft(by, run, body).sign(by.signer()).expect("a well-formed draft")
    }

    /// Signs a record and appends it.
    ///
    /// # Panics
    /// If it is not admitted.
    #[track_caller]
    pub fn add(&mut self, by: &Actor, run: Option<RunId>, body: impl Into<Body>) -> RecordId {
        let record = self.sign(by, run, body);
        match self.append(record.bytes()) {
            Ok(_) => record.id(),
            Err(refused) => panic!("{refused:?}"),
        }
    }

    /// Appends a record, if it breaks no rule.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed then.
    pub fn append(&mut self, bytes: &[u8]) -> Result<Effect, Refused> {
        let mut state = self.state.clone();
        let effect = fold(&mut state, &mut self.keys, bytes, &self.tree)?;
        self.state = state;
        self.push(bytes);
        Ok(effect)
    }

    /// Appends bytes without admission, as a log does that breaks the rules. What they break, if anything.
    pub fn force(&mut self, bytes: &[u8]) -> Result<Effect, Refused> {
        let folded = fold(&mut self.state, &mut self.keys, bytes, &self.tree);
        self.push(bytes);
        folded
    }

    fn push(&mut self, bytes: &[u8]) {
        self.entries.push(bytes.to_vec());
        self.tree.push(leaf_hash(bytes));
    }

    /// What the log's fold knows of a run.
    ///
    /// # Panics
    /// If the run did not start.
    pub fn run(&self, run: RunId) -> &counterfoil_verify::Run {
        self.state.run(&run).expect("a run of this log")
    }

    /// Lets the tree grow by entries that nobody will ask for: leaves without records.
    pub fn pad(&mut self, entries: u64) {
        for _ in 0..entries {
            let leaf = leaf_hash(&self.size().to_be_bytes());
            self.entries.push(Vec::new());
            self.tree.push(leaf);
        }
    }

    /// Closes a batch: a snapshot, and a signed checkpoint that ends with it.
    pub fn close(&mut self) -> TreeHead {
        let snapshot = self.snapshot();
        let log = self.log.clone();
        self.add(&log, None, snapshot);
        self.sign_checkpoint()
    }

    /// What the next snapshot says.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { fold: whole(0), index: whole(self.size()), map: MapRoot::empty() }
    }

    /// Signs a checkpoint of the tree as it is, whatever it ends with.
    pub fn sign_checkpoint(&mut self) -> TreeHead {
        let head = self.tree.head();
        let checkpoint = Checkpoint::new(&self.origin, head).expect("an origin");
        let note = checkpoint.sign(&*self.note).expect("a note key signs");
        self.checkpoints.insert(head.size.0, note.to_string());
        head
    }

    /// Signs any text with the log's note key.
    pub fn sign_note(&self, text: &str) -> String {
        let line = sign_note(text, &*self.note).expect("a note key signs");
        UnverifiedNote::new(text, vec![line]).expect("a note text").to_string()
    }

    /// Adds a witness's cosignature to the last checkpoint, at a time in seconds.
    pub fn cosign(&mut self, witness: &SeedSigner, seconds: u64) {
        let mut last = self.checkpoints.last_entry().expect("a signed checkpoint");
        let note = UnverifiedNote::parse(last.get().as_bytes()).expect("a note");
        let checkpoint = Checkpoint::parse(note.text()).expect("a checkpoint");
        let line = cosign(&checkpoint, PosixSeconds(seconds), witness).expect("a cosigner signs");
        let lines = note.signatures().iter().cloned().chain([line]).collect();
        let note = UnverifiedNote::new(note.text(), lines).expect("a note");
        last.insert(note.to_string());
    }

    /// The last signed checkpoint, as records name it.
    pub fn basis(&self) -> Basis {
        let (size, _) = self.checkpoints.last_key_value().expect("a signed checkpoint");
        let head = self.tree.head_at(TreeSize(*size)).expect("a size of this tree");
        Basis { root: Root::from_bytes(*head.root.as_bytes()), size: whole(*size) }
    }

    /// The signed note of the tree of this size.
    pub fn checkpoint(&self, size: u64) -> Option<&str> {
        self.checkpoints.get(&size).map(String::as_str)
    }

    /// Commits to content, and keeps what opens the commitment.
    pub fn commit(&mut self, name: &str, content: &[u8]) -> Commitment {
        self.salts += 1;
        let salt = Salt::from_bytes(seed(&format!("salt {} {}", self.origin, self.salts)));
        let opening = Opening { salt, label: label(name), content: content.to_vec() };
        let commitment = opening.commitment();
        self.openings.insert(commitment, (opening, None));
        commitment
    }

    /// A payload that is not in the log.
    pub fn item(&mut self, name: &str, media_type: &str, content: &[u8]) -> Item {
        Item {
            commitment: self.commit(name, content),
            label: label(name),
            media_type: label(media_type),
            size: whole(content.len() as u64),
        }
    }

    /// Many payloads under one root.
    pub fn item_set(&mut self, name: &str, contents: &[(&str, &[u8])]) -> ItemSet {
        let commitments: Vec<Commitment> =
            contents.iter().map(|(name, content)| self.commit(name, content)).collect();
        let tree: MemoryTree =
            commitments.iter().map(|commitment| leaf_hash(commitment.as_bytes())).collect();
        let root = Root::from_bytes(*tree.head().root.as_bytes());
        for (index, commitment) in commitments.iter().enumerate() {
            let proof =
                inclusion::prove(LeafIndex(index as u64), tree.size(), &tree).expect("a leaf of the tree");
            let proof = List(proof.iter().map(|hash| ProofHash(*hash.as_bytes())).collect());
            let set = SetProof { index: whole(index as u64), items: whole(tree.size().0), proof, root };
            self.openings.get_mut(commitment).expect("just committed").1 = Some(set);
        }
        ItemSet { items: whole(tree.size().0), label: label(name), root }
    }

    /// Keeps a policy document for records that name it by digest.
    pub fn document(&mut self, document: Json) -> PolicyDigest {
        let digest = self.state.add_document(document.as_str().as_bytes().to_vec());
        self.documents.insert(digest, document);
        digest
    }

    /// Everything that the bundle of a run is made of, up to the last checkpoint: with the first checkpoint after each
    /// execution, and with every payload that is known.
    pub fn assembly(&self, run: RunId) -> Assembly {
        self.assembly_with(run, &[])
    }

    /// The same with further entries, which nothing needs.
    pub fn assembly_with(&self, run: RunId, further: &[u64]) -> Assembly {
        let (&size, _) = self.checkpoints.last_key_value().expect("a signed checkpoint");
        let index = Index::of(&self.entries);
        let mut chosen = match select(run, size, &index) {
            Ok(chosen) => chosen,
            Err(never) => match never {},
        };
        chosen.extend(further);
        chosen.sort_unstable();
        chosen.dedup();
        let records: Vec<UnverifiedRecord> = chosen.iter().map(|at| index.records[at].clone()).collect();
        let timers = records.iter().filter_map(|record| Some((record.id(), timed_by_rule(record)?)));
        let timed: BTreeSet<RecordId> = timers.flat_map(|(timer, proposal)| [timer, proposal]).collect();
        let placed_in_time =
            |record: &UnverifiedRecord| record.kind() == Type::Execution || timed.contains(&record.id());
        let mut sizes: Vec<u64> = records
            .iter()
            .zip(&chosen)
            .filter(|(record, _)| placed_in_time(record))
            .filter_map(|(_, at)| self.checkpoints.range(at + 1..).next())
            .map(|(size, _)| *size)
            .collect();
        sizes.push(size);
        sizes.dedup();
        let leaves: Vec<LeafIndex> = chosen.iter().copied().map(LeafIndex).collect();
        Assembly {
            log: self.log(),
            run,
            checkpoints: sizes
                .iter()
                .map(|old| (self.checkpoints[old].clone(), self.consistency(*old, size)))
                .collect(),
            documents: self.documents_named(&records),
            entries: chosen.iter().map(|at| (*at, self.entries[*at as usize].clone())).collect(),
            segments: multiproof::prove(TreeSize(size), &leaves, &self.tree).expect("indices of the tree"),
            payloads: self.payloads_named(&records),
        }
    }

    /// The bundle of a run.
    pub fn bundle(&self, run: RunId) -> Vec<u8> {
        self.assembly(run).to_bytes().expect("counts within their limits")
    }

    /// The consistency proof between two sizes of this log.
    pub fn consistency(&self, old: u64, new: u64) -> Vec<Hash> {
        consistency::prove(TreeSize(old), TreeSize(new), &self.tree).expect("sizes of this tree")
    }

    /// The trust file of a reader who knows this log: no witnesses, all that can be shown under fold version 0.
    pub fn trust(&self) -> TrustFile {
        let vkey = self.note.key().to_string();
        TrustFile {
            genesis: self.log(),
            origin: self.origin.clone(),
            witnesses: format!("log {vkey}\nquorum none\n"),
            log_keys: vec![vkey],
            authority: Vec::new(),
            dimensions: vec![
                Dimension::Integrity,
                Dimension::Authority,
                Dimension::Conformity,
                Dimension::Inclusion,
            ],
            max_age: None,
        }
    }

    fn documents_named(&self, records: &[UnverifiedRecord]) -> Vec<DocumentLine> {
        let named = |digest: &PolicyDigest| {
            records.iter().any(|record| match record.body() {
                Body::Policy(body) => **body == counterfoil_receipt::body::Policy::Digest(*digest),
                _ => false,
            })
        };
        let documents = self.documents.iter().filter(|(digest, _)| named(digest));
        documents
            .map(|(policy, document)| DocumentLine { document: document.clone(), policy: *policy })
            .collect()
    }

    fn payloads_named(&self, records: &[UnverifiedRecord]) -> Vec<PayloadLine> {
        use counterfoil_receipt::body::Evidence;
        let evidence: Vec<Evidence> = records.iter().flat_map(|record| record.body().evidence()).collect();
        let actions: Vec<Commitment> = records
            .iter()
            .filter_map(|record| record.body().action()?.committed.as_ref())
            .flat_map(|committed| committed.iter().map(|(_, commitment)| *commitment))
            .collect();
        let named = |commitment: &Commitment, set: &Option<SetProof>| {
            actions.contains(commitment)
                || evidence.iter().any(|evidence| match (evidence, set) {
                    (Evidence::Item(item), None) => item.commitment == *commitment,
                    (Evidence::Set(named), Some(set)) => named.root == set.root,
                    (Evidence::Item(_), Some(_)) | (Evidence::Set(_), None) => false,
                })
        };
        let openings = self.openings.iter().filter(|(commitment, (_, set))| named(commitment, set));
        openings.map(|(_, (opening, set))| PayloadLine::disclosing(opening.clone(), set.clone())).collect()
    }

    fn place(&self, body: &Body, run: Option<RunId>) -> Place {
        let head = |head: Option<RecordId>| head.expect("a log that has started");
        match body.kind().form() {
            Form::Root => Place::Root,
            Form::Single => Place::Single { log: self.log() },
            Form::Run => {
                let run = run.expect("a run");
                let heads = self.state.run(&run).map(|run| run.heads().iter().copied().take(16).collect());
                Place::Run { log: self.log(), run, parents: heads.unwrap_or_else(|| vec![run.trigger()]) }
            }
            Form::Chain => Place::Chain {
                log: self.log(),
                prev: match body {
                    Body::Snapshot(_) => head(self.state.snapshot_head()),
                    Body::Policy(_) => head(self.state.policy_head()),
                    Body::Keyring(body) => head(self.state.keyring_head(&body.principal)),
                    _ => self.log(),
                },
            },
        }
    }
}

/// One step of the fold, with the rules of bytes before it.
fn fold(state: &mut State, keys: &mut KeyCache, bytes: &[u8], tree: &MemoryTree) -> Result<Effect, Refused> {
    let record = UnverifiedRecord::parse(bytes).map_err(|fault| Refused {
        rule: fault.code.id(),
        code: fault.code.code(),
        detail: fault.to_string(),
    })?;
    let record = check_signature(record, keys).map_err(|(_, fault)| Refused::from(fault))?;
    state.fold(&record, tree.size().0, &TreeRoots(tree)).map_err(Refused::from)
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self { rule: fault.rule.id(), code: fault.rule.code(), detail: fault.detail }
    }
}

/// No tree at hand: no basis is compared with the root at its size.
#[derive(Clone, Copy, Debug)]
pub struct NoRoots;

impl Roots for NoRoots {
    fn root_at(&self, _: u64) -> Option<[u8; 32]> {
        None
    }
}

struct TreeRoots<'a>(&'a MemoryTree);

impl Roots for TreeRoots<'_> {
    fn root_at(&self, size: u64) -> Option<[u8; 32]> {
        self.0.head_at(TreeSize(size)).map(|head| *head.root.as_bytes())
    }
}

/// Finds entries by scanning them all.
struct Index {
    records: BTreeMap<u64, UnverifiedRecord>,
}

impl Index {
    /// # Panics
    /// On an entry that is no record: no bundle can be selected from such a log.
    fn of(entries: &[Vec<u8>]) -> Self {
        let entries = (0..).zip(entries).filter(|(_, bytes)| !bytes.is_empty());
        let parse = |bytes: &Vec<u8>| UnverifiedRecord::parse(bytes).expect("entries are records");
        Self { records: entries.map(|(at, bytes)| (at, parse(bytes))).collect() }
    }

    fn where_<'a>(
        &'a self,
        size: u64,
        is: impl Fn(&UnverifiedRecord) -> bool + 'a,
    ) -> impl Iterator<Item = u64> + 'a {
        self.records.range(..size).filter(move |(_, record)| is(record)).map(|(at, _)| *at)
    }
}

impl Lookup for Index {
    type Error = Infallible;

    fn indices(&self, key: &IndexKey, size: u64) -> Result<Vec<u64>, Infallible> {
        Ok(self.where_(size, |record| index_keys(record).contains(key)).collect())
    }

    fn snapshots_around(&self, index: u64, size: u64) -> Result<(Option<u64>, Option<u64>), Infallible> {
        let snapshots = || self.where_(size, |record| record.kind() == Type::Snapshot);
        Ok((snapshots().take_while(|at| *at < index).last(), snapshots().find(|at| *at >= index)))
    }

    fn record(&self, index: u64) -> Result<UnverifiedRecord, Infallible> {
        Ok(self.records[&index].clone())
    }
}

fn whole<const MIN: u64, const MAX: u64>(value: u64) -> Whole<MIN, MAX> {
    Whole::new(value).expect("a number within its bounds")
}

/// A size or an index.
pub(crate) fn count(value: u64) -> Count {
    whole(value)
}
