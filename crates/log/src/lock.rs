//! The lock store: the one place that says which checkpoint was signed last.
//!
//! It is what keeps a restored backup, or a second writer, from signing a second history.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::limits;
use crate::storage::sync_dir;

/// Holds the latest signed checkpoint, and replaces it by compare-and-swap.
pub trait LockStore: Send + 'static {
    /// The value that was stored last; `None` if none ever was.
    ///
    /// # Errors
    /// [`LockError`] if it can't be told.
    fn load(&mut self) -> Result<Option<Vec<u8>>, LockError>;

    /// Replaces `old` by `new`, durably.
    ///
    /// # Errors
    /// [`LockError::Conflict`] if the value is not `old`; it is then unchanged. After any other error either value may
    /// be found by the next process that loads it.
    fn replace(&mut self, old: Option<&[u8]>, new: &[u8]) -> Result<(), LockError>;
}

/// Why the lock store does not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process holds it.
    #[error("{path} is locked: another process writes this log; stop it first")]
    Held {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else has replaced the value.
    #[error(
        "the lock store holds another checkpoint than this process stored last: somebody else writes this log"
    )]
    Conflict {
        /// What it holds.
        found: Option<Vec<u8>>,
    },
    /// No value can be read.
    #[error(
        "{path} is damaged: neither of its slots can be read; find out the latest published checkpoint before you replace it"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The value is too long.
    #[error("a value of {length} bytes is over the limit of {}", limits::CHECKPOINT_BYTES)]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// An earlier write failed; what is stored is not known.
    #[error("an earlier write to the lock store failed")]
    Unknown,
    /// A file operation failed.
    #[error("can't {doing} {path}")]
    Io {
        /// What failed.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// How.
        #[source]
        io: io::Error,
    },
}

impl LockError {
    /// A stable name for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Held { .. } => "lock-held",
            Self::Conflict { .. } => "lock-conflict",
            Self::Damaged { .. } => "lock-damaged",
            Self::TooLong { .. } => "lock-too-long",
            Self::Unknown => "lock-unknown",
            Self::Io { .. } => "lock-io",
        }
    }
}

/// A [`LockStore`] in a file `checkpoint.lock` with two slots, written in turn and synced each time.
///
/// A slot that is torn by a crash leaves the other, which is the value before. The file is never renamed or resized, so
/// that one fdatasync of one block makes a value durable. The process holds an advisory lock on it while it lives.
///
/// Before each write the file is read again and compared with what this process left there, so that another one is noticed
/// where the file system's locks don't work.
///
/// A slot: SHA-256 of what follows · magic · sequence number (8 bytes) · length (4) · value.
#[derive(Debug)]
pub struct FileLock {
    path: PathBuf,
    file: File,
    state: State,
}

#[derive(Debug)]
enum State {
    Known {
        sequence: u64,
        value: Option<Vec<u8>>,
        /// The file's bytes.
        image: Vec<u8>,
    },
    /// A write failed.
    Unknown,
}

const MAGIC: &[u8; 8] = b"CFLOCK1\n";
const VALUE_AT: usize = 32 + MAGIC.len() + 8 + 4;
const SLOT_BYTES: usize = 2 * limits::CHECKPOINT_BYTES;
const _: () = assert!(VALUE_AT + limits::CHECKPOINT_BYTES <= SLOT_BYTES);

impl FileLock {
    /// Opens or creates the store in the directory `dir`, and takes its lock.
    ///
    /// # Errors
    /// [`LockError::Held`] if another process has it, [`LockError::Damaged`] if no value can be read, [`LockError::Io`].
    pub fn open(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join("checkpoint.lock");
        let fail = |doing| {
            let path = path.clone();
            move |io| LockError::Io { doing, path, io }
        };
        std::fs::create_dir_all(dir).map_err(fail("create the directory of"))?;
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = options.map_err(fail("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held { path }),
            Err(TryLockError::Error(io)) => return Err(fail("lock")(io)),
        }
        file.set_len(2 * SLOT_BYTES as u64).map_err(fail("size"))?;
        let state = read_image(&file).map(|image| newest(&image)).map_err(fail("read"))?;
        let Some((sequence, value)) = state else {
            return Err(LockError::Damaged { path });
        };
        let mut lock = Self { path: path.clone(), file, state: State::Unknown };
        match &value {
            // If the write of this value had failed to sync, it may be in memory only. The same bytes again can't tear.
            Some(value) => lock.write(sequence, &encode(sequence, value))?,
            None => {
                lock.file.write_all_at(&[0; 2 * SLOT_BYTES], 0).map_err(fail("clear"))?;
                lock.file.sync_all().map_err(fail("sync"))?;
            }
        }
        let image = read_image(&lock.file).map_err(fail("read"))?;
        lock.state = State::Known { sequence, value, image };
        sync_dir(dir).map_err(fail("sync the directory of"))?;
        Ok(lock)
    }

    fn write(&self, sequence: u64, slot: &[u8]) -> Result<(), LockError> {
        let fail = |doing| move |io| LockError::Io { doing, path: self.path.clone(), io };
        self.file.write_all_at(slot, slot_at(sequence) as u64).map_err(fail("write"))?;
        self.file.sync_data().map_err(fail("sync"))
    }
}

/// Where the slot of this number in the sequence starts.
const fn slot_at(sequence: u64) -> usize {
    (sequence % 2) as usize * SLOT_BYTES
}

impl FileLock {
    /// What the store in `dir` holds, without its lock, beside a process that may be writing it: the latest value, or the one
    /// before. `None` if there is none.
    ///
    /// # Errors
    /// [`LockError::Damaged`], [`LockError::Io`].
    pub fn peek(dir: &Path) -> Result<Option<Vec<u8>>, LockError> {
        let path = dir.join("checkpoint.lock");
        let read = File::open(&path).and_then(|file| {
            if file.metadata()?.len() == 0 { Ok(None) } else { read_image(&file).map(Some) }
        });
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(io) => Err(LockError::Io { doing: "read", path, io }),
            Ok(None) => Ok(None),
            Ok(Some(image)) => newest(&image).map(|(_, value)| value).ok_or(LockError::Damaged { path }),
        }
    }
}

