//! A log as a plain directory that any web server can serve (C2SP tlog-tiles, static).
//!
//! The order of writes is the order of trust: what the new checkpoint covers is verified against it, written and synced, and the
//! file `checkpoint` is replaced last. So whatever interrupts an export, the directory's checkpoint covers nothing that is not there,
//! and the next export goes on. A file that stands is never written again: it is compared.

use std::{
    collections::BTreeSet,
    fs::{self, File, TryLockError},
    io::{self, ErrorKind, Write},
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use counterfoil_tlog::{
    Hash, TreeHead, TreeSize,
    tile::{TilePath, WIDTH, decode_entries, encode_tile, new_tiles},
};

use crate::{
    CHECKPOINT,
    checkpoint::{NotOpened, Opened, Under},
    continuation::{self, Continuation},
    finding::{Blame, Finding},
    source::{Source, SourceError},
    tree::{Tree, current_width},
    walk::Walk,
};

/// The file that is being written; it becomes another by rename, or is written again.
const UNFINISHED: &str = ".unfinished";

/// A directory to which a log is exported; no other export runs on it meanwhile.
#[derive(Debug)]
pub struct Export<'a> {
    source: &'a Source,
    under: Under<'a>,
    directory: PathBuf,
    jobs: NonZeroUsize,
    /// The checkpoint in the directory; everything that it covers was verified or written.
    exported: Option<Opened>,
    /// Held while this lives.
    _lock: File,
}

/// What one step of an export did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The head that the directory's checkpoint signs now.
    pub head: TreeHead,
    /// Files written, the checkpoint among them.
    pub written: u64,
    /// Files that stood there, and are the same.
    pub kept: u64,
}

/// Why a log was not exported. The directory's checkpoint is the one from before.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The source can't be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The source's checkpoint is not the log's.
    #[error("the source's {0}")]
    Checkpoint(NotOpened),
    /// What the source serves is not what its checkpoint signs.
    #[error("the source is damaged: {0}")]
    SourceDamaged(Finding),
    /// The directory's checkpoint is not the log's.
    #[error("the directory's {0}")]
    Foreign(NotOpened),
    /// A file that the directory's checkpoint covers is not what it was.
    #[error("the directory is damaged: {0}")]
    Damaged(Finding),
    /// A file that stands in the directory is not the one that would be written.
    #[error("{path} stands in the directory and is not what the log has there")]
    Differs {
        /// Which, relative to the directory.
        path: String,
    },
    /// The directory's checkpoint is of a larger tree than the source's.
    #[error("the directory has {exported} entries, the source only {source_has}")]
    Ahead {
        /// The size that the directory's checkpoint signs.
        exported: TreeSize,
        /// The size that the source's signs.
        source_has: TreeSize,
    },
    /// The two checkpoints are of trees of which neither begins with the other.
    #[error(
        "the source signed a tree of {} entries that has the root {computed} at size {}; exported was one with {}",
        new.size, old.size, old.root
    )]
    Inconsistent {
        /// The head that the directory's checkpoint signs.
        old: TreeHead,
        /// The head that the source's signs.
        new: TreeHead,
        /// The root that the newer tree has at the older size.
        computed: Hash,
    },
    /// Another export is at work on the directory.
    #[error("another export is at work on {0}")]
    Busy(PathBuf),
    /// The directory can't be written.
    #[error("{path}: {io}", path = path.display())]
    Write {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        io: io::Error,
    },
}

impl ExportError {
    /// A stable name for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Source(error) => error.code(),
            Self::Checkpoint(error) => error.code,
            Self::SourceDamaged(_) => "source-damaged",
            Self::Foreign(_) => "export-foreign",
            Self::Damaged(_) => "export-damaged",
            Self::Differs { .. } => "export-differs",
            Self::Ahead { .. } => "export-ahead",
            Self::Inconsistent { .. } => "export-inconsistent",
            Self::Busy(_) => "export-busy",
            Self::Write { .. } => "export-unwritable",
        }
    }
}

