//! The witnessed checkpoints that are kept for good: one append-only file beside the log's journal.
//!
//! They can't be derived from the log: they belong into its backup. A frame: magic · length (4 bytes) · the checkpoint with
//! the cosignatures that reached the quorum · SHA-256 of all before. Sizes grow strictly. A frame counts once it is synced.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use counterfoil_log::{FileStorage, OpenError, Storage, WriteError};
use counterfoil_tlog::{Checkpoint, LeafIndex, TreeHead, TreeSize, UnverifiedNote};
use sha2::{Digest as _, Sha256};

use crate::limits;

const MAGIC: &[u8; 8] = b"CFWITN1\n";
const HEADER_BYTES: usize = MAGIC.len() + 4;
const DIGEST_BYTES: usize = 32;
/// The longest frame there can be.
const FRAME_BYTES: usize = HEADER_BYTES + limits::KEPT_BYTES + DIGEST_BYTES;
const FILE: &str = "witnessed";

/// A checkpoint that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptCheckpoint {
    /// The tree.
    pub head: TreeHead,
    /// The note: the log's lines and the witnesses'. A reader verifies them under its own policy.
    pub note: UnverifiedNote,
}

/// The store.
pub struct Kept {
    storage: Arc<dyn Storage>,
    origin: String,
    end: u64,
    /// Of each frame the size of its tree, and where it starts.
    frames: Vec<(TreeSize, u64)>,
    /// A write failed: what is stored is not known.
    failed: bool,
}

/// Why the store is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeptError {
    /// It can't be opened, or another process has it.
    #[error("can't open the witnessed checkpoints: {0}")]
    Open(#[source] Box<OpenError>),
    /// A file operation failed.
    #[error("can't {doing} the witnessed checkpoints: {io}")]
    Io {
        /// What failed.
        doing: &'static str,
        /// How.
        io: std::io::Error,
    },
    /// A frame is not what was written.
    #[error(
        "the witnessed checkpoints are damaged at byte {at}: {reason}; bring the file back from a backup or a mirror"
    )]
    Damaged {
        /// Where the frame starts.
        at: u64,
        /// What is wrong.
        reason: String,
    },
    /// A checkpoint does not follow the last one.
    #[error("a checkpoint of size {size} does not follow the kept one of {last}")]
    NotGrown {
        /// Its size.
        size: TreeSize,
        /// The size of the last.
        last: TreeSize,
    },
    /// Somebody else writes the file.
    #[error("the witnessed checkpoints: somebody else has written at byte {offset} or behind it")]
    Conflict {
        /// Where it was to be changed.
        offset: u64,
    },
    /// An earlier write failed.
    #[error("an earlier write to the witnessed checkpoints failed: start the log again")]
    Failed,
}

impl KeptError {
    fn of(doing: &'static str) -> impl Fn(WriteError) -> Self {
        move |error| match error {
            WriteError::Io(io) => Self::Io { doing, io },
            WriteError::Conflict { offset } => Self::Conflict { offset },
        }
    }
}

impl Kept {
    /// Opens or creates the store of the log `origin` in `dir`, and takes its lock. The rest of a write that was interrupted
    /// is cut off: nothing counted on it.
    ///
    /// # Errors
    /// [`KeptError`].
    pub fn open(dir: &Path, origin: &str) -> Result<Self, KeptError> {
        let storage = FileStorage::open(dir, FILE).map_err(|error| KeptError::Open(Box::new(error)))?;
        Self::with_storage(Arc::new(storage), origin)
    }

    /// The store of the log `origin` in `dir`, to read it only; `None` if there is none. It takes no lock and changes nothing.
    ///
    /// # Errors
    /// [`KeptError`].
    pub fn open_to_read(dir: &Path, origin: &str) -> Result<Option<Self>, KeptError> {
        if !dir.join(FILE).exists() {
            return Ok(None);
        }
        let storage =
            FileStorage::open_read_only(dir, FILE).map_err(|error| KeptError::Open(Box::new(error)))?;
        let (kept, _) = Self::scan(Arc::new(storage), origin)?;
        // Nothing is appended to it.
        Ok(Some(Self { failed: true, ..kept }))
    }

