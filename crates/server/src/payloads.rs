//! What is kept beside the log: payloads and policy documents, in files named by their digest.
//!
//! A file becomes durable in `incoming/` before the record that names it is submitted, and moves to its place when the
//! record is admitted. So what an acknowledged record names is there, whenever the process dies, and what no record
//! names is never taken for more. Leftovers of a crash are settled at the next start, by asking the log.

use std::{
    collections::BTreeSet,
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use counterfoil_receipt::{
    Commitment, PolicyDigest, Root,
    bundle::{DocumentLine, PayloadLine, SetProof, read_line},
};
use counterfoil_tlog::{Hash, LeafIndex, ProofError, TreeHead, TreeSize, inclusion, leaf_hash};

use crate::rows::Name;

/// A file beside the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kept {
    /// A payload.
    Payload(Commitment),
    /// A policy document.
    Document(PolicyDigest),
    /// A payload of an item set, with the proof that it belongs to it.
    Member(Root, Commitment),
}

/// The directory of payloads and policy documents.
#[derive(Debug)]
pub(crate) struct Payloads {
    dir: PathBuf,
    staged: AtomicU64,
}

/// Why something can't be kept or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PayloadError {
    /// A file operation.
    #[error("can't {doing} {path}: {io}")]
    File {
        /// What failed.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// How.
        io: io::Error,
    },
    /// A file is not what its name says.
    #[error("{path} is damaged ({why}): bring it back from a backup, or delete it if it may be lost")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// In what way.
        why: String,
    },
}

impl PayloadError {
    /// Whether there is no room, which the operator can mend while the server runs.
    pub(crate) fn is_full(&self) -> bool {
        use io::ErrorKind as K;
        match self {
            Self::File { io, .. } => {
                matches!(io.kind(), K::StorageFull | K::QuotaExceeded | K::FileTooLarge)
            }
            Self::Damaged { .. } => false,
        }
    }
}

/// A durable file in `incoming/`. Dropped, it is deleted.
#[derive(Debug)]
pub(crate) struct Staged {
    kept: Kept,
    path: PathBuf,
    moved: bool,
}

const PLACES: [&str; 4] = ["incoming", "payload", "policy", "set"];

impl Payloads {
    /// Opens the directory, and creates it, for this user alone, if it isn't there.
    pub(crate) fn open(dir: &Path) -> Result<Self, PayloadError> {
        for place in PLACES {
            create_dir(&dir.join(place))?;
        }
        let payloads = Self { dir: dir.to_owned(), staged: AtomicU64::new(0) };
        // Shows at start, not with the first payload, that the directory can be written.
        let probe = payloads.dir.join("incoming/probe");
        File::create(&probe).and_then(|_| fs::remove_file(&probe)).map_err(file("write to", &probe))?;
        sync_dir(dir)?;
        Ok(payloads)
    }

    /// Settles what a crash left in `incoming/`: what the log names is kept, everything else deleted.
    pub(crate) fn recover<E: From<PayloadError>>(
        &self,
        is_named: impl Fn(Name) -> Result<bool, E>,
    ) -> Result<(), E> {
        for (path, kept) in self.incoming()? {
            match kept {
                Some(kept) if is_named(kept.name())? => {
                    self.keep(vec![Staged { kept, path, moved: false }])?;
                }
                _ => fs::remove_file(&path).map_err(file("delete", &path))?,
            }
        }
        Ok(())
    }

    /// Whether this is here.
    pub(crate) fn has(&self, kept: Kept) -> Result<bool, PayloadError> {
        let path = self.path(kept);
        path.try_exists().map_err(file("look for", &path))
    }

    /// A payload, if it is here; checked against its commitment.
    pub(crate) fn get_payload(&self, commitment: &Commitment) -> Result<Option<PayloadLine>, PayloadError> {
        self.get_line(Kept::Payload(*commitment), |line| {
            (line.commitment == *commitment && line.set.is_none()).then_some(())
        })
    }

    /// A payload of an item set, if it is here; checked against its commitment and the set's root.
    pub(crate) fn get_member(
        &self,
        root: &Root,
        commitment: &Commitment,
    ) -> Result<Option<PayloadLine>, PayloadError> {
        self.get_line(Kept::Member(*root, *commitment), |line| {
            let set = line.set.as_ref().filter(|set| set.root == *root)?;
            (line.commitment == *commitment && belongs(commitment, set).is_ok()).then_some(())
        })
    }

