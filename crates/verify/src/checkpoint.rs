//! Checkpoints as a bundle shows them: signed by the pinned log, consistent with each other, witnessed.

use counterfoil_receipt::{body::Type, bundle::CheckpointLine};
use counterfoil_tlog::{
    CheckpointError, Hash, PosixSeconds, SignedCheckpoint, TreeHead, UnverifiedNote, VerifierKey,
    consistency,
    policy::{QuorumTime, Witness},
};

use crate::{fault::Fault, place::with_article, rule::Rule, state::Roots, trust::Trust};

/// A checkpoint that a pinned log key signed, with the cosigners that counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCheckpoint {
    /// Size and root.
    pub head: TreeHead,
    /// Names of the log keys that signed.
    pub signed_by: Vec<String>,
    /// Names of the witnesses whose cosignatures hold, with their time in seconds since the Unix epoch.
    pub witnesses: Vec<(String, u64)>,
    /// How many signature lines are of signers that the reader does not know.
    pub unknown: usize,
    cosignatures: Vec<(usize, PosixSeconds)>,
}

impl ShownCheckpoint {
    /// Since when no quorum of witnesses has confirmed this tree.
    fn fresh_at(&self, trust: &Trust) -> QuorumTime {
        trust.witnesses.fresh_at(&self.cosignatures)
    }
}

/// When a quorum of witnesses had seen what all of these checkpoints cover: cosignatures on any of them count.
pub(crate) fn existed_by(covering: &[ShownCheckpoint], trust: &Trust) -> QuorumTime {
    let cosignatures: Vec<_> =
        covering.iter().flat_map(|checkpoint| checkpoint.cosignatures.iter().copied()).collect();
    trust.witnesses.existed_by(&cosignatures)
}

/// A checkpoint that was opened, with the keys under which it was.
#[derive(Debug)]
pub(crate) struct Opened {
    note: String,
    origin: String,
    log_keys: Vec<VerifierKey>,
    witnesses: Vec<Witness>,
    pub shown: ShownCheckpoint,
}

impl Opened {
    pub fn new(note: &str, trust: &Trust) -> Result<Self, Fault> {
        Ok(Self {
            note: note.to_owned(),
            origin: trust.origin.clone(),
            log_keys: trust.log_keys.clone(),
            witnesses: trust.witnesses.witnesses().to_vec(),
            shown: open(note, trust)?,
        })
    }

    /// Whether it is what this note is under these keys.
    pub fn is_of(&self, note: &str, trust: &Trust) -> bool {
        let Self { note: own, origin, log_keys, witnesses, .. } = self;
        own == note
            && *origin == trust.origin
            && *log_keys == trust.log_keys
            && *witnesses == trust.witnesses.witnesses()
    }
}

/// Reads a checkpoint under the reader's keys.
pub(crate) fn open(note: &str, trust: &Trust) -> Result<ShownCheckpoint, Fault> {
    let note = UnverifiedNote::parse(note.as_bytes())
        .map_err(|error| Fault::violated(Rule::CheckpointForm, format!("checkpoint: {error}")))?;
    let mut lines: Vec<String> = note.signatures().iter().map(ToString::to_string).collect();
    lines.sort_unstable();
    let repeats = lines.windows(2).any(|pair| pair[0] == pair[1]);
    let signed = origin_and_signature(note, trust)?;
    form_is_ours(&signed, repeats)?;
    let name = |key: &VerifierKey| format!("{}+{}", key.name(), key.id());
    let cosignatures: Vec<(usize, PosixSeconds)> = signed
        .cosignatures()
        .iter()
        .filter_map(|cosignature| Some((cosignature.cosigner, cosignature.time?)))
        .collect();
    Ok(ShownCheckpoint {
        head: signed.head(),
        signed_by: signed.log_keys().iter().map(|key| name(&trust.log_keys[*key])).collect(),
        witnesses: cosignatures
            .iter()
            .map(|(witness, time)| (name(&trust.witnesses.witnesses()[*witness].key), time.0))
            .collect(),
        unknown: signed.unknown(),
        cosignatures,
    })
}

fn origin_and_signature(note: UnverifiedNote, trust: &Trust) -> Result<SignedCheckpoint, Fault> {
    SignedCheckpoint::open(note, &trust.origin, &trust.log_keys, trust.witnesses.witnesses()).map_err(
        |error| match error {
            CheckpointError::WrongOrigin { .. } => origin_differs(&error),
            CheckpointError::NotSignedByLog { .. } | CheckpointError::Note(_) => signature_fails(&error),
            _ => Fault::violated(Rule::CheckpointForm, format!("checkpoint: {error}")),
        },
    )
}

