//! What is kept beside the log: payloads and policy documents, in files named by their digest.
//!
//! A file becomes durable in `incoming/` before the record that names it is submitted, and moves to its place when the
//! record is admitted. So what an acknowledged record names is there, whenever the process dies, and what no record
//! names is never taken for more. Leftovers of a crash are settled at the next start, by asking the log.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use counterfoil_receipt::{
    Commitment, PolicyDigest,
    bundle::{DocumentLine, PayloadLine, read_line},
};

use crate::rows::Name;

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

/// A durable file in `incoming/`. Dropped, it is deleted.
#[derive(Debug)]
pub(crate) struct Staged {
    name: Name,
    path: PathBuf,
    kept: bool,
}

const PLACES: [&str; 3] = ["incoming", "payload", "policy"];

impl Payloads {
    /// Opens the directory, and creates it if it isn't there.
    pub(crate) fn open(dir: &Path) -> Result<Self, PayloadError> {
        for place in PLACES {
            let path = dir.join(place);
            fs::create_dir_all(&path).map_err(file("create", &path))?;
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
        for (path, name) in self.incoming()? {
            match name {
                Some(name) if is_named(name)? => self.keep(vec![Staged { name, path, kept: false }])?,
                _ => fs::remove_file(&path).map_err(file("delete", &path))?,
            }
        }
        Ok(())
    }

    /// Whether there is a file of this name.
    pub(crate) fn has(&self, name: Name) -> Result<bool, PayloadError> {
        let path = self.path(name);
        path.try_exists().map_err(file("look for", &path))
    }

    /// A payload, if it is here; checked against its commitment.
    pub(crate) fn get_payload(&self, commitment: &Commitment) -> Result<Option<PayloadLine>, PayloadError> {
        let path = self.path(Name::Payload(*commitment));
        let Some(bytes) = read(&path)? else { return Ok(None) };
        let line: PayloadLine = read_line(&bytes).map_err(|fault| damaged(&path, fault.to_string()))?;
        let computed = line.clone().into_opening().commitment();
        if computed != *commitment {
            return Err(damaged(&path, format!("it opens {computed}")));
        }
        Ok(Some(line))
    }

    /// The canonical bytes of a policy document, if it is here; checked against its digest.
    pub(crate) fn get_document(&self, digest: &PolicyDigest) -> Result<Option<Vec<u8>>, PayloadError> {
        let name = Name::Document(*digest);
        let staged = || {
            Ok(self.incoming()?.into_iter().find(|(_, staged)| *staged == Some(name)).map(|(path, _)| path))
        };
        let path = self.path(name);
        let path = if self.has(name)? { Some(path) } else { staged()? };
        let Some(path) = path else { return Ok(None) };
        let Some(bytes) = read(&path)? else { return Ok(None) };
        let line: DocumentLine = read_line(&bytes).map_err(|fault| damaged(&path, fault.to_string()))?;
        let document = line.document.as_str().as_bytes().to_vec();
        let computed = PolicyDigest::of(&document);
        if computed != *digest {
            return Err(damaged(&path, format!("it is the document {computed}")));
        }
        Ok(Some(document))
    }

    /// The same, of those only that are kept for good.
    pub(crate) fn kept_document(&self, digest: &PolicyDigest) -> Result<Option<Vec<u8>>, PayloadError> {
        if self.has(Name::Document(*digest))? { self.get_document(digest) } else { Ok(None) }
    }

    /// Makes lines durable in `incoming/`.
    pub(crate) fn stage(&self, lines: &[(Name, Vec<u8>)]) -> Result<Vec<Staged>, PayloadError> {
        let mut staged = Vec::with_capacity(lines.len());
        for (name, line) in lines {
            let number = self.staged.fetch_add(1, Ordering::Relaxed);
            let path = self.dir.join("incoming").join(format!("{}.{number}", name.to_file_name()));
            let mut options = OpenOptions::new();
            let mut new = options.write(true).create_new(true).open(&path).map_err(file("create", &path))?;
            staged.push(Staged { name: *name, path: path.clone(), kept: false });
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
        for mut staged in staged {
            fs::rename(&staged.path, self.path(staged.name)).map_err(file("move", &staged.path))?;
            staged.kept = true;
        }
        PLACES.iter().try_for_each(|place| sync_dir(&self.dir.join(place)))
    }

    fn path(&self, name: Name) -> PathBuf {
        let (place, digits) = name.parts();
        self.dir.join(place).join(digits)
    }

    /// What lies in `incoming/`.
    fn incoming(&self) -> Result<Vec<(PathBuf, Option<Name>)>, PayloadError> {
        let dir = self.dir.join("incoming");
        let mut found = Vec::new();
        for entry in fs::read_dir(&dir).map_err(file("list", &dir))? {
            let entry = entry.map_err(file("list", &dir))?;
            found.push((entry.path(), entry.file_name().to_str().and_then(Name::of_file_name)));
        }
        Ok(found)
    }
}

impl Staged {
    /// What it holds.
    pub(crate) const fn name(&self) -> Name {
        self.name
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.kept {
            // What stays behind is settled at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Name {
    fn parts(self) -> (&'static str, String) {
        let (place, hash) = match self {
            Self::Payload(commitment) => ("payload", commitment.to_string()),
            Self::Document(digest) => ("policy", digest.to_string()),
        };
        (place, hash.trim_start_matches("sha256:").to_owned())
    }

    fn to_file_name(self) -> String {
        let (place, digits) = self.parts();
        format!("{place}-{digits}")
    }

    fn of_file_name(file: &str) -> Option<Self> {
        let (name, _) = file.split_once('.')?;
        let (place, digits) = name.split_once('-')?;
        let hash = format!("sha256:{digits}");
        match place {
            "payload" => Commitment::parse(&hash).map(Self::Payload),
            "policy" => PolicyDigest::parse(&hash).map(Self::Document),
            _ => None,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Payload(commitment) => write!(f, "the payload {commitment}"),
            Self::Document(digest) => write!(f, "the policy document {digest}"),
        }
    }
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
