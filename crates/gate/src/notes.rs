//! The file in which a gate notes what it begins and how it ended, so that it can be read whatever stopped the gate.
//!
//! A note is a line that says kind, execution, length and digest, then as many bytes, and a line feed. What follows the last whole note is
//! what a write left that was interrupted, and nothing was done because of it; or notes that something is over, which may be lost.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use counterfoil_receipt::RecordId;
use sha2::{Digest, Sha256};

/// Bytes of a file that is begun anew once nothing in it is open.
const LONG: u64 = 1 << 20;
/// Bytes of a file that is written anew with what is open, whatever that is.
const TOO_LONG: u64 = 64 << 20;

/// What is noted of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// That it is about to be submitted.
    Begun,
    /// What became of it.
    Ended,
    /// That the log has that.
    Over,
}

/// Where the notes of an execution that is not over are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Open {
    pub execution: Option<Range<u64>>,
    pub outcome: Option<Range<u64>>,
}

/// The notes of one gate.
#[derive(Debug)]
pub(crate) struct Notes {
    pub path: PathBuf,
    /// What is not over.
    pub open: BTreeMap<RecordId, Open>,
    file: File,
    end: u64,
    /// Whether there are notes that may not be on disk yet.
    is_ahead: bool,
    /// Whether a sync failed: what a later one finds nothing to do for may still not be on disk.
    is_broken: bool,
    /// Bytes that it had when it was written anew last.
    rewritten: u64,
}

/// A note in a file.
struct Note {
    kind: Kind,
    execution: RecordId,
    content: Range<usize>,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Begun, Self::Ended, Self::Over];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Ended => "ended",
            Self::Over => "over",
        }
    }
}

impl Notes {
    /// Reads the file, which is made if it is not there, and makes durable what it says.
    ///
    /// # Errors
    /// If it can't be read, or is damaged: what can't be read may have run.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let mut notes = Self::read_all(path)?;
        if notes.file.metadata()?.len() > 0 {
            // Whoever was killed may have left notes that are in memory only, after a sync that failed for good.
            notes.rewrite()?;
        }
        Ok(notes)
    }

    fn read_all(path: PathBuf) -> io::Result<Self> {
        let is_new = !path.try_exists()?;
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        if is_new {
            sync_parent(&path)?;
        }
        let bytes = fs::read(&path)?;
        let mut notes = Self {
            path,
            open: BTreeMap::new(),
            file,
            end: 0,
            is_ahead: false,
            is_broken: false,
            rewritten: 0,
        };
        let mut at = 0;
        while let Some(note) = Note::read(&bytes, at) {
            at = note.content.end + 1;
            notes.take(&note);
        }
        let begins =
            |at: &usize| Kind::ALL.iter().any(|kind| bytes[*at..].starts_with(kind.as_str().as_bytes()));
        // Of notes that something is over a later one may have reached the disk before an earlier one; without them it is found settled.
        let counts = |at| Note::read(&bytes, at).is_some_and(|note| note.kind != Kind::Over);
        if (at..bytes.len()).filter(begins).any(counts) {
            return Err(damaged(&notes.path, &"a note can't be read, and others follow it"));
        }
        notes.end = at as u64;
        Ok(notes)
    }

    fn take(&mut self, note: &Note) {
        let place = note.content.start as u64..note.content.end as u64;
        match note.kind {
            Kind::Begun => self.open.entry(note.execution).or_default().execution = Some(place),
            Kind::Ended => self.open.entry(note.execution).or_default().outcome = Some(place),
            Kind::Over => _ = self.open.remove(&note.execution),
        }
    }

    /// Whether a file says of an execution that it was begun, and not how it ended. The file is only read, and somebody may be writing it.
    pub fn say_it_runs(path: &Path, execution: &RecordId) -> io::Result<bool> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            read => read?,
        };
        let (mut at, mut runs) = (0, false);
        while let Some(note) = Note::read(&bytes, at) {
            at = note.content.end + 1;
            if note.execution == *execution {
                runs = match note.kind {
                    Kind::Begun => true,
                    Kind::Ended | Kind::Over => false,
                };
            }
        }
        Ok(runs)
    }

    /// Makes durable what is not yet.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.is_broken {
            return Err(io::Error::other(format!(
                "{} could not be made durable before",
                self.path.display()
            )));
        }
        if self.is_ahead {
            self.file.sync_data().inspect_err(|_| self.is_broken = true)?;
            self.is_ahead = false;
        }
        Ok(())
    }

    /// Writes a note behind the last one; durable when it returns, if that matters. Those before it are, so that no gap is left, unless this
    /// one only says that something is over.
    pub fn write(&mut self, kind: Kind, execution: RecordId, content: &[u8], sync: bool) -> io::Result<()> {
        let note = encode(kind, execution, content);
        if kind != Kind::Over {
            self.sync()?;
        }
        // What an earlier write left here that failed is overwritten.
        self.file.write_all_at(&note, self.end)?;
        self.is_ahead = true;
        if sync {
            self.sync()?;
        }
        let end = self.end as usize + note.len();
        self.take(&Note { kind, execution, content: end - 1 - content.len()..end - 1 });
        self.end = end as u64;
        Ok(())
    }

    /// What a note says.
    pub fn read(&self, place: &Range<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; (place.end - place.start) as usize];
        self.file.read_exact_at(&mut bytes, place.start)?;
        Ok(bytes)
    }

    /// Begins the file anew if it is long.
    pub fn tidy(&mut self) -> io::Result<()> {
        self.tidy_over(LONG, TOO_LONG)
    }

    fn tidy_over(&mut self, long: u64, too_long: u64) -> io::Result<()> {
        if self.end > long && self.open.is_empty() {
            // What comes back after a crash is found settled.
            self.file.set_len(0)?;
            self.end = 0;
            return Ok(());
        }
        if self.end <= too_long.max(2 * self.rewritten) {
            return Ok(());
        }
        self.rewrite()
    }

    /// Writes the file anew with what is open.
    fn rewrite(&mut self) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let _ = fs::remove_file(&new);
        let mut notes = Self::read_all(new.clone())?;
        for (execution, open) in &self.open {
            for (kind, place) in [(Kind::Begun, &open.execution), (Kind::Ended, &open.outcome)] {
                if let Some(place) = place {
                    notes.write(kind, *execution, &self.read(place)?, false)?;
                }
            }
        }
        notes.file.sync_all()?;
        fs::rename(new, &self.path)?;
        notes.path.clone_from(&self.path);
        (notes.is_ahead, notes.rewritten) = (false, notes.end);
        // From here on the old file is nobody's.
        *self = notes;
        sync_parent(&self.path)
    }
}

