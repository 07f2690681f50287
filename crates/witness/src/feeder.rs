//! The log's side: every new checkpoint to every witness of a policy, until the quorum has cosigned it.
//!
//! All witnesses are asked about one checkpoint at a time, the round's: if each were asked about whatever is newest when its
//! turn comes, no checkpoint of a log that grows all the time would ever gather a quorum. When the quorum has cosigned, or
//! the deadline passed, the next round takes the newest checkpoint, and those between are never sent.
//!
//! One thread per address, one request in flight each. The log's writer only leaves the newest checkpoint here
//! ([`Feeder::offer`]) and waits for nothing. A checkpoint counts as *witnessed* when it is in the [`Kept`] store, on disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use counterfoil_http::Address;
use counterfoil_tlog::{
    CheckpointError, LeafIndex, Policy, PosixSeconds, TreeSize, UnverifiedNote, VerifierKey,
};
use tokio::sync::watch;

use crate::exchange::{Alarm, BoxError, Peer, Proofs, PushError};
use crate::http::system_clock;
use crate::kept::{Kept, KeptCheckpoint, KeptError};
use crate::limits;
use crate::round::{Cosigned, Round, Target};
use crate::server::Clock;

/// What a feeder is started with.
pub struct FeederConfig {
    /// Whose cosignatures are enough, and where the witnesses are.
    pub policy: Policy,
    /// The keys that sign the log's checkpoints.
    pub log_keys: Vec<VerifierKey>,
    /// Where witnessed checkpoints are kept.
    pub kept: Kept,
    /// How long one request may take, and how long a round waits for its quorum while there is something newer.
    pub deadline: Duration,
    /// How long a witness that fails is left alone, at first and at most.
    pub back_off: (Duration, Duration),
    /// How long a witness is left alone after an answer.
    pub min_interval: Duration,
    /// After what time an unchanged tree is cosigned again.
    pub refresh: Duration,
    /// How often a witnessed checkpoint is kept if nobody waits for one.
    pub keep_interval: Duration,
    /// The time that cosignatures are compared with.
    pub clock: Clock,
}

impl FeederConfig {
    /// With the times of [`limits`], and this machine's clock.
    pub fn new(policy: Policy, log_keys: Vec<VerifierKey>, kept: Kept) -> Self {
        Self {
            policy,
            log_keys,
            kept,
            deadline: limits::REQUEST_TIME,
            back_off: limits::BACK_OFF,
            min_interval: limits::MIN_INTERVAL,
            refresh: limits::REFRESH,
            keep_interval: limits::KEEP_INTERVAL,
            clock: system_clock(),
        }
    }
}

/// Why a feeder does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeederError {
    /// The checkpoint is none, or not signed by one of the log's keys.
    #[error("the log's checkpoint can't be sent: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// No witness of the policy has an address.
    #[error("the policy names no witness with a URL")]
    NoWitness,
    /// An address is none.
    #[error("the policy's witness {name} has no http or https URL")]
    BadUrl {
        /// The witness.
        name: String,
    },
    /// What is kept can't be read.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// The log has fewer entries than were witnessed: it was restored from a backup.
    #[error(
        "witnesses have cosigned size {kept} of this log, which has {ours}: it was restored from a backup, and must not be signed on"
    )]
    LogBehind {
        /// The size that is kept.
        kept: TreeSize,
        /// The size of the log.
        ours: TreeSize,
    },
    /// The log is not the one that was witnessed.
    #[error(
        "witnesses have cosigned another tree of size {size} than the log has: this is another history, and must not be signed on"
    )]
    Forked {
        /// The size.
        size: TreeSize,
    },
    /// The log could not be read.
    #[error("can't read the log: {0}")]
    Log(BoxError),
    /// A thread could not be started.
    #[error("can't start a thread: {0}")]
    Thread(std::io::Error),
}

/// Sends checkpoints to witnesses as long as it lives. Dropped, it waits for the requests in flight.
pub struct Feeder {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    policy: Policy,
    log_keys: Vec<VerifierKey>,
    proofs: Arc<dyn Proofs>,
    peers: Vec<(Peer, Vec<usize>)>,
    times: Times,
    clock: Clock,
    kept: Mutex<Kept>,
    state: Mutex<State>,
    /// Something in `state` changed.
    changed: Condvar,
    witnessed: watch::Sender<TreeSize>,
}

struct Times {
    deadline: Duration,
    back_off: (Duration, Duration),
    min_interval: Duration,
    refresh: Duration,
    keep_interval: Duration,
}

