//! Where a log is read from: a C2SP tlog-tiles URL, or a directory laid out the same way.
//!
//! Nothing that comes from here is trusted. A partial tile that is gone is taken from the full one, as C2SP tlog-tiles says.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

use counterfoil_tlog::{
    Hash,
    tile::{TilePath, decode_entries, decode_tile, encode_entries, encode_tile},
};

use crate::{CHECKPOINT, http::Http, limits};

/// A log's files, by URL or in a directory.
#[derive(Debug)]
pub struct Source(Place);

#[derive(Debug)]
enum Place {
    Http(Http),
    Directory(PathBuf),
    /// A canonical path; what a link has elsewhere is not read.
    Contained(PathBuf),
}

/// Why a file of a log could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The source says that there is no such file.
    #[error("{path} is missing")]
    Missing {
        /// Which file.
        path: String,
    },
    /// There is a file, and it can't be the one asked for.
    #[error("{path}: {why}")]
    Malformed {
        /// Which file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The source could not be asked.
    #[error("{path}: {why}")]
    Unreachable {
        /// Which URL or file.
        path: String,
        /// Why.
        why: String,
    },
    /// The source refuses to say.
    #[error("{path}: HTTP {status}")]
    Refused {
        /// Which URL.
        path: String,
        /// The status.
        status: u16,
    },
    /// This is no place that a log could be read from.
    #[error("{0}")]
    Misuse(String),
}

impl SourceError {
    /// A stable name for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "source-missing",
            Self::Malformed { .. } => "source-malformed",
            Self::Unreachable { .. } => "source-unreachable",
            Self::Refused { .. } => "source-refused",
            Self::Misuse(_) => "source-misuse",
        }
    }

    /// Whether the source answered, and what it answered is wrong: damage, not an obstacle.
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::Malformed { .. } => true,
            Self::Unreachable { .. } | Self::Refused { .. } | Self::Misuse(_) => false,
        }
    }
}

impl Source {
    /// The log at a URL that begins with `http://` or `https://`, read with `token` if there is one, or else in a directory.
    ///
    /// # Errors
    /// [`SourceError::Misuse`] for a URL or token that can't be one, or a directory that is none.
    pub fn new(place: &str, token: Option<&str>) -> Result<Self, SourceError> {
        if place.starts_with("http://") || place.starts_with("https://") {
            return Ok(Self(Place::Http(Http::new(place, token)?)));
        }
        if place.contains("://") {
            return Err(SourceError::Misuse(format!(
                "{place:?} is neither an http or https address nor a path"
            )));
        }
        Self::directory(Path::new(place))
    }

    /// The log in a directory.
    ///
    /// # Errors
    /// [`SourceError::Misuse`] if it is none.
    pub fn directory(path: &Path) -> Result<Self, SourceError> {
        if !path.is_dir() {
            return Err(SourceError::Misuse(format!("{} is no directory", path.display())));
        }
        Ok(Self(Place::Directory(path.to_owned())))
    }

    /// The log in a directory, of which nothing is read that a link has elsewhere.
    ///
    /// # Errors
    /// [`SourceError::Misuse`] if it is none.
    pub(crate) fn contained(path: &Path) -> Result<Self, SourceError> {
        Self::directory(path)?;
        let wrong = |error| SourceError::Misuse(format!("{}: {error}", path.display()));
        Ok(Self(Place::Contained(path.canonicalize().map_err(wrong)?)))
    }

    /// The bytes of the checkpoint.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn checkpoint(&self) -> Result<Vec<u8>, SourceError> {
        self.fetch(CHECKPOINT, limits::CHECKPOINT_BYTES)
    }

    /// The bytes of a tile or entry bundle, of exactly the width of `path`; their content is not checked.
    ///
    /// # Errors
    /// [`SourceError`]; of a partial one only if the full one, too, can't be had.
    pub fn tile(&self, path: &TilePath) -> Result<Vec<u8>, SourceError> {
        let limit = if path.level().is_some() { limits::TILE_BYTES } else { limits::BUNDLE_BYTES };
        let bytes = match self.fetch(&path.to_string(), limit) {
            Err(missing @ SourceError::Missing { .. }) if path.is_partial() => {
                let full = path.to_full();
                match self.fetch(&full.to_string(), limit) {
                    Ok(bytes) => truncated(path, &full, &bytes)?,
                    Err(SourceError::Missing { .. }) => return Err(missing),
                    Err(other) => return Err(other),
                }
            }
            fetched => fetched?,
        };
        if path.level().is_some() && bytes.len() != usize::from(path.width()) * Hash::LEN {
            let expected = usize::from(path.width()) * Hash::LEN;
            return Err(malformed(path, format!("has {} bytes, not {expected}", bytes.len())));
        }
        Ok(bytes)
    }

    /// What it is called in messages.
    pub fn name(&self) -> String {
        match &self.0 {
            Place::Http(http) => http.name().to_owned(),
            Place::Directory(path) | Place::Contained(path) => path.display().to_string(),
        }
    }

    fn fetch(&self, path: &str, limit: usize) -> Result<Vec<u8>, SourceError> {
        match &self.0 {
            Place::Http(http) => http.get(path, limit),
            Place::Directory(directory) => read(&directory.join(path), path, limit),
            Place::Contained(directory) => {
                let file = directory.join(path).canonicalize().map_err(|io| unreadable(path, path, &io))?;
                if !file.starts_with(directory) {
                    let why = "is a link out of the directory".to_owned();
                    return Err(SourceError::Malformed { path: path.to_owned(), why });
                }
                read(&file, path, limit)
            }
        }
    }
}

fn malformed(path: &TilePath, why: impl Into<String>) -> SourceError {
    SourceError::Malformed { path: path.to_string(), why: why.into() }
}

/// The first hashes or entries of a tile or bundle that is as wide or wider.
pub(crate) fn truncated(path: &TilePath, of: &TilePath, bytes: &[u8]) -> Result<Vec<u8>, SourceError> {
    debug_assert!(path.width() <= of.width());
    if path.level().is_some() {
        let hashes = decode_tile(of, bytes).map_err(|why| malformed(of, why.to_string()))?;
        return Ok(encode_tile(&hashes[..usize::from(path.width())]));
    }
    let entries = decode_entries(of, bytes).map_err(|why| malformed(of, why.to_string()))?;
    encode_entries(&entries[..usize::from(path.width())]).map_err(|why| malformed(of, why.to_string()))
}

fn read(file: &Path, path: &str, limit: usize) -> Result<Vec<u8>, SourceError> {
    let shown = file.display().to_string();
    let unreadable = |error: std::io::Error| unreadable(path, &shown, &error);
    // Nobody may ever write to a named pipe, and opening it waits for that.
    if !std::fs::metadata(file).map_err(unreadable)?.is_file() {
        return Err(SourceError::Malformed { path: path.to_owned(), why: "is no file".to_owned() });
    }
    let mut bytes = Vec::new();
    let opened = File::open(file).map_err(unreadable)?;
    opened.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > limit {
        return Err(SourceError::Malformed {
            path: path.to_owned(),
            why: format!("has more than {limit} bytes"),
        });
    }
    Ok(bytes)
}

/// Why a file, which messages name as `shown`, can't be read.
fn unreadable(path: &str, shown: &str, error: &std::io::Error) -> SourceError {
    match error.kind() {
        // `000/x` where `000` is a file: there is no such file either.
        ErrorKind::NotFound | ErrorKind::NotADirectory => SourceError::Missing { path: path.to_owned() },
        _ => SourceError::Unreachable { path: shown.to_owned(), why: error.to_string() },
    }
}
