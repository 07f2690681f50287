//! Reading files: every one of them bounded, every fault named.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use counterfoil_receipt::limits;

use crate::{
    error::{Failure, Outcome},
    text::{SHOWN_CHARS, printable, shortened, with_article},
};

/// The name under which standard input is read.
pub const STDIN: &str = "-";

/// Reads a whole file of at most `most` bytes; `what` names it in messages.
pub fn read(path: &Path, what: &str, most: usize) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    let taken = open(path, what)?.take(most as u64 + 1).read_to_end(&mut bytes);
    taken.map_err(|error| unreadable(path, what, &error))?;
    if bytes.len() > most { Err(too_large(&shown(path), what, most)) } else { Ok(bytes) }
}

/// How a file is opened whose name somebody else chose: opening a pipe or a device can wait for ever, and what a name stands for is only
/// known once it is open.
#[cfg(unix)]
pub const UNHELD: rustix::fs::OFlags = rustix::fs::OFlags::NONBLOCK.union(rustix::fs::OFlags::NOCTTY);

/// Reads a whole regular file of at most `most` bytes that was opened by a name that somebody else chose: nothing else is waited for or
/// read from.
pub fn read_opened(file: File, path: &Path, what: &str, most: usize) -> Outcome<Vec<u8>> {
    let found = file.metadata().map_err(|error| unreadable(path, what, &error))?;
    if found.is_dir() {
        return Err(is_directory(path, what));
    }
    if !found.is_file() {
        let message = format!("{} is no regular file", shown(path));
        return Err(Failure::new("file-not-regular", message, "write it to a file first"));
    }
    let mut bytes = Vec::new();
    let taken = file.take(most as u64 + 1).read_to_end(&mut bytes);
    taken.map_err(|error| unreadable(path, what, &error))?;
    if bytes.len() > most { Err(too_large(&shown(path), what, most)) } else { Ok(bytes) }
}

fn is_directory(path: &Path, what: &str) -> Failure {
    let message = format!("{} is a directory, not {}", shown(path), with_article(what));
    Failure::new("file-is-directory", message, format!("give the path of the {what} itself"))
}

fn too_large(path: &str, what: &str, most: usize) -> Failure {
    let message = format!("{path} is larger than the {most} bytes that {} may have", with_article(what));
    Failure::new("file-too-large", message, format!("check that this is the {what} you meant"))
}

/// Reads a whole text file; see [`read`].
pub fn read_text(path: &Path, what: &str, most: usize) -> Outcome<String> {
    String::from_utf8(read(path, what, most)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let message = format!("{} is no text: byte {at} is not UTF-8", shown(path));
        Failure::new("file-not-text", message, format!("check that this is the {what} you meant"))
    })
}

/// Reads the lines of a file one by one.
pub struct Lines {
    input: Box<dyn BufRead>,
    path: String,
    what: String,
    /// The last line, with its line feed.
    line: Vec<u8>,
    /// Whether that was only looked at.
    is_held: bool,
}

/// One line, and whether a line feed ended it.
pub struct Line<'l> {
    /// The bytes, without the line feed.
    pub bytes: &'l [u8],
    /// Whether it is whole. A line that is longer than any that is allowed is cut, and whole.
    pub ended: bool,
}

impl Lines {
    /// Opens a file of lines of at most [`limits::LINE_BYTES`].
    pub fn open(path: &Path, what: &str) -> Outcome<Self> {
        let input = Box::new(BufReader::with_capacity(1 << 16, open(path, what)?));
        Ok(Self { input, path: shown(path), what: what.to_owned(), line: Vec::new(), is_held: false })
    }

    /// The next line; `None` at the end.
    pub fn next(&mut self) -> Outcome<Option<Line<'_>>> {
        self.hold()?;
        self.is_held = false;
        Ok(self.line())
    }

    /// The next line, which stays the next.
    pub fn peek(&mut self) -> Outcome<Option<Line<'_>>> {
        self.hold()?;
        Ok(self.line())
    }

    /// The bytes of all lines that are left, of which there may be `most`.
    pub fn rest(mut self, most: usize) -> Outcome<Vec<u8>> {
        let mut bytes = if self.is_held { std::mem::take(&mut self.line) } else { Vec::new() };
        let left = (most + 1).saturating_sub(bytes.len());
        let taken = self.input.take(left as u64).read_to_end(&mut bytes);
        taken.map_err(|error| unreadable(Path::new(&self.path), &self.what, &error))?;
        if bytes.len() > most { Err(too_large(&self.path, &self.what, most)) } else { Ok(bytes) }
    }

    /// Reads a line, unless one is held.
    fn hold(&mut self) -> Outcome<()> {
        if self.is_held {
            return Ok(());
        }
        self.line.clear();
        // One byte over the limit and a line feed: enough to see that a line is too long.
        let most = limits::LINE_BYTES as u64 + 2;
        let taken = (&mut self.input).take(most).read_until(b'\n', &mut self.line);
        taken.map_err(|error| unreadable(Path::new(&self.path), &self.what, &error))?;
        self.is_held = true;
        Ok(())
    }

    fn line(&self) -> Option<Line<'_>> {
        let stripped = self.line.strip_suffix(b"\n");
        let bytes = stripped.unwrap_or(&self.line);
        let ended = stripped.is_some() || bytes.len() > limits::LINE_BYTES;
        (!self.line.is_empty()).then_some(Line { bytes, ended })
    }
}

fn open(path: &Path, what: &str) -> Outcome<Box<dyn Read>> {
    if path.as_os_str() == STDIN {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    refuse_named_pipe(path, what)?;
    let file = File::open(path).map_err(|error| unreadable(path, what, &error))?;
    // Opening a directory succeeds on Unix; only reading it fails, with a message that helps nobody.
    if file.metadata().is_ok_and(|found| found.is_dir()) {
        return Err(is_directory(path, what));
    }
    Ok(Box::new(file))
}

/// Nobody may ever write to a named pipe, and opening it waits for that. Pipes without a name, such as /dev/stdin, are open.
#[cfg(unix)]
fn refuse_named_pipe(path: &Path, what: &str) -> Outcome<()> {
    use std::os::unix::fs::FileTypeExt as _;
    // A pipe without a name resolves to no path.
    let named = path.canonicalize().and_then(std::fs::symlink_metadata);
    if !named.is_ok_and(|found| found.file_type().is_fifo()) {
        return Ok(());
    }
    let message = format!("{} is a named pipe, not {}", shown(path), with_article(what));
    Err(Failure::new("file-is-pipe", message, "write it to a file first, or pipe it in and name it -"))
}

#[cfg(not(unix))]
fn refuse_named_pipe(_: &Path, _: &str) -> Outcome<()> {
    Ok(())
}

/// Why a file can't be read.
pub fn unreadable(path: &Path, what: &str, error: &std::io::Error) -> Failure {
    use std::io::ErrorKind;
    let (code, why, hint) = match error.kind() {
        ErrorKind::NotFound => ("file-missing", "does not exist".to_owned(), "check the path"),
        ErrorKind::PermissionDenied => {
            ("file-permission", "may not be read by this user".to_owned(), "check its owner and mode")
        }
        _ => ("file-unreadable", format!("could not be read: {error}"), "check the disk and the path"),
    };
    Failure::new(code, format!("the {what} {} {why}", shown(path)), hint)
}

/// A path for a message.
pub fn shown(path: &Path) -> String {
    if path.as_os_str() == STDIN {
        return "standard input".to_owned();
    }
    shortened(&printable(&path.display().to_string()), SHOWN_CHARS)
}