struct State {
    newest: Target,
    round: Round,
    /// The latest checkpoint with its quorum, kept or not.
    cosigned: Option<Arc<Cosigned>>,
    peers: Vec<PeerState>,
    /// Indices that somebody waits for, and how many do.
    wanted: BTreeMap<u64, usize>,
    kept_size: TreeSize,
    kept_at: Option<Instant>,
    /// A thread is keeping one now.
    keeping: bool,
    kept_error: Option<String>,
    stopping: bool,
}

/// What is known of the witness at one address.
#[derive(Default)]
struct PeerState {
    /// The size that it cosigned last, as far as known.
    size: TreeSize,
    /// The size of which the current round's line came from it, and when.
    done: Option<(TreeSize, Instant)>,
    time: Option<PosixSeconds>,
    not_before: Option<Instant>,
    failures: u32,
    error: Option<String>,
    alarm: Option<Arc<Alarm>>,
    unknown_lines: u64,
    refused_lines: u64,
}

/// How the witnesses are, for whoever operates the log.
#[derive(Clone, Debug)]
pub struct Health {
    /// The size of the newest checkpoint that was offered.
    pub newest: TreeSize,
    /// The size of the largest tree that counts as witnessed.
    pub witnessed: TreeSize,
    /// Why nothing can be kept any more.
    pub kept_error: Option<String>,
    /// Each address.
    pub witnesses: Vec<WitnessHealth>,
}

/// How the witness at one address is.
#[derive(Clone, Debug)]
pub struct WitnessHealth {
    /// The address.
    pub url: String,
    /// The names of its keys in the policy.
    pub names: Vec<String>,
    /// The size that it cosigned last, as far as known.
    pub size: TreeSize,
    /// The time of its last cosignature that counted.
    pub time: Option<PosixSeconds>,
    /// What went wrong last time, if something did.
    pub error: Option<String>,
    /// It contradicts the log; stays until it cosigns again.
    pub alarm: Option<Arc<Alarm>>,
    /// Lines by unknown keys, which were dropped.
    pub unknown_lines: u64,
    /// Lines that claim to be by it and did not count.
    pub refused_lines: u64,
}

/// No witnessed checkpoint covers the index yet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotWitnessed {
    /// The deadline passed.
    #[error("no quorum of witnesses cosigned a checkpoint with entry {index} in time")]
    Late {
        /// The index.
        index: LeafIndex,
    },
    /// What is witnessed can't be kept or read.
    #[error("{0}")]
    Store(String),
    /// The feeder stops.
    #[error("the log stops")]
    Stopping,
}

/// As long as it lives, the first witnessed checkpoint that covers its index is kept at once.
pub struct Want {
    shared: Arc<Shared>,
    index: LeafIndex,
}

impl Feeder {
    /// Starts with the log's latest checkpoint, as the log signed it.
    ///
    /// # Errors
    /// [`FeederError`]: [`FeederError::LogBehind`] and [`FeederError::Forked`] say that the log must not be signed on.
    pub fn start(
        config: FeederConfig,
        proofs: Arc<dyn Proofs>,
        latest: &UnverifiedNote,
    ) -> Result<Self, FeederError> {
        let newest = Target::new(latest, &config.log_keys)?;
        let kept = config.kept.latest()?;
        check_history(kept.as_ref(), &newest, &*proofs)?;
        let peers = peers(&config.policy, config.deadline)?;
        let states = peers.iter().map(|(peer, _)| PeerState {
            size: kept
                .as_ref()
                .filter(|kept| has_line_of(kept, peer))
                .map_or(TreeSize(0), |kept| kept.head.size),
            ..PeerState::default()
        });
        let kept_size = config.kept.size();
        let state = State {
            round: Round::new(newest.clone(), Instant::now()),
            newest,
            cosigned: None,
            peers: states.collect(),
            wanted: BTreeMap::new(),
            kept_size,
            kept_at: None,
            keeping: false,
            kept_error: None,
            stopping: false,
        };
        let FeederConfig { deadline, back_off, min_interval, refresh, keep_interval, .. } = config;
        let shared = Arc::new(Shared {
            policy: config.policy,
            log_keys: config.log_keys,
            proofs,
            peers,
            times: Times { deadline, back_off, min_interval, refresh, keep_interval },
            clock: config.clock,
            kept: Mutex::new(config.kept),
            state: Mutex::new(state),
            changed: Condvar::new(),
            witnessed: watch::Sender::new(kept_size),
        });
        let mut feeder = Self { shared, threads: Vec::new() };
        for at in 0..feeder.shared.peers.len() {
            let shared = Arc::clone(&feeder.shared);
            let thread = std::thread::Builder::new().name(format!("witness-{at}"));
            feeder.threads.push(thread.spawn(move || shared.run(at)).map_err(FeederError::Thread)?);
        }
        Ok(feeder)
    }

