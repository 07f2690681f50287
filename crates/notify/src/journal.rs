//! The file of an outbox: appended to line by line, and written anew when it has grown too much.
//!
//! An append is one write and one sync; it counts when the sync succeeded. Writing anew goes: a new file beside the old one,
//! all lines, sync, rename over the old one, sync of the directory. So at any moment the name leads to a file of whole
//! lines, but for the last one, whose write a crash may have interrupted: then nobody was told that it counts, and it is
//! cut.
//!
//! The file is written anew whenever it is opened. That cuts what was interrupted, and puts on disk what could perhaps be
//! read from memory only, because the sync of it had failed before.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::entry::{Entry, Sum};
use crate::error::OutboxError;
use crate::limits;

const NAME: &str = "outbox.jsonl";
const NEW_NAME: &str = "outbox.jsonl.new";
const LOCK_NAME: &str = "outbox.lock";

/// The file, open for its one writer.
#[derive(Debug)]
pub(crate) struct Journal {
    dir: PathBuf,
    path: PathBuf,
    file: File,
    /// Held as long as this lives. A file of its own, because the other one is replaced.
    _lock: Lock,
    sum: Sum,
    bytes: u64,
    /// Its length when it was written anew.
    bytes_anew: u64,
    work: Work,
}

/// What an outbox did on disk since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Lines written, those of a file written anew included.
    pub lines: u64,
    /// Syncs of a file.
    pub syncs: u64,
    /// How often the file was written anew.
    pub rewrites: u64,
}

/// The lock on a directory, and what its file says.
pub(crate) struct Opening {
    dir: PathBuf,
    path: PathBuf,
    lock: Lock,
}

/// The lock on a directory, as long as it lives.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file would do, but that a process that is just being started may have it open as well for a moment.
        let _ = self.0.unlock();
    }
}

impl Opening {
    /// Makes the directory if need be, and takes its lock.
    pub fn lock(dir: &Path) -> Result<Self, OutboxError> {
        fs::create_dir_all(dir).map_err(failed("create the directory", dir))?;
        let path = dir.join(LOCK_NAME);
        let lock = private().truncate(false).open(&path).map_err(failed("open", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_owned(), path: dir.join(NAME), lock: Lock(lock) }),
            Err(TryLockError::WouldBlock) => Err(OutboxError::InUse { path }),
            Err(TryLockError::Error(io)) => Err(failed("lock", &path)(io)),
        }
    }

    /// Gives every line to `apply`, but for one at the end that was interrupted. Gives how many bytes of it there are.
    pub fn read(&self, mut apply: impl FnMut(Entry) -> Result<(), String>) -> Result<u64, OutboxError> {
        let path = &self.path;
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(io) => return Err(failed("open", path)(io)),
        };
        let (mut lines, mut line, mut number, mut sum) =
            (BufReader::new(file), Vec::new(), 0, Sum::default());
        loop {
            number += 1;
            line.clear();
            let most = limits::LINE_BYTES as u64 + 1;
            lines.by_ref().take(most).read_until(b'\n', &mut line).map_err(failed("read", path))?;
            let damaged = |why: String| OutboxError::Damaged { path: path.clone(), line: number, why };
            if line.is_empty() && number > 1 {
                return Ok(0);
            }
            let body = line.strip_suffix(b"\n").unwrap_or(&line);
            let Some((entry, next)) = Entry::read(body, sum) else {
                let is_last = lines.fill_buf().map_err(failed("read", path))?.is_empty();
                if number > 1 && is_last && was_interrupted(&line, sum) {
                    return Ok(line.len() as u64);
                }
                return Err(damaged("its sum is wrong, or that of the line before".to_owned()));
            };
            let entry = entry.map_err(|error| damaged(error.to_string()))?;
            match (&entry, number) {
                (Entry::Outbox { .. }, 1) => {}
                (Entry::Outbox { .. }, _) | (_, 1) => {
                    return Err(damaged("the first line, and no other, says what the file is".to_owned()));
                }
                _ => apply(entry).map_err(damaged)?,
            }
            sum = next;
        }
    }

    /// The file with these lines, and no others.
    pub fn write(self, entries: impl Iterator<Item = Entry>) -> Result<Journal, OutboxError> {
        let Self { dir, path, lock } = self;
        let mut work = Work::default();
        let (file, sum, bytes) = write_anew(&dir, &path, entries, &mut work)?;
        Ok(Journal { dir, path, file, _lock: lock, sum, bytes, bytes_anew: bytes, work })
    }
}