impl LockStore for FileLock {
    fn load(&mut self) -> Result<Option<Vec<u8>>, LockError> {
        match &self.state {
            State::Known { value, .. } => Ok(value.clone()),
            State::Unknown => Err(LockError::Unknown),
        }
    }

    fn replace(&mut self, old: Option<&[u8]>, new: &[u8]) -> Result<(), LockError> {
        if new.len() > limits::CHECKPOINT_BYTES {
            return Err(LockError::TooLong { length: new.len() });
        }
        let state = std::mem::replace(&mut self.state, State::Unknown);
        let State::Known { sequence, value, mut image } = state else { return Err(LockError::Unknown) };
        let fail = |io| LockError::Io { doing: "read", path: self.path.clone(), io };
        let found = read_image(&self.file).map_err(fail)?;
        if found != image {
            return Err(LockError::Conflict { found: newest(&found).and_then(|(_, value)| value) });
        }
        if value.as_deref() != old {
            self.state = State::Known { sequence, value: value.clone(), image };
            return Err(LockError::Conflict { found: value });
        }
        let sequence = sequence + 1;
        let slot = encode(sequence, new);
        self.write(sequence, &slot)?;
        image[slot_at(sequence)..][..slot.len()].copy_from_slice(&slot);
        self.state = State::Known { sequence, value: Some(new.to_vec()), image };
        Ok(())
    }
}

fn read_image(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 2 * SLOT_BYTES];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// The newest value and its sequence number; `None` if it can't be told.
fn newest(bytes: &[u8]) -> Option<(u64, Option<Vec<u8>>)> {
    let slots = [decode(&bytes[..SLOT_BYTES], 0), decode(&bytes[SLOT_BYTES..], 1)];
    match slots {
        [Slot::Empty, Slot::Empty] => Some((0, None)),
        // The very first write, to the second slot, was torn.
        [Slot::Empty, Slot::Damaged] => Some((0, None)),
        [Slot::Value(a, first), Slot::Value(b, second)] => {
            Some(if a > b { (a, Some(first)) } else { (b, Some(second)) })
        }
        [Slot::Value(sequence, value), _] | [_, Slot::Value(sequence, value)] => {
            Some((sequence, Some(value)))
        }
        [Slot::Damaged, _] => None,
    }
}

#[derive(Debug)]
enum Slot {
    Empty,
    Value(u64, Vec<u8>),
    Damaged,
}

fn encode(sequence: u64, value: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(SLOT_BYTES);
    body.extend_from_slice(MAGIC);
    body.extend_from_slice(&sequence.to_be_bytes());
    body.extend_from_slice(&(value.len() as u32).to_be_bytes());
    body.extend_from_slice(value);
    let mut slot = Sha256::digest(&body).to_vec();
    slot.append(&mut body);
    slot
}

