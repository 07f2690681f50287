//! A whole log under a reader's trust: every entry from 0 on, in order, and the checkpoint over them (`spec/audit.md`).
//!
//! Where a bundle shows some entries, an auditor has them all: what is absent does not exist, and each rule that a record
//! breaks was broken by the log that admitted it.

use counterfoil_receipt::{Malformed, PolicyDigest, RecordId, Type, UnverifiedRecord};
use counterfoil_tlog::PosixSeconds;

use crate::{
    bundle::{authority_is_pinned, genesis_is_pinned},
    checkpoint::{self, ShownCheckpoint},
    fault::{Fault, Finding, Shown},
    keys,
    record::{KeyCache, Record, check_signature, checked_before},
    rule::Rule,
    state::{Roots, Scope, State},
    trust::Trust,
};

/// Opens a checkpoint under the reader's keys (R-CP-01 to R-CP-03).
///
/// # Errors
/// The rule that does not hold.
pub fn open_checkpoint(note: &str, trust: &Trust) -> Result<ShownCheckpoint, Fault> {
    checkpoint::open(note, trust)
}

/// When a quorum of the reader's witnesses had seen a checkpoint.
///
/// # Errors
/// R-WIT-01, not shown.
pub fn witness_quorum(shown: &ShownCheckpoint, trust: &Trust) -> Result<PosixSeconds, Fault> {
    checkpoint::witnesses_suffice(shown, trust)
}

/// An entry that was checked by itself: form, role and signature.
#[derive(Debug)]
pub struct CheckedEntry {
    id: RecordId,
    checked: Checked,
}

#[derive(Debug)]
enum Checked {
    Record(Box<Record>),
    Refused(Box<UnverifiedRecord>, Fault),
    Malformed(Malformed),
}

impl CheckedEntry {
    /// Checks what needs no other entry. Entries can be checked in any order, on any thread.
    pub fn check(bytes: &[u8], keys: &mut KeyCache) -> Self {
        let checked = match UnverifiedRecord::parse(bytes) {
            Err(fault) => Checked::Malformed(fault),
            Ok(record) => match check_signature(record, keys) {
                Ok(record) => Checked::Record(Box::new(record)),
                Err((record, fault)) => Checked::Refused(record, fault),
            },
        };
        Self { id: RecordId::of(bytes), checked }
    }

    /// Takes an entry that [`CheckedEntry::check`] found nothing wrong with before.
    ///
    /// Only for a reader who holds the hash of that entry from then, and compares it.
    pub fn checked_before(bytes: &[u8]) -> Self {
        let checked = match UnverifiedRecord::parse(bytes) {
            Err(fault) => Checked::Malformed(fault),
            Ok(record) => Checked::Record(Box::new(checked_before(record))),
        };
        Self { id: RecordId::of(bytes), checked }
    }

    /// What is wrong with it by itself, if it stands at `index`.
    pub fn finding(&self, index: u64) -> Option<Finding> {
        let finding = match &self.checked {
            Checked::Record(_) => return None,
            Checked::Refused(_, fault) => Finding::of(fault.clone()),
            Checked::Malformed(fault) => Finding::malformed(fault),
        };
        Some(finding.at(index, Some(self.id)))
    }

    /// The type of the record, if it is one.
    pub fn kind(&self) -> Option<Type> {
        match &self.checked {
            Checked::Record(record) => Some(record.kind()),
            Checked::Refused(record, _) => Some(record.kind()),
            Checked::Malformed(_) => None,
        }
    }
}

/// The fold over a whole log.
#[derive(Debug)]
pub struct WholeLog<'t> {
    trust: &'t Trust,
    state: State,
    last: Option<Type>,
    /// The entry since which a policy document is missing. What is judged after it may depend on the policy.
    document_missing: Option<u64>,
}

impl<'t> WholeLog<'t> {
    /// The log before entry 0.
    pub fn new(trust: &'t Trust) -> Self {
        Self { trust, state: State::new(Scope::Complete), last: None, document_missing: None }
    }

    /// Gives it a policy document that a policy record names by digest.
    pub fn add_document(&mut self, document: Vec<u8>) -> PolicyDigest {
        self.state.add_document(document)
    }

    /// Folds the entry at `index`, and says which rules do not hold of it. Entries come in order, from 0 on.
    pub fn fold(&mut self, index: u64, entry: CheckedEntry, roots: &dyn Roots) -> Vec<Finding> {
        self.last = entry.kind();
        let mut findings = Vec::new();
        let id = entry.id;
        if index == 0 {
            let pinned = genesis_is_pinned(id, self.trust);
            findings.extend(pinned.err().map(|fault| Finding::of(fault).at(0, Some(id))));
        }
        match entry.checked {
            Checked::Malformed(fault) => findings.push(Finding::malformed(&fault).at(index, Some(id))),
            Checked::Refused(record, fault) => {
                self.state.set_aside(&record, index, fault.shown);
                findings.push(Finding::of(fault).at(index, Some(id)));
            }
            Checked::Record(record) => {
                // The log could not know whom this reader accepts: the record is folded all the same.
                let pinned = authority_is_pinned(&record, index, self.trust).err();
                let folded = self.state.fold(&record, index, roots);
                let broken = folded.err().map(|fault| self.judged(index, fault));
                findings.extend(
                    pinned.into_iter().chain(broken).map(|fault| Finding::of(fault).at(index, Some(id))),
                );
            }
        }
        if index == 0
            && let Some(genesis) = self.state.genesis()
            && genesis.origin.as_str() != self.trust.origin
        {
            let (named, pinned) = (&genesis.origin, &self.trust.origin);
            let detail = format!("the genesis names the origin {named:?}, the reader {pinned:?}");
            let fault = Fault::violated(Rule::CheckpointOrigin, detail);
            findings.push(Finding::of(fault).at(0, Some(id)));
        }
        findings
    }

    /// What only the whole log shows, under its checkpoint.
    pub fn finish(&self, checkpoint: &ShownCheckpoint) -> Vec<Finding> {
        let ends = checkpoint::ends_with_snapshot(checkpoint, self.last);
        let last = checkpoint.head.size.0.checked_sub(1);
        let ends = ends.err().map(|fault| match last {
            Some(last) => Finding::of(fault).at(last, None),
            None => Finding::of(fault),
        });
        let disputed = self.state.keys().into_iter().filter_map(|(_, facts)| keys::disputed(facts));
        ends.into_iter().chain(disputed.map(Finding::of)).collect()
    }

    /// The state after the last entry.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// A fault as this reader can know it: while a policy document is missing, nobody but the log knows what the policy wants.
    fn judged(&mut self, index: u64, mut fault: Fault) -> Fault {
        if fault.rule == Rule::PolicyUnreadable && fault.shown == Shown::NotShown {
            self.document_missing.get_or_insert(index);
        } else if let Some(since) = self.document_missing {
            fault.shown = Shown::NotShown;
            fault.detail.push_str(&format!("; judged without the policy document that entry {since} names"));
        }
        fault
    }
}