    /// Takes the log's new checkpoint. Never waits for a witness or a disk; a smaller one than the newest is ignored.
    ///
    /// # Errors
    /// [`CheckpointError`] if it is none.
    pub fn offer(&self, checkpoint: &UnverifiedNote) -> Result<(), CheckpointError> {
        let target = Target::new(checkpoint, &self.shared.log_keys)?;
        let mut state = self.shared.state();
        if target.head.size > state.newest.head.size {
            state.newest = target;
            drop(state);
            self.shared.changed.notify_all();
        }
        Ok(())
    }

    /// The latest checkpoint that counts as witnessed.
    ///
    /// # Errors
    /// [`KeptError`] if it can't be read.
    pub fn latest_witnessed(&self) -> Result<Option<KeptCheckpoint>, KeptError> {
        self.shared.kept().latest()
    }

    /// The first witnessed checkpoint that covers a leaf.
    ///
    /// # Errors
    /// [`KeptError`] if it can't be read.
    pub fn witnessed_covering(&self, index: LeafIndex) -> Result<Option<KeptCheckpoint>, KeptError> {
        self.shared.kept().covering(index)
    }

    /// The size of the largest tree that counts as witnessed, to be waited on.
    pub fn witnessed(&self) -> watch::Receiver<TreeSize> {
        self.shared.witnessed.subscribe()
    }

    /// The round's checkpoint with what was collected for it so far: the newest that there is to show. Not kept, perhaps.
    pub fn current(&self) -> Option<Cosigned> {
        self.shared.state().round.cosigned(&self.shared.policy)
    }

    /// The latest checkpoint that reached its quorum, with the freshest cosignatures. Not kept, perhaps.
    pub fn cosigned(&self) -> Option<Arc<Cosigned>> {
        self.shared.state().cosigned.clone()
    }

    /// Asks that the first checkpoint with its quorum that covers `index` be kept at once, not at the next interval. With
    /// [`Feeder::witnessed`], this is how to wait without a thread.
    pub fn want(&self, index: LeafIndex) -> Want {
        *self.shared.state().wanted.entry(index.0).or_default() += 1;
        self.shared.changed.notify_all();
        Want { shared: Arc::clone(&self.shared), index }
    }

