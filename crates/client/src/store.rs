//! The last checkpoint that a client saw: what a log can't take back without being caught.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use counterfoil_receipt::limits::NOTE_BYTES;

/// Keeps one signed note.
pub trait CheckpointStore: Send {
    /// Where it keeps it, for messages.
    fn place(&self) -> String;

    /// The note that was kept last.
    ///
    /// # Errors
    /// If it can't be read; the client then relies on nothing.
    fn load(&self) -> io::Result<Option<String>>;

    /// Keeps a note in place of the one before; durable when it returns.
    ///
    /// # Errors
    /// If it can't be kept.
    fn store(&mut self, note: &str) -> io::Result<()>;
}

/// Keeps the note in a file, replaced atomically. One file serves one log; processes that share it may set it back to
/// an earlier checkpoint of the same log, never to another log's.
#[derive(Clone, Debug)]
pub struct FileCheckpoints {
    path: PathBuf,
}

/// Keeps the note as long as the process lives.
#[derive(Clone, Debug, Default)]
pub struct MemoryCheckpoints {
    note: Option<String>,
}

impl FileCheckpoints {
    /// Keeps the note at `path`, whose directory exists.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl CheckpointStore for FileCheckpoints {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn load(&self) -> io::Result<Option<String>> {
        let length = match fs::metadata(&self.path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if length > NOTE_BYTES as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than any note"));
        }
        fs::read_to_string(&self.path).map(Some)
    }

    fn store(&mut self, note: &str) -> io::Result<()> {
        let mut name = self.path.file_name().map_or_else(OsString::new, OsString::from);
        name.push(format!(".{}.new", std::process::id()));
        let new = self.path.with_file_name(name);
        let mut file = File::create(&new)?;
        file.write_all(note.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl CheckpointStore for MemoryCheckpoints {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn load(&self) -> io::Result<Option<String>> {
        Ok(self.note.clone())
    }

    fn store(&mut self, note: &str) -> io::Result<()> {
        self.note = Some(note.to_owned());
        Ok(())
    }
}
