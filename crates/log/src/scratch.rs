//! Where each entry and each checkpoint stands in the journal: two files of fixed-width items, written anew at each start.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Fatal, ReadError};
use crate::journal::Frame;

const ENTRY_BYTES: usize = 8;
const BATCH_BYTES: usize = 16;

pub(crate) struct Scratch {
    dir: PathBuf,
    /// Per entry: offset · 2^16 + length.
    entries: File,
    /// Per batch: size of the tree, offset of the signed frame.
    batches: File,
}

/// Where an entry's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryPlace {
    pub offset: u64,
    pub length: usize,
}

/// Where a batch's signed frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchPlace {
    /// The size of the tree with this batch.
    pub size: u64,
    /// Where its frame starts.
    pub offset: u64,
}

impl Scratch {
    /// Empties the directory `dir`, which is made if need be, and starts both files.
    pub fn create(dir: &Path) -> io::Result<Self> {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(dir)?,
        }
        let create = |name| File::options().read(true).write(true).create_new(true).open(dir.join(name));
        Ok(Self { dir: dir.to_owned(), entries: create("entries")?, batches: create("batches")? })
    }

    /// A file in this directory for the tile being written.
    pub fn temporary_tile(&self) -> PathBuf {
        self.dir.join("tile")
    }

    /// Notes the entries of a frame that starts at `offset`. If it is signed, it ends the batch with this number.
    pub fn record(&self, number: u64, offset: u64, frame: &Frame) -> Result<(), Fatal> {
        let mut places = Vec::with_capacity(ENTRY_BYTES * (frame.size() - frame.first()) as usize);
        for (range, entry) in frame.entries() {
            let place = (offset + range.start as u64) << 16 | entry.len() as u64;
            places.extend_from_slice(&place.to_be_bytes());
        }
        let batch = [frame.size().to_be_bytes(), offset.to_be_bytes()].concat();
        let entries = self.entries.write_all_at(&places, frame.first() * ENTRY_BYTES as u64);
        let batches = match frame.is_continued() {
            true => Ok(()),
            false => self.batches.write_all_at(&batch, number * BATCH_BYTES as u64),
        };
        entries.and(batches).map_err(|io| Fatal::Derived { doing: "write", path: self.dir.clone(), io })
    }

    /// Where entry `index` is.
    pub fn entry(&self, index: u64) -> Result<EntryPlace, ReadError> {
        let place = u64::from_be_bytes(self.read(&self.entries, index * ENTRY_BYTES as u64)?);
        Ok(EntryPlace { offset: place >> 16, length: (place & 0xffff) as usize })
    }

    /// The batch with this number.
    pub fn batch(&self, number: u64) -> Result<BatchPlace, ReadError> {
        let at = number * BATCH_BYTES as u64;
        let [size, offset] = [at, at + 8].map(|at| self.read(&self.batches, at).map(u64::from_be_bytes));
        Ok(BatchPlace { size: size?, offset: offset? })
    }

    fn read(&self, file: &File, at: u64) -> Result<[u8; 8], ReadError> {
        let mut bytes = [0; 8];
        let fail = |io| ReadError::Files { path: self.dir.clone(), io };
        file.read_exact_at(&mut bytes, at).map_err(fail)?;
        Ok(bytes)
    }
}
