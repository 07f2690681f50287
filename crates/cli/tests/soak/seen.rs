//! What writers and readers saw of a raw log: what was acknowledged, every tree head, and everything that does not fit.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use counterfoil_tlog::{Frontier, Hash, TreeHead, leaf_hash};

/// What must never happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An acknowledged entry is not in the log at its index, or has another index when it is added again.
    Lost,
    /// Entries of the log that were never answered for, although each was added until it was.
    Unasked,
    /// Two checkpoints are not of one tree, or `/checkpoint` went back.
    Inconsistent,
    /// A proof, a signature or an answer does not hold.
    Unproven,
}

impl Fault {
    pub const ALL: [Self; 4] = [Self::Lost, Self::Unasked, Self::Inconsistent, Self::Unproven];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "acknowledged entries that are not at their index",
            Self::Unasked => "entries that are in the log and were not acknowledged",
            Self::Inconsistent => "checkpoints seen that are not of one tree",
            Self::Unproven => "answers, proofs and signatures that do not hold",
        })
    }
}

/// Faults that are said, of those that are counted.
const SAID: usize = 50;

/// All of it, from all threads.
#[derive(Default)]
pub struct Seen {
    acknowledged: Mutex<Vec<(u64, u64)>>,
    heads: Mutex<BTreeMap<u64, Hash>>,
    faults: Mutex<Vec<Fault>>,
    /// Checkpoints of `/checkpoint`, each proven to follow the one before.
    pub followed: AtomicUsize,
    /// Trees under a quorum of witnesses, each proven to be consistent with the one before.
    pub witnessed: AtomicUsize,
    /// Inclusion proofs that held, as the server makes them and from tiles.
    pub proven: AtomicUsize,
    /// Entries added again that were answered by their first index.
    pub repeated: AtomicUsize,
    /// Requests that were told to come back.
    pub busy: AtomicUsize,
    /// Requests without an answer, or with one of 500 and above, that met no restart.
    pub unanswered: AtomicUsize,
}

/// The bytes of an entry, by its number.
pub fn entry(number: u64) -> String {
    format!("{number:0100}")
}

impl Seen {
    /// Takes down an acknowledgment.
    pub fn acknowledge(&self, index: u64, number: u64) {
        lock(&self.acknowledged).push((index, number));
    }

    /// How many entries were acknowledged.
    pub fn len(&self) -> usize {
        lock(&self.acknowledged).len()
    }

    /// Index and number of an acknowledged entry, if there is one.
    pub fn any(&self, random: u64) -> Option<(u64, u64)> {
        let acknowledged = lock(&self.acknowledged);
        let at = usize::try_from(random).unwrap().checked_rem(acknowledged.len())?;
        acknowledged.get(at).copied()
    }

    /// Takes down a tree head that the log signed.
    pub fn head(&self, head: &TreeHead) {
        let earlier = lock(&self.heads).insert(head.size.0, head.root);
        if earlier.is_some_and(|earlier| earlier != head.root) {
            self.fault(Fault::Inconsistent, format!("size {} was signed with two roots", head.size));
        }
    }

    /// How many tree heads of different sizes were seen.
    pub fn heads(&self) -> usize {
        lock(&self.heads).len()
    }

    /// Takes down what must not happen, and says the first of it.
    pub fn fault(&self, fault: Fault, what: String) {
        let mut faults = lock(&self.faults);
        if faults.len() < SAID {
            eprintln!("{fault:?}: {what}");
        }
        faults.push(fault);
    }

    /// How often this happened.
    pub fn count(&self, fault: Fault) -> usize {
        lock(&self.faults).iter().filter(|kind| **kind == fault).count()
    }

    /// Compares all that was acknowledged, and all heads, with the entries of the log.
    pub fn compare(&self, entries: impl Iterator<Item = Vec<u8>>) {
        let (mut acknowledged, heads) = (lock(&self.acknowledged).clone(), lock(&self.heads).clone());
        acknowledged.sort_unstable();
        let (mut rest, mut tree) = (acknowledged.as_slice(), Frontier::new());
        for text in entries {
            let index = tree.push(leaf_hash(&text)).0;
            let here = rest.partition_point(|(at, _)| *at <= index);
            let (here, later) = rest.split_at(here);
            rest = later;
            for (_, number) in here.iter().filter(|(_, number)| entry(*number).as_bytes() != text) {
                self.fault(Fault::Lost, format!("entry {index} is not number {number}"));
            }
            if here.is_empty() {
                self.fault(Fault::Unasked, format!("entry {index}: {}", String::from_utf8_lossy(&text)));
            }
            if heads.get(&(index + 1)).is_some_and(|root| *root != tree.root()) {
                self.fault(Fault::Inconsistent, format!("the root of size {} is another", index + 1));
            }
        }
        let size = tree.size().0;
        for (index, number) in rest {
            self.fault(Fault::Lost, format!("number {number} was entry {index}; the log has {size}"));
        }
        for size in heads.keys().filter(|seen| **seen > size) {
            self.fault(Fault::Inconsistent, format!("size {size} was signed; the log has {}", tree.size()));
        }
    }
}

/// One more.
pub fn tick(count: &AtomicUsize) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// What a thread that failed left is still told.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
