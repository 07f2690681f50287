//! Equal refusals are one record with a count: an agent in a loop must not fill an append-only log. What is counted is on disk, so
//! that an agent that starts a gate for each of its attempts does not either.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use counterfoil_receipt::{ActionDigest, RecordId, RunId};
use serde::{Deserialize, Serialize};

/// Refusals counted at a time; more kinds at once are logged one by one.
const KINDS: usize = 1_024;
/// The largest count of one record (`spec/records.md` §6).
const COUNT: u64 = 1_000_000;

/// What makes two refusals equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub run: RunId,
    pub proposal: Option<RecordId>,
    pub action: ActionDigest,
    pub code: String,
}

/// Refusals of one kind since `since`, when one was logged, in milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Counted {
    run: String,
    proposal: Option<String>,
    action: String,
    code: String,
    since: u64,
    waiting: u64,
    /// Why the first of those that wait was refused, if that is on no record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Refusals of one kind that have no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub kind: Kind,
    pub count: u64,
    /// Why the first of them was refused, if no record of its kind says so.
    pub detail: Option<String>,
}

/// Counts refusals between records, for all gates of a directory.
#[derive(Debug)]
pub(crate) struct Refusals {
    dir: PathBuf,
    every: u64,
}

impl Refusals {
    /// Logs an equal refusal again after `every` at the earliest.
    pub(crate) fn new(dir: PathBuf, every: Duration) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        Ok(Self { dir, every: u64::try_from(every.as_millis()).unwrap_or(u64::MAX) })
    }

    /// Counts one at `now`. `Some` if a record is due, with how many refusals it stands for. Where counts can't be kept, each is due.
    pub(crate) fn count(&self, kind: &Kind, now: u64) -> Option<u64> {
        let counted = self.change(|all| {
            let name = kind.name();
            if let Some(counted) = all.get_mut(&name) {
                counted.waiting += 1;
                if !self.is_due(counted, now) && counted.waiting < COUNT {
                    return None;
                }
                counted.since = now;
                counted.detail = None;
                return Some(std::mem::take(&mut counted.waiting));
            }
            if all.len() >= KINDS {
                all.retain(|_, counted| counted.waiting > 0 || !self.is_due(counted, now));
            }
            if all.len() < KINDS {
                all.insert(name, kind.counted(now, 0));
            }
            Some(1)
        });
        counted.unwrap_or(Some(1))
    }

    /// Puts back what could not be logged, and why it was refused.
    pub(crate) fn put_back(&self, kind: &Kind, (count, detail): (u64, &str), now: u64) {
        // A count that is lost here was no record before, either; the first refusal of its kind is one.
        let _ = self.change(|all| {
            if all.len() < KINDS || all.contains_key(&kind.name()) {
                let counted = all.entry(kind.name()).or_insert_with(|| kind.counted(now, 0));
                counted.waiting += count;
                counted.detail.get_or_insert_with(|| detail.to_owned());
            }
        });
    }

    /// What was counted and has no record: all of it, or what is due at `now`. It stays counted until it is [`Refusals::logged`].
    pub(crate) fn due(&self, now: u64, everything: bool) -> Vec<Due> {
        let due = self.change(|all| {
            all.retain(|_, counted| counted.waiting > 0 || !self.is_due(counted, now));
            let due = all
                .values()
                .filter(|counted| counted.waiting > 0 && (everything || self.is_due(counted, now)));
            let due = due.filter_map(|counted| {
                let (kind, detail) = (Kind::of(counted)?, counted.detail.clone());
                Some(Due { kind, count: counted.waiting, detail })
            });
            due.collect()
        });
        due.unwrap_or_default()
    }

    /// Forgets so many of a kind, which have a record now.
    pub(crate) fn logged(&self, kind: &Kind, count: u64) {
        // Where counts can't be kept none are there.
        let _ = self.change(|all| {
            if let Some(counted) = all.get_mut(&kind.name()) {
                counted.waiting = counted.waiting.saturating_sub(count);
                counted.detail = None;
            }
        });
    }

    /// A clock that was put back makes nothing wait for ever.
    fn is_due(&self, counted: &Counted, now: u64) -> bool {
        now < counted.since || now - counted.since >= self.every
    }

    /// Changes what is counted, alone.
    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Counted>) -> T) -> io::Result<T> {
        let lock = File::create(self.dir.join("lock"))?;
        lock.lock()?;
        let path = self.dir.join("counts.json");
        let before = read(&path)?;
        let mut all: BTreeMap<String, Counted> = serde_json::from_slice(&before).unwrap_or_default();
        let result = change(&mut all);
        let after = serde_json::to_vec(&all)?;
        if after != before {
            let new = self.dir.join("new");
            fs::write(&new, after)?;
            fs::rename(new, path)?;
        }
        Ok(result)
    }
}