    /// The store in `storage`.
    ///
    /// # Errors
    /// [`KeptError`].
    pub fn with_storage(storage: Arc<dyn Storage>, origin: &str) -> Result<Self, KeptError> {
        let (kept, length) = Self::scan(storage, origin)?;
        if kept.end < length {
            kept.cut(length)?;
        }
        // What was read may be in memory only, if the sync of it had failed; then another sync would find nothing to do.
        if let (Some(last), Some(&(_, at))) = (kept.latest()?, kept.frames.last()) {
            let frame = encode(last.note.to_string().as_bytes());
            kept.storage.rewrite(at, &frame).map_err(KeptError::of("write again"))?;
        }
        kept.storage.sync().map_err(|io| KeptError::Io { doing: "sync", io })?;
        Ok(kept)
    }

    /// Reads every whole frame. Gives the length of the file as well: what is behind the frames was interrupted.
    fn scan(storage: Arc<dyn Storage>, origin: &str) -> Result<(Self, u64), KeptError> {
        let length = storage.len().map_err(|io| KeptError::Io { doing: "measure", io })?;
        let mut kept = Self { storage, origin: origin.to_owned(), end: 0, frames: Vec::new(), failed: false };
        while kept.end < length {
            let Some((checkpoint, next)) = kept.read(kept.end, length)? else { break };
            let (size, last, at) = (checkpoint.head.size, kept.size(), kept.end);
            if !kept.frames.is_empty() && size <= last {
                return Err(KeptError::Damaged { at, reason: format!("size {size} after {last}") });
            }
            kept.frames.push((size, at));
            kept.end = next;
        }
        Ok((kept, length))
    }

    /// Cuts off what follows the last whole frame, up to `length`.
    fn cut(&self, length: u64) -> Result<(), KeptError> {
        let io = |io| KeptError::Io { doing: "cut", io };
        let mut tail =
            vec![0; usize::try_from(length - self.end).map_err(|_| io(ErrorKind::FileTooLarge.into()))?];
        self.storage.read_at(self.end, &mut tail).map_err(io)?;
        self.storage.cut(self.end, &tail).map_err(KeptError::of("cut"))
    }

    /// The size of the largest tree that is kept; 0 if none is.
    pub fn size(&self) -> TreeSize {
        self.frames.last().map_or(TreeSize(0), |(size, _)| *size)
    }

    /// Keeps a checkpoint; it is durable when this returns.
    ///
    /// # Errors
    /// [`KeptError`]. After one of file operations nothing more is kept until the store is opened again.
    pub fn append(&mut self, checkpoint: &KeptCheckpoint) -> Result<(), KeptError> {
        let (size, last) = (checkpoint.head.size, self.size());
        if self.failed {
            return Err(KeptError::Failed);
        }
        if !self.frames.is_empty() && size <= last {
            return Err(KeptError::NotGrown { size, last });
        }
        let frame = encode(checkpoint.note.to_string().as_bytes());
        self.failed = true;
        self.storage.append(self.end, &frame).map_err(KeptError::of("write"))?;
        self.storage.sync().map_err(|io| KeptError::Io { doing: "sync", io })?;
        self.failed = false;
        self.frames.push((size, self.end));
        self.end += frame.len() as u64;
        Ok(())
    }

    /// The first kept checkpoint whose tree has the leaf `index`.
    ///
    /// # Errors
    /// [`KeptError`] if it can't be read.
    pub fn covering(&self, index: LeafIndex) -> Result<Option<KeptCheckpoint>, KeptError> {
        self.at(self.frames.partition_point(|(size, _)| size.0 <= index.0))
    }

    /// The kept checkpoint of the largest tree.
    ///
    /// # Errors
    /// [`KeptError`] if it can't be read.
    pub fn latest(&self) -> Result<Option<KeptCheckpoint>, KeptError> {
        self.frames.len().checked_sub(1).map_or(Ok(None), |last| self.at(last))
    }

    fn at(&self, place: usize) -> Result<Option<KeptCheckpoint>, KeptError> {
        let Some(&(_, at)) = self.frames.get(place) else { return Ok(None) };
        let gone = || KeptError::Damaged { at, reason: "the frame is gone".to_owned() };
        Ok(Some(self.read(at, self.end)?.ok_or_else(gone)?.0))
    }

