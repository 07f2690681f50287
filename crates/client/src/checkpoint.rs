//! Checkpoints under the pinned keys, and what it means that one continues another.

use std::{cell::RefCell, collections::HashMap, fmt, io};

use counterfoil_receipt::{Root, body::Basis, field::Count};
use counterfoil_tlog::{
    Frontier, Hash, SignedCheckpoint, TreeHead, UnverifiedNote, consistency,
    tile::{TilePath, TileReader},
};
use counterfoil_verify::{Remembered, Trust};

use crate::{error::ClientError, limits, store::CheckpointStore};

/// A checkpoint that a pinned log key signed. Only this crate makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedCheckpoint {
    note: String,
    head: TreeHead,
}

/// Two trees that one log signed, of which neither continues the other.
///
/// Both notes carry valid signatures by the log's pinned keys. Whoever holds the keys can't deny either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    /// What the log had shown before.
    pub seen: PinnedCheckpoint,
    /// What it shows now.
    pub shown: PinnedCheckpoint,
    /// The root that the larger tree really had at the size of the smaller one.
    pub computed: Hash,
}

impl PinnedCheckpoint {
    /// Opens a note under the reader's keys, if it was not opened before.
    pub(crate) fn open(note: &str, trust: &Trust, checked: &Remembered) -> Result<Self, String> {
        let shown = checked.open_checkpoint(note, trust).map_err(|fault| fault.to_string())?;
        Ok(Self { note: note.to_owned(), head: shown.head })
    }

    /// The checkpoint that was kept last, if one was.
    ///
    /// # Errors
    /// [`ClientError::Store`]; `InvalidData` if what was kept does not open under the reader's keys.
    pub fn seen(store: &dyn CheckpointStore, trust: &Trust) -> Result<Option<Self>, ClientError> {
        let fault = |io| ClientError::Store { place: store.place(), io };
        let Some(note) = store.load().map_err(fault)? else { return Ok(None) };
        let wrong = |why| fault(io::Error::new(io::ErrorKind::InvalidData, why));
        Self::open(&note, trust, &Remembered::default()).map(Some).map_err(wrong)
    }

    /// Checks that the reader's quorum of witnesses has cosigned it. A reader who names none takes the log's word.
    pub(crate) fn is_witnessed(&self, trust: &Trust) -> Result<(), String> {
        let policy = trust.witnesses();
        let note = UnverifiedNote::parse(self.note.as_bytes()).map_err(|error| error.to_string())?;
        let signed = SignedCheckpoint::open(note, trust.origin(), trust.log_keys(), policy.witnesses())
            .map_err(|error| format!("{}: {error}", error.code()))?;
        policy.check_quorum(&signed).map_err(|error| format!("the trust file's witnesses: {error}"))
    }

    /// The signed note, verbatim.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// Size and root.
    pub const fn head(&self) -> TreeHead {
        self.head
    }

    /// The same, as records name it; `None` for a tree beyond what records can name.
    pub fn basis(&self) -> Option<Basis> {
        let root = Root::from_bytes(*self.head.root.as_bytes());
        Some(Basis { root, size: Count::new(self.head.size.0)? })
    }
}

/// Checks that the larger of two trees continues the smaller one, with tiles of the larger.
///
/// A fork is claimed only where it is proven: the tiles give the signed root of the larger tree, and another root
/// than the signed one at the size of the smaller. Tiles that do neither prove nothing, and are an error of their own.
pub(crate) fn is_continued(
    seen: &PinnedCheckpoint,
    shown: &PinnedCheckpoint,
    fetch: impl Fn(&TilePath) -> Result<Vec<u8>, ClientError>,
) -> Result<(), ClientError> {
    let (small, large) = if seen.head.size <= shown.head.size { (seen, shown) } else { (shown, seen) };
    let fork =
        |computed| ClientError::Fork(Box::new(Fork { seen: seen.clone(), shown: shown.clone(), computed }));
    if small.head.size == large.head.size {
        return if small.head.root == large.head.root { Ok(()) } else { Err(fork(large.head.root)) };
    }
    let cache = RefCell::new(HashMap::<TilePath, Vec<u8>>::new());
    let cached = |path: &TilePath| {
        if let Some(tile) = cache.borrow().get(path) {
            return Ok(tile.clone());
        }
        if cache.borrow().len() == limits::PROOF_TILES {
            return Err(wrong_tiles(large, &format!("more than {} tiles are needed", limits::PROOF_TILES)));
        }
        let tile = fetch(path)?;
        cache.borrow_mut().insert(*path, tile.clone());
        Ok(tile)
    };
    let reader = TileReader::new(large.head.size, cached);
    let fault = |error: counterfoil_tlog::tile::TileReadError<ClientError>| match error {
        counterfoil_tlog::tile::TileReadError::Fetch(error) => error,
        counterfoil_tlog::tile::TileReadError::Tile(error) => wrong_tiles(large, &error.to_string()),
    };
    let computed = Frontier::read(small.head.size, &reader).map_err(fault)?.root();
    let proof =
        consistency::prove(small.head.size, large.head.size, &reader).map_err(|error| match error {
            counterfoil_tlog::ProveError::Read(error) => fault(error),
            other => wrong_tiles(large, &other.to_string()),
        })?;
    let computed_head = TreeHead { size: small.head.size, root: computed };
    consistency::verify(&computed_head, &large.head, &proof)
        .map_err(|error| wrong_tiles(large, &error.to_string()))?;
    if computed == small.head.root { Ok(()) } else { Err(fork(computed)) }
}

fn wrong_tiles(large: &PinnedCheckpoint, why: &str) -> ClientError {
    ClientError::Untrusted {
        url: "/tile".to_owned(),
        why: format!("the tiles are not those of the signed tree of size {}: {why}", large.head.size),
    }
}

impl fmt::Display for Fork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let smaller = self.seen.head.size.min(self.shown.head.size);
        write!(
            f,
            "log-forked: the log signed two trees that are not one: size {} root {}, and size {} root {}; at size {smaller} the \
             larger has the root {}. Keep both notes, and stop relying on this log",
            self.seen.head.size,
            self.seen.head.root.to_base64(),
            self.shown.head.size,
            self.shown.head.root.to_base64(),
            self.computed.to_base64(),
        )
    }
}
