//! Tile paths, the tiles of a size, and the bytes of tiles and bundles.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use counterfoil_tlog::tile::{self, TileError, TilePath, TileReader};
use counterfoil_tlog::*;
use proptest::prelude::*;

fn paths(tiles: impl Iterator<Item = TilePath>) -> Vec<String> {
    tiles.map(|path| path.to_string()).collect()
}

/// The two examples of the specification.
#[test]
fn the_tiles_of_70_000_and_of_256_leaves() {
    let tiles = paths(tile::tiles(TreeSize(70_000)));
    assert_eq!(tiles.len(), 273 + 1 + 1 + 1 + 1);
    assert_eq!(
        tiles[272..],
        ["tile/0/272", "tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"]
    );
    assert_eq!(paths(tile::tiles(TreeSize(256))), ["tile/0/000", "tile/1/000.p/1"]);
    assert_eq!(paths(tile::entry_bundles(TreeSize(256))), ["tile/entries/000"]);
    assert_eq!(paths(tile::tiles(TreeSize(0))), [""; 0]);
}

#[test]
fn a_growing_log_writes_only_what_changes() {
    assert_eq!(paths(tile::new_tiles(TreeSize(70_000), TreeSize(70_001))), ["tile/0/273.p/113"]);
    let new = paths(tile::new_tiles(TreeSize(255), TreeSize(513)));
    assert_eq!(new, ["tile/0/000", "tile/0/001", "tile/0/002.p/1", "tile/1/000.p/2"]);
    let new = paths(tile::new_entry_bundles(TreeSize(255), TreeSize(257)));
    assert_eq!(new, ["tile/entries/000", "tile/entries/001.p/1"]);
    assert_eq!(paths(tile::new_tiles(TreeSize(9), TreeSize(9))), [""; 0]);
}

#[test]
fn paths_have_one_spelling() {
    for path in
        ["tile/0/000", "tile/0/x001/x234/067", "tile/7/000.p/127", "tile/entries/999.p/1", "tile/1/x001/000"]
    {
        assert_eq!(path.parse::<TilePath>().unwrap().to_string(), path);
    }
    for path in [
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/x001/x002",
        "tile/0/1000",
        "tile/00/000",
        "tile/+1/000",
        "tile/-1/000",
        "tile/64/000",
        "tile/256/000",
        "tile/8/000",
        "tile/7/000",
        "tile/7/000.p/128",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p/1.p/1",
        "tile/0/+01",
        "tile/0/",
        "tile//000",
        "tile/data/000",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        "/tile/0/000",
        "tile/0/000/",
        "tile/0/000\n",
        "checkpoint",
        "",
    ] {
        assert_eq!(path.parse::<TilePath>(), Err(TileError::BadPath { path: path.to_owned() }));
    }
}

#[test]
fn the_largest_tree_has_paths_and_the_next_has_not() {
    let last = limits::TREE_SIZE - 1;
    let path = tile::tile_of_node(0, last, TreeSize(limits::TREE_SIZE)).unwrap();
    assert_eq!((path.index(), path.width()), (last / 256, 255));
    assert_eq!(path.to_string().parse(), Ok(path));
    assert!(TilePath::tile(0, last / 256, 256).is_err());
    assert!(TilePath::entries(u64::MAX, 1).is_err());
    assert_eq!(tile::tile_of_node(0, last + 1, TreeSize(limits::TREE_SIZE)), None);
    assert_eq!(tile::tile_of_node(63, 0, TreeSize(limits::TREE_SIZE)), None);
    assert!(tile::tile_of_node(62, 0, TreeSize(limits::TREE_SIZE)).is_some());
}

#[test]
fn bundles_hold_exactly_their_entries() {
    let entries: [&[u8]; 3] = [b"", b"a", b"bc"];
    let bytes = tile::encode_entries(&entries).unwrap();
    assert_eq!(bytes, b"\0\0\0\x01a\0\x02bc");
    let path = |width| TilePath::entries(0, width).unwrap();
    assert_eq!(tile::decode_entries(&path(3), &bytes).unwrap(), entries);
    assert_eq!(tile::decode_entries(&path(2), &bytes), Err(TileError::BadBundle { path: path(2), at: 5 }));
    assert_eq!(tile::decode_entries(&path(4), &bytes), Err(TileError::BadBundle { path: path(4), at: 9 }));
    for cut in 0..bytes.len() {
        assert!(tile::decode_entries(&path(3), &bytes[..cut]).is_err(), "{cut}");
    }
    let longest = vec![7; limits::ENTRY_BYTES];
    assert_eq!(tile::encode_entries(&[&longest]).unwrap().len(), 2 + limits::ENTRY_BYTES);
    let over = vec![7; limits::ENTRY_BYTES + 1];
    assert_eq!(
        tile::encode_entries(&[over]),
        Err(TileError::EntryTooLong { position: 0, len: limits::ENTRY_BYTES + 1 })
    );
    assert!(tile::encode_entries(&[b"x"; 256]).is_ok());
    assert_eq!(tile::encode_entries(&[b"x"; 257]), Err(TileError::TooManyEntries { found: 257 }));
}

#[test]
fn tiles_hold_exactly_their_hashes() {
    let hashes = [leaf_hash(b"a"), leaf_hash(b"b")];
    let bytes = tile::encode_tile(&hashes);
    let path = TilePath::tile(0, 0, 2).unwrap();
    assert_eq!(tile::decode_tile(&path, &bytes).unwrap(), hashes);
    for bad in [&bytes[..32], &bytes[..63], &[&*bytes, b"x"].concat(), &[]] {
        let error = TileError::WrongTileLength { path, expected: 64, found: bad.len() };
        assert_eq!(tile::decode_tile(&path, bad), Err(error));
        let reader = TileReader::new(TreeSize(2), |_: &TilePath| Ok::<_, ()>(bad));
        assert!(reader.node(1, 0).is_err());
    }
}

proptest! {
    #[test]
    fn every_path_reads_as_it_is_written(level in 0..4_u8, index in 0..1_u64 << 31, width in 1..=256_u16) {
        for path in [TilePath::tile(level, index, width).unwrap(), TilePath::entries(index, width).unwrap()] {
            prop_assert_eq!(path.to_string().parse(), Ok(path));
        }
    }

    #[test]
    fn what_reads_as_a_path_is_spelled_so(text in "tile/(entries|[0-9]{1,2})(/x?[0-9]{1,4}){1,3}(\\.p/[0-9]{1,3})?") {
        if let Ok(path) = text.parse::<TilePath>() {
            prop_assert_eq!(path.to_string(), text);
        }
    }
}
