//! The file under the journal, as narrow as the journal uses it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::error::OpenError;

/// One file that is written at its end, by one writer, and read anywhere by many.
pub trait Storage: Send + Sync + 'static {
    /// Its length in bytes.
    ///
    /// # Errors
    /// If the system does not say.
    fn len(&self) -> io::Result<u64>;

    /// Whether it is empty.
    ///
    /// # Errors
    /// If the system does not say.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buffer` with the bytes at `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` if there are fewer, or what the system reports.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, in one write if the system takes it, where the file must end: nothing that
    /// somebody else wrote is ever overwritten. Of several who append at one place, one succeeds.
    ///
    /// # Errors
    /// [`WriteError::Conflict`] if the file does not end at `offset`; nothing was written then. Or what the system
    /// reports; any part may have been written.
    fn append(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError>;

    /// Writes `bytes` again, which stand at `offset`: what can be read there may not be on disk, and the system may take it
    /// for written.
    ///
    /// # Errors
    /// [`WriteError::Conflict`] if something else stands there; nothing was written then. Or what the system reports.
    fn rewrite(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError>;

    /// Makes durable what was written: data, and the length needed to find it.
    ///
    /// # Errors
    /// What the system reports. What was written since the last success may then be lost, even if a later call succeeds.
    /// A failure is reported to every process that has the file open, each at its next call: Linux does so.
    fn sync(&self) -> io::Result<()>;

    /// Cuts off `tail`, which stands at `offset` and ends the file, and makes that durable.
    ///
    /// # Errors
    /// [`WriteError::Conflict`] if something else stands there; nothing was cut then. Or what the system reports.
    fn cut(&self, offset: u64, tail: &[u8]) -> Result<(), WriteError>;
}

/// Why a [`Storage`] was not changed as asked.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// What stands there is not what this process left: somebody else writes the file.
    #[error("somebody else has written at byte {offset} or behind it")]
    Conflict {
        /// Where it was to be changed.
        offset: u64,
    },
    /// The system reports an error.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A [`Storage`] in a file that this process alone writes: it holds a lock on the file. Where the file system's locks do not
/// work, a second process is noticed all the same before it overwrites anything, unless both append within the moment
/// between looking at the length and writing.
#[derive(Debug)]
pub struct FileStorage {
    file: File,
}

impl FileStorage {
    /// Opens or creates `name` in `dir`, creates `dir` if need be, and locks the file.
    ///
    /// # Errors
    /// [`OpenError::InUse`] if another process has it locked, or [`OpenError::Files`].
    pub fn open(dir: &Path, name: &str) -> Result<Self, OpenError> {
        let path = dir.join(name);
        let fail = |doing| {
            let path = path.clone();
            move |io| OpenError::Files { doing, path, io }
        };
        std::fs::create_dir_all(dir).map_err(fail("create the directory of"))?;
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = options.map_err(fail("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path }),
            Err(TryLockError::Error(io)) => return Err(fail("lock")(io)),
        }
        sync_dir(dir).map_err(fail("sync the directory of"))?;
        Ok(Self { file })
    }
}

impl FileStorage {
    /// Opens `name` in `dir`, which must be there, to read it only. It takes no lock, so others may write the file meanwhile;
    /// whatever would change it fails.
    ///
    /// # Errors
    /// [`OpenError::Files`].
    pub fn open_read_only(dir: &Path, name: &str) -> Result<Self, OpenError> {
        let path = dir.join(name);
        let file = File::open(&path).map_err(|io| OpenError::Files { doing: "open", path, io })?;
        Ok(Self { file })
    }
}

impl Storage for FileStorage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn append(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        if self.len()? != offset {
            return Err(WriteError::Conflict { offset });
        }
        Ok(self.file.write_all_at(bytes, offset)?)
    }

    fn rewrite(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        self.expect(offset, bytes)?;
        Ok(self.file.write_all_at(bytes, offset)?)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn cut(&self, offset: u64, tail: &[u8]) -> Result<(), WriteError> {
        if self.len()? != offset + tail.len() as u64 {
            return Err(WriteError::Conflict { offset });
        }
        self.expect(offset, tail)?;
        self.file.set_len(offset)?;
        Ok(self.file.sync_all()?)
    }
}

impl FileStorage {
    /// A file without a name, which is gone when it is closed. It is on the file system of `dir`, which is made if need be.
    pub(crate) fn temporary(dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        Ok(Self { file: tempfile::tempfile_in(dir)? })
    }

    /// Keeps the first `length` bytes, and makes that durable.
    pub(crate) fn shorten(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.file.sync_all()
    }

    /// Checks that these bytes stand at `offset`.
    fn expect(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        let mut found = vec![0; bytes.len()];
        if self.len()? < offset + bytes.len() as u64 {
            return Err(WriteError::Conflict { offset });
        }
        self.read_at(offset, &mut found)?;
        if found == bytes { Ok(()) } else { Err(WriteError::Conflict { offset }) }
    }
}

/// Makes the names in a directory durable, and its own name in its parent.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()?;
    match dir.parent() {
        Some(parent) if parent != Path::new("") => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

/// A file of its own that takes bytes moved out of the way: `<path>` or, if that exists, `<path>.1` and so on.
pub(crate) fn free_path(path: &Path) -> PathBuf {
    let numbered = (0_u64..).map(|n| match n {
        0 => path.to_owned(),
        n => PathBuf::from(format!("{}.{n}", path.display())),
    });
    numbered.into_iter().find(|path| !path.exists()).unwrap_or_else(|| path.to_owned())
}