/// R-CP-01: a checkpoint is signed by the log key that the reader pins.
fn signature_fails(error: &CheckpointError) -> Fault {
    Fault::violated(Rule::CheckpointSignature, format!("checkpoint: {error}"))
}

/// R-CP-02: its origin is the genesis's.
fn origin_differs(error: &CheckpointError) -> Fault {
    Fault::violated(Rule::CheckpointOrigin, format!("checkpoint: {error}"))
}

/// R-CP-03: it is a well-formed checkpoint note without extension lines, in which no signature line stands twice, and its tree
/// is not empty.
fn form_is_ours(signed: &SignedCheckpoint, repeats: bool) -> Result<(), Fault> {
    if repeats {
        return Err(Fault::violated(Rule::CheckpointForm, "checkpoint: a signature line stands twice"));
    }
    if !signed.checkpoint().extensions().is_empty() {
        return Err(Fault::violated(Rule::CheckpointForm, "checkpoint: has extension lines"));
    }
    if signed.head().size.0 == 0 {
        return Err(Fault::violated(Rule::CheckpointForm, "checkpoint: its tree is empty"));
    }
    Ok(())
}

/// R-CP-04: its last entry is a snapshot.
pub(crate) fn ends_with_snapshot(shown: &ShownCheckpoint, last: Option<Type>) -> Result<(), Fault> {
    let end = format!("the end of the tree of size {}", shown.head.size);
    match last {
        Some(Type::Snapshot) => Ok(()),
        Some(kind) => Err(Fault::violated(
            Rule::CheckpointSnapshot,
            format!("{end} is {}", with_article(kind.as_str())),
        )),
        None => Err(Fault::not_shown(Rule::CheckpointSnapshot, format!("{end} is not in the bundle"))),
    }
}

/// R-CONS-01: earlier checkpoints are consistent with the last.
pub(crate) fn is_consistent(earlier: &TreeHead, last: &TreeHead, line: &CheckpointLine) -> Result<(), Fault> {
    let proof: Vec<Hash> = line.consistency.0.iter().map(|hash| Hash::from(hash.0)).collect();
    consistency::verify(earlier, last, &proof).map_err(|error| {
        Fault::violated(Rule::ConsistencyMismatch, format!("consistency of {}: {error}", earlier.size))
    })
}

/// R-WIT-01: cosignatures on the last checkpoint satisfy the reader's witness policy (not shown, never fail).
pub(crate) fn witnesses_suffice(last: &ShownCheckpoint, trust: &Trust) -> Result<PosixSeconds, Fault> {
    match trust.witnesses.existed_by(&last.cosignatures) {
        QuorumTime::At(time) => Ok(time),
        QuorumTime::NotRequired => {
            Err(Fault::not_shown(Rule::WitnessQuorum, "the trust file names no witnesses (quorum none)"))
        }
        QuorumTime::NotReached => {
            let detail = format!("{} cosignatures that hold are no quorum", last.witnesses.len());
            Err(Fault::not_shown(Rule::WitnessQuorum, detail))
        }
    }
}

/// R-FRESH-01: the last checkpoint is neither older than the reader accepts nor further ahead of the reader's clock.
///
/// Age is counted from when witnesses last confirmed it, or from `log_time` where the reader names no witnesses. Times are
/// in milliseconds.
pub(crate) fn is_fresh(
    last: &ShownCheckpoint,
    log_time: Option<u64>,
    trust: &Trust,
    now: u64,
) -> Result<u64, Fault> {
    let Some(max_age) = trust.max_age else {
        return Err(Fault::not_shown(Rule::CheckpointStale, "the trust file sets no max_age"));
    };
    let confirmed = match last.fresh_at(trust) {
        QuorumTime::At(time) => Some(time.0.saturating_mul(1_000)),
        QuorumTime::NotRequired => log_time,
        QuorumTime::NotReached => None,
    };
    let Some(confirmed) = confirmed else {
        return Err(Fault::not_shown(Rule::CheckpointStale, "nothing shows how old the last checkpoint is"));
    };
    let age = now.abs_diff(confirmed);
    if u128::from(age) <= max_age.as_millis() {
        return Ok(age);
    }
    let side = if confirmed > now { "ahead of the reader's clock" } else { "old" };
    let detail = format!(
        "the last checkpoint is {} s {side}; at most {} s are accepted",
        age / 1_000,
        max_age.as_secs()
    );
    Err(Fault::violated(Rule::CheckpointStale, detail))
}

/// The roots that the bundle's checkpoints show.
pub(crate) struct ShownRoots<'a>(pub &'a [ShownCheckpoint]);

impl Roots for ShownRoots<'_> {
    fn root_at(&self, size: u64) -> Option<[u8; 32]> {
        self.0.iter().find(|shown| shown.head.size.0 == size).map(|shown| *shown.head.root.as_bytes())
    }
}
