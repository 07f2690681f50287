//! One checkpoint sent to one witness, and what its answer means.

use std::io::Read as _;
use std::time::Duration;

use counterfoil_http::Address;
use counterfoil_log::Reader;
use counterfoil_tlog::witness::{
    ADD_CHECKPOINT, ANSWER_BYTES, AddCheckpoint, Answer, PROOF_HASHES, parse_size,
};
use counterfoil_tlog::{Hash, PosixSeconds, TreeHead, TreeSize, VerifierKey, consistency};
use ureq::Agent;

use crate::limits;
use crate::round::Target;

/// An error of whoever gives proofs.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the log proves about its own trees.
pub trait Proofs: Send + Sync + 'static {
    /// The root of the tree of the first `size` leaves.
    ///
    /// # Errors
    /// If it can't be read.
    fn root_at(&self, size: TreeSize) -> Result<Hash, BoxError>;

    /// The consistency proof between two of its trees.
    ///
    /// # Errors
    /// If it can't be made.
    fn consistency_proof(&self, old: TreeSize, new: TreeSize) -> Result<Vec<Hash>, BoxError>;
}

impl Proofs for Reader {
    fn root_at(&self, size: TreeSize) -> Result<Hash, BoxError> {
        Ok(Self::root_at(self, size)?)
    }

    fn consistency_proof(&self, old: TreeSize, new: TreeSize) -> Result<Vec<Hash>, BoxError> {
        Ok(Self::consistency_proof(self, old, new)?)
    }
}

/// A witness knows of a tree that this log does not have: somebody signed a fork with the log's key, the log was restored
/// from a backup, or the witness lies. It is for a person to find out which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// The witness.
    pub url: String,
    /// What it knows.
    pub kind: AlarmKind,
    /// The request that it answered: the log's own signed checkpoint, and its proof.
    pub request: String,
    /// The status of the answer.
    pub status: u16,
    /// Its body, up to 256 bytes.
    pub answer: Vec<u8>,
}

/// In what way a witness contradicts the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmKind {
    /// It says that it cosigned a larger tree than there is.
    Ahead {
        /// The size that it says.
        theirs: TreeSize,
        /// The size that there is.
        ours: TreeSize,
    },
    /// It does not accept that its tree of this size is the beginning of the log's.
    Different {
        /// The size.
        size: TreeSize,
    },
}

impl std::fmt::Display for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            AlarmKind::Ahead { theirs, ours } => {
                write!(f, "{} has cosigned size {theirs}, the log has {ours}", self.url)
            }
            AlarmKind::Different { size } => {
                write!(f, "{} has cosigned another tree of size {size} than the log has", self.url)
            }
        }
    }
}

/// Why a witness gave no cosignature that counts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The log could not prove.
    #[error("the log can't prove consistency: {0}")]
    Proof(BoxError),
    /// There is no answer.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// It wants to be left alone.
    #[error("too many requests")]
    Busy {
        /// For how long, if it says.
        retry_after: Option<Duration>,
    },
    /// It does not know the log or its key, or failed.
    #[error("status {status}: {message}")]
    Refused {
        /// The status: 403, 404, 5xx.
        status: u16,
        /// What it says, shortened and printable.
        message: String,
    },
    /// The answer is none that the protocol has.
    #[error("protocol: {0}")]
    Protocol(String),
    /// It has cosigned a larger tree, which the log has too.
    #[error("it has cosigned size {size} already")]
    Newer {
        /// The size.
        size: TreeSize,
    },
    /// It contradicts the log.
    #[error("{0}")]
    Alarm(Box<Alarm>),
}

/// A witness's address, and the keys that answer there.
pub(crate) struct Peer {
    pub url: String,
    pub keys: Vec<VerifierKey>,
    agent: Agent,
}

/// What came back: the status, the time to wait, the body.
struct Reply {
    status: u16,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

impl Peer {
    /// The witness at this address.
    pub fn new(address: &Address, keys: Vec<VerifierKey>, timeout: Duration) -> Self {
        let config = Agent::config_builder().timeout_global(Some(timeout)).max_idle_age(limits::IDLE);
        Self { url: address.base().to_owned(), keys, agent: address.agent(config) }
    }

    /// Asks to cosign `target`, after the tree of `old` leaves. If the witness is at another size of the log's past, it is
    /// asked once more from there. `newest` is the size of the log, `latest` the time after which no cosignature counts.
    pub fn push(
        &self,
        proofs: &dyn Proofs,
        old: TreeSize,
        target: &Target,
        newest: TreeSize,
        latest: PosixSeconds,
    ) -> Result<Answer, PushError> {
        match self.ask(proofs, old, target, newest, latest)? {
            Asked::Answered(answer) => Ok(answer),
            Asked::From(size) => match self.ask(proofs, size, target, newest, latest)? {
                Asked::Answered(answer) => Ok(answer),
                Asked::From(other) => {
                    Err(PushError::Protocol(format!("its size went from {size} to {other} unasked")))
                }
            },
        }
    }

