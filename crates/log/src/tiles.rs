//! Full tiles and entry bundles as files, each written once, with the tiles read last in memory.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use counterfoil_tlog::Hash;
use counterfoil_tlog::tile::{TilePath, WIDTH, decode_tile};

use crate::error::{Fatal, ReadError};
use crate::limits;
use crate::tree::{Nodes, TileId};

/// The directory under which `tile/` lies.
pub(crate) struct Tiles {
    dir: PathBuf,
    /// On the same file system; only the writer uses it.
    temporary: PathBuf,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    clock: u64,
    /// With the time of last use.
    tiles: HashMap<TileId, (u64, Arc<Nodes>)>,
}

impl Tiles {
    /// The tiles under `dir`; `temporary` is a file that may be overwritten.
    pub fn new(dir: &Path, temporary: PathBuf) -> Self {
        Self { dir: dir.to_owned(), temporary, cache: Mutex::default() }
    }

    /// Writes a full tile or bundle, if it is not there already, so that readers see all of it or nothing.
    ///
    /// It is not synced: what a power cut tears is written again at start. What is there with other bytes was published,
    /// and is never replaced.
    pub fn publish(&self, path: &TilePath, bytes: &[u8]) -> Result<(), Fatal> {
        let path = self.locate(path);
        let fail = |doing| {
            let path = path.clone();
            move |io| Fatal::Derived { doing, path, io }
        };
        match fs::read(&path) {
            Ok(found) if found == bytes => return Ok(()),
            Ok(found) if is_torn(&found, bytes) => {}
            Ok(_) => return Err(Fatal::Published { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fail("read")(error)),
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(fail("create the directory of"))?;
        }
        fs::write(&self.temporary, bytes).map_err(fail("write"))?;
        fs::rename(&self.temporary, &path).map_err(fail("rename"))
    }

    /// The bytes of a full bundle, unchecked.
    pub fn read_bundle(&self, path: &TilePath) -> Result<Vec<u8>, ReadError> {
        let path = self.locate(path);
        fs::read(&path).map_err(|io| ReadError::Files { path, io })
    }

    /// A full tile with its root, unchecked.
    pub fn read_full(&self, id: TileId) -> Result<(Nodes, Hash), ReadError> {
        let tile = id.path()?;
        let path = self.locate(&tile);
        let bytes = fs::read(&path).map_err(|io| ReadError::Files { path, io })?;
        let hashes = decode_tile(&tile, &bytes).map_err(|_| self.damaged(id, "its length is wrong"))?;
        let (nodes, root) = Nodes::of(hashes);
        Ok((nodes, root.ok_or(ReadError::NoSuchTile)?))
    }

    /// The file of a tile or bundle.
    pub fn locate(&self, path: &TilePath) -> PathBuf {
        self.dir.join(path.to_string())
    }

    /// The error that says that a tile on disk is not what it was.
    pub fn damaged(&self, id: TileId, reason: &'static str) -> ReadError {
        match id.path() {
            Ok(path) => ReadError::DamagedFile { path: self.locate(&path), reason },
            Err(error) => error,
        }
    }

    /// A tile that was checked before.
    pub fn cached(&self, id: TileId) -> Option<Arc<Nodes>> {
        let mut cache = self.lock();
        cache.clock += 1;
        let now = cache.clock;
        let (used, nodes) = cache.tiles.get_mut(&id)?;
        *used = now;
        Some(Arc::clone(nodes))
    }

    /// Keeps a tile that was checked.
    pub fn cache(&self, id: TileId, nodes: impl Into<Arc<Nodes>>) -> Arc<Nodes> {
        let nodes = nodes.into();
        let mut cache = self.lock();
        cache.clock += 1;
        let now = cache.clock;
        if cache.tiles.len() >= limits::CACHED_TILES {
            let oldest = cache.tiles.iter().min_by_key(|(_, (used, _))| *used).map(|(id, _)| *id);
            oldest.and_then(|id| cache.tiles.remove(&id));
        }
        cache.tiles.insert(id, (now, Arc::clone(&nodes)));
        nodes
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TileId {
    /// Where the full tile lies.
    pub fn path(self) -> Result<TilePath, ReadError> {
        TilePath::tile(self.level, self.index, WIDTH).map_err(|_| ReadError::NoSuchTile)
    }
}

/// Whether a file holds what an interrupted write of `bytes` leaves: some of them, and zeros where they did not arrive.
fn is_torn(found: &[u8], bytes: &[u8]) -> bool {
    found.len() <= bytes.len() && found.iter().zip(bytes).all(|(found, byte)| found == byte || *found == 0)
}
