//! The journal: one append-only file of batches, each of one frame or more.
//!
//! A frame: magic · index of the first entry (8 bytes) · log time (8) · number of entries (4) · bytes of entries (4) ·
//! bytes of checkpoint (4) · entries, each after its length as two bytes · signed checkpoint · SHA-256 of all before.
//! Integers are big-endian. Frames follow each other without gaps. Only the first may have no entries: it then holds the
//! checkpoint of the empty tree, with which a log can begin.
//!
//! A frame without a checkpoint is continued by the next, which has the same log time: together they are one batch, and the
//! last, which is signed, ends it. A batch whose end is missing is none.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use counterfoil_tlog::{Hash, leaf_hash};
use sha2::{Digest as _, Sha256};

use crate::limits;
use crate::storage::{Storage, WriteError};

const MAGIC: &[u8; 8] = b"CFBATCH1";
const HEADER_BYTES: usize = 36;
const DIGEST_BYTES: usize = 32;
/// A full batch and its seal.
pub(crate) const MAX_ENTRIES_BYTES: usize = limits::BATCH_BYTES + 2 + limits::ENTRY_BYTES;

/// The longest frame there can be.
pub(crate) const MAX_FRAME_BYTES: usize =
    HEADER_BYTES + MAX_ENTRIES_BYTES + limits::CHECKPOINT_BYTES + DIGEST_BYTES;

/// The journal as its one writer sees it.
pub(crate) struct Journal {
    storage: Arc<dyn Storage>,
    end: u64,
    /// The digest of the frame before, if it is continued.
    before: Option<[u8; DIGEST_BYTES]>,
}

impl Journal {
    /// The journal whose frames end at `end`.
    pub fn new(storage: Arc<dyn Storage>, end: u64) -> Self {
        Self { storage, end, before: None }
    }

    /// Where the next frame goes.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Goes on behind this frame, which is there.
    pub fn skip(&mut self, frame: &Frame) {
        self.end += frame.len();
        self.before = frame.digest().filter(|_| frame.is_continued());
    }

    /// Writes a frame at the end, where nothing may stand. If it goes on with a batch, what begins the batch must be there still:
    /// another process may have cut it off, and written as much.
    pub fn append(&self, frame: &Frame) -> Result<(), WriteError> {
        if let Some(before) = self.before {
            let mut found = [0; DIGEST_BYTES];
            self.storage.read_at(self.end - DIGEST_BYTES as u64, &mut found)?;
            if found != before {
                return Err(WriteError::Conflict { offset: self.end });
            }
        }
        self.storage.append(self.end, &frame.bytes)
    }

    /// Writes the frames again that stand from the end up to `until`.
    pub fn rewrite(&self, until: u64) -> Result<(), WriteError> {
        let mut at = self.end;
        while at < until {
            let Found::Frame(frame) = read_frame(self.storage.as_ref(), at, until)? else {
                return Err(WriteError::Conflict { offset: at });
            };
            self.storage.rewrite(at, &frame.bytes)?;
            at += frame.len();
        }
        Ok(())
    }

    /// Makes the frame durable. After an error, here or above, nothing must be called again: whether a frame is on disk
    /// after a failed sync, nobody knows but the next process that opens the file.
    pub fn sync(&self) -> io::Result<()> {
        self.storage.sync()
    }
}

/// One frame, whole and undamaged.
#[derive(Debug)]
pub(crate) struct Frame {
    bytes: Vec<u8>,
    header: Header,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    first: u64,
    time: u64,
    count: u32,
    entries: u32,
    checkpoint: u32,
}

impl Frame {
    /// Index of the first entry.
    pub fn first(&self) -> u64 {
        self.header.first
    }

    /// The tree's size with this batch.
    pub fn size(&self) -> u64 {
        self.header.first + u64::from(self.header.count)
    }

    /// The leaf hashes of its entries.
    pub fn leaves(&self) -> Vec<Hash> {
        self.entries().map(|(_, entry)| leaf_hash(entry)).collect()
    }

    /// Whether its batch goes on in the next frame.
    pub fn is_continued(&self) -> bool {
        self.header.checkpoint == 0
    }

