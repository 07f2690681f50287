//! Which logs a reader accepts, and whose cosignatures are enough (C2SP tlog-policy).

use crate::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use crate::cosignature::PosixSeconds;
use crate::key::{KeyError, VerifierKey};
use crate::note::UnverifiedNote;
use crate::policy_text;

/// A tlog-policy: logs, witnesses, and the quorum.
///
/// ```
/// use counterfoil_tlog::{Algorithm, Policy, SeedSigner, Signer};
///
/// let log = SeedSigner::ed25519("example.com/log", &[1; 32])?;
/// let witnesses = [2, 3].map(|seed| SeedSigner::ed25519_cosigner("w", &[seed; 32]));
/// let [w1, w2] = witnesses.map(|signer| signer.map(|signer| signer.key().clone()));
/// let text = format!("log {}\nwitness a {}\nwitness b {}\ngroup g any a b\nquorum g\n", log.key(), w1?, w2?);
/// let policy = Policy::parse(text.as_bytes())?;
/// assert!(policy.is_satisfied(&[1]));
/// assert!(!policy.is_satisfied(&[]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) logs: Vec<Log>,
    pub(crate) witnesses: Vec<Witness>,
    pub(crate) groups: Vec<Group>,
    pub(crate) quorum: Quorum,
}

/// A log whose checkpoints are accepted. Its origin is the name of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The key that signs its checkpoints.
    pub key: VerifierKey,
    /// Where the log is, if the policy says so; opaque bytes.
    pub url: Option<Vec<u8>>,
}

/// A witness that may cosign checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The name in the policy; opaque bytes.
    pub name: Vec<u8>,
    /// The key that cosigns.
    pub key: VerifierKey,
    /// Where the witness is, if the policy says so; opaque bytes.
    pub url: Option<Vec<u8>>,
}

impl AsRef<VerifierKey> for Log {
    fn as_ref(&self) -> &VerifierKey {
        &self.key
    }
}

impl AsRef<VerifierKey> for Witness {
    fn as_ref(&self) -> &VerifierKey {
        &self.key
    }
}

/// Whose cosignatures a policy demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quorum {
    /// `quorum none`: nobody's. Whatever such a policy accepts, no witness has seen.
    NotRequired,
    /// Those of this member.
    Member(Member),
}

/// A witness, or a group of earlier members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// The witness at this place of [`Policy::witnesses`].
    Witness(usize),
    /// The group at this place of [`Policy::groups`].
    Group(usize),
}

/// A group has witnessed what `threshold` of its members have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The group's name in the policy; opaque bytes.
    pub name: Vec<u8>,
    /// How many members are enough: 1 to the number of members.
    pub threshold: usize,
    /// The members, each defined before the group.
    pub members: Vec<Member>,
}

/// At what time a quorum stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuorumTime {
    /// The policy demands no cosignatures, so nothing is known of time.
    NotRequired,
    /// The cosignatures that state a time don't reach the quorum.
    NotReached,
    /// The quorum stands at this time.
    At(PosixSeconds),
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`PolicyError::Text`] naming the line that is wrong.
    pub fn parse(text: &[u8]) -> Result<Self, PolicyError> {
        policy_text::parse(text)
    }

    /// The logs, in the order of their lines.
    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// The witnesses, in the order of their lines. A witness is known by its place here.
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    /// The groups, in the order of their lines.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Whose cosignatures are enough.
    pub const fn quorum(&self) -> Quorum {
        self.quorum
    }

    /// Opens a checkpoint of one of the policy's logs. Whether the quorum cosigned it is not asked:
    /// [`Policy::check_quorum`].
    ///
    /// # Errors
    /// [`PolicyError`] if it is of another log, or is not signed as it should be.
    pub fn open(&self, note: UnverifiedNote) -> Result<SignedCheckpoint, PolicyError> {
        let checkpoint = Checkpoint::parse(note.text())?;
        let origin = checkpoint.origin();
        let logs: Vec<_> = self.logs.iter().filter(|log| log.key.name() == origin).collect();
        if logs.is_empty() {
            return Err(PolicyError::UnknownLog { origin: origin.to_owned() });
        }
        Ok(SignedCheckpoint::open(note, origin, &logs, &self.witnesses)?)
    }

    /// Whether the quorum cosigned a checkpoint that [`Policy::open`] opened, or that was opened with
    /// [`Policy::witnesses`] as its cosigners.
    ///
    /// # Errors
    /// [`PolicyError::QuorumNotReached`] if it did not.
    pub fn check_quorum(&self, checkpoint: &SignedCheckpoint) -> Result<(), PolicyError> {
        let cosigned: Vec<usize> =
            checkpoint.cosignatures().iter().map(|cosignature| cosignature.cosigner).collect();
        if self.is_satisfied(&cosigned) { Ok(()) } else { Err(PolicyError::QuorumNotReached { cosigned }) }
    }

    /// Whether these witnesses, by their places, are enough.
    pub fn is_satisfied(&self, cosigned: &[usize]) -> bool {
        let stands: Vec<_> = cosigned.iter().map(|witness| (*witness, PosixSeconds(0))).collect();
        match self.quorum {
            Quorum::NotRequired => true,
            Quorum::Member(member) => self.time_of(member, &stands, Order::Earliest).is_some(),
        }
    }

    /// The earliest time T such that the witnesses that cosigned at T or before are enough: what they cosigned existed
    /// by then. Takes the witness's place and time of every cosignature that covers it; one witness may stand there
    /// repeatedly.
    pub fn existed_by(&self, cosignatures: &[(usize, PosixSeconds)]) -> QuorumTime {
        self.quorum_time(cosignatures, Order::Earliest)
    }

    /// The latest time T such that the witnesses that cosigned at T or after are enough: the tree was still the
    /// largest they knew at T. Takes the cosignatures of one tree head.
    pub fn fresh_at(&self, cosignatures: &[(usize, PosixSeconds)]) -> QuorumTime {
        self.quorum_time(cosignatures, Order::Latest)
    }

    fn quorum_time(&self, cosignatures: &[(usize, PosixSeconds)], order: Order) -> QuorumTime {
        match self.quorum {
            Quorum::NotRequired => QuorumTime::NotRequired,
            Quorum::Member(member) => {
                self.time_of(member, cosignatures, order).map_or(QuorumTime::NotReached, QuorumTime::At)
            }
        }
    }

    /// A witness stands at its first time in `order`, a group at the one where its threshold is reached.
    fn time_of(
        &self,
        member: Member,
        stands: &[(usize, PosixSeconds)],
        order: Order,
    ) -> Option<PosixSeconds> {
        let (mut times, needed): (Vec<_>, usize) = match member {
            Member::Witness(place) => {
                let own = stands.iter().filter(|(witness, _)| *witness == place);
                (own.map(|(_, time)| *time).collect(), 1)
            }
            Member::Group(place) => {
                let group = self.groups.get(place)?;
                (
                    group.members.iter().filter_map(|m| self.time_of(*m, stands, order)).collect(),
                    group.threshold,
                )
            }
        };
        times.sort_unstable();
        if order == Order::Latest {
            times.reverse();
        }
        times.get(needed.checked_sub(1)?).copied()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Earliest,
    Latest,
}