fn decode(slot: &[u8], parity: u64) -> Slot {
    if slot.iter().all(|byte| *byte == 0) {
        return Slot::Empty;
    }
    let (Some(sequence), Some(length)) = (field(slot, 40), field(slot, 48)) else { return Slot::Damaged };
    let (sequence, length) = (u64::from_be_bytes(sequence), u32::from_be_bytes(length) as usize);
    let Some(value) = slot.get(VALUE_AT..).and_then(|rest| rest.get(..length)) else { return Slot::Damaged };
    // Written again, an undamaged slot gives the same bytes; that covers digest, magic and lengths at once.
    if sequence % 2 == parity && slot.starts_with(&encode(sequence, value)) {
        Slot::Value(sequence, value.to_vec())
    } else {
        Slot::Damaged
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reopened(dir: &Path) -> Option<Vec<u8>> {
        FileLock::open(dir).unwrap().load().unwrap()
    }

    #[test]
    fn keeps_the_last_value() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(reopened(dir.path()), None);
        let mut old: Option<Vec<u8>> = None;
        for value in [&b"one"[..], b"two", b"", b"a longer one", &[7; limits::CHECKPOINT_BYTES]] {
            FileLock::open(dir.path()).unwrap().replace(old.as_deref(), value).unwrap();
            assert_eq!(reopened(dir.path()).as_deref(), Some(value));
            old = Some(value.to_vec());
        }
    }

    #[test]
    fn refuses_what_does_not_follow_and_what_is_too_long() {
        let dir = tempfile::tempdir().unwrap();
        let mut lock = FileLock::open(dir.path()).unwrap();
        lock.replace(None, b"one").unwrap();
        assert!(matches!(lock.replace(None, b"two"), Err(LockError::Conflict { .. })));
        assert!(matches!(lock.replace(Some(b"zero"), b"two"), Err(LockError::Conflict { .. })));
        let long = [0; limits::CHECKPOINT_BYTES + 1];
        assert!(matches!(lock.replace(Some(b"one"), &long), Err(LockError::TooLong { .. })));
        lock.replace(Some(b"one"), b"two").unwrap();
    }

    #[test]
    fn has_one_holder() {
        let dir = tempfile::tempdir().unwrap();
        let _first = FileLock::open(dir.path()).unwrap();
        assert!(matches!(FileLock::open(dir.path()), Err(LockError::Held { .. })));
    }

    /// As where the file system's locks do not work: somebody writes the file beside this process.
    #[test]
    fn a_value_written_by_somebody_else_is_a_conflict() {
        let dir = tempfile::tempdir().unwrap();
        let mut lock = FileLock::open(dir.path()).unwrap();
        lock.replace(None, b"one").unwrap();
        lock.replace(Some(b"one"), b"two").unwrap();
        let file = dir.path().join("checkpoint.lock");
        let mut image = std::fs::read(&file).unwrap();
        let theirs = encode(3, b"theirs");
        image[SLOT_BYTES..][..theirs.len()].copy_from_slice(&theirs);
        std::fs::write(&file, &image).unwrap();
        let error = lock.replace(Some(b"two"), b"three").unwrap_err();
        assert!(
            matches!(&error, LockError::Conflict { found: Some(found) } if found == b"theirs"),
            "{error}"
        );
        assert_eq!(std::fs::read(&file).unwrap(), image, "nothing was written over it");
        assert!(matches!(lock.replace(Some(b"two"), b"three"), Err(LockError::Unknown)));
        drop(lock);
        assert_eq!(reopened(dir.path()).as_deref(), Some(&b"theirs"[..]));
    }

    /// A write torn after any byte, over the slot's old content, leaves the value before or the new one.
    #[test]
    fn a_torn_write_leaves_old_or_new() {
        for values in [&[&b"first"[..]][..], &[b"first", b"second value"], &[b"first", b"second", b"third"]] {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("checkpoint.lock");
            let mut images = Vec::new();
            let mut old: Option<&[u8]> = None;
            let mut lock = FileLock::open(dir.path()).unwrap();
            for value in values {
                images.push(std::fs::read(&file).unwrap());
                lock.replace(old, value).unwrap();
                old = Some(value);
            }
            drop(lock);
            let (before, after) = (images.pop().unwrap(), std::fs::read(&file).unwrap());
            let previous = values.len().checked_sub(2).map(|i| values[i].to_vec());
            let at = values.len() % 2 * SLOT_BYTES;
            for torn in 0..=VALUE_AT + 20 {
                let mut image = before.clone();
                image[at..at + torn].copy_from_slice(&after[at..at + torn]);
                std::fs::write(&file, &image).unwrap();
                let found = reopened(dir.path());
                assert!(found == previous || found.as_deref() == old, "{torn} bytes: {found:?}");
            }
        }
    }

    #[test]
    fn both_slots_damaged_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut lock = FileLock::open(dir.path()).unwrap();
        lock.replace(None, b"one").unwrap();
        lock.replace(Some(b"one"), b"two").unwrap();
        drop(lock);
        let file = dir.path().join("checkpoint.lock");
        let mut image = std::fs::read(&file).unwrap();
        image[3] ^= 1;
        image[SLOT_BYTES + VALUE_AT] ^= 1;
        std::fs::write(&file, &image).unwrap();
        assert!(matches!(FileLock::open(dir.path()), Err(LockError::Damaged { .. })));
    }
}
