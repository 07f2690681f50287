//! The record: envelope, signature, identity (`spec/records.md` §3, §4).

use std::ops::Range;

use crate::{
    body::{Body, Form, Type},
    field::{Field, List, Members, Millis, Node, Object, write_array},
    hashes::{RecordId, RunId, Statement},
    json,
    key::{PublicKey, Role, SignError, Signature, Signer},
    limits,
    malformed::{Code, Malformed},
    text::Principal,
};

/// What every preimage starts with; no log may have it as its origin.
const DOMAIN: &[u8] = b"counterfoil/v1/record\n";
/// What every record of this version calls itself.
const VERSION: &str = "counterfoil/1";

/// A well-formed record whose signature nobody has checked.
///
/// ```
/// use counterfoil_receipt::UnverifiedRecord;
/// let fault = UnverifiedRecord::parse(br#"{"v":"counterfoil/1","body":{}}"#).unwrap_err();
/// assert_eq!(fault.code.code(), "json-not-canonical");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct UnverifiedRecord {
    bytes: Box<[u8]>,
    id: RecordId,
    statement: Statement,
    /// The bytes that the preimage leaves out: `sig` and one comma.
    splice: Range<usize>,
    place: Place,
    time: Millis,
    author: Author,
    signature: Signature,
    body: Body,
}

object! {
    /// Who signs, as the signed bytes say it.
    pub struct Author {
        req "key" key: PublicKey,
        req "principal" principal: Principal,
        req "role" role: Role,
    }
}

/// Where a record says it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The start of a log.
    Root,
    /// A log, and nothing narrower.
    Single {
        /// The id of the log's genesis.
        log: RecordId,
    },
    /// A run of a log.
    Run {
        /// The id of the log's genesis.
        log: RecordId,
        /// The run.
        run: RunId,
        /// Earlier records of the run that the signer had in hand: 1–16, ascending.
        parents: Vec<RecordId>,
    },
    /// A chain of records of one kind.
    Chain {
        /// The id of the log's genesis.
        log: RecordId,
        /// The record before this one, or the genesis.
        prev: RecordId,
    },
}

impl UnverifiedRecord {
    /// Reads a record from the bytes that were received, and accepts no other encoding of it.
    ///
    /// # Errors
    /// [`Malformed`]: the rule that the bytes break, the place, the evidence.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let outline = json::check(bytes, &limits::RECORD_JSON)?;
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed::new(Code::JsonUtf8, "not UTF-8"))?;
        let mut members = Members::outlined(text, &outline);
        version_is_ours(&members.required::<Word>("v")?.0)?;
        let kind = known_type(&members.required::<Word>("type")?.0)?;
        let place = Place::read(kind.form(), &mut members)?;
        let author: Author = members.required("signer")?;
        let time = members.required("time")?;
        let signature = members.required("sig")?;
        let node = members
            .take("body")
            .ok_or_else(|| Malformed::new(Code::FieldMissing, "is required").within("body"))?;
        members.finish()?;
        let body = Body::read(kind, node)
            .and_then(|body| body.fits_role(author.role).map(|()| body))
            .map_err(|fault| fault.within("body"))?;
        let [before, after] = outline
            .without("sig")
            .ok_or_else(|| Malformed::new(Code::FieldMissing, "is required").within("sig"))?;
        Ok(Self {
            bytes: bytes.into(),
            id: RecordId::of(bytes),
            statement: Statement::of(&[DOMAIN, before, after]),
            splice: before.len()..bytes.len() - after.len(),
            place,
            time,
            author,
            signature,
            body,
        })
    }

    /// The bytes as received: what is hashed, logged and handed on.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256(0x00 ‖ bytes).
    pub const fn id(&self) -> RecordId {
        self.id
    }

    /// SHA-256(preimage): what the record says, whatever its signature bytes are.
    pub const fn statement(&self) -> Statement {
        self.statement
    }

    /// The type.
    pub const fn kind(&self) -> Type {
        self.body.kind()
    }

    /// Where the record says it belongs.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// The log that the record names; `None` for a genesis, which *is* the log.
    pub const fn log(&self) -> Option<RecordId> {
        match &self.place {
            Place::Root => None,
            Place::Single { log } | Place::Run { log, .. } | Place::Chain { log, .. } => Some(*log),
        }
    }

    /// The run that the record belongs to: that which it names, or that which it starts.
    pub fn run(&self) -> Option<RunId> {
        match (&self.place, &self.body) {
            (Place::Run { run, .. }, _) => Some(*run),
            (_, Body::Trigger(_)) => Some(RunId::started_by(self.id)),
            _ => None,
        }
    }

    /// The parents; empty unless the record stands in a run.
    pub fn parents(&self) -> &[RecordId] {
        match &self.place {
            Place::Run { parents, .. } => parents,
            Place::Root | Place::Single { .. } | Place::Chain { .. } => &[],
        }
    }

    /// When the signer says it signed.
    pub const fn time(&self) -> Millis {
        self.time
    }

    /// Who signed, as the record says.
    pub const fn author(&self) -> &Author {
        &self.author
    }

    /// The signature, unchecked.
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }

    /// What the record says.
    pub const fn body(&self) -> &Body {
        &self.body
    }

    /// What the signature is over: the domain, then the record without its `sig`.
    pub fn preimage(&self) -> Vec<u8> {
        self.preimage_parts().concat()
    }

    /// The same, in three parts.
    pub fn preimage_parts(&self) -> [&[u8]; 3] {
        [DOMAIN, &self.bytes[..self.splice.start], &self.bytes[self.splice.end..]]
    }
}

