//! The last checkpoint that a client saw: what a log can't take back without being caught.

use std::{
    collections::hash_map::RandomState,
    ffi::OsString,
    fs::{self, File},
    hash::{BuildHasher, Hasher},
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use counterfoil_receipt::limits::NOTE_BYTES;
use sha2::{Digest, Sha256};

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

/// Keeps the note in a file, which has two places for it: the newer one stays while the older is overwritten, so that keeping a note takes
/// one write and one sync. Whoever kept a note in the file as it is, by copying it there, finds that read too.
///
/// One file serves one log; processes that share it may set it back to an earlier checkpoint of the same log, never to another log's.
#[derive(Clone, Debug)]
pub struct FileCheckpoints {
    path: PathBuf,
}

/// Bytes of each place.
const PLACE: usize = 1 << 18;

/// What stands in a place: how many were kept before, and the note.
type Kept = (u64, String);

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
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if let Some((_, note)) = newest(&file)? {
            return Ok(Some(note));
        }
        // Others may have kept two notes between one look and the other.
        file.lock_shared()?;
        if let Some((_, note)) = newest(&file)? {
            return Ok(Some(note));
        }
        if file.metadata()?.len() > NOTE_BYTES as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than any note"));
        }
        fs::read_to_string(&self.path).map(Some)
    }

    fn store(&mut self, note: &str) -> io::Result<()> {
        match File::options().read(true).write(true).open(&self.path) {
            Ok(file) => {
                // Until it is closed no other process writes here.
                file.lock()?;
                let Some((number, _)) = newest(&file)? else { return self.begin(note) };
                let number = number + 1;
                file.write_all_at(&encode(number, note), place(number))?;
                file.sync_data()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.begin(note),
            Err(error) => Err(error),
        }
    }
}

impl FileCheckpoints {
    /// Makes the file, in the place of one that has no places.
    fn begin(&self, note: &str) -> io::Result<()> {
        let mut name = self.path.file_name().map_or_else(OsString::new, OsString::from);
        // Processes of two containers may have one id.
        let random = RandomState::new().build_hasher().finish();
        name.push(format!(".{}-{random:x}.new", std::process::id()));
        let new = self.path.with_file_name(name);
        let file = File::create_new(&new)?;
        file.write_all_at(&encode(0, note), place(0))?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// Where the note with this number stands.
const fn place(number: u64) -> u64 {
    (number % 2) * PLACE as u64
}

/// What was kept last; `None` in a file that has no places, or in which both are damaged.
fn newest(file: &File) -> io::Result<Option<Kept>> {
    let kept = [read(file, place(0))?, read(file, place(1))?];
    Ok(kept.into_iter().flatten().max_by_key(|(number, _)| *number))
}

/// What stands in a place, if it is whole.
fn read(file: &File, at: u64) -> io::Result<Option<Kept>> {
    // Most notes are short; what follows one may be long.
    let mut bytes = vec![0; 1_024];
    let mut found = file.read_at(&mut bytes, at)?;
    let Some((number, note)) = head(&bytes[..found]).filter(|(_, note)| note.end <= PLACE) else {
        return Ok(None);
    };
    if note.end > found {
        bytes.resize(note.end, 0);
        found += file.read_at(&mut bytes[found..], at + found as u64)?;
    }
    let note = bytes[..found].get(note).and_then(|note| std::str::from_utf8(note).ok());
    let is_whole = |note: &&str| bytes.starts_with(&encode(number, note));
    Ok(note.filter(is_whole).map(|note| (number, note.to_owned())))
}

/// The number of the note that begins here, and where in these bytes it stands.
fn head(bytes: &[u8]) -> Option<(u64, Range<usize>)> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&bytes[..end]).ok()?;
    let [number, length, _] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let start = end + 1;
    Some((number.parse().ok()?, start..start.checked_add(length.parse().ok()?)?))
}

/// Number, length and digest, and on the next line the note.
fn encode(number: u64, note: &str) -> Vec<u8> {
    let head = format!("{number} {}", note.len());
    let digest = Sha256::new().chain_update(&head).chain_update("\n").chain_update(note).finalize();
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{head} {digest}\n{note}").into_bytes()
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
