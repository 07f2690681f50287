//! Writing: standard output that a closed pipe does not break, and files that are whole or absent.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use crate::{
    error::{Failure, Outcome},
    input::shown,
};

/// Writes text to standard output. A reader who went away is no failure: they have seen what they wanted.
pub fn print(text: &str) -> Outcome<()> {
    print_bytes(text.as_bytes())
}

/// Writes bytes to standard output; see `print`.
pub fn print_bytes(bytes: &[u8]) -> Outcome<()> {
    write_out(bytes).map(|_| ())
}

/// Writes text to standard output; `false` if the reader went away, for whoever would go on for ever.
pub fn print_while_read(text: &str) -> Outcome<bool> {
    write_out(text.as_bytes())
}

fn write_out(bytes: &[u8]) -> Outcome<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(
            "output-failed",
            format!("standard output could not be written: {error}"),
            "check the disk that it goes to",
        )),
    }
}

/// Writes text to standard error: progress, questions, warnings. That nobody reads it is no failure.
pub fn note(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// Writes a JSON value and a line feed to standard output.
pub fn print_json(value: &serde_json::Value) -> Outcome<()> {
    print(&format!("{value:#}\n"))
}

/// Writes `bytes` to `path`, or to standard output for `-`. The file is there whole or not at all.
///
/// What is there already is never replaced: it may be a key, a trust file, or the very evidence that is being looked at.
pub fn write(path: &Path, bytes: &[u8]) -> Outcome<()> {
    if path.as_os_str() == "-" {
        return print_bytes(bytes);
    }
    if path.is_dir() {
        let message = format!("{} is a directory", shown(path));
        return Err(Failure::new("output-is-directory", message, "give the path of the file to write"));
    }
    let partial = partial_beside(path);
    let written = File::create(&partial)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| place(&partial, path));
    let _ = std::fs::remove_file(&partial);
    written.map_err(|error| unwritable(path, &error))
}

/// Gives a finished file its name, unless something has that name.
fn place(partial: &Path, path: &Path) -> std::io::Result<()> {
    match std::fs::hard_link(partial, path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists && !path.exists() => {
            // Not every file system has links.
            std::fs::rename(partial, path)
        }
        placed => placed,
    }
}

/// Writes a new file that only its owner may read; refuses to replace one.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Outcome<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(|error| unwritable(path, &error))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| {
        let _ = std::fs::remove_file(path);
        unwritable(path, &error)
    })
}

/// The failure that an I/O error at `path` is.
pub fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    let (code, hint) = match error.kind() {
        ErrorKind::AlreadyExists => {
            ("output-exists", "it is never overwritten: choose another path, or move it away")
        }
        ErrorKind::NotFound => ("output-no-directory", "create the directory first"),
        ErrorKind::PermissionDenied => {
            ("output-permission", "choose a directory that this user may write to")
        }
        ErrorKind::StorageFull => ("output-disk-full", "free some space"),
        _ => ("output-failed", "check the disk and the path"),
    };
    Failure::new(code, format!("{} could not be written: {error}", shown(path)), hint)
}

/// A name beside `path` that no other process of this machine uses at the moment.
fn partial_beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.partial", std::process::id()));
    path.with_file_name(name)
}