    fn get_line(
        &self,
        kept: Kept,
        is_it: impl FnOnce(&PayloadLine) -> Option<()>,
    ) -> Result<Option<PayloadLine>, PayloadError> {
        let path = self.path(kept);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        let line: PayloadLine = read_line(&bytes).map_err(|fault| damaged(&path, fault.to_string()))?;
        let computed = line.clone().into_opening().commitment();
        if computed != line.commitment || is_it(&line).is_none() {
            return Err(damaged(&path, format!("it is not {kept}: its content opens {computed}")));
        }
        Ok(Some(line))
    }

    /// The payloads of an item set that are here.
    pub(crate) fn members(&self, root: &Root) -> Result<Vec<Commitment>, PayloadError> {
        let dir = self.set_dir(root);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(io) if io.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(io) => return Err(file("list", &dir)(io)),
        };
        let mut members = Vec::new();
        for entry in entries {
            let entry = entry.map_err(file("list", &dir))?;
            let digits = entry.file_name();
            members.extend(digits.to_str().and_then(|digits| Commitment::parse(&format!("sha256:{digits}"))));
        }
        Ok(members)
    }

    /// The canonical bytes of a policy document, if it is here; checked against its digest.
    pub(crate) fn get_document(&self, digest: &PolicyDigest) -> Result<Option<Vec<u8>>, PayloadError> {
        let line = self.get_document_line(digest)?;
        Ok(line.map(|line| line.document.as_str().as_bytes().to_vec()))
    }

    /// The same as the line of a bundle, which holds more than a record.
    pub(crate) fn get_document_line(
        &self,
        digest: &PolicyDigest,
    ) -> Result<Option<DocumentLine>, PayloadError> {
        let kept = Kept::Document(*digest);
        let staged = || {
            Ok(self.incoming()?.into_iter().find(|(_, staged)| *staged == Some(kept)).map(|(path, _)| path))
        };
        let path = self.path(kept);
        let path = if self.has(kept)? { Some(path) } else { staged()? };
        let Some(path) = path else { return Ok(None) };
        let Some(bytes) = read(&path)? else { return Ok(None) };
        let line: DocumentLine = read_line(&bytes).map_err(|fault| damaged(&path, fault.to_string()))?;
        let computed = PolicyDigest::of(line.document.as_str().as_bytes());
        if computed != *digest {
            return Err(damaged(&path, format!("it is the document {computed}")));
        }
        Ok(Some(line))
    }

    /// [`Payloads::get_document`], of those only that are kept for good.
    pub(crate) fn kept_document(&self, digest: &PolicyDigest) -> Result<Option<Vec<u8>>, PayloadError> {
        if self.has(Kept::Document(*digest))? { self.get_document(digest) } else { Ok(None) }
    }

    /// Makes lines durable in `incoming/`.
    pub(crate) fn stage(&self, lines: &[(Kept, Vec<u8>)]) -> Result<Vec<Staged>, PayloadError> {
        let mut staged = Vec::with_capacity(lines.len());
        for (kept, line) in lines {
            let number = self.staged.fetch_add(1, Ordering::Relaxed);
            let path = self.dir.join("incoming").join(format!("{}.{number}", kept.to_file_name()));
            let mut options = OpenOptions::new();
            let options = options.write(true).create_new(true).mode(0o600);
            let mut new = options.open(&path).map_err(file("create", &path))?;
            staged.push(Staged { kept: *kept, path: path.clone(), moved: false });
            new.write_all(line).and_then(|()| new.sync_data()).map_err(file("write", &path))?;
        }
        if !staged.is_empty() {
            sync_dir(&self.dir.join("incoming"))?;
        }
        Ok(staged)
    }

    /// Moves staged files to their places, durably.
    pub(crate) fn keep(&self, staged: Vec<Staged>) -> Result<(), PayloadError> {
        if staged.is_empty() {
            return Ok(());
        }
        // That something is no longer in `incoming/` may be lost: then it is moved again.
        let mut changed = BTreeSet::new();
        for mut staged in staged {
            if let Kept::Member(root, _) = staged.kept {
                create_dir(&self.set_dir(&root))?;
                changed.insert(self.dir.join("set"));
            }
            let path = self.path(staged.kept);
            fs::rename(&staged.path, &path).map_err(file("move", &staged.path))?;
            staged.moved = true;
            changed.extend(path.parent().map(Path::to_owned));
        }
        changed.iter().try_for_each(|dir| sync_dir(dir))
    }

    fn path(&self, kept: Kept) -> PathBuf {
        match kept {
            Kept::Payload(commitment) => self.dir.join("payload").join(digits(&commitment)),
            Kept::Document(digest) => self.dir.join("policy").join(digits(&digest)),
            Kept::Member(root, commitment) => self.set_dir(&root).join(digits(&commitment)),
        }
    }

    fn set_dir(&self, root: &Root) -> PathBuf {
        self.dir.join("set").join(digits(root))
    }

    /// What lies in `incoming/`.
    fn incoming(&self) -> Result<Vec<(PathBuf, Option<Kept>)>, PayloadError> {
        let dir = self.dir.join("incoming");
        let mut found = Vec::new();
        for entry in fs::read_dir(&dir).map_err(file("list", &dir))? {
            let entry = entry.map_err(file("list", &dir))?;
            found.push((entry.path(), entry.file_name().to_str().and_then(Kept::of_file_name)));
        }
        Ok(found)
    }
}

