//! The tiles of a signed tree, from the root down: each is authenticated before anything below it is.
//!
//! The tiles at the right edge give the root, which the log signed; every other tile gives a hash of the tile above it. So a
//! tile that is wrong is known by its path, and what it should have been is made again from the files below it.

use std::sync::Arc;

use counterfoil_tlog::{
    Frontier, Hash, HashReader, TreeHead, TreeSize, leaf_hash, node_hash,
    tile::{TileError, TilePath, WIDTH, decode_entries, decode_tile, tile_of_node},
};

use crate::{
    finding::Finding,
    source::{Source, SourceError},
};

/// The hashes of a tile.
pub(crate) type Row = Arc<[Hash]>;

/// The tiles of one signed tree.
pub(crate) struct Tree<'s> {
    source: &'s Source,
    head: TreeHead,
    /// For each level the row of its partial tile, empty if the last one is full.
    edge: Vec<Row>,
    /// The last full tile of each level that was asked for; `None` if nothing gives the hashes that it must have.
    last: Vec<Option<(u64, Option<Row>)>>,
}

/// What authenticates a tile of level 0, and so the bundle behind it.
#[derive(Clone, Debug)]
pub(crate) enum Expected {
    /// Its leaf hashes, of the partial tile.
    Row(Row),
    /// The root over its 256 leaf hashes.
    Root(Hash),
    /// Nothing: a tile above it is lost.
    Unknown,
}

impl<'s> Tree<'s> {
    /// Reads the right edge of the tree that `head` signs. What was wrong and could be made again is added to `damage`.
    ///
    /// # Errors
    /// [`SourceError`] if the source can't be asked.
    pub(crate) fn open(
        source: &'s Source,
        head: TreeHead,
        damage: &mut Vec<Finding>,
    ) -> Result<Option<Self>, SourceError> {
        let levels = (0..8).take_while(|level| row_width(head.size, *level) > 0).count();
        let (mut edge, mut faults) = (Vec::new(), Vec::new());
        for level in 0..levels as u8 {
            match edge_path(head.size, level) {
                None => edge.push(Some(Arc::from([]))),
                Some(path) => match tile(source, &path)? {
                    Ok(row) => edge.push(Some(row)),
                    Err(fault) => {
                        faults.push(fault);
                        edge.push(None);
                    }
                },
            }
        }
        let whole: Option<Vec<Row>> = edge.iter().cloned().collect();
        let edge = match whole.filter(|edge| root(head.size, edge) == Some(head.root)) {
            Some(edge) => edge,
            None => match mended(source, head, &edge, damage)? {
                Some(edge) => edge,
                None => {
                    damage.append(&mut faults);
                    damage.push(Finding::root_unexplained(head));
                    return Ok(None);
                }
            },
        };
        Ok(Some(Self { source, head, last: vec![None; edge.len()], edge }))
    }

    /// What authenticates the tile of level 0 at `index`.
    ///
    /// # Errors
    /// [`SourceError`] if the source can't be asked.
    pub(crate) fn expected(
        &mut self,
        index: u64,
        damage: &mut Vec<Finding>,
    ) -> Result<Expected, SourceError> {
        if self.is_edge(0, index) {
            return Ok(Expected::Row(Arc::clone(&self.edge[0])));
        }
        Ok(self.node(0, index, damage)?.map_or(Expected::Unknown, Expected::Root))
    }

    /// The authentic hashes of a tile; `None` if they are lost.
    ///
    /// # Errors
    /// [`SourceError`] if the source can't be asked.
    pub(crate) fn row(
        &mut self,
        level: u8,
        index: u64,
        damage: &mut Vec<Finding>,
    ) -> Result<Option<Row>, SourceError> {
        if self.is_edge(level, index) {
            return Ok(self.edge.get(usize::from(level)).cloned());
        }
        if let Some((_, row)) = self.last[usize::from(level)].as_ref().filter(|(last, _)| *last == index) {
            return Ok(row.clone());
        }
        let row = match self.node(level, index, damage)? {
            None => None,
            Some(expected) => self.full_row(level, index, expected, damage)?,
        };
        self.last[usize::from(level)] = Some((index, row.clone()));
        Ok(row)
    }

    /// The authentic root over a full tile.
    fn node(
        &mut self,
        level: u8,
        index: u64,
        damage: &mut Vec<Finding>,
    ) -> Result<Option<Hash>, SourceError> {
        let row = self.row(level + 1, index / u64::from(WIDTH), damage)?;
        Ok(row.and_then(|row| row.get((index % u64::from(WIDTH)) as usize).copied()))
    }

    fn full_row(
        &self,
        level: u8,
        index: u64,
        expected: Hash,
        damage: &mut Vec<Finding>,
    ) -> Result<Option<Row>, SourceError> {
        let Ok(path) = TilePath::tile(level, index, WIDTH) else { return Ok(None) };
        let fault = match tile(self.source, &path)? {
            Ok(row) if tile_root(&row) == expected => return Ok(Some(row)),
            Ok(row) => Finding::wrong_tile(&path, expected, tile_root(&row)),
            Err(fault) => fault,
        };
        damage.push(fault);
        let rebuilt = rebuilt(self.source, &path, self.head.size)?;
        Ok(rebuilt.filter(|row| tile_root(row) == expected))
    }

    fn is_edge(&self, level: u8, index: u64) -> bool {
        index == row_width(self.head.size, level) / u64::from(WIDTH)
    }
}

/// The root over the hashes of a full tile.
pub(crate) fn tile_root(row: &[Hash]) -> Hash {
    let mut row = row.to_vec();
    while row.len() > 1 {
        row = row
            .chunks(2)
            .map(|pair| pair.get(1).map_or(pair[0], |right| node_hash(&pair[0], right)))
            .collect();
    }
    row.pop().unwrap_or(counterfoil_tlog::EMPTY_ROOT)
}