/// Whether a last line without a right sum is one that was being written: it has no end, or parts of it never reached the
/// disk and are zeros. A line that was whole and lost its end, or a bit, is damage.
fn was_interrupted(line: &[u8], before: Sum) -> bool {
    match line.split_last() {
        Some((b'\n', body)) => body.windows(2).any(|pair| pair == [0, 0]),
        Some((_, body)) => line.len() <= limits::LINE_BYTES && Entry::read(body, before).is_none(),
        None => true,
    }
}

impl Journal {
    /// Appends a line; it is durable when this returns. After an error, here or below, what is on disk is not known.
    pub fn append(&mut self, entry: &Entry) -> Result<(), OutboxError> {
        let (mut line, sum) = entry.to_line(self.sum);
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(failed("write", &self.path))?;
        self.file.sync_data().map_err(failed("sync", &self.path))?;
        self.sum = sum;
        self.bytes += line.len() as u64;
        self.work.lines += 1;
        self.work.syncs += 1;
        Ok(())
    }

    /// Whether it has grown so much that it should be written anew.
    pub const fn has_grown(&self) -> bool {
        self.bytes > 2 * self.bytes_anew + limits::GROWTH_BYTES
    }

    /// Writes it anew, with these lines instead of all.
    pub fn rewrite(&mut self, entries: impl Iterator<Item = Entry>) -> Result<(), OutboxError> {
        let (file, sum, bytes) = write_anew(&self.dir, &self.path, entries, &mut self.work)?;
        (self.file, self.sum, self.bytes, self.bytes_anew) = (file, sum, bytes, bytes);
        Ok(())
    }

    /// Its length.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What was done on disk.
    pub const fn work(&self) -> Work {
        self.work
    }
}

fn write_anew(
    dir: &Path,
    path: &Path,
    entries: impl Iterator<Item = Entry>,
    work: &mut Work,
) -> Result<(File, Sum, u64), OutboxError> {
    let new = dir.join(NEW_NAME);
    let file = private().truncate(true).open(&new).map_err(failed("create", &new))?;
    let mut out = BufWriter::with_capacity(1 << 16, file);
    let first = Entry::Outbox { format: crate::entry::Format::V1 };
    let (mut sum, mut bytes) = (Sum::default(), 0);
    for entry in std::iter::once(first).chain(entries) {
        let (line, next) = entry.to_line(sum);
        out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")).map_err(failed("write", &new))?;
        sum = next;
        bytes += line.len() as u64 + 1;
        work.lines += 1;
    }
    let file = out.into_inner().map_err(|error| failed("write", &new)(error.into_error()))?;
    file.sync_all().map_err(failed("sync", &new))?;
    fs::rename(&new, path).map_err(failed("rename", &new))?;
    sync_dir(dir).map_err(failed("sync the directory", dir))?;
    work.syncs += 1;
    work.rewrites += 1;
    Ok((file, sum, bytes))
}

/// Files that are the operator's alone: messages may say what not everybody should read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

/// Makes the names in a directory durable, and its own name in its parent.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()?;
    match dir.parent() {
        Some(parent) if parent != Path::new("") => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OutboxError {
    let path = path.to_owned();
    move |io| OutboxError::Io { doing, path, io }
}