impl Staged {
    /// What it holds.
    pub(crate) const fn kept(&self) -> Kept {
        self.kept
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.moved {
            // What stays behind is settled at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Kept {
    /// What a record names that this is kept for.
    pub(crate) const fn name(self) -> Name {
        match self {
            Self::Payload(commitment) => Name::Payload(commitment),
            Self::Document(digest) => Name::Document(digest),
            Self::Member(root, _) => Name::Set(root),
        }
    }

    fn to_file_name(self) -> String {
        match self {
            Self::Payload(commitment) => format!("payload-{}", digits(&commitment)),
            Self::Document(digest) => format!("policy-{}", digits(&digest)),
            Self::Member(root, commitment) => format!("set-{}-{}", digits(&root), digits(&commitment)),
        }
    }

    fn of_file_name(file: &str) -> Option<Self> {
        let (name, _) = file.split_once('.')?;
        let (place, digits) = name.split_once('-')?;
        let hash = |digits: &str| format!("sha256:{digits}");
        match place {
            "payload" => Commitment::parse(&hash(digits)).map(Self::Payload),
            "policy" => PolicyDigest::parse(&hash(digits)).map(Self::Document),
            "set" => {
                let (root, commitment) = digits.split_once('-')?;
                Some(Self::Member(Root::parse(&hash(root))?, Commitment::parse(&hash(commitment))?))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Payload(commitment) => write!(f, "the payload {commitment}"),
            Self::Document(digest) => write!(f, "the policy document {digest}"),
            Self::Member(root, commitment) => write!(f, "the payload {commitment} of the item set {root}"),
        }
    }
}

/// Whether a payload belongs to an item set, as its proof says.
pub(crate) fn belongs(commitment: &Commitment, set: &SetProof) -> Result<(), ProofError> {
    let head = TreeHead { size: TreeSize(set.items.get()), root: Hash::from(*set.root.as_bytes()) };
    let proof: Vec<Hash> = set.proof.0.iter().map(|hash| Hash::from(hash.0)).collect();
    inclusion::verify(leaf_hash(commitment.as_bytes()), LeafIndex(set.index.get()), &proof, &head)
}

/// The hex digits of a hash.
fn digits(hash: &impl fmt::Display) -> String {
    hash.to_string().trim_start_matches("sha256:").to_owned()
}

/// Creates a directory that is not there, and those above it, for this user alone.
fn create_dir(path: &Path) -> Result<(), PayloadError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(file("create", path))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, PayloadError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(io) if io.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(io) => Err(file("read", path)(io)),
    }
}

fn sync_dir(dir: &Path) -> Result<(), PayloadError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(file("sync", dir))
}

fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PayloadError {
    move |io| PayloadError::File { doing, path: path.to_owned(), io }
}

fn damaged(path: &Path, why: String) -> PayloadError {
    PayloadError::Damaged { path: path.to_owned(), why }
}
