//! Checking entries, each by itself, on several threads: form, signature and role, which is nearly all that verification costs.
//!
//! The caller reads and folds meanwhile. Entries come back in the order in which they went in, so a verdict does not depend
//! on the number of threads.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use counterfoil_receipt::{
    Malformed, RecordId, UnverifiedRecord,
    bundle::{PositionLine, read_line},
};
use counterfoil_tlog::SignatureCheck;

use crate::{
    fault::Fault,
    record::{Begun, KeyCache, Record, Remembered},
};

/// Entries that are handed to a thread together: about 2 ms of work, so that no thread waits long for another.
const BATCH: usize = 32;

/// Batches under way for each thread: one that it works on, and what it takes next.
const BATCHES_AHEAD: usize = 4;

/// Bytes of lines under way: a line may have 6 MiB, whatever it then turns out to be.
const BYTES_AHEAD: usize = 33_554_432;

/// The two lines of an entry, as read.
#[derive(Debug)]
pub(crate) struct Lines {
    pub position: Vec<u8>,
    pub record: Vec<u8>,
}

/// What checking one entry by itself gave.
#[derive(Debug)]
pub(crate) struct Entry {
    pub position: Result<PositionLine, Malformed>,
    pub id: RecordId,
    pub checked: Checked,
}

/// What checking one record by itself gave.
#[derive(Debug)]
pub(crate) enum Checked {
    Record(Box<Record>),
    Refused(Box<UnverifiedRecord>, Fault),
    Malformed(Malformed),
}

/// Checks entries on the calling thread, or on several others.
#[derive(Debug)]
pub(crate) struct Checker {
    threads: usize,
    cache: KeyCache,
    signatures: Remembered,
    batch: Vec<Lines>,
    /// Batches that were handed out, oldest first.
    under_way: VecDeque<(Batch, Receiver<Vec<Entry>>)>,
    /// Bytes of the batch at hand and of those under way.
    bytes: usize,
    /// Where the threads take their work from; they start with the first full batch and end with this sender.
    work: Option<Sender<Work>>,
}

type Batch = Arc<Vec<Lines>>;
type Work = (Batch, Sender<Vec<Entry>>);

impl Checker {
    pub(crate) fn new(threads: usize, signatures: Remembered) -> Self {
        Self {
            threads,
            cache: KeyCache::remembering(signatures.clone()),
            signatures,
            batch: Vec::new(),
            under_way: VecDeque::new(),
            bytes: 0,
            work: None,
        }
    }

    /// Takes an entry, and gives back the oldest ones where enough are under way.
    pub(crate) fn push(&mut self, lines: Lines) -> Vec<Entry> {
        self.bytes += lines.len();
        self.batch.push(lines);
        if self.batch.len() < BATCH && self.bytes < BYTES_AHEAD {
            return Vec::new();
        }
        if self.threads == 1 {
            return self.drain();
        }
        self.hand_out();
        let mut checked = Vec::new();
        while self.under_way.len() > self.threads * BATCHES_AHEAD || self.bytes > BYTES_AHEAD {
            checked.extend(self.oldest());
        }
        checked
    }

    /// Gives back every entry that it still has.
    pub(crate) fn drain(&mut self) -> Vec<Entry> {
        let last = check_all(&std::mem::take(&mut self.batch), &mut self.cache);
        let mut checked = Vec::new();
        while !self.under_way.is_empty() {
            checked.extend(self.oldest());
        }
        checked.extend(last);
        self.bytes = 0;
        checked
    }

    fn hand_out(&mut self) {
        let work = self.work.get_or_insert_with(|| start(self.threads, &self.signatures));
        let batch = Arc::new(std::mem::take(&mut self.batch));
        let (done, checked) = channel();
        // Work that nobody takes comes back without an answer, like that of a thread that died.
        let _ = work.send((Arc::clone(&batch), done));
        self.under_way.push_back((batch, checked));
    }

    fn oldest(&mut self) -> Vec<Entry> {
        let Some((batch, checked)) = self.under_way.pop_front() else { return Vec::new() };
        self.bytes -= batch.iter().map(Lines::len).sum::<usize>();
        // A thread that died checked nothing; its batch is checked here, where a fault can't be lost.
        checked.recv().unwrap_or_else(|_| check_all(&batch, &mut self.cache))
    }
}

