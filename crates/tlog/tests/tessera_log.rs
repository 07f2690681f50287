//! A log that Tessera wrote, at every size from 0 to 15: signatures, bundles, tiles, roots and proofs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};

use common::{read, read_text, vectors};
use counterfoil_tlog::tile::{self, TilePath, TileReader};
use counterfoil_tlog::*;

const SIZES: std::ops::RangeInclusive<u64> = 0..=15;

struct Log {
    folder: PathBuf,
    key: VerifierKey,
}

impl Log {
    fn open() -> Option<Self> {
        let folder = vectors("log-tessera-testdata")?;
        let key = read_text(folder.join("log.vkey")).trim_end().parse().unwrap();
        Some(Self { folder, key })
    }

    fn head(&self, file: &str) -> TreeHead {
        let note = UnverifiedNote::parse(&read(self.folder.join(file))).unwrap();
        let cosigners: [VerifierKey; 0] = [];
        let checkpoint = SignedCheckpoint::open(note, self.key.name(), &[&self.key], &cosigners).unwrap();
        assert!(checkpoint.checkpoint().extensions().is_empty());
        checkpoint.head()
    }

    fn heads(&self) -> Vec<TreeHead> {
        SIZES.map(|size| self.head(&format!("checkpoint.{size}"))).collect()
    }

    fn reader(&self, size: TreeSize) -> TileReader<impl Fn(&TilePath) -> std::io::Result<Vec<u8>>> {
        let folder = self.folder.clone();
        TileReader::new(size, move |path: &TilePath| std::fs::read(folder.join(path.to_string())))
    }
}

#[test]
fn every_checkpoint_is_signed_and_its_root_follows_from_tiles_and_entries() {
    let Some(log) = Log::open() else { return };
    let heads = log.heads();
    assert_eq!(heads[0], TreeHead::EMPTY);
    assert_eq!(log.head("checkpoint"), heads[15]);
    for head in &heads {
        assert_eq!(root(head.size, &log.reader(head.size)).unwrap(), head.root);
        let mut frontier = Frontier::new();
        for path in tile::entry_bundles(head.size) {
            let bytes = read(log.folder.join(path.to_string()));
            let entries = tile::decode_entries(&path, &bytes).unwrap();
            assert_eq!(tile::encode_entries(&entries).unwrap(), bytes);
            entries.iter().for_each(|entry| _ = frontier.push(leaf_hash(entry)));
        }
        assert_eq!(frontier.head(), *head);
    }
}

#[test]
fn the_files_are_those_that_the_sizes_call_for() {
    let Some(log) = Log::open() else { return };
    let mut expected: Vec<String> = SIZES
        .flat_map(|size| tile::tiles(TreeSize(size)).chain(tile::entry_bundles(TreeSize(size))))
        .map(|path| path.to_string())
        .collect();
    expected.sort();
    let mut found = files(&log.folder, &log.folder.join("tile"));
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(found.len(), 30);
    for path in found {
        assert_eq!(path.parse::<TilePath>().unwrap().to_string(), path);
    }
}

fn files(root: &Path, folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let paths = entries.flat_map(|path| {
        if path.is_dir() {
            files(root, &path)
        } else {
            vec![path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()]
        }
    });
    paths.collect()
}

#[test]
fn every_pair_of_sizes_is_consistent_and_every_leaf_included() {
    let Some(log) = Log::open() else { return };
    let heads = log.heads();
    let (mut pairs, mut leaves) = (0, 0);
    for new in &heads[1..] {
        let reader = log.reader(new.size);
        for old in &heads[1..=usize::try_from(new.size.0).unwrap()] {
            let proof = consistency::prove(old.size, new.size, &reader).unwrap();
            consistency::verify(old, new, &proof).unwrap();
            pairs += 1;
        }
        for index in (0..new.size.0).map(LeafIndex) {
            let proof = inclusion::prove(index, new.size, &reader).unwrap();
            inclusion::verify(reader.node(0, index.0).unwrap(), index, &proof, new).unwrap();
            leaves += 1;
        }
    }
    assert_eq!((pairs, leaves), (120, 120));
}
