//! One checkpoint on its way to the quorum.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use counterfoil_tlog::{
    Checkpoint, CheckpointError, NoteSignature, Policy, PosixSeconds, TreeHead, UnverifiedNote, VerifierKey,
    limits, policy::Quorum, witness::WitnessLine,
};

/// A checkpoint with the log's own lines and no others, as it is sent to witnesses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub note: UnverifiedNote,
    pub head: TreeHead,
}

impl Target {
    /// The checkpoint in `note`, with the lines that name one of `keys`.
    pub fn new(note: &UnverifiedNote, keys: &[VerifierKey]) -> Result<Self, CheckpointError> {
        let checkpoint = Checkpoint::parse(note.text())?;
        let own = note.signatures().iter().filter(|line| keys.iter().any(|key| line.is_by(key)));
        let note = UnverifiedNote::new(note.text(), own.cloned().collect())?;
        Ok(Self { note, head: checkpoint.head() })
    }
}

/// A checkpoint with the cosignatures collected for it, each of them verified. `Display` is the note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned {
    /// The note: first the log's lines.
    pub note: UnverifiedNote,
    /// The tree.
    pub head: TreeHead,
    /// Who cosigned, by the place in the policy, and as of when.
    pub cosignatures: Vec<(usize, PosixSeconds)>,
    /// Whether they are enough.
    pub quorum: bool,
}

impl fmt::Display for Cosigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.note.fmt(f)
    }
}

/// The checkpoint that all witnesses are asked to cosign, until the quorum has.
pub(crate) struct Round {
    pub target: Target,
    pub started: Instant,
    lines: BTreeMap<usize, (PosixSeconds, NoteSignature)>,
}

impl Round {
    pub fn new(target: Target, started: Instant) -> Self {
        Self { target, started, lines: BTreeMap::new() }
    }

    /// Adds a verified line by the witness at `place`; of two the later counts.
    pub fn add(&mut self, place: usize, WitnessLine { time, line, .. }: WitnessLine) {
        match self.lines.get(&place) {
            Some((other, _)) if *other >= time => {}
            _ => drop(self.lines.insert(place, (time, line))),
        }
    }

    /// Whether the lines so far are enough. Where none are demanded, one is.
    pub fn has_quorum(&self, policy: &Policy) -> bool {
        let places: Vec<usize> = self.lines.keys().copied().collect();
        is_enough(policy, &places)
    }

    /// The checkpoint with the lines so far; with no more than a note can have, if fewer make the quorum.
    pub fn cosigned(&self, policy: &Policy) -> Option<Cosigned> {
        let own = self.target.note.signatures();
        let mut places: Vec<usize> = self.lines.keys().copied().collect();
        let quorum = is_enough(policy, &places);
        while own.len() + places.len() > limits::NOTE_SIGNATURES {
            let without = |at: usize| [&places[..at], &places[at + 1..]].concat();
            let spare =
                (0..places.len()).rev().map(without).find(|rest| !quorum || is_enough(policy, rest))?;
            places = spare;
        }
        let of = |place: &usize| self.lines.get(place);
        let lines = own.iter().chain(places.iter().filter_map(of).map(|(_, line)| line)).cloned();
        let note = UnverifiedNote::new(self.target.note.text(), lines.collect()).ok()?;
        let cosignatures =
            places.iter().filter_map(|place| of(place).map(|(time, _)| (*place, *time))).collect();
        Some(Cosigned { note, head: self.target.head, cosignatures, quorum })
    }
}

fn is_enough(policy: &Policy, places: &[usize]) -> bool {
    let demanded = !matches!(policy.quorum(), Quorum::NotRequired);
    policy.is_satisfied(places) && (demanded || !places.is_empty())
}