impl Lines {
    fn len(&self) -> usize {
        self.position.len() + self.record.len()
    }
}

/// Starts the threads; where the platform has none, the work comes back to the caller.
fn start(threads: usize, signatures: &Remembered) -> Sender<Work> {
    let (sender, receiver) = channel::<Work>();
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..threads {
        let receiver = Arc::clone(&receiver);
        let mut cache = KeyCache::remembering(signatures.clone());
        let _ = thread::Builder::new().spawn(move || {
            while let Some((batch, done)) = take(&receiver) {
                let _ = done.send(check_all(&batch, &mut cache));
            }
        });
    }
    sender
}

/// The next piece of work; `None` once there is none to come.
fn take(work: &Mutex<Receiver<Work>>) -> Option<Work> {
    work.lock().ok()?.recv().ok()
}

fn check_all(entries: &[Lines], cache: &mut KeyCache) -> Vec<Entry> {
    let begun: Vec<Result<Begun, Checked>> =
        entries.iter().map(|entry| begin(&entry.record, cache)).collect();
    let checks: Vec<SignatureCheck> = begun.iter().flatten().filter_map(|begun| begun.check).collect();
    let mut holds = SignatureCheck::finish_all(&checks).into_iter();
    let mut entry = |(lines, begun): (&Lines, Result<Begun, Checked>)| {
        let mut finish = |begun: Begun| {
            let holds = begun.check.is_none() || holds.next() == Some(true);
            begun.finish(holds, cache)
        };
        let checked = match begun.map(&mut finish) {
            Ok(Ok(record)) => Checked::Record(Box::new(record)),
            Ok(Err((record, fault))) => Checked::Refused(record, fault),
            Err(checked) => checked,
        };
        let id = match &checked {
            Checked::Record(record) => record.id(),
            Checked::Refused(record, _) => record.id(),
            Checked::Malformed(_) => RecordId::of(&lines.record),
        };
        Entry { position: read_line(&lines.position), id, checked }
    };
    entries.iter().zip(begun).map(&mut entry).collect()
}

fn begin(record: &[u8], cache: &mut KeyCache) -> Result<Begun, Checked> {
    let record = UnverifiedRecord::parse(record).map_err(Checked::Malformed)?;
    Begun::new(record, cache).map_err(|(record, fault)| Checked::Refused(record, fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry that is no record; its id tells it from others.
    fn numbered(number: usize, bytes: usize) -> Lines {
        let mut record = number.to_string().into_bytes();
        record.resize(bytes.max(record.len()), b' ');
        Lines { position: Vec::new(), record }
    }

    /// Whether `count` entries come back as they went in.
    fn keeps_order(mut checker: Checker, count: usize) -> bool {
        let expected: Vec<RecordId> = (0..count).map(|at| RecordId::of(&numbered(at, 0).record)).collect();
        let mut entries: Vec<Entry> = (0..count).flat_map(|at| checker.push(numbered(at, 0))).collect();
        entries.extend(checker.drain());
        entries.iter().map(|entry| entry.id).eq(expected) && checker.drain().is_empty()
    }

    #[test]
    fn entries_come_back_in_the_order_in_which_they_went_in() {
        for threads in [1, 2, 3, 8] {
            for count in [0, 1, BATCH, BATCH + 1, 20 * BATCH * threads + 7] {
                assert!(
                    keeps_order(Checker::new(threads, Remembered::default()), count),
                    "{count} entries, {threads} threads"
                );
            }
        }
    }

    #[test]
    fn entries_that_no_thread_checks_are_checked_by_the_caller() {
        let without_threads =
            || Checker { work: Some(channel().0), ..Checker::new(2, Remembered::default()) };
        assert!(keeps_order(without_threads(), 20 * BATCH));
    }

    #[test]
    fn no_more_bytes_are_under_way_than_the_limit() {
        for threads in [1, 2] {
            let mut checker = Checker::new(threads, Remembered::default());
            let most = BYTES_AHEAD / BATCH;
            for number in 0..3 * BATCH {
                checker.push(numbered(number, 2 * most));
                assert!(checker.bytes <= BYTES_AHEAD, "{} bytes, {threads} threads", checker.bytes);
            }
        }
    }
}