/// The hashes of a tile as served; what is wrong with its form is damage.
pub(crate) fn tile(source: &Source, path: &TilePath) -> Result<Result<Row, Finding>, SourceError> {
    match source.tile(path) {
        Ok(bytes) => {
            Ok(decode_tile(path, &bytes).map(Arc::from).map_err(|why| Finding::malformed(path, &why)))
        }
        Err(error) if error.is_damage() => Ok(Err(Finding::unfetched(path, &error))),
        Err(error) => Err(error),
    }
}

/// The number of hashes of a level.
pub(crate) fn row_width(size: TreeSize, level: u8) -> u64 {
    size.0.checked_shr(8 * u32::from(level)).unwrap_or(0)
}

/// The partial tile of a level.
pub(crate) fn edge_path(size: TreeSize, level: u8) -> Option<TilePath> {
    let row = row_width(size, level);
    let width = (row % u64::from(WIDTH)) as u16;
    TilePath::tile(level, row / u64::from(WIDTH), width).ok()
}

/// The file of the current tree at the place of a partial one; `None` if the place is not in that tree.
pub(crate) fn current_width(path: &TilePath, size: TreeSize) -> Option<TilePath> {
    let level = path.level().unwrap_or(0);
    let full = row_width(size, level) / u64::from(WIDTH);
    if path.index() < full {
        return Some(path.to_full());
    }
    let edge = edge_path(size, level).filter(|edge| edge.index() == path.index())?;
    match path.level() {
        Some(_) => Some(edge),
        None => TilePath::entries(edge.index(), edge.width()).ok(),
    }
}

/// The edge with as few rows as possible made again from below, so that it gives the root.
fn mended(
    source: &Source,
    head: TreeHead,
    edge: &[Option<Row>],
    damage: &mut Vec<Finding>,
) -> Result<Option<Vec<Row>>, SourceError> {
    let mut below = Vec::new();
    for level in 0..edge.len() as u8 {
        below.push(match edge_path(head.size, level) {
            Some(path) => rebuilt(source, &path, head.size)?,
            None => None,
        });
    }
    let mut masks: Vec<u32> = (0..1 << edge.len()).collect();
    masks.sort_by_key(|mask| mask.count_ones());
    for mask in masks {
        let taken = |level: usize| if mask >> level & 1 == 1 { &below[level] } else { &edge[level] };
        let Some(rows) = (0..edge.len()).map(|level| taken(level).clone()).collect::<Option<Vec<_>>>() else {
            continue;
        };
        if root(head.size, &rows) != Some(head.root) {
            continue;
        }
        for level in (0..edge.len()).filter(|level| mask >> level & 1 == 1) {
            if let Some(path) = edge_path(head.size, level as u8) {
                damage.push(match tile(source, &path)? {
                    Ok(_) => Finding::wrong_edge(&path, head),
                    Err(fault) => fault,
                });
            }
        }
        return Ok(Some(rows));
    }
    Ok(None)
}

/// The hashes that a tile must have by the files below it; `None` if one of these is lost.
fn rebuilt(source: &Source, path: &TilePath, size: TreeSize) -> Result<Option<Row>, SourceError> {
    let Some(level) = path.level() else { return Ok(None) };
    let Some(below) = level.checked_sub(1) else {
        let Ok(bundle) = TilePath::entries(path.index(), path.width()) else { return Ok(None) };
        return match source.tile(&bundle) {
            Ok(bytes) => Ok(leaves(&bundle, &bytes).ok().map(Arc::from)),
            Err(error) if error.is_damage() => Ok(None),
            Err(error) => Err(error),
        };
    };
    debug_assert!(path.index() * u64::from(WIDTH) < row_width(size, level));
    let mut row = Vec::with_capacity(path.width().into());
    for place in 0..u64::from(path.width()) {
        let Ok(child) = TilePath::tile(below, path.index() * u64::from(WIDTH) + place, WIDTH) else {
            return Ok(None);
        };
        match tile(source, &child)? {
            Ok(hashes) => row.push(tile_root(&hashes)),
            Err(_) => return Ok(None),
        }
    }
    Ok(Some(Arc::from(row)))
}

/// The leaf hashes of a bundle.
pub(crate) fn leaves(path: &TilePath, bundle: &[u8]) -> Result<Vec<Hash>, TileError> {
    Ok(decode_entries(path, bundle)?.into_iter().map(leaf_hash).collect())
}

/// The root that the rows of the right edge give.
fn root(size: TreeSize, edge: &[Row]) -> Option<Hash> {
    Frontier::read(size, &Edge { size, rows: edge }).ok().map(|frontier| frontier.root())
}

/// The hashes at the right edge of a tree: all that its root needs.
struct Edge<'e> {
    size: TreeSize,
    rows: &'e [Row],
}

impl HashReader for Edge<'_> {
    type Error = TileError;

    fn node(&self, level: u8, index: u64) -> Result<Hash, TileError> {
        let missing = TileError::NoSuchNode { level, index, size: self.size };
        let is_edge =
            |path: &TilePath| path.level().and_then(|level| edge_path(self.size, level)) == Some(*path);
        let Some(path) = tile_of_node(level, index, self.size).filter(is_edge) else { return Err(missing) };
        let count = 1_usize << (level % 8);
        let start = (index % (u64::from(WIDTH) >> (level % 8))) as usize * count;
        let row = path.level().and_then(|level| self.rows.get(usize::from(level)));
        let row = row.and_then(|row| row.get(start..start + count)).ok_or(missing)?;
        Ok(tile_root(row))
    }
}