impl<'a> Export<'a> {
    /// Takes a directory, makes it if it is not there, and verifies everything that its checkpoint covers.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn open(
        source: &'a Source,
        under: Under<'a>,
        directory: &Path,
        jobs: NonZeroUsize,
    ) -> Result<Self, ExportError> {
        fs::create_dir_all(directory).map_err(|io| unwritable(directory, io))?;
        let lock = File::open(directory).map_err(|io| unwritable(directory, io))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => ExportError::Busy(directory.to_owned()),
            TryLockError::Error(io) => unwritable(directory, io),
        })?;
        let (own, directory) = (Source::directory(directory)?, directory.to_owned());
        let exported = match own.checkpoint() {
            Err(SourceError::Missing { .. }) => None,
            Err(other) => return Err(other.into()),
            Ok(note) => Some(under.open(&note).map_err(ExportError::Foreign)?),
        };
        if let Some(opened) = &exported {
            is_undamaged(&own, &directory, opened.head, jobs)?;
        }
        Ok(Self { source, under, directory, jobs, exported, _lock: lock })
    }

    /// The head that the directory's checkpoint signs.
    pub fn head(&self) -> Option<TreeHead> {
        self.exported.as_ref().map(|opened| opened.head)
    }

    /// Brings the directory to the checkpoint that the source has now. `progress` is told how many entries are there.
    ///
    /// # Errors
    /// [`ExportError`]; what was written so far stays, and the directory's checkpoint is the one from before.
    pub fn step(&mut self, progress: &mut dyn FnMut(u64)) -> Result<Exported, ExportError> {
        let note = self.source.checkpoint()?;
        let new = self.under.open(&note).map_err(ExportError::Checkpoint)?;
        let old = self.head().unwrap_or(TreeHead::EMPTY);
        let mut writer =
            Writer { directory: &self.directory, unsynced: BTreeSet::new(), written: 0, kept: 0 };
        if self.exported.as_ref().is_some_and(|exported| exported.note == new.note) {
            return Ok(Exported { head: old, written: 0, kept: 0 });
        }
        self.continues(old, new.head)?;
        let walk = Walk {
            source: self.source,
            head: new.head,
            from: old.size.0 / u64::from(WIDTH),
            tiles_from: 0,
            jobs: self.jobs,
        };
        if old.size < new.head.size {
            let damage = walk.run(
                || (),
                |(), _, _| (),
                |chunk| {
                    if let Some(fault) = chunk.damage.first() {
                        return Err(ExportError::SourceDamaged(fault.clone()));
                    }
                    if let (Some(bundle), Some((tile, hashes))) = (&chunk.bundle, chunk.tile()) {
                        writer.once(&chunk.path, bundle)?;
                        writer.once(&tile, &hashes)?;
                    }
                    progress(chunk.path.index() * u64::from(WIDTH) + u64::from(chunk.path.width()));
                    Ok(())
                },
            )?;
            damage.into_iter().next().map_or(Ok(()), |fault| Err(ExportError::SourceDamaged(fault)))?;
            self.write_upper_tiles(&mut writer, old.size, new.head)?;
        }
        writer.sync()?;
        writer.replace(CHECKPOINT, new.note.as_bytes())?;
        writer.sync()?;
        let exported = Exported { head: new.head, written: writer.written, kept: writer.kept };
        self.exported = Some(new);
        Ok(exported)
    }

    /// That the source's tree begins with the one that was exported.
    fn continues(&self, old: TreeHead, new: TreeHead) -> Result<(), ExportError> {
        match continuation::compare(self.source, old, new)? {
            Continuation::Holds => Ok(()),
            Continuation::Behind => Err(ExportError::Ahead { exported: old.size, source_has: new.size }),
            Continuation::Fork { computed, .. } => Err(ExportError::Inconsistent { old, new, computed }),
            Continuation::Unshown(why) => {
                let mut damage = Vec::new();
                Tree::open(self.source, new, &mut damage)?;
                let unshown = Finding { detail: why, ..Finding::root_unexplained(new) };
                Err(ExportError::SourceDamaged(damage.into_iter().next().unwrap_or(unshown)))
            }
        }
    }

    fn write_upper_tiles(
        &self,
        writer: &mut Writer<'_>,
        old: TreeSize,
        head: TreeHead,
    ) -> Result<(), ExportError> {
        let mut damage = Vec::new();
        let Some(mut tree) = Tree::open(self.source, head, &mut damage)? else {
            return Err(ExportError::SourceDamaged(Finding::root_unexplained(head)));
        };
        for path in new_tiles(old, head.size) {
            let Some(level) = path.level().filter(|level| *level > 0) else { continue };
            let row = tree.row(level, path.index(), &mut damage)?;
            if let Some(fault) = damage.pop() {
                return Err(ExportError::SourceDamaged(fault));
            }
            if let Some(row) = row {
                writer.once(&path, &encode_tile(&row))?;
            }
        }
        Ok(())
    }
}