impl Kind {
    fn name(&self) -> String {
        let proposal = self.proposal.map_or_else(String::new, |id| id.to_string());
        format!("{} {proposal} {} {}", self.run, self.action, self.code)
    }

    fn counted(&self, since: u64, waiting: u64) -> Counted {
        Counted {
            run: self.run.to_string(),
            proposal: self.proposal.map(|id| id.to_string()),
            action: self.action.to_string(),
            code: self.code.clone(),
            since,
            waiting,
            detail: None,
        }
    }

    /// `None` for what this program did not write.
    fn of(counted: &Counted) -> Option<Self> {
        let proposal = match &counted.proposal {
            Some(id) => Some(RecordId::parse(id)?),
            None => None,
        };
        let (run, action) = (RunId::parse(&counted.run)?, ActionDigest::parse(&counted.action)?);
        Some(Self { run, proposal, action, code: counted.code.clone() })
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(code: &str) -> Kind {
        let run = RunId::started_by(RecordId::of(b"trigger"));
        let action = ActionDigest::from_bytes([7; 32]);
        Kind { run, proposal: Some(RecordId::of(b"proposal")), action, code: code.to_owned() }
    }

    fn due(code: &str, count: u64, detail: Option<&str>) -> Due {
        Due { kind: kind(code), count, detail: detail.map(str::to_owned) }
    }

    /// A refusal that could not be logged at once was one of some later, and nobody was told why.
    #[test]
    fn what_could_not_be_logged_keeps_why_it_was_refused_until_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Refusals::new(dir.path().into(), Duration::from_secs(60)).unwrap();
        assert_eq!(open().count(&kind("a"), 0), Some(1));
        open().put_back(&kind("a"), (1, "no quorum"), 0);
        assert_eq!(open().count(&kind("a"), 1), None);
        assert_eq!(open().due(1, true), vec![due("a", 2, Some("no quorum"))]);
        open().logged(&kind("a"), 2);
        assert_eq!((open().count(&kind("a"), 2), open().due(2, true)), (None, vec![due("a", 1, None)]));
    }

    #[test]
    fn equal_refusals_wait_for_each_other_and_none_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Refusals::new(dir.path().into(), Duration::from_secs(60)).unwrap();
        assert_eq!(open().count(&kind("a"), 0), Some(1));
        assert_eq!(open().count(&kind("a"), 1), None);
        assert_eq!(open().count(&kind("b"), 1), Some(1));
        assert_eq!(open().count(&kind("a"), 59_999), None);
        assert_eq!(open().due(59_999, false), Vec::new());
        assert_eq!(open().due(59_999, true), vec![due("a", 2, None)]);
        // Until it is logged, whoever was killed meanwhile.
        assert_eq!(open().due(59_999, true), vec![due("a", 2, None)]);
        open().logged(&kind("a"), 2);
        assert_eq!(open().due(59_999, true), Vec::new());
    }

    #[test]
    fn after_its_time_one_record_stands_for_all() {
        let dir = tempfile::tempdir().unwrap();
        let refusals = Refusals::new(dir.path().into(), Duration::from_secs(60)).unwrap();
        assert_eq!(refusals.count(&kind("a"), 0), Some(1));
        refusals.put_back(&kind("a"), (1, "why"), 0);
        assert_eq!(refusals.count(&kind("a"), 60_000), Some(2));
        assert_eq!(refusals.count(&kind("a"), 60_001), None);
        assert_eq!(refusals.due(120_000, false), vec![due("a", 1, None)]);
    }

    #[test]
    fn a_clock_that_was_put_back_holds_no_record_back() {
        let dir = tempfile::tempdir().unwrap();
        let refusals = Refusals::new(dir.path().into(), Duration::from_secs(60)).unwrap();
        assert_eq!(refusals.count(&kind("a"), 1_000_000), Some(1));
        assert_eq!(refusals.count(&kind("a"), 5), Some(1));
    }

    #[test]
    fn more_kinds_than_are_counted_are_logged_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let refusals = Refusals::new(dir.path().into(), Duration::from_secs(60)).unwrap();
        for at in 0..=KINDS {
            assert_eq!(refusals.count(&kind(&at.to_string()), 0), Some(1));
        }
        assert_eq!(refusals.count(&kind(&KINDS.to_string()), 0), Some(1));
        assert_eq!(refusals.count(&kind("0"), 0), None);
    }

    #[test]
    fn counts_that_can_not_be_kept_hide_no_refusal() {
        let dir = tempfile::tempdir().unwrap();
        let refusals = Refusals::new(dir.path().into(), Duration::from_secs(60)).unwrap();
        fs::create_dir(dir.path().join("counts.json")).unwrap();
        assert_eq!(refusals.count(&kind("a"), 0), Some(1));
        assert_eq!(refusals.count(&kind("a"), 0), Some(1));
    }
}
