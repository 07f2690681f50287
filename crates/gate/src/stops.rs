//! Signed rejects, cancels and revocations that need no log to be heeded (`spec/verification.md` §4).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use counterfoil_receipt::{
    Body, RecordId, Type, UnverifiedRecord,
    body::{RevocationTarget, Ruling},
    limits,
};
use counterfoil_verify::{Effect, Fault, KeyCache, Run, Shown, State, check_signature};

use crate::{
    decide::{Refusal, Request},
    known::NoRoots,
};

/// What its directory is called, in that of the gate.
const DIR: &str = "stops";
/// Records that a gate heeds at a time: somebody put each there by hand.
const STOPS: usize = 256;

/// Whether a record is one that stops: it can only take away what others allowed.
pub fn is_stop(record: &UnverifiedRecord) -> bool {
    match record.body() {
        Body::Decision(body) => body.verdict != Ruling::Approve,
        // Of an endorsement it depends on what it endorses.
        Body::Cancel(_) | Body::Revocation(_) | Body::Endorsement(_) => true,
        _ => false,
    }
}

/// Whether a record that stops could stop this proposal, as far as the evidence goes. Others are about other runs, and are not judged.
fn may_stop(stop: &UnverifiedRecord, state: &State, run: &Run, proposal: &RecordId) -> bool {
    match stop.body() {
        Body::Decision(body) => body.proposal == *proposal,
        Body::Cancel(body) => {
            body.target == *proposal
                || run.decision(&body.target).is_some_and(|decision| decision.proposal == *proposal)
        }
        Body::Revocation(body) => match &body.target {
            RevocationTarget::Key(key) => state.key(key).is_some(),
            RevocationTarget::Delegation(link) => state.index_of(link).is_some(),
        },
        _ => false,
    }
}

/// Those that could stop a proposal: decisions and cancels first, so that a revocation of somebody's key takes nothing from what they said
/// before, whatever the clocks say, and what is endorsed before its endorsements.
fn in_order<'s>(
    stops: &'s [UnverifiedRecord],
    state: &State,
    run: &Run,
    proposal: &RecordId,
) -> Vec<&'s UnverifiedRecord> {
    let is_meant = |stop: &&UnverifiedRecord| is_stop(stop) && may_stop(stop, state, run, proposal);
    let mut ordered: Vec<&UnverifiedRecord> = stops.iter().filter(is_meant).collect();
    let endorses_one = |stop: &&UnverifiedRecord| match stop.body() {
        Body::Endorsement(body) => {
            let is_logged = state.kind_of(&body.candidate) == Some(Type::Revocation);
            is_logged || ordered.iter().any(|stop| stop.id() == body.candidate)
        }
        _ => false,
    };
    let endorsements: Vec<&UnverifiedRecord> = stops.iter().filter(endorses_one).collect();
    ordered.sort_by_key(|stop| (stop.kind() == Type::Revocation, stop.time(), stop.id()));
    ordered.extend(endorsements);
    ordered
}

/// The state as it would be if what the gate was handed against a proposal stood in the log next, at `next`; `None` if that changes
/// nothing.
///
/// One that breaks a rule stops nothing: its signer may not say that. One of which the evidence does not show whether it does, for
/// example because its key is not shown, stops the proposal until that is.
///
/// # Errors
/// [`Refusal`] for one of the latter.
pub(crate) fn heed(state: &State, next: u64, request: &Request) -> Result<Option<State>, Refusal> {
    let Some(run) = state.run(&request.run) else { return Ok(None) };
    let (mut supposed, mut keys) = (None, KeyCache::default());
    for stop in in_order(&request.stops, state, run, &request.proposal) {
        let now = supposed.as_ref().unwrap_or(state);
        if now.index_of(&stop.id()).is_some() {
            continue;
        }
        match as_next_entry(now, next, stop, &mut keys) {
            Ok((then, _)) => supposed = Some(then),
            Err(fault) if fault.shown == Shown::NotShown => {
                let why =
                    format!("{} was handed to this gate and may end the action: {}", stop.id(), fault.detail);
                return Err(Refusal::new("stop-in-doubt", why));
            }
            Err(_) => {}
        }
    }
    // What somebody signed may not be theirs: no rule of an execution asks, and no evidence with such a revocation in it suffices.
    match supposed.as_ref().and_then(State::disputed) {
        Some(fault) => Err(Refusal::new(fault.rule.code(), fault.detail)),
        None => Ok(supposed),
    }
}

/// The state as it would be if this record stood in the log next, at `next`, and what that does.
fn as_next_entry(
    state: &State,
    next: u64,
    stop: &UnverifiedRecord,
    keys: &mut KeyCache,
) -> Result<(State, Effect), Fault> {
    // Its signer may have seen more of the log than this gate.
    let next = match stop.body() {
        Body::Decision(body) => next.max(body.basis.size.get()),
        _ => next,
    };
    let record = check_signature(stop.clone(), keys).map_err(|(_, fault)| fault)?;
    state.check(&record, next, &NoRoots)?;
    let mut then = state.clone();
    let effect = then.fold(&record, next, &NoRoots)?;
    Ok((then, effect))
}

