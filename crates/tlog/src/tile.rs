//! Tiles and entry bundles: a tree and its entries as immutable files (C2SP tlog-tiles).
//!
//! A tile at level *l* is up to 256 consecutive hashes of complete subtrees of 256^*l* leaves; an entry bundle is the
//! entries behind a tile of level 0.

use std::fmt;
use std::str::FromStr;

use crate::checkpoint::parse_decimal;
use crate::hash::{Hash, node_hash};
use crate::limits;
use crate::tree::{HashReader, TreeSize};

/// Hashes of a full tile, and entries of a full bundle.
pub const WIDTH: u16 = 256;

/// The place of a tile or of an entry bundle, relative to the prefix of the log.
///
/// ```
/// use counterfoil_tlog::tile::TilePath;
///
/// let path: TilePath = "tile/0/x001/x234/067.p/12".parse()?;
/// assert_eq!((path.level(), path.index(), path.width()), (Some(0), 1_234_067, 12));
/// assert_eq!(path.to_string(), "tile/0/x001/x234/067.p/12");
/// # Ok::<(), counterfoil_tlog::tile::TileError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TilePath {
    /// `None` for an entry bundle.
    level: Option<u8>,
    index: u64,
    width: u16,
}

impl TilePath {
    /// The tile with `width` hashes, 1 to 256, at `index` of `level`.
    ///
    /// # Errors
    /// [`TileError::BadPath`] if there can't be such a tile in a tree of at most [`limits::TREE_SIZE`] leaves.
    pub fn tile(level: u8, index: u64, width: u16) -> Result<Self, TileError> {
        Self { level: Some(level), index, width }.checked()
    }

    /// The bundle with `width` entries, 1 to 256, at `index`.
    ///
    /// # Errors
    /// [`TileError::BadPath`] if there can't be such a bundle.
    pub fn entries(index: u64, width: u16) -> Result<Self, TileError> {
        Self { level: None, index, width }.checked()
    }

    /// The level of a tile; `None` for an entry bundle.
    pub const fn level(&self) -> Option<u8> {
        self.level
    }

    /// The place among the tiles of the level, or among the bundles.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The number of hashes or entries.
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// Whether there will be a wider one at the same place.
    pub const fn is_partial(&self) -> bool {
        self.width < WIDTH
    }

    /// The full tile or bundle at the same place, which a log may serve instead once it exists.
    pub const fn to_full(self) -> Self {
        Self { width: WIDTH, ..self }
    }