    /// The frame at `at`, and where the next starts; `None` if a write was interrupted there.
    fn read(&self, at: u64, length: u64) -> Result<Option<(KeptCheckpoint, u64)>, KeptError> {
        let damaged = |reason: &str| KeptError::Damaged { at, reason: reason.to_owned() };
        let fill = |at, buffer: &mut [u8]| {
            self.storage.read_at(at, buffer).map_err(|io| KeptError::Io { doing: "read", io })
        };
        let rest = length - at;
        let mut header = [0; HEADER_BYTES];
        if rest < HEADER_BYTES as u64 {
            return Ok(None);
        }
        fill(at, &mut header)?;
        let (magic, note_bytes) = header.split_at(MAGIC.len());
        let note_bytes = note_bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let whole = HEADER_BYTES + note_bytes + DIGEST_BYTES;
        if header != [0; HEADER_BYTES] {
            if magic != MAGIC || note_bytes > limits::KEPT_BYTES {
                return Err(damaged("no frame begins there"));
            }
            if whole as u64 > rest {
                return Ok(None);
            }
            let mut frame = vec![0; whole];
            fill(at, &mut frame)?;
            let note = &frame[HEADER_BYTES..HEADER_BYTES + note_bytes];
            if encode(note) == frame {
                let checkpoint = self.parse(note).map_err(|reason| damaged(&reason))?;
                return Ok(Some((checkpoint, at + whole as u64)));
            }
            // Only the last frame can have been interrupted.
            return if whole as u64 == rest { Ok(None) } else { Err(damaged("its digest is wrong")) };
        }
        // The file was lengthened, and the first sector of one frame was not written. After a second there would be a magic.
        let mut tail = vec![0; usize::try_from(rest).unwrap_or(usize::MAX).min(FRAME_BYTES + 1)];
        fill(at, &mut tail)?;
        let interrupted = tail.len() <= FRAME_BYTES && !tail.windows(MAGIC.len()).any(|bytes| bytes == MAGIC);
        if interrupted { Ok(None) } else { Err(damaged("no frame begins there")) }
    }

    fn parse(&self, note: &[u8]) -> Result<KeptCheckpoint, String> {
        let note = UnverifiedNote::parse(note).map_err(|error| error.to_string())?;
        let checkpoint = Checkpoint::parse(note.text()).map_err(|error| error.to_string())?;
        if checkpoint.origin() != self.origin {
            return Err(format!("it is of the log {:?}", checkpoint.origin()));
        }
        Ok(KeptCheckpoint { head: checkpoint.head(), note })
    }
}

