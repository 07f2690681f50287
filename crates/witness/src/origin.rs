//! What a witness knows of one log, and the one place where that changes.
//!
//! The order, which is what keeps a witness from cosigning two trees that are inconsistent:
//!
//! 1. under the origin's mutex, the request is judged against the state;
//! 2. time and checkpoint replace the state by compare-and-swap, and are on disk;
//! 3. only then is the checkpoint cosigned;
//! 4. the cosignatures leave the process.
//!
//! A crash between 2 and 4 loses cosignatures, which the log asks for again. A failure in 2 leaves unknown what is on disk:
//! nothing of this origin is cosigned until the process starts again and reads it.

use counterfoil_log::{LockError, LockStore};
use counterfoil_tlog::limits as tlog;
use counterfoil_tlog::witness::AddCheckpoint;
use counterfoil_tlog::{
    Checkpoint, NoteSignature, PosixSeconds, ProofError, SignError, TreeHead, TreeSize, UnverifiedNote,
    VerifierKey, consistency, cosign,
};

use crate::error::{Refusal, StateError};
use crate::limits;
use crate::server::Cosigner;

/// One log's state.
pub(crate) enum Origin {
    Open(Open),
    /// A write failed; what is stored is not known.
    Poisoned,
}

pub(crate) struct Open {
    store: Box<dyn LockStore>,
    /// What the store holds.
    value: Option<Vec<u8>>,
    latest: Option<Latest>,
}

/// The largest tree that was cosigned.
pub(crate) struct Latest {
    pub time: PosixSeconds,
    pub head: TreeHead,
    /// The checkpoint with the log's own lines, each of them verified.
    note: UnverifiedNote,
    cosignatures: Vec<NoteSignature>,
}

impl Latest {
    /// The checkpoint with the log's lines and the witness's own.
    pub fn cosigned(&self) -> Option<UnverifiedNote> {
        let lines = self.note.signatures().iter().chain(&self.cosignatures).cloned().collect();
        UnverifiedNote::new(self.note.text(), lines).ok()
    }
}

impl Origin {
    /// Reads what is stored, and makes the cosignatures over it again: they are the same statement of the same time.
    pub fn open(
        mut store: Box<dyn LockStore>,
        keys: &[VerifierKey],
        cosigners: &[Cosigner],
    ) -> Result<Self, StateError> {
        let value = store.load()?;
        let latest = match &value {
            None => None,
            Some(value) => Some(decode(value, keys, cosigners)?),
        };
        Ok(Self::Open(Open { store, value, latest }))
    }

    /// The largest tree that was cosigned, if any was and the store did not fail.
    pub fn latest(&self) -> Option<&Latest> {
        match self {
            Self::Open(open) => open.latest.as_ref(),
            Self::Poisoned => None,
        }
    }

    /// Judges a request whose note is `checkpoint`, signed by the log; `note` has the log's verified lines only. Gives the
    /// cosignatures.
    pub fn add(
        &mut self,
        request: &AddCheckpoint,
        checkpoint: &Checkpoint,
        note: UnverifiedNote,
        now: impl Fn() -> PosixSeconds,
        cosigners: &[Cosigner],
    ) -> Result<Vec<NoteSignature>, Refusal> {
        let Self::Open(open) = self else { return Err(Refusal::Poisoned) };
        let head = checkpoint.head();
        open.follows(request, &head)?;
        let now = now();
        if now.0 == 0
            || now.0 > tlog::TIMESTAMP
            || open.latest.as_ref().is_some_and(|latest| now < latest.time)
        {
            return Err(Refusal::ClockBehind { now });
        }
        let same =
            |latest: &&Latest| latest.time == now && latest.note == note && !latest.cosignatures.is_empty();
        if let Some(latest) = open.latest.as_ref().filter(same) {
            // The same statement: it is stored, and made.
            return Ok(latest.cosignatures.clone());
        }
        let value = encode(now, &note);
        if value.len() > limits::STATE_BYTES {
            return Err(Refusal::TooLong { len: value.len() });
        }
        if let Err(error) = open.store.replace(open.value.as_deref(), &value) {
            *self = Self::Poisoned;
            return Err(Refusal::Store(error));
        }
        open.value = Some(value);
        let made = cosignatures(checkpoint, now, cosigners);
        // Stored is stored, even if there is no signature over it.
        let cosignatures = made.as_ref().cloned().unwrap_or_default();
        open.latest = Some(Latest { time: now, head, note, cosignatures });
        made.map_err(Refusal::Sign)
    }
}

impl Open {
    /// The new tree is the one that was cosigned, or begins with it.
    fn follows(&self, request: &AddCheckpoint, new: &TreeHead) -> Result<(), Refusal> {
        let known = self.latest.as_ref().map(|latest| latest.head);
        let size = known.map_or(TreeSize(0), |head| head.size);
        if request.old != size || known.is_some_and(|known| known.size == new.size && known.root != new.root)
        {
            return Err(Refusal::Conflict { size });
        }
        match known {
            Some(old) if old.size.0 > 0 => Ok(consistency::verify(&old, new, &request.proof)?),
            // Every tree begins with the empty one, and a proof of that must be empty.
            _ => match request.proof.len() {
                0 => Ok(()),
                found => Err(ProofError::WrongLength { expected: 0, found }.into()),
            },
        }
    }
}

fn cosignatures(
    checkpoint: &Checkpoint,
    time: PosixSeconds,
    cosigners: &[Cosigner],
) -> Result<Vec<NoteSignature>, String> {
    let made: Result<_, SignError> =
        cosigners.iter().map(|cosigner| cosign(checkpoint, time, cosigner.as_ref())).collect();
    made.map_err(|error| error.to_string())
}

/// What is stored: the time in decimal, a newline, the checkpoint.
fn encode(time: PosixSeconds, note: &UnverifiedNote) -> Vec<u8> {
    format!("{time}\n{note}").into_bytes()
}

fn decode(value: &[u8], keys: &[VerifierKey], cosigners: &[Cosigner]) -> Result<Latest, StateError> {
    let wrong = |why: String| StateError::Wrong(why);
    let text = std::str::from_utf8(value).map_err(|error| wrong(error.to_string()))?;
    let (time, note) = text.split_once('\n').ok_or_else(|| wrong("it has no time".to_owned()))?;
    let time = PosixSeconds(time.parse().map_err(|_| wrong(format!("{time:?} is no time")))?);
    let note = UnverifiedNote::parse(note.as_bytes()).map_err(|error| wrong(error.to_string()))?;
    if encode(time, &note) != value {
        return Err(wrong("it is not spelled as it was written".to_owned()));
    }
    note.clone().open(keys).map_err(|error| StateError::OtherKeys(error.to_string()))?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|error| wrong(error.to_string()))?;
    let cosignatures = cosignatures(&checkpoint, time, cosigners).map_err(StateError::Sign)?;
    Ok(Latest { time, head: checkpoint.head(), note, cosignatures })
}

impl From<LockError> for StateError {
    fn from(error: LockError) -> Self {
        Self::Store(error)
    }
}