    fn checked(self) -> Result<Self, TileError> {
        let level = self.level.unwrap_or(0);
        let end =
            self.index.checked_mul(u64::from(WIDTH)).and_then(|start| start.checked_add(self.width.into()));
        let is_in_largest_tree = end.is_some_and(|end| end <= nodes(limits::TREE_SIZE, level));
        if self.width == 0 || self.width > WIDTH || !is_in_largest_tree {
            return Err(TileError::BadPath { path: self.to_string() });
        }
        Ok(self)
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            Some(level) => write!(f, "tile/{level}/")?,
            None => f.write_str("tile/entries/")?,
        }
        let mut divisor = 1;
        while self.index / divisor >= 1000 {
            divisor *= 1000;
        }
        while divisor > 1 {
            write!(f, "x{:03}/", self.index / divisor % 1000)?;
            divisor /= 1000;
        }
        write!(f, "{:03}", self.index % 1000)?;
        if self.is_partial() { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

impl FromStr for TilePath {
    type Err = TileError;

    fn from_str(text: &str) -> Result<Self, TileError> {
        let bad = || TileError::BadPath { path: text.to_owned() };
        let path = parse_path(text).ok_or_else(bad)?.checked()?;
        // Every other spelling of the same place falls here.
        if path.to_string() == text { Ok(path) } else { Err(bad()) }
    }
}

fn parse_path(text: &str) -> Option<TilePath> {
    let (level, place) = text.strip_prefix("tile/")?.split_once('/')?;
    let level = if level == "entries" { None } else { Some(level.parse().ok()?) };
    let (place, width) = match place.split_once(".p/") {
        Some((place, width)) => (place, parse_decimal(width)?.try_into().ok()?),
        None => (place, WIDTH),
    };
    let mut index: u64 = 0;
    for group in place.split('/') {
        let digits = group.strip_prefix('x').unwrap_or(group);
        index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
    }
    Some(TilePath { level, index, width })
}

/// The number of complete subtrees of 256^`level` leaves in a tree of `size` leaves.
fn nodes(size: u64, level: u8) -> u64 {
    size.checked_shr(8 * u32::from(level)).unwrap_or(0)
}

/// All tiles of the tree of `size` leaves, by level and index.
pub fn tiles(size: TreeSize) -> impl Iterator<Item = TilePath> {
    new_tiles(TreeSize(0), size)
}

/// The tiles of the tree of `new` leaves that the tree of `old` leaves does not have: what a log writes when it grows.
pub fn new_tiles(old: TreeSize, new: TreeSize) -> impl Iterator<Item = TilePath> {
    (0..8).flat_map(move |level| grown(Some(level), nodes(old.0, level), nodes(new.0, level)))
}

/// All entry bundles of the log of `size` entries.
pub fn entry_bundles(size: TreeSize) -> impl Iterator<Item = TilePath> {
    new_entry_bundles(TreeSize(0), size)
}

/// The entry bundles of the log of `new` entries that the log of `old` entries does not have.
pub fn new_entry_bundles(old: TreeSize, new: TreeSize) -> impl Iterator<Item = TilePath> {
    grown(None, old.0, new.0)
}

/// The places where a row of `old` items changes as it becomes one of `new` items.
fn grown(level: Option<u8>, old: u64, new: u64) -> impl Iterator<Item = TilePath> {
    let width = u64::from(WIDTH);
    let places = if old < new { old / width..new.div_ceil(width) } else { 0..0 };
    places.map(move |index| TilePath { level, index, width: (new - index * width).min(width) as u16 })
}

/// The tile of a tree of `size` leaves in which the root over the leaves `index`·2^`level` .. stands or is computed
/// from; `None` if the subtree is not complete in that tree.
pub fn tile_of_node(level: u8, index: u64, size: TreeSize) -> Option<TilePath> {
    let (tile_level, height) = (level / 8, level % 8);
    let row = nodes(size.0, tile_level);
    let end = index.checked_add(1)?.checked_mul(1 << height)?;
    if end > row {
        return None;
    }
    let place = (end - 1) / u64::from(WIDTH);
    let width = (row - place * u64::from(WIDTH)).min(WIDTH.into()) as u16;
    Some(TilePath { level: Some(tile_level), index: place, width })
}

/// Reads the hashes of a tree of one size from its tiles, which `fetch` finds.
///
/// Nothing here checks that the tiles are authentic: a root or proof made from them has to be compared with a signed
/// head. A caller that must wait for tiles makes `fetch` fail with the path, gets the tile, and tries again.
///
/// ```
/// use counterfoil_tlog::tile::{TilePath, TileReader, encode_tile};
/// use counterfoil_tlog::{LeafIndex, MemoryTree, TreeSize, inclusion, leaf_hash};
///
/// let leaves = [b"a", b"b", b"c"].map(|entry| leaf_hash(entry));
/// let fetch = |path: &TilePath| match path.to_string().as_str() {
///     "tile/0/000.p/3" => Ok(encode_tile(&leaves)),
///     _ => Err(std::io::Error::other("no such tile")),
/// };
/// let proof = inclusion::prove(LeafIndex(1), TreeSize(3), &TileReader::new(TreeSize(3), fetch))?;
/// let tree: MemoryTree = leaves.into_iter().collect();
/// inclusion::verify(leaves[1], LeafIndex(1), &proof, &tree.head())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct TileReader<F> {
    size: TreeSize,
    fetch: F,
}

impl<F, T, E> TileReader<F>
where
    F: Fn(&TilePath) -> Result<T, E>,
    T: AsRef<[u8]>,
{
    /// The reader of the tree of `size` leaves.
    pub const fn new(size: TreeSize, fetch: F) -> Self {
        Self { size, fetch }
    }
}

impl<F, T, E> HashReader for TileReader<F>
where
    F: Fn(&TilePath) -> Result<T, E>,
    T: AsRef<[u8]>,
{
    type Error = TileReadError<E>;

    fn node(&self, level: u8, index: u64) -> Result<Hash, TileReadError<E>> {
        let path = tile_of_node(level, index, self.size);
        let path =
            path.ok_or(TileReadError::Tile(TileError::NoSuchNode { level, index, size: self.size }))?;
        let bytes = (self.fetch)(&path).map_err(TileReadError::Fetch)?;
        let mut row = decode_tile(&path, bytes.as_ref())?;
        // Within the tile the node covers 2^height hashes; pairwise hashing leaves one.
        let count = 1 << (level % 8);
        let start = (index * count % u64::from(WIDTH)) as usize;
        row = row[start..start + count as usize].to_vec();
        while let [_, _, ..] = row.as_slice() {
            row = row.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
        }
        row.pop().ok_or(TileReadError::Tile(TileError::NoSuchNode { level, index, size: self.size }))
    }
}

/// The bytes of a tile: its hashes, one after another.
pub fn encode_tile(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// The hashes of the tile at `path`.
///
/// # Errors
/// [`TileError::WrongTileLength`] unless there are exactly as many as the path says.
pub fn decode_tile(path: &TilePath, bytes: &[u8]) -> Result<Vec<Hash>, TileError> {
    let expected = usize::from(path.width) * Hash::LEN;
    let (hashes, rest) = bytes.as_chunks::<{ Hash::LEN }>();
    if !rest.is_empty() || bytes.len() != expected {
        return Err(TileError::WrongTileLength { path: *path, expected, found: bytes.len() });
    }
    Ok(hashes.iter().copied().map(Hash::new).collect())
}

/// The bytes of an entry bundle: each entry after its length as two big-endian bytes.
///
/// # Errors
/// [`TileError::EntryTooLong`] over [`limits::ENTRY_BYTES`], [`TileError::TooManyEntries`] over [`WIDTH`].
pub fn encode_entries<T: AsRef<[u8]>>(entries: &[T]) -> Result<Vec<u8>, TileError> {
    if entries.len() > WIDTH.into() {
        return Err(TileError::TooManyEntries { found: entries.len() });
    }
    let mut bundle = Vec::with_capacity(entries.iter().map(|entry| entry.as_ref().len() + 2).sum());
    for (position, entry) in entries.iter().map(AsRef::as_ref).enumerate() {
        let len =
            u16::try_from(entry.len()).map_err(|_| TileError::EntryTooLong { position, len: entry.len() })?;
        bundle.extend(len.to_be_bytes());
        bundle.extend(entry);
    }
    Ok(bundle)
}

/// The entries of the bundle at `path`.
///
/// # Errors
/// [`TileError::BadBundle`] unless there are exactly as many as the path says, and nothing after them.
pub fn decode_entries<'b>(path: &TilePath, bytes: &'b [u8]) -> Result<Vec<&'b [u8]>, TileError> {
    let mut entries = Vec::with_capacity(path.width.into());
    let mut rest = bytes;
    for _ in 0..path.width {
        let split = rest
            .split_first_chunk()
            .and_then(|(len, rest)| rest.split_at_checked(u16::from_be_bytes(*len).into()));
        let Some((entry, after)) = split else {
            return Err(TileError::BadBundle { path: *path, at: bytes.len() - rest.len() });
        };
        entries.push(entry);
        rest = after;
    }
    if !rest.is_empty() {
        return Err(TileError::BadBundle { path: *path, at: bytes.len() - rest.len() });
    }
    Ok(entries)
}