    /// Asks what it has cosigned last, by the checkpoint that it should know of. It cosigns that, or says what it has instead; only
    /// what contradicts the log is an alarm.
    pub fn ask_last(&self, target: &Target, latest: PosixSeconds) -> Result<(), PushError> {
        let size = target.head.size;
        self.ask(&Itself(target.head), size, target, size, latest).map(drop)
    }

    fn ask(
        &self,
        proofs: &dyn Proofs,
        old: TreeSize,
        target: &Target,
        newest: TreeSize,
        latest: PosixSeconds,
    ) -> Result<Asked, PushError> {
        let size = target.head.size;
        let proof = match old {
            TreeSize(0) => Vec::new(),
            old => proofs.consistency_proof(old, size).map_err(PushError::Proof)?,
        };
        if proof.len() > PROOF_HASHES {
            return Err(PushError::Proof(format!("{} hashes", proof.len()).into()));
        }
        let request = AddCheckpoint { old, proof, checkpoint: target.note.clone() };
        let text = request.to_string();
        let reply = self.send(&text)?;
        let protocol = |error: &dyn std::fmt::Display| PushError::Protocol(error.to_string());
        let alarm = |kind| {
            let answer = reply.body.iter().take(256).copied().collect();
            let alarm =
                Alarm { url: self.url.clone(), kind, request: text.clone(), status: reply.status, answer };
            Err(PushError::Alarm(Box::new(alarm)))
        };
        match reply.status {
            200 => {
                let answer = Answer::read(&reply.body, target.note.text(), &self.keys, latest);
                Ok(Asked::Answered(answer.map_err(|error| protocol(&error))?))
            }
            409 => match parse_size(&reply.body).map_err(|error| protocol(&error))? {
                theirs if theirs > newest => alarm(AlarmKind::Ahead { theirs, ours: newest }),
                TreeSize(0) if old.0 == 0 => Err(PushError::Protocol("409 from 0 to 0".to_owned())),
                theirs if theirs == old => alarm(AlarmKind::Different { size: old }),
                theirs if theirs > size => Err(PushError::Newer { size: theirs }),
                theirs => Ok(Asked::From(theirs)),
            },
            // Its proof is right: then it is not about the same trees.
            422 if self.is_proven(proofs, &request, &target.head)? => {
                alarm(AlarmKind::Different { size: old })
            }
            429 => Err(PushError::Busy { retry_after: reply.retry_after }),
            status => Err(PushError::Refused { status, message: shown(&reply.body) }),
        }
    }

    /// Whether the request's proof holds between the log's own trees.
    fn is_proven(
        &self,
        proofs: &dyn Proofs,
        request: &AddCheckpoint,
        new: &TreeHead,
    ) -> Result<bool, PushError> {
        if request.old.0 == 0 {
            return Ok(true);
        }
        let old =
            TreeHead { size: request.old, root: proofs.root_at(request.old).map_err(PushError::Proof)? };
        match consistency::verify(&old, new, &request.proof) {
            Ok(()) => Ok(true),
            Err(error) => Err(PushError::Proof(error.into())),
        }
    }

    fn send(&self, body: &str) -> Result<Reply, PushError> {
        let no_answer = |error: &dyn std::fmt::Display| PushError::NoAnswer(error.to_string());
        let request = self.agent.post(format!("{}/{ADD_CHECKPOINT}", self.url));
        let response = request
            .content_type("text/plain; charset=utf-8")
            .send(body)
            .map_err(|error| no_answer(&error))?;
        let status = response.status().as_u16();
        let seconds =
            response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let mut body = Vec::new();
        let mut reader = response.into_body().into_reader().take(ANSWER_BYTES as u64 + 1);
        reader.read_to_end(&mut body).map_err(|error| no_answer(&error))?;
        Ok(Reply { status, retry_after: seconds.map(Duration::from_secs), body })
    }
}

/// The one tree of which is known that it begins with itself.
struct Itself(TreeHead);

impl Proofs for Itself {
    fn root_at(&self, size: TreeSize) -> Result<Hash, BoxError> {
        if size == self.0.size { Ok(self.0.root) } else { Err("there is no other tree".into()) }
    }

    fn consistency_proof(&self, old: TreeSize, new: TreeSize) -> Result<Vec<Hash>, BoxError> {
        if old == new { Ok(Vec::new()) } else { Err("there is no other tree".into()) }
    }
}

enum Asked {
    Answered(Answer),
    /// It has cosigned this size, in the log's past.
    From(TreeSize),
}

/// What a witness says, for a message.
fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}