/// Whether everything that the directory's checkpoint covers is there and right, older partial files among it.
fn is_undamaged(
    own: &Source,
    directory: &Path,
    head: TreeHead,
    jobs: NonZeroUsize,
) -> Result<(), ExportError> {
    let walk = Walk { source: own, head, from: 0, tiles_from: 0, jobs };
    let damage = walk.run(
        || (),
        |(), _, _| (),
        |chunk| match chunk.damage.into_iter().next() {
            Some(fault) => Err(ExportError::Damaged(fault)),
            None => Ok(()),
        },
    )?;
    damage.into_iter().next().map_or(Ok(()), |fault| Err(ExportError::Damaged(fault)))?;
    let mut partials = Vec::new();
    find_partials(directory, &directory.join("tile"), &mut partials)?;
    for path in partials {
        let at = &directory.join(path.to_string());
        let Some(current) = current_width(&path, head.size).filter(|current| path.width() < current.width())
        else {
            continue;
        };
        let (found, whole) = (fs::read(at).map_err(|io| unwritable(at, io))?, own.tile(&current)?);
        if !is_prefix(&path, &found, &whole) {
            let detail = format!("it is not the beginning of {current}");
            return Err(ExportError::Damaged(Finding {
                code: if path.level().is_some() { "tile-differs" } else { "bundle-differs" },
                rule: None,
                blame: Blame::Damage,
                file: Some(path.to_string()),
                index: None,
                detail,
            }));
        }
    }
    Ok(())
}

/// Whether `part` is the first hashes or entries of `whole`, as many as `path` says.
fn is_prefix(path: &TilePath, part: &[u8], whole: &[u8]) -> bool {
    let fits = match path.level() {
        Some(_) => part.len() == usize::from(path.width()) * Hash::LEN,
        None => decode_entries(path, part).is_ok(),
    };
    fits && whole.starts_with(part)
}

/// Every partial tile and bundle below a directory.
fn find_partials(root: &Path, below: &Path, found: &mut Vec<TilePath>) -> Result<(), ExportError> {
    let entries = match fs::read_dir(below) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|io| unwritable(below, io))?,
    };
    for entry in entries {
        let path = entry.map_err(|io| unwritable(below, io))?.path();
        if path.is_dir() {
            find_partials(root, &path, found)?;
        } else if let Ok(relative) = path.strip_prefix(root) {
            let tile = relative.to_str().and_then(|text| text.parse::<TilePath>().ok());
            found.extend(tile.filter(TilePath::is_partial));
        }
    }
    Ok(())
}

/// Writes files that are whole or absent.
struct Writer<'d> {
    directory: &'d Path,
    /// Directories in which a file has a new name.
    unsynced: BTreeSet<PathBuf>,
    written: u64,
    kept: u64,
}

impl Writer<'_> {
    /// Writes a tile or bundle, or compares it with the file that stands there.
    fn once(&mut self, path: &TilePath, bytes: &[u8]) -> Result<(), ExportError> {
        let name = path.to_string();
        let target = self.directory.join(&name);
        match fs::metadata(&target) {
            Ok(found) => {
                let same = found.is_file() && found.len() == bytes.len() as u64;
                if !same || fs::read(&target).map_err(|io| unwritable(&target, io))? != bytes {
                    return Err(ExportError::Differs { path: name });
                }
                self.kept += 1;
                // It may stand there by an export that was interrupted before it synced the directory.
                self.note_unsynced(&target);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if let Some(parent) = target.parent() {
                    fs::create_dir_all(parent).map_err(|io| unwritable(parent, io))?;
                }
                self.replace(&name, bytes)
            }
            Err(io) => Err(unwritable(&target, io)),
        }
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let (unfinished, target) = (self.directory.join(UNFINISHED), self.directory.join(name));
        let write = || {
            let mut file = File::create(&unfinished)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&unfinished, &target)
        };
        write().map_err(|io| unwritable(&target, io))?;
        self.written += 1;
        self.note_unsynced(&target);
        Ok(())
    }

    fn note_unsynced(&mut self, target: &Path) {
        let parents = target.ancestors().skip(1).take_while(|parent| parent.starts_with(self.directory));
        self.unsynced.extend(parents.map(Path::to_owned));
    }

    fn sync(&mut self) -> Result<(), ExportError> {
        for directory in std::mem::take(&mut self.unsynced) {
            let synced = File::open(&directory).and_then(|opened| opened.sync_all());
            synced.map_err(|io| unwritable(&directory, io))?;
        }
        Ok(())
    }
}

fn unwritable(path: &Path, io: io::Error) -> ExportError {
    ExportError::Write { path: path.to_owned(), io }
}