    /// Log time in milliseconds.
    pub fn time(&self) -> u64 {
        self.header.time
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn digest(&self) -> Option<[u8; DIGEST_BYTES]> {
        self.bytes.last_chunk().copied()
    }

    /// Length of the whole frame.
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The entries, each with its place in the frame.
    pub fn entries(&self) -> impl Iterator<Item = (Range<usize>, &[u8])> {
        let mut at = HEADER_BYTES;
        (0..self.header.count).map_while(move |_| {
            let range = entry_range(&self.bytes, at)?;
            at = range.end;
            Some((range.clone(), &self.bytes[range]))
        })
    }

    /// The signed checkpoint; nothing if it is continued.
    pub fn checkpoint(&self) -> &str {
        let range = self.header.checkpoint_range();
        self.bytes.get(range).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

fn entry_range(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let length = u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?);
    Some(at + 2..at + 2 + usize::from(length))
}

/// A frame being filled.
#[derive(Debug)]
pub(crate) struct FrameBuilder {
    bytes: Vec<u8>,
    header: Header,
}

impl FrameBuilder {
    /// A frame whose first entry has this index.
    pub fn new(first: u64, time: u64) -> Self {
        let header = Header { first, time, count: 0, entries: 0, checkpoint: 0 };
        Self { bytes: vec![0; HEADER_BYTES], header }
    }

    /// The number of entries so far.
    pub fn count(&self) -> u64 {
        self.header.count.into()
    }

    /// Whether an entry of this length fits in.
    pub fn has_room(&self, length: usize) -> bool {
        self.header.count as usize <= limits::BATCH_ENTRIES
            && self.header.entries as usize + 2 + length <= MAX_ENTRIES_BYTES
    }

    /// Adds an entry, which is at most [`limits::ENTRY_BYTES`] long.
    pub fn push(&mut self, entry: &[u8]) {
        self.bytes.extend_from_slice(&(entry.len() as u16).to_be_bytes());
        self.bytes.extend_from_slice(entry);
        self.header.count += 1;
        self.header.entries += 2 + entry.len() as u32;
    }

    /// The frame, which the next one continues. It has an entry at least.
    pub fn finish_continued(self) -> Frame {
        self.finish("")
    }

    /// The frame with its checkpoint, which is at most [`limits::CHECKPOINT_BYTES`] long.
    pub fn finish(mut self, checkpoint: &str) -> Frame {
        self.header.checkpoint = checkpoint.len() as u32;
        self.bytes[..HEADER_BYTES].copy_from_slice(&self.header.encode());
        self.bytes.extend_from_slice(checkpoint.as_bytes());
        let digest = Sha256::digest(&self.bytes);
        self.bytes.extend_from_slice(&digest);
        Frame { bytes: self.bytes, header: self.header }
    }
}

impl Header {
    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.first.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.time.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.count.to_be_bytes());
        bytes[28..32].copy_from_slice(&self.entries.to_be_bytes());
        bytes[32..].copy_from_slice(&self.checkpoint.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, &'static str> {
        let (magic, rest) = bytes.split_at(MAGIC.len());
        let (u64s, u32s) = rest.split_at(16);
        let (u64s, _) = u64s.as_chunks::<8>();
        let (u32s, _) = u32s.as_chunks::<4>();
        let ([first, time], [count, entries, checkpoint]) = (u64s, u32s) else { return Err("short header") };
        let header = Self {
            first: u64::from_be_bytes(*first),
            time: u64::from_be_bytes(*time),
            count: u32::from_be_bytes(*count),
            entries: u32::from_be_bytes(*entries),
            checkpoint: u32::from_be_bytes(*checkpoint),
        };
        if magic != MAGIC {
            return Err("no frame starts here");
        }
        let fits = header.count as usize <= limits::BATCH_ENTRIES + 1
            && header.entries as usize <= MAX_ENTRIES_BYTES
            && header.checkpoint as usize <= limits::CHECKPOINT_BYTES
            && header.first <= counterfoil_tlog::limits::TREE_SIZE;
        if fits { Ok(header) } else { Err("its header is over the limits") }
    }

    fn checkpoint_range(&self) -> Range<usize> {
        let start = HEADER_BYTES + self.entries as usize;
        start..start + self.checkpoint as usize
    }

    fn frame_len(&self) -> usize {
        self.checkpoint_range().end + DIGEST_BYTES
    }
}

/// What stands in the journal at some offset.
#[derive(Debug)]
pub(crate) enum Found {
    /// A frame.
    Frame(Frame),
    /// Nothing: the journal ends here.
    End,
    /// No whole frame, for this reason: a torn write, or damage.
    Broken(&'static str),
}

/// Reads the frame at `offset` of a journal of `length` bytes.
pub(crate) fn read_frame(storage: &dyn Storage, offset: u64, length: u64) -> io::Result<Found> {
    let left = length.saturating_sub(offset);
    if left == 0 {
        return Ok(Found::End);
    }
    let mut header = [0; HEADER_BYTES];
    if left < HEADER_BYTES as u64 {
        return Ok(Found::Broken("it ends within the header"));
    }
    storage.read_at(offset, &mut header)?;
    let decoded = match Header::decode(&header) {
        Ok(decoded) => decoded,
        Err(reason) => return Ok(Found::Broken(reason)),
    };
    if left < decoded.frame_len() as u64 {
        return Ok(Found::Broken("it ends within the frame"));
    }
    let mut bytes = vec![0; decoded.frame_len()];
    storage.read_at(offset, &mut bytes)?;
    Ok(check_frame(bytes, decoded, offset))
}

fn check_frame(bytes: Vec<u8>, header: Header, offset: u64) -> Found {
    let body = bytes.len() - DIGEST_BYTES;
    if *Sha256::digest(&bytes[..body]) != bytes[body..] {
        return Found::Broken("its digest does not match");
    }
    let mut at = HEADER_BYTES;
    for _ in 0..header.count {
        match entry_range(&bytes[..header.checkpoint_range().start], at) {
            Some(range) => at = range.end,
            None => return Found::Broken("its entries don't fill it"),
        }
    }
    if at != header.checkpoint_range().start {
        return Found::Broken("its entries don't fill it");
    }
    if header.count == 0 && (offset > 0 || header.checkpoint == 0) {
        return Found::Broken("it has no entries, and is not the first with its checkpoint");
    }
    if std::str::from_utf8(&bytes[header.checkpoint_range()]).is_err() {
        return Found::Broken("its checkpoint is not UTF-8");
    }
    Found::Frame(Frame { bytes, header })
}

/// Reads only the signed checkpoint of the frame at `offset`; the caller checks it. `None` if there is no frame; nothing if it
/// is continued.
pub(crate) fn read_checkpoint(storage: &dyn Storage, offset: u64) -> io::Result<Option<String>> {
    let mut header = [0; HEADER_BYTES];
    storage.read_at(offset, &mut header)?;
    let Ok(header) = Header::decode(&header) else { return Ok(None) };
    let range = header.checkpoint_range();
    let mut bytes = vec![0; range.len()];
    storage.read_at(offset + range.start as u64, &mut bytes)?;
    Ok(String::from_utf8(bytes).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::FileStorage;

    fn frame(entry: &str, checkpoint: &str) -> Frame {
        let mut frame = FrameBuilder::new(0, 1);
        frame.push(entry.as_bytes());
        frame.finish(checkpoint)
    }

    /// One that cut off what another had begun, and wrote as much: the other does not go on behind that.
    #[test]
    fn a_batch_goes_on_only_behind_its_own_frames() {
        let dir = tempfile::tempdir().unwrap();
        let storage: Arc<dyn Storage> = Arc::new(FileStorage::open(dir.path(), "journal").unwrap());
        let (begun, end) = (frame("one and two", ""), frame("three", "signed"));
        let other = frame("one", "signed..");
        assert!(begun.is_continued() && !other.is_continued() && begun.len() == other.len());
        for (stands, goes_on) in [(&begun, true), (&other, false)] {
            let mut journal = Journal::new(Arc::clone(&storage), 0);
            journal.append(&begun).unwrap();
            journal.skip(&begun);
            storage.cut(0, begun.bytes()).unwrap();
            storage.append(0, stands.bytes()).unwrap();
            let appended = journal.append(&end);
            let is_conflict = matches!(appended, Err(WriteError::Conflict { .. }));
            assert!(if goes_on { appended.is_ok() } else { is_conflict });
            let all = if goes_on { [begun.bytes(), end.bytes()].concat() } else { other.bytes().to_vec() };
            storage.cut(0, &all).unwrap();
        }
    }
}