impl std::fmt::Debug for UnverifiedRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UnverifiedRecord({} {})", self.kind(), self.id)
    }
}

/// A record that is not signed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Where it belongs; must be of the form that the body's type has.
    pub place: Place,
    /// When it is signed.
    pub time: Millis,
    /// Who signs.
    pub principal: Principal,
    /// As what.
    pub role: Role,
    /// What it says.
    pub body: Body,
}

/// Why a draft did not become a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DraftError {
    /// What it would say is no well-formed record.
    Malformed(Malformed),
    /// The signer gave no signature.
    Sign(SignError),
}

impl Draft {
    /// Signs the draft, and reads the result back through [`UnverifiedRecord::parse`].
    ///
    /// # Errors
    /// [`DraftError`].
    pub fn sign(&self, signer: &dyn Signer) -> Result<UnverifiedRecord, DraftError> {
        let author = Author { key: signer.key(), principal: self.principal.clone(), role: self.role };
        let signature = signer.sign(&self.preimage(&author)).map_err(DraftError::Sign)?;
        let record = self.to_canonical(&author, Some(&signature));
        UnverifiedRecord::parse(&record).map_err(DraftError::Malformed)
    }

    /// What a signer with this key is asked to sign.
    pub fn preimage(&self, author: &Author) -> Vec<u8> {
        [DOMAIN, &self.to_canonical(author, None)].concat()
    }

    fn to_canonical(&self, author: &Author, signature: Option<&Signature>) -> Vec<u8> {
        let mut out = Vec::new();
        let mut object = Object::open(&mut out);
        object.member("body", &self.body);
        match &self.place {
            Place::Root => {}
            Place::Single { log } => object.member("log", log),
            Place::Run { log, run, parents } => {
                object.member("log", log);
                object.member("parents", &Parents::<0>(parents.clone()));
                object.member("run", run);
            }
            Place::Chain { log, prev } => {
                object.member("log", log);
                object.member("prev", prev);
            }
        }
        if let Some(signature) = signature {
            object.member("sig", signature);
        }
        object.member("signer", author);
        object.member("time", &self.time);
        object.member("type", &self.body.kind());
        object.member("v", &Word(VERSION.to_owned()));
        object.close();
        out
    }
}

impl std::fmt::Display for DraftError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(fault) => fault.fmt(f),
            Self::Sign(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for DraftError {}

/// R-REC-02: `v` is `counterfoil/1`.
fn version_is_ours(version: &str) -> Result<(), Malformed> {
    if version == VERSION {
        return Ok(());
    }
    Err(Malformed::new(Code::VersionUnknown, format!("{version:?} is not {VERSION}")).within("v"))
}

/// R-REC-03: `type` is one of this version's.
fn known_type(word: &str) -> Result<Type, Malformed> {
    let fault =
        || Malformed::new(Code::TypeUnknown, format!("{word:?} is no type of this version")).within("type");
    Type::parse(word).ok_or_else(fault)
}

impl Place {
    /// R-REC-07: `log`, `run`, `parents`, `prev` stand exactly where the type's form has them.
    fn read(form: Form, members: &mut Members<'_>) -> Result<Self, Malformed> {
        let log: Option<RecordId> = members.optional("log")?;
        let run: Option<RunId> = members.optional("run")?;
        let parents: Option<Parents<1>> = members.optional("parents")?;
        let prev: Option<RecordId> = members.optional("prev")?;
        let place = match (form, log, run, parents, prev) {
            (Form::Root, None, None, None, None) => Some(Self::Root),
            (Form::Single, Some(log), None, None, None) => Some(Self::Single { log }),
            (Form::Run, Some(log), Some(run), Some(parents), None) => {
                Some(Self::Run { log, run, parents: parents.0 })
            }
            (Form::Chain, Some(log), None, None, Some(prev)) => Some(Self::Chain { log, prev }),
            _ => None,
        };
        place.ok_or_else(|| {
            let wanted = match form {
                Form::Root => "none of log, run, parents, prev",
                Form::Single => "log, and none of run, parents, prev",
                Form::Run => "log, run and parents, and no prev",
                Form::Chain => "log and prev, and neither run nor parents",
            };
            Malformed::new(Code::EnvelopeForm, format!("a record of this type has {wanted}"))
        })
    }
}

/// 1–16 ids, ascending; `MIN` is 0 only for writing drafts that a reader then refuses.
struct Parents<const MIN: usize>(Vec<RecordId>);

impl<const MIN: usize> Field for Parents<MIN> {
    /// R-REC-09: `parents` has 1–16 ids, ascending, no repeats.
    fn read(node: Node<'_>) -> Result<Self, Malformed> {
        let fault = |detail: String| Malformed::new(Code::ParentsOrder, detail);
        let count = node.elements(usize::MAX)?.len();
        if !(MIN..=limits::PARENTS).contains(&count) {
            return Err(fault(format!("{count} parents; a record has 1 to {}", limits::PARENTS)));
        }
        let ids = List::<RecordId, 0, { limits::PARENTS }>::read(node)?.0;
        match ids.windows(2).position(|pair| pair[0] >= pair[1]) {
            None => Ok(Self(ids)),
            Some(at) => Err(fault(format!("parent {} does not ascend", at + 1))),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_array(&self.0, out);
    }
}

/// A string that is compared and not kept.
struct Word(String);

impl Field for Word {
    fn read(node: Node<'_>) -> Result<Self, Malformed> {
        node.string().map(|word| Self(word.into_owned()))
    }

    fn write(&self, out: &mut Vec<u8>) {
        json::write_string(&self.0, out);
    }
}
