//! The hashes of the tree: its right edge in memory, the full tiles on disk.

use std::sync::Arc;

use counterfoil_tlog::tile::WIDTH;
use counterfoil_tlog::{Hash, HashReader, TreeHead, TreeSize, node_hash};

use crate::error::ReadError;
use crate::tiles::Tiles;

/// The hashes of one tile with the inner nodes over them, below the tile's root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Nodes {
    /// `rows[h]` are the roots over 2^h hashes each, left to right; `rows[0]` is the tile.
    rows: [Vec<Hash>; 8],
}

impl Nodes {
    /// The nodes of a tile with these hashes, and its root if it is full.
    pub fn of(hashes: impl IntoIterator<Item = Hash>) -> (Self, Option<Hash>) {
        let (mut nodes, mut root) = (Self::default(), None);
        for hash in hashes {
            root = nodes.push(hash);
        }
        (nodes, root)
    }

    /// The tile.
    pub fn hashes(&self) -> &[Hash] {
        &self.rows[0]
    }

    /// Appends a hash; returns the root if the tile is now full.
    fn push(&mut self, mut hash: Hash) -> Option<Hash> {
        for row in &mut self.rows {
            row.push(hash);
            match row.as_slice() {
                [.., left, right] if row.len().is_multiple_of(2) => hash = node_hash(left, right),
                _ => return None,
            }
        }
        Some(hash)
    }
}

/// Which full tile: level in the sense of tlog-tiles, and place in that level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TileId {
    pub level: u8,
    pub index: u64,
}

/// A tile that became full.
#[derive(Clone, Debug)]
pub(crate) struct FullTile {
    pub id: TileId,
    pub nodes: Arc<Nodes>,
}

/// The right edge: for each level the tile that is not full yet. Cloning it is cheap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edge {
    size: u64,
    /// By level; each may be empty.
    tiles: Vec<Arc<Nodes>>,
}

impl Edge {
    /// The number of leaves.
    pub fn size(&self) -> TreeSize {
        TreeSize(self.size)
    }

    /// Appends an entry by its leaf hash, and the tiles that it fills to `full`.
    pub fn push(&mut self, leaf: Hash, full: &mut Vec<FullTile>) {
        let (mut hash, mut index) = (leaf, self.size);
        self.size += 1;
        for level in 0.. {
            index /= u64::from(WIDTH);
            if self.tiles.len() == level {
                self.tiles.push(Arc::default());
            }
            let tile = &mut self.tiles[level];
            let Some(root) = Arc::make_mut(tile).push(hash) else { break };
            let id = TileId { level: level as u8, index };
            full.push(FullTile { id, nodes: std::mem::take(tile) });
            hash = root;
        }
    }

    /// The head of the tree. It is made from the edge alone: on each level the subtrees that a tree of this size ends with
    /// lie in the tile that is not full.
    pub fn head(&self) -> Option<TreeHead> {
        let root = counterfoil_tlog::root(self.size(), self).ok()?;
        Some(TreeHead { size: self.size(), root })
    }

    /// The tile at the edge, if this is its place.
    fn tile(&self, id: TileId) -> Option<&Nodes> {
        let place = self.size.checked_shr(8 * (u32::from(id.level) + 1)).unwrap_or(0);
        if place != id.index { None } else { self.tiles.get(usize::from(id.level)).map(Arc::as_ref) }
    }
}

/// A node that is not in the edge.
#[derive(Debug)]
pub(crate) struct NotInEdge;

impl HashReader for Edge {
    type Error = NotInEdge;

    fn node(&self, level: u8, index: u64) -> Result<Hash, NotInEdge> {
        let (id, row, place) = locate(level, index);
        self.tile(id).and_then(|tile| tile.rows[row].get(place)).copied().ok_or(NotInEdge)
    }
}

/// The tree at one moment: its edge, tiles that are full but not on disk yet, and those that are.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub edge: &'a Edge,
    pub full: &'a [FullTile],
    pub tiles: &'a Tiles,
}

impl View<'_> {
    /// A full tile. What is read from disk is checked against the hash one level up, so in the end against the edge.
    pub fn full_tile(&self, id: TileId) -> Result<Arc<Nodes>, ReadError> {
        if let Some(tile) = self.full.iter().find(|tile| tile.id == id) {
            return Ok(Arc::clone(&tile.nodes));
        }
        if let Some(nodes) = self.tiles.cached(id) {
            return Ok(nodes);
        }
        let (nodes, root) = self.tiles.read_full(id)?;
        if root != self.node(8 * (id.level + 1), id.index)? {
            return Err(self.tiles.damaged(id, "its root is not the hash above it"));
        }
        Ok(self.tiles.cache(id, nodes))
    }

    /// The first `width` hashes of a tile, if the tree has them.
    pub fn hashes(&self, id: TileId, width: u16) -> Result<Vec<Hash>, ReadError> {
        let width = usize::from(width);
        if let Some(tile) = self.edge.tile(id) {
            return tile.hashes().get(..width).map(<[_]>::to_vec).ok_or(ReadError::NoSuchTile);
        }
        Ok(self.full_tile(id)?.hashes()[..width].to_vec())
    }

    /// The root at a size that the tree has had.
    pub fn root_at(&self, size: TreeSize) -> Result<Hash, ReadError> {
        let latest = self.edge.size();
        if size > latest {
            return Err(ReadError::BeyondTree { size, latest });
        }
        counterfoil_tlog::root(size, self)
    }
}

impl HashReader for View<'_> {
    type Error = ReadError;

    fn node(&self, level: u8, index: u64) -> Result<Hash, ReadError> {
        let (id, row, place) = locate(level, index);
        if let Some(tile) = self.edge.tile(id) {
            return tile.rows[row].get(place).copied().ok_or(ReadError::NoSuchTile);
        }
        self.full_tile(id)?.rows[row].get(place).copied().ok_or(ReadError::NoSuchTile)
    }
}

/// The tile that a node lies in, its row there, and its place in the row.
fn locate(level: u8, index: u64) -> (TileId, usize, usize) {
    let row = level % 8;
    let width = u64::from(WIDTH) >> row;
    (TileId { level: level / 8, index: index / width }, row.into(), (index % width) as usize)
}

#[cfg(test)]
mod tests {
    use counterfoil_tlog::{MemoryTree, leaf_hash};

    use super::*;

    #[test]
    fn the_edge_has_the_root_of_the_tree_at_every_size() {
        let (mut edge, mut tree, mut full) = (Edge::default(), MemoryTree::new(), Vec::new());
        assert_eq!(edge.head().unwrap(), tree.head());
        for i in 0..70_000_u32 {
            let leaf = leaf_hash(&i.to_be_bytes());
            edge.push(leaf, &mut full);
            tree.push(leaf);
            assert_eq!(edge.head().unwrap(), tree.head());
        }
        let ids: Vec<_> = full.iter().map(|tile| (tile.id.level, tile.id.index)).collect();
        assert_eq!(ids.iter().filter(|(level, _)| *level == 0).count(), 273);
        assert_eq!(ids.iter().filter(|(level, _)| *level == 1).count(), 1);
        for tile in &full {
            for (i, hash) in tile.nodes.hashes().iter().enumerate() {
                let index = tile.id.index * 256 + i as u64;
                assert_eq!(*hash, tree.node(8 * tile.id.level, index).unwrap());
            }
        }
    }
}
