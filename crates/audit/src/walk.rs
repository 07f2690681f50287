//! Every entry bundle of a signed tree, in order, each held to the tiles above it; fetched on several threads.

use std::num::NonZeroUsize;

use counterfoil_tlog::{
    Hash, TreeHead,
    tile::{TilePath, encode_tile, entry_bundles},
};

use crate::{
    finding::Finding,
    pool,
    source::{Source, SourceError},
    tree::{Expected, Tree, leaves, tile, tile_root},
};

/// What is to be walked.
pub(crate) struct Walk<'s> {
    pub source: &'s Source,
    pub head: TreeHead,
    /// The first bundle.
    pub from: u64,
    /// The first bundle whose tile of level 0 is compared too. The bundles before are held to the tiles above alone.
    pub tiles_from: u64,
    pub jobs: NonZeroUsize,
}

/// A bundle, and the tile of level 0 that names its entries.
pub(crate) struct Chunk<X> {
    pub path: TilePath,
    /// The bundle, unless it is damaged.
    pub bundle: Option<Vec<u8>>,
    /// The leaf hashes of the signed tree; `None` if they are lost.
    pub leaves: Option<Vec<Hash>>,
    /// What is wrong with the bundle, its tile, and those tiles above it that were not looked at before.
    pub damage: Vec<Finding>,
    /// What was made of the entries, of a bundle that is not damaged.
    pub made: Option<X>,
}

struct Job {
    path: TilePath,
    expected: Expected,
    damage: Vec<Finding>,
}

impl Walk<'_> {
    /// Walks; `make` is given the entries' bytes on some thread, `take` each chunk in order on this one.
    ///
    /// Gives the damage at the right edge, or where there is more than can be mended, all that there is to say: then nothing is walked.
    ///
    /// # Errors
    /// [`SourceError`] if the source can't be asked, and what `take` fails with.
    pub(crate) fn run<C, X: Send, E: From<SourceError>>(
        &self,
        context: impl Fn() -> C + Sync,
        make: impl Fn(&mut C, &TilePath, &[u8]) -> X + Sync,
        mut take: impl FnMut(Chunk<X>) -> Result<(), E>,
    ) -> Result<Vec<Finding>, E> {
        let mut damage = Vec::new();
        let Some(mut tree) = Tree::open(self.source, self.head, &mut damage)? else { return Ok(damage) };
        let jobs = entry_bundles(self.head.size).skip_while(|path| path.index() < self.from).map(|path| {
            let mut damage = Vec::new();
            let expected = tree.expected(path.index(), &mut damage)?;
            Ok(Job { path, expected, damage })
        });
        let work = |context: &mut C, job: Job| self.chunk(job, |path, bundle| make(context, path, bundle));
        pool::in_order(self.jobs, jobs, context, work, |chunk| take(chunk?))?;
        Ok(damage)
    }

    fn chunk<X>(&self, job: Job, make: impl FnOnce(&TilePath, &[u8]) -> X) -> Result<Chunk<X>, SourceError> {
        let Job { path, expected, mut damage } = job;
        let bundle = match self.source.tile(&path) {
            Ok(bundle) => leaves(&path, &bundle)
                .map(|leaves| (bundle, leaves))
                .map_err(|why| Finding::malformed(&path, &why)),
            Err(error) if error.is_damage() => Err(Finding::unfetched(&path, &error)),
            Err(error) => return Err(error),
        };
        let row = match &expected {
            Expected::Row(row) => Some(row.to_vec()),
            Expected::Root(root) => self.full_row(&path, *root, &mut damage)?,
            Expected::Unknown => None,
        };
        let judged = bundle.and_then(|(bundle, found)| match (&expected, &row) {
            (_, Some(row)) if *row == found => Ok((bundle, found)),
            (Expected::Root(root), _) if tile_root(&found) == *root => Ok((bundle, found)),
            (Expected::Unknown, _) => Err(Finding::unshown_bundle(&path)),
            (_, row) => Err(differs(&path, &found, row.as_deref())),
        });
        let (bundle, leaves, made) = match judged {
            Ok((bundle, leaves)) => {
                let made = make(&path, &bundle);
                (Some(bundle), Some(leaves), Some(made))
            }
            Err(fault) => {
                damage.push(fault);
                (None, row, None)
            }
        };
        Ok(Chunk { path, bundle, leaves, damage, made })
    }

    /// The row of a full tile of level 0, if it is as it should be; otherwise what is wrong is added to `damage`.
    fn full_row(
        &self,
        path: &TilePath,
        root: Hash,
        damage: &mut Vec<Finding>,
    ) -> Result<Option<Vec<Hash>>, SourceError> {
        if path.index() < self.tiles_from {
            return Ok(None);
        }
        let Ok(path) = TilePath::tile(0, path.index(), path.width()) else { return Ok(None) };
        match tile(self.source, &path)? {
            Ok(row) if tile_root(&row) == root => return Ok(Some(row.to_vec())),
            Ok(row) => damage.push(Finding::wrong_tile(&path, root, tile_root(&row))),
            Err(fault) => damage.push(fault),
        }
        Ok(None)
    }
}

impl<X> Chunk<X> {
    /// The tile of level 0 and its bytes, if they are known.
    pub(crate) fn tile(&self) -> Option<(TilePath, Vec<u8>)> {
        let path = TilePath::tile(0, self.path.index(), self.path.width()).ok()?;
        Some((path, encode_tile(self.leaves.as_ref()?)))
    }
}

fn differs(path: &TilePath, found: &[Hash], row: Option<&[Hash]>) -> Finding {
    let first = row
        .and_then(|row| row.iter().zip(found).zip(0_u64..).find(|((expected, found), _)| expected != found));
    let start = path.index() * u64::from(counterfoil_tlog::tile::WIDTH);
    Finding::wrong_bundle(
        path,
        match first {
            Some(((expected, found), at)) => {
                format!("entry {} has the leaf hash {found}, the signed tree {expected}", start + at)
            }
            None => "its entries do not give the hash that the tile above names".to_owned(),
        },
    )
}