fn encode(note: &[u8]) -> Vec<u8> {
    let mut frame = MAGIC.to_vec();
    frame.extend_from_slice(&(note.len() as u32).to_be_bytes());
    frame.extend_from_slice(note);
    let digest = Sha256::digest(&frame);
    frame.extend_from_slice(&digest);
    frame
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use counterfoil_tlog::{MemoryTree, SeedSigner, leaf_hash};

    use super::*;

    fn checkpoint(size: u8) -> KeptCheckpoint {
        let tree: MemoryTree = (0..size).map(|index| leaf_hash(&[index])).collect();
        let signer = SeedSigner::ed25519("log", &[1; 32]).unwrap();
        let note = Checkpoint::new("log", tree.head()).unwrap().sign(&signer).unwrap();
        KeptCheckpoint { head: tree.head(), note }
    }

    fn filled(dir: &Path) -> Kept {
        let mut kept = Kept::open(dir, "log").unwrap();
        for size in [3, 5, 9] {
            kept.append(&checkpoint(size)).unwrap();
        }
        kept
    }

    #[test]
    fn the_first_that_covers_a_leaf_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        drop(filled(dir.path()));
        let kept = Kept::open(dir.path(), "log").unwrap();
        assert_eq!(kept.size(), TreeSize(9));
        assert_eq!(kept.latest().unwrap(), Some(checkpoint(9)));
        for (index, size) in [(0, Some(3)), (2, Some(3)), (3, Some(5)), (8, Some(9)), (9, None)] {
            assert_eq!(kept.covering(LeafIndex(index)).unwrap(), size.map(checkpoint), "{index}");
        }
        assert!(matches!(Kept::open(dir.path(), "log"), Err(KeptError::Open(_))), "it has one holder");
    }

    #[test]
    fn who_only_reads_takes_no_lock_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Kept::open_to_read(dir.path(), "log").unwrap().is_none());
        assert!(!dir.path().join(FILE).exists());
        let holder = filled(dir.path());
        // What was interrupted is left to the holder.
        let torn = [std::fs::read(dir.path().join(FILE)).unwrap(), MAGIC.to_vec()].concat();
        std::fs::write(dir.path().join(FILE), &torn).unwrap();
        let mut reader = Kept::open_to_read(dir.path(), "log").unwrap().unwrap();
        assert_eq!(reader.latest().unwrap(), Some(checkpoint(9)));
        assert!(matches!(reader.append(&checkpoint(10)), Err(KeptError::Failed)));
        assert_eq!(std::fs::read(dir.path().join(FILE)).unwrap(), torn);
        drop(holder);
    }

    #[test]
    fn only_larger_trees_of_the_same_log_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = filled(dir.path());
        assert!(matches!(kept.append(&checkpoint(9)), Err(KeptError::NotGrown { .. })));
        kept.append(&checkpoint(10)).unwrap();
        drop(kept);
        assert!(matches!(Kept::open(dir.path(), "other"), Err(KeptError::Damaged { at: 0, .. })));
    }

    #[test]
    fn a_torn_write_is_cut_off_and_a_flipped_bit_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        drop(filled(dir.path()));
        let whole = std::fs::read(&path).unwrap();
        let frame = encode(checkpoint(9).note.to_string().as_bytes()).len();
        let last = whole.len() - frame;
        for cut in last..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(Kept::open(dir.path(), "log").unwrap().size(), TreeSize(5), "{cut}");
            assert_eq!(std::fs::metadata(&path).unwrap().len(), last as u64);
        }
        // Lengthened, and the rest or the start was not written.
        let (zeros, mut rest) = (vec![0; frame], whole[last..].to_vec());
        rest[..frame / 2].fill(0);
        for tail in [zeros, rest] {
            std::fs::write(&path, [&whole[..last], &tail].concat()).unwrap();
            assert_eq!(Kept::open(dir.path(), "log").unwrap().size(), TreeSize(5));
        }
        for at in (0..last).step_by(7) {
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            std::fs::write(&path, &flipped).unwrap();
            assert!(matches!(Kept::open(dir.path(), "log"), Err(KeptError::Damaged { .. })), "{at}");
            assert_eq!(std::fs::read(&path).unwrap(), flipped, "nothing is cut");
        }
    }

    /// A file whose syncs fail when told so.
    struct Failing(FileStorage, std::sync::atomic::AtomicBool);

    impl Storage for Failing {
        fn len(&self) -> std::io::Result<u64> {
            self.0.len()
        }

        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
            self.0.read_at(offset, buffer)
        }

        fn append(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
            self.0.append(offset, bytes)
        }

        fn rewrite(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
            self.0.rewrite(offset, bytes)
        }

        fn sync(&self) -> std::io::Result<()> {
            match self.1.load(std::sync::atomic::Ordering::SeqCst) {
                true => Err(std::io::ErrorKind::StorageFull.into()),
                false => self.0.sync(),
            }
        }

        fn cut(&self, offset: u64, tail: &[u8]) -> Result<(), WriteError> {
            self.0.cut(offset, tail)
        }
    }

    #[test]
    fn after_a_failed_sync_nothing_counts_until_it_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = FileStorage::open(dir.path(), FILE).unwrap();
        let storage = Arc::new(Failing(file, false.into()));
        let mut kept = Kept::with_storage(storage.clone(), "log").unwrap();
        kept.append(&checkpoint(3)).unwrap();
        storage.1.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(matches!(kept.append(&checkpoint(5)), Err(KeptError::Io { doing: "sync", .. })));
        storage.1.store(false, std::sync::atomic::Ordering::SeqCst);
        assert!(matches!(kept.append(&checkpoint(5)), Err(KeptError::Failed)));
        assert_eq!(kept.size(), TreeSize(3));
        assert_eq!(kept.covering(LeafIndex(3)).unwrap(), None);
        drop((kept, storage));
        // It was written after all, and is synced before it counts.
        let kept = Kept::open(dir.path(), "log").unwrap();
        assert_eq!(kept.covering(LeafIndex(3)).unwrap(), Some(checkpoint(5)));
    }
}