/// Why a policy can't be read, or a checkpoint does not satisfy it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The text is no policy.
    #[error("line {line} of the policy: {reason}")]
    Text {
        /// Which line, counted from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        reason: PolicyTextError,
    },
    /// The checkpoint's origin is the name of none of the logs.
    #[error("{origin:?} is no log of the policy")]
    UnknownLog {
        /// The origin in the checkpoint.
        origin: String,
    },
    /// The checkpoint can't be read, or is not signed by its log.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The witnesses that cosigned are not enough.
    #[error("the cosignatures of {} witnesses don't reach the quorum", cosigned.len())]
    QuorumNotReached {
        /// The places of the witnesses that cosigned.
        cosigned: Vec<usize>,
    },
}

/// What is wrong with a line of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyTextError {
    /// The text is over [`limits::POLICY_BYTES`](crate::limits::POLICY_BYTES).
    #[error("{len} bytes are over the limit of {}", crate::limits::POLICY_BYTES)]
    TooLong {
        /// The length in bytes.
        len: usize,
    },
    /// The last line does not end with a newline.
    #[error("it does not end with a newline")]
    NoFinalNewline,
    /// The line holds a control character other than tab.
    #[error("control character {byte:#04x}")]
    ControlCharacter {
        /// The character.
        byte: u8,
    },
    /// The line does not begin with log, witness, group or quorum.
    #[error("a line begins with log, witness, group or quorum")]
    UnknownKeyword,
    /// The line has too few or too many items.
    #[error("the line has too few or too many items")]
    WrongItems,
    /// A verifier key is none.
    #[error("the verifier key is wrong: {0}")]
    Key(#[source] KeyError),
    /// A key has the wrong type: logs sign (0x01 or 0x06), witnesses cosign (0x04 or 0x06).
    #[error("a key of signature type {type_byte:#04x} does not belong here")]
    WrongKeyType {
        /// The type byte of the key.
        type_byte: u8,
    },
    /// Another line of the same kind has the same public key, or a log and a witness are the same key.
    #[error("another line has the same key")]
    DuplicateKey,
    /// The name is defined already, or is `none`.
    #[error("the name is taken")]
    NameTaken,
    /// The name is not defined on a line before.
    #[error("the name is not defined on a line before")]
    UnknownName,
    /// The name is a member of a group already.
    #[error("a name can be a member of one group, once")]
    MemberTwice,
    /// The threshold is not `all`, `any`, or a number from 1 to the number of members.
    #[error("the threshold is not all, any, or a number from 1 to the number of members")]
    BadThreshold,
    /// There are more lines of this kind than [`limits::POLICY_ITEMS`](crate::limits::POLICY_ITEMS).
    #[error("more than {} lines of this kind", crate::limits::POLICY_ITEMS)]
    TooMany,
    /// There is a quorum line already.
    #[error("a policy has one quorum line")]
    SecondQuorum,
    /// There is no quorum line.
    #[error("the quorum line is missing")]
    NoQuorum,
}

impl PolicyError {
    /// A stable name for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Text { reason, .. } => reason.code(),
            Self::UnknownLog { .. } => "policy-unknown-log",
            Self::Checkpoint(error) => error.code(),
            Self::QuorumNotReached { .. } => "policy-quorum-not-reached",
        }
    }
}

impl PolicyTextError {
    /// A stable name for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "policy-too-long",
            Self::NoFinalNewline => "policy-no-final-newline",
            Self::ControlCharacter { .. } => "policy-control-character",
            Self::UnknownKeyword => "policy-unknown-keyword",
            Self::WrongItems => "policy-wrong-items",
            Self::Key(error) => error.code(),
            Self::WrongKeyType { .. } => "policy-wrong-key-type",
            Self::DuplicateKey => "policy-duplicate-key",
            Self::NameTaken => "policy-name-taken",
            Self::UnknownName => "policy-unknown-name",
            Self::MemberTwice => "policy-member-twice",
            Self::BadThreshold => "policy-bad-threshold",
            Self::TooMany => "policy-too-many",
            Self::SecondQuorum => "policy-second-quorum",
            Self::NoQuorum => "policy-no-quorum",
        }
    }
}