/// What a signed reject, request for changes or cancel does to the run that it is about, judged as a gate judges it that heeds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopping {
    /// What it is about is over, by it or by something before it.
    Stops,
    /// It is not shown whether it may; it stops until that is shown.
    InDoubt(String),
    /// Nothing, and why.
    Nothing(String),
    /// It belongs to no run: which one it ends is seen when one is about to act.
    OfNoRun,
}

/// What heeding a record does to its run, in a state in which the log's next entry would stand at `next`.
pub fn stopping(state: &State, next: u64, stop: &UnverifiedRecord) -> Stopping {
    let Some(id) = stop.run() else { return Stopping::OfNoRun };
    let (then, why) = if state.index_of(&stop.id()).is_some() {
        (state.clone(), None)
    } else {
        match as_next_entry(state, next, stop, &mut KeyCache::default()) {
            Ok((then, Effect::None(why))) => (then, Some(why)),
            Ok((then, Effect::Took | Effect::Waits)) => (then, None),
            Err(fault) if fault.shown == Shown::NotShown => return Stopping::InDoubt(fault.detail),
            Err(fault) => return Stopping::Nothing(fault.detail),
        }
    };
    let is_over = then.run(&id).is_some_and(|run| match stop.body() {
        Body::Decision(body) => run.proposal(&body.proposal).is_some_and(|proposal| proposal.ended.is_some()),
        Body::Cancel(body) => {
            run.proposal(&body.target).is_some_and(|proposal| proposal.ended.is_some())
                || run.decision(&body.target).is_some_and(|decision| decision.cancelled.is_some())
        }
        _ => false,
    });
    if is_over {
        return Stopping::Stops;
    }
    Stopping::Nothing(why.unwrap_or_else(|| "it is in the log, and changed nothing there".to_owned()))
}

/// Keeps a signed reject, cancel or revocation in a gate's directory: every gate that uses it heeds it from now on, whether the log
/// has it or not.
///
/// # Errors
/// If it can't be kept.
pub fn heed_in(dir: &Path, record: &UnverifiedRecord) -> io::Result<()> {
    Stops::of(dir)?.keep(record)
}

/// What the gates that use a directory heed; nothing is made where no gate was. No directory of theirs is no such record.
///
/// # Errors
/// If one can't be read: what can't be read may be what stops.
pub fn heeded_in(dir: &Path) -> io::Result<Vec<UnverifiedRecord>> {
    let stops = Stops { dir: dir.join(DIR) };
    // A link to nowhere is there, and can't be read.
    match fs::symlink_metadata(&stops.dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        _ => stops.read(),
    }
}

/// Where a gate finds what it is to heed: each a file, a record as it was signed.
#[derive(Debug)]
pub(crate) struct Stops {
    dir: PathBuf,
}

impl Stops {
    /// Those in a gate's directory.
    pub(crate) fn of(dir: &Path) -> io::Result<Self> {
        let dir = dir.join(DIR);
        fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }

    /// Keeps one. It may be kept already.
    pub(crate) fn keep(&self, record: &UnverifiedRecord) -> io::Result<()> {
        let path = self.path(&record.id());
        if path.try_exists()? {
            return Ok(());
        }
        if self.read()?.len() >= STOPS {
            let why =
                format!("{} holds {STOPS} records already: take away what the log has", self.dir.display());
            return Err(io::Error::other(why));
        }
        // Another process may keep one at the same time.
        let new = path.with_extension(format!("new-{}", std::process::id()));
        fs::write(&new, record.bytes())?;
        fs::File::open(&new)?.sync_all()?;
        fs::rename(new, path)?;
        fs::File::open(&self.dir)?.sync_all()
    }

    /// All of them.
    ///
    /// # Errors
    /// If one can't be read: what can't be read may be what stops.
    pub(crate) fn read(&self) -> io::Result<Vec<UnverifiedRecord>> {
        let mut stops = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            if stops.len() >= STOPS {
                return Err(io::Error::other(format!(
                    "{} holds more than {STOPS} records",
                    self.dir.display()
                )));
            }
            stops.push(read(&path)?);
        }
        Ok(stops)
    }

    fn path(&self, record: &RecordId) -> PathBuf {
        self.dir.join(format!("{}.json", record.to_string().trim_start_matches("sha256:")))
    }
}

fn read(path: &Path) -> io::Result<UnverifiedRecord> {
    let unfit = |why: &dyn std::fmt::Display| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", path.display()))
    };
    if fs::metadata(path)?.len() > limits::RECORD_BYTES as u64 {
        return Err(unfit(&"larger than a record"));
    }
    let bytes = fs::read(path)?;
    UnverifiedRecord::parse(bytes.strip_suffix(b"\n").unwrap_or(&bytes)).map_err(|fault| unfit(&fault))
}