impl Note {
    /// The note at this place, if a whole one is there.
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let rest = bytes.get(at..)?;
        let line = rest.split(|byte| *byte == b'\n').next()?;
        let line = std::str::from_utf8(line).ok()?;
        let [kind, execution, length, _] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
        let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind)?;
        let (execution, length) = (RecordId::parse(execution)?, length.parse::<usize>().ok()?);
        let start = line.len() + 1;
        let content = rest.get(start..start.checked_add(length)?)?;
        let is_whole = rest.get(..start + length + 1)? == encode(kind, execution, content);
        is_whole.then_some(Self { kind, execution, content: at + start..at + start + length })
    }
}

fn encode(kind: Kind, execution: RecordId, content: &[u8]) -> Vec<u8> {
    let head = format!("{} {execution} {}", kind.as_str(), content.len());
    let digest = Sha256::new().chain_update(&head).chain_update(b"\n").chain_update(content).finalize();
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut note = format!("{head} {digest}\n").into_bytes();
    note.extend_from_slice(content);
    note.push(b'\n');
    note
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

pub(crate) fn damaged(path: &Path, fault: &dyn std::fmt::Display) -> io::Error {
    let why = format!("{} is damaged; look at the run before you remove it: {fault}", path.display());
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn id(byte: u8) -> RecordId {
        RecordId::from_bytes([byte; 32])
    }

    fn contents(notes: &Notes) -> Vec<(RecordId, Option<Vec<u8>>)> {
        let read = |open: &Open| open.outcome.as_ref().map(|place| notes.read(place).unwrap());
        notes.open.iter().map(|(id, open)| (*id, read(open))).collect()
    }

    /// Three executions: one that is over, one that ended, one that was begun.
    fn three(path: &Path) -> Notes {
        let mut notes = Notes::open(path.to_owned()).unwrap();
        notes.write(Kind::Begun, id(1), b"first", true).unwrap();
        notes.write(Kind::Ended, id(1), b"done", true).unwrap();
        notes.write(Kind::Begun, id(2), b"second", true).unwrap();
        notes.write(Kind::Over, id(1), b"", false).unwrap();
        notes.write(Kind::Ended, id(2), b"a line\nand another", true).unwrap();
        notes.write(Kind::Begun, id(3), b"third", true).unwrap();
        notes
    }

    #[test]
    fn whatever_length_a_write_had_when_it_stopped_all_before_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes");
        let known = contents(&three(&path));
        assert_eq!(known, [(id(2), Some(b"a line\nand another".to_vec())), (id(3), None)]);
        let whole = fs::read(&path).unwrap();
        let more = encode(Kind::Begun, id(4), b"begun sha256: 4\nfourth\n");
        for length in 0..more.len() {
            for fill in [0, b' ', b'\n'] {
                // What was not written may be anything.
                let rest = vec![fill; more.len() - length];
                fs::write(&path, [&whole, &more[..length], &rest].concat()).unwrap();
                let mut notes = Notes::read_all(path.clone()).unwrap();
                if [&more[..length], &rest].concat() != more {
                    assert_eq!(contents(&notes), known, "{length}");
                }
                notes.write(Kind::Over, id(3), b"", false).unwrap();
                assert!(!Notes::read_all(path.clone()).unwrap().open.contains_key(&id(3)), "{length}");
            }
        }
    }

    #[test]
    fn a_note_that_is_damaged_before_others_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes");
        three(&path);
        let whole = fs::read(&path).unwrap();
        let last = whole.len() - encode(Kind::Begun, id(3), b"third").len();
        for at in 0..last {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, damaged).unwrap();
            assert!(Notes::open(path.clone()).is_err(), "{at}");
        }
    }

    #[test]
    fn a_sync_that_failed_is_not_forgotten_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let mut notes = three(&dir.path().join("notes"));
        notes.write(Kind::Begun, id(4), b"fourth", false).unwrap();
        // What can't be synced.
        let real = std::mem::replace(&mut notes.file, File::open("/dev/null").unwrap());
        notes.sync().unwrap_err();
        notes.file = real;
        notes.sync().unwrap_err();
        notes.write(Kind::Begun, id(5), b"fifth", false).unwrap_err();
        // Written anew, it is on disk.
        notes.tidy_over(0, 0).unwrap();
        notes.sync().unwrap();
        assert!(Notes::open(notes.path).unwrap().open.contains_key(&id(4)));
    }

    #[test]
    fn notes_that_something_is_over_may_be_lost_and_leave_no_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes");
        let mut notes = three(&path);
        let whole = fs::metadata(&path).unwrap().len() as usize;
        for over in [2, 3] {
            notes.write(Kind::Over, id(over), b"", false).unwrap();
        }
        // The page with the first of them did not reach the disk.
        let mut torn = fs::read(&path).unwrap();
        torn[whole..whole + 100].fill(0);
        fs::write(&path, torn).unwrap();
        let mut notes = Notes::open(path.clone()).unwrap();
        assert_eq!(contents(&notes), contents(&three(&dir.path().join("other"))));
        notes.write(Kind::Begun, id(4), b"fourth", true).unwrap();
        assert_eq!(Notes::open(path).unwrap().open.len(), 3);
    }

    #[test]
    fn a_file_that_is_long_is_begun_anew_with_what_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes");
        let mut notes = three(&path);
        let known = contents(&notes);
        notes.write(Kind::Begun, id(9), &[b'x'; 10_000], false).unwrap();
        notes.write(Kind::Over, id(9), b"", false).unwrap();
        notes.tidy_over(0, 10_000).unwrap();
        assert_eq!(contents(&notes), known);
        // Whoever opens it writes it anew.
        let copy = dir.path().join("copy");
        fs::copy(&path, &copy).unwrap();
        assert_eq!(contents(&Notes::open(copy).unwrap()), known);
        assert!(fs::metadata(&path).unwrap().len() < 1_000);
        notes.write(Kind::Begun, id(9), b"ninth", false).unwrap();
        for over in [2, 3, 9] {
            notes.write(Kind::Over, id(over), b"", false).unwrap();
        }
        notes.tidy_over(0, 10_000).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        notes.write(Kind::Begun, id(4), b"fourth", true).unwrap();
        assert!(Notes::open(path).unwrap().open.contains_key(&id(4)));
    }
}