    /// Waits until a witnessed checkpoint covers `index`.
    ///
    /// # Errors
    /// [`NotWitnessed`].
    pub fn wait(&self, index: LeafIndex, deadline: Instant) -> Result<KeptCheckpoint, NotWitnessed> {
        let want = self.want(index);
        let mut state = self.shared.state();
        while state.kept_size.0 <= index.0 {
            if let Some(error) = &state.kept_error {
                return Err(NotWitnessed::Store(error.clone()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match (state.stopping, left.is_zero()) {
                (true, _) => return Err(NotWitnessed::Stopping),
                (false, true) => return Err(NotWitnessed::Late { index }),
                (false, false) => state = self.shared.wait(state, left),
            }
        }
        drop(state);
        drop(want);
        let kept =
            self.shared.kept().covering(index).map_err(|error| NotWitnessed::Store(error.to_string()))?;
        kept.ok_or(NotWitnessed::Late { index })
    }

    /// How it goes.
    pub fn health(&self) -> Health {
        let state = self.shared.state();
        let of = |((peer, places), of): (&(Peer, Vec<usize>), &PeerState)| WitnessHealth {
            url: peer.url.clone(),
            names: places
                .iter()
                .filter_map(|place| self.shared.policy.witnesses().get(*place))
                .map(name)
                .collect(),
            size: of.size,
            time: of.time,
            error: of.error.clone(),
            alarm: of.alarm.clone(),
            unknown_lines: of.unknown_lines,
            refused_lines: of.refused_lines,
        };
        Health {
            newest: state.newest.head.size,
            witnessed: state.kept_size,
            kept_error: state.kept_error.clone(),
            witnesses: self.shared.peers.iter().zip(&state.peers).map(of).collect(),
        }
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.shared.state().stopping = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Want {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if let Some(count) = state.wanted.get_mut(&self.index.0) {
            *count -= 1;
            if *count == 0 {
                state.wanted.remove(&self.index.0);
            }
        }
    }
}

impl Shared {
    /// One address, until the feeder stops.
    fn run(&self, at: usize) {
        let Some((peer, places)) = self.peers.get(at) else { return };
        let mut state = self.state();
        while !state.stopping {
            let now = Instant::now();
            state.next_round(&self.policy, now, self.times.deadline);
            if let Some(cosigned) = state.take_to_keep(now, self.times.keep_interval) {
                drop(state);
                self.keep(&cosigned);
                state = self.state();
                continue;
            }
            let due = state.due(at, self.times.refresh);
            if due > now {
                let until = state.wakes(&self.policy, due, &self.times);
                state = self.wait(state, until.saturating_duration_since(now));
                continue;
            }
            let (target, newest) = (state.round.target.clone(), state.newest.head.size);
            let old = state.peers.get(at).map_or(TreeSize(0), |of| of.size).min(target.head.size);
            drop(state);
            let latest = PosixSeconds((self.clock)().0.saturating_add(limits::CLOCK_AHEAD));
            let pushed = peer.push(&*self.proofs, old, &target, newest, latest);
            state = self.state();
            self.note(&mut state, at, places, &target, pushed);
            self.changed.notify_all();
        }
    }

    /// Notes what an address answered.
    fn note(
        &self,
        state: &mut State,
        at: usize,
        places: &[usize],
        target: &Target,
        pushed: Result<counterfoil_tlog::witness::Answer, PushError>,
    ) {
        let now = Instant::now();
        let Some(of) = state.peers.get_mut(at) else { return };
        let answer = match pushed {
            Ok(answer) => answer,
            Err(error) => return of.failed(error, now, self.times.back_off),
        };
        of.unknown_lines += answer.unknown as u64;
        of.refused_lines += answer.refused.len() as u64;
        if answer.cosignatures.is_empty() {
            let why = answer
                .refused
                .first()
                .map_or("none is by a key of the policy".to_owned(), ToString::to_string);
            return of.failed(
                PushError::Protocol(format!("no line that counts: {why}")),
                now,
                self.times.back_off,
            );
        }
        of.size = target.head.size;
        of.done = Some((target.head.size, now));
        of.time = answer.cosignatures.iter().map(|line| line.time).max();
        of.not_before = Some(now + self.times.min_interval);
        (of.failures, of.error, of.alarm) = (0, None, None);
        if state.round.target == *target {
            for line in answer.cosignatures {
                if let Some(place) = places.get(line.key) {
                    state.round.add(*place, line);
                }
            }
            if state.round.has_quorum(&self.policy)
                && let Some(cosigned) = state.round.cosigned(&self.policy)
            {
                state.cosigned = Some(Arc::new(cosigned));
            }
        }
    }

    /// Makes a checkpoint count as witnessed.
    fn keep(&self, cosigned: &Cosigned) {
        let checkpoint = KeptCheckpoint { head: cosigned.head, note: cosigned.note.clone() };
        let kept = self.kept().append(&checkpoint);
        let mut state = self.state();
        state.keeping = false;
        match kept {
            Ok(()) => {
                state.kept_size = cosigned.head.size;
                state.kept_at = Some(Instant::now());
                self.witnessed.send_replace(cosigned.head.size);
            }
            // It is not known what is on disk: only the next start can tell.
            Err(error) => state.kept_error = Some(error.to_string()),
        }
        drop(state);
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>, time: Duration) -> MutexGuard<'s, State> {
        self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }
}

impl State {
    /// Goes over to the newest checkpoint when the round has its quorum, or had its time.
    fn next_round(&mut self, policy: &Policy, now: Instant, deadline: Duration) {
        if self.newest != self.round.target
            && (self.round.has_quorum(policy) || now >= self.round.started + deadline)
        {
            self.round = Round::new(self.newest.clone(), now);
        }
    }

    /// A checkpoint with its quorum that is to be kept now. Who is given one must keep it.
    fn take_to_keep(&mut self, now: Instant, interval: Duration) -> Option<Arc<Cosigned>> {
        if self.keeping || self.kept_error.is_some() {
            return None;
        }
        let size = self.cosigned.as_ref()?.head.size;
        // A first checkpoint of size 0 proves nothing to anybody.
        if size <= self.kept_size {
            return None;
        }
        let wanted = self.wanted.range(self.kept_size.0..size.0).next().is_some();
        if !wanted && self.kept_at.is_some_and(|kept| now < kept + interval) {
            return None;
        }
        self.keeping = true;
        self.cosigned.clone()
    }

    /// When the address is to be asked next.
    fn due(&self, at: usize, refresh: Duration) -> Instant {
        let Some(of) = self.peers.get(at) else { return Instant::now() + refresh };
        let due = match of.done {
            Some((size, when)) if size == self.round.target.head.size => when + refresh,
            // It has cosigned what comes after this round.
            _ if of.size > self.round.target.head.size => Instant::now() + refresh,
            _ => self.round.started,
        };
        due.max(of.not_before.unwrap_or(due))
    }

    /// When a thread has something to do at the latest: its address, the next round, or keeping.
    fn wakes(&self, policy: &Policy, due: Instant, times: &Times) -> Instant {
        let next = (self.newest != self.round.target && !self.round.has_quorum(policy))
            .then(|| self.round.started + times.deadline);
        let waiting = self.cosigned.as_ref().is_some_and(|cosigned| cosigned.head.size > self.kept_size);
        let keep = (waiting && !self.keeping && self.kept_error.is_none())
            .then(|| self.kept_at.map(|kept| kept + times.keep_interval))
            .flatten();
        [next, keep].into_iter().flatten().fold(due, Instant::min)
    }
}

impl PeerState {
    /// It is left alone for a while: longer each time.
    fn failed(&mut self, error: PushError, now: Instant, (first, most): (Duration, Duration)) {
        let doubled = first.saturating_mul(1 << self.failures.min(16)).min(most);
        let mut pause = jittered(doubled);
        self.failures = self.failures.saturating_add(1);
        match &error {
            PushError::Busy { retry_after: Some(asked) } => pause = pause.max((*asked).min(most)),
            PushError::Newer { size } => self.size = *size,
            // Nothing that this process can do makes it go away.
            PushError::Alarm(alarm) => {
                self.alarm = Some(Arc::new((**alarm).clone()));
                pause = jittered(most);
            }
            _ => {}
        }
        self.error = Some(error.to_string());
        self.not_before = Some(now + pause);
    }
}

/// Three to five quarters of a time, so that not all logs come back to a witness at the same moment.
fn jittered(time: Duration) -> Duration {
    let draw = counterfoil_keys::random::<1>().map_or(128, |[byte]| u32::from(byte));
    time * (384 + draw) / 512
}

/// What was witnessed of this log is part of it.
fn check_history(
    kept: Option<&KeptCheckpoint>,
    newest: &Target,
    proofs: &dyn Proofs,
) -> Result<(), FeederError> {
    let Some(KeptCheckpoint { head, .. }) = kept else { return Ok(()) };
    if head.size > newest.head.size {
        return Err(FeederError::LogBehind { kept: head.size, ours: newest.head.size });
    }
    match proofs.root_at(head.size).map_err(FeederError::Log)? {
        root if root == head.root => Ok(()),
        _ => Err(FeederError::Forked { size: head.size }),
    }
}

/// The addresses of a policy, each with the places of its witnesses. Those without are nobody's to ask.
pub(crate) fn peers(policy: &Policy, timeout: Duration) -> Result<Vec<(Peer, Vec<usize>)>, FeederError> {
    let mut places: Vec<(Address, Vec<usize>)> = Vec::new();
    for (place, witness) in policy.witnesses().iter().enumerate() {
        let Some(url) = &witness.url else { continue };
        let address = std::str::from_utf8(url).ok().and_then(|url| Address::new(url, None).ok());
        let address = address.ok_or_else(|| FeederError::BadUrl { name: name(witness) })?;
        match places.iter_mut().find(|(other, _)| other.base() == address.base()) {
            Some((_, of)) => of.push(place),
            None => places.push((address, vec![place])),
        }
    }
    if places.is_empty() {
        return Err(FeederError::NoWitness);
    }
    let peer = |(address, places): (Address, Vec<usize>)| {
        let keys = places.iter().filter_map(|place| policy.witnesses().get(*place));
        (Peer::new(&address, keys.map(|witness| witness.key.clone()).collect(), timeout), places)
    };
    Ok(places.into_iter().map(peer).collect())
}

fn name(witness: &counterfoil_tlog::policy::Witness) -> String {
    String::from_utf8_lossy(&witness.name).into_owned()
}

fn has_line_of(kept: &KeptCheckpoint, peer: &Peer) -> bool {
    kept.note.signatures().iter().any(|line| peer.keys.iter().any(|key| line.is_by(key)))
}
