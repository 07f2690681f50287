//! Reading and writing key files: private to their owner, never overwritten, durable.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::Path,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::{
    error::KeyFileError,
    toml::{TomlFault, parse_toml},
};

/// Bytes of a key file: the longest vkey (ML-DSA-44) has 2 KB.
const FILE_BYTES: u64 = 16_384;

/// A 32-byte seed, wiped when dropped.
pub(crate) type Seed = Zeroizing<[u8; 32]>;

/// Reads a key file that only its owner can read.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, KeyFileError> {
    let failed = |doing| move |io| KeyFileError::File { doing, path: path.to_owned(), io };
    let file = File::open(path).map_err(failed("open"))?;
    // Opening a directory succeeds on Unix.
    if file.metadata().map_err(failed("inspect"))?.is_dir() {
        return Err(failed("read")(io::ErrorKind::IsADirectory.into()));
    }
    refuse_if_open_to_others(&file, path)?;
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_BYTES + 1).read_to_string(&mut text).map_err(|io| match io.kind() {
        io::ErrorKind::InvalidData => wrong(path, "it is no text"),
        _ => failed("read")(io),
    })?;
    if text.len() as u64 > FILE_BYTES {
        return Err(wrong(path, format!("more than {FILE_BYTES} bytes")));
    }
    parse_toml(&text).map_err(|TomlFault { line, reason }| KeyFileError::Wrong {
        path: path.to_owned(),
        line,
        reason,
    })
}

/// Writes a new key file, durably, for its owner alone.
pub(crate) fn write<T: Serialize>(path: &Path, key: &T) -> Result<(), KeyFileError> {
    let failed = |doing| move |io| KeyFileError::File { doing, path: path.to_owned(), io };
    let text = ::toml::to_string(key).map(Zeroizing::new).map_err(|fault| wrong(path, fault.to_string()))?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(|io| match io.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists { path: path.to_owned() },
        _ => KeyFileError::File { doing: "create", path: path.to_owned(), io },
    })?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed("write"))?;
    sync_directory_of(path).map_err(failed("sync the directory of"))
}

/// The file is wrong, for this reason.
pub(crate) fn wrong(path: &Path, reason: impl Into<String>) -> KeyFileError {
    KeyFileError::Wrong { path: path.to_owned(), line: None, reason: reason.into() }
}

/// The one spelling of a seed.
pub(crate) fn encode_seed(seed: &Seed) -> Zeroizing<String> {
    Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(**seed))
}

/// Reads the one spelling of a seed.
pub(crate) fn decode_seed(text: &str, path: &Path) -> Result<Seed, KeyFileError> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map(Zeroizing::new).ok();
    let seed = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok()).map(Zeroizing::new);
    seed.ok_or_else(|| wrong(path, "secret is not unpadded base64url of 32 bytes"))
}

#[cfg(unix)]
fn refuse_if_open_to_others(file: &File, path: &Path) -> Result<(), KeyFileError> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata =
        file.metadata().map_err(|io| KeyFileError::File { doing: "inspect", path: path.to_owned(), io })?;
    match metadata.mode() & 0o077 {
        0 => Ok(()),
        _ => Err(KeyFileError::OpenToOthers { path: path.to_owned(), mode: metadata.mode() }),
    }
}

/// Other systems have no such bits; there the directory has to be private.
#[cfg(not(unix))]
fn refuse_if_open_to_others(_: &File, _: &Path) -> Result<(), KeyFileError> {
    Ok(())
}

#[cfg(unix)]
fn sync_directory_of(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory_of(_: &Path) -> io::Result<()> {
    Ok(())
}