/// Why a path or the bytes behind it are wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TileError {
    /// No log has a tile or bundle of this path.
    #[error("{path:?} is no path of a tile or entry bundle")]
    BadPath {
        /// The path given.
        path: String,
    },
    /// The subtree is not complete in the tree.
    #[error("a tree of {size} leaves has no complete subtree {index} at level {level}")]
    NoSuchNode {
        /// The height of the subtree.
        level: u8,
        /// Its place among the subtrees of this height.
        index: u64,
        /// The size of the tree.
        size: TreeSize,
    },
    /// A tile does not hold the hashes that its path says.
    #[error("{path} has {found} bytes, not {expected}")]
    WrongTileLength {
        /// The tile.
        path: TilePath,
        /// The length in bytes that its width leads to.
        expected: usize,
        /// The length given.
        found: usize,
    },
    /// A bundle ends too early or too late.
    #[error("{path} does not hold {} entries: wrong at byte {at}", path.width)]
    BadBundle {
        /// The bundle.
        path: TilePath,
        /// The offset of the first byte that does not fit.
        at: usize,
    },
    /// An entry is over [`limits::ENTRY_BYTES`].
    #[error("entry {position} has {len} bytes; the limit is {}", limits::ENTRY_BYTES)]
    EntryTooLong {
        /// Its position in the bundle.
        position: usize,
        /// Its length in bytes.
        len: usize,
    },
    /// More entries than a bundle holds.
    #[error("a bundle holds {WIDTH} entries, not {found}")]
    TooManyEntries {
        /// The number given.
        found: usize,
    },
}

impl TileError {
    /// A stable name for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::BadPath { .. } => "tile-bad-path",
            Self::NoSuchNode { .. } => "tile-no-such-node",
            Self::WrongTileLength { .. } => "tile-wrong-length",
            Self::BadBundle { .. } => "tile-bad-bundle",
            Self::EntryTooLong { .. } => "tile-entry-too-long",
            Self::TooManyEntries { .. } => "tile-too-many-entries",
        }
    }
}

/// Why a [`TileReader`] could not read a hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TileReadError<E> {
    /// The tile could not be fetched.
    #[error("could not fetch a tile")]
    Fetch(#[source] E),
    /// The tile is wrong, or there is none.
    #[error(transparent)]
    Tile(#[from] TileError),
}
